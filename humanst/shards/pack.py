"""Pack: one tar a task, cut from the extracts by offset."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import IntegrityError
from humanst.shards.extract import PATCHES
from humanst.shards.extract_rows import PATHWAYS, ROWS, take_rows
from humanst.shards.index import index_schema, pair_json, write_index
from humanst.shards.members import PLACE, SUFFIXES, pair_text, write_pair
from humanst.shards.spec import PACK_VERSION, SHARD_CARD_SCHEMA
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
    """One shard; picklable, and small: what goes into it is read from the pack folder.

    Attributes
    ----------
    number
        Row group of ``pack.parquet``.
    staging
        Where the release is put together.
    earlier
        The finished release that may hold the same shard already.
    """

    number: int
    name: str
    split: str
    staging: Path
    earlier: Path
    work: Path
    pack: Path

    @property
    def tar(self) -> Path:
        """The shard's place in the release that is put together."""
        return self.staging / "data" / self.split / self.name

    @property
    def card(self) -> Path:
        """The card that commits the shard."""
        return self.tar.with_suffix(".card.json")

    def index_part(self, inputs: str) -> Path:
        """The file with its rows of the index, named by content: one work folder may serve several releases."""
        return self.work / "index" / f"{self.name}-{inputs[:16]}.parquet"


@dataclass(frozen=True, slots=True)
class _Contents:
    """Which rows of which extracts a shard holds, in order.

    Attributes
    ----------
    rows
        ``(n, 2)`` int64: position in ``extracts``, and row in that extract.
    """

    extracts: tuple[Path, ...]
    extract_inputs: tuple[str, ...]
    facts: tuple[SectionFacts, ...]
    rows: NDArray[np.int64]
    codecs: Mapping[str, str]

    def inputs_hash(self, name: str) -> str:
        facts = {
            "pack_version": PACK_VERSION,
            "name": name,
            "extracts": list(self.extract_inputs),
            "facts": [[getattr(fact, field) for field in SectionFacts.__slots__] for fact in self.facts],
            "rows": hashlib.sha256(self.rows.tobytes()).hexdigest(),
        }
        return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def _contents(task: PackTask) -> _Contents:
    import pyarrow.parquet as pq

    card = json.loads((task.pack / "pack.json").read_bytes())
    with pq.ParquetFile(task.pack / "pack.parquet") as handle:
        table = handle.read_row_group(task.number)
    number = table["extract"].to_numpy()
    used, position = np.unique(number, return_inverse=True)
    extracts = [card["extracts"][k] for k in used.tolist()]
    return _Contents(
        extracts=tuple(task.work / "extract" / name for name, _ in extracts),
        extract_inputs=tuple(inputs for _, inputs in extracts),
        facts=tuple(SectionFacts(**card["facts"][k]) for k in used.tolist()),
        rows=np.column_stack((position, table["row"].to_numpy())).astype(np.int64),
        codecs=dict(card["codecs"]),
    )


@dataclass(frozen=True, slots=True)
class Packed:
    """A committed shard: its card, and the file that holds its rows of the index until the index is written."""

    task: PackTask
    card: Mapping[str, Any]
    index_part: Path


def pack_shard(task: PackTask) -> Packed:
    """Write one shard, its part of the index and, last, its card; or find that they are done."""
    contents = _contents(task)
    inputs = contents.inputs_hash(task.name)
    part = task.index_part(inputs)
    if (done := _committed(task, task.tar, inputs)) is not None:
        return done
    files.remove(task.card)
    files.sweep_partials(task.tar.parent)
    before = task.earlier / "data" / task.split / task.name
    if (done := _committed(task, before, inputs)) is not None and files.link(before, task.tar):
        files.write_json(task.card, done.card)
        return done
    index, digest, n_bytes = _write_tar(task, contents)
    write_index(part, index)
    card = {
        "schema": SHARD_CARD_SCHEMA,
        "path": task.tar.relative_to(task.staging).as_posix(),
        "sha256": digest,
        "bytes": n_bytes,
        "n_pairs": len(contents.rows),
        "split": task.split,
        "inputs": sorted(set(contents.extract_inputs)),
        "inputs_hash": inputs,
        "codecs": contents.codecs,
    }
    files.write_json(task.card, card)
    return Packed(task, card, part)


def _committed(task: PackTask, tar: Path, inputs: str) -> Packed | None:
    """The shard at ``tar`` if it is whole and made from these inputs; else ``None``."""
    card = read_shard_card(tar.with_suffix(".card.json"))
    if card is None or card["inputs_hash"] != inputs:
        return None
    part = task.index_part(inputs)
    whole = tar.is_file() and tar.stat().st_size == card["bytes"] and files.sha256_file(tar) == card["sha256"]
    return Packed(task, card, part) if whole and part.is_file() else None


def packed_shard(task: PackTask) -> Packed | None:
    """A shard as its card tells it, without reading the tar again; ``None`` when it was never committed."""
    card = read_shard_card(task.card)
    if card is None or not task.tar.is_file() or task.tar.stat().st_size != card["bytes"]:
        return None
    part = task.index_part(card["inputs_hash"])
    return Packed(task, card, part) if part.is_file() else None


def read_shard_card(path: Path) -> dict[str, Any] | None:
    """A shard's card, or ``None`` when the shard was never committed."""
    try:
        card: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return card


def _write_tar(task: PackTask, contents: _Contents) -> tuple[pa.Table, str, int]:
    table, jpgs = _gather(contents)
    scores = table[PATHWAYS].combine_chunks().flatten().to_numpy().reshape(len(jpgs), -1)
    sources = contents.rows[:, 0].tolist()
    places: dict[str, list[int | str]] = {f"{kind}_{part}": [] for kind in SUFFIXES for part in PLACE}
    with files.write_aside(task.tar) as aside:
        for row, source, jpg, values in zip(
            table.drop_columns(PATHWAYS).to_pylist(), sources, jpgs, scores, strict=True
        ):
            facts = contents.facts[source]
            members = {"jpg": jpg, "json": pair_json(row, facts), "npy": npy_bytes(values)}
            text = pair_text(facts.organ, facts.disease, facts.platform)
            placed = write_pair(aside, row["key"], members, text)
            if placed["jpg_hash"] != row["jpg_hash"]:
                raise _damaged(contents, source, row)
            for name, value in placed.items():
                places[name].append(value)
        aside.write(end_of_archive(aside.n_bytes))
        digest, n_bytes = aside.sha256, aside.n_bytes
    groups = [contents.facts[source].donor_group for source in sources]
    return _index_rows(table, {"shard": [task.name] * len(jpgs), "donor_group": groups, **places}), digest, n_bytes


def _damaged(contents: _Contents, source: int, row: Mapping[str, Any]) -> IntegrityError:
    path = contents.extracts[source]
    return IntegrityError(
        "A patch is not the one that was cut",
        code="extract-damaged",
        section=contents.facts[source].sample_id,
        file=f"{path.name}/{PATCHES}",
        field=row["key"],
        expected=f"blake2b {row['jpg_hash']}",
        found="other bytes",
        done="The shard was not written",
        todo=f"Remove {path.name} from the work folder's extract/ and run again: the section is cut anew",
    )


def _gather(contents: _Contents) -> tuple[pa.Table, list[bytes]]:
    """The rows and the patches of a shard, in its order, from one extract after the other.

    One extract at a time is open: a shard draws on all of them, and a release has a thousand.
    """
    import pyarrow as pa

    sources = contents.rows[:, 0]
    order = np.argsort(sources, kind="stable")
    jpgs = [b""] * len(order)
    batches = []
    for positions in np.split(order, np.flatnonzero(np.diff(sources[order])) + 1):
        path = contents.extracts[sources[positions[0]]]
        batch = take_rows(path / ROWS, contents.rows[positions, 1])
        batches.append(batch)
        with (path / PATCHES).open("rb", buffering=0) as handle:
            spans = zip(batch["jpg_length"].to_pylist(), batch["bin_offset"].to_pylist(), strict=True)
            for position, (length, offset) in zip(positions.tolist(), spans, strict=True):
                jpgs[position] = os.pread(handle.fileno(), length, offset)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return pa.Table.from_batches(batches).take(pa.array(place)), jpgs


def _index_rows(table: pa.Table, new: Mapping[str, list[Any]]) -> pa.Table:
    """The rows of the index: what the extracts say, and ``new`` columns beside or instead of theirs."""
    import pyarrow as pa

    schema = index_schema()
    columns = [new[name] if name in new else table[name].combine_chunks() for name in schema.names]
    return pa.table(
        [pa.array(values, type=kind) for values, kind in zip(columns, schema.types, strict=True)], schema=schema
    )


def npy_bytes(values: NDArray[np.float32]) -> bytes:
    """A float32 vector as npy v1.0 bytes."""
    return _npy_header(len(values)) + values.astype("<f4", copy=False).tobytes()


@lru_cache(maxsize=16)
def _npy_header(length: int) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.zeros(length, dtype="<f4"), version=(1, 0), allow_pickle=False)
    return out.getvalue()[: out.tell() - 4 * length]
