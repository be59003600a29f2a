"""The shared recipes on files packed as their vendor packs them: real outs, read out of their archives."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from humanst import files
from humanst.catalog import Catalog, load_catalog
from humanst.fetch import LocalFiles
from humanst.fetch.members import unpack_members
from humanst.platforms import RawSection, reader_for
from humanst.settings import data_path

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(data_path("catalog.yaml"))


def read_as(catalog: Catalog, study_id: str, section_id: str, cache: Path, **paths: Path) -> RawSection:
    """Read files under the recipe of a section on record, archives and all."""
    study = catalog.study(study_id)
    recipe = study.recipe.for_section(study.section(section_id))
    sha256 = {role: files.sha256_file(path) for role, path in paths.items()}
    local = LocalFiles(study_id, section_id, paths, sha256, {role: path.name for role, path in paths.items()})
    whole = unpack_members(local, cache=cache, patterns=recipe.options.get("members", {}))
    return reader_for(study.platform)(whole, recipe)


def test_a_visium_page_reads_from_its_matrix_and_its_spatial_archive(
    catalog: Catalog, real_data: Path, tmp_path: Path
) -> None:
    outs = real_data / "visium_10x_breast_blockA_s1" / "outs"
    archive = tmp_path / "spatial.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(outs / "spatial", "spatial")
    counts = outs / "filtered_feature_bc_matrix.h5"
    raw = read_as(
        catalog, "tenx_breast_block_a_1", "breast_block_a_1", tmp_path / "cache", counts=counts, archive=archive
    )
    positions = pd.read_csv(outs / "spatial" / "tissue_positions_list.csv", header=None, index_col=0)
    assert len(raw.spot_ids) == 3796
    by_hand = positions.loc[raw.spot_ids, [5, 4]].to_numpy(float)
    ratio = raw.xy_px / by_hand
    assert ratio.std() < 1e-6 * ratio.mean()
    assert raw.image_name == "spatial.tar.gz/spatial/tissue_hires_image.png"


def test_sections_of_one_archive_are_told_apart_by_their_own_patterns(
    catalog: Catalog, real_data: Path, tmp_path: Path
) -> None:
    """The archive of Erickson 2022 has an H2_1 of each patient, in folders of different depth."""
    outs = real_data / "visium_10x_breast_blockA_s1" / "outs"
    top = "Spatially resolved clonal copy number alterations in benign and malignant tissueJus"
    folders = {
        "P1_H2_1": f"{top}/Count_matrices/Patient 1/Visium_with_annotation/H2_1",
        "P2_H2_1": f"{top}/Count_matrices/Patient 2/H2_1",
    }
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for folder in folders.values():
            made.write(outs / "filtered_feature_bc_matrix.h5", f"{folder}/filtered_feature_bc_matrix.h5")
            made.write(outs / "spatial" / "tissue_positions_list.csv", f"{folder}/tissue_positions_list.csv")
            made.write(outs / "spatial" / "scalefactors_json.json", f"{folder}/scalefactors_json.json")
    for section_id, folder in folders.items():
        raw = read_as(catalog, "erickson2022", section_id, tmp_path / "cache", archive=archive)
        assert raw.files.names["counts"] == f"all.zip/{folder}/filtered_feature_bc_matrix.h5"
        assert len(raw.spot_ids) == 3796


def test_a_section_spelled_as_st_net_spells_it_reads_as_it_was(
    catalog: Catalog, real_data: Path, tmp_path: Path
) -> None:
    """C2 of her2st (2,000 genes), rewritten with the names, columns and rows of He 2020: same spots, places, counts."""
    her2st = catalog.study("her2st")
    counts = pd.read_csv(real_data / "her2st/data/ST-cnts/C2.tsv.gz", sep="\t", index_col=0).iloc[:, :2000]
    counts.to_csv(tmp_path / "C2.tsv", sep="\t")
    paths = {"counts": tmp_path / "C2.tsv", "spots": real_data / "her2st/data/ST-spotfiles/C2_selection.tsv"}
    names = {role: path.name for role, path in paths.items()}
    local = LocalFiles("her2st", "C2", paths, dict.fromkeys(paths, "0" * 64), names)
    truth = reader_for("st")(local, her2st.recipe.for_section(her2st.section("C2")))
    spots = pd.read_csv(paths["spots"], sep="\t").query("selected == 1")
    beside = pd.DataFrame(1, index=[f"{x}x{y}" for x in range(40, 50) for y in range(40, 50)], columns=counts.columns)
    table = pd.concat([counts, beside]).to_csv(sep="\t")
    spelled = spots["x"].astype(str) + "x" + spots["y"].astype(str)
    pixels = spots[["pixel_x", "pixel_y"]].set_axis(["X", "Y"], axis=1).set_index(spelled.to_numpy()).to_csv()
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name, text in (("BC23287_C1_stdata.tsv.gz", table), ("spots_BT23287_C1.csv.gz", pixels)):
            made.writestr(f"Human breast cancer/{name}", gzip.compress(text.encode(), 1))
    raw = read_as(catalog, "he2020_stnet", "23287_C1", tmp_path / "cache", archive=archive)
    assert raw.spot_ids.tolist() == truth.spot_ids.tolist()
    assert (raw.counts != truth.counts).nnz == 0
    assert raw.xy_px == pytest.approx(truth.xy_px)
    lost = 100 + len(counts) - len(raw.spot_ids)
    assert [(drop.reason, drop.n) for drop in raw.drops] == [("out-of-tissue", lost)]
