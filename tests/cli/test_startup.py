"""A cold start costs next to nothing: ``import humanst`` and ``humanst --help`` against a bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT

BARE = [sys.executable, "-c", "pass"]
STARTS = {
    "import humanst": [sys.executable, "-c", "import humanst"],
    "humanst --help": [sys.executable, "-c", "from humanst.cli import main; main()", "--help"],
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


@pytest.mark.parametrize("name", STARTS)
def test_a_cold_start_costs_at_most_12_bare_interpreters(name: str) -> None:
    """Measured in turn, so that a busy machine slows both; the median of 7 counts."""
    ratios = []
    for _ in range(7):
        bare = seconds(BARE)
        ratios.append(seconds(STARTS[name]) / bare)
    assert statistics.median(ratios) <= 12, ratios


@pytest.mark.parametrize("name", STARTS)
def test_a_cold_start_imports_nothing_heavy(name: str) -> None:
    code = STARTS[name][2] + "\n" if "help" not in name else ""
    probe = f"""
import sys
{code}
if {"help" in name}:
    sys.argv = ["humanst", "--help"]
    from humanst.cli import main
    try:
        main()
    except SystemExit:
        pass
heavy = {{"numpy", "pandas", "torch", "anndata", "spatialdata", "scanpy", "pyvips", "pydantic", "pyarrow", "pandera"}}
print("HEAVY", sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "HEAVY []"
