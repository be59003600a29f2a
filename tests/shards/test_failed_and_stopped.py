"""Sections that fail, builds that are told to stop, locks of the dead, and the script for SLURM."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

from humanst.locks import clear_dead_locks, held
from tests.helpers import run_humanst, start_humanst
from tests.shards.conftest import SECTIONS, SHARD_PAIRS, Made, digests

Run = Callable[[Sequence[str]], Result]


def test_a_section_that_failed_is_listed_and_tried_again_alone(
    made: Made, humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were out of reach, and are there again."""
    mirror, plan, release = tmp_path / "mirror", tmp_path / "plan.json", tmp_path / "out"
    shutil.copytree(made.atlas / "mirror", mirror, copy_function=os.link)
    (mirror / "demo_visium_v1").rename(tmp_path / "away")
    monkeypatch.setenv("HUMANST_MIRROR", str(mirror))
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    assert humanst_here(["plan", "-o", str(plan), "--shard-pairs", SHARD_PAIRS]).exception is None
    build = ["build-shards", "--plan", str(plan), "-o", str(release), "--workers", "1", "--json"]
    first = humanst_here(build)
    assert first.return_value == 4
    work = tmp_path / "out.work"
    (row,) = [json.loads(line) for line in (work / "failed.jsonl").read_text().splitlines()]
    assert (row["item"], row["exit_code"]) == ("demo_visium_v1_P1", 7)
    summary = (work / "summary.md").read_text()
    assert "- failed: 1" in summary
    assert "demo_visium_v1_P1" in summary
    assert {row["sample_id"] for row in json.loads(first.stdout)["sections"]} == {"demo_st_A1", "demo_st_B1"}

    (tmp_path / "away").rename(mirror / "demo_visium_v1")
    again = humanst_here([*build, "--stage", "extract", "--retry-failed"])
    assert again.return_value in (0, None), again.exception
    assert [row["sample_id"] for row in json.loads(again.stdout)["sections"]] == ["demo_visium_v1_P1"]
    assert (work / "failed.jsonl").read_text() == ""
    assert humanst_here([*build, "--retry-failed"]).exception is None
    assert digests(release) == digests(made.release)


def test_a_build_that_is_told_to_stop_finishes_the_section_in_hand(made: Made, tmp_path: Path) -> None:
    release = tmp_path / "out"
    work = tmp_path / "out.work"
    arguments = ["build-shards", "-o", str(release), "--workers", "1", "--shard-pairs", SHARD_PAIRS]
    said = tmp_path / "stderr"
    said.touch()
    with start_humanst(*arguments, env=made.environment(), stderr=str(said)) as process:
        deadline = time.monotonic() + 300
        while not list(work.glob("sections/.*partial*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=300)
    errors = said.read_text()
    assert code == 75, errors
    assert "Run the same command again" in errors
    assert [re.sub(r"-[0-9a-f]{16}\.json$", "", path.name) for path in work.glob("done/*.json")] == [SECTIONS[0]]
    assert "- not reached yet: 2" in (work / "summary.md").read_text()
    assert not release.exists()
    result = run_humanst(*arguments, atlas=made.atlas, cache=made.cache)
    assert result.returncode == 0, result.stderr
    assert digests(release) == digests(made.release)


def test_a_plan_that_splits_a_group_is_not_packed(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    """Somebody changed it by hand."""
    plan, release, work = tmp_path / "plan.json", tmp_path / "out", tmp_path / "out.work"
    shutil.copytree(made.work, work, copy_function=os.link)
    assert humanst_here(["plan", "-o", str(plan)]).exception is None
    build = ["build-shards", "--plan", str(plan), "-o", str(release), "--stage", "pack", "--workers", "1"]
    content = json.loads(plan.read_text())
    content["sections"][0] |= {"group": "demo_st_B1", "split": "test"}
    plan.write_text(json.dumps(content))
    error = humanst_here(build).exception
    assert (getattr(error, "exit_code", None), "leakage") == (5, error.facts.code)  # type: ignore[union-attr]
    assert "demo_st_B1: test and train" in str(error)
    content["sections"][0]["inputs"] = "0" * 64
    plan.write_text(json.dumps(content))
    assert humanst_here(build).exception.facts.code == "plan-outdated"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fault", "code", "names"),
    [
        ("no sections", "no-plan", "plan.json"),
        ("a row less a key", "no-plan", "plan.json"),
        ("no outline", "usage", "outline.geojson"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_says_why(
    fault: str, code: str, names: str, humanst_here: Run, tmp_path: Path
) -> None:
    plan, outline = tmp_path / "plan.json", tmp_path / "outline.geojson"
    outline.write_text("{}")
    arguments = ["plan", "demo_st", "--sections", "A1", "--tissue", str(outline), "-o", str(plan)]
    assert humanst_here(arguments).exception is None
    content = json.loads(plan.read_text())
    if fault == "no sections":
        del content["sections"]
    elif fault == "a row less a key":
        del content["sections"][0]["split"]
    else:
        outline.unlink()
    plan.write_text(json.dumps(content))
    error = humanst_here(["build-shards", "--plan", str(plan), "-o", str(tmp_path / "out"), "--workers", "1"]).exception
    assert (getattr(error, "exit_code", None), error.facts.code) == (2, code)  # type: ignore[union-attr]
    assert names in str(error)
    assert not (tmp_path / "out").exists()


def test_dead_locks_are_cleared_and_those_in_use_are_not(tmp_path: Path) -> None:
    release, work = tmp_path / "out", tmp_path / "out.work"
    ended = subprocess.run([sys.executable, "-c", ""], check=True)
    assert ended.returncode == 0
    with held(work / "genes" / "study.json", what="a test"):
        dead = tmp_path / ".out.lock"
        dead.touch()
        old = time.time() - 2 * 24 * 3600
        for holder, age in (
            ({"host": socket.gethostname(), "pid": 2**22 + 1}, None),
            ({"host": "gone", "pid": 1}, old),
        ):
            note = tmp_path / ".out.lock.holder"
            note.write_text(json.dumps(holder))
            if age is not None:
                os.utime(note, (age, age))
            assert clear_dead_locks(release, work) == [dead]
            assert not note.exists()
            dead.touch()
        note.write_text(json.dumps({"host": "another", "pid": 1}))
        assert clear_dead_locks(release, work) == [], "a lock of another machine, taken a moment ago"
        assert (work / "genes" / ".study.json.lock.holder").exists()
    assert not (work / "genes" / ".study.json.lock.holder").exists()


FAKE_HUMANST = """#!/bin/sh
for word in "$@"; do printf "%s|" "$word" >> "$DONE"; done
echo >> "$DONE"
exit $CODE
"""
FAKE_SBATCH = """#!/bin/sh
# Runs every task of an array in order, and remembers how it was called.
echo "$*" | tr '\\n' ' ' >> "$LOG"; echo >> "$LOG"
last=-1 wrap=
while [ $# -gt 0 ]; do
    case $1 in --array=0-*) last=${1#--array=0-};; --wrap) wrap=$2; shift;; esac
    shift
done
if [ "$last" -lt 0 ]; then sh -c "$wrap" >&2 || exit 1
else for i in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$i sh -c "$wrap" >&2 || exit 1; done; fi
echo $(( $(wc -l < "$LOG") + 100 ))
"""


def test_the_script_for_slurm_runs_every_share_in_order(humanst_here: Run, tmp_path: Path) -> None:
    """With a scheduler that runs jobs at once, and a humanst that says what it was asked."""
    plan, spaced = tmp_path / "plan.json", tmp_path / "a folder"
    assert humanst_here(["plan", "-o", str(plan)]).exception is None
    arguments = ["build-shards", "--plan", str(plan), "-o", str(spaced / "out"), "--print-sbatch", "--num-tasks", "3"]
    script = humanst_here(arguments)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {
        "sbatch": FAKE_SBATCH,
        "srun": '#!/bin/sh\nexec "$@"\n',
        "humanst": FAKE_HUMANST,
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def submit(**more: str) -> tuple[int, list[str]]:
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}
        environment |= {"DONE": str(tmp_path / "done"), "CODE": "0", **more}
        (tmp_path / "log").write_text("")
        (tmp_path / "done").write_text("")
        ran = subprocess.run(["sh"], input=script.stdout, env=environment, capture_output=True, text=True, check=False)
        return ran.returncode, (tmp_path / "done").read_text().splitlines()

    returned, done = submit()
    assert returned == 0
    stages = [re.sub(r".*\|--stage\|", "", line) for line in done]
    shares = [f"{stage}|--task-index|{index}|--num-tasks|3|" for stage in ("extract", "pack") for index in range(3)]
    assert stages == [*shares, "finish|"]
    assert all(f"|-o|{spaced / 'out'}|" in line for line in done), "a path with a space is one word"
    log = (tmp_path / "log").read_text().splitlines()
    assert ["afterok" in line for line in log] == [False, True, True]
    assert "afterok:101" in log[1]
    assert submit(CODE="4")[0] != 0, "a refused section holds the rest back"
    returned, done = submit(CODE="4", ACCEPT="4")
    assert (returned, len(done)) == (0, 7)
