"""Real arms on the demo release: what is aligned gains on donors it never saw, and more than what is shuffled."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from humanst.errors import DataError, HumanstError, UsageError
from humanst.load import open_release
from stamp_train.cli import stamp_train
from tests.helpers import run_humanst

pytestmark = pytest.mark.xdist_group("controls")

ONLY = "shuffled"
SETTINGS = {
    "batch_size": 64,
    "sections_per_batch": 4,
    "epochs": 1000,
    "max_steps": 60,
    "learning_rate_lora": 4e-3,
    "learning_rate_heads": 4e-3,
    "weight_anchor": 0.1,
    "validate_every_steps": 1000,
    "save_every_steps": 1000,
    "jitter": 0.0,
    "workers": 0,
}


@dataclass(frozen=True)
class World:
    """The demo release with the targets of the controls, a base, and settings for both."""

    release: Path
    config: Path
    gmt: Path


def run(*arguments: str) -> Result:
    """The command, in this process."""
    result = CliRunner().invoke(stamp_train, list(arguments), standalone_mode=False)
    if isinstance(result.exception, HumanstError):
        raise result.exception
    assert result.exception is None, result.output
    return result


@pytest.fixture(scope="module")
def world(demo_release: Path, demo_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    from benchmarks.pretext import write_base

    folder = tmp_path_factory.mktemp("controls")
    release, gmt = folder / "release", demo_atlas / "mirror" / "gene_sets" / "demo.gmt"
    shutil.copytree(demo_release, release, copy_function=os.link)
    work = folder / "release.work"
    work.mkdir()
    # What is made on the way is this test's own; the stores are those of the release.
    (work / "sections").symlink_to(demo_release.with_name("demo_release.work") / "sections")
    added = run_humanst("add-targets", str(release), "--set", "counts", atlas=demo_atlas)
    assert added.returncode == 0, added.stderr
    write_base(folder / "base", release, steps=60)
    config = folder / "align.yaml"
    config.write_text(yaml.safe_dump({"release": str(release), "encoder": str(folder / "base"), **SETTINGS}))
    return World(release, config, gmt)


@pytest.fixture(scope="module")
def compared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared")
    run("controls", str(world.config), "-o", str(out), "--only", ONLY, "--gmt", str(world.gmt), "--genes", "10")
    return out


def row(table: pd.DataFrame, **where: str) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def paired_over_donors(compared: Path, arm: str, other: str) -> np.ndarray:
    """Pathways of one arm minus those of another, unit by unit: the mean difference of each donor."""
    unit = ["donor", "sample_id", "target"]
    files = [compared / "arms" / name / "seed-0" / "measures.parquet" for name in (arm, other)]
    ours, theirs = (pd.read_parquet(file).query("tier == 'pathways'").set_index(unit)["value"] for file in files)
    return (ours - theirs).dropna().groupby("donor").mean().to_numpy()


def test_aligned_gains_on_donors_it_never_saw_and_more_than_shuffled(compared: Path) -> None:
    """Three donors have no interval: each of them has to gain. Ten are in ``test_gain_on_donors``."""
    table = pd.read_parquet(compared / "controls.parquet")
    of = {arm: row(table, tier="pathways", part="all", arm=arm) for arm in ("frozen", "aligned", *ONLY.split(","))}
    gain, over_shuffled = (paired_over_donors(compared, "aligned", other) for other in ("frozen", "shuffled"))
    assert gain.mean() == pytest.approx(of["aligned"]["minus_frozen_mean"])
    assert (gain > 0).all()
    assert over_shuffled.mean() == pytest.approx(of["shuffled"]["aligned_minus_mean"])
    assert (over_shuffled > 0).all()
    texture = row(table, tier="pathways", part="DEMO_FIBRE_TEXTURE", arm="aligned")
    assert texture["minus_frozen_mean"] > 0.03
    hidden = row(table, tier="pathways", part="DEMO_HIDDEN_FIELD", arm="aligned")
    assert abs(hidden["mean"]) < 0.2


def test_three_donors_have_no_interval_and_no_verdict(compared: Path) -> None:
    content = json.loads((compared / "controls.json").read_bytes())
    assert content["schema"] == "stamp_train.controls/1"
    assert content["verdict"]["answer"] == "cannot be said"
    assert "too few donors" in content["verdict"]["sentence"]
    assert "random-sets and library-size were not run" in content["verdict"]["sentence"]
    table = pd.read_csv(compared / "controls.csv")
    assert set(table["note"]) == {"too few donors"}
    assert set(table["n_donors"]) <= {1, 2, 3}
    said = (compared / "controls.md").read_text()
    assert content["verdict"]["sentence"] in said
    assert "| DEMO_FIBRE_TEXTURE |" in said
    assert content["leakage"] is None


def test_an_arm_that_is_done_is_not_done_again(world: World, compared: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (compared / "arms").rglob("*") if path.is_file()}
    before = (compared / "controls.parquet").read_bytes()
    options = ["--only", ONLY, "--gmt", str(world.gmt), "--genes", "10", "--json"]
    result = run("controls", str(world.config), "-o", str(compared), *options)
    assert result.stderr.count("there already") == 3
    assert json.loads(result.stdout)["schema"] == "stamp_train.controls/1"
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert (compared / "controls.parquet").read_bytes() == before
    # A torn table of one arm is made anew, and nothing is trained for it.
    (compared / "arms" / "frozen" / "seed-0" / "measures.parquet").write_bytes(b"torn")
    again = run("controls", str(world.config), "-o", str(compared), *options)
    assert again.stderr.count("there already") == 2
    assert (compared / "controls.parquet").read_bytes() == before


def test_measures_stand_for_donors_of_the_test_split_alone(world: World, compared: Path) -> None:
    from humanst.load import open_release

    release = open_release(world.release)
    held_out = set(release.index("test")["donor_group"].to_pylist())
    trained_on = set(release.index("train")["donor_group"].to_pylist())
    for arm in ("frozen", "aligned"):
        measures = pd.read_parquet(compared / "arms" / arm / "seed-0" / "measures.parquet")
        assert set(measures["donor"]) == held_out
        # A donor with sections of both is in neither.
        assert set(measures["organ"]) <= {"breast", "pancreas", ""}
        assert np.isfinite(measures["value"]).mean() > 0.5
    assert not held_out & trained_on


def test_what_is_not_there_is_refused_before_anything_is_trained(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such arm") as caught:
        run("controls", str(world.config), "-o", str(tmp_path / "out"), "--only", "everything")
    assert "library-size" in str(caught.value.facts.expected)
    changed = ["--set", "release=''"]
    with pytest.raises(UsageError, match="A setting is missing"):
        run("controls", str(world.config), "-o", str(tmp_path / "out"), *changed)
    with pytest.raises(UsageError, match="another for every seed"):
        run("controls", str(world.config), "-o", str(tmp_path / "out"), "--seeds", "2", "--set", "weights=random")
    assert not (tmp_path / "out").exists()


def test_every_section_that_is_tested_is_asked_for_leakage(world: World, tmp_path: Path) -> None:
    tested = open_release(world.release).index("test")["sample_id"][0].as_py()
    narrower = ["--split", "train", "--set", f"evaluation_sections=[{tested}]"]
    with pytest.raises(DataError) as caught:
        run("controls", str(world.config), "-o", str(tmp_path / "out"), *narrower)
    assert caught.value.facts.code == "leakage"
    assert not (tmp_path / "out").exists()


def test_a_release_without_random_sets_is_told_how_to_get_them(
    world: World, demo_release: Path, tmp_path: Path
) -> None:
    changed = ["--set", f"release={demo_release}"]
    with pytest.raises(UsageError, match="nothing to train random-sets on") as caught:
        run("controls", str(world.config), "-o", str(tmp_path / "out"), "--only", "random-sets", *changed)
    assert "humanst add-targets RELEASE --set random:0" in str(caught.value.facts.todo)
    assert not (tmp_path / "out").exists()
