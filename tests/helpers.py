"""Run the real command line in a child process, as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def run_humanst(
    *arguments: str,
    atlas: Path | None = None,
    mirror: Path | str | None = None,
    cache: Path | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run ``humanst ARGUMENTS`` offline; ``atlas`` sets catalog and mirror to a demo atlas."""
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
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    return subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


def output_json(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object a command printed with ``--json``."""
    content: dict[str, Any] = json.loads(result.stdout)
    return content
