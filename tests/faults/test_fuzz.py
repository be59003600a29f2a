"""Mutated files, read as a user reads them: each is refused by name, or read as what it says.

Fifty of a kind in every run; ``HUMANST_FUZZ_INPUTS=2000`` is that of ``make faults-long``. What fails says its kind,
seed and mutation: ``python -m tests.faults.fuzzing KIND SEED`` does it again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults import fuzzing
from tests.faults.fuzz_kinds import KINDS, shared_world
from tests.helpers import start_humanst

INPUTS = int(os.environ.get("HUMANST_FUZZ_INPUTS", "50"))
FIGURES = os.environ.get("HUMANST_FUZZ_FIGURES")
# The warm parent and the world are made once.
pytestmark = pytest.mark.xdist_group("fuzz")


@pytest.fixture(scope="module")
def world(shared_tmp: Path) -> Path:
    return shared_world(shared_tmp)


def fuzz(world: Path, kind: str, first: int, last: int, folder: Path) -> dict[str, Any]:
    """The summary of some inputs of a kind."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
    # Every thread of a pool would reserve room of its own, of which it uses nothing.
    environment |= {"HUMANST_OFFLINE": "1", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    report, err = folder / "report.json", folder / "err"
    err.touch()
    first_code = (
        f"from tests.faults.fuzzing import serve; serve({kind!r}, {first}, {last}, {str(world)!r}, {str(report)!r})"
    )
    with start_humanst("--version", env=environment, stderr=str(err), first=first_code) as running:
        code = running.wait(60 + 70 * (last - first))
    assert code == 0, err.read_text()
    summary: dict[str, Any] = json.loads(report.read_bytes())
    return summary


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_refused_by_name_or_read_as_they_are(kind: str, world: Path, tmp_path: Path) -> None:
    summary = fuzz(world, kind, 0, INPUTS, tmp_path)
    if FIGURES:
        with Path(FIGURES).open("a") as out:
            out.write(json.dumps(summary) + "\n")
    told = [f"{kind} {one['seed']} ({one['mutation']}): {one['failure'][-2000:]}" for one in summary["failures"]]
    assert not told, f"{len(told)} of {INPUTS} inputs:\n" + "\n".join(told[:20])
    assert summary["inputs"] == INPUTS
    assert any("exit" in outcome for outcome in summary["outcomes"]), "nothing was refused: nothing was mutated"
    assert summary["slowest_s"] < fuzzing.CPU_SECONDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(kind: str, world: Path) -> None:
    good = (world / KINDS[kind].base).read_bytes()
    drawn = [[KINDS[kind].mutate(good, fuzzing.seeded(kind, seed)) for seed in range(8)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len({data for data, _ in drawn[0]} - {good}) >= 4


@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("b'x' * (2 << 30)", "MemoryError"),
        ("os.kill(os.getpid(), 9)", "ended with -9"),
        ("[None for _ in iter(int, 1)]", "seconds of processor time"),
        ("sys.exit(1)", "SystemExit"),
    ],
)
def test_what_is_looked_for_is_found(
    spoiled: str, told: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that falls over, eats memory, dies, hangs or ends the process is a failure of that one input."""
    import sys

    from tests.faults import fuzz_kinds

    def run(copy: Path, data: bytes, rng: Random) -> str:
        if fuzzing.seeded("gene sets", 1).getstate() and data == spoilt:
            exec(spoiled, {"os": os, "sys": sys})  # noqa: S102 - code of the test itself
        return "exit 5"

    base = (world / KINDS["gene sets"].base).read_bytes()
    spoilt = KINDS["gene sets"].mutate(base, fuzzing.seeded("gene sets", 1))[0]
    monkeypatch.setattr(fuzzing, "CPU_SECONDS", 1)
    monkeypatch.setitem(
        fuzz_kinds.KINDS, "gene sets", fuzz_kinds.Kind(KINDS["gene sets"].base, KINDS["gene sets"].mutate, run)
    )
    results = list(fuzzing.run("gene sets", range(3), world))
    assert [result["seed"] for result in results] == [0, 1, 2]
    assert ["failure" in result for result in results] == [False, True, False]
    assert told in results[1]["failure"]
