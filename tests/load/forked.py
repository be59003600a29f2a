"""Ranks of a process group, forked from one process that has imported torch for all of them."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("torch.distributed", "torch.utils.data", "humanst.load.torch_loader", "humanst.load.stream")


@dataclass(frozen=True)
class Rank:
    """A script (a path or a module) with its arguments, what is added to the environment, and where it writes."""

    arguments: list[str]
    environment: dict[str, str]
    stdout: str
    stderr: str


def run_ranks(ranks: Sequence[Rank], environment: Mapping[str, str], *, timeout_s: float = 300) -> list[int]:
    """Run ranks side by side in this folder, with ``environment`` and what they add to it; returns their exit codes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.forked", str(Path.cwd())],
        cwd=ROOT,
        env=environment,
        input=json.dumps([asdict(rank) for rank in ranks]),
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
        check=True,
    )
    codes: list[int] = json.loads(done.stdout)
    return codes


def main() -> None:
    for name in LIBRARIES:
        import_module(name)
    children = []
    for rank in json.loads(sys.stdin.read()):
        child = os.fork()
        if child == 0:
            _become(Rank(**rank))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(json.dumps(codes))


def _become(rank: Rank) -> NoReturn:
    code = 1
    try:
        for number, name in ((1, rank.stdout), (2, rank.stderr)):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(sys.argv[1])
        os.environ.update(rank.environment)
        sys.argv = rank.arguments
        run = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
        run(sys.argv[0], run_name="__main__")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
