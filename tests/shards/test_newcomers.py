"""What a later section does to a release: it moves nobody, and stays out where it would join two sides."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from humanst.catalog import load_catalog
from humanst.cli import humanst
from humanst.splits import SPLITS, hashed_split
from tests.shards.conftest import Made
from tests.studies import ST_RECIPE, World, write_world

Files = dict[str, Path]
Run = Callable[[World, Sequence[str]], Result]


def files_of(made: Made, section_id: str) -> Files:
    section = load_catalog(made.atlas / "catalog.yaml").study("demo_st").section(section_id)
    return {source.role: made.atlas / "mirror" / "demo_st" / source.path for source in section.sources}


def named_for(study: str, split: str) -> str:
    """A section id whose group, with it as its anchor, is of this split."""
    return next(name for name in map(str, range(1, 200)) if hashed_split(f"{study}_{name}") == split)


def amend(world: World, study: str, **values: str) -> None:
    """Overwrite cells of a study's only row."""
    path = world.folder / "curation" / study / "samples.csv"
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | values for row in rows)


@pytest.fixture
def world_of(made: Made, tmp_path: Path) -> Callable[[str, dict[str, tuple[str, Files]]], World]:
    """Make a world of studies of one section: ``study=(section id, files)``."""

    def make(name: str, studies: dict[str, tuple[str, Files]]) -> World:
        sets = next((made.atlas / "mirror" / "gene_sets").glob("*.gmt"))
        content = {study: {section: files} for study, (section, files) in studies.items()}
        return write_world(tmp_path / name, content, dict.fromkeys(content, ST_RECIPE), gene_sets=sets)

    return make


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``humanst build-shards`` in this process, all releases from one work folder."""

    def call(world: World, arguments: Sequence[str]) -> Result:
        monkeypatch.setenv("HUMANST_CATALOG", str(world.folder / "catalog.yaml"))
        monkeypatch.setenv("HUMANST_MIRROR", str(world.mirror))
        common = ["build-shards", "--work", str(tmp_path / "work"), "--workers", "1"]
        return CliRunner().invoke(humanst, [*common, *arguments], standalone_mode=False)

    return call


def pairs_of(release: Path) -> dict[str, tuple[str, str, str]]:
    """uid -> (sample, split, group)."""
    found = {}
    for split in SPLITS:
        table = pq.read_table(release / "index" / f"{split}.parquet", columns=["uid", "sample_id", "donor_group"])
        for row in table.to_pylist():
            found[row["uid"]] = (row["sample_id"], split, row["donor_group"])
    return found


def code(result: Result) -> int:
    """The exit code that the command line would end with."""
    if result.exception is None:
        return int(result.return_value or 0)
    return int(getattr(result.exception, "exit_code", 1))


def test_a_later_study_moves_nobody_and_one_that_joins_two_sides_stays_out(
    made: Made, world_of: Any, run: Run, tmp_path: Path
) -> None:
    one, two = named_for("one", "train"), named_for("two", "val")
    studies = {"one": (one, files_of(made, "A1")), "two": (two, files_of(made, "B1"))}
    first = run(world_of("first", studies), ["-o", str(tmp_path / "first_out")])
    assert code(first) == 0, first.exception
    before = pairs_of(tmp_path / "first_out")
    assert {row[1] for row in before.values()} == {"train", "val"}

    crop = {**files_of(made, "A1"), "counts": files_of(made, "B1")["counts"], "spots": files_of(made, "B1")["spots"]}
    # An id that sorts before the others: not the alphabet decides who is new.
    later = world_of("later", {**studies, "also": ("x", {**files_of(made, "B1")}), "link": ("y", crop)})
    amend(later, "also", release_added="0.2.0", donor_id=f"two_{two}")
    amend(later, "link", release_added="0.2.0", known_duplicates=f"humanst:one_{one};humanst:two_{two}")
    second = run(later, ["-o", str(tmp_path / "second_out"), "--json"])
    assert code(second) == 4, second.exception
    failures = {row["item"]: row for row in json.loads(second.stdout)["failures"]}
    assert {name: row["code"] for name, row in failures.items()} == {"link_y": "links-split-groups"}
    after = pairs_of(tmp_path / "second_out")
    assert {uid: after[uid] for uid in before} == before
    new = {row for uid, row in after.items() if uid not in before}
    assert new == {("also_x", "val", f"two_{two}")}
    changes = (tmp_path / "second_out" / "CHANGES.md").read_text()
    assert "link_y" in changes
    assert f"train (one_{one})" in changes
    assert f"val (two_{two})" in changes
    assert "link_y" not in (tmp_path / "first_out" / "CHANGES.md").read_text()


def test_one_tissue_that_only_reading_shows_stops_the_build_or_the_newcomer(
    made: Made, world_of: Any, run: Run, tmp_path: Path
) -> None:
    """A copy of a section in another study: other donor, other bytes of the image, nothing on record."""
    original = files_of(made, "A1")
    copy = dict(original)
    copy["image"] = tmp_path / original["image"].name
    Image.open(original["image"]).save(copy["image"], quality=93, subsampling=0)
    assert copy["image"].read_bytes() != original["image"].read_bytes()
    one, two = named_for("one", "train"), named_for("two", "test")
    studies = {"one": (one, original), "two": (two, copy)}

    same_age = world_of("same_age", studies)
    release = tmp_path / "out"
    stopped = run(same_age, ["-o", str(release)])
    assert code(stopped) == 5
    assert "leakage" in str(getattr(stopped.exception, "facts", ""))
    assert f"one_{one} (train) and two_{two} (test) have the same" in str(stopped.exception)
    assert not release.exists()

    assign = tmp_path / "assign.csv"
    assign.write_text(f"sample_id,split\none_{one},val\ntwo_{two},val\n")
    together = run(same_age, ["-o", str(release), "--assign", str(assign)])
    assert code(together) == 0, together.exception
    assert {row[1:] for row in pairs_of(release).values()} == {("val", f"one_{one}")}
    shutil.rmtree(release)

    newer = world_of("newer", studies)
    amend(newer, "two", release_added="0.2.0")
    without = run(newer, ["-o", str(release)])
    assert code(without) == 4, without.exception
    assert {row[:2] for row in pairs_of(release).values()} == {(f"one_{one}", "train")}
    assert f"two_{two}" in (release / "CHANGES.md").read_text()
