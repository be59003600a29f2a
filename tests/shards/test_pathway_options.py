"""How pathways are made, as a user asks for it: what is on record, what is left out by name, and the two controls."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from humanst.cli.pathway_options import SCORERS as OFFERED
from humanst.errors import HumanstError, UsageError
from humanst.pathways import read_gmt
from humanst.pathways.options import SCORERS, Scoring
from humanst.shards.like import read_like
from humanst.shards.plan_file import read_plan, spec_of
from humanst.shards.scoring import others_of
from humanst.shards.verify import verify_release
from tests.shards.conftest import SECTIONS, SHARD_PAIRS, Made, digests

pytestmark = pytest.mark.xdist_group("pathway-options")

Run = Callable[[Sequence[str]], Result]


def run(humanst_here: Run, *arguments: str) -> Result:
    result = humanst_here(arguments)
    if isinstance(result.exception, HumanstError):
        raise result.exception
    assert result.exception is None, result.output
    return result


def manifest_of(release: Path) -> dict:
    return json.loads((release / "MANIFEST.json").read_bytes())


def pathways_of(release: Path) -> dict[str, np.ndarray]:
    """uid -> targets, read with tarfile."""
    found = {}
    for path in sorted(release.glob("data/*/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".pathway.npy"):
                    values = np.load(io.BytesIO(tar.extractfile(member).read()))
                    found[member.name.removesuffix(".pathway.npy")] = values
    rows = pd.concat([pq.read_table(path).to_pandas() for path in sorted(release.glob("index/*.parquet"))])
    uid_of = dict(zip(rows["key"], rows["uid"], strict=True))
    return {uid_of[key]: values for key, values in found.items()}


def target_rows(release: Path, name: str) -> dict[str, np.ndarray]:
    """uid -> row of a target set."""
    found = {}
    for path in sorted(release.glob("index/*.parquet")):
        rows = pq.read_table(path).to_pandas()
        for shard, mine in rows.groupby("shard", sort=False):
            values = np.load(release / "targets" / name / f"{shard.removesuffix('.tar')}.npy")
            found |= dict(zip(mine["uid"], values, strict=True))
    return found


@dataclass(frozen=True)
class Sets:
    plain: Path
    release: Path
    work: Path
    gmt: Path
    own: Path


@pytest.fixture(scope="module")
def sets(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """The small release with both controls, and with gene sets of which one is too small and one has lost symbols."""
    from humanst.pathways import PathwayChoice
    from humanst.shards.add_targets import add_targets
    from humanst.shards.target_sets import parse_sets
    from humanst.shards.target_writing import Means

    folder = tmp_path_factory.mktemp("options")
    (gmt,) = (made.atlas / "mirror").rglob("*.gmt")
    found = Sets(made.release, folder / "release", folder / "work", gmt, folder / "own.gmt")
    shutil.copytree(made.release, found.release)
    shutil.copytree(made.work / "sections", found.work / "sections")
    shutil.copytree(made.work / "images", found.work / "images")
    lines = [line.split("\t") for line in gmt.read_text().splitlines()]
    own = [["TINY", "x", *lines[0][2:5]], ["LOST", "x", *lines[0][2:], "FOO1", "FOO2"], lines[1]]
    found.own.write_text("".join("\t".join(line) + "\n" for line in own))
    asked = parse_sets(
        ["random:5", "shuffle:3", f"own={found.own}"], choice=PathwayChoice(min_members=5), own=found.gmt
    )
    add_targets(found.release, asked, Means(found.work))
    return found


def test_every_scorer_is_offered() -> None:
    assert OFFERED == SCORERS


def test_a_release_with_controls_is_whole_and_says_what_they_are(sets: Sets) -> None:
    assert verify_release(sets.release).findings.to_list() == []
    entries = manifest_of(sets.release)["targets"]
    assert entries["shuffle-3"]["parameters"] == {"version": 1, "seed": 3, "of": "pathways"}
    random = entries["random-5"]
    assert random["parameters"]["seed"] == 5
    assert random["parameters"]["gene_sets"] == sets.gmt.name
    assert random["fitted_on"] == [name for name in SECTIONS if "st" in name], "the sections to train on"
    assert "targets/random-5/sets.gmt" in random["beside"]
    assert "options" not in manifest_of(sets.plain)["pathways"]


def test_sets_left_out_and_symbols_without_a_gene_are_on_record(sets: Sets) -> None:
    entry = manifest_of(sets.release)["targets"]["own"]
    assert entry["left_out"] == {"TINY": 3}
    assert entry["unmapped"] == {"LOST": ["FOO1", "FOO2"]}
    assert entry["parameters"]["options"] == {"min_members": 5}
    names = pq.read_table(sets.release / entry["columns"])["name"].to_pylist()
    assert names == ["LOST", sets.gmt.read_text().splitlines()[1].split("\t")[0]]


def test_shuffled_pairs_have_the_targets_of_others_of_their_section(sets: Sets) -> None:
    own, shuffled = pathways_of(sets.release), target_rows(sets.release, "shuffle-3")
    index = pd.concat([pq.read_table(path).to_pandas() for path in sorted(sets.release.glob("index/*.parquet"))])
    for _, mine in index.groupby("sample_id"):
        uids = list(mine["uid"])
        before, after = (np.stack([rows[uid] for uid in uids]) for rows in (own, shuffled))
        assert not np.isnan(before).all()
        assert sorted(map(bytes, before)) == sorted(map(bytes, after)), "all there, each once"
        assert not any(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))


def test_who_gets_whose_does_not_depend_on_the_order_of_pairs() -> None:
    uids = [f"{number:032x}" for number in range(50)]
    taken = dict(zip(uids, np.array(uids)[others_of(uids, 1)], strict=True))
    turned = uids[::-1]
    assert dict(zip(turned, np.array(turned)[others_of(turned, 1)], strict=True)) == taken
    assert all(uid != other for uid, other in taken.items())
    assert dict(zip(uids, np.array(uids)[others_of(uids, 2)], strict=True)) != taken
    assert others_of(["one"], 1).tolist() == [0]


def test_random_sets_are_the_same_genes_everywhere_and_match_in_size(sets: Sets) -> None:
    drawn = read_gmt(sets.release / "targets/random-5/sets.gmt", name="random")
    asked = read_gmt(sets.gmt, name="asked")
    names = pq.read_table(sets.release / "targets/random-5/columns.parquet")["name"].to_pylist()
    assert tuple(names) == drawn.names
    assert [name.rpartition(":")[2] for name in drawn.names] == list(asked.names)
    assert [len(members) for members in drawn.members] == [len(members) for members in asked.members]
    assert all(gene.startswith("ENSG") for members in drawn.members for gene in members)
    stats = pq.read_table(sets.release / "targets/random-5/stats.parquet").to_pandas()
    assert set(stats["sample_id"]) == set(SECTIONS)
    values = target_rows(sets.release, "random-5")
    own = pathways_of(sets.release)
    flat = [np.concatenate([rows[uid] for uid in sorted(own)]) for rows in (own, values)]
    both = np.isfinite(flat[0]) & np.isfinite(flat[1])
    assert both.mean() > 0.5
    assert abs(np.corrcoef(flat[0][both], flat[1][both])[0, 1]) < 0.5, "other genes, other scores"


def test_a_build_gives_the_same_controls_and_shuffled_shards_hold_what_the_set_holds(
    sets: Sets, made: Made, humanst_here: Run, tmp_path: Path
) -> None:
    release, work = tmp_path / "out", tmp_path / "out.work"
    shutil.copytree(sets.work / "sections", work / "sections")
    shutil.copytree(sets.work / "images", work / "images")
    arguments = ["build-shards", "-o", str(release), "--workers", "1", "--shard-pairs", SHARD_PAIRS]
    run(humanst_here, *arguments, "--shuffle-pairs", "3", "--targets", "random:5")
    assert verify_release(release).findings.to_list() == []
    options = manifest_of(release)["pathways"]["options"]
    assert options == {"shuffle_seed": 3}
    shuffled, expected = pathways_of(release), target_rows(sets.release, "shuffle-3")
    assert shuffled.keys() == expected.keys()
    assert all(np.array_equal(shuffled[uid], expected[uid], equal_nan=True) for uid in expected)
    there, here = (digests(folder / "targets" / "random-5") for folder in (release, sets.release))
    # Limits of size differ in what was asked for, and leave out no set here.
    assert there == here
    assert read_like(release).choice().shuffle_seed == 3
    again = run(humanst_here, *arguments, "--shuffle-pairs", "3", "--targets", "random:5", "--json")
    assert json.loads(again.output[again.output.index("{") :])["earlier"] == "same"


def test_a_plan_carries_the_options_and_others_are_other_inputs(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.json", tmp_path / "other.json"
    run(humanst_here, "plan", "-o", str(plain))
    run(humanst_here, "plan", "-o", str(other), "--scorer", "ulm", "--smooth", "0.5", "--no-z", "--clip", "4")
    found = [read_plan(path) for path in (plain, other)]
    assert "options" not in found[0]["spec"]["gene_sets"]
    assert spec_of(found[1]).choice.scoring == Scoring("ulm", 0.5, z=False, clip=4.0)
    inputs = [{row["sample_id"]: row["inputs"] for row in content["sections"]} for content in found]
    assert all(inputs[0][name] != inputs[1][name] for name in SECTIONS)
    with pytest.raises(UsageError, match="go together"):
        run(humanst_here, "build-shards", "--plan", str(other), "-o", str(tmp_path / "out"), "--scorer", "mean")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--sets", "random:1"], "add-targets RELEASE --set random:1"),
        (["--sets", "no-such-sets"], "No such gene sets"),
        (["--min-members", "9", "--max-members", "3"], "out of its range"),
        (["--targets", "shuffle:1=x.gmt"], "shuffle:SEED alone"),
        (["--targets", "random-1=x.gmt"], "No such target set"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(
    made: Made, humanst_here: Run, tmp_path: Path, arguments: list[str], match: str
) -> None:
    error = humanst_here(["build-shards", "-o", str(tmp_path / "out"), *arguments]).exception
    assert isinstance(error, UsageError)
    assert match in str(error)
    assert not (tmp_path / "out").exists()


def test_options_of_a_release_are_taken_from_it(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    arguments = ["build-shards", "-o", str(tmp_path / "out"), "--like", str(made.release), "--scorer", "mean"]
    error = humanst_here(arguments).exception
    assert isinstance(error, UsageError)
    assert "--scorer" in str(error)


def test_random_sets_need_the_gene_sets_of_the_release(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.gmt"
    other.write_text("A\tx\tTP53\n")
    arguments = ["add-targets", str(made.release), "--set", "random:1", "--gene-sets", str(other)]
    error = humanst_here(arguments).exception
    assert isinstance(error, UsageError)
    assert error.facts.code == "other-gene-sets"
