"""The world that `benchmarks.align` trains and tests in: a release of many synthetic donors, a section each.

Donors are written with ``humanst.demo``, each its own piece of tissue, stains and batch, and built into a release by
the commands a user has. Splits are by donor. Beside the pathways the release holds the targets of the controls; the
class of tissue that was painted at each spot stands in for a pathologist's labels.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from humanst.demo import SectionPlan, StudyPlan, load_truth, write_atlas
from humanst.demo.seeding import named_rng
from humanst.demo.tissue import BACKGROUND

STUDY = "align_world"
TARGETS = "counts,hvg:1000,pca:50,random:0,shuffle:0"


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """How many donors of each split, and how large a section is.

    Attributes
    ----------
    train, val, test
        Donors; one section each.
    side_um
        Width and height of a section, give or take 5 %; 1,100 at least.
    """

    train: int = 24
    val: int = 6
    test: int = 12
    side_um: float = 1500.0

    def donors(self) -> dict[str, str]:
        """donor_id -> split."""
        splits = [*["train"] * self.train, *["val"] * self.val, *["test"] * self.test]
        return {f"{STUDY}_d{number:02d}": split for number, split in enumerate(splits)}


@dataclass(frozen=True, slots=True)
class World:
    """What was written.

    Attributes
    ----------
    release
        Folder of the release.
    labels
        ``key,label`` of the pairs of ``test`` whose centre is tissue.
    gene_sets
        GMT of the painted programmes.
    """

    release: Path
    labels: Path
    gene_sets: Path


def study(plan: WorldPlan, seed: int = 0) -> StudyPlan:
    """The sections, no two alike in tissue, field, cover or scale."""
    sections = []
    for number, donor in enumerate(plan.donors()):
        rng = named_rng(seed, STUDY, donor)
        width_um, height_um = (plan.side_um * rng.uniform(0.95, 1.05, 2)).tolist()
        scale, cover = float(rng.uniform(0.9, 1.1)), float(rng.uniform(0.66, 0.78))
        block = f"{STUDY}_b{number:02d}"
        sections.append(SectionPlan(STUDY, f"S{number:02d}", donor, block, scale, width_um, height_um, cover))
    return StudyPlan(STUDY, "Synthetic donors to align on and to test with", "visium", tuple(sections))


def make_world(folder: Path, plan: WorldPlan | None = None, *, seed: int = 0, workers: int = 2) -> World:
    """Write the donors and build their release below ``folder``; what is there already is kept."""
    plan = plan or WorldPlan()
    world = World(folder / "release", folder / "labels.csv", folder / "atlas" / "mirror" / "gene_sets" / "demo.gmt")
    if world.labels.exists():
        return world
    folder.mkdir(parents=True, exist_ok=True)
    atlas = write_atlas(folder / "atlas", studies=(study(plan, seed),), seed=seed, workers=workers)
    assign = folder / "assign.csv"
    rows = [f"{donor},{split}" for donor, split in plan.donors().items()]
    assign.write_text("\n".join(["donor_id,split", *rows]) + "\n")
    options = ["--assign", str(assign), "--targets", TARGETS, "--reliability", "--workers", str(workers)]
    _humanst(atlas.folder, "build-shards", "-o", str(world.release), *options)
    _write_labels(world.labels, atlas.folder, world.release)
    return world


def _humanst(atlas: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    settings = {
        "HUMANST_OFFLINE": "1",
        "HUMANST_CATALOG": str(atlas / "catalog.yaml"),
        "HUMANST_MIRROR": str(atlas / "mirror"),
        "HUMANST_CACHE_DIR": str(atlas.parent / "cache"),
    }
    environment = os.environ | settings | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _write_labels(path: Path, atlas: Path, release: Path) -> None:
    """What was painted at the spot of every pair of ``test``; nothing where its centre is no tissue."""
    rows = []
    table = pq.read_table(release / "index" / "test.parquet", columns=["key", "sample_id", "spot_id"]).to_pandas()
    for sample, part in table.groupby("sample_id"):
        truth = load_truth(atlas, str(sample))
        name_of = dict(zip(truth.spot_ids.tolist(), [truth.class_names[k] for k in truth.tissue_class], strict=True))
        called = ((key, name_of[spot]) for key, spot in zip(part["key"], part["spot_id"], strict=True))
        rows += [(key, name) for key, name in called if name != BACKGROUND]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("key", "label"), *rows])
