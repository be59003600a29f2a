"""The whole way from sections to a release, in numbered steps.

1. Plan: groups and splits from what is on record; refuse leakage before anything is built.
2. Extract, a task a section: build its store if it is missing, cut its patches, score its pathways.
3. Settle: groups grow by what reading showed; refuse leakage before any shard is written.
4. Pack, a task a shard, in the global order of ``pack.parquet``, and a task a section, which zips its store.
5. Finish: the index of every split, the sidecars, SHA256SUMS and, last, the manifest; then the release takes its place.

Each step reads what the one before left in the work folder, so they may run in one process or on fifty machines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from humanst import files
from humanst.errors import HumanstError
from humanst.locks import held
from humanst.shards.done import SectionDone, write_failed, write_summary
from humanst.shards.earlier import Earlier
from humanst.shards.extracting import extract_stage, read_all_done, sweep_work
from humanst.shards.finish import collect_shards, finish_release
from humanst.shards.folder import MANIFEST, require_own_folder
from humanst.shards.like import check_rebuilt, index_of
from humanst.shards.packing import make_pack, pack_stage, staging_folder
from humanst.shards.plan import Plan, make_plan
from humanst.shards.plan_file import plan_content
from humanst.shards.request import Progress, ReleaseReport, ReleaseRequest
from humanst.shards.settling import settle

__all__ = ["Progress", "ReleaseReport", "ReleaseRequest", "build_release"]

logger = logging.getLogger(__name__)


def build_release(
    request: ReleaseRequest, *, plan: Plan | None = None, progress: Progress | None = None
) -> ReleaseReport:
    """Build a release from catalog sections, or do the stages of it that the request names.

    Sections that fail are listed in the report; the others are released. With none left nothing is written.

    Parameters
    ----------
    plan
        Made before (:func:`humanst.shards.plan.make_plan`); made now and written to the work folder without one.

    Raises
    ------
    DataError
        ``leakage`` when a split group would be on two sides.
    InterruptedRun
        When a stage finds that the one before is not complete.
    NoRoomError
        When the disk is full. An earlier release stays as it is.
    """
    require_own_folder(request.release, request.work)
    if request.share != (0, 1):
        return _Build(request, plan, progress).run()
    with held(request.release, what=request.release.name):
        return _Build(request, plan, progress).run()


class _Build:
    def __init__(self, request: ReleaseRequest, plan: Plan | None, progress: Progress | None) -> None:
        self._request = request
        self._given = plan
        self._tell: Progress = progress or (lambda step, done, total, pairs: None)
        self._done: dict[str, SectionDone] = {}

    def run(self) -> ReleaseReport:
        """Do the stages; ``failed.jsonl`` and ``summary.md`` tell how far they came, whatever happens."""
        request = self._request
        files.sweep_partials(request.release.parent)
        sweep_work(request.work)
        self._plan = self._given or make_plan(request)
        if self._given is None:
            files.write_json(request.work / "plan.json", plan_content(request, self._plan))
        report = ReleaseReport(request.release, {}, (), ())
        try:
            if "extract" in request.stages:
                report = self._extract(report)
            if "pack" in request.stages or "finish" in request.stages:
                report = self._pack_and_finish(report)
        finally:
            # A worker that died in the middle left something unfinished.
            sweep_work(request.work)
        return report

    def _extract(self, report: ReleaseReport) -> ReleaseReport:
        try:
            with closing(extract_stage(self._request, self._plan, self._tell)) as stage:
                for done in stage:
                    self._done[done.sample_id] = done
        finally:
            report = self._told(report)
        return report

    def _told(self, report: ReleaseReport) -> ReleaseReport:
        """Write the views of the cards, and list the failures of this run's share."""
        request, plan = self._request, self._plan
        done = read_all_done(request.work, plan.sections)
        everything = [*_failures(done), *plan.left_out]
        write_failed(request.work, everything)
        write_summary(request.work, plan.sections, done, everything, {})
        mine = tuple(self._done[name] for name in sorted(self._done))
        failures = _failures(self._done)
        return ReleaseReport(report.release, {}, mine, tuple(failures))

    def _pack_and_finish(self, report: ReleaseReport) -> ReleaseReport:
        request, plan = self._request, self._plan
        done = read_all_done(request.work, plan.sections)
        settled = settle(request, plan, done)
        mine = report.done or tuple(done[name] for name in sorted(done))
        if not settled.extracts:
            return ReleaseReport(request.release, {}, mine, settled.failures)
        pack = make_pack(settled, request.spec, request.work)
        earlier = Earlier(request.release / MANIFEST)
        # A run that was killed when all was done left nothing to put in place: its shards are taken from the release.
        done_before = earlier.is_of(request.spec, settled.extracts, settled.facts)
        again = done_before and not staging_folder(request, pack).exists()
        packed = pack_stage(request, settled, pack, self._tell) if "pack" in request.stages or again else []
        if "finish" not in request.stages:
            return ReleaseReport(request.release, {}, (), (), n_shards=len(packed))
        earlier.tell_replaced(
            request.spec, settled.extracts, settled.facts, request.targets, reliability=request.reliability
        )
        if request.like is not None:
            rows = index_of([item.index_part for item in collect_shards(request, pack)])
            warned = check_rebuilt(request.like, rows, settled.extracts[0].card["codecs"])
            settled = replace(settled, findings=(*settled.findings, *warned))
        manifest = finish_release(request, settled, pack, self._tell)
        n_pairs, n_shards = manifest["totals"]["pairs"], manifest["totals"]["shards"]
        logger.info("%s: finished, %d pairs in %d shards", request.release.name, n_pairs, n_shards)
        write_failed(request.work, settled.failures)
        write_summary(request.work, plan.sections, done, settled.failures, manifest)
        return ReleaseReport(
            request.release, manifest, mine, settled.failures, settled.findings, earlier.compared(), n_shards
        )


def _failures(done: Mapping[str, SectionDone]) -> list[tuple[str, HumanstError]]:
    return [(name, item.error) for name, item in sorted(done.items()) if item.error is not None]
