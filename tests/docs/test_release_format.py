"""A checker of releases written from docs/release_format.md alone: it uses nothing of humanst."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tests.helpers import ROOT

PAGE = (ROOT / "docs/release_format.md").read_text(encoding="utf-8")
KINDS = {"str": "string", "float64": "double", "float32": "float"}
pytestmark = pytest.mark.xdist_group("docs")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def canonical(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


@pytest.fixture(scope="module")
def manifest(docs_release: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((docs_release / "MANIFEST.json").read_bytes())
    assert content["schema"] == "humanst.release/1"
    return content


def shards_of(manifest: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(split, shard) for split, entry in manifest["splits"].items() for shard in entry["shards"]]


def rows_of(release: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(release / f"index/{split}.parquet").to_pylist()
    return rows


def test_everything_is_vouched_for(docs_release: Path, manifest: dict[str, Any]) -> None:
    assert (docs_release / "MANIFEST.json").read_bytes() == canonical(manifest)
    sums = (docs_release / "SHA256SUMS").read_bytes()
    assert sha256(sums) == manifest["sha256sums"]
    lines = [line.split("  ", 1) for line in sums.decode().splitlines()]
    names = [name for _, name in lines]
    here = {path.relative_to(docs_release).as_posix() for path in docs_release.rglob("*") if path.is_file()}
    assert names == sorted(here - {"MANIFEST.json", "SHA256SUMS"})
    assert [name for digest, name in lines if sha256((docs_release / name).read_bytes()) != digest] == []
    for split, entry in manifest["splits"].items():
        assert sha256((docs_release / f"index/{split}.parquet").read_bytes()) == entry["index_sha256"]
    for _, shard in shards_of(manifest):
        card = (docs_release / shard["path"]).with_suffix(".card.json").read_bytes()
        assert sha256(card) == shard["card_sha256"]
        assert card == canonical(json.loads(card))
        assert {key: json.loads(card)[key] for key in ("path", "bytes", "sha256", "n_pairs")}.items() <= shard.items()


def test_shards_are_as_the_page_says(docs_release: Path, manifest: dict[str, Any]) -> None:
    spec, wanted = manifest["patch"], len(manifest["pathways"]["names"])
    for split, shard in shards_of(manifest):
        data = (docs_release / shard["path"]).read_bytes()
        assert len(data) % 10_240 == 0
        rows = [row for row in rows_of(docs_release, split) if row["shard"] == Path(shard["path"]).name]
        assert len(rows) == shard["n_pairs"] <= manifest["shard_pairs"]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = tar.getmembers()
        suffixes = ("jpg", "json", "pathway.npy", "txt")
        assert [member.name for member in members] == [f"{row['key']}.{end}" for row in rows for end in suffixes]
        assert {(one.mode, one.uid, one.gid, one.mtime, one.uname, one.gname) for one in members} == {
            (0o644, 0, 0, 0, "", "")
        }
        for row in rows:
            found = {}
            for kind in ("jpg", "json", "npy"):
                found[kind] = data[row[f"{kind}_offset"] :][: row[f"{kind}_length"]]
                assert hashlib.blake2b(found[kind], digest_size=8).hexdigest() == row[f"{kind}_hash"]
            image = Image.open(io.BytesIO(found["jpg"]))
            assert (image.mode, image.size) == ("RGB", (spec["side_px"],) * 2)
            assert not {"exif", "icc_profile", "progressive"} & set(image.info)
            assert found["npy"][:8] == b"\x93NUMPY\x01\x00"
            vector = np.load(io.BytesIO(found["npy"]), allow_pickle=False)
            assert (vector.dtype.str, vector.shape) == ("<f4", (wanted,))
            told = json.loads(found["json"])
            assert found["json"] == json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
            assert told["uid"] == row["uid"]
            assert told["blur"] == round(row["blur"], 6)


def test_uids_keys_and_order(docs_release: Path, manifest: dict[str, Any]) -> None:
    pixels = {name: manifest["patch"][name] for name in ("side_px", "um_per_pixel", "quality", "subsampling")}
    patch = sha256(canonical(pixels))
    seen = 0
    for split in manifest["splits"]:
        rows = rows_of(docs_release, split)
        for row in rows:
            name = f"{row['sample_id']}\0{row['spot_id']}\0{patch}".encode()
            assert hashlib.blake2b(name, digest_size=16).hexdigest() == row["uid"]
            spot = "".join(
                chr(byte) if re.match(rb"[A-Za-z0-9]", bytes([byte])) else f"-{byte:02x}"
                for byte in row["spot_id"].encode()
            )
            assert row["key"] == f"{row['sample_id']}_{spot}"
        order = [hashlib.blake2b(f"{manifest['seed']}|{row['uid']}".encode(), digest_size=16).digest() for row in rows]
        assert order == sorted(order)
        seen += len(rows)
    assert seen == manifest["totals"]["pairs"] > 50


def test_nothing_is_lost_and_groups_stay_together(docs_release: Path, manifest: dict[str, Any]) -> None:
    pairs = [row for split in manifest["splits"] for row in rows_of(docs_release, split)]
    for section in manifest["sections"]:
        assert section["counts_in"] == section["counts_out"] + sum(drop["counts"] for drop in section["drops"])
        left = sum(drop["n"] for drop in section["drops"] if drop["what"] == "spots")
        assert section["spots_in"] == section["spots_out"] + left
        assert section["spots_out"] == section["pairs"] + sum(drop["n"] for drop in section["pair_drops"])
        assert section["pairs"] == sum(row["sample_id"] == section["sample_id"] for row in pairs)
    splits = {(section["group"], section["split"]) for section in manifest["sections"]}
    assert len(splits) == len({group for group, _ in splits})


def test_a_split_that_nobody_assigned_follows_from_the_group(demo_release: Path) -> None:
    """Of the whole demo release: the sections that its assignment does not name."""
    manifest = json.loads((demo_release / "MANIFEST.json").read_bytes())
    named = set(manifest["assigned"])
    groups: dict[str, list[dict[str, Any]]] = {}
    for section in manifest["sections"]:
        groups.setdefault(section["group"], []).append(section)
    for group, sections in groups.items():
        if named & {section[key] for section in sections for key in ("donor_id", "sample_id")}:
            continue
        digest = hashlib.blake2b(f"humanst.split/1|{group}".encode(), digest_size=8).digest()
        point = struct.unpack(">Q", digest)[0] / 2**64
        shares = np.cumsum(manifest["shares"])
        expected = ("train", "val", "test")[int(np.searchsorted(shares, point, side="right"))]
        assert {section["split"] for section in sections} == {expected}


def columns_of(heading: str, first: str) -> dict[str, str]:
    """Names and types of the table that begins with this column, below a heading of the page."""
    part = PAGE.split(f"\n{heading}\n")[1]
    lines = part.split(f"| `{first}`", 1)[1].split("\n\n")[0]
    found: dict[str, str] = {}
    for line in f"| `{first}`{lines}".splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1].replace("float64", "double"))
    return found


def test_the_tables_have_the_columns_of_the_page(docs_release: Path) -> None:
    samples = pq.read_schema(docs_release / "samples.parquet")
    flat = columns_of("## Sections", "sample_id")
    others = set(yaml.safe_load((ROOT / "schemas/samples.yaml").read_text())["columns"])
    assert samples.names[: len(flat)] == list(flat)
    assert {name: str(samples.field(name).type) for name in flat} == flat
    assert set(samples.names[len(flat) :]) == others - set(flat)
    stats = pq.read_schema(docs_release / "targets/pathway_stats.parquet")
    assert {field.name: str(field.type) for field in stats} == columns_of("## Pathways", "sample_id")
    weights = pq.read_schema(docs_release / "targets/reliability.parquet")
    assert {field.name: str(field.type) for field in weights} == columns_of("## Pathways", "pathway")
    index = yaml.safe_load((ROOT / "schemas/pairs.yaml").read_text())["columns"]
    found = pq.read_schema(docs_release / "index/train.parquet")
    assert [(field.name, str(field.type)) for field in found] == [
        (name, KINDS.get(column["dtype"], column["dtype"])) for name, column in index.items()
    ]


def described(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A schema with its reference followed."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    return {**whole["$defs"].get(name, {}), **schema}


def unknown_keys(value: Any, schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> list[str]:
    """Keys of a document that its schema, which is on the page, does not have."""
    schema = described(schema, whole)
    if isinstance(value, list) and "items" in schema:
        return [key for item in value for key in unknown_keys(item, schema["items"], whole, f"{path}[]")]
    if not isinstance(value, dict) or not ({"properties", "additionalProperties"} & set(schema)):
        return []
    known, free = schema.get("properties", {}), schema.get("additionalProperties")
    missing: list[str] = []
    for key, content in value.items():
        if key in known:
            missing += unknown_keys(content, known[key], whole, f"{path}.{key}")
        elif isinstance(free, dict):
            missing += unknown_keys(content, free, whole, f"{path}.*")
        else:
            missing.append(f"{path}.{key}")
    return missing


@pytest.mark.parametrize("which", ["docs_release", "demo_release"])
def test_every_key_of_a_real_manifest_is_on_the_page(which: str, request: pytest.FixtureRequest) -> None:
    """The page has all that is in the schema (tests/docs/test_site.py), and the schema all that manifests have."""
    assert "```{schema-fields} manifest\n" in PAGE
    manifest = json.loads((request.getfixturevalue(which) / "MANIFEST.json").read_bytes())
    schema = yaml.safe_load((ROOT / "schemas/manifest.yaml").read_text())
    told_of = {".sections[].findings[]", ".findings[]"}
    missing = {path for path in unknown_keys(manifest, schema, schema) if path.rpartition(".")[0] not in told_of}
    assert missing == set()


def test_no_field_of_a_release_is_without_a_word() -> None:
    """What the dictionary shows is what the schemas say, so these say something of each."""
    for name in ("pairs", "spots", "genes"):
        columns = yaml.safe_load((ROOT / f"schemas/{name}.yaml").read_text())["columns"]
        assert [key for key, column in columns.items() if not column.get("description")] == []
    pair = yaml.safe_load((ROOT / "schemas/pair.yaml").read_text())["properties"]
    assert [key for key, rules in pair.items() if not rules.get("description")] == []
    manifest = yaml.safe_load((ROOT / "schemas/manifest.yaml").read_text())["properties"]
    assert [key for key, rules in manifest.items() if not described(rules, {"$defs": {}}).get("description")] == []
