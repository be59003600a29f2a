"""What a build is asked for, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from humanst.builder import BuildOptions
from humanst.errors import HumanstError
from humanst.findings import Finding
from humanst.platforms.sides import PoolLike
from humanst.runner import Cluster
from humanst.shards.done import SectionDone
from humanst.shards.grouping import Chosen
from humanst.shards.like import Like
from humanst.shards.spec import ReleaseSpec
from humanst.shards.target_sets import TargetSet

Stage = Literal["extract", "pack", "finish"]
STAGES: tuple[Stage, ...] = ("extract", "pack", "finish")
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
        Holds ``sections/``, ``images/``, ``genes/``, ``extract/``, ``done/``, ``pack/``, ``index/``; a later run goes
        on from it.
    excluded
        Exclusion groups whose sections, and all joined to them, were taken out of ``chosen``.
    recipe
        How the sections that are in no catalog are read.
    cluster
        A Dask cluster that runs the tasks instead of ``workers`` processes of this machine.
    stages
        Which steps to do; the last one writes the release.
    share
        ``(index, of)``: only every ``of``-th task of the stage, from ``index`` on.
    retry_failed
        Extract only the sections that failed or were never finished before.
    like
        Another release that says where sections go and what organs are labelled; ``spec`` is made of it.
    targets
        Target sets beside the pathways in the shards; the finish stage writes them.
    reliability
        Whether reliability weights of the pathways are measured on the training sections, in the finish stage too.
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
    excluded: tuple[str, ...] = ()
    recipe: Path | None = None
    cluster: Cluster | None = None
    stages: tuple[Stage, ...] = STAGES
    share: tuple[int, int] = (0, 1)
    retry_failed: bool = False
    like: Like | None = None
    targets: tuple[TargetSet, ...] = ()
    reliability: bool = False

    def build_options(self) -> BuildOptions:
        """The choices that section stores are built with."""
        return BuildOptions(
            folder=self.work,
            pin=self.pin,
            embed_image=self.embed_image,
            tissue=self.tissue,
            pool_like=self.pool_like,
            qc=self.qc,
        )


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """What a build made.

    Attributes
    ----------
    manifest
        Of the release; empty when nothing was released, or a stage before the last was all that was asked for.
    done
        The sections that this run built or found to be there, failed ones included.
    failures
        ``(sample_id, error)`` of sections that are not in the release.
    findings
        Warnings about the release as a whole (unknown donors, empty splits).
    earlier
        What the folder held before: ``none``, the ``same`` release to the byte of its manifest, or an ``other`` one,
        which was replaced.
    n_shards
        Shards that are there after the pack stage's share.
    """

    release: Path
    manifest: Mapping[str, Any]
    done: tuple[SectionDone, ...]
    failures: tuple[tuple[str, HumanstError], ...]
    findings: tuple[Finding, ...] = ()
    earlier: str = "none"
    n_shards: int = 0
