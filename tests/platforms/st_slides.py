"""Synthetic legacy ST sections in every layout the reader takes, for its tests."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from humanst.catalog import Lattice, Recipe
from humanst.fetch import LocalFiles

PITCH_PX = 290.0
# Turned by two degrees and sheared a little, as a slide under a scanner.
MATRIX = [[PITCH_PX * 0.999, -PITCH_PX * 0.03, 1200.0], [PITCH_PX * 0.035, PITCH_PX * 0.9995, 800.0]]
GENES = ["ACTB", "GAPDH", "SEPT7", "ERBB2", "FO538757.1"]


def recipe(**options: Any) -> Recipe:
    return Recipe("st", "symbol", False, "zero", Lattice("square", 200.0, 100.0), options=options)


@dataclass
class Slide:
    """A synthetic section: 7 x 6 spots, their counts, and where they lie in the image."""

    folder: Path
    array: np.ndarray = field(default_factory=lambda: np.array([(x, y) for y in range(3, 9) for x in range(8, 15)]))
    genes: list[str] = field(default_factory=lambda: list(GENES))
    seed: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(self.seed)
        self.array = rng.permutation(np.asarray(self.array, dtype=float))
        self.counts = rng.poisson(3.0, (len(self.array), len(self.genes)))
        one = np.column_stack([self.array, np.ones(len(self.array))])
        self.pixels = one @ np.array(MATRIX).T

    @property
    def ids(self) -> list[str]:
        return [f"{x:g}x{y:g}" for x, y in self.array]

    def frame(self) -> pd.DataFrame:
        columns = {"x": self.array[:, 0], "y": self.array[:, 1], "pixel_x": self.pixels[:, 0]}
        whole = pd.DataFrame(columns | {"pixel_y": self.pixels[:, 1], "selected": 1})
        return whole.astype({"x": int, "y": int}) if (self.array == np.rint(self.array)).all() else whole

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.counts, index=self.ids, columns=self.genes)

    def local(self, counts: str, spots: str | None, **more: str) -> LocalFiles:
        names = {"counts": counts, **({} if spots is None else {"spots": spots}), **more}
        paths = {role: self.folder / name for role, name in names.items()}
        return LocalFiles("study", "s1", paths, dict.fromkeys(paths, "0" * 64), names)

    def write(self) -> LocalFiles:
        """The layout that needs no option."""
        self.table().to_csv(self.folder / "counts.tsv", sep="\t")
        self.frame().to_csv(self.folder / "spots.tsv", sep="\t", index=False)
        return self.local("counts.tsv", "spots.tsv")


def commas(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.table().to_csv(slide.folder / "counts.csv")
    slide.frame().to_csv(slide.folder / "spots.csv", index=False)
    return slide.local("counts.csv", "spots.csv"), recipe(counts_separator=",", spots_separator=",")


def gzipped_without_saying_so(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.write()
    for name in ("counts.tsv", "spots.tsv"):
        (slide.folder / name).write_bytes(gzip.compress((slide.folder / name).read_bytes()))
    return slide.local("counts.tsv", "spots.tsv"), recipe()


def transposed(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.write()
    slide.table().T.to_csv(slide.folder / "stdata.tsv", sep="\t")
    return slide.local("stdata.tsv", "spots.tsv"), recipe(transposed=True)


def header_of_r(slide: Slide) -> tuple[LocalFiles, Recipe]:
    local = slide.write()
    path = slide.folder / "counts.tsv"
    path.write_text(path.read_text().removeprefix("\t"))
    return local, recipe()


def no_header(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.write()
    slide.frame().to_csv(slide.folder / "coor.csv", index=False, header=False)
    columns = {"array_x": "0", "array_y": "1", "pixel_x": "2", "pixel_y": "3", "selected": "4"}
    return slide.local("counts.tsv", "coor.csv"), recipe(spots=columns, spots_header=False, spots_separator=",")


def other_columns_and_ids(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.table().rename(lambda spot: "spot_{}_{}".format(*reversed(spot.split("x")))).to_csv(
        slide.folder / "counts.tsv", sep="\t"
    )
    slide.frame().rename(columns={"x": "col", "y": "row", "pixel_x": "X"}).to_csv(
        slide.folder / "spots.tsv", sep="\t", index=False
    )
    columns = {"array_x": "col", "array_y": "row", "pixel_x": "X"}
    return slide.local("counts.tsv", "spots.tsv"), recipe(spots=columns, spot_id="spot_{y}_{x}")


def affine(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.write()
    slide.frame()[["x", "y"]].to_csv(slide.folder / "array.tsv", sep="\t", index=False)
    return slide.local("counts.tsv", "array.tsv"), recipe(affine=MATRIX)


def affine_and_ids_alone(slide: Slide) -> tuple[LocalFiles, Recipe]:
    slide.write()
    return slide.local("counts.tsv", None), recipe(affine=[*MATRIX, [0, 0, 1]], array_from_ids=True)


def ids_for_an_index(slide: Slide) -> tuple[LocalFiles, Recipe]:
    """The spot file of He 2020: the spelled position as an index without a name, then pixels."""
    slide.write()
    slide.frame().set_axis(slide.ids)[["pixel_x", "pixel_y"]].set_axis(["X", "Y"], axis=1).to_csv(
        slide.folder / "spots.csv.gz"
    )
    columns = {"spot_id": "Unnamed: 0", "pixel_x": "X", "pixel_y": "Y"}
    return slide.local("counts.tsv", "spots.csv.gz"), recipe(spots=columns, spots_separator=",")


LAYOUTS = [
    commas, gzipped_without_saying_so, transposed, header_of_r, no_header, other_columns_and_ids, affine,
    affine_and_ids_alone, ids_for_an_index,
]  # fmt: skip


def header_too_short(slide: Slide) -> tuple[LocalFiles, Mapping[str, Any]]:
    local = slide.write()
    path = slide.folder / "counts.tsv"
    path.write_text(path.read_text().replace("\tACTB\tGAPDH", "", 1))
    return local, {}
