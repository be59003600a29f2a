"""Pack: the global order of pairs, and one tar a task, cut from the extracts by offset."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import DataError
from humanst.shards.extract import PATCHES, PATHWAYS, ROWS, Extracted
from humanst.shards.index import index_schema, pair_json, write_index
from humanst.shards.members import pair_text, write_pair
from humanst.shards.spec import PACK_VERSION, SHARD_CARD_SCHEMA, ReleaseSpec, order_of
from humanst.shards.tar import end_of_archive

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SectionFacts:
    """What a pair's json, txt and index row say of its section."""

    sample_id: str
    study_id: str
    split: str
    donor_group: str
    organ: str
    organ_code: int
    disease: str
    platform: str


@dataclass(frozen=True, slots=True)
class PackTask:
    """One shard: which rows of which extracts, in order; picklable.

    Attributes
    ----------
    rows
        ``(n, 2)`` int64: position in ``extracts``, and row in that extract.
    """

    name: str
    split: str
    release: Path
    work: Path
    extracts: tuple[Path, ...]
    extract_inputs: tuple[str, ...]
    facts: tuple[SectionFacts, ...]
    rows: NDArray[np.int64]
    codecs: tuple[tuple[str, str], ...]

    @property
    def tar(self) -> Path:
        """The shard's place in the release."""
        return self.release / "data" / self.split / self.name

    @property
    def card(self) -> Path:
        """The card that commits the shard."""
        return self.tar.with_suffix(".card.json")


@dataclass(frozen=True, slots=True)
class Packed:
    """A committed shard: its card, and the file that holds its rows of the index until the index is written."""

    task: PackTask
    card: Mapping[str, Any]
    index_part: Path


def plan_packs(
    extracts: Sequence[Extracted], facts: Mapping[str, SectionFacts], spec: ReleaseSpec, release: Path, work: Path
) -> list[PackTask]:
    """Shuffle all pairs of a split globally (blake2b of seed and uid) and cut them into shards."""
    import pyarrow.parquet as pq

    by_split: dict[str, list[tuple[bytes, int, int]]] = {}
    seen: set[str] = set()
    for number, extract in enumerate(extracts):
        uids = pq.read_table(extract.path / ROWS, columns=["uid"])["uid"].to_pylist()
        if repeated := seen.intersection(uids):
            raise DataError("A pair occurs twice", code="duplicate-pair", found=f"uid {min(repeated)}")
        seen.update(uids)
        split = facts[extract.sample_id].split
        by_split.setdefault(split, []).extend((order_of(uid, spec.seed), number, row) for row, uid in enumerate(uids))
    tasks = []
    for split in sorted(by_split):
        ordered = sorted(by_split[split])
        for start in range(0, len(ordered), spec.shard_pairs):
            chunk = ordered[start : start + spec.shard_pairs]
            tasks.append(
                _task(chunk, f"{split}-{start // spec.shard_pairs:05d}.tar", split, extracts, facts, release, work)
            )
    return tasks


def _task(
    chunk: Sequence[tuple[bytes, int, int]],
    name: str,
    split: str,
    extracts: Sequence[Extracted],
    facts: Mapping[str, SectionFacts],
    release: Path,
    work: Path,
) -> PackTask:
    used = sorted({number for _, number, _ in chunk})
    place = {number: position for position, number in enumerate(used)}
    codecs: dict[str, str] = extracts[used[0]].card["codecs"]
    return PackTask(
        name=name,
        split=split,
        release=release,
        work=work,
        extracts=tuple(extracts[number].path for number in used),
        extract_inputs=tuple(str(extracts[number].card["inputs"]) for number in used),
        facts=tuple(facts[extracts[number].sample_id] for number in used),
        rows=np.array([(place[number], row) for _, number, row in chunk], dtype=np.int64),
        codecs=tuple(sorted(codecs.items())),
    )


def _inputs_hash(task: PackTask) -> str:
    facts = {
        "pack_version": PACK_VERSION,
        "name": task.name,
        "extracts": list(task.extract_inputs),
        "facts": [[getattr(fact, name) for name in SectionFacts.__slots__] for fact in task.facts],
        "rows": hashlib.sha256(task.rows.tobytes()).hexdigest(),
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def pack_shard(task: PackTask) -> Packed:
    """Write one shard, its part of the index and, last, its card; or find that they are done."""
    inputs = _inputs_hash(task)
    # The part is named by content: one work folder may serve several releases.
    part = task.work / "index" / f"{task.name}-{inputs[:16]}.parquet"
    card = read_shard_card(task.card)
    if card and card["inputs_hash"] == inputs and part.is_file() and _is_whole(task.tar, card):
        return Packed(task, card, part)
    files.remove(task.card)
    files.sweep_partials(task.tar.parent)
    index, digest, n_bytes = _write_tar(task)
    write_index(part, index)
    card = {
        "schema": SHARD_CARD_SCHEMA,
        "path": task.tar.relative_to(task.release).as_posix(),
        "sha256": digest,
        "bytes": n_bytes,
        "n_pairs": len(task.rows),
        "split": task.split,
        "inputs": sorted(set(task.extract_inputs)),
        "inputs_hash": inputs,
        "codecs": dict(task.codecs),
    }
    files.write_json(task.card, card)
    return Packed(task, card, part)


def _is_whole(tar: Path, card: Mapping[str, Any]) -> bool:
    return tar.is_file() and tar.stat().st_size == card["bytes"] and files.sha256_file(tar) == card["sha256"]


def read_shard_card(path: Path) -> dict[str, Any] | None:
    """A shard's card, or ``None`` when the shard was never committed."""
    try:
        card: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return card


@dataclass(frozen=True, slots=True)
class _Pair:
    """A pair as its extract holds it: its row, its patch and its pathways, ready to be written."""

    row: Mapping[str, Any]
    jpg: bytes
    npy: bytes


def _write_tar(task: PackTask) -> tuple[pa.Table, str, int]:
    import pyarrow as pa

    pairs: dict[int, _Pair] = {}
    # One extract at a time is open: a shard draws on all of them, and a release has a thousand.
    for source in range(len(task.extracts)):
        pairs.update(_pairs_of(task, source))
    columns: dict[str, list[Any]] = {name: [] for name in index_schema().names}
    with files.write_aside(task.tar) as aside:
        for position, source in enumerate(task.rows[:, 0].tolist()):
            _write_pair(aside, task, task.facts[source], pairs.pop(position), columns)
        aside.write(end_of_archive(aside.n_bytes))
        digest, n_bytes = aside.sha256, aside.n_bytes
    return pa.table(columns, schema=index_schema()), digest, n_bytes


def _pairs_of(task: PackTask, source: int) -> dict[int, _Pair]:
    """The pairs of one extract that this shard takes, by their position in the shard."""
    import pyarrow.parquet as pq

    path = task.extracts[source]
    positions = np.flatnonzero(task.rows[:, 0] == source)
    wanted = task.rows[positions, 1]
    rows = pq.read_table(path / ROWS).take(wanted).to_pylist()
    scores = np.load(path / PATHWAYS, mmap_mode="r", allow_pickle=False)
    pairs = {}
    with (path / PATCHES).open("rb") as handle:
        for position, number, row in zip(positions.tolist(), wanted.tolist(), rows, strict=True):
            jpg = os.pread(handle.fileno(), row["jpg_length"], row["bin_offset"])
            pairs[position] = _Pair(row, jpg, npy_bytes(scores[number]))
    return pairs


def _write_pair(
    aside: files.AsideFile,
    task: PackTask,
    facts: SectionFacts,
    packed: _Pair,
    columns: dict[str, list[Any]],
) -> None:
    pair = packed.row
    members = {"jpg": packed.jpg, "json": pair_json(pair, facts), "npy": packed.npy}
    text = pair_text(facts.organ, facts.disease, facts.platform)
    places = write_pair(aside, pair["key"], members, text)
    row: dict[str, Any] = {**pair, "shard": task.name, "donor_group": facts.donor_group, **places}
    for name, values in columns.items():
        values.append(row[name])


def npy_bytes(values: NDArray[np.float32]) -> bytes:
    """A float32 vector as npy v1.0 bytes."""
    import io

    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(values, dtype="<f4"), version=(1, 0), allow_pickle=False)
    return out.getvalue()
