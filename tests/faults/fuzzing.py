"""Mutated inputs, many in one process, under limits: what each came to, and how to see it again.

A watchdog forks a child for every hundred inputs. A child has room for one GiB beyond what it began with, and ten
seconds of processor time an input (five minutes by the clock, for a busy machine); one that dies, hangs or runs out of
memory is a failure of the input it was at, and the next child goes on after it.

``python -m tests.faults.fuzzing KIND SEED`` does one input again and says what was mutated and what came of it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NoReturn

BATCH = 100
MEMORY_BYTES = 1 << 30
CPU_SECONDS = 10
CLOCK_SECONDS = 300


def seeded(kind: str, seed: int) -> Random:
    """The generator of one input."""
    return Random(f"{kind}/{seed}")


def one_input(kind: str, seed: int, world: Path, scratch: Path, limit_s: float = 0) -> dict[str, Any]:
    """Mutate the good file of a kind, read it within so much processor time, and say what came of it."""
    from tests.faults.fuzz_kinds import KINDS, Wrong, linked

    rng, entry = seeded(kind, seed), KINDS[kind]
    good = (world / entry.base).read_bytes()
    data, what = entry.mutate(good, rng)
    copy = scratch / "world"
    if not copy.exists() or kind in ("manifest", "shard", "index"):
        shutil.rmtree(copy, ignore_errors=True)
        linked(world, copy)
        for name, source in (("good", world / "release"), ("base", world / entry.base)):
            if not (scratch / name).exists():
                (scratch / name).symlink_to(source)
    result: dict[str, Any] = {"seed": seed, "mutation": what, "bytes": len(data)}
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        result["outcome"] = entry.run(copy, data, rng)
    except Wrong as error:
        result["failure"] = str(error)
    except BaseException:
        result["failure"] = traceback.format_exc()
    signal.setitimer(signal.ITIMER_PROF, 0)
    result["seconds"] = round(time.process_time() - began, 3)
    return result


def _child(kind: str, seeds: range, world: Path, out: int) -> NoReturn:
    """Do inputs one after the other, a line each, under limits."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        os.environ["HUMANST_CACHE_DIR"] = f"{scratch}/cache"
        os.environ["HUMANST_CATALOG"] = str(world / "atlas" / "catalog.yaml")
        os.chdir(scratch)
        for seed in seeds:
            line = json.dumps(one_input(kind, seed, world, Path(scratch), CPU_SECONDS))
            os.write(out, line.encode() + b"\n")
        os.chdir("/")
    os._exit(0)


def run(kind: str, seeds: range, world: Path) -> Iterator[dict[str, Any]]:
    """Results of all inputs, in order."""
    todo = seeds
    while todo:
        results = list(_batch(kind, todo[:BATCH], world))
        yield from results
        todo = todo[len(results) :]


def _batch(kind: str, seeds: range, world: Path) -> Iterator[dict[str, Any]]:
    """Results of one child, up to its end or the failure that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(kind, seeds, world, writing)
    os.close(writing)
    done, late = 0, False
    with os.fdopen(reading, "rb") as lines:
        while done < len(seeds):
            late = not select.select([lines], [], [], CLOCK_SECONDS)[0]
            line = b"" if late else lines.readline()
            if not line.endswith(b"\n"):
                break
            done += 1
            yield json.loads(line)
    if late:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if done < len(seeds):
        yield {"seed": seeds[done], "mutation": "see it again", "failure": _ended(status, late)}


def _ended(status: int, late: bool) -> str:
    if late:
        return f"nothing came for {CLOCK_SECONDS} seconds"
    if status == -signal.SIGPROF:
        return f"more than {CPU_SECONDS} seconds of processor time"
    return f"the process ended with {status}"


def summary(kind: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of outcomes, the slowest input, and every failure with its seed."""
    failures = [result for result in results if "failure" in result]
    return {
        "kind": kind,
        "inputs": len(results),
        "outcomes": dict(sorted(Counter(result["outcome"] for result in results if "outcome" in result).items())),
        "slowest_s": max((result.get("seconds", 0) for result in results), default=0),
        "failures": failures,
    }


def serve(kind: str, first: int, last: int, world: str, report: str) -> NoReturn:
    """In a child of a warm parent: do the inputs of a kind, write the summary, and end."""
    code = 1
    try:
        Path(report).write_text(json.dumps(summary(kind, list(run(kind, range(first, last), Path(world))))))
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def main(kind: str, seed: str, world: str = "") -> None:
    """Do one input again, in this process and without limits."""
    from tests.faults.fuzz_kinds import write_world

    os.environ["HUMANST_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(world or f"{scratch}/good").absolute()
        if not folder.exists():
            write_world(folder)
        os.environ["HUMANST_CACHE_DIR"] = f"{scratch}/cache"
        os.environ["HUMANST_CATALOG"] = str(folder / "atlas" / "catalog.yaml")
        for number in range(*map(int, seed.split("-"))) if "-" in seed else (int(seed),):
            result = one_input(kind, number, folder, Path(scratch))
            sys.stdout.write("".join(f"{key}: {value}\n" for key, value in result.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
