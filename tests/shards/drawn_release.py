"""Tiny releases of any shape, made without humanst's writers: who is in which shard, under which licence, of whom."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fetch.small_release import PATHWAYS, add_targets, study_row, write_head, write_split, write_store

OPEN, CLOSED = "CC0-1.0", "CC-BY-NC-4.0"
ORGANS = ("breast", "lung")


@dataclass(frozen=True)
class Drawn:
    """A section: its shards hold pairs of it; everything but the sample_id is nobody else's."""

    number: int
    split: str
    donor: int
    closed: bool

    @property
    def sample_id(self) -> str:
        return f"sample_{self.number}"

    @property
    def study(self) -> str:
        return f"study{'C' if self.closed else 'O'}{self.donor}"

    @property
    def row(self) -> dict[str, Any]:
        return {
            "sample_id": self.sample_id,
            "study_id": self.study,
            "section_id": f"piece{self.number}",
            "platform": "visium",
            "organ": ORGANS[self.number % 2],
            "disease": f"disease{self.number}",
            "donor_id": f"donor{self.donor}",
            "group": f"sample_{self.donor}g",
            "split": self.split,
            "license": CLOSED if self.closed else OPEN,
            "redistributable": not self.closed,
            "um_per_pixel": 0.5,
            "counts_in": 900,
            "counts_out": 900,
            "drops": [],
            "pair_drops": [],
            "extract_inputs": f"inputs{self.number}",
        }


def _pair(section: Drawn, number: int) -> tuple[dict[str, Any], list[bytes]]:
    rng = np.random.default_rng([section.number, number])
    key = f"{section.sample_id}_{number}spot{section.number}"
    row = {
        "uid": hashlib.blake2b(key.encode(), digest_size=16).hexdigest(),
        "key": key,
        "sample_id": section.sample_id,
        "spot_id": f"{number}spot{section.number}",
        "donor_group": section.row["group"],
        "platform": "visium",
        "n_counts": 1000 + number,
        "log10_counts_z": 0.5,
    }
    vector = io.BytesIO()
    np.lib.format.write_array(vector, rng.normal(size=3).astype("<f4"), version=(1, 0), allow_pickle=False)
    organ = section.row["organ"]
    document = {**row, "label": ORGANS.index(organ), "organ": organ, "split": section.split, "study_id": section.study}
    text = f"{organ}, {section.row['disease']}, visium"
    picture = rng.bytes(int(rng.integers(1, 1500)))
    return row, [picture, json.dumps(document, sort_keys=True).encode(), vector.getvalue(), text.encode()]


def write_drawn(path: Path, contents: dict[str, list[list[Drawn]]]) -> None:
    """Write a release with two target sets: split -> shards -> the section of each pair."""
    counted = Counter(section for shards in contents.values() for shard in shards for section in shard)
    numbers: Counter[Drawn] = Counter()
    schema, splits = None, {}
    for split in sorted(("train", "val", "test"), key=lambda name: not contents[name]):
        shards = []
        for shard in contents[split]:
            pairs = []
            for section in shard:
                numbers[section] += 1
                pairs.append(_pair(section, numbers[section]))
            shards.append(pairs)
        schema, splits[split] = write_split(path, split, shards, schema)
    sections = []
    for section, n in sorted(counted.items(), key=lambda item: item[0].sample_id):
        sections.append(section.row | {"spots_in": n, "spots_out": n, "pairs": n})
        marks = {"zstore": f"store{section.number}".encode()}
        sections[-1]["store"] = write_store(path, section.sample_id, n, **marks)
    flat = [{name: value for name, value in row.items() if not isinstance(value, list)} for row in sections]
    pq.write_table(pa.Table.from_pylist(flat), path / "samples.parquet")
    stats = [{"sample_id": row["sample_id"], "pathway": name, "raw_mean": 0.5} for row in sections for name in PATHWAYS]
    (path / "targets").mkdir()
    pq.write_table(pa.Table.from_pylist(stats), path / "targets" / "pathway_stats.parquet")
    totals = {
        "sections": len(sections),
        "pairs": sum(counted.values()),
        "donor_groups": len({row["group"] for row in sections}),
    }
    closed = sorted({row["study_id"] for row in sections if not row["redistributable"]})
    more = {
        "totals": totals,
        "accepted_licenses": {CLOSED: closed} if closed else {},
        "assigned": {row["donor_id"]: row["split"] for row in sections},
        "shares": [0.8, 0.1, 0.1],
        "studies": [study_row(*one) for one in sorted({(row["study_id"], row["license"]) for row in sections})],
    }
    write_head(path, {name: splits[name] for name in ("train", "val", "test")}, sections, **more)
    add_targets(path, **more)
