"""Identity of a section: copies of one picture and one count table are found, other tissue is not taken for them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_matrix

from humanst.shards.identity import counts_sketch, links_between, picture_hashes

Rgb = NDArray[np.uint8]


def tissue(seed: int, side: int = 260) -> Rgb:
    """A blob of structured pink on white, another for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, : side + 60] / side
    field = sum(
        rng.normal() * np.sin(rng.uniform(2, 40) * x + rng.uniform(2, 40) * y + rng.uniform(0, 6)) for _ in range(30)
    )
    blob = ((x - 0.6) ** 2 + (y - 0.5) ** 2 < 0.16)[..., None]
    pink = np.array([200, 120, 170]) + 12 * np.asarray(field)[..., None]
    return np.where(blob, pink, 244).clip(0, 255).astype(np.uint8)


def copies(rgb: Rgb) -> Iterator[Rgb]:
    """The picture in its 8 turns, scaled and coded again."""
    for turn in range(8):
        turned = np.rot90(rgb if turn < 4 else rgb[:, ::-1], turn % 4)
        image = Image.fromarray(np.ascontiguousarray(turned))
        image = image.resize((int(image.width * 0.7), int(image.height * 0.7)), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=60)
        yield np.asarray(Image.open(out))


def identity(image: str, rgb: Rgb, counts: list[str]) -> dict[str, Any]:
    return {"image": image, "turns": picture_hashes(rgb), "counts": counts}


def found(pictures: dict[str, Rgb]) -> set[tuple[str, str, str]]:
    links = links_between({name: identity(name, rgb, []) for name, rgb in pictures.items()})
    return {(link.one, link.other, link.by) for link in links}


def test_a_picture_is_known_however_it_is_turned_and_other_tissue_is_not_it() -> None:
    for seed in range(2):
        rgb = tissue(seed)
        for number, copy in enumerate(copies(rgb)):
            assert found({"one": rgb, "two": copy}) == {("one", "two", "picture")}, (seed, number)
    assert found({str(seed): tissue(seed) for seed in range(24)}) == set()
    blank = np.full((100, 100, 3), 240, dtype=np.uint8)
    assert found({"one": blank, "two": blank}) == set(), "a blank says nothing"


@pytest.mark.real
def test_real_pictures_are_told_apart_and_found_again(real_data: Path) -> None:
    paths = [next(real_data.glob("her2st/data/ST-imgs/*/*/*.jpg")), *sorted(real_data.glob("*/outs/spatial/*res_*"))]
    pictures = {
        path.relative_to(real_data).as_posix(): pyvips.Image.thumbnail(str(path), 256).numpy()[..., :3]
        for path in paths
    }
    assert len(pictures) >= 4
    alike = {(one, other) for one, other, _ in found(pictures)}
    assert alike, "hires and lowres of a section are one picture"
    assert all(one.split("/")[0] == other.split("/")[0] for one, other in alike), "and no two sections are"
    for rgb in list(pictures.values())[:4]:
        assert all(found({"one": rgb, "two": copy}) for copy in copies(rgb))


def spots(seed: int, n: int, *, n_genes: int = 2000, mean: float = 3000) -> csr_matrix:
    """``n`` spots whose depth differs; genes are as frequent in every section, as in one organ."""
    rng = np.random.default_rng(seed)
    share = np.random.default_rng(0).dirichlet(np.full(n_genes, 0.3))
    depth = rng.gamma(2, mean / 2, n) + 30
    return csr_matrix(rng.poisson(depth[:, None] * share * rng.gamma(2, 0.5, (n, n_genes))))


def by_counts(**tables: csr_matrix) -> set[tuple[str, str]]:
    rgb = np.zeros((8, 8, 3), dtype=np.uint8)
    links = links_between({name: identity(name, rgb, counts_sketch(table)) for name, table in tables.items()})
    assert {link.by for link in links} <= {"counts"}
    return {(link.one, link.other) for link in links}


def test_counts_are_known_in_any_order_and_when_some_spots_are_missing() -> None:
    table = spots(1, 600)
    rng = np.random.default_rng(2)
    shuffled = table[rng.permutation(600)]
    assert by_counts(a=table, b=shuffled) == {("a", "b")}
    assert by_counts(a=table, b=shuffled[:480]) == {("a", "b")}
    assert by_counts(a=table, b=table[:, rng.permutation(2000)]) == {("a", "b")}, "whatever its genes are called"
    assert by_counts(a=table, b=shuffled[:100]) == set(), "a sixth of a section is another choice of tissue"
    others = {f"s{seed}": spots(seed, 400) for seed in range(12)}
    assert by_counts(**others) == set()
    assert by_counts(a=spots(1, 12), b=spots(1, 12)) == set(), "twelve spots say too little"


@pytest.mark.parametrize("mean", [60, 200])
def test_two_large_sections_of_one_small_panel_are_two(mean: float) -> None:
    """They have many pairs of transcripts and genes in common, for there are not that many."""
    one, other = (spots(seed, 15_000, n_genes=280, mean=mean) for seed in (1, 2))
    pairs = [{(int(row.sum()), row.nnz) for row in table[:4000]} for table in (one, other)]
    assert len(pairs[0] & pairs[1]) > len(pairs[0]) / 3
    assert by_counts(a=one, b=other) == set()
    assert by_counts(a=one, b=one[::-1]) == {("a", "b")}


def test_the_bytes_of_an_image_are_the_first_reason() -> None:
    rgb, sketch = tissue(1), counts_sketch(spots(1, 50))
    links = links_between({name: identity("same", rgb, sketch) for name in "cab"})
    assert [(link.one, link.other) for link in links] == list(combinations("abc", 2))
    assert {link.by for link in links} == {"image"}
