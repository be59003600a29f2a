"""Transcripts to squares: exact conservation, the alignment's direction, panels, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from humanst.errors import DataError
from humanst.fetch import LocalFiles
from humanst.harmonize.section import measure_scale
from humanst.platforms import RawSection, reader_for
from humanst.platforms.pooling import SquareGrid, Tally, TranscriptPool
from humanst.platforms.registration import read_image_header
from humanst.platforms.transcripts import Batch, Coded
from humanst.platforms.xenium import read
from tests.platforms.bundles import DAPI, IDENTITY, Bundle, recipe, table, write_header_only_tiff

GENES = ("ERBB2", "EPCAM", "KRT7", "LUM")
CONTROLS = {
    "NegControlProbe_00031": "negative-control-probe",
    "NegControlCodeword_0500": "negative-control-codeword",
    "antisense_PROKR2": "antisense-probe",
    "BLANK_0022": "blank-codeword",
    "UnassignedCodeword_1234": "unassigned-codeword",
    "DeprecatedCodeword_10041": "deprecated-codeword",
    "Intergenic_Region_24000": "genomic-control-probe",
}
# 3000 x 2000 px of 0.2125 um: 5 x 3 whole squares of 112 um, and a rest of 77.5 x 89 um.
IMAGE_UM = (637.5, 425.0)
OWN_SCALE = {"resolution": (10_000 / DAPI, 10_000 / DAPI), "resolutionunit": "CENTIMETER"}


def codes(error: DataError) -> set[str]:
    return {error.facts.code, *(facts.code for facts in error.also)}


def refused(files: LocalFiles, **options: object) -> set[str]:
    with pytest.raises(DataError) as caught:
        read(files, recipe(**options))
    assert caught.value.facts.section == "s1"
    return codes(caught.value)


def spread(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return table(rng.uniform((0, 0), (560, 336), (n, 2)), rng.choice(GENES, n).tolist())


def by_gene(raw: RawSection) -> dict[str, int]:
    totals = np.asarray(raw.counts.sum(axis=0)).ravel()
    return {name: int(total) for name, total in zip(raw.gene_names.tolist(), totals, strict=True)}


def dropped(raw: RawSection) -> dict[str, int]:
    assert all(drop.what == "counts" and drop.n == drop.counts > 0 and drop.examples for drop in raw.drops)
    return {drop.reason: drop.n for drop in raw.drops}


def independent(frame: pd.DataFrame, side_um: float, width_um: float, height_um: float) -> tuple[Counter, Counter]:
    """Row by row, in plain Python: (row, column, gene) counts and (reason, gene) drops."""
    kept: Counter = Counter()
    lost: Counter = Counter()
    places = frame[["x_location", "y_location"]].to_numpy(np.float64).tolist()
    for name, qv, (x, y) in zip(frame["feature_name"], frame["qv"], places, strict=True):
        if name in CONTROLS:
            lost[CONTROLS[name], name] += 1
        elif qv < 20:
            lost["low-qv", name] += 1
        elif x < 0 or y < 0 or x >= width_um or y >= height_um:
            lost["off-image", name] += 1
        elif (x // side_um + 1) * side_um > width_um or (y // side_um + 1) * side_um > height_um:
            lost["partial-square", name] += 1
        else:
            kept[int(y // side_um), int(x // side_um), name] += 1
    return kept, lost


borders = st.sampled_from(
    [0.0, -0.0, 112.0, 224.0, 336.0, 55.0, 165.0, 560.0, 637.5, 425.0, 100.0, 300.0, -1e-3, 700.0]
)
places = st.one_of(borders, st.floats(-50.0, 700.0, width=32))
transcripts = st.tuples(
    places, places, st.sampled_from([*GENES, *CONTROLS]), st.sampled_from([5.0, 19.999, 20.0, 20.001, 40.0])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(transcripts, min_size=1, max_size=120), side=st.sampled_from([112.0, 55.0, 100.0]))
def test_every_transcript_is_counted_or_dropped_by_name(rows: list[tuple], side: float) -> None:
    """Per gene and square against a count in plain Python; borders belong to the square on their far side."""
    frame = table(np.array([row[:2] for row in rows]), [row[2] for row in rows], np.array([row[3] for row in rows]))
    kept, lost = independent(frame, side, *IMAGE_UM)
    grid = SquareGrid(side, np.array(IDENTITY), *IMAGE_UM, "off-image")
    pool = TranscriptPool(grid, min_qv=20.0)
    for rows_of_part in np.array_split(np.arange(len(frame)), 3):
        part = frame.iloc[rows_of_part]
        if len(part):
            names, values = pd.factorize(part["feature_name"])
            xy = part[["x_location", "y_location"]].to_numpy(np.float64)
            pool.add(Batch(Coded(names, tuple(values)), xy, part["qv"].to_numpy(np.float64), None, None))
    pooled = pool.result()
    coo = pooled.counts.tocoo()
    squares = pooled.row_col[coo.row].tolist()
    found = {(*square, pooled.features[j]): n for square, j, n in zip(squares, coo.col, coo.data, strict=True)}
    assert found == dict(kept)
    gone = {
        (reason, pooled.features[j]): int(n)
        for reason, totals in pooled.dropped.items()
        for j, n in enumerate(totals)
        if n
    }
    assert gone == dict(lost)
    per_gene = np.asarray(pooled.counts.sum(axis=0)).ravel() + sum(pooled.dropped.values(), np.zeros(1, dtype=int))
    assert dict(zip(pooled.features.tolist(), per_gene.tolist(), strict=True)) == Counter(frame["feature_name"])
    assert pooled.n_transcripts == len(frame)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=12), at=st.integers(1, 20))
def test_adding_up_early_and_often_changes_nothing(parts: list[list[int]], at: int) -> None:
    tally = Tally(compact_at=at)
    for part in parts:
        tally.add(np.array(part, dtype=np.int64))
    keys, counts = tally.result()
    assert keys.tolist() == sorted(keys.tolist())
    assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == Counter(key for part in parts for key in part)


def test_more_than_65535_transcripts_of_a_gene_in_one_square(tmp_path: Path) -> None:
    n = 70_003
    frame = pd.concat([spread(), table(np.full((n, 2), 150.0), ["LUM"] * n)])
    raw = read(Bundle(tmp_path, frame, row_group=9_999).write(), recipe())
    row = raw.spot_ids.tolist().index("r1c1")
    inside = (spread()[["x_location", "y_location"]] // 112 == 1).all(axis=1) & (spread()["feature_name"] == "LUM")
    assert raw.counts[row].toarray()[0, raw.gene_names.tolist().index("LUM")] == n + inside.sum()
    assert raw.counts.dtype == np.int64
    assert raw.counts.sum() == len(frame)


def test_the_section_is_a_square_lattice_anchored_at_the_image(tmp_path: Path) -> None:
    raw = reader_for("xenium")(Bundle(tmp_path, spread(), image_tags=OWN_SCALE).write(), recipe())
    assert raw.platform == "xenium"
    assert raw.target_shape == "square"
    assert (raw.lattice.kind, raw.lattice.pitch_um, raw.lattice.spot_diameter_um) == ("square", 112.0, 112.0)
    assert raw.spot_ids.tolist() == sorted(f"r{row}c{column}" for row in range(3) for column in range(5))
    assert raw.xy_px * DAPI == pytest.approx((raw.row_col[:, ::-1] + 0.5) * 112.0)
    assert [f"r{row}c{column}" for row, column in raw.row_col.tolist()] == raw.spot_ids.tolist()
    fit = measure_scale(raw, recipe())
    assert fit.um_per_pixel == pytest.approx(DAPI, rel=1e-6)
    assert fit.max_residual_px < 1e-6
    assert "scale-one-witness" not in raw.findings.codes()


@pytest.mark.parametrize("side", [55, 100, 112])
def test_the_three_sides_and_no_other(tmp_path: Path, side: int) -> None:
    files = Bundle(tmp_path, spread()).write()
    raw = read(files, recipe(target_side_um=side))
    assert raw.lattice.pitch_um == side
    assert raw.counts.sum() + sum(drop.n for drop in raw.drops) == 400
    assert refused(files, target_side_um=side + 1) == {"target-side"}


def test_a_recipe_that_calls_a_panel_untargeted_is_refused(tmp_path: Path) -> None:
    files = Bundle(tmp_path, spread()).write()
    assert refused(files, targeted=False) == {"panel-is-targeted"}
    assert refused(files, absent_genes="zero") == {"panel-is-targeted"}


# The worked example of 10x Genomics' article on coordinate conversion (kb.10xgenomics.com 35386990499853).
PUBLISHED = ((0.011071028838929093, 1.2895790134339569, 807.9788953065927),
             (-1.2895790134339569, 0.011071028838929093, 73097.655174759))  # fmt: skip


def test_the_alignment_is_read_in_its_published_direction(tmp_path: Path) -> None:
    """Transcripts laid at known H&E pixels by the published matrix come back to those pixels."""
    rng = np.random.default_rng(1)
    he_px = rng.uniform((0, 0), (3000, 2000), (500, 2))
    dapi_px = he_px @ np.array(PUBLISHED)[:, :2].T + np.array(PUBLISHED)[:, 2]
    frame = table(dapi_px * DAPI, ["LUM"] * 500)
    raw = read(Bundle(tmp_path, frame, alignment=PUBLISHED).write(), recipe())
    scale = DAPI * np.hypot(0.011071028838929093, 1.2895790134339569)
    assert scale == pytest.approx(0.27405, abs=1e-5)
    whole = (he_px * scale < np.floor(np.array([3000, 2000]) * scale / 112) * 112).all(axis=1)
    expected = Counter(map(tuple, (he_px[whole] * scale // 112).astype(int)[:, ::-1].tolist()))
    found = dict(zip(map(tuple, raw.row_col.tolist()), np.asarray(raw.counts.sum(axis=1)).ravel(), strict=True))
    assert sum(abs(found.get(key, 0) - expected[key]) for key in {*found, *expected}) <= 2, (
        "single precision at borders"
    )
    assert raw.xy_px[0] == pytest.approx((raw.row_col[0, ::-1] + 0.5) * 112 / scale)
    assert raw.facts["placement"]["image_to_dapi"] == [list(row) for row in PUBLISHED]


@pytest.mark.parametrize(
    ("matrix", "code"),
    [
        (((1.0, 0.0, 0.0), (0.0, 1.02, 0.0)), "alignment-not-similar"),
        (((1.0, 0.03, 0.0), (0.0, 1.0, 0.0)), "alignment-not-similar"),
        (((1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), "alignment-not-similar"),
        (((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), "alignment-not-similar"),
        (((1.0, 0.0, float("nan")), (0.0, 1.0, 0.0)), "alignment-unreadable"),
        (((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), "alignment-unreadable"),
    ],
)
def test_an_alignment_that_is_no_similarity_is_refused(tmp_path: Path, matrix: tuple, code: str) -> None:
    assert refused(Bundle(tmp_path, spread(), alignment=matrix).write()) == {code}


def test_a_file_of_key_points_is_no_alignment(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    files = bundle.write()
    bundle.paths["alignment"].write_text("fixedX,fixedY,alignmentX,alignmentY\n1,2,3,4\n5,6,7,8\n9,1,2,3\n")
    assert refused(files) == {"alignment-unreadable"}


def test_a_mirrored_alignment_is_told(tmp_path: Path) -> None:
    mirrored = ((-1.0, 0.0, 3000.0), (0.0, 1.0, 0.0))
    raw = read(Bundle(tmp_path, spread(), alignment=mirrored).write(), recipe())
    assert "alignment-mirrored" in raw.findings.codes()
    assert raw.row_col[:, 1].max() == 4


@pytest.mark.parametrize("factor", [0.5, 2.0, 1 / DAPI])
def test_a_wrong_scale_is_refused_by_the_image_header(tmp_path: Path, factor: float) -> None:
    """The pixel size of the H&E is 0.2125 um times the alignment's scale; its own header says otherwise."""
    matrix = tuple(tuple(value * factor for value in row) for row in IDENTITY)
    frame = spread()
    frame[["x_location", "y_location"]] *= 2 * factor
    bundle = Bundle(tmp_path, frame, alignment=matrix, size_px=(6000, 4000), image_tags=OWN_SCALE)
    raw = read(bundle.write(), recipe())
    with pytest.raises(DataError) as caught:
        measure_scale(raw, recipe())
    assert codes(caught.value) == {"scale-disagrees"}


@pytest.mark.parametrize(("pixel_size", "refuses"), [(0.425, True), ("1.0", True), ("x", True), (0.2125, False)])
def test_the_header_pixel_size_must_be_the_instruments(tmp_path: Path, pixel_size: object, refuses: bool) -> None:
    files = Bundle(tmp_path, spread(), experiment={"pixel_size": pixel_size}).write()
    if refuses:
        assert refused(files) == {"pixel-size"}
    else:
        assert not read(files, recipe()).findings.refused


def test_without_a_second_reading_the_scale_has_one_witness(tmp_path: Path) -> None:
    raw = read(Bundle(tmp_path, spread()).write(), recipe())
    measure_scale(raw, recipe())
    assert "scale-one-witness" in raw.findings.codes()
    agreeing = read(Bundle(tmp_path, spread()).write(), recipe(um_per_pixel=0.213))
    measure_scale(agreeing, recipe(um_per_pixel=0.213))
    assert "scale-one-witness" not in agreeing.findings.codes()
    with pytest.raises(DataError):
        measure_scale(agreeing, recipe(um_per_pixel=0.5))


@pytest.mark.parametrize("part", ["alignment", "size_px"])
def test_without_alignment_or_image_the_grid_lies_in_the_assay_frame(tmp_path: Path, part: str) -> None:
    frame = pd.concat([spread(), table(np.array([[-3.0, 20.0]]), ["LUM"])])
    raw = read(Bundle(tmp_path, frame, **{part: None}).write(), recipe())
    assert raw.image_path is None
    assert "no-alignment" in raw.findings.codes()
    assert dropped(raw) == {"negative-position": 1}
    fit = measure_scale(raw, recipe())
    assert raw.xy_px * fit.um_per_pixel == pytest.approx((raw.row_col[:, ::-1] + 0.5) * 112.0)
    kept, _ = independent(spread(), 112.0, 1e6, 1e6)
    assert sum(kept.values()) == raw.counts.sum() == 400


def test_an_image_in_register_needs_its_scale_from_the_recipe(tmp_path: Path) -> None:
    scale = 0.2738
    tags = {"resolution": (10_000 / scale, 10_000 / scale), "resolutionunit": "CENTIMETER"}
    files = Bundle(tmp_path, spread(), alignment=None, image_tags=tags).write()
    assert refused(files, registered=True) == {"registered-without-scale"}
    raw = read(files, recipe(registered=True, um_per_pixel=scale))
    assert measure_scale(raw, recipe(um_per_pixel=scale)).um_per_pixel == pytest.approx(scale)
    assert raw.um_per_pixel_witnesses == pytest.approx({"image_header": scale})
    kept, _ = independent(spread(), 112.0, 3000 * scale, 2000 * scale)
    assert raw.counts.sum() == sum(kept.values())
    with pytest.raises(DataError):
        measure_scale(read(files, recipe(registered=True, um_per_pixel=0.5)), recipe(um_per_pixel=0.5))


def test_most_transcripts_off_the_image_is_refused(tmp_path: Path) -> None:
    far = ((1.0, 0.0, 2000.0), (0.0, 1.0, 2000.0))
    frame = spread()
    files = Bundle(tmp_path, frame, alignment=far).write()
    assert refused(files) == {"transcripts-off-image"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
        ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER"}, None),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 0.2738, "PhysicalSizeXUnit": "µm"}}, 0.2738),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 273.8, "PhysicalSizeXUnit": "nm"}}, 0.2738),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel"}}, None),
    ],
)
def test_the_header_of_an_image_is_heard_where_it_makes_sense(
    tmp_path: Path, tags: dict, expected: float | None
) -> None:
    """A print resolution is no pixel size: 72 dpi would be 353 um a pixel."""
    path = tmp_path / "image.tif"
    write_header_only_tiff(path, (600, 300), **tags)
    header = read_image_header(path, name="image.tif")
    assert (header.width_px, header.height_px) == (600, 300)
    assert header.um_per_pixel == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    files = bundle.write()
    bundle.paths["image"].write_bytes(b"II*\0 and nothing more")
    assert refused(files) == {"image-unreadable"}


PANEL = {"ERBB2": "ENSG00000141736", "EPCAM": "ENSG00000119888", "KRT7": "ENSG00000135480", "LUM": "ENSG00000139329"}


def with_categories(custom: str) -> pd.DataFrame:
    names = ["ERBB2"] * 60 + [custom] * 7 + ["UnassignedCodeword_0001"] * 5 + ["Anything_1"] * 3
    kinds = (
        ["predesigned_gene"] * 60 + ["custom_gene"] * 7 + ["unassigned_codeword"] * 5 + ["genomic_control_probe"] * 3
    )
    xy = np.random.default_rng(3).uniform(0, 330, (len(names), 2))
    is_gene = [kind.endswith("_gene") for kind in kinds]
    return table(xy, names, codeword_category=kinds, is_gene=is_gene)


def test_what_is_no_gene_goes_by_its_category_before_its_name(tmp_path: Path) -> None:
    raw = read(Bundle(tmp_path, with_categories("LUM")).write(), recipe())
    assert by_gene(raw) == {"ERBB2": 60}
    assert dropped(raw) == {"custom-gene": 7, "unassigned-codeword": 5, "genomic-control-probe": 3}


def test_a_custom_gene_with_an_ensembl_id_is_a_gene(tmp_path: Path) -> None:
    raw = read(Bundle(tmp_path, with_categories("LUM"), panel=PANEL).write(), recipe())
    assert by_gene(raw) == {"ERBB2": 60, "EPCAM": 0, "KRT7": 0, "LUM": 7}
    assert raw.gene_ids is not None
    assert dict(zip(raw.gene_names.tolist(), raw.gene_ids.tolist(), strict=True)) == PANEL
    assert "custom-gene" not in dropped(raw)


@pytest.mark.parametrize("ident", ["LUM", "", "reporter-7"])
def test_a_gene_of_the_panel_without_an_ensembl_id_is_no_column(tmp_path: Path, ident: str) -> None:
    """Else a reporter that somebody called LUM would be measured as the gene, or as zero."""
    frame = with_categories("LUM")
    raw = read(Bundle(tmp_path, frame, panel={**PANEL, "LUM": ident}).write(), recipe())
    assert by_gene(raw) == {"ERBB2": 60, "EPCAM": 0, "KRT7": 0}
    assert dropped(raw)["custom-gene"] == 7
    without = frame.drop(columns=["codeword_category", "is_gene"])
    raw = read(Bundle(tmp_path, without, panel={**PANEL, "LUM": ident}).write(), recipe())
    assert dropped(raw)["custom-gene"] == 7


def test_a_table_that_only_says_what_is_a_gene(tmp_path: Path) -> None:
    frame = with_categories("LUM").drop(columns="codeword_category")
    raw = read(Bundle(tmp_path, frame).write(), recipe())
    assert dropped(raw) == {"unassigned-codeword": 5, "not-a-gene": 3}
    assert by_gene(raw) == {"ERBB2": 60, "LUM": 7}


def test_a_panel_gene_without_a_good_transcript_is_measured(tmp_path: Path) -> None:
    frame = pd.concat([spread(), table(np.full((5, 2), 40.0), ["CD8A"] * 5, qv=3.0)])
    assert by_gene(read(Bundle(tmp_path, frame).write(), recipe()))["CD8A"] == 0


def test_the_panel_file_serves_where_there_is_no_matrix(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    targets = [{"type": {"descriptor": "gene", "data": {"name": name, "id": ident}}} for name, ident in PANEL.items()]
    targets.append({"type": {"descriptor": "negative_control_probe", "data": {"name": "NegControlProbe_00001"}}})
    bundle.paths["panel"] = tmp_path / "gene_panel.json"
    bundle.paths["panel"].write_text(json.dumps({"payload": {"targets": targets}}))
    raw = read(bundle.local(), recipe())
    assert raw.gene_ids is not None
    assert dict(zip(raw.gene_names.tolist(), raw.gene_ids.tolist(), strict=True)) == PANEL
    bundle.paths["panel"].write_text("{}")
    assert refused(bundle.local()) == {"panel-unreadable"}


def test_a_panel_of_another_bundle_is_told(tmp_path: Path) -> None:
    panel = {"Gene_0": "GENE_000", "Gene_1": "GENE_001"}
    raw = read(Bundle(tmp_path, spread(), panel=panel).write(), recipe())
    assert "panel-incomplete" in raw.findings.codes()
    assert {name: total for name, total in by_gene(raw).items() if total} == dict(Counter(spread()["feature_name"]))


def test_the_panel_and_the_header_go_into_the_record(tmp_path: Path) -> None:
    header = {"panel_name": "Human Breast", "panel_organism": "Human", "pixel_size": DAPI, "run_name": "secret run"}
    raw = read(Bundle(tmp_path, spread(), experiment=header, panel=PANEL).write(), recipe(min_qv=25))
    assert raw.facts["panel"] == {"name": "Human Breast", "n_genes": 4, "source": "counts"}
    assert raw.facts["min_qv"] == 25
    assert "secret run" not in json.dumps(raw.facts)


@pytest.mark.parametrize("organism", ["Mouse", "Human, Mouse", "Mus musculus"])
def test_a_panel_for_another_organism_is_refused(tmp_path: Path, organism: str) -> None:
    assert refused(Bundle(tmp_path, spread(), experiment={"panel_organism": organism}).write()) == {"not-human"}


def as_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path)


def as_csv_gz(frame: pd.DataFrame, path: Path) -> None:
    path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))


def as_bytes(frame: pd.DataFrame, path: Path) -> None:
    frame.assign(feature_name=frame["feature_name"].str.encode("utf-8")).to_parquet(path)


def as_one_row_group(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path)


@pytest.mark.parametrize("write", [as_csv, as_csv_gz, as_bytes, as_one_row_group])
def test_every_version_of_the_table_reads_alike(tmp_path: Path, write: Callable[[pd.DataFrame, Path], None]) -> None:
    """A csv with a nameless index column in front, a gzipped one, names as bytes, one row group."""
    frame = with_categories("LUM")
    bundle = Bundle(tmp_path, frame, row_group=13)
    files = bundle.write()
    reference = read(files, recipe())
    write(frame, bundle.paths["transcripts"])
    raw = read(files, recipe())
    assert (raw.counts != reference.counts).nnz == 0
    assert raw.gene_names.tolist() == reference.gene_names.tolist()
    assert raw.spot_ids.tolist() == reference.spot_ids.tolist()
    assert raw.drops == reference.drops


def zipped(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 transcripts.zarr.zip")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def cut_gzip(path: Path) -> None:
    data = gzip.compress(spread(3000).to_csv(index=False).encode())
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path) -> None:
    data = bytearray(gzip.compress(spread(3000).to_csv(index=False).encode()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def image(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def no_rows(path: Path) -> None:
    spread(1).iloc[:0].to_parquet(path)


def no_qv(path: Path) -> None:
    spread().drop(columns="qv").to_parquet(path)


def no_place(path: Path) -> None:
    spread().assign(x_location=np.nan).to_parquet(path)


def no_name(path: Path) -> None:
    spread().assign(feature_name=None).astype({"feature_name": "string"}).to_parquet(path)


def far_away(path: Path) -> None:
    spread().assign(x_location=np.float32(3e9)).to_parquet(path)


def words(path: Path) -> None:
    spread().assign(x_location="left").to_csv(path)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (zipped, "transcripts-zarr"),
        (cut, "transcripts-unreadable"),
        (cut_gzip, "transcripts-unreadable"),
        (flipped, "transcripts-unreadable"),
        (image, "transcripts-unreadable"),
        (words, "transcripts-unreadable"),
        (no_rows, "transcripts-unreadable"),
        (no_qv, "missing-column"),
        (no_place, "transcripts-invalid"),
        (no_name, "transcripts-invalid"),
        (far_away, "transcripts-invalid"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, spoil: Callable[[Path], None], code: str) -> None:
    bundle = Bundle(tmp_path, spread())
    files = bundle.write()
    spoil(bundle.paths["transcripts"])
    with pytest.raises(DataError) as caught:
        read(files, recipe())
    assert codes(caught.value) == {code}
    assert caught.value.facts.file == "transcripts.parquet"


def test_a_zarr_folder_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    bundle.paths["transcripts"] = tmp_path / "transcripts.zarr"
    bundle.paths["transcripts"].mkdir()
    with pytest.raises(DataError) as caught:
        read(bundle.local(), recipe())
    assert codes(caught.value) == {"transcripts-zarr"}


def test_all_small_faults_are_told_at_once(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread(), alignment=((1.0, 0.5, 0.0), (0.0, 1.0, 0.0)), panel=PANEL)
    files = bundle.write()
    bundle.paths["experiment"].write_text("{")
    bundle.paths["counts"].write_text("no matrix")
    found = refused(files, target_side_um=56)
    assert found == {"target-side", "alignment-not-similar", "experiment-unreadable", "matrix-unreadable"}


def test_a_bundle_without_transcripts_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    del bundle.paths["transcripts"]
    assert refused(bundle.local()) == {"no-counts"}
