"""A small alignment as one rank of two; ``python -m`` of it is the second rank."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from stamp_train.align import AlignResult, align
from stamp_train.config import AlignConfig


def as_rank(rank: int, store: Path, config: AlignConfig) -> AlignResult:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=300)
    )
    try:
        return align(config)
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    as_rank(1, Path(sys.argv[1]), AlignConfig.from_yaml(Path(sys.argv[2])))
