"""Several releases as one stream: exact proportions, no pair before its turn, resumable with any number of workers."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from humanst.errors import UsageError
from humanst.load import MixedStream, PairStream, dataloader
from tests.load.conftest import write_release


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("two")
    one = write_release(folder / "one", {"train": [9, 12, 9]}, version="1.0.0")
    organs = {"breast": 0, "lung": 1, "adrenal gland": 2}
    other = write_release(folder / "other", {"train": [7, 3]}, version="2.0.0", organs=organs)
    return one, other


def mixed(two: Any, workers: int = 0, **options: Any) -> Any:
    return dataloader({two[0].path: 1.0, two[1].path: 1.0}, 4, workers=workers, seed=3, **options)


def read(loader: Any) -> list[list[tuple[str, str]]]:
    return [list(zip(batch["metadata"]["release"], batch["key"], strict=True)) for batch in loader]


def test_shares_are_exact_and_a_source_comes_round_before_it_repeats(torch: ModuleType, two: Any) -> None:
    loader = mixed(two)
    seen: dict[str, list[str]] = {"1.0.0": [], "2.0.0": []}
    for _ in range(6):
        batches = read(loader)
        assert [len(batch) for batch in batches] == [4] * 10
        assert Counter(release for batch in batches for release, _ in batch) == {"1.0.0": 20, "2.0.0": 20}
        for release, key in (pair for batch in batches for pair in batch):
            seen[release].append(key)
    for release, written in (("1.0.0", two[0]), ("2.0.0", two[1])):
        keys = written.keys["train"]
        rounds = [seen[release][k : k + len(keys)] for k in range(0, len(seen[release]), len(keys))]
        assert all(sorted(one) == sorted(keys) for one in rounds if len(one) == len(keys))
        assert rounds[0] != rounds[1]


def test_pairs_are_those_of_the_releases_under_one_table_of_organs(torch: ModuleType, two: Any) -> None:
    loader = mixed(two)
    organs = {"adrenal gland": 0, "breast": 1, "lung": 2}
    assert loader.dataset.stream.organs == organs
    for batch in loader:
        for row, key in enumerate(batch["key"]):
            written = two[0] if batch["metadata"]["release"][row] == "1.0.0" else two[1]
            organ = written.documents[key]["organ"]
            assert batch["label"][row] == organs[organ]
            expected = np.nan_to_num(written.vectors[key])
            assert np.array_equal(batch["pathways"][row], expected)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 2), (2, 1)])
def test_it_resumes_exactly(torch: ModuleType, two: Any, before: int, after: int) -> None:
    whole = mixed(two)
    unbroken = [read(whole), read(whole)]
    for stop in (0, 3, 9):
        first = mixed(two, before)
        first.set_epoch(1)
        given = read(islice(iter(first), stop))
        second = mixed(two, after)
        second.load_state_dict(first.state_dict())
        assert given + read(second) == unbroken[1]
    with pytest.raises(UsageError):
        dataloader({two[0].path: 2.0, two[1].path: 1.0}, 4, workers=0, seed=3).load_state_dict(whole.state_dict())


def test_ranks_give_equally_many_batches(torch: ModuleType, two: Any) -> None:
    ranks = [read(mixed(two, rank=rank, world=3)) for rank in range(3)]
    assert {len(batches) for batches in ranks} == {3}
    for release, written in (("1.0.0", two[0]), ("2.0.0", two[1])):
        keys = [key for batches in ranks for batch in batches for name, key in batch if name == release]
        assert set(keys) <= set(written.keys["train"])


def test_what_does_not_go_together_is_refused(two: Any, tmp_path: Path) -> None:
    one = PairStream(two[0].path, "train", batch_size=4)
    other_pathways = write_release(
        tmp_path / "r", {"train": [3]}, pathways={"set": "x", "names": ["A", "B", "C", "D", "E"]}
    )
    for streams, weights in (
        ([], None),
        ([one, PairStream(two[1].path, "train", batch_size=5)], None),
        ([one, PairStream(other_pathways.path, "train", batch_size=4)], None),
        ([one], [0.0]),
        ([one], [1.0, 2.0]),
    ):
        with pytest.raises(UsageError, match="cannot be mixed"):
            MixedStream(streams, weights)


def without_column(written: Any, name: str) -> None:
    index = written.path / "index/train.parquet"
    pq.write_table(pq.read_table(index).drop_columns([name]), index)
    manifest = written.manifest
    manifest["splits"]["train"]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
    written.set_manifest(manifest)


def test_batches_have_the_columns_that_all_indexes_have(torch: ModuleType, tmp_path: Path) -> None:
    """Releases of other versions need not describe their pairs alike."""
    one, other = (write_release(tmp_path / name, {"train": [7, 6]}, version=name) for name in ("1", "2"))
    without_column(one, "blur")
    without_column(other, "n_genes")
    for paths in ((one.path, other.path), (other.path, one.path)):
        for batch in dataloader(dict.fromkeys(paths, 1.0), 3, workers=0):
            assert not {"blur", "n_genes"} & set(batch["metadata"])
            assert {len(column) for column in batch["metadata"].values()} == {3}
            assert batch["metadata"]["x_px"].dtype == torch.float64


@pytest.mark.parametrize("weights", [(3.0, 1.0), (0.1, 0.9)])
def test_weights_are_shares_of_every_epoch_and_an_epoch_has_an_end(
    torch: ModuleType, two: Any, weights: tuple[float, float]
) -> None:
    """40 pairs in all: ten batches of four, split by the weights to the pair."""
    loader = dataloader({two[0].path: weights[0], two[1].path: weights[1]}, 4, workers=0)
    assert len(loader) == 10
    for _ in range(3):
        batches = read(loader)
        assert [len(batch) for batch in batches] == [4] * 10
        counted = Counter(release for batch in batches for release, _ in batch)
        share = 40 * weights[0] / sum(weights)
        assert counted == {"1.0.0": share, "2.0.0": 40 - share}
