"""Batches: the same for any number of ranks and workers, taken up where they were left, and changed as said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import color

from stamp_train.align_data import Images, TrainingImages
from stamp_train.augment import Augment, jittered, turned
from stamp_train.ranks import Ranks
from tests.load.conftest import Written
from tests.stamp_train.small_release import settings, write_small_release

CPU = torch.device("cpu")
ALONE = Ranks(0, 1, CPU)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_small_release(tmp_path_factory.mktemp("data") / "humanst-1")


def images_of(release: Written, ranks: Ranks = ALONE, **changes) -> TrainingImages:
    return TrainingImages(release.path, settings(release.path, Path("run"), **changes), ranks)


def first(images: TrainingImages, n: int, step: int = 0) -> list[Images]:
    return [batch for _, batch in zip(range(n), images.batches(step), strict=False)]


def same(one: list[Images], two: list[Images]) -> bool:
    return len(one) == len(two) and all(
        np.array_equal(a.rows, b.rows) and torch.equal(a.images, b.images) for a, b in zip(one, two, strict=True)
    )


def test_each_image_is_the_one_of_its_row(release: Written) -> None:
    images = images_of(release, augment=False, jitter=0.0)
    for batch in first(images, 3):
        for image, row in zip(batch.images, batch.rows, strict=True):
            assert np.array_equal(image, images.dataset[int(row)]["image"])


def test_an_epoch_shows_no_pair_twice_and_the_next_one_another_order(release: Written) -> None:
    images = images_of(release, single_section_share=0.0, jitter=0.0)
    assert images.steps_an_epoch == 8
    rows = [batch.rows for batch in first(images, 16)]
    assert len(set(np.concatenate(rows[:8]).tolist())) > 40
    assert not np.array_equal(np.concatenate(rows[:8]), np.concatenate(rows[8:]))
    sections = np.array(images.dataset.table["sample_id"].to_pylist())
    assert all(sorted(np.unique(sections[row], return_counts=True)[1]) == [4, 4] for row in rows)


def test_two_ranks_in_turn_have_the_batches_of_one(release: Written) -> None:
    alone = first(images_of(release), 3)
    parts = [first(images_of(release, Ranks(rank, 2, CPU)), 3) for rank in (0, 1)]
    both = [
        Images(torch.cat([a.images, b.images]), np.concatenate([a.rows, b.rows])) for a, b in zip(*parts, strict=True)
    ]
    assert same(alone, both)


@pytest.mark.parametrize("workers", [0, 2])
def test_taken_up_it_goes_on_with_the_next_batch(release: Written, workers: int) -> None:
    whole = first(images_of(release, jitter=0.0), 11)
    images = images_of(release, workers=workers, jitter=0.0)
    # Workers have read ahead: where the loader stands is what it gave.
    assert same(first(images, 9), whole[:9])
    again = images_of(release, jitter=0.0)
    again.go_on(images.state())
    assert same(first(again, 2, step=9), whole[9:])


def test_what_is_never_drawn_is_counted(release: Written) -> None:
    images = images_of(release, batch_size=16, sections_per_batch=1, jitter=0.0)
    assert images.n_left_out == 0
    rows = images.first_batches(3)
    assert [len(row) for row in rows] == [16, 16, 16]
    assert np.array_equal(rows[0], first(images, 1)[0].rows)


def test_turns_are_the_eight_positions_and_leave_the_middle_in_place() -> None:
    image = torch.arange(6 * 6 * 3, dtype=torch.uint8).view(1, 6, 6, 3)
    draws = np.array([[a, b, c] for a in (0.2, 0.7) for b in (0.2, 0.7) for c in (0.2, 0.7)])
    found = turned(image.expand(8, 6, 6, 3), draws)
    wanted = {
        np.rot90(side, k, axes=(0, 1)).tobytes()
        for side in (image[0].numpy(), image[0].numpy()[::-1])
        for k in range(4)
    }
    assert {np.ascontiguousarray(one).tobytes() for one in found.numpy()} == wanted
    middle = found[:, 2:4, 2:4, 0].reshape(8, 4).sort(dim=1).values
    assert (middle == middle[0]).all()
    assert torch.equal(turned(image, np.array([[0.2, 0.2, 0.2]])), image)


def test_stains_are_scaled_as_a_separation_of_stains_says() -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(40, 250, (2, 5, 5, 3), dtype=np.uint8)
    draws = np.array([[0.9, 0.5, 0.5, 0.5], [0.5, 0.1, 0.5, 1.0]])
    found = jittered(torch.from_numpy(images), draws, 0.2).numpy()
    for image, one, factors, light in zip(images, found, ([1.16, 1, 1], [1, 0.84, 1]), (1.0, 1.2), strict=True):
        stains = -np.log(image / 255) @ color.hed_from_rgb * factors
        plain = np.exp(-stains @ color.rgb_from_hed) * 255 * light
        assert np.abs(one - np.clip(plain, 0, 255)).max() <= 1


def test_white_stays_white_and_nothing_asked_is_nothing_done() -> None:
    white = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    assert torch.equal(jittered(white, np.array([[0.9, 0.1, 0.9, 0.5]]), 0.3), white)
    images = torch.randint(0, 256, (3, 4, 4, 3), dtype=torch.uint8)
    nothing = Augment(turns=False, jitter=0.0, seed=0)
    assert nothing(images, nothing.draws(0, 3)) is images
    some = Augment(turns=True, jitter=0.05, seed=0)
    assert not np.array_equal(some.draws(0, 3), some.draws(1, 3))
    assert torch.equal(some(images, some.draws(4, 3)), some(images, some.draws(4, 3)))
