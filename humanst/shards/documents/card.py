"""``README.md``: a dataset card. Its YAML head tells the Hub what tables there are, its text is a datasheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanst.shards.documents.datasheet import datasheet
from humanst.shards.documents.facts import (
    SAMPLES,
    all_splits,
    filled_splits,
    licenses_of,
    listed,
    n_pairs,
    pairs_by,
    studies,
)
from humanst.shards.documents.loading import how_to_load
from humanst.shards.documents.markdown import plain, table, words
from humanst.shards.documents.terms import citation_lines, license_lines

# Ids of the Hub that are an SPDX id in lower case.
_HUB_LICENSES = frozenset(
    {"apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "mit", "unlicense"}
    | {f"cc-by-{version}" for version in ("2.0", "2.5", "3.0", "4.0")}
    | {f"cc-by-nc-{version}" for version in ("2.0", "3.0", "4.0")}
    | {"cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"}
    | {f"cc-by-nc-sa-{version}" for version in ("2.0", "3.0", "4.0")}
)
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_TAGS = ("webdataset", "croissant", "spatial-transcriptomics", "histology", "pathology", "biology")


def card(manifest: Mapping[str, Any]) -> str:
    """The text of ``README.md``."""
    import yaml

    head = yaml.safe_dump(_head(manifest), sort_keys=False, allow_unicode=True, width=1000)
    lines = [
        *_summary(manifest),
        *how_to_load(manifest),
        *datasheet(manifest),
        *license_lines(manifest),
        *citation_lines(manifest),
    ]
    return f"---\n{head}---\n" + "".join(f"{line}\n" for line in lines)


def _head(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pretty_name": f"humanst {manifest['version']}",
        **_license(manifest),
        "task_categories": ["image-feature-extraction"],
        "size_categories": [_size_category(n_pairs(manifest))],
        "tags": [*_TAGS, *(name.replace("_", "-") for name in pairs_by(manifest, "platform") if name != "unknown")],
        "configs": _configs(manifest),
    }


def _license(manifest: Mapping[str, Any]) -> dict[str, str]:
    names = {name for section in manifest["sections"] for name in licenses_of(section)}
    one = next(iter(names)).lower() if len(names) == 1 else ""
    if one in _HUB_LICENSES:
        return {"license": one}
    return {"license": "other", "license_name": "by-section", "license_link": "LICENSES.tsv"}


def _size_category(n: int) -> str:
    """The Hub's name for a number of rows: ``n<1K``, ``1K<n<10K``, ... ``n>1T``."""
    rank = sum(n >= 1000 * 10**power for power in range(len(_SIZES)))
    if rank in (0, len(_SIZES)):
        return f"n<{_SIZES[0]}" if rank == 0 else f"n>{_SIZES[-1]}"
    return f"{_SIZES[rank - 1]}<n<{_SIZES[rank]}"


def _configs(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables by name. An empty split has no part in them, and no config is without files.

    The shards are none of them: ``datasets`` takes one builder for all configs of a card, that of the first one's files
    (huggingface/datasets#7101), so that shards beside tables could be listed and not loaded. They load by their paths.
    """
    found: list[dict[str, Any]] = [{"config_name": "samples", "data_files": SAMPLES, "default": True}]
    pairs = [{"split": name, "path": split["index"]} for name, split in filled_splits(manifest).items()]
    if pairs:
        found.append({"config_name": "pairs", "data_files": pairs})
    return found


def _summary(manifest: Mapping[str, Any]) -> list[str]:
    sections = manifest["sections"]
    platforms = listed(list(pairs_by(manifest, "platform")))
    n_groups = len({section["group"] for section in sections})
    rows = []
    for name, split in all_splits(manifest).items():
        mine = [section for section in sections if section["split"] == name]
        n_bytes = sum(shard["bytes"] for shard in split["shards"])
        groups = len({section["group"] for section in mine})
        rows.append((name, split["n_pairs"], len(mine), groups, len(split["shards"]), n_bytes))
    return [
        "",
        f"# humanst {plain(manifest['version'])}",
        "",
        words(
            f"{n_pairs(manifest):,} pairs of an H&E patch and the gene expression measured in it, from",
            f"{len(sections):,} sections ({platforms}) of {len(studies(manifest)):,} studies in {n_groups:,} split",
            f"groups. Made by humanst {plain(manifest['humanst_version'])}.",
        ),
        *_part(manifest),
        "",
        *table(("split", "pairs", "sections", "split groups", "shards", "bytes of shards"), rows),
        *_recipe_only(manifest),
    ]


def _part(manifest: Mapping[str, Any]) -> list[str]:
    if "selection" not in manifest:
        return []
    return ["", f"This is a part of release {plain(manifest['selection']['version'])}, as somebody chose it."]


def _recipe_only(manifest: Mapping[str, Any]) -> list[str]:
    """What is not here, and how whoever may have it comes by it."""
    gone = manifest.get("recipe_only", [])
    if not gone:
        return []
    return [
        "",
        words(
            f"{sum(entry['pairs'] for entry in gone):,} more pairs of {len(gone):,} sections may not be passed on.",
            "`recipe_only` of `MANIFEST.json` names them; from their sources `humanst build-shards --like` makes the",
            "same pairs.",
        ),
    ]
