"""One rank of a gloo group: reads epochs in every way and writes down the keys of its batches, as JSON."""

from __future__ import annotations

import gc
import json
import sys
from datetime import timedelta
from pathlib import Path


def main(release: str, out: str, rank: int, world: int, batch_size: int) -> None:
    import torch
    from torch import distributed

    from humanst.load import dataloader

    meeting = Path(out) / f"meeting-{world}"
    distributed.init_process_group(
        "gloo", init_method=meeting.as_uri(), rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    torch.set_num_threads(1)
    # Workers are forked: what they only count references of is not copied for each.
    gc.collect()
    gc.freeze()
    found = []
    for stream in (False, True):
        for tail in ("exact", "drop"):
            for workers in (0, 1, 2, 3):
                loader = dataloader(release, batch_size, stream=stream, tail=tail, workers=workers, seed=9)
                epochs = []
                for _ in range(2):
                    batches = []
                    for batch in loader:
                        batches.append(batch["key"])
                        if tail == "drop":
                            # As the gradients of a step: a rank with more steps than the others would wait for ever.
                            distributed.all_reduce(torch.ones(1))
                    epochs.append(batches)
                found.append({"stream": stream, "tail": tail, "workers": workers, "epochs": epochs})
                del loader
    distributed.barrier()
    (Path(out) / f"keys-{world}-{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
