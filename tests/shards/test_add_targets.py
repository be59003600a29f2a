"""Target sets of a real small release: what they hold, what they leave untouched, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from scipy import sparse

from humanst.errors import DataError, HumanstError, IntegrityError, NoRoomError, UsageError
from humanst.load.targets import SparseCounts, read_targets
from humanst.shards import target_shards
from humanst.shards.plan_file import read_plan, targets_of
from humanst.shards.seal import seal
from humanst.shards.target_beside import take_beside
from humanst.shards.target_files import read_counts, take_rows, write_counts
from humanst.shards.target_sets import TargetSet, parse_sets
from humanst.shards.verify import verify_release
from tests.cli.test_json import keep_promise
from tests.shards.conftest import SECTIONS, SHARD_PAIRS, Made, digests

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("add-targets")

Run = Callable[[Sequence[str]], Result]
ASKED = "counts,hvg:20,pca:3"

# Documents that speak of the target sets of a release, or of what was done to it.
TELL_OF_SETS = {"MANIFEST.json", "SHA256SUMS", "CHANGES.md", "README.md", "croissant.json"}


@dataclass(frozen=True)
class Sets:
    """A release without and with target sets, and a folder that holds nothing but its section stores."""

    plain: Path
    release: Path
    work: Path
    gmt: Path


def run(humanst_here: Run, *arguments: str) -> Result:
    result = humanst_here(arguments)
    if isinstance(result.exception, HumanstError):
        raise result.exception
    assert result.exception is None, result.output
    return result


@pytest.fixture(scope="module")
def sets(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Sets:
    from humanst.shards.add_targets import add_targets
    from humanst.shards.target_writing import Means

    folder = tmp_path_factory.mktemp("targets")
    (gmt,) = (made.atlas / "mirror").rglob("*.gmt")
    found = Sets(made.release, folder / "release", folder / "work", gmt)
    shutil.copytree(made.release, found.release)
    shutil.copytree(made.work / "sections", found.work / "sections")
    asked = parse_sets([*ASKED.split(","), f"again={gmt}"])
    assert add_targets(found.release, asked, Means(found.work)).there == ()
    return found


@pytest.fixture
def copy(sets: Sets, tmp_path: Path) -> Path:
    """A release without target sets that a test may do anything to."""
    shutil.copytree(sets.plain, tmp_path / "copy")
    return tmp_path / "copy"


def index_of(release: Path, shard: Path) -> dict[str, list[object]]:
    split = shard.name.split("-")[0]
    rows = pq.read_table(release / "index" / f"{split}.parquet", filters=[("shard", "==", f"{shard.stem}.tar")])
    found: dict[str, list[object]] = rows.to_pydict()
    return found


def shards_of(release: Path) -> list[Path]:
    return sorted(release.glob("data/*/*.tar"))


def test_counts_are_those_of_the_section_stores(sets: Sets) -> None:
    """Read with anndata and scipy: every pair, every gene, in the order of the shards' members."""
    tables = {
        name: anndata.read_zarr(sets.work / "sections" / f"{name}.zarr" / "tables" / "table") for name in SECTIONS
    }
    genes = pq.read_table(sets.release / "targets/counts/genes.parquet")["ensembl_id"].to_pylist()
    dense = {name: table.to_df().reindex(columns=genes, fill_value=0) for name, table in tables.items()}
    n_pairs = 0
    for shard in shards_of(sets.release):
        rows = index_of(sets.release, shard)
        with tarfile.open(shard) as tar:
            keys = [name.removesuffix(".jpg") for name in tar.getnames() if name.endswith(".jpg")]
        assert rows["key"] == keys
        path = sets.release / "targets" / "counts" / f"{shard.stem}.npz"
        found = sparse.load_npz(path).toarray()
        pairs = zip(rows["sample_id"], rows["spot_id"], strict=True)
        assert (found == np.stack([dense[str(sample)].loc[spot] for sample, spot in pairs])).all()
        assert found.sum(axis=1).tolist() == rows["n_counts"]
        read = read_targets(path)
        assert isinstance(read, SparseCounts)
        assert (np.stack([read[row] for row in range(len(read))]) == found).all()
        n_pairs += len(found)
    assert n_pairs == json.loads((sets.release / "MANIFEST.json").read_bytes())["totals"]["pairs"] > 150
    flags = pq.read_table(sets.release / "targets/counts/measured.parquet").to_pydict()
    for name, measured in zip(flags["sample_id"], flags["measured"], strict=True):
        assert measured == [gene in tables[name].var_names for gene in genes]


def test_gene_sets_given_again_are_the_pathways_of_the_shards_bit_for_bit(sets: Sets) -> None:
    for shard in shards_of(sets.release):
        found = np.load(sets.release / "targets" / "again" / f"{shard.stem}.npy")
        with tarfile.open(shard) as tar:
            members = [name for name in tar.getnames() if name.endswith(".pathway.npy")]
            vectors = [np.load(io.BytesIO(tar.extractfile(name).read())) for name in members]  # type: ignore[union-attr]
        assert found.tobytes() == np.stack(vectors).tobytes()
        read = read_targets(sets.release / "targets" / "again" / f"{shard.stem}.npy")
        assert not isinstance(read, SparseCounts)
        np.testing.assert_array_equal(read, found)
    ours = pq.read_table(sets.release / "targets" / "again" / "stats.parquet")
    assert ours.equals(pq.read_table(sets.release / "targets" / "pathway_stats.parquet"))
    manifest = json.loads((sets.release / "MANIFEST.json").read_bytes())
    columns = pq.read_table(sets.release / manifest["targets"]["again"]["columns"]).to_pydict()
    assert columns["name"] == manifest["pathways"]["names"]
    assert manifest["targets"]["again"]["parameters"]["gene_sets_sha256"] == manifest["pathways"]["sha256"]


def test_what_was_there_keeps_its_bytes_and_the_whole_verifies(sets: Sets) -> None:
    before, after = digests(sets.plain), digests(sets.release)
    changed = TELL_OF_SETS
    assert {name: after[name] for name in before if name not in changed} == {
        name: digest for name, digest in before.items() if name not in changed
    }
    new = set(after) - set(before)
    assert {name.split("/")[1] for name in new} == {"counts", "hvg-20", "pca-3", "again"}
    assert len([name for name in new if name.endswith((".npy", ".npz"))]) == 4 * len(shards_of(sets.release))
    found = verify_release(sets.release)
    assert not found.findings.refused, found.findings.to_list()
    assert "hvg-20 was added" in (sets.release / "CHANGES.md").read_text()


def test_a_build_with_target_sets_gives_the_same_files_and_tells_of_those_it_drops(
    made: Made, sets: Sets, tmp_path: Path, humanst_here: Run
) -> None:
    """Built over a release that has a set which the build was not asked for."""
    shutil.copytree(made.work, tmp_path / "out.work")
    shutil.copytree(sets.release, tmp_path / "out")
    options = ["--workers", "1", "--shard-pairs", SHARD_PAIRS, "--targets", f"{ASKED},mine={sets.gmt}"]
    result = run(humanst_here, "build-shards", "-o", str(tmp_path / "out"), *options)
    assert "not as before: the target sets again, which were not asked for" in result.output
    built, added = digests(tmp_path / "out"), digests(sets.release)
    changed = TELL_OF_SETS
    assert {name.replace("/mine/", "/again/"): built[name] for name in built if name not in changed} == {
        name: digest for name, digest in added.items() if name not in changed
    }
    manifests = [json.loads((folder / "MANIFEST.json").read_bytes()) for folder in (tmp_path / "out", sets.release)]
    for name in ("counts", "hvg-20", "pca-3"):
        assert manifests[0]["targets"][name] == manifests[1]["targets"][name]


def test_a_plan_holds_its_target_sets(sets: Sets, tmp_path: Path, humanst_here: Run) -> None:
    gmt, plan = tmp_path / "own.gmt", tmp_path / "plan.json"
    shutil.copy(sets.gmt, gmt)
    run(humanst_here, "plan", "-o", str(plan), "--targets", f"counts,pca:7,own={gmt}")
    assert targets_of(read_plan(plan)) == (
        TargetSet("counts", "counts"),
        TargetSet("pca-7", "pca", 7),
        TargetSet("own", "gmt", gmt=gmt),
    )
    gmt.write_text("OTHER\t\tMYC\n")
    with pytest.raises(DataError, match="not those of the plan"):
        targets_of(read_plan(plan))


def test_a_set_that_is_there_stays_and_another_of_its_name_needs_to_be_asked_for(
    sets: Sets, copy: Path, tmp_path: Path, humanst_here: Run
) -> None:
    other = tmp_path / "other.gmt"
    other.write_bytes(b"\n".join(sets.gmt.read_bytes().splitlines()[:2]) + b"\n")
    work = ["--work", str(sets.work), "--workers", "1"]
    first = json.loads(run(humanst_here, "add-targets", str(copy), "--set", f"mine={sets.gmt}", *work, "--json").stdout)
    keep_promise("add-targets", first)
    assert [(row["set"], row["added"]) for row in first["sets"]] == [("mine", True)]
    before = digests(copy)
    # Neither the stores nor what the file is called are needed to see that it is there.
    shutil.copy(sets.gmt, tmp_path / "renamed.gmt")
    again = run(humanst_here, "add-targets", str(copy), "--set", "mine", "--gmt", str(tmp_path / "renamed.gmt"))
    assert "was there already" in again.stdout
    with pytest.raises(UsageError, match="gene_sets_sha256") as caught:
        run(humanst_here, "add-targets", str(copy), "--set", "mine", "--gmt", str(other), *work)
    assert caught.value.facts.code == "set-exists"
    assert digests(copy) == before
    run(humanst_here, "add-targets", str(copy), "--set", "mine", "--gmt", str(other), "--replace", *work)
    assert np.load(copy / "targets" / "mine" / "val-00000.npy").shape == (int(SHARD_PAIRS), 2)
    assert not verify_release(copy).findings.refused


@pytest.mark.parametrize("fault", ["no-store", "other-store"])
def test_stores_that_the_release_was_not_built_from_are_refused(
    sets: Sets, copy: Path, tmp_path: Path, humanst_here: Run, fault: str
) -> None:
    """Missing, or built again in another way: here, its card tells of other bytes."""
    card = tmp_path / "work" / "sections" / f"{SECTIONS[1]}.zarr.card.json"
    shutil.copytree(sets.work / "sections", tmp_path / "work" / "sections")
    content = json.loads(card.read_bytes())
    card.write_text(json.dumps(content | {"tree_sha256": "0" * 64}))
    if fault == "no-store":
        card.unlink()
    before = digests(copy)
    with pytest.raises(DataError, match="1 of 3 sections") as caught:
        run(humanst_here, "add-targets", str(copy), "--set", "counts", "--work", str(tmp_path / "work"))
    assert (caught.value.facts.code, caught.value.facts.section) == (fault, SECTIONS[1])
    assert digests(copy) == before
    assert sorted(path.name for path in tmp_path.iterdir() if "next" in path.name) == []


def test_a_write_that_fails_leaves_the_release_as_it_was(
    sets: Sets, copy: Path, humanst_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, n_calls = digests(copy), 0
    inodes = {path: path.stat().st_ino for path in copy.rglob("*.tar")}

    def full(path: Path, values: object) -> str:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 4:
            raise NoRoomError("The disk is full", file=path.name)
        return write_counts(path, values)  # type: ignore[arg-type]

    monkeypatch.setattr(target_shards, "write_counts", full)
    arguments = ["add-targets", str(copy), "--set", "counts", "--work", str(sets.work), "--workers", "1"]
    with pytest.raises(NoRoomError):
        run(humanst_here, *arguments)
    assert n_calls == 4
    assert digests(copy) == before
    assert not [path.name for path in copy.parent.iterdir() if ".next" in path.name]
    monkeypatch.setattr(target_shards, "write_counts", write_counts)
    # What a run that was killed leaves beside the release.
    left = copy.with_name(f".{copy.name}.next-targets")
    (left / "targets" / "counts").mkdir(parents=True)
    (left / "targets" / "counts" / "torn").touch()
    run(humanst_here, *arguments)
    assert not left.exists()
    assert not verify_release(copy).findings.refused
    # No image was copied: the shards are the same files.
    assert {path: path.stat().st_ino for path in copy.rglob("*.tar")} == inodes


def test_a_damaged_shard_gets_no_new_hash(sets: Sets, copy: Path, humanst_here: Run) -> None:
    shard = shards_of(copy)[0]
    data = bytearray(shard.read_bytes())
    data[2000] ^= 1
    shard.write_bytes(data)
    before = digests(copy)
    with pytest.raises(IntegrityError) as caught:
        run(humanst_here, "add-targets", str(copy), "--set", "hvg:5", "--work", str(sets.work), "--workers", "1")
    assert caught.value.facts.file == shard.relative_to(copy).as_posix()
    assert digests(copy) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("swapped rows", "do not add up to n_counts"),
        ("missing file", "other files than on record"),
        ("short file", "expected float32"),
        ("gap filled", "did not measure"),
    ],
)
def test_verify_sees_target_files_that_do_not_fit(sets: Sets, tmp_path: Path, name: str, told: str) -> None:
    """Files whose hashes are on record, but that do not belong to their shards."""
    release = tmp_path / "copy"
    shutil.copytree(sets.release, release)
    counts, values = release / "targets/counts/train-00000.npz", release / "targets/hvg-20/train-00001.npy"
    if name == "swapped rows":
        take_rows(counts, np.arange(int(SHARD_PAIRS))[::-1].copy(), counts)
    elif name == "missing file":
        values.unlink()
    elif name == "short file":
        take_rows(values, np.arange(int(SHARD_PAIRS) - 1), values)
    else:
        table = pq.read_table(release / "targets/counts/measured.parquet").to_pydict()
        gap = table["measured"][0].index(False)
        rows = read_counts(counts)
        moved = rows.indices.copy()
        sample = [str(value) for value in index_of(release, release / "data/train/train-00000.tar")["sample_id"]]
        row = sample.index(table["sample_id"][0])
        # The last gene of a row whose columns then still ascend.
        start, stop = rows.indptr[row], rows.indptr[row + 1]
        place = start + int(np.searchsorted(moved[start:stop], gap)) - 1
        moved[place] = gap
        write_counts(counts, type(rows)(rows.data, moved, rows.indptr, rows.n_columns))
    seal(release, json.loads((release / "MANIFEST.json").read_bytes()))
    found = verify_release(release).findings.of("refuse")
    assert [finding.facts.code for finding in found] == ["targets"]
    assert told in str(found[0].facts.found)


def test_files_beside_are_taken_for_some_sections(sets: Sets, tmp_path: Path) -> None:
    """What a takedown needs: rows of the sections that stay, all columns, and how many of them measured each gene."""
    manifest = json.loads((sets.release / "MANIFEST.json").read_bytes())
    for name, entry in manifest["targets"].items():
        names = {Path(path).name for path in (entry["columns"], *entry["beside"])}
        take_beside(sets.release / "targets" / name, names, SECTIONS[1:], tmp_path / name)
        assert {path.name for path in (tmp_path / name).iterdir()} == names
        for file in names:
            before, after = (pq.read_table(folder / name / file) for folder in (sets.release / "targets", tmp_path))
            if "sample_id" in before.column_names:
                assert set(after["sample_id"].to_pylist()) == set(SECTIONS[1:])
            else:
                assert after.drop_columns([c for c in after.column_names if c == "n_sections_measured"]).equals(
                    before.drop_columns([c for c in before.column_names if c == "n_sections_measured"])
                )
    flags = pq.read_table(tmp_path / "counts" / "measured.parquet")["measured"].to_pylist()
    genes = pq.read_table(tmp_path / "counts" / "genes.parquet").to_pydict()
    assert genes["n_sections_measured"] == np.sum(flags, axis=0).tolist()


def test_names_that_are_no_target_set_are_usage_errors(sets: Sets, copy: Path, humanst_here: Run) -> None:
    for asked in ("hvg", "pca:0", "counts,counts", "my set", "again", "counts=x.gmt"):
        with pytest.raises(UsageError):
            run(humanst_here, "add-targets", str(copy), "--set", asked, "--work", str(sets.work))
    with pytest.raises(UsageError, match="one name"):
        run(humanst_here, "add-targets", str(copy), "--set", "a,b", "--gmt", str(sets.gmt))
