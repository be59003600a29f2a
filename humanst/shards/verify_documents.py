"""The files that others' readers count by say what the index holds, and every section has its licence.

They are read as those readers do, and compared with indexes and manifest; they are not made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanst.files import parse_json
from humanst.findings import Findings

_INFO = "data/_info.json"
_LICENSES = "LICENSES.tsv"


def check_documents(release: Path, manifest: Mapping[str, Any], findings: Findings) -> None:
    """Compare the documents that are there with the indexes and the manifest."""
    import pyarrow.parquet as pq

    counted: dict[str, dict[str, int]] = {}
    for split, entry in manifest["splits"].items():
        path = release / entry["index"]
        shards = pq.read_table(path, columns=["shard"])["shard"].to_pylist() if path.is_file() else []
        counted[split] = dict(Counter(shards))
    filled = {split: shards for split, shards in counted.items() if shards}
    _check(release, _INFO, findings, _info_counts, filled)
    by_path = {f"{split}/{name}": n for split, shards in filled.items() for name, n in shards.items()}
    _check(release, "data/index.json", findings, _wids_counts, by_path)
    for split, shards in filled.items():
        _check(release, f"data/{split}/sizes.json", findings, dict, shards)
        _check(release, f"data/{split}/index.json", findings, _wids_counts, shards)
    _check_licenses(release / _LICENSES, manifest, findings)


def _info_counts(content: Any) -> dict[str, dict[str, int]]:
    found = {}
    for split, entry in content["splits"].items():
        names = [name.removeprefix(f"{split}/") for name in entry["filenames"]]
        found[split] = dict(zip(names, entry["shard_lengths"], strict=True))
        if entry["num_samples"] != sum(entry["shard_lengths"]):
            found[split]["in all"] = entry["num_samples"]
    return found


def _wids_counts(content: Any) -> dict[str, int]:
    return {shard["url"]: shard["nsamples"] for shard in content["shardlist"]}


def _check(release: Path, name: str, findings: Findings, counts: Any, expected: Mapping[str, Any]) -> None:
    path = release / name
    if not path.is_file():
        return
    try:
        found = counts(parse_json(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"unreadable: {type(error).__name__}: {error}"
    if found != expected:
        findings.refuse(
            "document",
            "A file that other readers count by does not say what the index holds",
            file=name,
            expected=_short(expected),
            found=_short(found),
        )


def _check_licenses(path: Path, manifest: Mapping[str, Any], findings: Findings) -> None:
    if not path.is_file():
        return
    head, *lines = (line.split("\t") for line in path.read_text("utf-8", "replace").splitlines())
    rows = [dict(zip(head, line, strict=False)) for line in lines]
    found = sorted((row.get("sample_id", ""), row.get("redistributable", "")) for row in rows)
    sections = manifest["sections"]
    expected = sorted((row["sample_id"], str(row.get("redistributable", False)).lower()) for row in sections)
    if found != expected:
        differing = sorted({name for name, _ in set(found) ^ set(expected)})
        findings.refuse(
            "document",
            "The licence table and the manifest disagree",
            file=path.name,
            expected=f"{len(expected)} sections as the manifest has them",
            found=f"{len(found)} rows; {', '.join(differing[:5])} differ",
        )


def _short(value: object, most: int = 300) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."
