"""Small files beside the shards: samples.parquet and the raw mean and sd of every pathway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst import files
from humanst.catalog import Section, Study
from humanst.catalog.citing import study_url

if TYPE_CHECKING:
    import pyarrow as pa

    from humanst.shards.extract import Extracted
    from humanst.shards.pack import SectionFacts


def section_rows(
    extracts: Sequence[Extracted],
    facts: Mapping[str, SectionFacts],
    studies: Mapping[str, Study],
    sections: Mapping[str, Section],
    stores: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One mapping a section for the manifest: identity, licence, split, its store, and what went in, out and away."""
    rows = []
    for extract in extracts:
        card, study = extract.card, studies[extract.sample_id]
        about = card["section"]
        rows.append(
            {
                "sample_id": extract.sample_id,
                "study_id": study.study_id,
                "section_id": sections[extract.sample_id].section_id,
                "platform": about["platform"],
                "organ": facts[extract.sample_id].organ,
                "donor_id": sections[extract.sample_id].metadata.get("donor_id", "unknown"),
                "group": facts[extract.sample_id].donor_group,
                "split": facts[extract.sample_id].split,
                "license": study.license,
                "licenses": list(study.licenses(sections[extract.sample_id])),
                "redistributable": study.may_pass_on(sections[extract.sample_id]),
                "um_per_pixel": about["um_per_pixel"],
                "target": about["target"],
                "targeted": about["targeted"],
                "counts_in": about["counts_in"],
                "counts_out": about["counts_out"],
                "spots_in": about["spots_in"],
                "spots_out": about["spots_out"],
                "drops": about["drops"],
                "pairs": card["pairs"],
                "pair_drops": card["pair_drops"],
                "masked_pathways": card["pathways"]["masked"],
                "findings": [finding for finding in about["findings"] if finding["severity"] != "note"],
                "picture": about["picture"],
                "extract_inputs": card["inputs"],
                "store": dict(stores[extract.sample_id]),
                "metadata": dict(sections[extract.sample_id].metadata),
            }
        )
    return rows


def study_rows(studies: Iterable[Study]) -> list[dict[str, Any]]:
    """One mapping a study for the manifest, by id: whom to cite, where it is, its licence; ``None`` = unknown."""
    return [
        {
            "study_id": study.study_id,
            "title": study.title,
            "doi": study.doi,
            "accessions": dict(study.accessions),
            "url": study_url(study),
            "license": study.license,
            "license_url": study.license_url,
            "license_source": study.license_source,
            "citation": study.citation,
        }
        for study in sorted({study.study_id: study for study in studies}.values(), key=lambda study: study.study_id)
    ]


def totals(sections: Sequence[Mapping[str, Any]], splits: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Sums over a release, for its manifest."""
    return {
        "sections": len(sections),
        "donor_groups": len({section["group"] for section in sections}),
        "pairs": sum(split["n_pairs"] for split in splits.values()),
        "pairs_redistributable": sum(section["pairs"] for section in sections if section["redistributable"]),
        "shards": sum(len(split["shards"]) for split in splits.values()),
        "bytes": sum(shard["bytes"] for split in splits.values() for shard in split["shards"]),
        "store_bytes": sum(section["store"]["bytes"] for section in sections if "store" in section),
    }


def accepted_licenses(
    accepted: Iterable[tuple[str, tuple[str, ...]]], sections: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Gated licence -> studies it was accepted for, of those that are in the release.

    The date stands in the record of whoever accepted: the same release has the same bytes on any day.
    """
    here = {section["study_id"] for section in sections}
    found = {name: [study for study in studies if study in here] for name, studies in accepted}
    return {name: studies for name, studies in found.items() if studies}


def exclusion_groups(sections: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Test set of others (``hest_bench``, ...) -> ``sample_id`` of its sections that are in the release."""
    found: dict[str, list[str]] = {}
    for section in sections:
        for name in section.get("metadata", {}).get("exclusion_groups", "").split(";"):
            if name:
                found.setdefault(name, []).append(section["sample_id"])
    return {name: sorted(found[name]) for name in sorted(found)}


_FLAT = (
    "sample_id",
    "study_id",
    "section_id",
    "platform",
    "organ",
    "donor_id",
    "group",
    "split",
    "license",
    "redistributable",
    "um_per_pixel",
    "counts_in",
    "counts_out",
    "spots_in",
    "spots_out",
    "pairs",
)


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write samples.parquet, one row a section: the flat facts and the harmonised metadata. Returns its sha256."""
    import pyarrow as pa

    names = sorted({name for row in rows for name in row["metadata"]} - set(_FLAT))
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _FLAT}
    columns |= {name: [row["metadata"].get(name, "unknown") for row in rows] for name in names}
    return write_table(path, pa.table(columns))


def write_table(path: Path, table: pa.Table) -> str:
    """Write a small table; same rows, same bytes. Returns its sha256."""
    import pyarrow.parquet as pq

    return files.write_with(path, lambda target: pq.write_table(table, target, compression="zstd"))


def read_table(path: Path) -> pa.Table:
    """Read a small table."""
    import pyarrow.parquet as pq

    return pq.read_table(path)


def write_pathway_stats(path: Path, records: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Write targets/pathway_stats.parquet: raw mean and sd a section and pathway, so that z can be undone.

    Parameters
    ----------
    records
        ``(sample_id, pathways of its extract's card)``.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        name: [] for name in ("sample_id", "pathway", "n_members", "n_measured", "raw_mean", "raw_sd", "masked_because")
    }
    for sample_id, about in records:
        for number, name in enumerate(about["names"]):
            row = {
                "sample_id": sample_id,
                "pathway": name,
                "masked_because": about["masked"].get(name, ""),
                **{key: about[key][number] for key in ("n_members", "n_measured", "raw_mean", "raw_sd")},
            }
            for key, value in row.items():
                columns[key].append(value)
    kinds = {"n_members": "int32", "n_measured": "int32", "raw_mean": "float64", "raw_sd": "float64"}
    schema = pa.schema([(name, pa.type_for_alias(kinds.get(name, "string"))) for name in columns])
    return write_table(path, pa.table(columns, schema=schema))
