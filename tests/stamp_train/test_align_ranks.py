"""Two ranks train what one trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stamp_train.align import align
from stamp_train.weights import read_safetensors
from tests.stamp_train.small_release import facts, settings, write_small_release, written
from tests.stamp_train.two_rank_run import as_rank

ROOT = Path(__file__).resolve().parents[2]
# Sums in another order, which Adam enlarges where a gradient is nearly 0: 5e-6 was measured. Six steps move a weight by
# up to 2e-2.
TOLERANCE = 5e-5


def test_two_ranks_are_as_one_with_the_same_batch(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    release = write_small_release(tmp_path / "release").path
    # What is dropped is drawn by each rank for itself; all else is the same, flips and stains too.
    changes = {"lora_dropout": 0.0, "pathway_dropout": 0.0}
    alone = align(settings(release, tmp_path / "one", **changes))
    config = settings(release, tmp_path / "two", **changes)
    command = [sys.executable, "-m", "tests.stamp_train.two_rank_run", tmp_path / "store", written(tmp_path, config)]
    with subprocess.Popen(command, cwd=ROOT) as second:
        try:
            both = as_rank(0, tmp_path / "store", config)
            assert second.wait(timeout=120) == 0
        finally:
            second.kill()
    for name in ("adapter/adapter.safetensors", "heads.safetensors"):
        one, two = (read_safetensors(tmp_path / run / name)[0] for run in ("one", "two"))
        assert one.keys() == two.keys()
        for tensor in one:
            torch.testing.assert_close(one[tensor], two[tensor], rtol=0, atol=TOLERANCE, msg=tensor)
    moved = read_safetensors(tmp_path / "two/adapter/adapter.safetensors")[0]
    assert all(float(tensor.abs().max()) > 1e-3 for name, tensor in moved.items() if "lora_B" in name)
    for term in ("total", "contrast", "huber", "pcc", "library", "anchor", "retrieval", "gradient_norm"):
        assert both.last[term] == pytest.approx(alone.last[term], abs=1e-4), term
    assert both.validation[-1]["pcc"] == pytest.approx(alone.validation[-1]["pcc"], abs=1e-4)
    assert facts(tmp_path / "two", "result.json")["steps"] == 6
