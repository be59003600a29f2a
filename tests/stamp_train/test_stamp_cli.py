"""The ``stamp-train`` command as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys

import humanst
import stamp_train


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stamp_train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_the_commands_and_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "stamp-train" in done.stdout
    assert "slides Train and test attention-based MIL" in " ".join(done.stdout.split())
    assert "5   data invalid, leakage included" in done.stdout
    assert run("slides", "--help").stdout.startswith("Usage: stamp-train slides [OPTIONS]")


def test_version_is_the_one_of_humanst() -> None:
    assert run("--version").stdout == f"stamp-train {humanst.__version__}\n"
    assert stamp_train.__version__ == humanst.__version__


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("nosuch")
    assert done.returncode == 2
    assert "No such command 'nosuch'" in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = """
import json, sys
from stamp_train.cli import COMMANDS, main
for given in (["--help"], *([name, "--help"] for name in COMMANDS)):
    try:
        main(given)
    except SystemExit as end:
        assert end.code == 0
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"torch", "numpy", "pandas", "pyarrow", "anndata", "spatialdata", "pyvips", "timm", "peft"}
    ours = {name.split(".")[1] for name in loaded if name.startswith("humanst.")}
    assert ours <= {"load", "tiles", "files", "errors"}
