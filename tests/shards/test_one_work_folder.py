"""Two releases built at the same time from one work folder, with other choices: each gets what it asked for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from humanst.builder import BuildOptions, BuiltSection, SectionTask
from humanst.catalog import load_catalog
from humanst.shards import extracting
from humanst.shards.done import SectionDone
from humanst.shards.extract import Extracted, ExtractTask
from humanst.shards.extracting import WholeTask, do_section
from humanst.shards.plan import PlannedSection
from humanst.shards.spec import ReleaseSpec
from tests.shards.conftest import Made


def store_of(tmp_path: Path) -> Path:
    return tmp_path / "sections" / "demo_visium_v1_P1.zarr"


@pytest.fixture
def tasks(made: Made, tmp_path: Path) -> tuple[WholeTask, WholeTask]:
    """One section with two choices of a threshold."""
    study = load_catalog(made.atlas / "catalog.yaml").study("demo_visium_v1")
    section = study.section("P1")
    spec = ReleaseSpec("0.1.0", tmp_path / "sets.gmt", "sets.gmt", "0" * 64)
    found = []
    for n in (1, 2):
        planned = PlannedSection(
            *(study.study_id, "P1", section.sample_id, str(n) * 64, str(n) * 64, "P1", "train", "0.1.0"),
            expected_pairs=None,
            expected_from=None,
        )
        options = BuildOptions(tmp_path, qc=(("min_counts", n),))
        found.append(WholeTask(planned, study, section, ("P1",), options, spec))
    return found[0], found[1]


@pytest.fixture
def slow_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store is the text of its threshold; between building and cutting there is time for others."""

    def build(task: SectionTask) -> BuiltSection:
        path = store_of(tmp_path)
        path.parent.mkdir(exist_ok=True)
        text = str(dict(task.options.qc)["min_counts"])
        path.write_text(text)
        return BuiltSection(task.section.sample_id, path, False, None, text)

    def extract(task: ExtractTask) -> Extracted:
        time.sleep(0.3)
        text = task.store.read_text()
        made = task.folder / f"from-{text}"
        made.mkdir(parents=True, exist_ok=True)
        return Extracted(task.sample_id, made, {"inputs": text}, False)

    monkeypatch.setattr(extracting, "build_section", build)
    monkeypatch.setattr(extracting, "extract_section", extract)
    monkeypatch.setattr(extracting, "is_current", lambda store, inputs: store.read_text() == inputs)


def inputs_of(done: SectionDone) -> Any:
    assert done.error is None, done.error
    assert done.extracted is not None
    return done.extracted.card["inputs"]


@pytest.mark.usefixtures("slow_reading")
def test_each_cuts_the_store_that_it_built(tasks: tuple[WholeTask, WholeTask]) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(do_section, tasks))
    assert [inputs_of(one) for one in done] == ["1", "2"]


@pytest.mark.usefixtures("slow_reading")
def test_without_locks_a_replaced_store_is_noticed(
    tasks: tuple[WholeTask, WholeTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def replaced(task: ExtractTask) -> Extracted:
        store_of(tmp_path).write_text("2")
        made = task.folder / "from-2"
        made.mkdir(parents=True)
        return Extracted(task.sample_id, made, {"inputs": "1"}, False)

    monkeypatch.setattr(extracting, "extract_section", replaced)
    done = do_section(tasks[0])
    assert done.error is not None
    assert (done.error.exit_code, done.error.facts.code) == (5, "store-replaced")
    assert list((tmp_path / "extract").iterdir()) == []
