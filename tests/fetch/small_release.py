"""A small release made without humanst: tarfile, json, pyarrow, Pillow and numpy only; large patches, few pairs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.sparse import csr_matrix, save_npz

PATHWAYS = ["HYPOXIA", "MYC_TARGETS", "EMT"]
MEMBERS = ("jpg", "json", "pathway.npy", "txt")
# sample_id: study, platform, organ, disease, license, split
SECTIONS = {
    "open_A1": ("open", "visium", "breast", "normal", "CC0-1.0", "train"),
    "open_B1": ("open", "visium", "lung", "lung adenocarcinoma", "CC0-1.0", "train"),
    "shut_C1": ("shut", "st", "breast", "invasive breast carcinoma", "CC-BY-NC-4.0", "train"),
    "open_D1": ("open", "xenium", "lung", "normal", "CC0-1.0", "val"),
}
TYPES = {
    **dict.fromkeys(("jpg_length", "json_length", "npy_length", "row", "col", "n_genes"), pa.int32()),
    **dict.fromkeys(("tissue_fraction", "blur", "mt_fraction", "log10_counts", "log10_counts_z"), pa.float32()),
}
CODECS = {"pillow": "made by hand"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pair(sample: str, number: int) -> tuple[dict[str, Any], list[bytes]]:
    """What the index says of a pair, without places, and its four members."""
    study, platform, organ, disease, _, split = SECTIONS[sample]
    rng = np.random.default_rng([number, len(sample), sum(sample.encode())])
    key = f"{sample}_{number}x7"
    row = {
        "uid": hashlib.blake2b(key.encode(), digest_size=16).hexdigest(),
        "key": key,
        "sample_id": sample,
        "spot_id": f"{number}x7",
        "donor_group": f"g_{sample}",
        "platform": platform,
        "x_px": 100.5 + number,
        "y_px": 200.5,
        "x_um": 50.25 + number,
        "y_um": 100.25,
        "row": number,
        "col": 7,
        "native_um_per_pixel": 0.5,
        "target_shape": "circle",
        "target_side_um": 55.0,
        "tissue_fraction": float(np.float32(0.2 + 0.75 * rng.random())),
        "blur": 3.5,
        "n_counts": 1000 + number,
        "n_genes": 400 + number,
        "mt_fraction": 0.0625,
        "log10_counts": 3.5,
        "log10_counts_z": 0.25,
        "qc_flags": "",
    }
    picture = io.BytesIO()
    # Noise: a patch of some hundred kB, so that pairs lie far apart in a shard of few of them.
    Image.fromarray(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)).save(
        picture, "JPEG", quality=90, subsampling=0
    )
    vector = io.BytesIO()
    np.lib.format.write_array(vector, rng.normal(size=3).astype("<f4"), version=(1, 0), allow_pickle=False)
    document = {**row, "label": ["breast", "lung"].index(organ), "organ": organ, "split": split, "study_id": study}
    text = f"{organ}, {disease}, {platform}"
    return row, [picture.getvalue(), json.dumps(document, sort_keys=True).encode(), vector.getvalue(), text.encode()]


def _shard(path: Path, pairs: list[tuple[dict[str, Any], list[bytes]]]) -> list[dict[str, Any]]:
    """Write a shard and its card; gives the rows of the index, with the places tarfile finds its members at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, contents in pairs:
            for member, data in zip(MEMBERS, contents, strict=True):
                info = tarfile.TarInfo(f"{row['key']}.{member}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        places = {info.name: (info.offset_data, info.size) for info in tar}
    rows = []
    for row, contents in pairs:
        where: dict[str, Any] = {}
        for member, column, data in zip(MEMBERS, ("jpg", "json", "npy"), contents, strict=False):
            where[f"{column}_offset"], where[f"{column}_length"] = places[f"{row['key']}.{member}"]
            where[f"{column}_hash"] = hashlib.blake2b(data, digest_size=8).hexdigest()
        rows.append({"uid": row["uid"], "key": row["key"], "shard": path.name} | where | row)
    card = {
        "schema": "humanst.shard-card/1",
        "path": f"data/{path.parent.name}/{path.name}",
        "sha256": sha(path.read_bytes()),
        "bytes": path.stat().st_size,
        "n_pairs": len(pairs),
        "split": path.parent.name,
        "inputs": ["made by hand"],
        "inputs_hash": "none",
        "codecs": CODECS,
    }
    path.with_suffix(".card.json").write_text(json.dumps(card))
    return rows


def write_split(path: Path, split: str, shards: list[list[tuple[dict[str, Any], list[bytes]]]], schema: Any) -> Any:
    rows, entries = [], []
    for number, pairs in enumerate(shards):
        tar = path / "data" / split / f"{split}-{number:05d}.tar"
        rows += _shard(tar, pairs)
        card = tar.with_suffix(".card.json").read_bytes()
        found = json.loads(card)
        entries.append({key: found[key] for key in ("path", "bytes", "sha256", "n_pairs")} | {"card_sha256": sha(card)})
    if schema is None:
        inferred = pa.Table.from_pylist(rows).schema
        schema = pa.schema([(name, TYPES.get(name, inferred.field(name).type)) for name in inferred.names])
    index = path / "index" / f"{split}.parquet"
    index.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), index)
    return schema, {
        "n_pairs": len(rows),
        "index": f"index/{split}.parquet",
        "index_sha256": sha(index.read_bytes()),
        "shards": entries,
    }


def write_release(path: Path) -> None:
    """Two shards of 16 pairs to train on, one of 5 to validate, an empty test split; one section may not be passed on.

    Every fifth pair to train on is of ``shut_C1``, every eighth of ``open_B1``.
    """
    train = [_pair("shut_C1" if n % 5 == 4 else "open_B1" if n % 8 == 0 else "open_A1", n) for n in range(32)]
    contents = {"train": [train[:16], train[16:]], "val": [[_pair("open_D1", n) for n in range(5)]], "test": []}
    schema, splits = None, {}
    for split, shards in contents.items():
        schema, splits[split] = write_split(path, split, shards, schema)
    counted: dict[str, int] = {}
    for row, _ in (pair for shards in contents.values() for pairs in shards for pair in pairs):
        counted[row["sample_id"]] = counted.get(row["sample_id"], 0) + 1
    sections = [_section(sample, counted[sample]) for sample in SECTIONS]
    flat = [{name: value for name, value in row.items() if not isinstance(value, list)} for row in sections]
    pq.write_table(pa.Table.from_pylist(flat), path / "samples.parquet")
    stats = [{"sample_id": sample, "pathway": name, "raw_mean": 0.5} for sample in SECTIONS for name in PATHWAYS]
    (path / "targets").mkdir()
    pq.write_table(pa.Table.from_pylist(stats), path / "targets" / "pathway_stats.parquet")
    (path / "README.md").write_text("A release of 37 pairs.\n")
    (path / "CITATION.bib").write_text("@misc{open}\n")
    for row in sections:
        row["store"] = write_store(path, str(row["sample_id"]), int(row["spots_out"]))
    write_head(path, splits, sections)


def store_files(sample: str, n_spots: int) -> dict[str, bytes]:
    """The files of a section store, as far as they say which section and how many spots it holds."""
    about = {"sample_id": sample, "spots_out": n_spots, "counts_out": 900}
    documents: dict[str, Any] = {
        "zarr.json": {"node_type": "group", "attributes": {"humanst": about}},
        "tables/table/obs/zarr.json": {"node_type": "group", "attributes": {"_index": "spot_id"}},
        "tables/table/obs/spot_id/zarr.json": {"node_type": "array", "shape": [n_spots]},
    }
    chunk = {"tables/table/obs/spot_id/c/0": sample.encode() * 50_000}
    return {name: json.dumps(content).encode() for name, content in documents.items()} | chunk


def write_store(path: Path, sample: str, n_spots: int, **more: bytes) -> dict[str, Any]:
    """Zip a section store; returns what the manifest says of it."""
    contents = dict(sorted((store_files(sample, n_spots) | more).items()))
    name = f"sections/{sample}.zarr.zip"
    (path / "sections").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path / name, "w") as archive:
        for member, data in contents.items():
            archive.writestr(zipfile.ZipInfo(member), data)
    tree = "".join(f"{member}\0{sha(data)}\n" for member, data in contents.items())
    return {
        "path": name,
        "bytes": (path / name).stat().st_size,
        "sha256": sha((path / name).read_bytes()),
        "inputs": sha(sample.encode()),
        "n_files": len(contents),
        "n_bytes": sum(map(len, contents.values())),
        "tree_sha256": sha(tree.encode()),
    }


def _section(sample: str, n_pairs: int) -> dict[str, Any]:
    study, platform, organ, disease, license_id, split = SECTIONS[sample]
    return {
        "sample_id": sample,
        "study_id": study,
        "section_id": sample.split("_")[1],
        "platform": platform,
        "organ": organ,
        "disease": disease,
        "donor_id": f"{study}_d1",
        "group": f"g_{sample}",
        "split": split,
        "license": license_id,
        "redistributable": license_id == "CC0-1.0",
        "um_per_pixel": 0.5,
        "counts_in": 900,
        "counts_out": 900,
        "spots_in": n_pairs,
        "spots_out": n_pairs,
        "pairs": n_pairs,
        "drops": [],
        "pair_drops": [],
    }


def study_row(study: str, license_id: str) -> dict[str, Any]:
    return {
        "study_id": study,
        "title": f"The {study} study",
        "doi": f"10.1234/{study}",
        "accessions": {},
        "url": f"https://doi.org/10.1234/{study}",
        "license": license_id,
        "license_url": None,
        "license_source": "made by hand",
        "citation": f"Nobody et al., The {study} study. Journal (2020). https://doi.org/10.1234/{study}",
    }


def write_head(path: Path, splits: dict[str, Any], sections: list[dict[str, Any]], **more: Any) -> None:
    """Write SHA256SUMS and the manifest over what is there."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name not in ("MANIFEST.json", "SHA256SUMS"))
    sums = "".join(f"{sha(p.read_bytes())}  {p.relative_to(path).as_posix()}\n" for p in files)
    (path / "SHA256SUMS").write_text(sums)
    rows = SECTIONS.values()
    manifest = {
        "schema": "humanst.release/1",
        "version": "1.2.3",
        "humanst_version": "0.1.0",
        "seed": 0,
        "shard_pairs": 4,
        "patch": {
            "side_px": 224,
            "um_per_pixel": 0.5,
            "quality": 90,
            "subsampling": "444",
            "min_tissue_fraction": 0.15,
        },
        "pathways": {"set": "few", "names": PATHWAYS, "sha256": "0" * 64, "scorer": "none", "n_members": [1, 1, 1]},
        "organs": {"breast": 0, "lung": 1},
        "splits": splits,
        "studies": [
            study_row(name, license_id) for name, license_id in sorted({row[0]: row[4] for row in rows}.items())
        ],
        "sections": sections,
        "codecs": CODECS,
        "findings": [],
        "accepted_licenses": {"CC-BY-NC-4.0": ["shut"]},
        "totals": {"sections": 4, "pairs": 37, "donor_groups": 4},
        "changes": [{"version": "1", "notes": ["Made for tests"]}],
        "sha256sums": sha(sums.encode()),
        **more,
    }
    (path / "MANIFEST.json").write_text(json.dumps(manifest))


def pairs_of(path: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """Split -> key -> suffix -> bytes, in the order of the shards: what tarfile and the folders say."""
    found: dict[str, dict[str, dict[str, bytes]]] = {}
    for tar in sorted(path.glob("data/*/*.tar")):
        with tarfile.open(tar) as members:
            for info in members:
                key, _, suffix = info.name.partition(".")
                handle = members.extractfile(info)
                assert handle is not None
                found.setdefault(tar.parent.name, {}).setdefault(key, {})[suffix] = handle.read()
    return found


def add_targets(path: Path, **more: Any) -> None:
    """Add two target sets to a release that is there: total counts as values, and one count a pair; seal it anew."""
    manifest = json.loads((path / "MANIFEST.json").read_bytes())
    names = [row["sample_id"] for row in manifest["sections"]]
    tables = {
        "values/columns.parquet": [{"name": "n_counts", "n_members": 1}, {"name": "unmeasured", "n_members": 1}],
        "values/stats.parquet": [{"sample_id": name, "pathway": "n_counts", "raw_mean": 1.5} for name in names],
        "counts/genes.parquet": [
            {"ensembl_id": f"ENSG{gene}", "symbol": f"G{gene}", "n_sections_measured": len(names)} for gene in range(40)
        ],
    }
    for name, content in tables.items():
        (path / "targets" / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(content), path / "targets" / name)
    flags = pa.FixedSizeListArray.from_arrays(pa.array([True] * 40 * len(names)), 40)
    pq.write_table(pa.table({"sample_id": names, "measured": flags}), path / "targets/counts/measured.parquet")
    files: dict[str, list[dict[str, Any]]] = {"values": [], "counts": []}
    for entry in manifest["splits"].values():
        rows = pq.read_table(path / entry["index"]).to_pylist()
        for shard in entry["shards"]:
            totals = [row["n_counts"] for row in rows if row["shard"] == Path(shard["path"]).name]
            stem = Path(shard["path"]).stem
            values = np.array([[total, np.nan] for total in totals], dtype="<f4")
            np.save(path / f"targets/values/{stem}.npy", values)
            places = (np.arange(len(totals)), np.array(totals) % 40)
            counts = csr_matrix((np.array(totals, dtype=np.int32), places), shape=(len(totals), 40))
            save_npz(path / f"targets/counts/{stem}.npz", counts, compressed=False)
            for name, suffix in (("values", "npy"), ("counts", "npz")):
                files[name].append({"path": f"targets/{name}/{stem}.{suffix}", "n_rows": len(totals)})
    common = {"parameters": {"version": 1}}
    manifest["targets"] = {
        "values": common
        | {"kind": "gmt", "dtype": "float32", "n_columns": 2, "columns": "targets/values/columns.parquet"}
        | {"beside": ["targets/values/stats.parquet"], "files": files["values"], "fitted_on": names},
        "counts": common
        | {"kind": "counts", "dtype": "int32", "n_columns": 40, "columns": "targets/counts/genes.parquet"}
        | {"beside": ["targets/counts/measured.parquet"], "files": files["counts"]},
    }
    write_head(path, manifest["splits"], manifest["sections"], targets=manifest["targets"], **more)
