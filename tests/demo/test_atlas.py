"""The atlas as a whole: its catalog, its splits, its genes, and the same bytes on every run."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from humanst.catalog import load_catalog
from humanst.demo import DemoAtlas, atlas_layout, load_truth
from humanst.demo.genes import demo_gmt, load_genes
from humanst.demo.layout import assign_splits
from humanst.errors import UsageError
from humanst.harmonize.gene_table import load_gene_table
from tests.demo.conftest import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
REWRITE = """
import sys
from pathlib import Path
from humanst.demo import write_atlas
from tests.studies import demo_studies
write_atlas(Path(sys.argv[1]), {})
"""


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rewrite(folder: Path, arguments: str) -> dict[str, str]:
    """Write an atlas in a process of its own, with another hash seed and one worker."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    code = REWRITE.format(arguments)
    subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=True, cwd=folder.parent)
    return digests(folder)


def test_same_seed_same_bytes_anywhere(small_atlas: DemoAtlas, tmp_path: Path) -> None:
    again = rewrite(tmp_path / "elsewhere", f"sections={SECTIONS!r}, workers=1")
    assert again == digests(small_atlas.folder)
    assert len(again) >= 30


def test_a_section_does_not_depend_on_its_company_but_on_the_seed(small_atlas: DemoAtlas, tmp_path: Path) -> None:
    sample = "demo_visium_V1"
    first = {name: digest for name, digest in digests(small_atlas.folder).items() if "/V1" in name or sample in name}
    alone = rewrite(tmp_path / "alone", f"sections=[{sample!r}]")
    assert first == {name: alone[name] for name in first}
    other = rewrite(tmp_path / "other", f"sections=[{sample!r}], seed=1")
    assert all(other[name] != digest for name, digest in first.items() if not name.endswith("scalefactors_json.json"))


def test_bins_and_transcripts_are_the_same_bytes_too(demo_atlas: Path, tmp_path: Path) -> None:
    """Parquet, HDF5 and pyramids, against the whole atlas written by another process with two workers."""
    samples = ("demo_hd_H2", "demo_xenium_X2")
    again = rewrite(tmp_path / "alone", f"studies=demo_studies(*{samples!r}), workers=1")
    mine = {name for name in again if name.startswith(("mirror/demo_", "truth/"))}
    assert len(mine) >= 14
    for name in mine:
        assert hashlib.sha256((demo_atlas / name).read_bytes()).hexdigest() == again[name], name


def test_catalog_pins_every_file(small_atlas: DemoAtlas) -> None:
    """The plain YAML, not our reader of it, against the files on disk."""
    catalog = yaml.safe_load(small_atlas.catalog.read_text())
    pinned = {
        f"{study_id}/{file['path']}": file
        for study_id, study in catalog["studies"].items()
        for section in study["sections"].values()
        for file in section["files"].values()
    }
    pinned |= {f"gene_sets/{file['path']}": file for file in catalog["resources"]["gene_sets"]["files"]}
    on_disk = digests(small_atlas.mirror)
    assert set(pinned) == set(on_disk)
    for name, file in pinned.items():
        assert file["sha256"] == on_disk[name]
        assert file["bytes"] == (small_atlas.mirror / name).stat().st_size


def test_catalog_is_read_as_the_real_one(small_atlas: DemoAtlas) -> None:
    catalog = load_catalog(small_atlas.catalog)
    sections = [section for study in catalog.studies.values() for section in study.sections]
    assert sorted(section.sample_id for section in sections) == sorted(SECTIONS)
    for section in sections:
        truth = load_truth(small_atlas.folder, section.sample_id)
        assert section.metadata["donor_id"] == truth.donor_id
        assert section.metadata["block_id"] == truth.block
    assert all(study.redistributable for study in catalog.studies.values())
    assert catalog.resource("gene_sets").default == "demo.gmt"


def test_whole_layout_has_donors_for_every_split() -> None:
    studies = atlas_layout()
    plans = [plan for study in studies for plan in study.sections]
    sections_of = Counter(plan.donor_id for plan in plans)
    assert len(plans) >= 13
    assert len(sections_of) >= 12
    assert sum(n > 1 for n in sections_of.values()) >= 1
    assert len({plan.sample_id for plan in plans}) == len(plans)
    splits = assign_splits(studies)
    assert set(splits) == set(sections_of)
    for study in studies:
        # A study of two donors cannot fill three splits; the others do.
        donors = {plan.donor_id for plan in study.sections}
        assert len(donors) == 2 or {splits[donor] for donor in donors} == {"train", "val", "test"}
    assert {plan.era for plan in plans if plan.study_id == "demo_visium_v1"} == {"current", "previous"}


def test_assign_covers_every_donor_and_no_split_is_empty(small_atlas: DemoAtlas) -> None:
    with small_atlas.assign.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["donor_id"] for row in rows] == list(small_atlas.donors)
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_unknown_section_is_refused(tmp_path: Path) -> None:
    from humanst.demo import write_atlas

    with pytest.raises(UsageError, match="demo_visium_V99"):
        write_atlas(tmp_path / "atlas", sections=["demo_visium_V99"])
    assert not (tmp_path / "atlas").exists()


def test_gene_sets_are_the_programmes_and_two_controls(small_atlas: DemoAtlas) -> None:
    sets = {}
    for line in small_atlas.gene_sets.read_text().splitlines():
        name, _, *members = line.split("\t")
        sets[name] = members
    truth = load_truth(small_atlas.folder, SECTIONS[0])
    assert set(sets) == {*truth.programme_names, "DEMO_CONTROL_A", "DEMO_CONTROL_B"}
    assert all(len(set(members)) == len(members) >= 20 for members in sets.values())
    everyone = [gene for members in sets.values() for gene in members]
    assert len(set(everyone)) == len(everyone)
    assert small_atlas.gene_sets.read_bytes() == demo_gmt(load_genes())


def test_genes_are_real_genes_of_the_frozen_table() -> None:
    genes, table = load_genes(), load_gene_table()
    for ensembl_id, symbol, previous in zip(genes.ensembl_ids, genes.symbols, genes.previous_symbols, strict=True):
        assert table.resolve(symbol) == ensembl_id
        assert table.biotype_of(ensembl_id) == "protein_coding"
        if previous:
            assert table.resolve(previous) == ensembl_id
    assert table.resolve("FO538757.1") is None
    assert sum(symbol.startswith("MT-") for symbol in genes.symbols) == 13
