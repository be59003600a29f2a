"""The demo's Xenium sections against what was painted: the turn of the image undone, programmes in their squares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from humanst.catalog import Recipe
from humanst.demo import SectionPlan, atlas_layout
from humanst.demo import xenium as demo
from humanst.demo.genes import load_genes
from humanst.demo.tissue import CELL_UM, PROGRAMME_NAMES, Tissue, make_tissue
from humanst.demo.truth import SpotTruth
from humanst.demo.vendor import write_pyramid
from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.harmonize.orientation import check_orientation
from humanst.harmonize.section import measure_scale
from humanst.harmonize.tissue import TissueMask
from humanst.platforms.xenium import read
from tests.platforms.bundles import recipe

NAMES = ("X1", "X2")


@dataclass(frozen=True)
class Written:
    """A section of the demo as written, and the truth it was drawn from."""

    plan: SectionPlan
    tissue: Tissue
    files: LocalFiles
    spots: SpotTruth

    @property
    def painted(self) -> demo.Painted:
        genes = load_genes()
        return demo.paint_transcripts(self.tissue, self.plan, self.panel, genes=genes, seed=0)[0]

    @property
    def panel(self) -> demo.Panel:
        return demo.make_panel(load_genes(), self.plan)

    def recipe(self, **options: object) -> Recipe:
        return recipe(**options)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    """Both sections with everything but paint: the image is white, which no reader of transcripts looks at."""
    folder = tmp_path_factory.mktemp("xenium")
    study = next(study for study in atlas_layout() if study.study_id == "demo_xenium")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "paint", lambda tissue, plan, seed: np.full((*plan.size_px[::-1], 3), 255, np.uint8))
        return {plan.section_id: _write(folder, plan) for plan in study.sections}


def _write(folder: Path, plan: SectionPlan) -> Written:
    tissue = make_tissue(plan, seed=0)
    roles, spots = demo.write_xenium(folder, plan, tissue, seed=0)
    paths = {role: folder / path for role, path in roles.items()}
    files = LocalFiles("demo_xenium", plan.section_id, paths, dict.fromkeys(paths, "0" * 64), roles)
    return Written(plan, tissue, files, spots)


@pytest.mark.parametrize("name", NAMES)
def test_the_turned_alignment_puts_transcripts_where_they_were_painted(written: dict[str, Written], name: str) -> None:
    """Square by square and gene by gene against the painted places, which no file holds."""
    section = written[name]
    assert abs(section.plan.turn_degrees) >= 4
    raw = read(section.files, section.recipe())
    painted, panel = section.painted, section.panel
    good = (painted.qv >= 20) & (painted.feature < demo.PANEL_GENES)
    xy, feature = painted.xy_um[good], painted.feature[good]
    n_rows, n_columns = int(section.plan.height_um // 112), int(section.plan.width_um // 112)
    inside = (xy >= 0).all(axis=1) & (xy[:, 0] < n_columns * 112) & (xy[:, 1] < n_rows * 112)
    truth = np.zeros((n_rows, n_columns, demo.PANEL_GENES), dtype=np.int64)
    column, row = (xy[inside] // 112).astype(int).T
    np.add.at(truth, (row, column, feature[inside]), 1)
    found = np.zeros_like(truth)
    place = [raw.gene_names.tolist().index(gene) for gene in panel.names[: demo.PANEL_GENES]]
    found[raw.row_col[:, 0], raw.row_col[:, 1]] = raw.counts.toarray()[:, place]
    # Positions are written in single precision: a transcript on a border may change sides.
    assert np.abs(found - truth).sum() <= 20
    assert truth.sum() > 50_000
    assert raw.xy_px * section.plan.um_per_pixel == pytest.approx((raw.row_col[:, ::-1] + 0.5) * 112)


@pytest.mark.parametrize("name", NAMES)
def test_counts_in_are_counts_out_plus_named_drops(written: dict[str, Written], name: str) -> None:
    """Per gene, against pandas over the table as written."""
    section = written[name]
    raw = read(section.files, section.recipe())
    table = pq.read_table(section.files.paths["transcripts"]).to_pandas()
    reasons = {drop.reason: drop.n for drop in raw.drops}
    assert raw.counts.sum() + sum(reasons.values()) == len(table)
    kinds = table["codeword_category"].value_counts()
    for category in (
        "negative_control_probe",
        "negative_control_codeword",
        "unassigned_codeword",
        "deprecated_codeword",
    ):
        assert reasons[category.replace("_", "-")] == kinds[category]
    assert reasons["custom-gene"] == (table["feature_name"] == demo.REPORTER).sum()
    genes = table[table["is_gene"] & (table["feature_name"] != demo.REPORTER)]
    assert reasons["low-qv"] == (genes["qv"] < 20).sum()
    good = genes[genes["qv"] >= 20]["feature_name"].value_counts()
    out = np.asarray(raw.counts.sum(axis=0)).ravel()
    lost = good.reindex(raw.gene_names).fillna(0).to_numpy() - out
    assert (lost >= 0).all()
    assert lost.sum() == reasons["off-image"] + reasons["partial-square"]
    assert len(raw.gene_names) == demo.PANEL_GENES


@pytest.mark.parametrize("name", NAMES)
def test_programmes_are_in_the_squares(written: dict[str, Written], name: str) -> None:
    section = written[name]
    raw = read(section.files, section.recipe())
    genes = load_genes()
    set_of = dict(zip(genes.symbols, genes.gene_sets, strict=True))
    totals = np.asarray(raw.counts.sum(axis=1)).ravel()
    rich = totals >= 30
    log_rate = np.log1p(raw.counts.toarray()[rich] / totals[rich, None] * 1e4)
    row_of = {spot: number for number, spot in enumerate(section.spots.spot_ids.tolist())}
    order = [row_of[spot] for spot in raw.spot_ids[rich].tolist()]
    for number, programme in enumerate(PROGRAMME_NAMES):
        members = [i for i, gene in enumerate(raw.gene_names.tolist()) if set_of[gene] == programme]
        assert len(members) == demo.THIN_SETS.get(programme, demo.MEMBERS_ON_PANEL)
        found = spearmanr(log_rate[:, members].mean(axis=1), section.spots.activity[order, number])
        # Six genes tell less than sixteen.
        assert found.statistic > (0.3 if programme in demo.THIN_SETS else 0.5), programme
    assert spearmanr(totals[rich], section.spots.library_factor[order]).statistic > 0.8
    has_counts = set(section.spots.spot_ids[section.spots.has_counts].tolist())
    assert len(has_counts ^ set(raw.spot_ids.tolist())) <= 2


def test_both_sections_share_one_panel(written: dict[str, Written]) -> None:
    one, other = (read(written[name].files, written[name].recipe()) for name in NAMES)
    assert one.gene_names.tolist() == other.gene_names.tolist()
    assert one.gene_ids is not None
    assert other.gene_ids is not None
    assert one.gene_ids.tolist() == other.gene_ids.tolist()


def on_truth(section: Written, matrix: np.ndarray, folder: Path) -> set[str]:
    """The findings of scale and orientation with another alignment, over the painted tissue's own mask."""
    path = folder / "alignment.csv"
    path.write_text("\n".join(",".join(map(repr, row)) for row in [*matrix.tolist(), [0, 0, 1]]))
    paths = {**section.files.paths, "alignment": path}
    names = {**section.files.names, "alignment": path.name}
    raw = read(LocalFiles("demo_xenium", "s", paths, dict.fromkeys(paths, "0" * 64), names), section.recipe())
    fit = measure_scale(raw, section.recipe())
    mask = TissueMask(section.tissue.mask, CELL_UM, "truth")
    check_orientation(raw, fit, mask, size_px=section.plan.size_px)
    raw.findings.raise_if_refused()
    return raw.findings.codes()


@pytest.mark.parametrize("name", NAMES)
def test_the_given_alignment_passes_every_gate(written: dict[str, Written], name: str, tmp_path: Path) -> None:
    section = written[name]
    found = on_truth(section, demo.alignment_matrix(section.plan), tmp_path)
    assert "orientation-agrees" in found
    assert not {"scale-one-witness", "orientation", "orientation-weak", "transcripts-off-image"} & found


@pytest.mark.parametrize("fault", ["half", "twice", "mirrored", "swapped", "upside-down"])
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_alignment_does_not_pass(written: dict[str, Written], name: str, fault: str, tmp_path: Path) -> None:
    section = written[name]
    width, height = section.plan.size_px
    changes = {
        "half": np.diag([0.5, 0.5, 1.0]),
        "twice": np.diag([2.0, 2.0, 1.0]),
        "mirrored": np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]]),
        "swapped": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]),
        "upside-down": np.array([[-1, 0, width], [0, -1, height], [0, 0, 1.0]]),
    }
    whole = np.vstack([demo.alignment_matrix(section.plan), [0, 0, 1]])
    with pytest.raises(DataError) as caught:
        on_truth(section, (whole @ changes[fault])[:2], tmp_path)
    expected = {"half": "transcripts-off-image", "twice": "scale-disagrees"}.get(fault, "orientation")
    assert expected in {caught.value.facts.code, *(facts.code for facts in caught.value.also)}


def test_the_demo_bundle_is_the_same_on_every_run(written: dict[str, Written], tmp_path: Path) -> None:
    section = written["X1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "paint", lambda tissue, plan, seed: np.full((*plan.size_px[::-1], 3), 255, np.uint8))
        again = _write(tmp_path, section.plan)
    for role, path in section.files.paths.items():
        assert path.read_bytes() == again.files.paths[role].read_bytes(), role
    assert pq.ParquetFile(section.files.paths["transcripts"]).num_row_groups > 3


def test_the_white_image_of_these_tests_is_read_as_one(tmp_path: Path) -> None:
    """The demo's image is a pyramid with its resolution in the header: the second witness of the scale."""
    from humanst.platforms.image_header import read_image_header

    write_pyramid(tmp_path / "image.tif", np.full((600, 900, 3), 255, np.uint8), um_per_pixel=0.45)
    header = read_image_header(tmp_path / "image.tif", name="image.tif")
    assert (header.width_px, header.height_px) == (900, 600)
    assert header.um_per_pixel == pytest.approx(0.45, rel=1e-4)
