"""F09 to F14: kills at any moment, a full disk, what is synced, and the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from humanst.errors import HumanstError
from tests.faults.board import WHOLE, Message, Seen, judge, unfinished
from tests.fetch.one_file import BODY, NAME, online_env, write_catalog
from tests.helpers import ROOT, run_humanst, start_humanst
from tests.server import serving
from tests.shards.conftest import SHARD_PAIRS, Made, digests
from tests.shards.test_no_room import FullDisk

Run = Callable[[Sequence[str]], Result]
# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-kills")
KILLS = int(os.environ.get("HUMANST_BOARD_KILLS", "5"))
SECTION = "demo_st_A1"
MIB = 1 << 20


@contextmanager
def fresh(*arguments: str, env: dict[str, str], **_: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A command in an interpreter of its own, as a shell starts it."""
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, env={**env, "PYTHONPATH": str(ROOT)}, stdout=null, stderr=null) as process:
        yield process


# Forked from a warm parent; the whole board kills as many of fresh interpreters.
STARTS = {"forked": start_humanst, **({"fresh": fresh} if WHOLE else {})}


def killed_after(process: Any, seconds: float) -> bool:
    """Let a process go on for a while, and end it; whether it was still at work."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
        return False
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    return True


def ended(case: str, result: subprocess.CompletedProcess[str], left: list[str], wrong: str) -> Seen:
    """The next run, which needs no flag and must end well."""
    return Seen(case, (0,), result.returncode, None, left, wrong or (result.stderr[-300:] if result.returncode else ""))


def test_f09_kill_fetch(tmp_path: Path) -> None:
    seen, n_killed = [], 0
    catalog = write_catalog(tmp_path)
    for number, (how, start) in enumerate([pair for pair in STARTS.items() for _ in range(KILLS)]):
        with serving() as server:
            server.bodies[f"tiny/{NAME}"] = BODY
            server.pause_s, path = 0.002, f"/slow/tiny/{NAME}"
            cache = tmp_path / f"cache{number}"
            env = {**os.environ, **online_env(server, "slow", catalog, cache)}
            # By what was sent, not by the clock: from the first byte to a little after the last.
            moment = random.Random(number).uniform(0, 1.03) * len(BODY)
            with start("fetch", "tiny", env=env) as process:
                deadline = time.monotonic() + 120
                while process.poll() is None and server.sent[path] < moment and time.monotonic() < deadline:
                    time.sleep(0.001)
                n_killed += killed_after(process, 0)
            target, server.pause_s = cache / "sources" / "tiny" / NAME, 0.0
            torn = "a torn file" if target.exists() and target.read_bytes() != BODY else ""
            before = server.sent[path]
            result = run_humanst("fetch", "tiny", env=online_env(server, "slow", catalog, cache))
            again = server.sent[path] - before
            wrong = torn or ("" if target.read_bytes() == BODY else "other bytes")
            wrong = wrong or (f"{again:,} bytes asked again" if again > len(BODY) - before + MIB else "")
            seen.append(ended(f"{how} {number}", result, unfinished(cache), wrong))
    judge(
        "F09", seen, [f"{len(seen)} fetches started to be killed, by bytes sent; {MIB:,} bytes may be asked for twice"]
    )


def wait_for(process: Any, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.003)


def in_hand(env: dict[str, str], arguments: Sequence[str], there: Callable[[], bool]) -> float:
    """Seconds from the first sign of writing to the end of an undisturbed run."""
    with start_humanst(*arguments, env=env) as process:
        wait_for(process, there)
        began = time.monotonic()
        assert process.wait(timeout=300) == 0
    return time.monotonic() - began


def test_f10_kill_shards(made: Made, tmp_path: Path) -> None:
    def command(release: Path) -> list[str]:
        request = ["--sections", SECTION, "--shard-pairs", "7", "--seed", "3"]
        return ["build-shards", "-o", str(release), "--workers", "1", *request]

    def writing(release: Path) -> Callable[[], bool]:
        return (release.with_name(f"{release.name}.work") / "plan.json").exists

    env, good = made.environment(), tmp_path / "good" / "out"
    seconds = in_hand(env, command(good), writing(good))
    seen = []
    for number, (how, start) in enumerate([pair for pair in STARTS.items() for _ in range(KILLS)]):
        release = tmp_path / str(number) / "out"
        if number % 2:
            shutil.copytree(made.release, release)
        moment = seconds * (number % KILLS + random.Random(number).random()) / KILLS
        with start(*command(release), env=env) as process:
            wait_for(process, writing(release))
            killed_after(process, moment)
        # In the instant between two renames neither is there, and the next run puts one back.
        whole = not release.exists() or digests(release) in (digests(good), digests(made.release))
        result = run_humanst(*command(release), atlas=made.atlas, cache=made.cache)
        same = release.exists() and digests(release) == digests(good)
        wrong = "" if whole and same else "a torn release" if not whole else "other bytes"
        seen.append(ended(f"{how} {number}", result, unfinished(release.parent), wrong))
    judge(
        "F10", seen, [f"{len(seen)} kills over the time that a build writes, every other one over an earlier release"]
    )


def test_f11_kill_section(made: Made, tmp_path: Path) -> None:
    def command(folder: Path, *more: str) -> list[str]:
        study, section = SECTION.rsplit("_", 1)
        return ["build", study, "--sections", section, "-o", str(folder), "--workers", "1", *more]

    def begun(folder: Path) -> Callable[[], bool]:
        return lambda: any((folder / "sections").glob(".*.partial-*"))

    env, old, good = made.environment(), tmp_path / "old", tmp_path / "good"
    assert run_humanst(*command(old), atlas=made.atlas, cache=made.cache).returncode == 0
    seconds = in_hand(env, command(good, "--min-counts", "150"), begun(good))
    stores = [digests(folder / "sections") for folder in (old, good)]
    assert stores[0] != stores[1]
    seen = []
    for number, (how, start) in enumerate([pair for pair in STARTS.items() for _ in range(KILLS)]):
        folder = tmp_path / str(number)
        if number % 2:
            shutil.copytree(old, folder)
        moment = seconds * (number % KILLS + random.Random(number).random()) / KILLS
        with start(*command(folder, "--min-counts", "150"), env=env) as process:
            wait_for(process, begun(folder))
            killed_after(process, moment)
        sections = folder / "sections"
        there = {name: sha for name, sha in digests(sections).items() if not name.startswith(".")}
        # A store exists when its card does: without one it is made anew.
        torn = bool(there) and f"{SECTION}.zarr.card.json" in there and there not in stores
        result = run_humanst(*command(folder, "--min-counts", "150"), atlas=made.atlas, cache=made.cache)
        wrong = "a torn store" if torn else "" if digests(sections) == stores[1] else "other bytes"
        seen.append(ended(f"{how} {number}", result, unfinished(folder), wrong))
    judge("F11", seen, [f"{len(seen)} kills in the write of a store, every other one over an old one"])


def test_f12_disk_full(full_disk: FullDisk, earlier: Path, humanst_here: Run, tmp_path: Path) -> None:
    """Every write of the run fails from the n-th on, until it is let through; then the same command ends well."""
    before, work, seen = digests(earlier), tmp_path / "out.work", []
    arguments = ["build-shards", "-o", str(earlier), "--workers", "1", "--sections", SECTION]
    arguments += ["--shard-pairs", "40", "--seed", "1"]
    reached: set[str] = set()
    for n in range(1, 41):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(tmp_path / "stores", work, copy_function=os.link)
        full_disk.left, full_disk.seen = n - 1, 0
        error = humanst_here(arguments).exception
        # What it left is looked at with the disk as full as it was.
        wrong = "" if digests(earlier) == before else "the earlier release changed"
        wrong = wrong or (
            "" if all(json.loads(c.read_bytes()) for c in tmp_path.rglob("*card.json")) else "a torn card"
        )
        message = Message.of(error.to_dict()) if isinstance(error, HumanstError) else None
        exit_code = message.exit_code if message else int(error is not None)
        left = [name for name in unfinished(tmp_path) if ".partial-" in name]
        seen.append(Seen(f"write {n}", (9,), exit_code, message, left, wrong))
        reached |= {path.name for path in work.iterdir()}
    assert {"extract", "done", "pack", "index"} <= reached, "the failures went from the first write to the last stages"
    full_disk.left = None
    error = humanst_here(arguments).exception
    whole = run_humanst("verify", str(earlier)).returncode == 0 and digests(earlier) != before
    wrong = "" if error is None and whole else f"not whole: {error}"
    seen.append(Seen("room again", (0,), 0, None, unfinished(tmp_path), wrong))
    judge("F12", seen)


# Every fsync and every rename of the command and its children, in order, one JSON list a line.
_WATCH = """
import json, os, sys
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def fsync(descriptor):
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    os.write(log, json.dumps(["fsync", os.readlink(f"/proc/self/fd/{{number}}"), ""]).encode() + b"\\n")
os.fsync = fsync
def hear(event, given):
    if event == "os.rename":
        names = [os.path.abspath(os.fsdecode(path)) for path in given[:2]]
        os.write(log, json.dumps(["rename", *names]).encode() + b"\\n")
sys.addaudithook(hear)
"""


def unsynced(events: Sequence[tuple[str, str, str]]) -> tuple[int, list[str]]:
    """How many artefacts got their name, and those whose bytes or whose folder were not brought to the disk."""
    faults, n_named = [], 0
    synced: set[str] = set()
    for position, (kind, source, target) in enumerate(events):
        if kind == "fsync":
            synced.add(source)
            continue
        # What lies in a folder that is being filled has no name yet.
        if any(part.startswith(".") for part in Path(target).parts):
            continue
        n_named += 1
        inside = [path for path in Path(target).rglob("*") if path.is_file()] if Path(target).is_dir() else []
        wanted = [f"{source}/{path.relative_to(target)}" for path in inside] or [source]
        faults += [f"{path} before {Path(target).name}" for path in wanted if path not in synced]
        later = {path for other, path, _ in events[position:] if other == "fsync"}
        faults += [] if str(Path(target).parent) in later else [f"the folder of {target}"]
    return n_named, faults


def seen_by_the_kernel(trace: Path) -> list[tuple[str, str, str]]:
    """The same events from what ``strace -f -y`` wrote down, those of libraries and C code with them."""
    events = []
    for line in trace.read_text(errors="replace").splitlines():
        # A call that another process broke into is written in two pieces; the first of them has the names.
        synced = re.search(r" f(?:data)?sync\(\d+<([^>]+)>", line)
        named = re.search(r' rename(?:at2?)?\((?:AT_FDCWD[^,]*, )?"([^"]+)", (?:AT_FDCWD[^,]*, )?"([^"]+)"', line)
        if synced:
            events.append(("fsync", synced[1], ""))
        elif named and " ENOENT " not in line:
            events.append(("rename", named[1], named[2]))
    return events


@pytest.mark.parametrize("witness", ["python", "strace"])
def test_f13_unsynced(made: Made, tmp_path: Path, witness: str) -> None:
    """Watched from inside the interpreter, and in the whole board with strace, too, where it is there."""
    if witness == "strace" and not (WHOLE and shutil.which("strace")):
        pytest.skip("the whole board asks the kernel, where strace is there")
    log, release = tmp_path / "log", tmp_path / "out"
    arguments = ["build-shards", "-o", str(release), "--sections", SECTION, "--shard-pairs", "20"]
    cache = tmp_path / "cache"
    if witness == "strace":
        calls = "fsync,fdatasync,rename,renameat,renameat2"
        traced = ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={calls}", "-o", str(log), sys.executable, "-c"]
        command = [*traced, "from humanst.cli import main; main()", *arguments, "--workers", "1"]
        env = made.environment() | {"HUMANST_CACHE_DIR": str(cache)}
        assert subprocess.run(command, env=env, check=False, capture_output=True).returncode == 0
        events = seen_by_the_kernel(log)
    else:
        result = run_humanst(*arguments, atlas=made.atlas, cache=cache, first=_WATCH.format(log=str(log)))
        assert result.returncode == 0, result.stderr
        events = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
    n_named, faults = unsynced([event for event in events if event[1].startswith(str(tmp_path))])
    assert n_named > 20
    assert unsynced([event for event in events if event[0] == "rename"])[1], "without any fsync it would say so"
    if witness == "python":
        judge("F13", [Seen("fetch and build", (0,), 0, None, (), "; ".join(faults[:5]))])
    assert not faults


def test_f14_same_bytes(made: Made, tmp_path: Path) -> None:
    """The release of one process, and the same built with two, in another folder, with another hash seed."""
    seen = []
    ways: dict[str, tuple[list[str], dict[str, str]]] = {
        "again, in another folder": ([], {}),
        "2 workers and another hash seed": (["--workers", "2"], {"PYTHONHASHSEED": "4711"}),
    }
    for number, (case, (more, env)) in enumerate(ways.items()):
        release = tmp_path / "deeper" / str(number)
        arguments = ["build-shards", "-o", str(release), "--shard-pairs", SHARD_PAIRS, *more]
        result = run_humanst(*arguments, atlas=made.atlas, cache=tmp_path / f"cache{number}", env=env, cwd=tmp_path)
        same = release.exists() and digests(release) == digests(made.release)
        seen.append(ended(case, result, unfinished(release.parent), "" if same else "other bytes"))
    judge("F14", seen)
