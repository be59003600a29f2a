"""The datasheet as a page of its own: what a release's manifest answers, and by name what it does not.

The questions are those that "Datasheets for Datasets" (Gebru et al. 2021, doi:10.1145/3458723) asks for, in short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanst.shards.documents.datasheet import datasheet_parts
from humanst.shards.documents.facts import all_splits, listed, n_pairs, pairs_by, studies
from humanst.shards.documents.markdown import code, plain, words
from humanst.shards.documents.terms import citation_lines, license_lines

NOT_ON_RECORD = "Not on record."


def datasheet_page(manifest: Mapping[str, Any]) -> str:
    """The text of the datasheet, Markdown; a function of the manifest alone."""
    answers = {
        "Motivation": _motivation(manifest),
        "Composition": _composition(manifest),
        "Collection": _collection(manifest),
        "Preprocessing": _preprocessing(manifest),
        "Uses and misuses": {"Used so far": NOT_ON_RECORD},
        "Distribution": _distribution(manifest),
        "Maintenance": _maintenance(manifest),
    }
    lines = [
        f"# Datasheet of humanst {plain(manifest['version'])}",
        "",
        "All of it follows from `MANIFEST.json`. What the manifest does not say is said to be not on record.",
    ]
    for title, part in datasheet_parts(manifest).items():
        lines += ["", f"## {title}", "", *part]
        told = [f"- **{question}:** {answer}" for question, answer in answers.get(title, {}).items()]
        lines += ["", *told] if told else []
    lines += [*license_lines(manifest), *citation_lines(manifest)]
    return "".join(f"{line}\n" for line in lines)


def _motivation(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Made by": f"humanst {plain(manifest['humanst_version'])}; who ran it is not on record.",
        "Paid by": NOT_ON_RECORD,
    }


def _composition(manifest: Mapping[str, Any]) -> dict[str, str]:
    sections = manifest["sections"]
    splits = ", ".join(f"{int(split['n_pairs']):,} in {code(name)}" for name, split in all_splits(manifest).items())
    spots = sum(drop["n"] for section in sections for drop in section["drops"] if drop["what"] == "spots")
    patches = sum(drop["n"] for section in sections for drop in section.get("pair_drops", ()))
    return {
        "How many": f"{n_pairs(manifest):,} pairs of {len(sections):,} sections ({splits}).",
        "Part of something larger": _larger(manifest),
        "Missing": f"{spots:,} spots and {patches:,} patches were left out by name (see Preprocessing).",
        "Related pairs": "Those of a section share tissue; related sections share a split group (see Splits).",
        "Errors and noise": "Findings of the checks are in each section store; their sum is not on record here.",
        "Fit to stand alone": "Patches and targets are in the shards; the slides they were cut from are not.",
        "About people": _people(manifest),
    }


def _larger(manifest: Mapping[str, Any]) -> str:
    parts = []
    if "selection" in manifest:
        chosen = manifest["selection"]
        where = f" where {code(chosen['where'])}" if chosen["where"] else ""
        parts.append(f"A part of release {plain(chosen['version'])}{where}, {chosen['n_pairs']:,} pairs as chosen.")
    if gone := manifest.get("recipe_only", []):
        n_gone = sum(entry["pairs"] for entry in gone)
        parts.append(f"{len(gone):,} sections ({n_gone:,} pairs) are recipe-only: named, and not here.")
    parts.append("How the studies chose their samples is not on record.")
    return words(*parts)


def _people(manifest: Mapping[str, Any]) -> str:
    known = sorted({name for section in manifest["sections"] for name in section.get("metadata", {})})
    asked = [name for name in ("age", "sex", "ethnicity", "ancestry") if name in known]
    told = f"On record: {listed([code(name) for name in asked])}." if asked else "Age, sex and ancestry: not on record."
    return words(
        "The catalog takes human tissue alone. Donors have the ids that their studies gave them.",
        told,
        "Names of people, label images and dates of scans do not enter.",
    )


def _collection(manifest: Mapping[str, Any]) -> dict[str, str]:
    rows = {}
    for name, study in studies(manifest).items():
        places = [f"{plain(repository)} {code(accession)}" for repository, accession in study["accessions"].items()]
        places += [f"doi {code(study['doi'])}"] if study["doi"] else []
        rows[name] = ", ".join(places) or "no accession on record"
    where = "; ".join(f"{code(name)}: {places}" for name, places in rows.items())
    return {
        "Where it comes from": where or NOT_ON_RECORD,
        "Who collected it, when, and how they were paid": f"{NOT_ON_RECORD} The studies say.",
        "Ethical review and consent": f"{NOT_ON_RECORD} The studies say.",
    }


def _preprocessing(manifest: Mapping[str, Any]) -> dict[str, str]:
    stores = sum("store" in section for section in manifest["sections"])
    kept = f"Counts of {stores:,} sections, in `sections/`." if stores else "None in this folder."
    return {
        "Raw data kept": words(kept, "Sources are named in the catalog, with their hashes."),
        "Software": f"humanst {plain(manifest['humanst_version'])}, BSD-3-Clause.",
    }


def _distribution(manifest: Mapping[str, Any]) -> dict[str, str]:
    totals = manifest.get("totals", {})
    n_bytes = sum(shard["bytes"] for split in manifest["splits"].values() for shard in split["shards"])
    n_bytes += totals.get("store_bytes", 0)
    return {
        "How much": f"{n_bytes:,} bytes of shards and section stores.",
        "Where, since when and with which DOI": NOT_ON_RECORD,
        "Platforms": ", ".join(map(plain, pairs_by(manifest, "platform"))) or NOT_ON_RECORD,
        "Export controls": NOT_ON_RECORD,
    }


def _maintenance(manifest: Mapping[str, Any]) -> dict[str, str]:
    versions = [plain(entry["version"]) for entry in manifest["changes"]]
    return {
        "Who to ask": f"{NOT_ON_RECORD} Whoever published the release.",
        "Versions on record": ", ".join(dict.fromkeys(versions)),
        "Taking a section or a donor out": "`humanst export RELEASE --without NAME` makes the release without it.",
    }
