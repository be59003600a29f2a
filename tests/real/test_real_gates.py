"""The space gates and ``humanst validate`` on every real folder: clean ones pass, turned ones are told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from humanst.catalog import Lattice
from humanst.findings import Findings
from humanst.harmonize.orientation import Agreement, Positions, check_placement
from humanst.harmonize.space import check_residual, check_scale, fit_lattice
from humanst.harmonize.tissue import MASK_UM_PER_PIXEL, TissueMask, tissue_mask
from humanst.tiles import image_size, thumbnail
from tests.harmonize.scenes import IMAGE_FAULTS
from tests.helpers import output_json, run_humanst

pytestmark = pytest.mark.real

# Section -> (verdict, reasons): what is refused, and why; what passes, and what it was warned of.
TABLE: dict[str, tuple[str, set[str]]] = {
    "her2st/A1": ("passes", {"labels-unmatched", "no-image", "scale-one-witness"}),
    "her2st/B1": ("passes", {"no-image", "scale-one-witness"}),
    "her2st/B4": ("passes", {"scale-one-witness"}),
    "her2st/C1": ("passes", {"labels-unmatched", "no-image", "scale-one-witness"}),
    "her2st/C2": ("passes", {"scale-one-witness"}),
    "her2st/C3": ("passes", {"scale-one-witness"}),
    "st_stahl2016_breast_counts_only/slice1": ("passes", {"no-image", "no-pixel-positions", "scale-one-witness"}),
    "st_stahl2016_breast_counts_only/slice2": ("passes", {"no-image", "no-pixel-positions", "scale-one-witness"}),
    "traps_incomplete/s1": ("refused", {"no-counts", "not-he"}),
    "visium_10x_breast_blockA_s1/s1": ("passes", {"labels-unmatched"}),
    "visium_dlpfc_151673/s1": ("passes", set()),
    "visium_mouse_cytassist_v2/s1": ("refused", {"not-human"}),
    "visium_tiny_fixtures/scanpy_visium_data/1.0.0/s1": ("refused", {"no-tissue"}),
    "visium_tiny_fixtures/scanpy_visium_data/2.1.0": ("refused", {"no-positions"}),
    "visium_tiny_fixtures/spatialexperiment_10xVisium/section1": ("refused", {"not-human"}),
    "visium_tiny_fixtures/spatialexperiment_10xVisium/section2": ("refused", {"barcodes-without-position"}),
    "visium_hd_fixtures/seurat_visium_hd/binned_outputs/square_008um/s1": ("refused", {"no-squares", "no-tissue"}),
    "visium_hd_fixtures/visiumio_binned_outputs/square_002um/s1": ("refused", {"bin-size-refused"}),
    "xenium_breast_crop_bidcell/s1": ("passes", {"no-alignment", "no-image", "scale-one-witness"}),
    "xenium_lung_10k_transcripts/s1": ("passes", {"no-alignment", "no-image", "scale-one-witness"}),
    "xenium_multiqc_outs/sample1": ("refused", {"no-spots-left"}),
    "xenium_multiqc_outs/sample3": ("refused", {"not-human"}),
    "wsi_cmu1_small_region": ("refused", {"no-sections"}),
}


def test_every_real_folder_is_built_or_refused_for_the_stated_reason(real_data: Path) -> None:
    """The table that ``humanst validate`` prints over all folders, read with recipes it drafts itself."""
    folders = sorted(path for path in real_data.iterdir() if path.is_dir() and not path.name.startswith("gene_"))
    result = run_humanst("validate", *map(str, folders), "--json", "--min-severity", "refuse")
    assert result.returncode == 4, result.stderr
    content = output_json(result)
    found = {
        section["item"]: (section["verdict"], set(section["reasons"]))
        for path in content["paths"]
        for section in path["sections"]
    }
    assert found == TABLE


@dataclass(frozen=True)
class Real:
    platform: str
    lattice: Lattice
    positions: Positions
    tissue: TissueMask
    size_px: tuple[int, int]
    witnesses: dict[str, float]


def visium(outs: Path, positions: Path | None = None) -> Real:
    spatial = outs / "spatial"
    factors = json.loads((spatial / "scalefactors_json.json").read_text())
    role = "hires" if (spatial / "tissue_hires_image.png").exists() else "lowres"
    path = positions or next(spatial.glob("tissue_positions*.csv"))
    table = pd.read_csv(path, header=None, dtype=str)
    table = table.iloc[1:] if table.iloc[0, 0] == "barcode" else table
    numbers = table.iloc[:, 1:6].astype(float).to_numpy()
    scale = factors[f"tissue_{role}_scalef"]
    given = Positions(numbers[:, 1:3].astype(np.int64), numbers[:, [4, 3]] * scale, numbers[:, 0] == 1)
    witness = {"fiducials": 105.0 / factors["fiducial_diameter_fullres"] / scale}
    return real("visium", Lattice("hex", 100.0, 55.0), given, spatial / f"tissue_{role}_image.png", witness)


def spot_file(root: Path, section: str, image: Path, scale: float = 1.0) -> Real:
    table = pd.read_csv(root / f"data/ST-spotfiles/{section}_selection.tsv", sep="\t")
    xy = table[["pixel_x", "pixel_y"]].to_numpy(float) * scale
    given = Positions(table[["y", "x"]].to_numpy(np.int64), xy, np.ones(len(table), dtype=bool))
    return real("st", Lattice("square", 200.0, 100.0), given, image, {})


def real(platform: str, lattice: Lattice, given: Positions, image: Path, witnesses: dict[str, float]) -> Real:
    fit = fit_lattice(given.row_col, given.xy_px, lattice, Findings())
    assert fit is not None
    size = image_size(image, name=image.name)
    rgb = thumbnail(image, fit.um_per_pixel, max(MASK_UM_PER_PIXEL, fit.um_per_pixel))
    tissue = tissue_mask(rgb, fit.um_per_pixel * size[0] / rgb.shape[1])
    return Real(platform, lattice, given, tissue, size, witnesses)


@pytest.fixture(scope="module")
def sections(real_data: Path) -> dict[str, Real]:
    """Every real section with an image and positions that the gates can be asked about."""
    her2st, dlpfc = real_data / "her2st", real_data / "visium_dlpfc_151673"
    images = her2st / "data/ST-imgs"
    return {
        "Block A": visium(real_data / "visium_10x_breast_blockA_s1" / "outs"),
        "DLPFC cropped": visium(dlpfc / "outs"),
        "DLPFC as published": visium(dlpfc / "outs", dlpfc / "tissue_positions_list.as_published.csv"),
        "mouse CytAssist": visium(real_data / "visium_mouse_cytassist_v2" / "outs"),
        "B4": spot_file(her2st, "B4", images / "B/B4/BT10737_D2_HE.jpg"),
        "C2": spot_file(her2st, "C2", images / "C/C2/5714_HE_BT_C2.jpg"),
        "C3": spot_file(her2st, "C3", images / "C/C3/5714_HE_BT_D1.jpg"),
        "A1": spot_file(her2st, "A1", her2st / "extra/A1_HE_2000px_masked.png", 2000 / 6954),
    }


def judge(section: Real, positions: Positions, mask: np.ndarray, *, turned_over: bool) -> tuple[Agreement, Findings]:
    findings = Findings()
    fit = fit_lattice(positions.row_col, positions.xy_px, section.lattice, findings)
    assert fit is not None
    check_residual(fit, section.lattice, findings, platform=section.platform)
    width, height = section.size_px
    reading = check_placement(
        positions,
        fit,
        TissueMask(mask, section.tissue.um_per_pixel, "optical-density"),
        findings,
        platform=section.platform,
        size_px=(height, width) if turned_over else (width, height),
        side_um=section.lattice.spot_diameter_um,
    )
    assert reading is not None
    return reading, findings


def test_no_clean_real_section_is_refused_or_warned_of(sections: dict[str, Real]) -> None:
    """The figures are those of docs/validation.md."""
    given, margins = [], []
    for name, section in sections.items():
        reading, findings = judge(section, section.positions, section.tissue.mask, turned_over=False)
        assert findings.codes() == {"orientation-agrees"}, name
        given.append(reading.given)
        margins.append(-reading.best()[1])
        assert reading.inferred == (section.platform == "st"), "her2st lists no position out of tissue"
        if section.witnesses:
            fit = fit_lattice(section.positions.row_col, section.positions.xy_px, section.lattice, Findings())
            assert fit is not None
            scale = Findings()
            check_scale(fit, section.witnesses, scale)
            assert len(scale) == 0, name
            assert fit.stretch == pytest.approx(0.0046, abs=2e-4), "rows lie 87 um apart on every real array"
    assert (round(min(given), 2), round(max(given), 2)) == (0.54, 0.99)
    assert round(min(margins), 2) == 0.03


def test_residuals_of_real_lattices_are_the_documented_ones(sections: dict[str, Real], real_data: Path) -> None:
    """docs/validation.md: rounding alone on arrays in whole pixels; more by far where hands placed the spots."""
    rms, worst = [], []
    for path in sorted(real_data.rglob("tissue_positions_list.csv")):
        numbers = pd.read_csv(path, header=None).iloc[:, 2:6].to_numpy(float)
        fit = fit_lattice(numbers[:, :2].astype(np.int64), numbers[:, [3, 2]], Lattice("hex", 100.0, 55.0), Findings())
        assert fit is not None
        rms.append(fit.rms_residual_px)
        worst.append(fit.max_residual_px)
    assert len(rms) == 6
    assert (round(max(rms), 2), round(max(worst), 2)) == (0.41, 0.70)
    shares, worst = [], []
    for section in (one for one in sections.values() if one.platform == "st"):
        fit = fit_lattice(section.positions.row_col, section.positions.xy_px, section.lattice, Findings())
        assert fit is not None
        shares.append(fit.residual_of_pitch)
        worst.append(fit.max_residual_px * fit.um_per_pixel / section.lattice.pitch_um)
    assert (round(min(shares), 2), round(max(shares), 2), round(max(worst), 2)) == (0.08, 0.09, 0.29)


def test_turned_real_images_are_told(sections: dict[str, Real]) -> None:
    """All of 56 are told and 54 refused. The cropped DLPFC section looks nearly the same mirrored; one list of spots
    without positions out of tissue misses the 0.3 that such a list needs. Both are warned of."""
    told, refused = [], []
    for name, section in sections.items():
        for fault, (change, turned_over) in IMAGE_FAULTS.items():
            _, findings = judge(section, section.positions, change(section.tissue.mask), turned_over=turned_over)
            told += [(name, fault)] * ("orientation" in findings.codes())
            refused += [(name, fault)] * findings.refused
    assert len(told) == 56
    assert set(told) - set(refused) == {
        ("DLPFC cropped", "mirrored left to right"),
        ("C2", "x and y swapped"),
    }


def test_exchanged_x_and_y_are_refused_on_real_sections(sections: dict[str, Real]) -> None:
    for name, section in sections.items():
        given = section.positions
        swapped = Positions(given.row_col, given.xy_px[:, ::-1].copy(), given.inside)
        _, findings = judge(section, swapped, section.tissue.mask, turned_over=False)
        assert {finding.facts.code for finding in findings.of("refuse")} == {"orientation"}, name


def test_one_per_cent_of_exchanged_positions_is_refused_on_real_sections(sections: dict[str, Real]) -> None:
    for name, section in sections.items():
        given = section.positions
        rows = np.random.default_rng(4).choice(len(given.xy_px), max(2, len(given.xy_px) // 100), replace=False)
        xy_px = given.xy_px.copy()
        xy_px[rows] = given.xy_px[np.roll(rows, 1)]
        fit = fit_lattice(given.row_col, xy_px, section.lattice, Findings())
        assert fit is not None
        findings = Findings()
        check_residual(fit, section.lattice, findings, platform=section.platform)
        assert {finding.facts.code for finding in findings.of("refuse")} == {"lattice-residual"}, name


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_half_and_twice_the_positions_are_refused_by_the_fiducials(sections: dict[str, Real], factor: float) -> None:
    seen = 0
    for name, section in sections.items():
        if not section.witnesses:
            continue
        fit = fit_lattice(section.positions.row_col, section.positions.xy_px * factor, section.lattice, Findings())
        assert fit is not None
        findings = Findings()
        check_scale(fit, section.witnesses, findings)
        assert {finding.facts.code for finding in findings.of("refuse")} == {"scale-disagrees"}, name
        seen += 1
    assert seen == 4
