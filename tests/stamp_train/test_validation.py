"""Figures of held-out sections and of retrieval, each against a plain reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from humanst.load import PairDataset, open_release
from stamp_train.align_targets import Source, open_targets
from stamp_train.config import AlignConfig
from stamp_train.pair_targets import Targets
from stamp_train.retrieval import ceiling, recall_at_1
from stamp_train.validation import compare, mean_over_donors, section_pcc
from tests.load.conftest import Written
from tests.stamp_train.small_release import write_small_release

SECTION = np.repeat([0, 1, 2], [30, 20, 9])


def test_each_section_has_a_correlation_of_its_own() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(59, 4))
    predicted = truth + rng.normal(size=truth.shape) + 10 * SECTION[:, None]
    truth[rng.random(truth.shape) < 0.1] = np.nan
    truth[SECTION == 1, 2] = 3.0
    truth[SECTION == 0, 3] = np.where(np.arange(30) < 9, truth[SECTION == 0, 3], np.nan)
    found = section_pcc(predicted, truth, SECTION, 3)
    for section in (0, 1):
        for target in range(4):
            mine = (section == SECTION) & ~np.isnan(truth[:, target])
            if (section, target) in ((1, 2), (0, 3)):
                assert math.isnan(found[section, target])
            else:
                wanted = stats.pearsonr(predicted[mine, target], truth[mine, target]).statistic
                assert found[section, target] == pytest.approx(wanted, abs=1e-10)
    assert np.isnan(found[2]).all()  # nine pairs are too few
    assert (section_pcc(np.ones_like(truth), truth, SECTION, 3)[1, :2] == 0).all()


def test_donors_count_alike_however_many_sections_they_gave() -> None:
    of_section = np.array([0.2, 0.4, 0.9, np.nan])
    assert mean_over_donors(of_section, ["a", "a", "b", "c"]) == pytest.approx((0.3 + 0.9) / 2)
    assert math.isnan(mean_over_donors(np.array([np.nan]), ["a"]))


def test_a_look_says_how_many_it_is_of() -> None:
    rng = np.random.default_rng(1)
    values, library = rng.normal(size=(59, 2)).astype(np.float32), rng.normal(size=59).astype(np.float32)
    targets = Targets(values, library, SECTION, np.zeros((59, 2)), ("a", "b", "c"), ("one", "one", "two"))
    found = compare(7, targets, values.astype(np.float64), -library.astype(np.float64))
    assert (found.step, found.n_sections, found.n_donors) == (7, 2, 1)
    assert found.pcc == pytest.approx(1)
    assert found.pcc_library == pytest.approx(-1)


def test_retrieval_looks_among_those_that_are_compared() -> None:
    likeness = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.8, 0.8], [0.0, 0.1, 0.2]])
    everyone = torch.ones(3, 3, dtype=torch.bool)
    assert recall_at_1(likeness, everyone) == pytest.approx((0 + 0.5 + 1) / 3)
    apart = everyone.clone()
    apart[0, 1] = apart[1, 0] = False
    assert recall_at_1(likeness, apart) == pytest.approx((1 + 0.5 + 1) / 3)
    assert recall_at_1(torch.zeros(8, 8), torch.ones(8, 8, dtype=torch.bool)) == pytest.approx(1 / 8)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_small_release(tmp_path_factory.mktemp("ceiling") / "humanst-1")


def ceiling_of(release: Written, source: Source) -> float | None:
    dataset = PairDataset(release.path, "train")
    batches = [np.random.default_rng(number).permutation(64)[:16] for number in range(20)]
    return ceiling(source, source.read(dataset), dataset, batches, near_um=0.5, seed=0)


def source_with(target_set: str | None, release: Written, weights: float | None = None) -> Source:
    from dataclasses import replace

    config = AlignConfig(target_set=target_set)
    source = open_targets(open_release(release.path), config, PairDataset(release.path, "train"))
    return source if weights is None else replace(source, reliability=np.full(5, weights, np.float32), measured=True)


def test_the_ceiling_goes_from_chance_to_one_with_what_is_reliable(release: Written) -> None:
    # The vectors are a third NaN: only targets that a whole batch has are looked at, so they are filled here.
    from dataclasses import replace

    dataset = PairDataset(release.path, "train")
    batches = [np.random.default_rng(number).permutation(64)[:16] for number in range(20)]
    values = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    found = []
    for weight in (0.0, 0.5, 0.9, 1.0):
        source = source_with(None, release, weight)
        targets = replace(source.read(dataset), values=values)
        found.append(ceiling(source, targets, dataset, batches, near_um=0.5, seed=0))
    assert found[0] == pytest.approx(1 / 16, abs=0.04)
    assert found[3] == 1
    assert found == sorted(found)


def test_counts_are_thinned_and_other_sets_have_no_ceiling(release: Written) -> None:
    of_genes = ceiling_of(release, source_with("hvg:12", release))
    assert of_genes is not None
    assert 1 / 16 < of_genes < 1
    assert ceiling_of(release, source_with("planted", release)) is None
    assert ceiling_of(release, source_with("library", release)) is None


def test_files_of_a_release_are_not_touched(release: Written, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in release.path.rglob("*") if path.is_file()}
    ceiling_of(release, source_with("pca:2", release))
    assert {path.name: path.stat().st_mtime_ns for path in release.path.rglob("*") if path.is_file()} == before
