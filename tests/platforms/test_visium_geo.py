"""A GEO series as it is deposited: one RAW.tar, prefixed names, everything gzipped; from the catalog to a section."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from humanst.builder.measured import measured_genes
from humanst.catalog import Study, load_catalog
from humanst.errors import DataError
from humanst.fetch import fetch_section
from humanst.platforms.visium import read
from humanst.tiles import image_size
from tests.platforms.visium_outs import RECIPE, Outs, add_geo_members, local_files
from tests.studies import VISIUM_RECIPE, write_world

SAMPLES = {"A1": "GSM100_A1", "B_2": "GSM101_B_2"}
MEMBERS = {
    "counts": "GSM*_{section}_filtered_feature_bc_matrix.h5",
    "positions": "GSM*_{section}_tissue_positions_list.csv.gz",
    "scalefactors": "GSM*_{section}_scalefactors_json.json.gz",
    "hires": "GSM*_{section}_tissue_hires_image.png.gz",
    "lowres": "GSM*_{section}_tissue_lowres_image.png.gz",
}
HIRES_PX = (270, 180)


TP53, EGFR, ERBB2 = (("ENSG00000141510", "TP53"), ("ENSG00000146648", "EGFR"), ("ENSG00000141736", "ERBB2"))


def deposited(folder: Path) -> dict[str, Outs]:
    """Write ``GSE1_RAW.tar`` with two samples, each with a gene that the other lacks; no lowres image is in it."""
    genes = [(TP53, EGFR), (TP53, ERBB2)]
    made = {
        name: Outs(folder / name, header=False, seed=number, genes=genes[number]) for number, name in enumerate(SAMPLES)
    }
    with tarfile.open(folder / "GSE1_RAW.tar", "w") as tar:
        for name, prefix in SAMPLES.items():
            local = made[name].write()
            image = io.BytesIO()
            Image.new("RGB", HIRES_PX, (230, 200, 220)).save(image, format="PNG")
            add_geo_members(tar, prefix, local, image.getvalue())
    return made


def series(folder: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, str]) -> tuple[Study, dict[str, Outs]]:
    made = deposited(folder)
    recipe = {**VISIUM_RECIPE, "options": {"members": members}}
    sections = {name: {"archive": folder / "GSE1_RAW.tar"} for name in SAMPLES}
    world = write_world(folder, {"series": sections}, {"series": recipe}, gene_sets=folder / "GSE1_RAW.tar")
    monkeypatch.setenv("HUMANST_MIRROR", str(world.mirror))
    return load_catalog(folder / "catalog.yaml").study("series"), made


def test_members_become_the_files_of_each_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, made = series(tmp_path, monkeypatch, MEMBERS)
    for name, outs in made.items():
        section = study.section(name)
        local = fetch_section(study, section)
        assert set(local.paths) == {"counts", "positions", "scalefactors", "hires"}
        assert image_size(local.paths["hires"]) == HIRES_PX
        raw = read(local, study.recipe.for_section(section))
        plain = local_files({"hires": local.paths["hires"], **without_image(outs)})
        expected = read(plain, RECIPE)
        assert raw.spot_ids.tolist() == expected.spot_ids.tolist()
        assert (raw.counts != expected.counts).nnz == 0
        assert np.array_equal(raw.xy_px, expected.xy_px)
        assert raw.files.names["counts"].endswith(f"GSE1_RAW.tar/{SAMPLES[name]}_filtered_feature_bc_matrix.h5")


def without_image(outs: Outs) -> dict[str, Path]:
    return {role: path for role, path in outs.write().paths.items() if role != "image"}


def test_a_pattern_that_takes_in_two_samples_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = series(tmp_path, monkeypatch, {**MEMBERS, "counts": "GSM*_filtered_feature_bc_matrix.h5"})
    with pytest.raises(DataError) as caught:
        fetch_section(study, study.section("A1"))
    assert caught.value.facts.code == "ambiguous-member"
    assert all(prefix in str(caught.value.facts.found) for prefix in SAMPLES.values())


def test_the_gene_axis_takes_in_the_sections_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive has the hash on record, not the count tables in it: the axis is the same whatever is asked for."""
    study, _ = series(tmp_path, monkeypatch, MEMBERS)
    study = replace(study, recipe=replace(study.recipe, absent_genes="zero"))
    for asked in study.sections:
        axis = measured_genes(study, [asked], pin=False)
        assert axis is not None
        assert axis.ensembl_ids == {TP53[0], EGFR[0], ERBB2[0]}
        assert not axis.missing
