"""Weighted and balanced draws, batches grouped by slide, and conditions over facts of the sections."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from humanst.errors import UsageError
from humanst.load import PairDataset, SlideBatchSampler, WeightedSampler, balanced_weights, dataloader
from tests.load.conftest import write_release

SECTIONS = [
    {"sample_id": f"s{n}", "study_id": "far" if n == 3 else "near", "organ": "lung" if n == 3 else "breast"}
    | {"metadata": {"disease": "tumour" if n % 2 else "normal"}}
    for n in range(4)
]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Four sections of 20 pairs each but the last, of 3."""
    written = write_release(tmp_path_factory.mktemp("known") / "r", {"train": [40, 43]}, sections=SECTIONS)
    return PairDataset(written.path, "train", where="sample_id != 's3' or row < 12")


class Rows:
    """What samplers ask of a dataset, without a release."""

    def __init__(self, sizes: list[int]) -> None:
        import pyarrow as pa

        ids = [f"s{n}" for n, size in enumerate(sizes) for _ in range(size)]
        rows = np.random.default_rng(0).permutation(len(ids))
        self.table = pa.table({"sample_id": [ids[row] for row in rows]})
        self.source = "rows"
        self.release: Any = type("R", (), {"manifest": {}})()

    def __len__(self) -> int:
        return self.table.num_rows


def test_conditions_may_name_facts_of_the_sections(tmp_path: Path) -> None:
    written = write_release(tmp_path / "r", {"train": [40]}, sections=SECTIONS)
    for where, wanted in (
        ("organ == 'lung'", {"s3"}),
        ("study_id == 'near' and disease == 'tumour'", {"s1"}),
        ("disease == 'normal' and row > 5", {"s0", "s2"}),
    ):
        dataset = PairDataset(written.path, "train", where=where)
        assert set(dataset.metadata["sample_id"]) == wanted
    with pytest.raises(UsageError, match="organ"):
        PairDataset(written.path, "train", where="orgen == 'lung'")


def test_balanced_draws_give_every_value_its_share(known: Any) -> None:
    ids = known.metadata["sample_id"].to_numpy()
    assert Counter(ids) == {"s0": 21, "s1": 21, "s2": 21, "s3": 3}
    for by, power, shares in (
        ("sample_id", 0.0, {"s0": 1 / 4, "s3": 1 / 4}),
        ("organ", 0.0, {"s0": 1 / 6, "s3": 1 / 2}),
        ("study_id", 1.0, {"s0": 21 / 66, "s3": 3 / 66}),
    ):
        weights = balanced_weights(known, by, power=power)
        drawn = np.concatenate([ids[list(_epoch(WeightedSampler(weights, seed=1), epoch))] for epoch in range(200)])
        for name, share in shares.items():
            assert np.mean(drawn == name) == pytest.approx(share, abs=0.015)
    with pytest.raises(UsageError, match="platform"):
        balanced_weights(known, "organs")


def _epoch(sampler: Any, epoch: int) -> Any:
    sampler.set_epoch(epoch)
    return sampler


def test_ranks_cut_one_sequence_of_draws() -> None:
    weights = [1, 0, 5, 2, 0]
    whole = list(WeightedSampler(weights, n_draws=30, seed=2))
    parts = [list(WeightedSampler(weights, n_draws=30, seed=2, rank=rank, world=3)) for rank in range(3)]
    assert [row for part in parts for row in part] == whole
    assert set(whole) == {0, 2, 3}
    for bad in ([], [0, 0], [1, -1], [1, np.nan], [[1, 2]]):
        with pytest.raises(UsageError):
            WeightedSampler(bad)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=8),
    slides=st.integers(1, 3),
    per_slide=st.integers(1, 6),
    single=st.sampled_from([0.0, 0.5, 1.0]),
    world=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_slide_batches_hold_what_they_promise(
    sizes: list[int], slides: int, per_slide: int, single: float, world: int, seed: int
) -> None:
    rows = Rows(sizes)
    slide_of = np.array(rows.table["sample_id"].to_pylist())
    large = {f"s{n}" for n, size in enumerate(sizes) if size >= per_slide}
    options = {"slides": slides, "per_slide": per_slide, "single_slide": single, "seed": seed, "world": world}
    n_large = sum(size for size in sizes if size >= per_slide)
    if len(large) < (slides if single < 1 else 1) or n_large < slides * per_slide:
        with pytest.raises(UsageError, match="too few slides"):
            SlideBatchSampler(rows, **options, rank=0)  # type: ignore[arg-type]
        return
    samplers = [SlideBatchSampler(rows, **options, rank=rank) for rank in range(world)]  # type: ignore[arg-type]
    batches = [list(_epoch(sampler, 1)) for sampler in samplers]
    assert {len(of_rank) for of_rank in batches} == {samplers[0].steps}
    assert samplers[0].n_left_out == sum(sizes) - n_large
    for batch in (batch for of_rank in batches for batch in of_rank):
        assert len(batch) == len(set(batch)) == slides * per_slide
        counts = Counter(slide_of[batch].tolist())
        assert set(counts) <= large
        if single == 0:
            assert set(counts.values()) == {per_slide}
        if single == 1 and min(sizes) >= slides * per_slide:
            assert len(counts) == 1
    if single == 0:
        # No pair of a slide comes again before fewer than per_slide others of it are left.
        seen = defaultdict(Counter)
        for step in range(samplers[0].steps):
            for of_rank in batches:
                for row in of_rank[step]:
                    seen[slide_of[row]][row] += 1
        for name, counter in seen.items():
            whole_batches = sizes[int(name[1:])] // per_slide
            assert max(counter.values()) <= -(-sum(counter.values()) // (whole_batches * per_slide))


def test_slides_are_drawn_by_the_root_of_their_size_and_organs_alike(known: Any) -> None:
    def shares(**options: Any) -> dict[str, float]:
        sampler = SlideBatchSampler(known, slides=1, per_slide=3, single_slide=0, steps=3000, **options)
        ids = known.metadata["sample_id"].to_numpy()
        drawn = Counter(ids[batch[0]] for batch in sampler)
        return {name: n / 3000 for name, n in drawn.items()}

    roots = {"s0": 21**0.5, "s1": 21**0.5, "s2": 21**0.5, "s3": 3**0.5}
    expected = {name: root / sum(roots.values()) for name, root in roots.items()}
    assert shares() == pytest.approx(expected, abs=0.03)
    assert shares(balance="organ") == pytest.approx({"s0": 1 / 6, "s1": 1 / 6, "s2": 1 / 6, "s3": 1 / 2}, abs=0.03)


def test_about_half_of_the_batches_are_of_one_slide(known: Any) -> None:
    sampler = SlideBatchSampler(known, slides=3, per_slide=3, single_slide=0.5, steps=400)
    ids = known.metadata["sample_id"].to_numpy()
    n_slides = [len(set(ids[batch])) for batch in sampler if "s3" not in ids[batch]]
    assert set(n_slides) == {1, 3}
    # s3 has three pairs, so a batch of it alone is filled from a second slide.
    assert np.mean([len(set(ids[batch])) < 3 for batch in sampler]) == pytest.approx(0.5, abs=0.08)


def test_the_loader_makes_them_with_one_option(torch: ModuleType, known: Any) -> None:
    loader = dataloader(known.release, slides={"slides": 3, "per_slide": 2, "single_slide": 0}, workers=0)
    batches = list(loader)
    assert len(batches) == len(loader) == 83 // 6
    assert all(sorted(Counter(batch["metadata"]["sample_id"]).values()) == [2, 2, 2] for batch in batches)
    for options in (
        {"slides": {}, "batch_size": 4},
        {"slides": {}, "stream": True},
        {"balance": "organ", "stream": True},
        {"balance": "organ", "shuffle": False},
    ):
        with pytest.raises(UsageError, match="go together"):
            dataloader(known.release, workers=0, **options)
