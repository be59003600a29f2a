"""Every arm to its end on the smallest world: what each is trained on and how, said in the table, the page and JSON."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from humanst.errors import DataError, UsageError
from humanst.load import open_release
from stamp_train import control_runs
from stamp_train.config import AlignConfig
from stamp_train.control_arms import ARMS, target_set_of
from stamp_train.control_doubts import Before, base_aligned_before, of_split
from stamp_train.control_runs import kept, key_of
from stamp_train.control_tiers import Tiers
from stamp_train.controls import Compared, run_controls
from stamp_train.merging import merge_adapter
from stamp_train.model_folder import write_folder
from stamp_train.run_facts import release_sha256
from tests.load.conftest import PATHWAYS
from tests.load.test_load_targets import seal
from tests.stamp_train import small_release
from tests.stamp_train.small import tiny_encoder

pytestmark = pytest.mark.xdist_group("control-arms")

ARM = {arm.name: arm for arm in ARMS}
SEEDS = 2
# Shuffled pairs have their own test, on images that show something.
TRAINED = ("random-sets", "hvg", "pca", "library-size")
TIERS = Tiers(n_genes=3, domain_seeds=1)


def add_controls(release: Any) -> None:
    """Two draws of random sets with their members, and three components, of numbers that mean nothing."""
    rng, sets = np.random.default_rng(8), {"random-0": 5, "random-1": 5, "pca-3": 3}
    for name, n in sets.items():
        folder = release.path / "targets" / name
        folder.mkdir(parents=True)
        for split, sizes in small_release.SIZES.items():
            for number, size in enumerate(sizes):
                np.save(folder / f"{split}-0000{number}.npy", rng.normal(size=(size, n)).astype(np.float32))
        columns = PATHWAYS if n == 5 else [f"PC{number + 1}" for number in range(n)]
        pq.write_table(pa.table({"name": list(columns)}), folder / "columns.parquet")
        if n == 5:
            drawn = {column: rng.choice(small_release.GENES, 4, replace=False) for column in columns}
            lines = ["\t".join((column, "", *genes)) for column, genes in drawn.items()]
            (folder / "sets.gmt").write_text("\n".join(lines) + "\n")
    described = {
        name: {
            "kind": name.partition("-")[0],
            "n_columns": n,
            "columns": f"targets/{name}/columns.parquet",
            "parameters": {},
        }
        for name, n in sets.items()
    }
    known = {name: small_release.described(name) for name in ("counts", "planted", "hvg-2")}
    seal(release, {**known, **described})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> AlignConfig:
    """A release with all that the arms need, a base in a folder, and settings of one step."""
    folder = tmp_path_factory.mktemp("arms")
    with pytest.MonkeyPatch.context() as patch:
        # A probe that leaves one of four donors out needs ten spots of the others.
        patch.setattr(small_release, "SIZES", {"train": [24, 16], "val": [8], "test": [24]})
        release = small_release.write_small_release(folder / "release")
        add_controls(release)
    base = tiny_encoder(image_px=32)
    write_folder(folder / "base", base.model, base.facts, {})
    (folder / "sets.gmt").write_text(small_release.GMT)
    changes = {"encoder": str(folder / "base"), "weights": "preset", "target_set": None, "max_steps": 1}
    changes |= {"pathway_encoder": "token", "gene_sets": str(folder / "sets.gmt"), "validate_every_steps": 100}
    return small_release.settings(release.path, folder / "unused", **changes)


@pytest.fixture(scope="module")
def compared(config: AlignConfig, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return run_controls(config, tmp_path_factory.mktemp("compared"), TIERS, only=TRAINED)


@pytest.fixture(scope="module")
def seeds(config: AlignConfig, compared: Compared, written: dict[str, Any]) -> Compared:
    """Random sets once more with two trainings each, in the same folder: one of each is there already."""
    assert written
    found = run_controls(config, compared.out, TIERS, only=["random-sets"], n_seeds=SEEDS)
    assert found.n_kept == 3
    return found


@pytest.fixture(scope="module")
def written(compared: Compared) -> dict[str, Any]:
    """What the comparison of all arms wrote, before the next one in its folder."""
    return {
        "page": (compared.out / "controls.md").read_text(),
        "parquet": pd.read_parquet(compared.out / "controls.parquet"),
        "csv": pd.read_csv(compared.out / "controls.csv"),
    }


def settings_of(compared: Compared, arm: str, seed: int) -> dict[str, Any]:
    return json.loads((compared.out / "arms" / arm / f"seed-{seed}" / "run" / "run.json").read_bytes())["config"]


def test_every_arm_runs_and_differs_from_the_aligned_one_in_what_makes_it(compared: Compared) -> None:
    differing = {
        "random-sets": {"target_set": "random-0"},
        "hvg": {"target_set": "hvg-2", "pathway_encoder": "score"},
        "pca": {"target_set": "pca-3", "pathway_encoder": "score"},
        "library-size": {"target_set": "library", "pathway_encoder": "score"},
    }
    aligned = settings_of(compared, "aligned", 0)
    for arm, changes in differing.items():
        ours = settings_of(compared, arm, 0)
        assert {name: value for name, value in ours.items() if value != aligned[name] and name != "run"} == changes
    whole = compared.table[compared.table["part"] == "all"]
    assert set(whole["arm"]) == {"frozen", "aligned", *TRAINED}
    assert whole.groupby(["tier", "measure"])["arm"].nunique().eq(2 + len(TRAINED)).all()


def test_another_pathway_encoder_is_said_everywhere_and_keeps_the_verdict_open(
    compared: Compared, written: dict[str, Any]
) -> None:
    content = compared.content
    assert {told["arm"] for told in content["arms"] if not told["as_aligned"]} == {"hvg", "pca", "library-size"}
    reasons = content["verdict"]["reasons"]
    assert [one for one in reasons if one.startswith("library-size cannot be held against it: its pathway encoder")]
    assert any("--set pathway_encoder=score" in one for one in reasons)
    assert content["verdict"]["rivals"]["library-size"] == "unknown"
    page, table = written["page"], written["parquet"]
    assert "- library-size: trained on the library size alone (library; pathway encoder score)" in page
    assert "- note: library-size: its pathway encoder is score, that of the aligned model token" in page
    read_by = table.groupby("arm")["pathway_encoder"].unique().map(list).to_dict()
    assert read_by["random-sets"] == read_by["aligned"] == ["token"]
    assert read_by["library-size"] == ["score"]
    assert read_by["frozen"] == [""]
    assert set(written["csv"].loc[table["arm"] == "pca", "target_sets"]) == {"pca-3"}


def test_seeds_are_averaged_and_their_spread_is_told(seeds: Compared) -> None:
    for arm, changes in (("aligned", {"seed"}), ("random-sets", {"seed", "target_set"})):
        first, second = (settings_of(seeds, arm, seed) for seed in range(SEEDS))
        assert {name for name in first if first[name] != second[name]} - {"run"} == changes
    assert settings_of(seeds, "random-sets", 1)["target_set"] == "random-1"
    whole = seeds.table[(seeds.table["part"] == "all") & (seeds.table["measure"] == "norm")].set_index("arm")
    assert whole["n_seeds"].to_dict() == {"frozen": 1, "aligned": SEEDS, "random-sets": SEEDS}
    assert whole["sd_of_seeds"].isna().to_dict() == {"frozen": True, "aligned": False, "random-sets": False}
    folder = seeds.out / "arms" / "random-sets"
    by_seed = [pd.read_parquet(folder / f"seed-{seed}" / "measures.parquet") for seed in range(SEEDS)]
    genes = [one[one["measure"] == "norm"].set_index(["donor", "sample_id", "target"])["value"] for one in by_seed]
    both = pd.concat(genes, axis=1).dropna()
    assert not np.allclose(both.iloc[:, 0], both.iloc[:, 1])
    assert whole.loc["random-sets", "mean"] == pytest.approx(both.mean(axis=1).groupby("donor").mean().mean())


def test_the_draws_of_random_sets_are_told(seeds: Compared, compared: Compared) -> None:
    assert "random-sets: one draw of random sets (random-0), 1 trained" in compared.content["notes"]
    drawn = "random-sets: 2 draws of random sets (random-0, random-1), 2 trained"
    assert drawn in seeds.content["notes"]
    assert drawn in (seeds.out / "controls.md").read_text()
    table = pd.read_csv(seeds.out / "controls.csv")
    assert set(table.loc[table["arm"] == "random-sets", "target_sets"]) == {"random-0,random-1"}
    assert set(table.loc[table["arm"] == "aligned", "target_sets"]) == {"pathways"}


def test_other_genes_measure_anew_and_train_nothing(config: AlignConfig, seeds: Compared, tmp_path: Path) -> None:
    runs = [path for path in seeds.out.glob("arms/*/*/run/**/*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in runs}
    tables = {arm: seeds.out / "arms" / arm / "seed-0" / "measures.parquet" for arm in ("frozen", "aligned")}
    (tmp_path / "one.gmt").write_text(small_release.GMT.splitlines()[0] + "\n")
    found = run_controls(config, seeds.out, Tiers(n_genes=6, gmt=tmp_path / "one.gmt"), only=["aligned"])
    assert found.n_kept == 0
    for file in tables.values():
        genes = pd.read_parquet(file).query("tier == 'genes'")
        assert genes["target"].nunique() == 6
        assert 0 < genes["in_sets"].sum() < len(genes)
    assert {path: path.stat().st_mtime_ns for path in runs} == before
    assert set(found.table["part"]) >= {"in sets", "outside"}


def test_what_measures_depend_on_is_in_their_key(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = compared.out / "arms" / "pca" / "seed-0"
    adapter = folder / "run" / "adapter" / "adapter.safetensors"
    card = json.loads((folder / "arm.json").read_bytes())
    assert card["adapter_sha256"] == hashlib.sha256(adapter.read_bytes()).hexdigest()
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert kept(copy, card["key"], with_slides=False) is not None
    tiers = Tiers(labels=adapter)
    keys = [key_of(folder, {"tiers": one.to_dict()}) for one in (TIERS, tiers)]
    assert keys[0] == key_of(copy, {"tiers": TIERS.to_dict()})
    (copy / "run" / "adapter" / adapter.name).write_bytes(b"another")
    keys.append(key_of(copy, {"tiers": TIERS.to_dict()}))
    with monkeypatch.context() as patch:
        patch.setattr(control_runs, "MEASURES_VERSION", -1)
        keys.append(key_of(folder, {"tiers": TIERS.to_dict()}))
    monkeypatch.setattr(control_runs, "version", lambda name: "0")
    keys.append(key_of(folder, {"tiers": TIERS.to_dict()}))
    assert len(set(keys)) == len(keys)


def sets_of(config: AlignConfig, *names: str) -> Any:
    """The release with the target sets of these names alone, told of and not there."""
    release = open_release(config.release)
    told = {name: {"kind": name.partition("-")[0]} for name in names}
    return replace(release, manifest={**release.manifest, "targets": told})


@pytest.mark.parametrize(
    ("there", "arm", "seed", "expected"),
    [
        (("random-0", "random-1"), "random-sets", 1, "random-1"),
        (("random-0", "random-7"), "random-sets", 2, "random-0"),
        (("random-3", "random-10"), "random-sets", 0, "random-3"),
        (("pca-10", "pca-50", "pca-8"), "pca", 1, "pca-50"),
        (("pca-100", "pca-45"), "pca", 0, "pca-45"),
        (("hvg-2000", "hvg-300", "counts"), "hvg", 0, "hvg-300"),
        (("counts",), "pca", 0, "pca:50"),
    ],
)
def test_what_an_arm_is_trained_on_is_the_usual_set_or_the_nearest(
    config: AlignConfig, there: tuple[str, ...], arm: str, seed: int, expected: str
) -> None:
    assert target_set_of(ARM[arm], sets_of(config, *there), seed) == expected


def test_nothing_to_train_on_is_refused(config: AlignConfig) -> None:
    with pytest.raises(UsageError, match="nothing to train random-sets on"):
        target_set_of(ARM["random-sets"], sets_of(config, "pca-50", "counts"))


def test_a_test_by_which_settings_are_chosen_gives_no_verdict(config: AlignConfig, tmp_path: Path) -> None:
    release = open_release(config.release)
    other = open_release(small_release.write_small_release(tmp_path / "other").path)
    assert of_split(release, release, Tiers(("test",))) == []
    said = ["it was tested on val, by which settings are chosen, and not on test alone"]
    assert of_split(release, release, Tiers(("val",))) == said
    assert of_split(release, release, Tiers(("test", "val"))) == said
    # The same release under another address is the same; a release of its own for the evaluation is not.
    assert of_split(release, open_release(config.release), Tiers(("val",))) == said
    assert of_split(release, other, Tiers(("val",))) == []


def test_leakage_that_was_allowed_is_said_everywhere_and_never_supported(config: AlignConfig, tmp_path: Path) -> None:
    tiers = Tiers(("train",), n_genes=3)
    with pytest.raises(DataError) as caught:
        run_controls(config, tmp_path / "out", tiers, only=["aligned"])
    assert caught.value.facts.code == "leakage"
    found = run_controls(replace(config, allow_leakage=True), tmp_path / "out", tiers, only=["aligned"])
    verdict, said = found.content["verdict"], found.content["leakage"]
    assert said.startswith("LEAKAGE: trained on tissue of the evaluation")
    assert verdict["answer"] != "supported"
    assert f"training saw what it is tested on ({said})" in verdict["reasons"]
    assert f"**Training saw what it is tested on:** {said}" in (found.out / "controls.md").read_text()
    for table in (pd.read_parquet(found.out / "controls.parquet"), pd.read_csv(found.out / "controls.csv")):
        assert set(table["leakage"]) == {said}
    card = json.loads((found.out / "arms" / "aligned" / "seed-0" / "arm.json").read_bytes())
    assert card["leakage"] == said


def test_a_base_that_was_aligned_before_is_compared_with_what_is_tested(
    config: AlignConfig, compared: Compared, tmp_path: Path
) -> None:
    release = open_release(config.release)
    assert base_aligned_before(config, release, release) == Before()
    # Aligned to the same release, whose training split shares nothing with the test: nothing to tell.
    merge_adapter(compared.out / "arms" / "aligned" / "seed-0" / "run", tmp_path / "merged")
    again = replace(config, encoder=str(tmp_path / "merged"))
    assert base_aligned_before(again, release, release).leakage == ()
    assert base_aligned_before(again, release, release).doubts == ()
    # The sections that are tested now were trained on then, and the folder has no note of it.
    trained = str(release.index("train")["sample_id"][0].as_py())
    found = base_aligned_before(replace(again, evaluation_sections=(trained,)), release, release)
    assert len(found.leakage) == 1
    assert found.leakage[0].startswith("The base was aligned before: LEAKAGE: trained on tissue of the evaluation")
    # What the folder itself says of leakage is told as well.
    file = tmp_path / "merged" / "config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "humanst": {**said["humanst"], "leakage": "LEAKAGE: of then"}}))
    assert base_aligned_before(again, release, release).leakage == ("The base was aligned before: LEAKAGE: of then",)
    file.write_text(json.dumps(said))
    # Of a release that is not at hand nobody knows.
    other = open_release(small_release.write_small_release(tmp_path / "other").path)
    found = base_aligned_before(again, other, other)
    assert found.leakage == ()
    named = release_sha256(release)[:16]
    assert found.doubts == (
        f"The base was aligned before, on release {named}; whether that holds donors tested here is not known",
    )
