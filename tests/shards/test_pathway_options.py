"""How pathways are made, as a user asks for it: what is on record, what is left out by name, and the two controls."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from humanst.shards.target_sets import TARGETS_VERSION
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
    """The small release with both controls, and gene sets: too small, with lost symbols and one twice, and as it is."""
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
    own = [["TINY", "x", *lines[0][2:5]], ["LOST", "x", *lines[0][2:], lines[0][2], "FOO1", "FOO2"], lines[1]]
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
    assert entries["shuffle-3"]["parameters"] == {"version": TARGETS_VERSION, "seed": 3, "of": "pathways"}
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
    assert entry["repeated"] == {"LOST": [sets.own.read_text().splitlines()[1].split("\t")[2]]}
    assert entry["parameters"]["options"] == {"min_members": 5}
    names = pq.read_table(sets.release / entry["columns"])["name"].to_pylist()
    assert names == ["LOST", sets.gmt.read_text().splitlines()[1].split("\t")[0]]


def test_what_of_gene_sets_is_not_scored_is_told_also_of_a_set_that_is_there(sets: Sets, humanst_here: Run) -> None:
    asked = ["--set", "own", "--gmt", str(sets.own), "--min-members", "5", "--work", str(sets.work)]
    said = run(humanst_here, "add-targets", str(sets.release), *asked).output
    where = "of targets.own in MANIFEST.json"
    assert f"own: 1 gene sets are left out by size: TINY (3); all are in left_out {where}" in said
    assert (
        f"own: 2 symbols stand for no gene and count as not measured: FOO1, FOO2; all are in unmapped {where}" in said
    )


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
    asked = ["--shuffle-pairs", "3", "--targets", f"random:5,own={sets.own}"]
    said = run(humanst_here, *arguments, *asked).output
    assert "own: 2 symbols stand for no gene and count as not measured: FOO1, FOO2; all are in unmapped of" in said
    assert "count once" in said
    assert verify_release(release).findings.to_list() == []
    options = manifest_of(release)["pathways"]["options"]
    assert options == {"shuffle_seed": 3}
    assert "a control: every pair has those of another pair" in (release / "README.md").read_text()
    shuffled, expected = pathways_of(release), target_rows(sets.release, "shuffle-3")
    assert shuffled.keys() == expected.keys()
    assert all(np.array_equal(shuffled[uid], expected[uid], equal_nan=True) for uid in expected)
    there, here = (digests(folder / "targets" / "random-5") for folder in (release, sets.release))
    # Limits of size differ in what was asked for, and leave out no set here.
    assert there == here
    assert read_like(release).choice().shuffle_seed == 3
    again = run(humanst_here, *arguments, *asked, "--json")
    assert json.loads(again.output[again.output.index("{") :])["earlier"] == "same"


def test_a_plan_carries_the_options_and_others_are_other_inputs(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.json", tmp_path / "other.json"
    run(humanst_here, "plan", "-o", str(plain))
    run(humanst_here, "plan", "-o", str(other), "--scorer", "ulm", "--smooth", "0.5", "--no-z")
    found = [read_plan(path) for path in (plain, other)]
    assert "options" not in found[0]["spec"]["gene_sets"]
    assert spec_of(found[1]).choice.scoring == Scoring("ulm", 0.5, z=False)
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
        (["--no-z", "--clip", "4"], "z, which it is a bound of"),
        (["--targets", "shuffle:1=x.gmt"], "shuffle:SEED alone"),
        (["--sets", "{tmp}/w.tsv", "--scorer", "aucell"], "no use for weights"),
        (["--targets", "w={tmp}/w.tsv", "--scorer", "aucell"], "no use for weights"),
        (["--targets", "random-1=x.gmt"], "No such target set"),
        (["--sets", "{tmp}/\udcff.gmt"], "cannot be put on record"),
        (["--targets", "own={tmp}/\udcff.gmt"], "cannot be put on record"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is(
    made: Made, humanst_here: Run, tmp_path: Path, arguments: list[str], match: str
) -> None:
    (tmp_path / "w.tsv").write_text("source\ttarget\tweight\nA\tTP53\t1\n")
    (tmp_path / "\udcff.gmt").write_text("A\tx\tTP53\n")
    given = [text.replace("{tmp}", str(tmp_path)) for text in arguments]
    error = humanst_here(["build-shards", "-o", str(tmp_path / "out"), *given]).exception
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


@pytest.fixture(scope="module")
def weighed(sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain release, with reliability weights."""
    from humanst.shards.add_targets import add_targets
    from humanst.shards.target_writing import Means

    release = tmp_path_factory.mktemp("weighed") / "release"
    shutil.copytree(sets.plain, release)
    added = add_targets(release, [], Means(sets.work), reliability=sets.gmt)
    assert (added.added, added.there) == (("reliability",), ())
    return release


def test_weights_are_medians_over_training_sections_alone(sets: Sets, weighed: Path) -> None:
    """From the section audit of every store: those of the training split, and no other."""
    from humanst.harmonize.gene_table import load_gene_table
    from humanst.pathways import resolve
    from humanst.pathways.audit.inputs import AuditOptions
    from humanst.pathways.audit.section import audit_section
    from humanst.shards.scoring import audit_section_of
    from humanst.store import open_section

    manifest = manifest_of(weighed)
    split_of = {row["sample_id"]: row["split"] for row in manifest["sections"]}
    assert set(split_of.values()) == {"train", "val"}
    table = pq.read_table(weighed / "targets/reliability.parquet").to_pandas()
    assert table["pathway"].tolist() == manifest["pathways"]["names"]
    gene_sets = resolve(read_gmt(sets.gmt, name="n"), load_gene_table())
    found = {}
    for name in SECTIONS:
        section = audit_section_of(open_section(sets.work / "sections" / f"{name}.zarr"), donor_group="d", split=None)
        found[name] = audit_section(section, gene_sets, AuditOptions(n_draws=2))["reliability"].to_numpy()
    training = [found[name] for name in SECTIONS if split_of[name] == "train"]
    expected = pd.DataFrame(training).median().to_numpy()
    assert np.allclose(table["reliability"], expected, equal_nan=True, rtol=0, atol=1e-12)
    assert np.allclose(table["weight"], np.where(expected < 0.1, 0.1, expected), equal_nan=True)
    everything = pd.DataFrame(list(found.values())).median().to_numpy()
    assert not np.allclose(table["reliability"], everything, equal_nan=True), "held-out sections would change it"
    assert table["n_sections"].tolist() == np.isfinite(training).sum(axis=0).tolist()
    assert manifest["reliability"]["fitted_on"] == [name for name in SECTIONS if split_of[name] == "train"]


def test_weights_leave_every_other_file_as_it_was_and_are_read_by_the_loader(sets: Sets, weighed: Path) -> None:
    from humanst.load import open_release

    assert verify_release(weighed).findings.to_list() == []
    before, after = digests(sets.plain), digests(weighed)
    assert after.keys() - before.keys() == {"targets/reliability.parquet"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"MANIFEST.json", "SHA256SUMS", "CHANGES.md", "README.md", "croissant.json"}
    opened = open_release(weighed)
    weights = opened.reliability()
    assert weights is not None
    table = pq.read_table(weighed / "targets/reliability.parquet").to_pandas()
    assert np.array_equal(weights, table["weight"], equal_nan=True)
    assert open_release(sets.plain).reliability() is None


def test_the_command_adds_them_once_and_a_build_gives_the_same_bytes(
    sets: Sets, weighed: Path, humanst_here: Run, tmp_path: Path
) -> None:
    release, work = tmp_path / "out", tmp_path / "out.work"
    for name in ("sections", "images"):
        shutil.copytree(sets.work / name, work / name)
    arguments = ["build-shards", "-o", str(release), "--workers", "1", "--shard-pairs", SHARD_PAIRS, "--reliability"]
    run(humanst_here, *arguments)
    there, here = digests(weighed), digests(release)
    # What was done to a release is told in its changes.
    told = {"MANIFEST.json", "SHA256SUMS", "CHANGES.md", "README.md"}
    assert {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)} <= told
    assert manifest_of(release)["reliability"] == manifest_of(weighed)["reliability"]
    again = run(humanst_here, "add-targets", str(release), "--reliability", "--gene-sets", str(sets.gmt))
    assert "were there already" in again.output
    assert digests(release) == here


def _change_table(path: Path, entry: dict[str, Any], change: str) -> None:
    """Change the table, and what the manifest says of it as far as it says anything."""
    table = pq.read_table(path).to_pandas()
    if change == "forged":
        table.loc[0, "weight"] = entry["weights"][0] = 0.97
    elif change == "column":
        table = table.drop(columns="reliability")
    table.to_parquet(path)
    if change == "unreadable":
        path.write_bytes(b"PAR1 nothing of the kind")


@pytest.mark.parametrize(
    "change", ["leak", "weight", "count", "stranger", "left-out", "forged", "column", "unreadable"]
)
def test_weights_that_do_not_fit_are_found(weighed: Path, tmp_path: Path, change: str) -> None:
    from humanst.shards.seal import seal

    shutil.copytree(weighed, tmp_path / "copy")
    manifest = manifest_of(tmp_path / "copy")
    entry = manifest["reliability"]
    held_out = next(row["sample_id"] for row in manifest["sections"] if row["split"] == "val")
    if change == "leak":
        entry["fitted_on"].append(held_out)
    elif change == "weight":
        entry["weights"][0] = 0.123
    elif change == "count":
        entry["weights"].pop()
    elif change == "stranger":
        entry["fitted_on"].append("nobody")
    elif change == "left-out":
        entry["fitted_on"].pop()
    else:
        _change_table(tmp_path / "copy" / entry["path"], entry, change)
    seal(tmp_path / "copy", manifest)
    found = verify_release(tmp_path / "copy").findings.to_list()
    assert [finding["code"] for finding in found] == ["targets"]
    assert "reliability" in found[0]["what"]


def test_a_section_that_leaves_takes_its_name_with_it(weighed: Path, humanst_here: Run, tmp_path: Path) -> None:
    first, *others = manifest_of(weighed)["reliability"]["fitted_on"]
    output = tmp_path / "less"
    run(humanst_here, "export", str(weighed), "-o", str(output), "--without", first)
    entry = manifest_of(output)["reliability"]
    assert (entry["fitted_on"], entry["fitted_on_gone"]) == (others, 1)
    assert entry["weights"] == manifest_of(weighed)["reliability"]["weights"]
    assert verify_release(output).findings.to_list() == []
    assert first not in (output / "MANIFEST.json").read_text().replace(f"section {first}", "")


def test_controls_stay_whole_when_a_section_leaves(sets: Sets, humanst_here: Run, tmp_path: Path) -> None:
    output, gone = tmp_path / "less", SECTIONS[0]
    run(humanst_here, "export", str(sets.release), "-o", str(output), "--without", gone)
    assert verify_release(output).findings.to_list() == []
    frozen = "targets/random-5/sets.gmt"
    assert (output / frozen).read_bytes() == (sets.release / frozen).read_bytes()
    before, after = (target_rows(release, "shuffle-3") for release in (sets.release, output))
    assert 0 < len(after) < len(before)
    assert all(np.array_equal(after[uid], before[uid], equal_nan=True) for uid in after)
