"""Embeddings beside the pairs of a release: every row at its place, and nothing lost without a word."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scanpy as sc
import scipy.sparse as sp
from PIL import Image

from humanst.errors import DataError, HostileError, IntegrityError, UsageError
from humanst.load import open_release
from stamp_train.counts import Counts, choose_genes, genes_of_gmt, read_counts
from stamp_train.features import join, mean_rgb, read_embeddings, read_labels
from tests.load.conftest import Written, write_release
from tests.load.test_load_targets import seal

GENES = ["ENSG00000000001", "ENSG00000000002", "ENSG00000000003", "ENSG00000000004"]
SYMBOLS = ["ERBB2", "CD3E", "COL1A1", "ACTB"]
SIZES = {"train": [7, 5], "test": [6, 3], "val": []}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Written, dict[str, np.ndarray]]:
    """A release with counts by split, the last gene unmeasured in s1."""
    release = write_release(tmp_path_factory.mktemp("features") / "r", SIZES)
    rng, counts = np.random.default_rng(0), {}
    folder = release.path / "targets/counts"
    folder.mkdir(parents=True)
    for split, sizes in SIZES.items():
        counts[split] = rng.poisson(0.7, size=(sum(sizes), len(GENES))).astype(np.int32)
        begin = 0
        for number, size in enumerate(sizes):
            part = sp.csr_matrix(counts[split][begin : begin + size])
            sp.save_npz(folder / f"{split}-0000{number}.npz", part)
            begin += size
    pq.write_table(pa.table({"ensembl_id": GENES, "symbol": SYMBOLS}), folder / "genes.parquet")
    ids = ["s0", "s1", "s2", "s3"]
    flags = [[True, True, True, name != "s1"] for name in ids]
    pq.write_table(pa.table({"sample_id": ids, "measured": flags}), folder / "measured.parquet")
    described = {"counts": {"kind": "counts", "n_columns": 4, "columns": "targets/counts/genes.parquet"}}
    seal(release, described)
    return release, counts


def embedding_of(name: str) -> np.ndarray:
    """What an encoder would say of the pair called so: a vector by which any mix-up shows."""
    return np.frombuffer((name * 4).encode()[:24], dtype=np.uint8).astype(np.float32)


def write_file(path: Path, ids: list[str], column: str = "uid", dtype: str = "f4", **others: Any) -> Path:
    features = np.array([embedding_of(name) for name in ids], dtype=dtype)
    if path.suffix == ".parquet":
        rows = pa.FixedSizeListArray.from_arrays(features.ravel(), 24) if dtype == "f4" else pa.array(list(features))
        pq.write_table(pa.table({column: ids, "features": rows}), path)
        return path
    with h5py.File(path, "w") as file:
        for name, values in {"features": features, column: ids, **others}.items():
            file[name] = values
    return path


def ids_of(release: Written, split: str, column: str) -> list[str]:
    return [release.documents[key][column] for key in release.keys[split]]


@pytest.mark.parametrize("column", ["uid", "key"])
@pytest.mark.parametrize(("name", "dtype"), [("e.h5", "f4"), ("e.h5", "f2"), ("e.parquet", "f4"), ("e.parquet", "f8")])
def test_each_pair_gets_its_embedding(written: Any, tmp_path: Path, name: str, dtype: str, column: str) -> None:
    release, _ = written
    ids = ids_of(release, "test", column) + ids_of(release, "train", column)
    shuffled = [ids[row] for row in np.random.default_rng(1).permutation(len(ids))]
    read = read_embeddings(write_file(tmp_path / name, shuffled, column, dtype))
    assert (read.id_column, read.features.dtype) == (column, np.float32)
    found = join(read, release.path, ["test"])
    assert found.pairs["key"].tolist() == release.keys["test"]
    assert (found.features == [embedding_of(name) for name in ids_of(release, "test", column)]).all()
    assert (found.n_elsewhere, found.missing, set(found.pairs["split"])) == (12, (), {"test"})
    assert {"sample_id", "donor_group", "n_counts", "log10_counts"} <= set(found.pairs.columns)
    both = join(read, open_release(release.path), ["train", "test", "val", "train"])
    assert both.pairs["key"].tolist() == release.keys["train"] + release.keys["test"]
    assert both.n_elsewhere == 0


def test_uid_counts_where_both_are_there(written: Any, tmp_path: Path) -> None:
    release, _ = written
    file = write_file(tmp_path / "e.h5", ids_of(release, "test", "uid"), key=[f"k{number}" for number in range(9)])
    assert read_embeddings(file).id_column == "uid"


def test_nothing_is_lost_in_silence(written: Any, tmp_path: Path) -> None:
    release, _ = written
    ids = ids_of(release, "test", "uid")
    with pytest.raises(DataError, match=r"2 without, for example ") as raised:
        join(read_embeddings(write_file(tmp_path / "few.h5", ids[2:])), release.path)
    assert raised.value.facts.code == "embeddings-missing"
    found = join(read_embeddings(tmp_path / "few.h5"), release.path, allow_missing=True)
    assert found.missing == tuple(release.keys["test"][:2])
    assert found.pairs["key"].tolist() == release.keys["test"][2:]
    assert found.rows.tolist() == list(range(2, 9))
    assert (found.features == [embedding_of(name) for name in ids[2:]]).all()
    with pytest.raises(DataError, match=r"1 others, for example elsewhere") as raised:
        join(read_embeddings(write_file(tmp_path / "more.h5", [*ids, "elsewhere"])), release.path, allow_missing=True)
    assert raised.value.facts.code == "embeddings-strange"
    with pytest.raises(UsageError, match="no such split"):
        join(read_embeddings(tmp_path / "few.h5"), release.path, ["testing"])


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"features": np.zeros((3, 4), "f4"), "uid": ["a", "b", "a"]}, "1 more"),
        ({"features": np.zeros((3, 4), "f4"), "uid": ["a", "b"]}, "2"),
        ({"features": np.full((2, 4), np.nan, "f4"), "uid": ["a", "b"]}, "2 rows with NaN"),
        ({"features": np.zeros((1, 2, 4), "f4"), "uid": ["a"]}, "shape"),
        ({"features": np.zeros((2, 4), "i4"), "uid": ["a", "b"]}, "int32"),
        ({"features": np.zeros((2, 4), "f4"), "coords": [1, 2]}, "coords"),
        ({"features": np.zeros((2, 4), "f4"), "uid": [1, 2]}, "string"),
        ({"uid": ["a"]}, "uid"),
    ],
)
def test_a_file_that_is_no_file_of_embeddings_is_refused(tmp_path: Path, parts: dict[str, Any], found: str) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as file:
        for name, values in parts.items():
            file[name] = values
    with pytest.raises(DataError, match=found) as raised:
        read_embeddings(tmp_path / "e.h5")
    assert (raised.value.facts.code, raised.value.facts.file) == ("embeddings-invalid", "e.h5")


def test_torn_ragged_foreign_and_hostile_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.h5").write_bytes(b"\x89HDF\r\n\x1a\n nothing more")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"uid": ["a", "b"], "features": [[1.0, 2.0], [1.0]]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"uid": ["a", "b"], "features": [[1.0, 2.0], None]}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"uid": ["a", "b"]}), tmp_path / "none.parquet")
    for name in ("torn.h5", "torn.parquet", "missing.h5"):
        with pytest.raises(IntegrityError, match="cannot be read"):
            read_embeddings(tmp_path / name)
    for name in ("ragged.parquet", "null.parquet", "none.parquet"):
        with pytest.raises(DataError):
            read_embeddings(tmp_path / name)
    with pytest.raises(UsageError, match="another kind of file"):
        read_embeddings(tmp_path / "e.pt")
    write_file(tmp_path / "secret.h5", ["a"])
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["uid"] = ["a"]
        file["features"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/features")
    with pytest.raises(HostileError):
        read_embeddings(tmp_path / "link.h5")


def test_a_file_that_grows_out_of_proportion_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["uid"] = ["a"]
        file.create_dataset("features", (10_000_000, 1024), np.float32, chunks=(1024, 1024), compression="gzip")
    with pytest.raises(HostileError, match="grows too much"):
        read_embeddings(tmp_path / "e.h5")
    width, schema = 1_000_000, pa.schema([("uid", pa.string()), ("features", pa.list_(pa.float32(), 1_000_000))])
    with pq.ParquetWriter(tmp_path / "e.parquet", schema, compression="zstd") as writer:
        zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(width, np.float32)), width)
        for row in range(20):  # 80 MB of one value, in a few kilobytes
            writer.write_table(pa.table({"uid": [f"u{row}"], "features": zeros}, schema=schema))
    assert (tmp_path / "e.parquet").stat().st_size < 80_000
    with pytest.raises(HostileError, match="grows too much"):
        read_embeddings(tmp_path / "e.parquet")


def test_mean_colours_are_those_of_the_patches(written: Any) -> None:
    release, _ = written
    found = mean_rgb(release.path, "test")
    images = [np.asarray(Image.open(io.BytesIO(release.jpgs[key]))) for key in release.keys["test"]]
    np.testing.assert_allclose(found, [image.mean(axis=(0, 1)) for image in images], atol=0.5)
    assert found.dtype == np.float32


def test_counts_come_in_the_order_of_the_index(written: Any) -> None:
    release, truth = written
    counts = read_counts(release.path, ["test", "train"])
    assert (counts.matrix.toarray() == np.vstack([truth["test"], truth["train"]])).all()
    assert (counts.ensembl_ids, counts.symbols) == (tuple(GENES), tuple(SYMBOLS))
    assert (counts.columns([GENES[2], GENES[0]])[:9] == truth["test"][:, [2, 0]]).all()
    with pytest.raises(DataError, match="did not measure") as raised:
        counts.columns(GENES[3:])
    assert raised.value.facts.section == "s1"
    with pytest.raises(DataError, match="no such gene"):
        counts.columns(["ENSG9"])


def test_genes_are_chosen_as_scanpy_would_among_those_seen_everywhere() -> None:
    rng = np.random.default_rng(2)
    mean = rng.gamma(0.6, 2.0, size=300)
    spread = rng.gamma(2, 0.5, size=300)
    counts = rng.poisson(mean * rng.lognormal(0, spread, size=(200, 300))).astype(np.int32)
    counts[:100, 7] = 0
    sections = ["a"] * 100 + ["b"] * 100
    names = [f"E{number:03d}" for number in range(300)]
    symbols = [f"S{number:03d}" for number in rng.permutation(300)]
    measured = {"a": np.ones(300, bool), "b": np.arange(300) != 9}
    found = choose_genes(Counts(sp.csr_matrix(counts), tuple(names), tuple(symbols), measured), sections, 20)
    kept = [g for g in range(300) if g != 9 and all((part[:, g] > 0).mean() >= 0.1 for part in np.split(counts, 2))]
    assert 7 not in kept
    assert 100 < len(kept) < 290
    kept.sort(key=lambda g: symbols[g])
    table = anndata.AnnData(np.log1p(counts[:, kept].astype(np.float64)))
    expected = sc.pp.highly_variable_genes(table, n_top_genes=20, inplace=False)["highly_variable"].to_numpy()
    assert found == tuple(names[kept[place]] for place in np.flatnonzero(expected))
    first = int(found[0][1:])
    measured["a"][first] = False
    again = choose_genes(Counts(sp.csr_matrix(counts), tuple(names), tuple(symbols), measured), sections, 20)
    assert names[first] not in again
    with pytest.raises(DataError, match="Too few genes"):
        choose_genes(Counts(sp.csr_matrix(counts), tuple(names), tuple(symbols), measured), sections, 299)


def test_labels_are_joined_by_key(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("label,key\ninvasive cancer,b\n fat ,a\n")
    assert read_labels(file, ["a", "b", "c"]).tolist() == ["fat", "invasive cancer", ""]
    for text in ("key,label\nz,fat\n", "key,label\na,x\na,y\n", "key,name\na,x\n", ""):
        file.write_text(text)
        with pytest.raises(DataError, match="labels cannot be used"):
            read_labels(file, ["a", "b", "c"])
    for data in ("key,label\na,Ödem\n".encode("latin-1"), b"label,key\nfat\n", b"key,label\nz,x\n" + b"a" * 200_000):
        file.write_bytes(data)
        with pytest.raises(DataError, match="labels cannot be used"):
            read_labels(file, ["a", "b", "c"])


def test_genes_of_a_gmt_file(tmp_path: Path) -> None:
    file = tmp_path / "sets.gmt"
    file.write_text("ONE\tnote\tA\tB\nTWO\thttps://x\tB\tC\t\n")
    assert genes_of_gmt(file) == {"A", "B", "C"}
    file.write_text("ONE\tnote\n")
    with pytest.raises(DataError, match="no GMT file"):
        genes_of_gmt(file)
    file.write_bytes("ÖDEM\tnote\tA\n".encode("latin-1"))
    with pytest.raises(DataError, match="no GMT file"):
        genes_of_gmt(file)
