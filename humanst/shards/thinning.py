"""Shards and indexes of a release without some of its sections: only what held pairs of theirs is written anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import IntegrityError
from humanst.fetch.ranged import Runs
from humanst.shards.index import write_index
from humanst.shards.members import SUFFIXES, pair_text, write_pair
from humanst.shards.opened import OpenedRelease, broken
from humanst.shards.published import SAMPLES, card_of
from humanst.shards.repack import LocalPiece, Pieces, moved_rows
from humanst.shards.request import Progress
from humanst.shards.selection import check_rows, coded
from humanst.shards.spec import PACK_VERSION, SHARD_CARD_SCHEMA
from humanst.shards.tar import BLOCK_BYTES, end_of_archive

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Thinned:
    """What became of the shards.

    Attributes
    ----------
    splits
        For the manifest.
    kept, repacked, dropped
        Paths of shards: those with the bytes they had, those written anew, those without a pair left.
    rows
        Path of each repacked shard -> (n,) int64: which of its pairs stay, counted in the shard from 0.
    carried
        Paths of all files that have the bytes they had.
    """

    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    repacked: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    carried: list[str] = field(default_factory=list)


def thin_splits(
    source: OpenedRelease, leaving: frozenset[str], output: Path, tell: Progress
) -> tuple[Thinned, dict[str, pa.Table]]:
    """Put the shards and indexes of all splits into ``output``, without the pairs of sections that leave.

    The pairs that stay keep their order and, byte for byte, their members; shards keep their names.

    Returns
    -------
    thinned
        What became of every shard.
    left
        Split -> the rows of the index that leave.

    Raises
    ------
    IntegrityError
        When a shard, an index or a member is not the one on record.
    DataError
        When an index does not fit its shards.
    NoRoomError
        When the disk fills up.
    """
    thinned, left = Thinned(), {}
    samples = {row["sample_id"]: row for row in source.table(SAMPLES).to_pylist()}
    total = sum(len(entry["shards"]) for entry in source.manifest["splits"].values())
    tell("export", 0, total, 0)
    for split, entry in source.manifest["splits"].items():
        table = source.table(entry["index"])
        check_rows(split, table, entry, samples)
        names, codes = coded(table["sample_id"])
        stays = np.array([name not in leaving for name in names], dtype=np.bool_)[codes]
        left[split] = table.filter(~stays)
        if stays.all():
            thinned.splits[split] = dict(entry)
            carry(source, thinned, output, entry["index"])
            for shard in entry["shards"]:
                _carry_shard(source, thinned, output, shard["path"])
        else:
            _Split(source, thinned, output, samples).thin(split, entry, table, stays)
        tell("export", len(thinned.kept) + len(thinned.repacked) + len(thinned.dropped), total, 0)
    return thinned, left


def carry(source: OpenedRelease, thinned: Thinned, output: Path, name: str) -> None:
    """Take a file over as it is; whether its bytes are those on record is for later.

    Raises
    ------
    IntegrityError
        When it is missing.
    """
    if not (source.folder / name).is_file():
        raise broken(name, "missing-file", source.sums[name], "no such file")
    files.link_or_copy(source.folder / name, output / name)
    thinned.carried.append(name)


def _carry_shard(source: OpenedRelease, thinned: Thinned, output: Path, path: str) -> None:
    carry(source, thinned, output, path)
    carry(source, thinned, output, card_of(path))
    thinned.kept.append(path)


@dataclass(frozen=True, slots=True)
class _Split:
    """A split that loses pairs."""

    source: OpenedRelease
    thinned: Thinned
    output: Path
    samples: Mapping[str, Mapping[str, Any]]

    def thin(self, split: str, entry: Mapping[str, Any], table: pa.Table, stays: NDArray[np.bool_]) -> None:
        import pyarrow as pa

        names, codes = coded(table["shard"])
        code_of = {name: code for code, name in enumerate(names)}
        touched = set(table.filter(~stays)["shard"].unique().to_pylist())
        again = [shard["bytes"] for shard in entry["shards"] if Path(shard["path"]).name in touched]
        files.require_room(self.output, sum(again))
        entries, parts = [], [table.slice(0, 0)]
        for shard in entry["shards"]:
            rows = np.flatnonzero(codes == code_of[Path(shard["path"]).name])
            mine = rows[stays[rows]]
            if len(mine) == len(rows):
                _carry_shard(self.source, self.thinned, self.output, shard["path"])
                entries.append(dict(shard))
                parts.append(table.take(mine))
            elif len(mine):
                self.thinned.repacked.append(shard["path"])
                self.thinned.rows[shard["path"]] = np.flatnonzero(stays[rows])
                new, part = self._repack(split, shard, table.take(mine))
                entries.append(new)
                parts.append(part)
            else:
                self.thinned.dropped.append(shard["path"])
        rest = pa.concat_tables([part.replace_schema_metadata(None) for part in parts]).combine_chunks()
        digest = write_index(self.output / entry["index"], rest)
        self.thinned.splits[split] = {
            "n_pairs": rest.num_rows,
            "index": entry["index"],
            "index_sha256": digest,
            "shards": entries,
        }

    def _repack(self, split: str, shard: Mapping[str, Any], rows: pa.Table) -> tuple[dict[str, Any], pa.Table]:
        """A shard with the given pairs alone: its entry in the manifest, and its rows of the index."""
        path, name = str(shard["path"]), Path(shard["path"]).name
        # The txt has no hash of its own, so the whole shard is checked first.
        tar = self.source.checked(path)
        card = json.loads(self.source.checked(card_of(path)).read_bytes())
        piece = LocalPiece(tar, Runs.of([(0, int(shard["bytes"]))]))
        offsets: dict[str, list[int]] = {kind: [] for kind in SUFFIXES}
        with Pieces({name: piece}) as pieces, tar.open("rb") as handle, files.write_aside(self.output / path) as aside:
            for row in rows.to_pylist():
                members = {kind: pieces.member(row, kind) for kind in SUFFIXES}
                places = write_pair(aside, row["key"], members, self._text(handle, row, path))
                for kind, values in offsets.items():
                    values.append(int(places[f"{kind}_offset"]))
            aside.write(end_of_archive(aside.n_bytes))
            digest, n_bytes = aside.sha256, aside.n_bytes
        content = [PACK_VERSION, path, shard["sha256"], rows["uid"].to_pylist()]
        new = {"path": path, "sha256": digest, "bytes": n_bytes, "n_pairs": rows.num_rows}
        about = {
            "schema": SHARD_CARD_SCHEMA,
            "split": split,
            "inputs": [shard["sha256"]],
            "inputs_hash": hashlib.sha256(files.canonical_json(content)).hexdigest(),
            "codecs": card["codecs"],
        }
        card_digest = files.write_json(self.output / card_of(path), new | about)
        return new | {"card_sha256": card_digest}, moved_rows(rows, name, offsets)

    def _text(self, handle: IO[bytes], row: Mapping[str, Any], shard: str) -> str:
        """The txt of a pair, which follows its npy, and has no columns in the index."""
        about = self.samples[row["sample_id"]]
        text = pair_text(about["organ"], about["disease"], about["platform"])
        after = row["npy_offset"] + row["npy_length"]
        handle.seek(after + -after % BLOCK_BYTES + BLOCK_BYTES)
        if (found := handle.read(len(text.encode()))) != text.encode():
            raise IntegrityError(
                "The txt of this pair is not what samples.parquet says",
                code="text-differs",
                file=shard,
                field=f"{row['key']}.txt",
                expected=text,
                found=found.decode("utf-8", "replace"),
                done="Nothing was written",
                todo="`humanst verify` the release; tell whoever published it",
            )
        return text
