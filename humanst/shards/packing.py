"""The pack stage: ``pack.parquet`` (the global order of pairs), and a task a shard and a section store.

``pack.parquet`` and its card lie in a folder named by their inputs, so any task may make them and all make the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst import files
from humanst.errors import DataError
from humanst.locks import held
from humanst.runner import run_tasks
from humanst.shards.extract import Extracted
from humanst.shards.extract_rows import ROWS, read_uids
from humanst.shards.pack import Packed, PackTask, pack_shard
from humanst.shards.request import Progress, ReleaseRequest
from humanst.shards.settling import Settled
from humanst.shards.spec import PACK_SCHEMA, ReleaseSpec, order_of
from humanst.shards.store_zips import Zipped, ZipTask, zip_section, zip_tasks
from humanst.splits import SPLITS

logger = logging.getLogger(__name__)

PACK = "pack.parquet"
PACK_CARD = "pack.json"


@dataclass(frozen=True, slots=True)
class Pack:
    """A committed ``pack.parquet``: which pair goes where.

    Attributes
    ----------
    shards
        ``(split, name, n_pairs)``, in the order of the row groups of ``pack.parquet``: one a shard.
    """

    folder: Path
    inputs: str
    shards: tuple[tuple[str, str, int], ...]


def make_pack(settled: Settled, spec: ReleaseSpec, work: Path) -> Pack:
    """Shuffle all pairs of a split globally (blake2b of seed and uid) and cut them into shards, or find it done.

    Raises
    ------
    DataError
        ``duplicate-pair`` when a uid occurs twice.
    """
    inputs = settled.inputs(spec)
    folder = work / "pack" / inputs[:16]
    with held(folder, what="the order of pairs"):
        found = _read_pack(folder, inputs)
        if found is None:
            _write_pack(settled, spec, folder, inputs)
            found = _read_pack(folder, inputs)
    if found is None:
        raise DataError("The order of pairs cannot be read back", code="pack-unreadable", file=folder.name)
    return found


def _read_pack(folder: Path, inputs: str) -> Pack | None:
    try:
        card = json.loads((folder / PACK_CARD).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    path = folder / PACK
    whole = card["inputs"] == inputs and path.is_file() and path.stat().st_size == card["bytes"]
    return Pack(folder, inputs, tuple((str(s), str(n), int(k)) for s, n, k in card["shards"])) if whole else None


def _write_pack(settled: Settled, spec: ReleaseSpec, folder: Path, inputs: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    of_split: dict[str, list[int]] = {name: [] for name in SPLITS}
    for number, extract in enumerate(settled.extracts):
        of_split[settled.facts[extract.sample_id].split].append(number)
    shards: list[tuple[str, str, int]] = []

    def write(target: Path) -> None:
        schema = pa.schema([("extract", pa.int32()), ("row", pa.int32())])
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for split in sorted(of_split):
                pairs = order_pairs(_uids(settled.extracts, of_split[split]), spec.seed)
                for start in range(0, len(pairs), spec.shard_pairs):
                    chunk = pairs[start : start + spec.shard_pairs]
                    table = pa.table({"extract": chunk[:, 0], "row": chunk[:, 1]}, schema=schema)
                    writer.write_table(table, row_group_size=max(1, len(chunk)))
                    shards.append((split, f"{split}-{start // spec.shard_pairs:05d}.tar", len(chunk)))

    digest = files.write_with(folder / PACK, write)
    card = {
        "schema": PACK_SCHEMA,
        "inputs": inputs,
        "sha256": digest,
        "bytes": (folder / PACK).stat().st_size,
        "shards": shards,
        "extracts": [[extract.path.name, extract.card["inputs"]] for extract in settled.extracts],
        "facts": [asdict(settled.facts[extract.sample_id]) for extract in settled.extracts],
        "codecs": sorted(settled.extracts[0].card["codecs"].items()),
    }
    files.write_json(folder / PACK_CARD, card)


def _uids(extracts: Sequence[Extracted], numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    for number in numbers:
        yield number, read_uids(extracts[number].path / ROWS)


def order_pairs(uids: Iterator[tuple[int, list[str]]], seed: int) -> NDArray[np.int32]:
    """Put the pairs of a split into their global order.

    Parameters
    ----------
    uids
        ``(number of the extract, uids of its rows)``.

    Returns
    -------
    ndarray of int32
        ``(n, 2)``: number of the extract and row in it, sorted by blake2b(seed | uid).

    Raises
    ------
    DataError
        ``duplicate-pair`` when a uid occurs twice.
    """
    keys, extracts, rows = [], [], []
    for number, of_extract in uids:
        digests = b"".join(order_of(uid, seed) for uid in of_extract)
        keys.append(np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64))
        extracts.append(np.full(len(of_extract), number, dtype=np.int32))
        rows.append(np.arange(len(of_extract), dtype=np.int32))
    if not keys:
        return np.zeros((0, 2), dtype=np.int32)
    key = np.concatenate(keys)
    order = np.lexsort((key[:, 1], key[:, 0]))
    key = key[order]
    if (twice := np.flatnonzero((key[1:] == key[:-1]).all(axis=1))).size:
        raise DataError("A pair occurs twice", code="duplicate-pair", found=f"{twice.size} uids of the same hash")
    return np.column_stack((np.concatenate(extracts)[order], np.concatenate(rows)[order]))


def staging_folder(request: ReleaseRequest, pack: Pack) -> Path:
    """Where the shards wait until the release is whole: beside it, so that putting them in place is a rename."""
    return request.release.with_name(f".{request.release.name}.next-{pack.inputs[:16]}")


def pack_stage(request: ReleaseRequest, settled: Settled, pack: Pack, tell: Progress) -> list[Packed]:
    """Write this run's share of the shards and section stores; returns the shards.

    Raises
    ------
    HumanstError
        The first that a task meets: a release lacks none.
    """
    index, of = request.share
    tasks: list[PackTask | ZipTask] = [*shard_tasks(request, pack), *store_tasks(request, settled, pack)]
    mine = tasks[index::of]
    packed: list[Packed] = []
    tell("pack", 0, len(mine), 0)
    with closing(run_tasks(mine, _pack, workers=request.workers, cluster=request.cluster)) as outcomes:
        for n_done, outcome in enumerate(outcomes, 1):
            if outcome.error is not None:
                raise outcome.error
            if isinstance(outcome.result, Packed):
                packed.append(outcome.result)
                card = outcome.result.card
                logger.info("%s: %d pairs, %d bytes", card["path"], card["n_pairs"], card["bytes"])
            elif outcome.result is not None:
                logger.info("%s: %d bytes", outcome.result.row["path"], outcome.result.row["bytes"])
            tell("pack", n_done, len(mine), sum(item.card["n_pairs"] for item in packed))
    return packed


def _pack(task: PackTask | ZipTask) -> Packed | Zipped:
    return pack_shard(task) if isinstance(task, PackTask) else zip_section(task)


def shard_tasks(request: ReleaseRequest, pack: Pack) -> list[PackTask]:
    """A task for every shard, in order."""
    staging = staging_folder(request, pack)
    return [
        PackTask(number, name, split, staging, request.release, request.work, pack.folder)
        for number, (split, name, _) in enumerate(pack.shards)
    ]


def store_tasks(request: ReleaseRequest, settled: Settled, pack: Pack) -> list[ZipTask]:
    """A task for the store of every section, in order."""
    staging = staging_folder(request, pack)
    return zip_tasks(settled.extracts, staging=staging, earlier=request.release, work=request.work)
