"""The datasheet in the card: what stands in the manifest, under the headings that datasheets have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from humanst.shards.documents.facts import pairs_by, studies
from humanst.shards.documents.markdown import code, link, plain, table, words


def datasheet(manifest: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown, a section a heading."""
    lines = ["", "## Datasheet"]
    for title, part in datasheet_parts(manifest).items():
        lines += ["", f"### {title}", "", *part]
    return lines


def datasheet_parts(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Heading -> its lines of Markdown, in order."""
    parts = {
        "Motivation": _motivation,
        "Composition": _composition,
        "Collection": _collection,
        "Preprocessing": _preprocessing,
        "Splits": _splits,
        "Uses and misuses": _uses,
        "Distribution": _distribution,
        "Maintenance": _maintenance,
    }
    return {title: write(manifest) for title, write in parts.items()}


def _motivation(_: Mapping[str, Any]) -> list[str]:
    return [
        words(
            "To train and to judge models that read gene expression off H&E histology, on sections of several studies",
            "brought to one pixel size, one gene space and one definition of a target.",
        )
    ]


def _composition(manifest: Mapping[str, Any]) -> list[str]:
    sections = manifest["sections"]
    lines = [
        "A pair is a patch (`jpg`), its targets (`pathway.npy`), facts about it (`json`) and a line of text (`txt`)."
    ]
    for field, title in (("platform", "platform"), ("organ", "organ"), ("disease", "disease")):
        found = pairs_by(manifest, field)
        rows: list[tuple[object, ...]] = [(plain(value), *counts) for value, counts in found.items()]
        if field == "organ":
            labels = manifest["organs"]
            rows = [(*row, str(labels.get(value, ""))) for row, value in zip(rows, found, strict=True)]
        head = (title, "sections", "pairs") + (("label",) if field == "organ" else ())
        lines += ["", *table(head, rows)]
    lines += [*_stores(sections), *_target_sets(manifest)]
    donors = {section["donor_id"] for section in sections if section.get("donor_id", "unknown") != "unknown"}
    unknown = sum(section.get("donor_id", "unknown") == "unknown" for section in sections)
    lines += ["", f"Donors on record: {len(donors):,}; sections whose donor is not on record: {unknown:,}."]
    excluded = _exclusion_groups(sections)
    if excluded:
        told = "; ".join(f"{code(name)}: {n:,} sections" for name, n in excluded.items())
        lines += ["", f"Sections that are part of other benchmarks (column `exclusion_groups`): {told}."]
    return lines


def _stores(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    stores = [section["store"] for section in sections if "store" in section]
    if not stores:
        return []
    n_bytes = sum(store["bytes"] for store in stores)
    return ["", f"`sections/`: {len(stores):,} sections as zipped SpatialData objects ({n_bytes:,} bytes)."]


def _target_sets(manifest: Mapping[str, Any]) -> list[str]:
    found = manifest.get("targets") or {}
    if not found:
        return []
    rows = [
        (code(name), plain(one["kind"]), one["n_columns"], plain(one["dtype"]), code(one["columns"]))
        for name, one in sorted(found.items())
    ]
    head = ("set", "kind", "columns", "values", "names of the columns")
    return [
        "",
        "Further targets: row i of `targets/<set>/<shard>` is the i-th pair of the shard.",
        "",
        *table(head, rows),
    ]


def _exclusion_groups(sections: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for section in sections:
        found.update(name for name in section.get("metadata", {}).get("exclusion_groups", "").split(";") if name)
    return dict(sorted(found.items()))


def _collection(manifest: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, study in studies(manifest).items():
        mine = [section for section in manifest["sections"] if section["study_id"] == name]
        title = link(study["title"], study["url"]) if study["url"] else plain(study["title"])
        platforms = ", ".join(sorted({str(section.get("platform", "unknown")) for section in mine}))
        rows.append((code(name), title, platforms, len(mine), sum(section["pairs"] for section in mine)))
    return [
        "Every section is of one of these studies, and is taken as they give it; humanst measures nothing itself.",
        "",
        *table(("study", "title", "platform", "sections", "pairs"), rows),
    ]


def _preprocessing(manifest: Mapping[str, Any]) -> list[str]:
    patch, pathways = manifest["patch"], manifest["pathways"]
    side_px, side_um = patch["side_px"], patch["side_px"] * patch["um_per_pixel"]
    coarse = patch.get("max_native_um_per_pixel")
    on = f" on {plain(pathways['normalisation'])}" if pathways.get("normalisation") else ""
    lines = [
        words(
            f"- Patch: {side_px} x {side_px} px at {patch['um_per_pixel']:g} um per pixel ({side_um:g} um), centred on",
            f"the spot, RGB, cut from the image of record, JPEG quality {patch['quality']} with chroma",
            f"{patch['subsampling']}, tissue on at least {patch['min_tissue_fraction']:.0%} of it.",
            f"Images coarser than {coarse:g} um per pixel give none." if coarse else "",
        ),
        *_targets(manifest, side_um),
        words(
            f"- Targets: {len(pathways['names']):,} gene sets of {code(pathways['set'])} (sha256",
            f"{code(pathways['sha256'])}), scorer {code(pathways['scorer'])}{on}. NaN = not measured. Names and order:",
            "`pathways.names` in `MANIFEST.json`.",
        ),
        words(
            f"- Order: pairs are shuffled over all sections of a split (seed {manifest['seed']}),",
            f"{manifest['shard_pairs']:,} a shard.",
        ),
    ]
    if manifest.get("codecs"):
        told = ", ".join(f"{plain(name)} {plain(version)}" for name, version in sorted(manifest["codecs"].items()))
        lines.append(f"- Libraries that the bytes depend on: {told}.")
    return [*lines, *_drops(manifest)]


def _targets(manifest: Mapping[str, Any], side_um: float) -> list[str]:
    """How much of a patch each kind of target covers."""
    found: Counter[tuple[str, float]] = Counter()
    for section in manifest["sections"]:
        if "target" in section:
            found[section["target"]["shape"], float(section["target"]["side_um"])] += section["pairs"]
    lines = []
    for (shape, size), pairs in sorted(found.items()):
        area = size**2 * (math.pi / 4 if shape == "circle" else 1.0)
        what = "diameter" if shape == "circle" else "side"
        covered = f"{min(area / side_um**2, 1):.0%} of the patch" if size <= side_um else "more than the patch"
        lines.append(f"- Field of the target: {plain(shape)} of {what} {size:g} um, {covered} ({pairs:,} pairs).")
    return lines


def _drops(manifest: Mapping[str, Any]) -> list[str]:
    """What was left out, by its name."""
    found: Counter[tuple[str, str]] = Counter()
    for section in manifest["sections"]:
        for drop in (*section["drops"], *section.get("pair_drops", ())):
            found[drop["what"], drop["reason"]] += drop["n"]
    if not found:
        return []
    rows = [(what, code(reason), n) for (what, reason), n in sorted(found.items())]
    return [
        "",
        "Left out, by name (sums over sections; the manifest has them a section):",
        "",
        *table(("of", "why", "n"), rows),
    ]


def _splits(manifest: Mapping[str, Any]) -> list[str]:
    shares = manifest.get("shares")
    assigned = manifest.get("assigned") or {}
    drawn = f", drawn with shares {' / '.join(f'{share:g}' for share in shares)}" if shares else ""
    lines = [
        words(
            "Sections of one donor, block, slide or image, and known duplicates, are one group; a group is in one",
            f"split{drawn}. A study without donors on record is one group.",
        )
    ]
    if assigned:
        lines += [
            "",
            f"{len(assigned):,} donors or sections were put where the builder said (`assigned` in the manifest).",
        ]
    return lines


def _uses(manifest: Mapping[str, Any]) -> list[str]:
    lines = [
        words(
            "For research on models of histology and expression: train on `train`, choose on `val`, report on `test`,",
            "by section or donor and not over pooled spots alone.",
        ),
        "",
        "Not for diagnosis or treatment. Beware:",
        "",
        words(
            "- Pathway scores are z-scores within a section: they rank spots of one section and say nothing of levels",
            "between sections. `targets/pathway_stats.parquet` undoes them.",
        ),
        "- The field of a target is not that of its patch (see above).",
        "- NaN is not zero. A targeted panel measures its own genes only.",
        "- Neighbouring pairs share tissue: spots of a section are not independent.",
    ]
    if any(section.get("targeted") for section in manifest["sections"]):
        targeted = sum(bool(section.get("targeted")) for section in manifest["sections"])
        lines.append(f"- {targeted:,} sections were measured with a targeted panel.")
    if _exclusion_groups(manifest["sections"]):
        lines.append("- Who reports on a benchmark named in `exclusion_groups` leaves its sections out of training.")
    return lines


def _distribution(manifest: Mapping[str, Any]) -> list[str]:
    sections = manifest["sections"]
    free = [section for section in sections if section.get("redistributable", False)]
    closed, pairs = len(sections) - len(free), sum(section["pairs"] for section in free)
    lines = [
        words(
            f"{len(free):,} of {len(sections):,} sections ({pairs:,} pairs) may be passed on under their licences,",
            "which are below.",
        )
    ]
    if closed:
        lines += ["", f"**{closed:,} sections may not be passed on: as it is, this release is not for publication.**"]
    return [*lines, "", "`SHA256SUMS` has the hash of every file, `MANIFEST.json` that of `SHA256SUMS`."]


def _maintenance(manifest: Mapping[str, Any]) -> list[str]:
    newest = manifest["changes"][0]
    notes = [f"- {plain(note)}" for note in newest["notes"]]
    return [f"Version {plain(newest['version'])} (`CHANGES.md` has the earlier ones):", "", *notes]
