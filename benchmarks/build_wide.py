"""Shards as a whole atlas has them: a few pairs of each of a thousand sections."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.build_meter import cpu_seconds
from humanst import files
from humanst.shards.extracting import read_all_done
from humanst.shards.pack import PackTask, pack_shard
from humanst.shards.packing import PACK, PACK_CARD
from humanst.shards.plan import make_plan
from humanst.shards.request import ReleaseRequest
from humanst.shards.settling import settle

N_SHARDS = 4


def pack_wide_shards(request: ReleaseRequest, n_sections: int) -> dict[str, Any]:
    """Pack a few shards of ``n_sections`` sections, each extract linked to under many names.

    The links make keys that occur twice, and the extracts lie in the page cache; the work of packing is the same.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    plan = make_plan(request)
    settled = settle(request, plan, read_all_done(request.work, plan.sections))
    work = request.work / "wide"
    files.remove(work)
    extracts, facts, pairs = [], [], []
    for number in range(n_sections):
        extract = settled.extracts[number % len(settled.extracts)]
        name = f"{extract.path.name}-{number}"
        link = work / "extract" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(extract.path, target_is_directory=True)
        extracts.append([name, extract.card["inputs"]])
        facts.append(asdict(replace(settled.facts[extract.sample_id], split="train")))
        pairs.append(extract.card["pairs"])
    rng = np.random.default_rng(0)
    size = request.spec.shard_pairs
    schema = pa.schema([("extract", pa.int32()), ("row", pa.int32())])

    def write(target: Path) -> None:
        with pq.ParquetWriter(target, schema) as writer:
            for _ in range(N_SHARDS):
                number = rng.integers(n_sections, size=size)
                row = (rng.random(size) * np.array(pairs)[number]).astype(np.int32)
                writer.write_table(pa.table({"extract": number.astype(np.int32), "row": row}, schema=schema))

    pack = work / "pack"
    files.write_with(pack / PACK, write)
    codecs = sorted(settled.extracts[0].card["codecs"].items())
    files.write_json(pack / PACK_CARD, {"extracts": extracts, "facts": facts, "codecs": codecs})
    cpu = cpu_seconds()
    for number in range(N_SHARDS):
        pack_shard(PackTask(number, f"train-{number:05d}.tar", "train", work / "out", work / "none", work, pack))
    cpu = cpu_seconds() - cpu
    n_bytes = sum(json.loads(card.read_bytes())["bytes"] for card in work.glob("out/data/*/*.card.json"))
    files.remove(work)
    return {"sections": n_sections, "shards": N_SHARDS, "pairs": N_SHARDS * size, "cpu_seconds": cpu, "bytes": n_bytes}
