"""``croissant.json``: Croissant 1.1 metadata, from which ``mlcroissant`` reads sections and pairs.

Every file that the manifest or the tables give a hash of is a FileObject with a path relative to this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from humanst.catalog.citing import own_citation
from humanst.shards.documents.facts import (
    SAMPLES,
    Tables,
    filled_splits,
    license_url,
    licenses_of,
    n_pairs,
    pairs_by,
    studies,
)

_TAR, _PARQUET = "application/x-tar", "application/x-parquet"  # the name that mlcroissant reads parquet under
_ZIP, _NUMPY = "application/zip", "application/octet-stream"
_KINDS = {
    "bool": "sc:Boolean",
    "string": "sc:Text",
    "large_string": "sc:Text",
    "float": "sc:Float",
    "double": "sc:Float",
}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(manifest: Mapping[str, Any], tables: Tables) -> str:
    """The text of ``croissant.json``."""
    own = own_citation(manifest["humanst_version"])
    pointer = f"https://doi.org/{own.doi}" if own.doi else own.url
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"humanst-{manifest['version']}",
        "description": _description(manifest),
        "version": manifest["version"],
        "license": _licenses(manifest),
        **({"url": pointer} if pointer else {}),
        "creator": [{"@type": "sc:Organization", "name": name} for name in (own.authors or "").split(" and ") if name],
        "citeAs": own.bibtex(),
        "keywords": ["spatial transcriptomics", "histology", "pathology"],
        "isLiveDataset": False,
        "distribution": _distribution(manifest, tables),
        "recordSet": _record_sets(manifest, tables),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _description(manifest: Mapping[str, Any]) -> str:
    platforms = ", ".join(pairs_by(manifest, "platform"))
    what = f"{n_pairs(manifest):,} pairs of an H&E patch and pathway targets from spatial gene expression"
    return f"{what}, of {len(manifest['sections']):,} sections ({platforms})."


def _licenses(manifest: Mapping[str, Any]) -> list[str]:
    """The address of every licence that a section comes under, or its id where it has none."""
    about = studies(manifest)
    found = {
        license_url(name, about.get(section["study_id"])) or name
        for section in manifest["sections"]
        for name in licenses_of(section)
    }
    return sorted(found)


def _distribution(manifest: Mapping[str, Any], tables: Tables) -> list[dict[str, Any]]:
    splits = filled_splits(manifest)
    wanted = [SAMPLES, *(split["index"] for split in splits.values())]
    objects = [_file(name, tables[name].n_bytes, tables[name].sha256, _PARQUET) for name in wanted if name in tables]
    sets = [_files("pairs-index", [split["index"] for split in splits.values()], _PARQUET)] if splits else []
    for name, split in splits.items():
        objects += [_file(shard["path"], shard["bytes"], shard["sha256"], _TAR) for shard in split["shards"]]
        sets.append(_files(f"shards-{name}", [f"data/{name}/*.tar"], _TAR))
    for section in manifest["sections"]:
        if store := section.get("store"):
            objects.append(_file(store["path"], store["bytes"], store["sha256"], _ZIP))
    for name, targets in sorted(manifest.get("targets", {}).items()):
        kind = PurePosixPath(targets["files"][0]["path"]).suffix if targets["files"] else ".npy"
        sets.append(_files(f"targets-{name}", [f"targets/{name}/*{kind}"], _NUMPY))
    return [*objects, *sets]


def _file(path: str, n_bytes: int, sha256: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": PurePosixPath(path).name,
        "contentUrl": path,
        "contentSize": f"{n_bytes} B",
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _files(name: str, includes: list[str], kind: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": includes, "encodingFormat": kind}


def _record_sets(manifest: Mapping[str, Any], tables: Tables) -> list[dict[str, Any]]:
    found = []
    if SAMPLES in tables:
        source = {"fileObject": {"@id": SAMPLES}}
        fields = [_field("samples", name, kind, source) for name, kind in tables[SAMPLES].columns.items()]
        found.append(_record_set("samples", "One record a section.", "sample_id", fields))
    indexes = [split["index"] for split in filled_splits(manifest).values()]
    if indexes and indexes[0] in tables:
        source = {"fileSet": {"@id": "pairs-index"}}
        fields = [_field("pairs", name, kind, source) for name, kind in tables[indexes[0]].columns.items()]
        split = _field("pairs", "shard", "string", source)
        split |= {"@id": "pairs/split", "name": "split", "description": "The split, as the name of the shard tells it."}
        split["source"] = {**split["source"], "transform": {"regex": "^([a-z]+)-"}}
        found.append(_record_set("pairs", "One record a pair: the index.", "uid", [*fields, split]))
    return found


def _record_set(name: str, about: str, key: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": about,
        "key": {"@id": f"{name}/{key}"},
        "field": fields,
    }


def _field(record_set: str, column: str, kind: str, source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column}",
        "name": column,
        "dataType": _KINDS.get(kind, "sc:Integer"),
        "source": {**source, "extract": {"column": column}},
    }
