"""Where Python has no ``resource``, ``fcntl`` or ``os.pread``, as on Windows: humanst starts, looks and fetches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT

# What Windows has not; each command's exit code and what it printed, as a line of JSON.
CHILD = """
import contextlib, io, json, os, sys, warnings
warnings.simplefilter("ignore")
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("pread", "sched_getaffinity", "sysconf"):
    delattr(os, name)
from humanst.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv, out = ["humanst", *arguments], io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main()
    except SystemExit as ended:
        print(json.dumps([ended.code or 0, out.getvalue()]))
"""


def test_without_what_only_posix_has_humanst_starts_looks_and_fetches(little_atlas: Path, tmp_path: Path) -> None:
    looks = ["packages", "images", "settings", "disk", "cache", "mirrors", "machine"]
    commands = [["--help"], ["doctor", *looks, "--json"], ["fetch", "demo_st", "--sections", "A1", "--json"]]
    settings = {
        "HUMANST_CATALOG": str(little_atlas / "catalog.yaml"),
        "HUMANST_MIRROR": str(little_atlas / "mirror"),
        "HUMANST_CACHE_DIR": str(tmp_path / "cache"),
        "HUMANST_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(commands)],
        env=os.environ | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    helped, looked, fetched = [json.loads(line) for line in done.stdout.splitlines()]
    assert helped[0] == 0
    assert "Exit codes:" in helped[1]
    assert looked[0] == 0, looked
    checks = {(check["check"], check["item"]): check for check in json.loads(looked[1])["checks"]}
    for item in ("memory", "limits"):
        assert "not looked at" in checks["machine", item]["found"]
    assert {check["status"] for check in checks.values()} <= {"ok", "warn"}
    assert fetched[0] == 0, done.stderr
    files = json.loads(fetched[1])["files"]
    assert files
    sources = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert {Path(file["path"]).name for file in files} <= sources
