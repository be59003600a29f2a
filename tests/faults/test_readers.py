"""F20 and F21: readers that crash, and files that end too early."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from humanst.demo import DemoAtlas
from humanst.demo.layout import Kind
from tests.faults.board import WHOLE, Seen, judge, messages_of
from tests.faults.sections import Cases, build_folders, build_spoiled, one_section, recipe_of
from tests.fetch.conftest import on_disk
from tests.helpers import run_humanst
from tests.studies import ST_RECIPE, write_world

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-readers")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("st", tmp_path_factory.mktemp("st") / "atlas")


# Case -> what a reader does, in a library written in C perhaps, and the reason that should be given.
READERS = {
    "aborts": ("os.abort()", "reader-crashed"),
    "reads at address 0": ("ctypes.string_at(0)", "reader-crashed"),
    "eats memory": ("[bytearray(1 << 26) for _ in range(1 << 10)]", "task-memory"),
    "spins": ("any(iter(int, 1))", "task-time"),
}
_BAD_READER = """
import ctypes, os
from humanst.platforms import st
whole, does = st.read, {does!r}
def read(files, recipe):
    eval(does.get(files.study_id, "0"))
    return whole(files, recipe)
st.read = read
"""


def test_f20_crashing_reader(legacy: DemoAtlas, tmp_path: Path) -> None:
    """Of the sections of one command those before, between and after them are built."""
    good = ("good 1", "good 2")
    folders = {}
    for number, case in enumerate(("good 1", *READERS, "good 2")):
        folders[case] = tmp_path / f"f{number:02d}"
        folders[case].symlink_to(legacy.mirror / "lab", target_is_directory=True)
    does = {folders[case].name: text for case, (text, _) in READERS.items()}
    env = {"HUMANST_TASK_CPU_S": "4", "HUMANST_TASK_MEMORY_GIB": "2"}
    built = build_folders(folders, recipe_of(legacy), tmp_path, env=env, first=_BAD_READER.format(does=does))
    assert (built.exit_code, sorted(built.stores)) == (4, sorted(good))
    judge("F20", built.seen({case: (None, (8,), (code,)) for case, (_, code) in READERS.items()}))


CUTS = 20
BY_STRUCTURE = 5 if WHOLE else 2
TEXT = "".join(f"{n}\t{n * n}\n" for n in range(4000)).encode()


def ten_formats(folder: Path) -> dict[str, bytes]:
    """A whole file of every format that sections come in."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for name in ("a.jpg", "a.png"):
        image.save(folder / name)
    tifffile.imwrite(folder / "a.tif", pixels, tile=(64, 64), photometric="rgb")
    table = pd.DataFrame({"x": np.arange(4000), "y": rng.normal(size=4000)})
    table.to_parquet(folder / "a.parquet")
    with h5py.File(folder / "a.h5", "w") as handle:
        handle["data"] = rng.normal(size=5000)
    np.save(folder / "a.npy", rng.normal(size=5000))
    (folder / "a.csv").write_text(table.to_csv())
    (folder / "a.tsv.gz").write_bytes(gzip.compress(TEXT))
    with zipfile.ZipFile(folder / "a.zarr.zip", "w") as archive:
        archive.writestr("0.0", TEXT)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name in ("a.csv", "a.npy"):
            tar.add(folder / name, name)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def by_hash(tmp_path: Path) -> list[Seen]:
    """All formats in one study, a section each, every one cut in the mirror: one ``humanst fetch`` a cut."""
    (tmp_path / "whole").mkdir()
    bodies = ten_formats(tmp_path / "whole")
    assert len(bodies) == 10
    ids = {f"s{number}": name for number, name in enumerate(bodies)}
    sections = {section: {"counts": tmp_path / "whole" / name} for section, name in ids.items()}
    some = tmp_path / "whole" / "a.csv"
    world = write_world(tmp_path / "world", {"cut": sections}, {"cut": ST_RECIPE}, gene_sets=some)
    seen = []
    for number in range(CUTS):
        for section, name in ids.items():
            size = len(bodies[name]) * number // CUTS
            (world.mirror / "cut" / section / name).write_bytes(bodies[name][:size])
        cache = tmp_path / "cache"
        result = run_humanst("fetch", "cut", "--json", atlas=world.folder, cache=cache)
        said = messages_of(result.stdout)
        left = sorted(on_disk(cache))
        for section, name in ids.items():
            message = said.get(f"cut_{section}") or said.get(section)
            code = message.exit_code if message else result.returncode * (result.returncode != 4)
            seen.append(Seen(f"{name} at {number * 5} %, by hash", (6,), code, message, left))
    return seen


def cut_at(pattern: str, share: float, folder: Path) -> None:
    path = next(folder.rglob(pattern))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def other_image(write: Callable[[Path, Path], None], share: float, folder: Path) -> None:
    """The image of the section in another format, then cut."""
    path = next(folder.rglob("*.jpg"))
    write(path, path)
    cut_at("*.jpg", share, folder)


def as_png(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.load()
        image.save(target, format="PNG", compress_level=1)


def as_tiff(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        tifffile.imwrite(target, np.asarray(image), tile=(256, 256), photometric="rgb")


# Platform of the section -> format -> what cuts it.
STRUCTURED: dict[Kind, dict[str, Callable[[float, Path], None]]] = {
    "st": {
        "jpg": partial(cut_at, "*.jpg"),
        "png": partial(other_image, as_png),
        "tif": partial(other_image, as_tiff),
        "tsv.gz": partial(cut_at, "*.tsv.gz"),
    },
    "visium": {"h5": partial(cut_at, "*.h5"), "json": partial(cut_at, "scalefactors*")},
    "xenium": {"parquet": partial(cut_at, "transcripts.parquet")},
}


def by_structure(tmp_path: Path) -> list[Seen]:
    """A lab's own folder has no hashes: what its formats say of themselves is all there is."""
    seen = []
    for kind, formats in STRUCTURED.items():
        atlas = one_section(kind, tmp_path / kind / "atlas")
        shares = [(number + 0.5) / BY_STRUCTURE for number in range(BY_STRUCTURE)]
        cases: Cases = {
            f"{name} at {share:.0%}, by structure": (partial(cut, share), (5, 6, 8), ())
            for name, cut in formats.items()
            for share in shares
        }
        built = build_spoiled(atlas.mirror / "lab", recipe_of(atlas), cases, tmp_path / f"{kind} built")
        seen += built.seen(cases)
    return seen


def test_f21_cut_files(tmp_path: Path) -> None:
    hashed, structured = by_hash(tmp_path), by_structure(tmp_path / "by structure")
    blind = "plain tables (csv, tsv), npy and tar that end at a border of theirs are told by their hash alone"
    notes = [
        f"{len(hashed)} cuts of 10 formats refused by hash, {len(structured)} of 7 formats by structure alone",
        f"{blind}, and so are bits flipped inside pixels",
    ]
    judge("F21", hashed + structured, notes)
