"""Every code block of the documentation: parsed against the real commands, and run unless it says why it cannot."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path

import click
import pytest
import yaml

from tests.docs.blocks import READ, RUN, SHOWN, Block, blocks_of, inline_code, lines_of, page_names
from tests.docs.parsing import PROGRAMS, options_of, parse, split_line
from tests.docs.worlds import World
from tests.helpers import ROOT
from tests.real.test_her2st_release import built  # noqa: F401 - a fixture: real sections are built once a run

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("docs")

PAGES = page_names()
# How many blocks do not run, by reason, and how many other files do: one more is looked at before it gets here.
REASONS = {
    "installs into an environment of its own": 2,
    "is the record of one measurement": 1,
    "needs a screen": 1,
    "needs another program and the network": 1,
    "needs weights under a licence": 2,
}
ELSEWHERE = {
    "benchmarks/audit_real.py": 1,
    "tests/demo/test_atlas.py": 1,
    "tests/docs/test_add_a_study.py": 4,
    "tests/load/test_load_docs.py": 1,
    "tests/readers/test_croissant.py": 1,
    "tests/readers/test_hub_datasets.py": 1,
    "tests/readers/test_torch_readers.py": 1,
    "tests/shards/test_failed_and_stopped.py": 2,
    "tests/shards/test_rebuild.py": 1,
    "tests/shards/test_same_bytes.py": 1,
    "tests/stamp_train/test_controls.py": 2,
    "tests/stamp_train/test_merging.py": 1,
    "tests/stamp_train/test_sbatch.py": 1,
    "tests/stamp_train/test_slides_command.py": 1,
}


def runs(block: Block) -> bool:
    return not block.reason and not block.elsewhere and (block.language in RUN or "saved as" in block.said)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    known = {*RUN, *READ, *SHOWN}
    blocks = blocks_of(page)
    assert [block.place for block in blocks if block.language not in known] == []
    shown = [block for block in blocks if block.language in SHOWN]
    assert [block.place for block in shown if any(map(is_command, block.text.splitlines()))] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_block_can_be_read(page: str) -> None:
    """Also those that do not run: an option that is gone, or a slip in the code, is told."""
    for block in blocks_of(page):
        if block.language == "python":
            compile(block.text, block.place, "exec")
        elif block.language == "yaml":
            assert yaml.safe_load(block.text) is not None, block.place
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "sh":
            for line in map(split_line, lines_of(block.text)):
                if line.is_ours:
                    _parsed(line.words, block.place)


def is_command(line: str) -> bool:
    return line.lstrip("$ ").startswith(tuple(f"{program} " for program in PROGRAMS))


def _parsed(words: list[str], place: str) -> None:
    try:
        parse(words)
    except click.UsageError as error:
        pytest.fail(f"{place}: {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_within_the_text_are_there(page: str) -> None:
    for code in inline_code(page):
        words = code.replace("[", " ").replace("]", " ").replace("|", " ").split()
        if len(words) < 2 or words[0] not in PROGRAMS or not words[1][0].islower():
            continue
        try:
            known = options_of(words)
        except click.UsageError as error:
            pytest.fail(f"{page}: `{code}`: {error.format_message()}")
        asked = {word.split("=")[0] for word in words if word.startswith("-") and word.strip("-")}
        assert asked - known <= {"--help", "-h"}, f"{page}: `{code}`"


def test_what_does_not_run_has_a_reason_that_is_known() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page) if block.language in RUN]
    assert Counter(block.reason for block in blocks if block.reason) == REASONS
    assert Counter(block.elsewhere for block in blocks if block.elsewhere) == ELSEWHERE
    assert [path for path in ELSEWHERE if not (ROOT / path).is_file()] == []
    assert sum(map(runs, blocks)) > 1.5 * (sum(REASONS.values()) + sum(ELSEWHERE.values()))


@pytest.mark.parametrize("page", [page for page in PAGES if any(runs(block) for block in blocks_of(page))])
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, request, monkeypatch)
    for block in blocks_of(page):
        if runs(block):
            world.run(block)
