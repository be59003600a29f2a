"""Where transcripts lie on the image: the alignment, the image in register, the scale and its witnesses."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from humanst.errors import DataError
from humanst.harmonize.section import measure_scale
from humanst.platforms.image_header import read_image_header
from humanst.platforms.xenium import read
from tests.platforms.bundles import (
    DAPI,
    IDENTITY,
    OWN_SCALE,
    Bundle,
    codes,
    dropped,
    recipe,
    refused,
    spread,
    table,
    write_header_only_tiff,
)

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
    assert raw.counts.sum() == 400


def test_an_image_in_register_needs_its_scale_from_the_recipe(tmp_path: Path) -> None:
    scale = 0.2738
    tags = {"resolution": (10_000 / scale, 10_000 / scale), "resolutionunit": "CENTIMETER"}
    files = Bundle(tmp_path, spread(), alignment=None, image_tags=tags).write()
    assert refused(files, registered=True) == {"registered-without-scale"}
    raw = read(files, recipe(registered=True, um_per_pixel=scale))
    assert measure_scale(raw, recipe(um_per_pixel=scale)).um_per_pixel == pytest.approx(scale)
    assert raw.um_per_pixel_witnesses == pytest.approx({"image_header": scale})
    # 7 x 4 whole squares: all of the 5 x 3 that hold transcripts.
    assert raw.counts.sum() == 400
    with pytest.raises(DataError):
        measure_scale(read(files, recipe(registered=True, um_per_pixel=0.5)), recipe(um_per_pixel=0.5))


def ome(x_um: float, y_um: float | None = None) -> dict:
    sizes = {"PhysicalSizeX": x_um, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": y_um or x_um, "PhysicalSizeYUnit": "µm"}
    return {"ome": True, "metadata": {"axes": "YXS", **sizes}}


def test_the_ome_header_of_an_image_in_register_is_the_second_witness(tmp_path: Path) -> None:
    """Stored in the assay's frame: a pixel of the image is as large as the recipe and the OME header say."""
    known = recipe(registered=True, um_per_pixel=0.2738)
    files = Bundle(tmp_path, spread(), alignment=None, image_tags=ome(0.2738)).write()
    raw = read(files, known)
    assert raw.um_per_pixel_witnesses == pytest.approx({"image_header": 0.2738})
    assert measure_scale(raw, known).um_per_pixel == pytest.approx(0.2738)
    assert not {"scale-one-witness", "no-alignment"} & raw.findings.codes()
    expected = Counter(map(tuple, (spread()[["y_location", "x_location"]].to_numpy(np.float64) // 112).astype(int)))
    totals = np.asarray(raw.counts.sum(axis=1)).ravel()
    assert dict(zip(map(tuple, raw.row_col.tolist()), totals, strict=True)) == expected
    other = Bundle(tmp_path / "other", spread(), alignment=None, image_tags=ome(0.5)).write()
    with pytest.raises(DataError) as caught:
        measure_scale(read(other, known), known)
    assert codes(caught.value) == {"scale-disagrees"}


def test_transcripts_on_the_far_edge_and_at_negative_places_leave_by_name(tmp_path: Path) -> None:
    """An image of exactly 3 x 2 squares: its near border belongs to it, its far border does not."""
    scale = 112 / 500
    places = [(0.0, 0.0), (335.99, 223.99), (336.0, 10.0), (10.0, 224.0), (-0.01, 10.0), (10.0, -0.01), (112.0, 112.0)]
    frame = pd.concat([table(np.array(places), ["LUM"] * 7), table(np.full((9, 2), 20.0), ["LUM"] * 9)])
    tags = ome(scale)
    files = Bundle(tmp_path, frame, alignment=None, size_px=(1500, 1000), image_tags=tags).write()
    raw = read(files, recipe(registered=True, um_per_pixel=scale))
    totals = np.asarray(raw.counts.sum(axis=1)).ravel().tolist()
    assert dict(zip(raw.spot_ids.tolist(), totals, strict=True)) == {"r0c0": 10, "r1c1": 1, "r1c2": 1}
    assert dropped(raw) == {"off-image": 4}
    assert "transcripts-off-image" in raw.findings.codes()


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
        (ome(0.2738, 0.5), None),
        ({"description": "Aperio Image Library v1|AppMag = 20|MPP = 0.4990|Left = 1"}, 0.499),
        ({"description": "Some other text|MPP = 0.4990"}, None),
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


def test_the_header_of_a_real_slide_says_its_scale(real_data: Path) -> None:
    header = read_image_header(real_data / "wsi_cmu1_small_region" / "CMU-1-Small-Region.svs", name="CMU-1.svs")
    assert (header.width_px, header.height_px, header.um_per_pixel) == (2220, 2967, 0.499)


def test_the_size_of_a_slide_of_several_files_is_not_that_of_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .mrxs is a small JPEG beside the folder that holds the slide."""
    path = tmp_path / "slide.mrxs"
    Image.new("RGB", (60, 40)).save(path, "JPEG")
    with pytest.raises(DataError) as caught:
        read_image_header(path, name="slide.mrxs")
    assert codes(caught.value) == {"image-unreadable"}
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(DataError) as caught:
        read_image_header(path, name="slide.mrxs")
    facts = caught.value.facts
    assert (facts.code, facts.file, facts.todo) == ("needs-extra", "slide.mrxs", "pip install 'humanst[slides]'")


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    files = bundle.write()
    bundle.paths["image"].write_bytes(b"II*\0 and nothing more")
    assert refused(files) == {"image-unreadable"}
