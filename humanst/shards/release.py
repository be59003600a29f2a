"""The whole way from sections to a release, in numbered steps.

1. Build the section stores that are missing.
2. Plan: groups, splits, organ codes; refuse leakage before any patch is cut.
3. Extract, a task a section.
4. Pack, a task a shard, in the global order.
5. Write the index of every split, the sidecars, SHA256SUMS and, last, the manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanst import __version__, files
from humanst.builder import BuildOptions, BuiltSection, build_sections
from humanst.errors import HumanstError
from humanst.findings import Finding, Findings
from humanst.platforms.sides import PoolLike
from humanst.runner import run_tasks
from humanst.shards import sidecars
from humanst.shards.earlier import Earlier
from humanst.shards.extract import Extracted, ExtractTask, extract_section
from humanst.shards.folder import MANIFEST, remove_old_shards, require_own_folder, write_sums
from humanst.shards.grouping import Chosen, assign_sections, section_facts
from humanst.shards.pack import Packed, SectionFacts, pack_shard, plan_packs
from humanst.shards.spec import PLAN_SCHEMA, RELEASE_SCHEMA, ReleaseSpec
from humanst.splits import SPLITS

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int, int], None]
"""Called as ``progress(step, done, total, pairs)`` whenever a task ends."""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What to build and where.

    Attributes
    ----------
    release
        The release folder.
    related
        All sections on record, chosen or not: groups are made over them, so that a section's split does not depend on
        what else was asked for. Without them, groups are made over the chosen ones.
    accepted
        Gated licence -> the studies it was accepted for.
    work
        Holds ``sections/``, ``images/``, ``extract/``, ``index/``; a later run goes on from it.
    """

    chosen: tuple[Chosen, ...]
    release: Path
    work: Path
    spec: ReleaseSpec
    pin: bool = False
    embed_image: bool = False
    tissue: Path | None = None
    pool_like: PoolLike | None = None
    qc: tuple[tuple[str, float], ...] = ()
    workers: int = 1
    related: tuple[Chosen, ...] = ()
    accepted: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """What a build made.

    Attributes
    ----------
    failures
        ``(sample_id, error)`` of sections that are not in the release.
    findings
        Warnings about the release as a whole (unknown donors, empty splits).
    earlier
        What the folder held before: ``none``, the ``same`` release to the byte of its manifest, or an ``other`` one,
        which was replaced.
    """

    release: Path
    manifest: Mapping[str, Any]
    built: tuple[BuiltSection, ...]
    failures: tuple[tuple[str, HumanstError], ...]
    findings: tuple[Finding, ...]
    earlier: str = "none"


def build_release(request: ReleaseRequest, *, progress: Progress | None = None) -> ReleaseReport:
    """Build a release from catalog sections.

    Sections that fail are listed in the report; the others are released. With none left nothing is written.

    Raises
    ------
    DataError
        ``leakage`` when an assignment splits a group.
    HumanstError
        The section's own error when every section failed and only one was asked for.
    """
    require_own_folder(request.release, request.work)
    with files.locked(request.release, what=request.release.name):
        return _build_release(request, progress or (lambda step, done, total, pairs: None))


def _build_release(request: ReleaseRequest, tell: Progress) -> ReleaseReport:
    for root in (request.release, request.work):
        for folder in (root, *sorted(root.glob("*/")), *sorted(root.glob("data/*/"))):
            files.sweep_partials(folder)
    built, failures = _build_stores(request, tell)
    findings = Findings()
    extracts, more = _extract(request, built, tell)
    failures += more
    if not extracts:
        return ReleaseReport(request.release, {}, tuple(built), tuple(failures), ())
    chosen = {item.section.sample_id: item for item in request.chosen}
    assignment = assign_sections(extracts, request.chosen, request.related, request.spec, findings)
    facts = section_facts(extracts, chosen, assignment)
    earlier = Earlier(request.release / MANIFEST)
    earlier.tell_replaced(request.spec, extracts, facts)
    files.remove(request.release / MANIFEST)
    _write_plan(request, extracts, facts)
    packed = _pack(request, extracts, facts, tell)
    manifest = _finish(request, extracts, facts, chosen, packed, findings)
    n_pairs, n_shards = manifest["totals"]["pairs"], manifest["totals"]["shards"]
    logger.info("%s: finished, %d pairs in %d shards", request.release.name, n_pairs, n_shards)
    was = earlier.compared()
    return ReleaseReport(request.release, manifest, tuple(built), tuple(failures), tuple(findings), was)


def _build_stores(request: ReleaseRequest, tell: Progress) -> tuple[list[BuiltSection], list[tuple[str, HumanstError]]]:
    options = BuildOptions(
        folder=request.work,
        pin=request.pin,
        embed_image=request.embed_image,
        tissue=request.tissue,
        pool_like=request.pool_like,
        qc=request.qc,
    )
    by_study: dict[str, list[Chosen]] = {}
    for item in request.chosen:
        by_study.setdefault(item.study.study_id, []).append(item)
    built: list[BuiltSection] = []
    failures: list[tuple[str, HumanstError]] = []
    n_done = 0

    def count(outcome: object) -> None:
        nonlocal n_done
        n_done += 1
        tell("build", n_done, len(request.chosen), 0)

    tell("build", 0, len(request.chosen), 0)
    for study_id in sorted(by_study):
        items = by_study[study_id]
        sections = [item.section for item in items]
        good, bad = build_sections(items[0].study, sections, options, workers=request.workers, done=count)
        built += good
        failures += bad
    return built, failures


def _extract(
    request: ReleaseRequest, built: Sequence[BuiltSection], tell: Progress
) -> tuple[list[Extracted], list[tuple[str, HumanstError]]]:
    tasks = [
        ExtractTask(section.sample_id, section.path, section.image_path, request.work / "extract", request.spec)
        for section in sorted(built, key=lambda section: section.sample_id)
    ]
    extracts, failures, pairs = [], [], 0
    tell("extract", 0, len(tasks), 0)
    for n_done, outcome in enumerate(run_tasks(tasks, extract_section, workers=request.workers), 1):
        if outcome.result is not None:
            extracts.append(outcome.result)
            pairs += outcome.result.card["pairs"]
            how = "read again" if outcome.result.reused else "cut"
            logger.info("%s: %d pairs %s", outcome.task.sample_id, outcome.result.card["pairs"], how)
        if outcome.error is not None:
            logger.info("%s: no pairs (%s)", outcome.task.sample_id, outcome.error.facts.code)
            failures.append((outcome.task.sample_id, outcome.error))
        tell("extract", n_done, len(tasks), pairs)
    return sorted(extracts, key=lambda extract: extract.sample_id), sorted(failures, key=lambda item: item[0])


def _write_plan(request: ReleaseRequest, extracts: Sequence[Extracted], facts: Mapping[str, SectionFacts]) -> None:
    plan = {
        "schema": PLAN_SCHEMA,
        "spec": request.spec.to_dict(),
        "sections": [
            {
                "sample_id": extract.sample_id,
                "extract": extract.path.name,
                "pairs": extract.card["pairs"],
                "group": facts[extract.sample_id].donor_group,
                "split": facts[extract.sample_id].split,
            }
            for extract in extracts
        ],
    }
    files.write_json(request.work / "plan.json", plan)


def _pack(
    request: ReleaseRequest, extracts: Sequence[Extracted], facts: Mapping[str, SectionFacts], tell: Progress
) -> list[Packed]:
    tasks = plan_packs(extracts, facts, request.spec, request.release, request.work)
    remove_old_shards(request.release, {task.tar for task in tasks} | {task.card for task in tasks})
    packed: list[Packed] = []
    tell("pack", 0, len(tasks), 0)
    for n_done, outcome in enumerate(run_tasks(tasks, pack_shard, workers=request.workers), 1):
        if outcome.error is not None:
            raise outcome.error
        if outcome.result is not None:
            packed.append(outcome.result)
            card = outcome.result.card
            logger.info("%s: %d pairs, %d bytes", card["path"], card["n_pairs"], card["bytes"])
        tell("pack", n_done, len(tasks), sum(item.card["n_pairs"] for item in packed))
    return sorted(packed, key=lambda item: item.task.name)


def _finish(
    request: ReleaseRequest,
    extracts: Sequence[Extracted],
    facts: Mapping[str, SectionFacts],
    chosen: Mapping[str, Chosen],
    packed: Sequence[Packed],
    findings: Findings,
) -> dict[str, Any]:
    splits = {split: _write_split(request, split, packed) for split in SPLITS}
    sections = sidecars.section_rows(
        extracts,
        facts,
        {name: item.study for name, item in chosen.items()},
        {name: item.section for name, item in chosen.items()},
    )
    sidecars.write_samples(request.release / "samples.parquet", sections)
    sidecars.write_pathway_stats(request.release / "targets" / "pathway_stats.parquet", extracts)
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
            "scorer": "bincontrol",
            "normalisation": "log1p(CP10k), z per section over in-tissue spots that pass QC",
        },
        "organs": {fact.organ: fact.organ_code for fact in facts.values()},
        "splits": splits,
        "sections": sections,
        "accepted_licenses": sidecars.accepted_licenses(request.accepted, sections),
        "totals": sidecars.totals(sections, splits),
        "findings": findings.to_list(),
        "codecs": extracts[0].card["codecs"],
        "sha256sums": write_sums(request.release),
    }
    files.write_json(request.release / MANIFEST, manifest)
    return manifest


def _write_split(request: ReleaseRequest, split: str, packed: Sequence[Packed]) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from humanst.shards.index import index_schema, write_index

    mine = [item for item in packed if item.task.split == split]
    parts = [pq.read_table(item.index_part) for item in mine] or [index_schema().empty_table()]
    table = pa.concat_tables(parts)
    path = request.release / "index" / f"{split}.parquet"
    digest = write_index(path, table)
    shards = [
        {key: item.card[key] for key in ("path", "bytes", "sha256", "n_pairs")}
        | {"card_sha256": files.sha256_file(item.task.card)}
        for item in mine
    ]
    return {
        "n_pairs": table.num_rows,
        "index": f"index/{split}.parquet",
        "index_sha256": digest,
        "shards": shards,
    }
