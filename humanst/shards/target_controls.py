"""Controls as target sets: random gene sets that match a release's own, and its own targets given to other pairs.

Random sets are chosen once a release, over its training sections, and frozen as a file of Ensembl ids: a random set is
the same genes in every section, as a pathway is. Bins of each section would draw other genes in each, and no model
could learn what differs from section to section, which would make the control too easy to beat.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from humanst import files
from humanst.errors import IntegrityError
from humanst.pathways import ResolvedSets
from humanst.shards.scoring import others_of
from humanst.shards.target_beside import RANDOM_SETS
from humanst.shards.target_counts import AxisReader
from humanst.shards.target_fit import mean_logs, rank_genes
from humanst.shards.target_layout import SectionRows
from humanst.shards.target_sets import TARGETS_VERSION
from humanst.shards.target_sources import CARD, SCORES, is_committed, save_array


@dataclass(frozen=True, slots=True)
class Member:
    """Where one pair's targets lie in a shard."""

    shard: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ShuffleTask:
    """One section whose pairs get the pathways of each other; picklable.

    Attributes
    ----------
    data
        The folder of the section's split, which holds its shards.
    uids, members
        Of the section's pairs, in the order in which the release holds them.
    folder
        Where ``<sample_id>-shuffle-<hash>/`` is made.
    inputs
        Hash of the shards' hashes and of the rest.
    """

    sample_id: str
    data: Path
    uids: tuple[str, ...]
    members: tuple[Member, ...]
    seed: int
    n_pathways: int
    folder: Path
    inputs: str


def shuffle_tasks(
    release: Path, manifest: Mapping[str, Any], sections: Sequence[SectionRows], scratch: Path, seed: int
) -> list[ShuffleTask]:
    """A task for every section.

    Parameters
    ----------
    release
        The folder that holds indexes and shards.
    """
    import pyarrow.parquet as pq

    columns = ["uid", "sample_id", "shard", "npy_offset", "npy_length"]
    found: dict[str, ShuffleTask] = {}
    n_pathways = len(manifest["pathways"]["names"])
    for split, entry in sorted(manifest["splits"].items()):
        shards = {Path(shard["path"]).name: shard["sha256"] for shard in entry["shards"]}
        rows = pq.read_table(release / entry["index"], columns=columns).to_pandas()
        for sample_id, mine in rows.groupby("sample_id", sort=True):
            uids = tuple(mine["uid"])
            used = {name: shards[name] for name in sorted(set(mine["shard"]))}
            facts = {"version": TARGETS_VERSION, "seed": seed, "uids": uids, "shards": used}
            found[str(sample_id)] = ShuffleTask(
                sample_id=str(sample_id),
                data=release / "data" / split,
                uids=uids,
                members=tuple(
                    Member(*one) for one in mine[["shard", "npy_offset", "npy_length"]].itertuples(index=False)
                ),
                seed=seed,
                n_pathways=n_pathways,
                folder=scratch,
                inputs=hashlib.sha256(files.canonical_json(facts)).hexdigest(),
            )
    return [found[section.sample_id] for section in sections]


def extract_shuffled(task: ShuffleTask) -> Path:
    """Read the pathways of a section's pairs out of the shards and give each to another; returns the folder.

    Raises
    ------
    IntegrityError
        ``shard`` when no targets lie where the index says.
    """
    path = task.folder / f"{task.sample_id}-shuffle-{task.inputs[:16]}"
    if is_committed(path, task.inputs):
        return path
    scores = np.empty((len(task.uids), task.n_pathways), dtype=np.float32)
    by_shard: dict[str, list[int]] = {}
    for row, member in enumerate(task.members):
        by_shard.setdefault(member.shard, []).append(row)
    for shard, rows in sorted(by_shard.items()):
        with (task.data / shard).open("rb") as handle:
            for row in rows:
                handle.seek(task.members[row].offset)
                scores[row] = _targets(handle.read(task.members[row].length), shard, task.n_pathways)
    with files.folder_aside(path) as partial:
        save_array(partial / SCORES, scores[others_of(task.uids, task.seed)])
        size = (partial / SCORES).stat().st_size
        files.write_json(partial / CARD, {"inputs": task.inputs, "bytes": {SCORES: size}})
    return path


def _targets(data: bytes, shard: str, n_pathways: int) -> Any:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _no_targets(shard, n_pathways, str(error)) from error
    if values.dtype != np.float32 or values.shape != (n_pathways,):
        raise _no_targets(shard, n_pathways, f"{values.dtype} of shape {values.shape}")
    return values


def _no_targets(shard: str, n_pathways: int, found: str) -> IntegrityError:
    return IntegrityError(
        "The targets of a pair do not lie where the index says",
        code="shard",
        file=shard,
        expected=f"float32 ({n_pathways},)",
        found=found,
        done="The release is as it was",
        todo="`humanst verify` lists every fault",
    )


def write_random_sets(
    folder: Path, sets: ResolvedSets, sections: Sequence[SectionRows], sources: Sequence[Path], *, seed: int
) -> tuple[Path, dict[str, int]]:
    """Draw random sets that match some in size and expression, and freeze them.

    Parameters
    ----------
    folder
        Of the target set.
    sets
        What they are matched to.
    sources
        Counts of the sections' pairs (:func:`humanst.shards.target_sources.extract_source`).

    Returns
    -------
    path, left_out
        The file; and the sets that have no gene among those that enough sections measured, with their 0 members.

    Raises
    ------
    DataError
        ``no-training-pairs`` for a release without any.
    """
    from humanst.pathways.audit.random_sets import matched_random

    ranked = rank_genes(sections, sources)
    genes = np.sort(ranked.ensembl_ids)
    reader = AxisReader({gene: place for place, gene in enumerate(genes.tolist())})
    fitted = [number for number, section in enumerate(sections) if section.fits]
    drawn = matched_random(sets, genes, mean_logs(fitted, sections, sources, reader), seed=seed, draw=0)
    if drawn.weights is None:
        lines = ["\t".join((name, "", *ids)) for name, ids in zip(drawn.names, drawn.ensembl_ids, strict=True) if ids]
    else:
        every = zip(drawn.names, drawn.ensembl_ids, drawn.weights, strict=True)
        pairs = ((name, gene, repr(w)) for name, ids, weights in every for gene, w in zip(ids, weights, strict=True))
        lines = ["source\ttarget\tweight", *("\t".join(one) for one in pairs)]
    path = folder / RANDOM_SETS[drawn.weights is not None]
    files.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    return path, {name: 0 for name, ids in zip(drawn.names, drawn.ensembl_ids, strict=True) if not ids}
