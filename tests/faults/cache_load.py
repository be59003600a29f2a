"""Ten processes at work on one cache, of which one is killed every now and then: what they do, and who watches them.

Six readers fetch files that are in the cache, on their way into it or not there yet, and compare every byte; two read
the pairs of a release at an address, whose shards come into the same cache; two build a release from it. Every few
seconds names are new, so that all run for the same files again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

GENERATION_S = 4.0
N_FILES = 12
READERS, RELEASE_READERS, BUILDERS = 6, 2, 2
BUILD = ("--sections", "demo_st_A1", "--shard-pairs", "7", "--seed", "3", "--workers", "1")


def body(number: int) -> bytes:
    """The bytes of a file of the load."""
    return random.Random(number).randbytes(150_000 + 1000 * number)


def study_of(generation: int) -> tuple[Any, Any]:
    """A study of the files of the load, whose id says when it is."""
    from tests.fetch.conftest import source, study

    files = (source(body=body(n), path=f"data/{n}.bin", role=f"file{n}") for n in range(N_FILES))
    return study(*files, study_id=f"load{generation}")


def read_files(request: dict[str, Any], generation: int, number: int) -> None:
    """Fetch all files of the load, and compare them."""
    from humanst.fetch import fetch_section

    made, section = study_of(generation)
    for role, path in fetch_section(made, section).paths.items():
        if path.read_bytes() != body(int(role.removeprefix("file"))):
            raise AssertionError(f"wrong bytes in {path}")


def read_pairs(request: dict[str, Any], generation: int, number: int) -> None:
    """Read every pair of a release at an address, and compare them."""
    from tests.faults.fuzz_kinds import epoch

    found = epoch(f"{request['address']}{generation % request['addresses']}")
    if digest_of(found) != request["pairs"]:
        raise AssertionError("other pairs than the release has")


def build(request: dict[str, Any], generation: int, number: int) -> None:
    """Build a release and compare it; one that was killed before is gone on with."""
    from click.testing import CliRunner

    from humanst.cli import humanst

    output = Path(request["folder"]) / f"built{number}"
    result = CliRunner().invoke(humanst, ["build-shards", "-o", str(output), *BUILD], catch_exceptions=False)
    if result.exit_code or tree_digest(output) != request["built"]:
        raise AssertionError(f"another release than without load: exit {result.exit_code}, {result.output[-2000:]}")
    shutil.rmtree(output)
    shutil.rmtree(output.with_name(f"{output.name}.work"), ignore_errors=True)


def digest_of(pairs: dict[str, tuple[bytes, bytes]]) -> str:
    """One hash over pairs."""
    whole = hashlib.sha256()
    for key, contents in sorted(pairs.items()):
        whole.update(key.encode() + b"\0".join(contents))
    return whole.hexdigest()


def tree_digest(folder: Path) -> str:
    """One hash over the names and bytes of a folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _worker(number: int, request: dict[str, Any], began: float, out: int) -> NoReturn:
    """Do one thing again and again until the time is over, a letter each time; the reason when it went wrong."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work: Callable[[dict[str, Any], int, int], None] = read_files
    if number >= READERS:
        work = read_pairs if number < READERS + RELEASE_READERS else build
    code = 0
    try:
        while (since := time.monotonic() - began) < request["seconds"]:
            work(request, int(since / GENERATION_S), number)
            os.write(out, json.dumps({"did": work.__name__, "number": number}).encode() + b"\n")
    except BaseException:
        os.write(out, json.dumps({"failure": traceback.format_exc()[-3000:], "number": number}).encode() + b"\n")
        code = 1
    os._exit(code)


def _start(number: int, request: dict[str, Any], began: float, out: int) -> int:
    child = os.fork()
    if child == 0:
        _worker(number, request, began, out)
    return child


def watch(request: dict[str, Any]) -> dict[str, Any]:
    """Start all, kill and replace one of them at random moments, and wait until all have ended."""
    drawn = random.Random(request["seed"])
    log = Path(request["folder"]) / "log"
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began, kills, ended = time.monotonic(), 0, Counter[int]()
    running = {number: _start(number, request, began, out) for number in range(READERS + RELEASE_READERS + BUILDERS)}
    while time.monotonic() - began < request["seconds"]:
        time.sleep(drawn.uniform(0.1, 0.6))
        number = drawn.choice(sorted(running))
        os.kill(running[number], signal.SIGKILL)
        ended[os.waitstatus_to_exitcode(os.waitpid(running[number], 0)[1])] += 1
        kills += 1
        running[number] = _start(number, request, began, out)
    deadline = time.monotonic() + request["patience_s"]
    while running and time.monotonic() < deadline:
        for number, pid in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                ended[os.waitstatus_to_exitcode(status)] += 1
                del running[number]
        time.sleep(0.05)
    for pid in running.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    return {
        "kills": kills,
        "stuck": sorted(running),
        "failures": [line["failure"] for line in lines if "failure" in line],
        "did": dict(Counter(line["did"] for line in lines if "did" in line)),
        "ended": {str(code): n for code, n in ended.items()},
    }


def serve(request_path: str) -> NoReturn:
    """In a child of a warm parent: what is asked for in a file, and the answer beside it."""
    code = 1
    try:
        request = json.loads(Path(request_path).read_bytes())
        Path(f"{request_path}.answer").write_text(json.dumps(watch(request)))
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)
