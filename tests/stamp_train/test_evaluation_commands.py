"""``probe`` and ``domains`` as a user calls them: the figures, what stands beside them, and what no table may lose."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from humanst.load import PairDataset
from stamp_train.features import Embeddings, mean_rgb
from stamp_train.tiers import probe_release
from tests.load.conftest import Written, write_release
from tests.load.test_load_targets import seal
from tests.stamp_train.test_embed import call

SIZES = {"train": [44], "test": [108]}
SYMBOLS = ["ERBB2", "CD3E", "COL1A1", "ACTB", "EPCAM"]
IDS = [f"ENSG{number}" for number in range(5)]
N_SECTIONS = {"train": 4, "test": 9}
TWO = ["--test-donors", "donor of test0,donor of test1"]


@dataclass
class Made:
    """A release, the hidden number of every pair that two genes follow, and embeddings that know it or do not."""

    release: Written
    hidden: dict[str, np.ndarray]
    knows: Path
    noise: Path

    @property
    def path(self) -> str:
        return str(self.release.path)


def sections_of(split: str) -> list[str]:
    return [f"{split}{number % N_SECTIONS[split]}" for number in range(SIZES[split][0])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("evaluation")
    release = write_release(folder / "r", SIZES)
    manifest, rng, hidden = release.manifest, np.random.default_rng(0), {}
    (release.path / "targets/counts").mkdir(parents=True)
    for split in SIZES:
        index, names = release.path / f"index/{split}.parquet", sections_of(split)
        table = pq.read_table(index)
        for column, values in {"sample_id": names, "donor_group": [f"donor of {name}" for name in names]}.items():
            table = table.set_column(table.column_names.index(column), column, pa.array(values))
        pq.write_table(table, index)
        manifest["splits"][split]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
        hidden[split] = rng.normal(size=len(names))
        counts = rng.poisson(np.exp(np.outer(hidden[split], [0.8, -0.8, 0, 0, 0])) * 6).astype(np.int32)
        sp.save_npz(release.path / f"targets/counts/{split}-00000.npz", sp.csr_matrix(counts))
    manifest["sections"] = [
        {"sample_id": f"{split}{number}", "study_id": "demo", "split": split, "group": f"donor of {split}{number}"}
        | {"metadata": {"donor_id": f"{split}{number}"}}
        for split, n in N_SECTIONS.items()
        for number in range(n)
    ]
    release.set_manifest(manifest)
    pq.write_table(pa.table({"ensembl_id": IDS, "symbol": SYMBOLS}), release.path / "targets/counts/genes.parquet")
    names = sorted({name for split in SIZES for name in sections_of(split)})
    measured = pa.table({"sample_id": names, "measured": [[True] * 5] * len(names)})
    pq.write_table(measured, release.path / "targets/counts/measured.parquet")
    seal(release, {"counts": {"kind": "counts", "n_columns": 5, "columns": "targets/counts/genes.parquet"}})
    noise = {split: rng.normal(size=(len(values), 4)) for split, values in hidden.items()}
    rows = {split: np.column_stack([hidden[split], noise[split]]) for split in SIZES}
    return Made(release, hidden, write(folder / "knows.h5", release, rows), write(folder / "noise.h5", release, noise))


def write(path: Path, release: Written, rows: dict[str, np.ndarray], facts: Mapping[str, Any] | None = None) -> Path:
    with h5py.File(path, "w") as file:
        file["features"] = np.concatenate(list(rows.values())).astype("f4")
        file["key"] = [key for split in rows for key in release.keys[split]]
        if facts is not None:
            file.attrs["humanst"] = json.dumps(facts)
    return path


def told(capsys: pytest.CaptureFixture[str], *given: str) -> dict[str, Any]:
    capsys.readouterr()
    assert call(*given, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def line_of(content: dict[str, Any], **wanted: str) -> dict[str, Any]:
    (line,) = [line for line in content["lines"] if all(line[key] == value for key, value in wanted.items())]
    return line


def test_tier_1_stands_beside_its_baselines(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, gmt = tmp_path / "t.parquet", tmp_path / "sets.gmt"
    gmt.write_text("SET\tnote\tERBB2\tACTB\n")
    given = ["probe", made.path, f"noise={made.noise}", str(made.knows), "--genes", "5", "--gmt", str(gmt)]
    content = told(capsys, *given, "-o", str(out))
    assert content["schema"] == "stamp_train.probe/1"
    assert list(dict.fromkeys(line["features"] for line in content["lines"])) == ["noise", "knows", "mean RGB"]
    columns = list(dict.fromkeys(line["column"] for line in content["lines"]))
    assert columns == ["hest-compat", "cv-alpha", "norm", "pathways"]
    knows = line_of(content, features="knows", column="cv-alpha", genes="all")
    assert knows["pcc"]["n_donors"] == 9
    assert knows["pcc"]["low"] < knows["pcc"]["mean"] < knows["pcc"]["high"]
    assert knows["gain"]["low"] > 0
    assert 0 < knows["pcc"]["mean"] <= 1.1 * knows["ceiling"]
    for other in ("noise", "mean RGB"):
        worse = line_of(content, features=other, column="cv-alpha", genes="all")
        assert worse["pcc"]["high"] < knows["pcc"]["low"]
        assert worse["library_size"] == knows["library_size"]
    assert [gene["symbol"] for gene in content["genes"] if gene["in_sets"]] == ["ACTB", "ERBB2"]
    table = pd.read_parquet(out)
    rows_of_genes = 5 * 9  # by fold, and by its one section
    assert len(table) == 3 * (3 * rows_of_genes + 5 * 9)
    mine = table.query("features == 'knows' and column == 'norm'")
    assert mine.groupby("donor")["pcc"].mean().mean() == pytest.approx(
        line_of(content, features="knows", column="norm", genes="all")["pcc"]["mean"]
    )
    assert hashlib.sha256(out.read_bytes()).hexdigest() == content["table_sha256"]
    one = ["donor of test3"]
    straight = probe_release(made.knows, made.release.path, n_genes=5, test_donors=one).genes.query("column == 'norm'")
    assert np.allclose(mine.query("donor in @one")["pcc"], straight["pcc"], equal_nan=True)


def test_mean_colour_is_the_baseline_it_is_called(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    content = told(capsys, "probe", made.path, str(made.noise), "--genes", "5", *TWO)
    colours = Embeddings(mean_rgb(made.release.path, "test"), tuple(made.release.keys["test"]), "key", "colours")
    donors = ["donor of test0", "donor of test1"]
    table = probe_release(colours, made.release.path, n_genes=5, test_donors=donors).genes.query("column == 'norm'")
    wanted = table.groupby("donor")["pcc"].mean().mean()
    assert line_of(content, features="mean RGB", column="norm", genes="all")["pcc"]["mean"] == pytest.approx(wanted)


def test_a_probe_may_be_fitted_on_further_donors(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["probe", made.path, str(made.knows), "--genes", "5"]
    some = told(capsys, *given, *TWO)
    line = line_of(some, features="knows", column="cv-alpha", genes="all")
    assert (line["pcc"]["n_donors"], line["pcc"]["low"], line["pcc"]["note"]) == (2, None, "too few donors")
    assert any("too few donors (2)" in note for note in some["notes"])
    more = told(capsys, *given, "--split", "train", "--fit-on", "test", "-o", str(tmp_path / "t.parquet"))
    assert set(pd.read_parquet(tmp_path / "t.parquet")["donor"]) == {f"donor of train{number}" for number in range(4)}
    assert more["fit_on"] == ["test"]


def test_leakage_of_the_alignment_is_in_every_table(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = {"leakage": "B4 was trained on.", "release_sha256": "0" * 64}
    rows = {"test": made.hidden["test"][:, None]}
    file = write(tmp_path / "aligned.h5", made.release, rows, {"encoder": {"adapter": adapter}})
    out = tmp_path / "t.csv"
    content = told(capsys, "probe", made.path, str(file), "--genes", "5", *TWO, "-o", str(out))
    assert "aligned: LEAKAGE at training: B4 was trained on." in content["notes"]
    assert any("another release" in note for note in content["notes"])
    with out.open(newline="") as opened:
        assert all("LEAKAGE at training: B4" in row["notes"] for row in csv.DictReader(opened))
    assert call("probe", made.path, str(file), "--genes", "5", *TWO) == 0
    printed = capsys.readouterr()
    assert "LEAKAGE at training: B4 was trained on." in printed.err
    assert printed.out.splitlines()[0].split()[:3] == ["features", "column", "targets"]


def test_donors_that_an_adapter_was_trained_on_are_found(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = hashlib.sha256((made.release.path / "MANIFEST.json").read_bytes()).hexdigest()
    facts = {"encoder": {"adapter": {"leakage": None, "release_sha256": sha256}}}
    rows = {split: made.hidden[split][:, None] for split in SIZES}
    file = write(tmp_path / "aligned.h5", made.release, rows, facts)
    clean = told(capsys, "probe", made.path, str(file), "--genes", "5", *TWO)
    assert not any("LEAKAGE" in note for note in clean["notes"])
    seen = told(
        capsys, "probe", made.path, str(file), "--genes", "5", "--split", "train", "--test-donors", "donor of train0"
    )
    assert any(note.startswith("aligned: LEAKAGE:") and "train0" in note for note in seen["notes"])


def labels(path: Path, made: Made, names: np.ndarray) -> Path:
    lines = [f"{key},{name}\n" for key, name in zip(made.release.keys["train"], names, strict=True)]
    path.write_text("key,label\n" + "".join(lines))
    return path


def test_tier_2_stands_beside_its_baselines(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release, out = made.release, tmp_path / "d.csv"
    keys = release.keys["test"]
    drawn = np.arange(len(keys)) // 9 % 2 == 0
    file = write(tmp_path / "drawn.h5", release, {"test": np.column_stack([drawn * 9.0, made.hidden["test"]])})
    table = "key,label\n" + "".join(
        f"{key},{'in' if is_in else 'out'}\n" for key, is_in in zip(keys, drawn, strict=True)
    )
    (tmp_path / "l.csv").write_text(table)
    given = ["domains", made.path, str(file), "--labels", str(tmp_path / "l.csv"), "--seeds", "2"]
    assert call(*given, "--json") == 5  # six of a class in each section
    assert json.loads(capsys.readouterr().out)["code"] == "no-domains"
    merged = one_section_a_half(made, tmp_path)
    given[1] = str(merged.path)
    content = told(capsys, *given, "-o", str(out))
    assert content["schema"] == "stamp_train.domains/1"
    by_name = {
        name: line_of(content, features=name, method="kmeans", metric="ari")
        for name in ("drawn", "mean RGB", "library size")
    }
    assert by_name["drawn"]["mean"] > 0.9
    assert max(by_name[name]["mean"] for name in ("mean RGB", "library size")) < 0.5
    assert by_name["drawn"]["over_donors"]["note"] == "too few donors"
    assert by_name["drawn"]["gains"]["mean RGB"]["mean"] > 0.4
    with out.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 3 * 2 * (2 + 1)  # features, sections, seeds of k-means and one of Ward
    assert all("too few donors" in row["notes"] for row in rows)
    assert call(*given) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:5] == ["features", "method", "sections", "donors", "ARI"]


def one_section_a_half(made: Made, tmp_path: Path) -> Written:
    """The same pairs as two sections of two donors."""
    shutil.copytree(made.release.path, tmp_path / "merged")
    release = Written(tmp_path / "merged", keys=made.release.keys)
    index, manifest = release.path / "index/test.parquet", release.manifest
    table = pq.read_table(index)
    names = [f"test{number % 2}" for number in range(table.num_rows)]
    for column, values in {"sample_id": names, "donor_group": [f"donor of {name}" for name in names]}.items():
        table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pq.write_table(table, index)
    manifest["splits"]["test"]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
    release.set_manifest(manifest)
    return release


def test_faults_end_with_their_exit_codes(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(*given: str) -> tuple[int, str]:
        capsys.readouterr()
        ended = call(*given, "--json")
        return ended, json.loads(capsys.readouterr().out).get("code", "")

    probe, file = ["probe", made.path], str(made.knows)
    assert code(*probe, str(tmp_path / "none.h5"))[0] == 2
    assert code(*probe, file, f"knows={made.noise}")[0] == 2
    assert code(*probe, file, "--split", "testing") == (2, "unknown-split")
    assert code(*probe, file, "-o", str(tmp_path / "t.xls"))[0] == 2
    assert code(*probe, file, "--test-donors", "nobody", "--genes", "5") == (5, "donor-unknown")
    assert code(*probe, file, "--genes", "50") == (5, "too-few-genes")
    assert code(*probe, f"mean RGB={file}") == (5, "name-taken")
    (tmp_path / "torn.h5").write_bytes(made.knows.read_bytes()[:700])
    assert code(*probe, str(tmp_path / "torn.h5"))[0] == 6
    few = {"test": made.hidden["test"][:, None][:50]}
    with h5py.File(tmp_path / "few.h5", "w") as opened:
        opened["features"], opened["key"] = few["test"].astype("f4"), made.release.keys["test"][:50]
    assert code(*probe, str(tmp_path / "few.h5"), "--genes", "5") == (5, "embeddings-missing")
    content = told(capsys, *probe, str(tmp_path / "few.h5"), "--genes", "5", "--allow-missing", *TWO)
    assert "few: 58 pairs have no embedding." in content["notes"]
    with h5py.File(tmp_path / "far.h5", "w") as opened:
        opened["key"] = ["a"]
        opened["features"] = h5py.ExternalLink(file, "features")
    assert code(*probe, str(tmp_path / "far.h5")) == (8, "h5-reaches-out")
    domains = ["domains", made.path, file, "--split", "train", "--labels"]
    assert code(*domains, str(labels(tmp_path / "l.csv", made, np.full(44, "tumour")))) == (5, "no-domains")
    (tmp_path / "bad.csv").write_text("spot,label\na,b\n")
    assert code(*domains, str(tmp_path / "bad.csv")) == (5, "labels-invalid")
    assert code(*domains, str(tmp_path / "l.csv"), "--methods", "magic") == (2, "unknown-method")
    assert PairDataset(made.path, "train").pathways().shape == (44, 5)
