"""F25 to F27: barcodes, counts and genes that are not what they should be; ``humanst build`` of a lab's own folders."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from humanst.demo import DemoAtlas
from tests.cli import test_bad_input as bad
from tests.cli import test_scale_faults as scale
from tests.faults.board import judge
from tests.faults.sections import Cases, Spoil, build_spoiled, one_section, recipe_of

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-tables")
REFUSED = (5,)


@pytest.fixture(scope="module")
def visium(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("visium", tmp_path_factory.mktemp("visium") / "atlas")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("st", tmp_path_factory.mktemp("st") / "atlas")


def lab(atlas: DemoAtlas) -> Path:
    return atlas.mirror / "lab"


def on_barcodes(change: Callable[[list[str]], list[str]]) -> Spoil:
    """Other barcodes in the count matrix."""

    def spoil(folder: Path) -> None:
        with h5py.File(scale.a_file(folder, "*.h5"), "r+") as handle:
            old = [barcode.decode() for barcode in handle["matrix/barcodes"][:]]
            del handle["matrix/barcodes"]
            handle["matrix/barcodes"] = np.array(change(old), dtype="S")

    return spoil


def other_letters(barcode: str) -> str:
    return barcode.translate(str.maketrans("ACGT", "CGTA"))


def on_counts(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Spoil:
    """Another table of counts of legacy ST."""
    return lambda folder: bad.edit_counts(change)({"counts": scale.a_file(folder, "*.tsv.gz")})


def test_f25_barcodes(visium: DemoAtlas, tmp_path: Path) -> None:
    lost = ("barcodes-without-position",)
    twice = scale.on_positions(lambda table: pd.concat([table, table.iloc[:3]]))
    swapped = scale.on_positions(scale.swap_one_per_cent(scale.PIXELS))
    cases: Cases = {
        "suffix lost": (on_barcodes(lambda old: [name.removesuffix("-1") for name in old]), REFUSED, lost),
        "1 % swapped": (swapped, REFUSED, ("lattice-residual",)),
        "duplicates in the positions": (twice, REFUSED, ("duplicate-spot-ids",)),
        "duplicates in the matrix": (on_barcodes(lambda old: [old[1], *old[1:]]), REFUSED, ("duplicate-spot-ids",)),
        "none match": (on_barcodes(lambda old: list(map(other_letters, old))), REFUSED, lost),
    }
    judge("F25", build_spoiled(lab(visium), recipe_of(visium), cases, tmp_path).seen(cases))


# Pooling as others do it: of the bins of a square the last one counts.
_LOSSY = """
from humanst.platforms import bins
whole = bins.BinPool.result
def result(self):
    pooled = whole(self)
    pooled.counts.data = pooled.counts.data - (pooled.counts.data > 1)
    return pooled
bins.BinPool.result = result
"""


def test_f26_bad_counts(legacy: DemoAtlas, tmp_path: Path) -> None:
    cases: Cases = {
        "NaN": (on_counts(bad.one_value(np.nan)), REFUSED, ("counts-nan",)),
        "negative": (on_counts(bad.one_value(-3)), REFUSED, ("counts-negative",)),
        "fractional": (on_counts(bad.one_value(1.5)), REFUSED, ("counts-fractional",)),
    }
    seen = build_spoiled(lab(legacy), recipe_of(legacy), cases, tmp_path / "st").seen(cases)
    hd = one_section("visium_hd", tmp_path / "hd")
    lossy: Cases = {"lost in pooling": (None, REFUSED, ("counts-not-conserved",))}
    seen += build_spoiled(lab(hd), recipe_of(hd), lossy, tmp_path / "lossy", first=_LOSSY).seen(lossy)
    judge("F26", seen)


MANGLED = ("1-Mar", "2-Mar", "1-Sep", "7-Sep", "9-Sep", "1-Dec", "2.31E+13", "2021-03-01", "Sep-15")


def renamed(table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """The most counted columns under other names."""
    most = table.sum().sort_values(ascending=False).index[: len(names)]
    return table.rename(columns=dict(zip(most, names, strict=True)))


def mixed(table: pd.DataFrame) -> pd.DataFrame:
    """A mixture of two species, as its reference names them: three in ten of the columns are of the mouse."""
    names = list(table.columns[: 3 * len(table.columns) // 10])
    return table.rename(columns={name: f"mm10_{name[0]}{name[1:].lower()}" for name in names})


def twins(table: pd.DataFrame) -> pd.DataFrame:
    """A gene under today's symbol and an older one, its counts shared out between the two columns."""
    old, new = next((old, new) for old, new in RENAMED.items() if {old, new} & set(table.columns))
    name = old if old in table.columns else new
    half = table[name] // 2
    return table.assign(**{name: table[name] - half, (new if name == old else old): half})


RENAMED = {"SEPT9": "SEPTIN9", "MARCH1": "MARCHF1", "SEPT7": "SEPTIN7", "FAM129A": "NIBAN1", "WISP1": "CCN4"}


def test_f27_genes(legacy: DemoAtlas, tmp_path: Path) -> None:
    cases: Cases = {
        "9 spreadsheet names": (on_counts(partial(renamed, names=MANGLED)), (0,), ("excel-mangled",)),
        "mouse": (on_counts(bad.mouse), REFUSED, ("not-human",)),
        "mixed species": (on_counts(mixed), REFUSED, ("not-human",)),
        "twins by alias": (on_counts(twins), (0,), ("gene-collision",)),
    }
    built = build_spoiled(lab(legacy), recipe_of(legacy), cases, tmp_path)
    seen = built.seen(cases)
    told = [f["what"] for f in built.findings.get("9 spreadsheet names", ()) if f["code"] == "excel-mangled"]
    assert [what.split(" ")[0] for what in told] == [str(len(MANGLED))], "each is counted"
    judge("F27", seen)
