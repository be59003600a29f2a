"""``plan.json`` written and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from humanst import __version__, files
from humanst.builder.folders import FolderStudy
from humanst.errors import DataError, UsageError, error_from_dict
from humanst.findings import Finding
from humanst.pathways import PathwayChoice
from humanst.shards.plan import Plan, PlannedSection, plan_totals
from humanst.shards.request import ReleaseRequest
from humanst.shards.spec import PLAN_SCHEMA, ReleaseSpec
from humanst.shards.target_sets import TargetSet
from humanst.tiles import PatchSpec

_KEYS = frozenset({"spec", "gene_sets_path", "build", "folders", "recipe", "accepted_licenses"})


def plan_content(request: ReleaseRequest, plan: Plan) -> dict[str, Any]:
    """A plan as JSON-able data."""
    folders = {item.study.folder.resolve() for item in request.chosen if isinstance(item.study, FolderStudy)}
    return {
        "schema": PLAN_SCHEMA,
        "humanst_version": __version__,
        "spec": request.spec.to_dict(),
        "gene_sets_path": str(request.spec.gene_sets_path.resolve()),
        "build": {
            "pin": request.pin,
            "embed_image": request.embed_image,
            "tissue": None if request.tissue is None else str(request.tissue.resolve()),
            "pool_like": request.pool_like,
            "qc": dict(request.qc),
        },
        "targets": [
            {"name": one.name, "kind": one.kind, "n": one.n, "gmt": None if one.gmt is None else str(one.gmt.resolve())}
            | {"parameters": one.parameters(), "options": one.choice.record()}
            for one in request.targets
        ],
        "reliability": request.reliability,
        "folders": sorted(map(str, folders)),
        "recipe": None if request.recipe is None else str(request.recipe.resolve()),
        "like": None if request.like is None else request.like.to_dict(),
        "excluded_groups": list(request.excluded),
        "accepted_licenses": {name: list(studies) for name, studies in request.accepted},
        "totals": plan_totals(plan),
        "left_out": [{"sample_id": name, **error.to_dict()} for name, error in plan.left_out],
        "findings": [finding.to_dict() for finding in plan.findings],
        "sections": [asdict(section) for section in plan.sections],
    }


def read_plan(path: Path) -> dict[str, Any]:
    """Read ``plan.json``.

    Raises
    ------
    UsageError
        ``no-plan`` for a file that is none, ``plan-version`` for one of another version of humanst.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError("The plan cannot be read", code="no-plan", file=path.name, found=str(error)) from error
    if not isinstance(content, dict) or content.get("schema") != PLAN_SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise UsageError("This is no plan", code="no-plan", file=path.name, expected=PLAN_SCHEMA, found=found)
    if content["humanst_version"] != __version__:
        raise UsageError(
            "The plan was made by another version of humanst",
            code="plan-version",
            file=path.name,
            expected=content["humanst_version"],
            found=__version__,
            done="Nothing was written",
            todo="Use that version on every machine, or make the plan again",
        )
    try:
        plan_of(content)
        whole = content.keys() >= _KEYS
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise UsageError(
            "The plan is damaged",
            code="no-plan",
            file=path.name,
            expected="a file as `humanst plan` writes it",
            found="keys that are missing or of another kind",
            todo="Make it again",
        )
    return content


def plan_of(content: Mapping[str, Any]) -> Plan:
    """The sections of a plan."""
    return Plan(
        tuple(PlannedSection(**row) for row in content["sections"]),
        tuple((row["sample_id"], error_from_dict(row)) for row in content["left_out"]),
        tuple(Finding.from_dict(row) for row in content["findings"]),
    )


def targets_of(content: Mapping[str, Any]) -> tuple[TargetSet, ...]:
    """The target sets of a plan.

    Raises
    ------
    DataError
        ``gene-sets-changed`` when gene sets are not the ones it was made with.
    """
    found = []
    for row in content.get("targets", []):
        gmt = None if row["gmt"] is None else Path(row["gmt"])
        one = TargetSet(row["name"], row["kind"], row["n"], gmt, PathwayChoice.of_record(row.get("options", {})))
        if gmt is not None and not gmt.is_file():
            raise _other_gene_sets(gmt, row["parameters"]["gene_sets_sha256"], "no such file")
        if one.parameters() != row["parameters"]:
            raise _other_gene_sets(gmt or Path(one.name), str(row["parameters"]), str(one.parameters()))
        found.append(one)
    return tuple(found)


def spec_of(content: Mapping[str, Any]) -> ReleaseSpec:
    """The parameters of a plan.

    Raises
    ------
    DataError
        ``gene-sets-changed`` when the gene sets are not the ones it was made with.
    """
    spec, path = content["spec"], Path(content["gene_sets_path"])
    found = files.sha256_file(path) if path.is_file() else "no such file"
    if found != spec["gene_sets"]["sha256"]:
        raise _other_gene_sets(path, spec["gene_sets"]["sha256"], found)
    return ReleaseSpec(
        version=spec["version"],
        gene_sets_path=path,
        gene_sets_name=spec["gene_sets"]["name"],
        gene_sets_sha256=found,
        patch=PatchSpec(**spec["patch"]),
        assigned=tuple(sorted(spec["assigned"].items())),
        shares=tuple(spec["shares"]),
        shard_pairs=spec["shard_pairs"],
        seed=spec["seed"],
        choice=PathwayChoice.of_record(spec["gene_sets"].get("options", {})),
    )


def _other_gene_sets(path: Path, expected: str, found: str) -> DataError:
    return DataError(
        "The gene sets are not those of the plan",
        code="gene-sets-changed",
        file=path.name,
        expected=expected,
        found=found,
        done="Nothing was written",
        todo="Fetch them on this machine with the same HUMANST_CACHE_DIR, or make the plan again",
    )
