"""What the first page of an atlas says: counted once here, so that the page, its table for MultiQC and JSON agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.report.atlas_source import AtlasSource
from humanst.report.atlas_splits import Splits, splits_of
from humanst.splits import is_unknown

if TYPE_CHECKING:
    import pandas as pd

    from humanst.errors import HumanstError

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SEVERITIES = ("refuse", "warn", "note")
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Made:
    """A section whose page was made.

    Attributes
    ----------
    href
        Where its page is, seen from the first one.
    n_genes
        ``(n,)`` genes found at each pair of a release, or at each spot of a store.
    picture
        A small JPEG of the section; empty where it has none.
    fragment
        Its page, where all are one file.
    """

    sample_id: str
    href: str
    n_genes: NDArray[np.int32]
    picture: bytes = b""
    fragment: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """Sections and pairs (or spots) of an organ, by platform; the platforms in the order of the legend."""

    organ: str
    total: int
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Box:
    """Genes a spot of a platform and organ, at ``QUANTILES``."""

    platform: str
    organ: str
    n_sections: int
    n_spots: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """All findings of one code.

    Attributes
    ----------
    sections
        Of which something was found, each once; empty for what is said of the whole release.
    examples
        ``(sample_id, what was found)``, a few.
    """

    code: str
    severity: str
    what: str
    todo: str
    n: int
    sections: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LicenseRow:
    """Sections under one licence, or under several at once; ``redistributable`` is ``None`` where nothing is known."""

    name: str
    url: str | None
    redistributable: bool | None
    n_sections: int
    n_pairs: int


@dataclass(frozen=True, slots=True)
class AtlasFacts:
    """What the first page says.

    Attributes
    ----------
    unit
        What is counted beside sections: ``pairs`` of a release, ``spots`` of stores.
    totals
        Name -> number; ``None`` where it is not known.
    rows
        One a section: the columns of :meth:`AtlasSource.samples`, and ``href``, ``genes``, ``picture``, ``failure``.
    failures
        ``(sample_id, message)`` of sections whose page was not made.
    apart
        What belongs to the release and is not in this folder, a sentence each.
    """

    title: str
    kind: str
    unit: str
    totals: Mapping[str, int | None]
    platforms: tuple[str, ...]
    section_bars: tuple[Bar, ...]
    unit_bars: tuple[Bar, ...]
    boxes: tuple[Box, ...]
    licenses: tuple[LicenseRow, ...]
    splits: Splits | None
    findings: tuple[FindingGroup, ...]
    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[tuple[str, str], ...]
    apart: tuple[str, ...] = ()


def atlas_facts(
    source: AtlasSource, made: Mapping[str, Made], failures: Sequence[tuple[str, HumanstError]]
) -> AtlasFacts:
    """Count what the first page says.

    Parameters
    ----------
    made
        ``sample_id`` -> what became of its page.
    failures
        The others. They are counted too: a page that fails takes nothing out of a release.
    """
    samples = source.samples()
    unit = "pairs" if source.kind == "release" else "spots"
    platforms = tuple(samples.groupby("platform").size().sort_values(ascending=False, kind="stable").index)
    return AtlasFacts(
        title=source.title,
        kind=source.kind,
        unit=unit,
        totals=_totals(source, samples),
        platforms=platforms,
        section_bars=_bars(samples.assign(one=1), "one", platforms),
        unit_bars=_bars(samples, unit, platforms),
        boxes=_boxes(samples, made),
        licenses=_licenses(source, samples),
        splits=splits_of(source) if source.kind == "release" else None,
        findings=_findings(source),
        rows=tuple(_rows(samples, made, dict(failures))),
        failures=tuple((name, str(error)) for name, error in failures),
        apart=tuple(_apart(source.manifest)),
    )


def _apart(manifest: Mapping[str, Any]) -> Iterator[str]:
    part = manifest.get("selection")
    if part:
        where = f" where {part['where']}" if part["where"] else ""
        of = "" if part["sections"] is None else f", of the sections asked for ({len(part['sections']):,})"
        yield f"A part of release {part['version']}: pairs of {', '.join(part['splits'])}{where}{of}."
    recipes = manifest.get("recipe_only") or ()
    if recipes:
        pairs = sum(int(entry["pairs"]) for entry in recipes)
        names = ", ".join(str(entry["sample_id"]) for entry in recipes[:MOST_NAMED])
        more = f" and {len(recipes) - MOST_NAMED:,} more" if len(recipes) > MOST_NAMED else ""
        yield (
            f"Not to be passed on, here as recipes alone and in no figure below: {pairs:,} pairs of {len(recipes):,} "
            f"section{'' if len(recipes) == 1 else 's'}, {names}{more}."
        )


def _totals(source: AtlasSource, samples: pd.DataFrame) -> dict[str, int | None]:
    known = samples["donor_id"][~samples["donor_id"].map(is_unknown)]
    is_release = source.kind == "release"
    may = samples["redistributable"].eq(True)
    shards = [shard for split in source.manifest.get("splits", {}).values() for shard in split["shards"]]
    return {
        "studies": int(samples["study_id"].nunique()),
        "sections": len(samples),
        "donors": int(known.nunique()) if len(known) else None,
        "sections_of_unknown_donors": len(samples) - len(known),
        "spots": int(samples["spots"].sum()),
        "transcripts": int(samples["counts"].sum()),
        "pairs": int(samples["pairs"].sum()) if is_release else None,
        "bytes": sum(int(shard["bytes"]) for shard in shards) if is_release else None,
        "store_bytes": int(samples["store_bytes"].sum()),
        "redistributable_sections": int(may.sum()) if is_release else None,
        "redistributable_pairs": int(samples.loc[may, "pairs"].sum()) if is_release else None,
    }


def _bars(samples: pd.DataFrame, column: str, platforms: Sequence[str]) -> tuple[Bar, ...]:
    """Organs by size, the largest first."""
    table = samples.pivot_table(index="organ", columns="platform", values=column, aggfunc="sum", fill_value=0)
    bars = []
    for organ, row in table.to_dict("index").items():
        parts = tuple((name, int(row[name])) for name in platforms if row[name])
        bars.append(Bar(str(organ), sum(n for _, n in parts), parts))
    return tuple(sorted(bars, key=lambda bar: (-bar.total, bar.organ)))


def _boxes(samples: pd.DataFrame, made: Mapping[str, Made]) -> tuple[Box, ...]:
    boxes = []
    for (platform, organ), part in samples.groupby(["platform", "organ"], sort=True):
        genes = [made[name].n_genes for name in part["sample_id"] if name in made and len(made[name].n_genes)]
        if genes:
            pooled = np.concatenate(genes)
            quantiles = tuple(float(value) for value in np.quantile(pooled, QUANTILES))
            boxes.append(Box(str(platform), str(organ), len(genes), len(pooled), quantiles))
    return tuple(boxes)


def _licenses(source: AtlasSource, samples: pd.DataFrame) -> tuple[LicenseRow, ...]:
    urls = {study.get("license"): study.get("license_url") for study in source.manifest.get("studies", ())}
    rows = [
        LicenseRow(str(name), urls.get(name), _agreed(part["redistributable"]), len(part), int(part["pairs"].sum()))
        for name, part in samples.groupby("license", sort=True)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.n_sections, row.name)))


def _agreed(values: pd.Series) -> bool | None:
    """Whether all may be passed on; one of which nothing is known leaves it open."""
    found = set(values)
    return None if None in found or any(value != value for value in found) else all(found)


def _findings(source: AtlasSource) -> tuple[FindingGroup, ...]:
    """By severity, then by how many sections they are of."""
    told: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for finding in source.manifest.get("findings", ()):
        told.setdefault(str(finding["code"]), []).append((finding.get("section") or "", finding))
    for name in source.sample_ids:
        for finding in source.facts(name).get("findings", ()):
            told.setdefault(str(finding["code"]), []).append((name, finding))
    groups = [_group(code, items) for code, items in told.items()]
    return tuple(sorted(groups, key=lambda group: (_rank(group.severity), -group.n, group.code)))


def _group(code: str, items: Sequence[tuple[str, Mapping[str, Any]]]) -> FindingGroup:
    worst = min(items, key=lambda item: _rank(item[1]["severity"]))[1]
    examples = [(name, _found(finding, str(worst["what"]))) for name, finding in items]
    sections = tuple(dict.fromkeys(name for name, _ in items if name))
    todo = worst.get("todo") or ""
    return FindingGroup(
        code, str(worst["severity"]), str(worst["what"]), todo, len(items), sections, tuple(examples[:3])
    )


def _found(finding: Mapping[str, Any], head: str) -> str:
    """What was found, below a head that may be the words of another finding of the same code."""
    what, found = str(finding["what"]), finding.get("found")
    if what == head:
        return str(found or what)
    return f"{what}: {found}" if found else what


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def _rows(samples: pd.DataFrame, made: Mapping[str, Made], failed: Mapping[str, HumanstError]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in samples.to_dict("records"):
        done = made.get(row["sample_id"])
        genes = None if done is None or not len(done.n_genes) else float(np.median(done.n_genes))
        rows.append(
            {
                **{str(name): value for name, value in row.items()},
                "href": None if done is None else done.href,
                "genes": genes,
                "picture": b"" if done is None else done.picture,
                "failure": str(failed[row["sample_id"]]) if row["sample_id"] in failed else None,
            }
        )
    return rows
