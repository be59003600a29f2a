"""torch, CUDA and bf16, asked of a child process: the import costs seconds, and a broken driver ends no one else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from humanst.doctor.checks import Check
from humanst.errors import UsageError

TIMEOUT_S = 90.0
_INSTALL = "pip install 'humanst[train]', with the torch that fits the driver (pytorch.org)"
_CHILD = """
import json, torch
cuda = torch.cuda.is_available()
gpus = []
for number in range(torch.cuda.device_count() if cuda else 0):
    facts = torch.cuda.get_device_properties(number)
    gpus.append({"name": facts.name, "bytes": facts.total_memory, "capability": f"{facts.major}.{facts.minor}"})
bf16 = bool(cuda and torch.cuda.is_bf16_supported(including_emulation=False))
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus, "bf16": bf16,
    "threads": torch.get_num_threads(),
}))
"""


def torch_checks() -> list[Check]:
    """What torch there is and what it can work on."""
    if find_spec("torch") is None:
        todo = f"Building needs none; to load into PyTorch or to train: {_INSTALL}"
        return [Check("torch", "torch", "ok", "not installed", todo)]
    command = [sys.executable, "-c", _CHILD]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        todo = "Look whether the driver or the disk hangs: python -c 'import torch; torch.cuda.init()'"
        return [Check("torch", "torch", "fail", f"no answer in {TIMEOUT_S:.0f} s", todo, UsageError)]
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or [f"it ended with {child.returncode}"]
        return [Check("torch", "torch", "fail", f"cannot be imported: {lines[-1]}", _INSTALL, UsageError)]
    return checks_of(json.loads(child.stdout.splitlines()[-1]), has_gpu=_has_gpu())


def _has_gpu() -> bool:
    """Whether the driver of NVIDIA shows a device that is not hidden from us."""
    return Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


def checks_of(told: dict[str, Any], *, has_gpu: bool) -> list[Check]:
    """What the child said, as checks."""
    checks = [Check("torch", "torch", "ok", f"{told['version']}, {told['threads']} threads")]
    gpus = told["gpus"]
    if not gpus and has_gpu:
        built = f"CUDA {told['cuda']}" if told["cuda"] else "no CUDA"
        found = f"the machine has a GPU, and torch (built for {built}) does not see it"
        return [*checks, Check("torch", "CUDA", "warn", found, f"Compare nvidia-smi with torch: {_INSTALL}")]
    if not gpus:
        return [*checks, Check("torch", "CUDA", "ok", "no GPU: works on the CPU, slowly")]
    for number, gpu in enumerate(gpus):
        found = f"{gpu['name']}, {gpu['bytes'] / (1 << 30):.0f} GiB, capability {gpu['capability']}"
        checks.append(Check("torch", f"GPU {number}", "ok", f"{found}, CUDA {told['cuda']}"))
    found = "in hardware" if told["bf16"] else "not in hardware: train in float32 or fp16"
    return [*checks, Check("torch", "bf16", "ok", found)]
