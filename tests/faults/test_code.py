"""F17: code where data belong. Each would make a file when it runs; none may be there, whatever the command says."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from humanst.demo import DemoAtlas
from stamp_train.cli import main as stamp_train
from tests.cli.test_scale_faults import a_file
from tests.faults.board import Message, Seen, judge, seen_of
from tests.faults.sections import Cases, build_spoiled, one_section, recipe_of
from tests.fetch.one_file import write_catalog
from tests.helpers import run_humanst
from tests.platforms.viewer_archive import write_archive
from tests.shards.conftest import Made

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-code")


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def bomb(folder: Path, name: str) -> bytes:
    return pickle.dumps(Bomb(folder / f"ran {name}".replace(" ", "-")))


def replaced(pattern: str, data: bytes, folder: Path) -> None:
    a_file(folder, pattern).write_bytes(data)


def pickled_void(data: bytes, folder: Path) -> None:
    with h5py.File(a_file(folder, "*.h5"), "r+") as handle:
        del handle["matrix/barcodes"]
        handle["matrix/barcodes"] = np.array([np.void(data)] * 10)


def pickled_filter(data: bytes, folder: Path) -> None:
    """A zarr archive of transcripts, format 2, whose arrays ask for the pickle codec."""
    path = a_file(folder, "transcripts.parquet")
    write_archive(path.with_name("whole.zip"), pd.read_parquet(path))
    with (
        zipfile.ZipFile(path.with_name("whole.zip")) as whole,
        zipfile.ZipFile(path.with_name("transcripts.zarr.zip"), "w") as out,
    ):
        for name in dict.fromkeys(whole.namelist()):
            body = whole.read(name)
            if name.endswith(".zarray"):
                asked = {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}], "compressor": None}
                body = json.dumps(json.loads(body) | asked).encode()
            elif not Path(name).name.startswith(".z"):
                body = data
            out.writestr(name, body)
    path.unlink()
    path.with_name("whole.zip").unlink()


def in_sections(tmp_path: Path, visium: DemoAtlas) -> list[Seen]:
    """Vendor files that are pickles, or hold them."""
    refused = (5, 8)
    cases: Cases = {
        "pickled matrix": (partial(replaced, "*.h5", bomb(tmp_path, "matrix")), refused, ()),
        "pickled positions": (partial(replaced, "tissue_positions.csv", bomb(tmp_path, "positions")), refused, ()),
        "pickled scale factors": (partial(replaced, "scalefactors*", bomb(tmp_path, "factors")), refused, ()),
        "pickle in an HDF5 void": (partial(pickled_void, bomb(tmp_path, "void")), refused, ()),
    }
    seen = build_spoiled(visium.mirror / "lab", recipe_of(visium), cases, tmp_path / "visium").seen(cases)
    xenium = one_section("xenium", tmp_path / "xenium" / "atlas")
    recipe = yaml.safe_load(recipe_of(xenium).read_text())
    files = recipe["files"] | {"transcripts": "{section}/transcripts.zarr.zip"}
    zarr: Cases = {"pickle as a zarr filter": (partial(pickled_filter, bomb(tmp_path, "filter")), refused, ())}
    built = build_spoiled(xenium.mirror / "lab", recipe_of(xenium, files=files), zarr, tmp_path / "built")
    return seen + built.seen(zarr)


def in_documents(tmp_path: Path, visium: DemoAtlas) -> list[Seen]:
    """YAML that asks for objects, or unfolds to millions; addresses that are commands."""
    seen, catalog = [], write_catalog(tmp_path)
    tag = "!!python/object/apply:os.system ['touch {}']"
    text = catalog.read_text()
    for case, body in (
        ("YAML tag in a catalog", text + "more: " + tag.format(tmp_path / "ran-catalog")),
        ("YAML that unfolds", text + "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))),
    ):  # fmt: skip
        catalog.write_text(body)
        result = run_humanst("list", "--json", env={"HUMANST_CATALOG": str(catalog)})
        seen.append(seen_of(case, result.returncode, result.stdout, (2, 5, 8)))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_of(visium).read_text() + "options: " + tag.format(tmp_path / "ran-recipe"))
    store = tmp_path / "store"
    arguments = ["build", str(visium.mirror / "lab"), "--recipe", str(recipe), "-o", str(store), "--json"]
    result = run_humanst(*arguments)
    seen.append(seen_of("YAML tag in a recipe", result.returncode, result.stdout, (2, 5, 8)))
    catalog.write_text(text.replace("url: null", f"url: 'pipe:touch {tmp_path / 'ran-pipe'}'"))
    result = run_humanst("fetch", "tiny", "--json", env={"HUMANST_CATALOG": str(catalog), "HUMANST_OFFLINE": "0"})
    seen.append(seen_of("pipe: as an address", result.returncode, result.stdout, (2, 5, 8)))
    return seen


def in_a_shard(tmp_path: Path, made: Made) -> list[Seen]:
    """A target vector that is a pickle, and a member more, in a shard of a release."""
    release = tmp_path / "release"
    shutil.copytree(made.release, release)
    shard = next(release.glob("data/*/*.tar"))
    with tarfile.open(shard) as whole:
        members = [(member, whole.extractfile(member).read()) for member in whole]  # type: ignore[union-attr]
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as out:
        for member, body in members:
            if member.name.endswith(".npy"):
                data = bomb(tmp_path, "shard")
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
            else:
                out.addfile(member, io.BytesIO(body))
    result = run_humanst("verify", str(release), "--json")
    # It lists all faults as findings, and says the first of them as its error.
    first = json.loads(result.stdout)["findings"][0]
    said = result.stderr.splitlines()[-1].removeprefix("error: ")
    todo = "Fetch or build it again"
    message = Message.of({**first, "message": said, "exit_code": result.returncode, "todo": todo})
    return [Seen("pickled targets in a shard", (6,), result.returncode, message)]


def in_weights(tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]) -> list[Seen]:
    """Weights of an encoder that are a pickle, as an old checkpoint is, and as torch writes one today."""
    old, new, seen = tmp_path / "old.pt", tmp_path / "new.pt", []
    old.write_bytes(bomb(tmp_path, "old weights"))
    with zipfile.ZipFile(new, "w") as out:
        for name, body in (("data.pkl", bomb(tmp_path, "weights")), ("version", b"3\n"), ("byteorder", b"little")):
            out.writestr(f"archive/{name}", body)
    for weights in (old, new):
        arguments = ["embed", str(made.release), "--encoder", "test_vit", "--weights", str(weights), "--json"]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            stamp_train([*arguments, "-o", str(tmp_path / "out.h5")])
        seen.append(
            seen_of(f"pickled weights: {weights.name}", int(ended.value.code or 0), capsys.readouterr().out, (8,))
        )
    return seen


def test_f17_code_in_data(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visium = one_section("visium", tmp_path / "clean" / "atlas")
    seen = in_sections(tmp_path, visium) + in_documents(tmp_path, visium)
    seen += in_a_shard(tmp_path, made) + in_weights(tmp_path, made, capsys)
    assert len(seen) >= 9
    ran = sorted(path.name for path in tmp_path.glob("ran-*"))
    pickle.loads(bomb(tmp_path, "by us"))  # noqa: S301 - so that we know what a run one leaves
    assert (tmp_path / "ran-by-us").exists()
    judge("F17", [*seen, Seen("marks of what ran", (0,), 0, None, ran)])
