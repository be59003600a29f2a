"""The files beside the shards of a part of a release: samples, statistics, manifest, and what is taken over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.findings import Drop
from humanst.shards import sidecars
from humanst.shards.part_targets import target_names
from humanst.shards.published import SAMPLES, STATS
from humanst.shards.seal import document_names, seal
from humanst.shards.selection import SECTION_STORES, Selection

if TYPE_CHECKING:
    import pyarrow as pa


def taken_over(selection: Selection) -> list[str]:
    """Files of the release that a part has too, as they are; its documents follow from its own manifest."""
    sums = selection.head.sums
    kept = [name for name in sums if not name.startswith(SECTION_STORES)] if selection.all_pairs else []
    return sorted(set(kept) - document_names()) + stores_of(selection)


def stores_of(selection: Selection) -> list[str]:
    """The zips of the section stores that come along."""
    if not selection.request.with_stores:
        return []
    names = [f"{SECTION_STORES}{sample_id}.zarr.zip" for sample_id in selection.pairs_by_section]
    return [name for name in names if name in selection.head.sums]


def left_out(selection: Selection) -> list[str]:
    """Files of the release that a part has no counterpart of."""
    manifest = selection.head.manifest
    own = {SAMPLES, STATS, *taken_over(selection), *document_names()}
    own |= set(target_names(manifest))
    for split in manifest["splits"].values():
        own |= {split["index"]}
    return sorted(
        name
        for name in selection.head.sums
        if name not in own and not (name.startswith("data/") and name.endswith((".tar", ".card.json")))
    )


def write_tables(selection: Selection, output: Path) -> None:
    """Write samples.parquet and the pathway statistics: the rows of the sections of which pairs are wanted."""
    import pyarrow as pa

    samples = rows_of(selection.head.samples(), selection.pairs_by_section)
    pairs = [selection.pairs_by_section[sample_id] for sample_id in samples["sample_id"].to_pylist()]
    number = samples.column_names.index("pairs")
    samples = samples.set_column(number, "pairs", pa.array(pairs, type=samples.schema.field(number).type))
    sidecars.write_table(output / SAMPLES, samples)
    if STATS in selection.head.paths:
        stats = sidecars.read_table(selection.head.paths[STATS])
        sidecars.write_table(output / STATS, rows_of(stats, selection.pairs_by_section))


def rows_of(table: pa.Table, sample_ids: Iterable[str]) -> pa.Table:
    """The rows of some sections, in the order they have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(sample_ids), type=pa.string())
    return table.filter(pc.is_in(table["sample_id"], value_set=wanted)).combine_chunks().replace_schema_metadata(None)


def write_manifest(
    selection: Selection,
    output: Path,
    splits: Mapping[str, Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Seal the part with the release's manifest, but with the sections, splits, target sets and totals of the part."""
    before = selection.head.manifest
    sections = [
        _section(row, selection) for row in before["sections"] if row["sample_id"] in selection.pairs_by_section
    ]
    studies = {row["study_id"] for row in sections}
    accepted = {name: [study for study in owners if study in studies] for name, owners in _accepted(before).items()}
    # The rows of target files follow the shards of the whole release.
    own = {name: value for name, value in before.items() if name != "targets" or selection.all_pairs}
    manifest = {
        **own,
        "splits": dict(splits),
        "sections": sections,
        "accepted_licenses": {name: owners for name, owners in accepted.items() if owners},
        "totals": sidecars.totals(sections, splits),
        "selection": selection.record() | {"left_out": left_out(selection)},
    }
    if targets:
        manifest["targets"] = dict(targets)
    return seal(output, manifest)


def _accepted(manifest: Mapping[str, Any]) -> Mapping[str, list[str]]:
    found: Mapping[str, list[str]] = manifest.get("accepted_licenses", {})
    return found


def _section(row: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    """A section's row: the pairs that were not asked for are a named drop, so that nothing is lost in silence."""
    n_pairs = selection.pairs_by_section[row["sample_id"]]
    drops = list(row.get("pair_drops", []))
    if lost := row["pairs"] - n_pairs:
        drops.append(Drop("pairs", "not-selected", lost).to_dict())
    kept = {key: value for key, value in row.items() if key != "store" or selection.request.with_stores}
    # What nobody said may be passed on may not.
    return {"redistributable": False, **kept, "pairs": n_pairs, "pair_drops": drops}
