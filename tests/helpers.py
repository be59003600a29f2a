"""Run the real command line in a child process, as a user does (forked from a warm parent: ``tests/warm.py``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from tests.warm import Running, warm_parent

ROOT = Path(__file__).resolve().parents[1]


def run_humanst(
    *arguments: str,
    atlas: Path | None = None,
    mirror: Path | str | None = None,
    cache: Path | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
    first: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run ``humanst ARGUMENTS`` offline; ``atlas`` sets catalog and mirror to a demo atlas.

    ``first`` is code that the process runs before the command.

    Builds have one worker unless they say how many: tests run side by side themselves.
    """
    if arguments[:1] in (("build",), ("build-shards",), ("validate",)) and not {"--workers", "--help"} & {*arguments}:
        arguments = (*arguments, "--workers", "1")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
    environment["HUMANST_OFFLINE"] = "1"
    environment["PYTHONPATH"] = str(ROOT)
    if atlas is not None:
        environment["HUMANST_CATALOG"] = str(atlas / "catalog.yaml")
        mirror = mirror or atlas / "mirror"
    if mirror is not None:
        environment["HUMANST_MIRROR"] = str(mirror)
    environment["HUMANST_CACHE_DIR"] = str(cache or os.environ.get("HUMANST_CACHE_DIR", ""))
    environment.update(env or {})
    if "PYTHONHASHSEED" not in (env or {}):
        return _run_warm(arguments, environment, cwd or Path.cwd(), timeout, first)
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    return subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


def _run_warm(
    arguments: Sequence[str], environment: dict[str, str], cwd: Path, timeout_s: float, first: str
) -> subprocess.CompletedProcess[str]:
    with NamedTemporaryFile() as out, NamedTemporaryFile() as err:
        request = {"arguments": arguments, "env": environment, "cwd": str(cwd), "stdout": out.name, "stderr": err.name}
        request["first"] = first
        code = warm_parent().run(request, timeout_s)
        return subprocess.CompletedProcess(["humanst", *arguments], code, out.read().decode(), err.read().decode())


def start_humanst(
    *arguments: str, env: dict[str, str], stdout: str = os.devnull, stderr: str = os.devnull, first: str = ""
) -> Running:
    """Start ``humanst ARGUMENTS`` and go on, to send it signals; wait for it before the next command.

    ``first`` is code that the process runs before the command.
    """
    request = {"arguments": arguments, "env": env, "cwd": str(Path.cwd()), "stdout": stdout, "stderr": stderr}
    return warm_parent().start(request | {"first": first})


def output_json(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object a command printed with ``--json``."""
    content: dict[str, Any] = json.loads(result.stdout)
    return content
