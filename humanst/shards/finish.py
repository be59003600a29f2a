"""The finish stage: indexes, sidecars, SHA256SUMS and, last, the manifest; then the whole release takes its place.

Everything is put together beside the release. An earlier release stays as it is until the new one is whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from humanst import __version__, files
from humanst.errors import InterruptedRun
from humanst.shards import sidecars
from humanst.shards.changes import first_change
from humanst.shards.pack import Packed, packed_shard
from humanst.shards.packing import Pack, shard_tasks, staging_folder, store_tasks
from humanst.shards.reliability import write_reliability
from humanst.shards.request import Progress, ReleaseRequest
from humanst.shards.scoring import sets_of_file, sets_record
from humanst.shards.seal import seal
from humanst.shards.settling import Settled
from humanst.shards.spec import RELEASE_SCHEMA
from humanst.shards.store_zips import Zipped, collect_zips
from humanst.shards.target_writing import Means, write_sets
from humanst.splits import SPLITS


def collect_shards(request: ReleaseRequest, pack: Pack) -> list[Packed]:
    """All shards of a pack, in order, as their cards tell them.

    Raises
    ------
    InterruptedRun
        When some were never written.
    """
    found = {task.name: packed_shard(task) for task in shard_tasks(request, pack)}
    missing = [name for name, packed in found.items() if packed is None]
    if missing:
        raise InterruptedRun(
            f"{len(missing)} of {len(found)} shards were not packed",
            code="not-packed",
            expected="a card for every shard",
            found=f"none for {', '.join(missing[:5])}" + (", ..." if len(missing) > 5 else ""),
            done="The release was not written",
            todo="Run the pack stage again: it does these alone",
        )
    return [packed for packed in found.values() if packed is not None]


def finish_release(request: ReleaseRequest, settled: Settled, pack: Pack, tell: Progress) -> dict[str, Any]:
    """Write all that was not packed, put the release in place and remove what is not needed any more.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    InterruptedRun
        When shards or section stores were never packed.
    """
    packed = collect_shards(request, pack)
    stores = collect_zips(store_tasks(request, settled, pack))
    staging = staging_folder(request, pack)
    _remove_strays(staging, packed, stores.values())
    manifest = _write_rest(request, staging, settled, packed, stores, tell)
    files.put_folder(staging, request.release)
    # What killed builds of other contents left beside the release.
    for other in request.release.parent.glob(f".{request.release.name}.next-*"):
        files.remove(other)
    return manifest


def _remove_strays(staging: Path, packed: Sequence[Packed], stores: Iterable[Zipped]) -> None:
    """Remove all that was not packed: what an earlier try to finish left, killed or of another version perhaps."""
    keep = {path for item in packed for path in (item.task.tar, item.task.card)} | {item.path for item in stores}
    keep |= {folder for path in keep for folder in path.parents}
    for path in sorted(staging.rglob("*")):
        if path not in keep:
            files.remove(path)


def _write_rest(
    request: ReleaseRequest,
    staging: Path,
    settled: Settled,
    packed: Sequence[Packed],
    stores: Mapping[str, Zipped],
    tell: Progress,
) -> dict[str, Any]:
    extracts, facts = settled.extracts, settled.facts
    chosen = {item.section.sample_id: item for item in request.chosen}
    splits = {split: _write_split(staging, split, packed) for split in SPLITS}
    sections = sidecars.section_rows(
        extracts,
        facts,
        {name: item.study for name, item in chosen.items()},
        {name: item.section for name, item in chosen.items()},
        {name: item.row for name, item in stores.items()},
    )
    sidecars.write_samples(staging / "samples.parquet", sections)
    records = [(extract.sample_id, extract.card["pathways"]) for extract in extracts]
    sidecars.write_pathway_stats(staging / "targets" / "pathway_stats.parquet", records)
    pathways = extracts[0].card["pathways"]
    manifest = {
        "schema": RELEASE_SCHEMA,
        "version": request.spec.version,
        "humanst_version": __version__,
        **{key: request.spec.to_dict()[key] for key in ("patch", "seed", "shard_pairs", "shares", "assigned")},
        "pathways": {
            "set": request.spec.gene_sets_name,
            "sha256": request.spec.gene_sets_sha256,
            "names": pathways["names"],
            "n_members": pathways["n_members"],
            **_how_scored(request),
        },
        "organs": dict(request.like.organs) if request.like else {f.organ: f.organ_code for f in facts.values()},
        "splits": splits,
        "studies": sidecars.study_rows(chosen[section["sample_id"]].study for section in sections),
        "sections": sections,
        "accepted_licenses": sidecars.accepted_licenses(request.accepted, sections),
        "totals": sidecars.totals(sections, splits),
        "findings": [finding.to_dict() for finding in settled.findings],
        "codecs": extracts[0].card["codecs"],
        "changes": [first_change(request.spec.version, sections, settled.failures, request.like)],
    }
    means = Means(request.work, request.workers, request.cluster, tell)
    if request.targets:
        manifest["targets"] = write_sets(staging, manifest, request.targets, means)
    if request.reliability:
        manifest["reliability"] = write_reliability(staging, manifest, request.spec.gene_sets_path, means)
    return seal(staging, manifest)


def _how_scored(request: ReleaseRequest) -> dict[str, Any]:
    spec = request.spec
    record = spec.choice.record()
    return {
        "scorer": spec.choice.scoring.scorer,
        "normalisation": spec.choice.normalisation,
        **({"options": record} if record else {}),
        **sets_record(
            sets_of_file(spec.gene_sets_path, spec.gene_sets_name, spec.choice, sha256=spec.gene_sets_sha256)
        ),
    }


def _write_split(staging: Path, split: str, packed: Sequence[Packed]) -> dict[str, Any]:
    from humanst.shards.index import join_index

    mine = [item for item in packed if item.task.split == split]
    digest = join_index(staging / "index" / f"{split}.parquet", [item.index_part for item in mine])
    shards = [
        {key: item.card[key] for key in ("path", "bytes", "sha256", "n_pairs")}
        | {"card_sha256": files.sha256_file(item.task.card)}
        for item in mine
    ]
    return {
        "n_pairs": sum(item.card["n_pairs"] for item in mine),
        "index": f"index/{split}.parquet",
        "index_sha256": digest,
        "shards": shards,
    }
