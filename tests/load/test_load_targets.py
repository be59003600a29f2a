"""Further target sets beside the pathways: the row of the pair, zeros and a mask where nothing was measured."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from humanst.errors import IntegrityError, UsageError
from humanst.load import PairDataset, PairStream, dataloader
from tests.load.conftest import Written, write_release

GENES = ["ENSG00000000001", "ENSG00000000002", "ENSG00000000003", "ENSG00000000004"]
SIZES = [7, 5, 6]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Written, np.ndarray, np.ndarray]:
    """A release with values (some NaN) and counts (the last gene unmeasured in s1); and both by row of the index."""
    release = write_release(tmp_path / "r", {"train": SIZES})
    rng = np.random.default_rng(0)
    values = rng.normal(size=(sum(SIZES), 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    counts = rng.poisson(0.7, size=(sum(SIZES), len(GENES))).astype(np.int32)
    folder = release.path / "targets"
    for name in ("pca-3", "counts"):
        (folder / name).mkdir(parents=True)
    begin = 0
    for number, size in enumerate(SIZES):
        part = slice(begin, begin := begin + size)
        np.save(folder / "pca-3" / f"train-0000{number}.npy", values[part])
        sparse = scipy.sparse.csr_matrix(counts[part])
        scipy.sparse.save_npz(folder / "counts" / f"train-0000{number}.npz", sparse)
    pq.write_table(pa.table({"component": ["1", "2", "3"]}), folder / "pca-3" / "columns.parquet")
    pq.write_table(pa.table({"ensembl_id": GENES}), folder / "counts" / "genes.parquet")
    ids = ["s0", "s1", "s2", "s3"]
    flags = [[True, True, True, name != "s1"] for name in ids]
    pq.write_table(pa.table({"sample_id": ids, "measured": flags}), folder / "counts" / "measured.parquet")
    described = {
        "pca-3": {"kind": "pca", "n_columns": 3, "columns": "targets/pca-3/columns.parquet"},
        "counts": {"kind": "counts", "n_columns": len(GENES), "columns": "targets/counts/genes.parquet"},
    }
    seal(release, described)
    return release, values, counts


def seal(release: Written, described: dict[str, Any]) -> None:
    paths = sorted(path for path in release.path.rglob("*") if path.is_file() and path.name != "MANIFEST.json")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(release.path).as_posix()}\n"
        for path in paths
        if path.name != "SHA256SUMS"
    ]
    (release.path / "SHA256SUMS").write_text("".join(lines))
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    release.set_manifest({**release.manifest, "targets": described, "sha256sums": digest})


def test_each_pair_has_its_row_whatever_was_selected(written: Any) -> None:
    release, values, counts = written
    keys = release.keys["train"]
    dataset = PairDataset(release.path, "train", where="row != 3", targets=("pca-3", "counts"))
    assert len(dataset) == len(keys) - 1
    for pair in (dataset[number] for number in range(len(dataset))):
        row = keys.index(pair["key"])
        assert np.array_equal(pair["targets"]["pca-3"], np.nan_to_num(values[row]))
        assert np.array_equal(pair["target_masks"]["pca-3"], ~np.isnan(values[row]))
        assert np.array_equal(pair["targets"]["counts"], counts[row])
        assert pair["target_masks"]["counts"].tolist() == [True, True, True, not pair["key"].startswith("s1")]
    assert dataset.target_columns("counts") == GENES
    assert PairDataset(release.path, "train")[0]["targets"] == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_have_them_too(torch: ModuleType, written: Any, stream: bool, workers: int) -> None:
    release, values, counts = written
    keys = release.keys["train"]
    loader = dataloader(release.path, 4, stream=stream, workers=workers, targets=("counts", "pca-3"))
    seen = []
    for batch in loader:
        rows = [keys.index(key) for key in batch["key"]]
        assert batch["targets"]["counts"].dtype == torch.int32
        assert np.array_equal(batch["targets"]["counts"], counts[rows])
        assert np.array_equal(batch["targets"]["pca-3"], np.nan_to_num(values[rows]))
        assert np.array_equal(batch["target_masks"]["pca-3"], ~np.isnan(values[rows]))
        seen += batch["key"]
    assert sorted(seen) == sorted(keys)


def test_a_set_that_is_not_there_or_not_the_one_on_record_is_refused(written: Any) -> None:
    release, _, _ = written
    with pytest.raises(UsageError, match="counts, pca-3"):
        PairDataset(release.path, "train", targets=("hvg-9",))
    file = release.path / "targets/pca-3/train-00001.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    dataset = PairDataset(release.path, "train", targets=("pca-3",))
    assert len(dataset[0]["targets"]) == 1
    with pytest.raises(IntegrityError, match=r"pca-3/train-00001\.npy"):
        list(PairStream(release.path, "train", targets=("pca-3",)))
    sums = release.path / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("train-00000.npy", "train-00009.npy"))
    with pytest.raises(IntegrityError, match="SHA256SUMS"):
        PairDataset(release.path, "train", targets=("counts",))
