"""The kinds of files that are fuzzed: a good one, what mutates it, the command that reads it, and what it may not say.

A mutated file is refused by name, or what is read from it is what it says. ``run`` gives ``"accepted"`` or the exit
code of the refusal, and raises :class:`Wrong` for anything else.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from humanst.errors import HumanstError, UsageError
from tests.faults import mutating, mutating_binary
from tests.faults.mutating import Mutated

REFUSALS = (2, 5, 6, 8)
VISIUM, ST = "atlas/mirror/demo_visium_v1", "atlas/mirror/demo_st"
SHARD, INDEX = "data/train/train-00000.tar", "index/train.parquet"


class Wrong(Exception):
    """A mutated file was neither refused by name nor read as what it says."""


@dataclass(frozen=True)
class Kind:
    """``base`` is the good file below the world; ``run`` takes the world's copy and the mutated bytes."""

    base: str
    mutate: Callable[[bytes, Random], Mutated]
    run: Callable[[Path, bytes, Random], str]


def write_world(folder: Path) -> None:
    """The good files: a Visium and an ST section of the demo atlas, small, and a release made by hand."""
    from humanst.demo import write_atlas
    from tests.fetch.small_release import write_release
    from tests.studies import little_studies

    write_atlas(folder / "atlas", studies=little_studies("demo_st_A1", "demo_visium_v1_P1", by=0.25))
    write_release(folder / "release")
    (folder / "transcripts.parquet").write_bytes(_transcripts())


def shared_world(shared_tmp: Path) -> Path:
    """The world, made once for all worker processes of a run."""
    from filelock import FileLock

    folder = shared_tmp / "fuzz_world"
    with FileLock(shared_tmp / "fuzz_world.lock"):
        if not (folder / "written").exists():
            write_world(folder)
            (folder / "written").touch()
    return folder


def _transcripts() -> bytes:
    import numpy as np

    from tests.platforms.bundles import table

    rng = np.random.default_rng(3)
    out = io.BytesIO()
    table(rng.uniform(0, 330, (400, 2)), ["ERBB2", "EPCAM", "KRT7", "LUM"] * 100).to_parquet(out)
    return out.getvalue()


def put(path: Path, data: bytes) -> Path:
    """A new file in the place of one that may be a link to the good one."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def linked(source: Path, target: Path) -> Path:
    """A copy of a folder by hard links, whose files are replaced and never written into."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def command(*arguments: str) -> tuple[int, Any]:
    """Run a command with ``--json``; returns its exit code and what it printed.

    Raises
    ------
    Wrong
        When it ends otherwise than with 0, or with a named and located refusal.
    """
    from click.testing import CliRunner

    from humanst.cli import humanst

    result = CliRunner().invoke(humanst, [*arguments, "--json"])
    error = result.exception
    if isinstance(error, HumanstError):
        return refused(error), None
    if error is not None and not isinstance(error, SystemExit):
        raise Wrong("".join(traceback.format_exception(error)))
    content = json.loads(result.stdout) if result.stdout.strip() else {}
    if result.exit_code and not _named(content):
        raise Wrong(f"exit {result.exit_code} of {arguments[0]}: {result.output[-3000:]}")
    if result.exit_code not in (0, *REFUSALS):
        raise Wrong(f"exit {result.exit_code} of {arguments[0]}: {result.output[-3000:]}")
    return result.exit_code, content


def refused(error: HumanstError) -> int:
    """The exit code of an error that says where it is and what was found.

    Raises
    ------
    Wrong
        When it does not, or is the report of a bug.
    """
    facts = error.facts
    placed = facts.where or isinstance(error, UsageError)
    if error.exit_code not in REFUSALS or not placed or not (facts.expected or facts.found):
        raise Wrong(f"a message without place or reason: {error.to_dict()}") from error
    return error.exit_code


def _named(content: Any) -> bool:
    """Whether a report holds refusals, each with place and reason."""
    if isinstance(content, list):
        return any(map(_named, content))
    if not isinstance(content, dict):
        return False
    if content.get("severity") == "refuse":
        placed = any(content.get(key) for key in ("file", "field", "section", "study"))
        return bool(placed and (content.get("found") or content.get("expected") or content.get("what")))
    return any(map(_named, content.values()))


def _outcome(code: int) -> str:
    return "accepted" if code == 0 else f"exit {code}"


def _rows(data: bytes, sep: str) -> list[list[str]]:
    csv.field_size_limit(1 << 24)  # a field may be long: that is one of the mutations
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=sep))


def _expect_places(
    places: dict[str, list[tuple[float, float]]], truth: dict[str, tuple[float, float]], far: float
) -> None:
    """Every spot that has counts is in a file that was accepted, once, and near where it was.

    Raises
    ------
    Wrong
        When it is not: what was read was not what the file says.
    """
    for spot, (x, y) in truth.items():
        found = places.get(spot, [])
        if len(found) != 1 or abs(found[0][0] - x) > far or abs(found[0][1] - y) > far:
            raise Wrong(f"accepted with {spot} at {found}, which lies at {(x, y)}")


def _validate(folder: Path) -> tuple[int, set[str]]:
    """Exit code of ``humanst validate``, and the codes of what it found."""
    code, content = command("validate", str(folder), "--workers", "1")
    sections = [section for path in (content or {}).get("paths", ()) for section in path["sections"]]
    return code, {finding["code"] for section in sections for finding in section["findings"]}


def run_positions(world: Path, data: bytes, rng: Random) -> str:
    """``humanst validate`` of the outs folder."""
    folder = world / VISIUM
    truth = {row[0]: (float(row[5]), float(row[4])) for row in _rows((world.parent / "base").read_bytes(), ",")}
    put(world / KINDS["positions"].base, data)
    code, told = _validate(folder)
    if code == 0 and "lattice-sign" in told:
        # Too few spots, all in tissue: x and y exchanged in all of them keep a lattice, and are warned of.
        return "accepted with a warning"
    if code == 0:
        matrix = folder / "P1/outs/filtered_feature_bc_matrix/barcodes.tsv.gz"
        barcodes = gzip.decompress(matrix.read_bytes()).decode().split()
        places: dict[str, list[tuple[float, float]]] = {}
        for row in _rows(data, ","):
            if row and row[0].strip() in truth:
                places.setdefault(row[0].strip(), []).append((float(row[5]), float(row[4])))
        _expect_places(places, {name: truth[name] for name in barcodes}, 140.0)
    return _outcome(code)


def run_scalefactors(world: Path, data: bytes, rng: Random) -> str:
    """``humanst validate`` of the outs folder."""
    put(world / KINDS["scalefactors"].base, data)
    code, _ = _validate(world / VISIUM)
    if code == 0 and not isinstance(json.loads(data, parse_int=float), dict):
        raise Wrong("scale factors that are no object were accepted")
    return _outcome(code)


def run_spots(world: Path, data: bytes, rng: Random) -> str:
    """``humanst validate`` of the folder of a legacy ST study."""
    _, *rows = _rows((world.parent / "base").read_bytes(), "\t")
    truth = {f"{row[0]}x{row[1]}": (float(row[4]), float(row[5])) for row in rows}
    put(world / KINDS["spots"].base, data)
    code, _ = _validate(world / ST)
    if code == 0:
        own, *lines = [
            row
            for row in _rows(data, max(("\t", ",", ";"), key=data.split(b"\n")[0].split(b"\r")[0].decode().count))
            if row
        ]
        # Backwards: of a name that comes twice the first one is read.
        found = [dict(reversed(list(zip([name.strip() for name in own], row, strict=False)))) for row in lines]
        places: dict[str, list[tuple[float, float]]] = {}
        for row in found:
            name = f"{float(row['x']):g}x{float(row['y']):g}"
            places.setdefault(name, []).append((float(row["pixel_x"]), float(row["pixel_y"])))
        # A spot that the file does not select is dropped and counted; where it is selected it lies where it was.
        _expect_places(places, {name: place for name, place in truth.items() if name in places}, 150.0)
    return _outcome(code)


def run_gene_sets(world: Path, data: bytes, rng: Random) -> str:
    """Reading, resolving and scoring, as every command with ``--sets`` does it."""
    import numpy as np
    from scipy.sparse import csr_matrix

    from humanst.harmonize.gene_table import load_gene_table
    from humanst.pathways import PathwayChoice, score_section
    from humanst.shards.scoring import sets_of_file, sets_record

    path = put(world / KINDS["gene sets"].base, data)
    table = load_gene_table()
    symbols = {cell for row in _rows((world.parent / "base").read_bytes(), "\t") for cell in row[2:]}
    ids = np.array(sorted({gene for symbol in symbols if (gene := table.resolve(symbol)) is not None}))
    counts = csr_matrix(np.random.default_rng(0).poisson(2.0, (40, len(ids))))
    try:
        sets = sets_of_file(path, "demo.gmt", PathwayChoice())
        sets_record(sets)
        scores = score_section(counts, ids, np.ones(len(ids), bool), sets, in_fit=np.ones(40, bool), targeted=False)
    except HumanstError as error:
        return _outcome(refused(error))
    lines = [line for line in data.decode("utf-8-sig").split("\n") if line.strip()]
    names = [line.split("\t")[0].strip() for line in lines]
    if [name for name in names if name not in dict(sets.left_out)] != list(sets.names) or scores.names != sets.names:
        raise Wrong(f"sets {names[:5]} were read as {sets.names[:5]}")
    return "accepted"


def run_catalog(world: Path, data: bytes, rng: Random) -> str:
    """``humanst list``, and one of the other commands that read the catalog."""
    import yaml

    os.environ["HUMANST_CATALOG"] = str(put(world / KINDS["catalog"].base, data))
    code, content = command("list")
    if code == 0:
        tree = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        listed = sum(len(study["sections"]) for study in tree["studies"].values())
        if len(content["sections"]) != listed:
            raise Wrong(f"{len(content['sections'])} of {listed} sections were listed")
    other = rng.choice(
        (("info", "demo_st"), ("licenses",), ("cite",), ("list", "--totals"), ("fetch", "demo_st", "--dry-run"))
    )
    command(*other)
    return _outcome(code)


def run_manifest(world: Path, data: bytes, rng: Random) -> str:
    """``humanst verify``, and an epoch."""
    put(world / KINDS["manifest"].base, data)
    return read_release(world, rng)


def run_shard(world: Path, data: bytes, rng: Random) -> str:
    """``humanst verify``, and an epoch; mostly manifest and card are made to fit what was changed."""
    return _read_changed(world, "shard", data, rng)


def run_index(world: Path, data: bytes, rng: Random) -> str:
    """The same for the index of a split."""
    return _read_changed(world, "index", data, rng)


def _read_changed(world: Path, kind: str, data: bytes, rng: Random) -> str:
    put(world / KINDS[kind].base, data)
    sealed = rng.random() < 0.65
    if sealed:
        seal(world / "release", SHARD if kind == "shard" else INDEX, data)
    outcome = read_release(world, rng)
    same = data == (world.parent / "base").read_bytes()
    if not (sealed or same or outcome == "verify exit 6, epoch exit 6"):
        raise Wrong(f"other bytes than those on record: {outcome}")
    return outcome


def run_transcripts(world: Path, data: bytes, rng: Random) -> str:
    """The transcripts of a Xenium bundle, read and pooled."""
    import pyarrow.parquet as pq

    from humanst.platforms.xenium import read
    from tests.platforms.bundles import Bundle, recipe, table

    shutil.rmtree(world / "bundle", ignore_errors=True)
    (world / "bundle").mkdir()
    files = Bundle(world / "bundle", table([[1.0, 1.0]], ["ERBB2"])).write()
    put(files.paths["transcripts"], data)
    try:
        raw = read(files, recipe())
        raw.findings.raise_if_refused()
    except HumanstError as error:
        return _outcome(refused(error))
    rows = pq.read_metadata(io.BytesIO(data)).num_rows if data.startswith(b"PAR1") else data.count(b"\n") - 1
    counted = int(raw.counts.sum()) + sum(int(drop.counts) for drop in raw.drops)
    if counted != rows:
        raise Wrong(f"{counted} of {rows} transcripts are in the counts and named drops")
    return "accepted"


def seal(release: Path, name: str, data: bytes) -> None:
    """Give manifest, card and SHA256SUMS the hash of a changed file, as a forger would."""
    import hashlib

    digest = hashlib.sha256(data).hexdigest()
    manifest = json.loads((release / "MANIFEST.json").read_bytes())
    split = manifest["splits"]["train"]
    changed = {name: digest}
    if name == INDEX:
        split["index_sha256"] = digest
    else:
        card_path = (release / name).with_suffix(".card.json")
        card = json.loads(card_path.read_bytes()) | {"sha256": digest, "bytes": len(data)}
        put(card_path, json.dumps(card).encode())
        card_digest = hashlib.sha256(card_path.read_bytes()).hexdigest()
        split["shards"][0] |= {"sha256": digest, "bytes": len(data), "card_sha256": card_digest}
        changed[card_path.relative_to(release).as_posix()] = card_digest
    lines = (line.partition("  ") for line in (release / "SHA256SUMS").read_text().splitlines())
    sums = "".join(f"{changed.get(file, found)}  {file}\n" for found, _, file in lines)
    put(release / "SHA256SUMS", sums.encode())
    manifest["sha256sums"] = hashlib.sha256(sums.encode()).hexdigest()
    put(release / "MANIFEST.json", json.dumps(manifest).encode())


def read_release(world: Path, rng: Random) -> str:
    """Verify a release and read every pair of it; what both let pass has the images of the good one."""
    verified, _ = command("verify", str(world / "release"))
    try:
        images = epoch(world / "release")
    except HumanstError as error:
        return f"verify {_outcome(verified)}, epoch {_outcome(refused(error))}"
    if verified == 0 and images != epoch(world.parent / "good"):
        raise Wrong("verified and read, with other images or targets than it was made with")
    return f"verify {_outcome(verified)}, epoch accepted"


def epoch(release: Path | str) -> dict[str, tuple[bytes, bytes]]:
    """Key -> bytes of the image and of the targets, of all pairs to train on."""
    from humanst.load import PairDataset

    dataset = PairDataset(release, "train", max_corrupt=0)
    return {
        pair["key"]: (pair["image"].tobytes(), pair["pathways"].tobytes())
        for pair in (dataset[i] for i in range(len(dataset)))
    }


KINDS = {
    "positions": Kind(
        f"{VISIUM}/P1/outs/spatial/tissue_positions_list.csv",
        lambda data, rng: mutating.mutate_table(data, rng, ","),
        run_positions,
    ),
    "scalefactors": Kind(f"{VISIUM}/P1/outs/spatial/scalefactors_json.json", mutating.mutate_json, run_scalefactors),
    "spots": Kind(
        f"{ST}/data/ST-spotfiles/A1_selection.tsv", lambda data, rng: mutating.mutate_table(data, rng, "\t"), run_spots
    ),
    "gene sets": Kind(
        "atlas/mirror/gene_sets/demo.gmt", lambda data, rng: mutating.mutate_table(data, rng, "\t"), run_gene_sets
    ),
    "catalog": Kind("atlas/catalog.yaml", mutating.mutate_yaml, run_catalog),
    "manifest": Kind("release/MANIFEST.json", mutating.mutate_json, run_manifest),
    "shard": Kind(f"release/{SHARD}", mutating_binary.mutate_tar, run_shard),
    "index": Kind(f"release/{INDEX}", mutating_binary.mutate_parquet, run_index),
    "transcripts": Kind("transcripts.parquet", mutating_binary.mutate_parquet, run_transcripts),
}
