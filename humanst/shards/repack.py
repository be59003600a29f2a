"""Local shards out of parts of others: the wanted pairs in the same order, their members byte for byte.

What the bytes come from, whole shards or runs of them, leaves no trace: the same request gives the same shards.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import IntegrityError
from humanst.fetch.ranged import Runs
from humanst.shards.index import write_index
from humanst.shards.members import SUFFIXES, member_hash, pair_text, write_pair
from humanst.shards.published import card_of
from humanst.shards.selection import Selection
from humanst.shards.spec import PACK_VERSION, SHARD_CARD_SCHEMA
from humanst.shards.tar import end_of_archive

if TYPE_CHECKING:
    import pyarrow as pa

OPEN_PIECES = 64


@dataclass(frozen=True, slots=True)
class LocalPiece:
    """What is here of one shard: the file, and which bytes of the shard it holds."""

    path: Path
    runs: Runs


class Pieces:
    """Read members out of what is here of the shards of one split; a few files are open at a time.

    Parameters
    ----------
    pieces
        Name of the shard -> what is here of it.
    """

    def __init__(self, pieces: Mapping[str, LocalPiece]) -> None:
        self._pieces = pieces
        self._open: OrderedDict[str, IO[bytes]] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._open.values():
            handle.close()

    def member(self, row: Mapping[str, Any], kind: str) -> bytes:
        """A member of a pair.

        Raises
        ------
        IntegrityError
            When it is not the one on record.
        """
        name, offset, length = row["shard"], row[f"{kind}_offset"], row[f"{kind}_length"]
        handle = self._handle(name)
        handle.seek(self._pieces[name].runs.locate(offset))
        data = handle.read(length)
        if (found := member_hash(data)) != row[f"{kind}_hash"]:
            raise IntegrityError(
                "A member of this pair is not the one on record",
                code="hash-differs",
                file=name,
                field=f"{row['key']}.{SUFFIXES[kind]}",
                expected=f"blake2b {row[f'{kind}_hash']}",
                found=f"blake2b {found}",
                done="The shard was not written",
                todo="Run the same command again; if it says so again, tell whoever published the release",
            )
        return data

    def _handle(self, name: str) -> IO[bytes]:
        if name not in self._open:
            while len(self._open) >= OPEN_PIECES:
                self._open.popitem(last=False)[1].close()
            self._open[name] = self._pieces[name].path.open("rb")
        self._open.move_to_end(name)
        return self._open[name]


@dataclass(frozen=True, slots=True)
class LocalShard:
    """One shard to write: which rows of the split's index, and the shards they come from."""

    path: str
    split: str
    rows: NDArray[np.int64]
    inputs: tuple[str, ...]

    def inputs_hash(self, selection: Selection) -> str:
        """Hash of all that the shard is made from."""
        uids = selection.tables[self.split]["uid"].take(self.rows).to_pylist()
        content = [PACK_VERSION, self.path, list(self.inputs), uids]
        return hashlib.sha256(files.canonical_json(content)).hexdigest()


def local_shards(selection: Selection, split: str) -> list[LocalShard]:
    """Cut the wanted pairs of a split into shards as large as the release's, the last one short."""
    shards = selection.shards[split]
    if not shards:
        return []
    rows = np.concatenate([shard.rows for shard in shards])
    sources = np.repeat(np.arange(len(shards)), [len(shard.rows) for shard in shards])
    size = int(selection.head.manifest["shard_pairs"])
    cut = []
    for number, start in enumerate(range(0, len(rows), size)):
        used = np.unique(sources[start : start + size])
        inputs = tuple(sorted({str(shards[source].entry["sha256"]) for source in used}))
        path = f"data/{split}/{split}-{number:05d}.tar"
        cut.append(LocalShard(path, split, rows[start : start + size], inputs))
    return cut


def write_split(selection: Selection, split: str, output: Path, pieces: Mapping[str, LocalPiece]) -> dict[str, Any]:
    """Write the shards, the cards and the index of a split of which a part is wanted; returns its manifest entry.

    A shard whose card says that it is this one already is not written again.

    Raises
    ------
    IntegrityError
        When a member is not the one on record.
    NoRoomError
        When the disk fills up.
    """
    texts = {
        row["sample_id"]: pair_text(row["organ"], row["disease"], row["platform"])
        for row in selection.head.samples().to_pylist()
        if row["sample_id"] in selection.pairs_by_section
    }
    entries, parts = [], []
    with Pieces(pieces) as source:
        for shard in local_shards(selection, split):
            entry, part = _write_shard(selection, shard, output, source, texts)
            entries.append(entry)
            parts.append(part)
    return _write_index(output, split, parts, entries, selection.tables[split].schema)


def write_empty_split(split: str, output: Path, schema: pa.Schema) -> dict[str, Any]:
    """Write the index of a split of which nothing is wanted; returns its manifest entry."""
    return _write_index(output, split, [], [], schema)


def _write_index(
    output: Path, split: str, parts: Sequence[pa.Table], entries: list[dict[str, Any]], schema: pa.Schema
) -> dict[str, Any]:
    import pyarrow as pa

    plain = schema.remove_metadata()
    table = pa.concat_tables(parts) if parts else plain.empty_table()
    path = f"index/{split}.parquet"
    digest = write_index(output / path, table.combine_chunks())
    return {"n_pairs": table.num_rows, "index": path, "index_sha256": digest, "shards": entries}


def _write_shard(
    selection: Selection, shard: LocalShard, output: Path, pieces: Pieces, texts: Mapping[str, str]
) -> tuple[dict[str, Any], pa.Table]:
    """The shard's entry in the manifest, and its rows of the index."""
    rows = selection.tables[shard.split].take(shard.rows)
    tar, card_path = output / shard.path, output / card_of(shard.path)
    inputs_hash = shard.inputs_hash(selection)
    card = _card_of_whole(card_path, tar, inputs_hash)
    if card is None:
        files.remove(card_path)
        files.sweep_partials(tar.parent)
        with files.write_aside(tar) as aside:
            offsets = _write_pairs(aside, rows, pieces, texts)
            aside.write(end_of_archive(aside.n_bytes))
            digest, n_bytes = aside.sha256, aside.n_bytes
        card = {
            "schema": SHARD_CARD_SCHEMA,
            "path": shard.path,
            "sha256": digest,
            "bytes": n_bytes,
            "n_pairs": len(shard.rows),
            "split": shard.split,
            "inputs": list(shard.inputs),
            "inputs_hash": inputs_hash,
            "codecs": selection.head.manifest.get("codecs", {}),
        }
        files.write_json(card_path, card)
    else:
        counter = _Counter()
        offsets = _write_pairs(counter, rows, None, texts)
    entry = {key: card[key] for key in ("path", "bytes", "sha256", "n_pairs")}
    return entry | {"card_sha256": files.sha256_file(card_path)}, moved_rows(rows, Path(shard.path).name, offsets)


class _Counter:
    """A file that only counts: where members of a shard that is there already lie."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def write(self, data: bytes, /) -> int:
        self.n_bytes += len(data)
        return len(data)


def _write_pairs(
    out: files.AsideFile | _Counter, rows: pa.Table, pieces: Pieces | None, texts: Mapping[str, str]
) -> dict[str, list[int]]:
    offsets: dict[str, list[int]] = {kind: [] for kind in SUFFIXES}
    for row in rows.to_pylist():
        if pieces is None:
            members = {kind: bytes(row[f"{kind}_length"]) for kind in SUFFIXES}
        else:
            members = {kind: pieces.member(row, kind) for kind in SUFFIXES}
        places = write_pair(out, row["key"], members, texts[row["sample_id"]])
        for kind, values in offsets.items():
            values.append(int(places[f"{kind}_offset"]))
    return offsets


def _card_of_whole(card_path: Path, tar: Path, inputs_hash: str) -> dict[str, Any] | None:
    import json

    try:
        card: dict[str, Any] = json.loads(card_path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    same = card.get("inputs_hash") == inputs_hash and tar.is_file() and tar.stat().st_size == card.get("bytes")
    return card if same and files.sha256_file(tar) == card["sha256"] else None


def moved_rows(rows: pa.Table, shard: str, offsets: Mapping[str, list[int]]) -> pa.Table:
    """The rows of the index, saying where their pairs lie now."""
    import pyarrow as pa

    new = {"shard": [shard] * rows.num_rows} | {f"{kind}_offset": values for kind, values in offsets.items()}
    for name, values in new.items():
        number = rows.column_names.index(name)
        rows = rows.set_column(number, name, pa.array(values, type=rows.schema.field(number).type))
    return rows.replace_schema_metadata(None)
