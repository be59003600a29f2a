"""``--exclude-group``: a test set of others stays out with all that is related to it; those that are in are listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from humanst.cli import humanst
from humanst.shards.sidecars import exclusion_groups
from tests.shards.conftest import Made
from tests.shards.test_newcomers import amend, files_of
from tests.studies import ST_RECIPE, World, write_world

Run = Callable[[Sequence[str]], Result]


@pytest.fixture
def world(made: Made, tmp_path: Path) -> World:
    """Studies of one section: of a test set, of the same donor in a later release, related to none, of another set."""
    sets = next((made.atlas / "mirror" / "gene_sets").glob("*.gmt"))
    content = {"second": {"1": files_of(made, "A1")}}
    for study in ("bench", "kin", "apart"):
        other = tmp_path / study / "image.jpg"
        other.parent.mkdir()
        other.write_bytes(study.encode())
        content[study] = {"1": {**files_of(made, "A1"), "image": other}}
    found = write_world(tmp_path / "world", content, dict.fromkeys(content, ST_RECIPE), gene_sets=sets)
    # What is on record decides; the images of those that are not built are none.
    amend(found, "bench", exclusion_groups="some_bench;other", donor_id="bench_d")
    amend(found, "kin", donor_id="bench_d", release_added="0.2.0")
    amend(found, "second", exclusion_groups="second_set", donor_id="second_d")
    amend(found, "apart", donor_id="apart_d")
    return found


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HUMANST_CATALOG", str(world.folder / "catalog.yaml"))
    monkeypatch.setenv("HUMANST_MIRROR", str(world.mirror))
    return lambda arguments: CliRunner().invoke(humanst, list(arguments), standalone_mode=False)


def test_the_test_set_and_all_that_is_joined_to_it_stay_out(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    result = run(["plan", "-o", str(plan), "--exclude-group", "some_bench", "--json"])
    assert plan_sections(result) == {"apart_1", "second_1"}
    assert "1 sections of some_bench, and 1 joined" in result.stderr
    assert json.loads(plan.read_text())["excluded_groups"] == ["some_bench"]
    both = run(["plan", "-o", str(plan), "--exclude-group", "other, second_set", "--json"])
    assert plan_sections(both) == {"apart_1"}
    # With a study named by its donor alone, its group is left out all the same.
    kin = run(["plan", "-o", str(plan), "kin", "apart", "--exclude-group", "other", "--json"])
    assert plan_sections(kin) == {"apart_1"}


def plan_sections(result: Result) -> set[str]:
    assert result.exception is None, result.exception
    return {row["sample_id"] for row in json.loads(result.stdout)["sections"]}


def test_a_group_that_nobody_knows_is_refused(run: Run, tmp_path: Path) -> None:
    """A slip of the pen must not let a test set in."""
    for slip in ("some-bench", "some_bench,sum_bench", ""):
        error = run(["plan", "-o", str(tmp_path / "plan.json"), "--exclude-group", slip]).exception
        assert getattr(error, "exit_code", None) == 2
        assert "other, second_set, some_bench" in str(error)
    assert not (tmp_path / "plan.json").exists()


def test_the_manifest_lists_those_that_are_in(made: Made) -> None:
    """What a release holds of them; the demo's sections belong to no test set."""
    assert json.loads((made.release / "MANIFEST.json").read_text())["exclusion_groups"] == {}
    told = {"b": "one;two", "a": "two", "c": ""}
    rows = [{"sample_id": name, "metadata": {"exclusion_groups": text}} for name, text in told.items()]
    assert exclusion_groups(rows) == {"one": ["b"], "two": ["a", "b"]}


def test_what_cannot_be_built_or_was_published_anew_is_left_out_and_named(
    run: Run, world: World, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    amend(world, "kin", status="deprecated")
    every = run(["plan", "-o", str(plan), "--json"])
    assert plan_sections(every) == {"bench_1", "apart_1", "second_1"}
    assert "deprecated, left out unless --sections names them: kin_1" in every.stderr
    assert plan_sections(run(["plan", "kin", "--sections", "1", "-o", str(plan), "--json"])) == {"kin_1"}
    assert "No section is left" in str(run(["plan", "kin", "-o", str(plan)]).exception)

    amend(world, "kin", status="listed")
    catalog = yaml.safe_load((world.folder / "catalog.yaml").read_text())
    catalog["studies"]["kin"]["sections"]["1"]["files"] = {}
    (world.folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    every = run(["plan", "-o", str(plan), "--json"])
    assert plan_sections(every) == {"bench_1", "apart_1", "second_1"}
    assert "on record without files, left out: kin_1" in every.stderr
    alone = run(["plan", "kin", "-o", str(plan)]).exception
    assert alone.facts.code == "listed-section"  # type: ignore[union-attr]
