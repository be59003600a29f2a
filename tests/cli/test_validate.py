"""``humanst validate``: our stores against their record, anybody's SpatialData as far as it goes, never a crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from humanst.builder.checking import check_store
from humanst.validate import Report
from tests.harmonize.scenes import Scene, scene
from tests.helpers import output_json, run_humanst
from tests.studies import little_studies

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("validate")

UNKNOWN_OF_OTHERS = {"conservation", "provenance", "target geometry", "measured genes"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two section stores of the demo atlas: one Visium, one legacy ST."""
    from humanst.demo import write_atlas

    folder = tmp_path_factory.mktemp("validate")
    studies = little_studies("demo_visium_V1", "demo_st_A1")
    atlas = write_atlas(tmp_path_factory.mktemp("atlas"), studies=studies).folder
    cache = tmp_path_factory.mktemp("cache")
    result = run_humanst("build", "--workers", "1", "-o", str(folder), atlas=atlas, cache=cache)
    assert result.returncode == 0, result.stderr
    return folder


def codes(report: Report, severity: str = "refuse") -> set[str]:
    return {finding.facts.code for finding in report.findings if finding.severity == severity}


def copy_of(built: Path, folder: Path, *, card: bool = False) -> Path:
    source = built / "sections" / "demo_visium_V1.zarr"
    target = folder / source.name
    shutil.copytree(source, target)
    if card:
        shutil.copyfile(source.with_name(f"{source.name}.card.json"), target.with_name(f"{target.name}.card.json"))
    return target


def edit_record(store: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((store / "zarr.json").read_text())
    change(content["attributes"]["humanst"])
    (store / "zarr.json").write_text(json.dumps(content))


def test_our_stores_pass_and_carry_what_their_build_found(built: Path) -> None:
    visium, st = (check_store(built / "sections" / name) for name in ("demo_visium_V1.zarr", "demo_st_A1.zarr"))
    assert (visium.kind, visium.verdict, codes(visium, "warn")) == ("section store", "passes", set())
    assert "orientation-agrees" in codes(visium, "note")
    assert (st.verdict, codes(st, "warn")) == ("passes", {"scale-one-witness"})
    assert not {item.facts.field for item in st.findings if item.facts.code == "not-checkable"} & UNKNOWN_OF_OTHERS


RECORD_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], set[str]]] = {
    "a total": (lambda attrs: attrs.update(counts_out=attrs["counts_out"] + 1), {"totals-differ"}),
    "a transcript without a name": (
        lambda attrs: attrs.update(counts_in=attrs["counts_in"] + 1), {"counts-not-conserved"}
    ),
    "a spot without a name": (lambda attrs: attrs.update(spots_in=attrs["spots_in"] + 1), {"spots-not-conserved"}),
    "half the scale": (
        lambda attrs: attrs.update(um_per_pixel=attrs["um_per_pixel"] / 2),
        {"places-differ", "scale-disagrees", "image-extent"},
    ),
    "no provenance": (lambda attrs: attrs.pop("provenance"), {"attrs-incomplete"}),
    "another schema": (lambda attrs: attrs.update(schema="humanst.section/99"), {"attrs-incomplete"}),
    "a refusal on record": (
        lambda attrs: attrs["findings"].append({"severity": "refuse", "code": "orientation", "what": "Turned"}),
        {"orientation"},
    ),
    "a smaller image": (
        lambda attrs: attrs["picture"].update(width_px=900, height_px=900), {"spots-off-image", "image-extent"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_a_record_that_is_not_of_its_arrays_is_refused(fault: str, built: Path, tmp_path: Path) -> None:
    change, wanted = RECORD_FAULTS[fault]
    store = copy_of(built, tmp_path)
    edit_record(store, change)
    report = check_store(store)
    assert codes(report) == wanted
    for finding in report.findings.of("refuse"):
        assert finding.facts.what
    assert "no-card" in codes(report, "warn")


def test_a_lost_or_changed_file_is_seen_by_the_card(built: Path, tmp_path: Path) -> None:
    """A missing chunk reads as zeros: only the card knows that it was there."""
    for number, spoil in enumerate((Path.unlink, lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:]))):
        store = copy_of(built, tmp_path / str(number), card=True)
        assert not check_store(store).refused
        spoil(max((path for path in store.rglob("c/*/*") if path.is_file()), key=lambda path: path.stat().st_size))
        assert "store-changed" in codes(check_store(store))


BYTES_FAULTS: dict[str, Callable[[Path], object]] = {
    "no table": lambda store: shutil.rmtree(store / "tables"),
    "shapes are no parquet": lambda store: next(store.glob("shapes/spots/*.parquet")).write_bytes(b"no parquet"),
    "the root is not JSON": lambda store: (store / "zarr.json").write_text("{"),
    "the root is gone": lambda store: (store / "zarr.json").unlink(),
    "the table's metadata are gone": lambda store: (store / "tables/table/zarr.json").unlink(),
    "a codec nobody has": lambda store: rewrite(store / "tables/table/X/data/zarr.json", "zstd", "no-such-codec"),
    "attrs are a list": lambda store: rewrite_root(store, {"humanst": ["schema"]}),
    "attrs are another's": lambda store: rewrite_root(store, {"other": {"schema": "x"}}),
    "an image chunk is noise": lambda store: next(
        path for path in (store / "images").rglob("c/*/*/*") if path.is_file()
    ).write_bytes(b"\xff" * 400),
}  # fmt: skip


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    path.write_text(text.replace(old, new))


def rewrite_root(store: Path, attrs: dict[str, Any]) -> None:
    content = json.loads((store / "zarr.json").read_text())
    version = content["attributes"]["spatialdata_attrs"]
    content["attributes"] = {"spatialdata_attrs": version, **attrs}
    content.pop("consolidated_metadata", None)
    (store / "zarr.json").write_text(json.dumps(content))


@pytest.mark.parametrize("fault", BYTES_FAULTS)
def test_broken_stores_are_reported_and_never_crash(fault: str, built: Path, tmp_path: Path) -> None:
    store = copy_of(built, tmp_path)
    BYTES_FAULTS[fault](store)
    report = check_store(store)
    assert report.refused or fault.startswith("attrs are")
    for finding in report.findings:
        assert finding.line()


def other_store(path: Path, section: Scene | None = None, **changes: Any) -> Path:
    """A SpatialData zarr as another tool would write it: Visium spots with their lattice, and the image beside."""
    import anndata
    import spatialdata
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity

    section = section or scene("visium", 3)
    shrink = 16.0
    xy = section.raw.all_xy_px / shrink
    height, width = (round(length / shrink) for length in section.size_px[::-1])
    ys, xs = (
        np.arange(length) * shrink * section.um_per_pixel / section.tissue.um_per_pixel for length in (height, width)
    )
    mask = section.tissue.mask[np.minimum(ys.astype(int), section.tissue.mask.shape[0] - 1)]
    mask = mask[:, np.minimum(xs.astype(int), section.tissue.mask.shape[1] - 1)]
    rgb = np.where(mask[None], np.array([200, 120, 180])[:, None, None], 240).astype(np.uint8)
    rng = np.random.default_rng(0)
    names = changes.get("genes", ["EPCAM", "VIM", "CD3E", "COL1A1"])
    counts = changes.get("counts", rng.poisson(60.0, (len(xy), len(names))).astype(np.float32))
    keep = slice(None) if changes.get("all_spots", True) else section.raw.all_in_tissue
    obs = pd.DataFrame(
        {
            "array_row": section.raw.all_row_col[keep, 0],
            "array_col": section.raw.all_row_col[keep, 1],
            "in_tissue": section.raw.all_in_tissue[keep].astype(int),
            "region": pd.Categorical(["spots"] * len(xy[keep])),
            "instance_id": np.arange(len(xy[keep])),
        },
        index=[f"s{number}" for number in range(len(xy[keep]))],
    )
    table = anndata.AnnData(counts[: len(obs)], obs=obs, var=pd.DataFrame(index=names))
    table = TableModel.parse(table, region="spots", region_key="region", instance_key="instance_id")
    shapes = ShapesModel.parse(xy[keep], geometry=0, radius=2.0, transformations={"global": Identity()})
    image = Image2DModel.parse(changes.get("image", rgb), dims=("c", "y", "x"), transformations={"global": Identity()})
    content = {"shapes": {"spots": shapes}, "tables": {"table": table}, "images": {"picture": image}}
    spatialdata.SpatialData(
        **{key: value for key, value in content.items() if key not in changes.get("without", ())}
    ).write(path)
    return path


def test_another_tool_s_visium_store_is_checked_as_far_as_it_goes(tmp_path: Path) -> None:
    report = check_store(other_store(tmp_path / "other.zarr"))
    assert (report.kind, report.verdict) == ("SpatialData", "passes")
    assert "orientation-agrees" in codes(report, "note")
    named = {finding.facts.field for finding in report.findings if finding.facts.code == "not-checkable"}
    assert named == {*UNKNOWN_OF_OTHERS, "second witness of the scale"}


OTHER_FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "mirrored image": ({}, {"orientation"}),
    "normalised counts": ({"counts": np.full((5000, 4), 0.5, np.float32)}, {"counts-fractional"}),
    "negative counts": ({"counts": np.full((5000, 4), -2.0, np.float32)}, {"counts-negative"}),
    "mouse": ({"genes": ["Epcam", "Vim", "Cd3e", "Col1a1"]}, {"not-human"}),
    "genes twice": ({"genes": ["EPCAM", "VIM", "VIM", "COL1A1"]}, {"duplicate-genes"}),
    "no table": ({"without": ("tables",)}, {"no-table"}),
    "blank image": ({"image": np.full((3, 500, 500), 255, np.uint8)}, {"no-tissue", "spots-off-image"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", OTHER_FAULTS)
def test_faults_of_other_stores_are_refused(fault: str, tmp_path: Path) -> None:
    changes, wanted = OTHER_FAULTS[fault]
    section = scene("visium", 3)
    if fault == "mirrored image":
        from tests.harmonize.scenes import with_image

        section = with_image(section, section.tissue.mask[:, ::-1], turned_over=False)
    report = check_store(other_store(tmp_path / "other.zarr", section, **changes))
    assert codes(report) == wanted


def test_what_is_not_there_is_named_as_not_checkable(tmp_path: Path) -> None:
    report = check_store(other_store(tmp_path / "a.zarr", without=("images", "shapes")))
    named = {finding.facts.field for finding in report.findings if finding.facts.code == "not-checkable"}
    assert named >= {"scale", "orientation", "spots inside the image"}
    assert codes(report) == {"region-missing"}
    report = check_store(other_store(tmp_path / "b.zarr", all_spots=False))
    named = {finding.facts.field for finding in report.findings if finding.facts.code == "not-checkable"}
    assert "orientation" in named
    assert not report.refused


def test_spatialdata_s_own_example_is_read(tmp_path: Path) -> None:
    """The blobs of spatialdata: polygons, points, label images, float images. Nothing of it is a section."""
    from spatialdata.datasets import blobs

    blobs(length=64).write(tmp_path / "blobs.zarr")
    report = check_store(tmp_path / "blobs.zarr")
    assert report.kind == "SpatialData"
    assert "not-rgb" in codes(report, "warn")
    assert {"genes-unrecognised"} <= codes(report)


def rewritten(tmp_path: Path, change: Callable[[Any], dict[str, Any]], **how: Any) -> Report:
    """The store of :func:`other_store` written once more by plain spatialdata, with other content."""
    import spatialdata

    content = change(spatialdata.read_zarr(other_store(tmp_path / "first.zarr")))
    spatialdata.SpatialData(**content).write(tmp_path / "again.zarr", **how)
    return check_store(tmp_path / "again.zarr")


def elements(sdata: Any) -> dict[str, Any]:
    return {kind: dict(getattr(sdata, kind)) for kind in ("images", "shapes", "tables")}


def test_shapes_in_another_order_than_the_table_are_matched_by_their_ids(tmp_path: Path) -> None:
    def shuffle(sdata: Any) -> dict[str, Any]:
        content = elements(sdata)
        shapes = content["shapes"]["spots"]
        content["shapes"]["spots"] = shapes.iloc[np.random.default_rng(3).permutation(len(shapes))]
        # Shapes that no row annotates, first by name and as many: nobody's spots.
        content["shapes"]["a"] = shapes.set_geometry(shapes.geometry.translate(1e6))
        return content

    report = rewritten(tmp_path, shuffle)
    assert (report.verdict, codes(report, "warn")) == ("passes", set())
    assert "orientation-agrees" in codes(report, "note")


def test_odd_names_and_the_older_zarr_are_read(tmp_path: Path) -> None:
    """Names with dots and dashes, no element called as ours are; zarr 2 as spatialdata before 0.5 wrote it."""
    from spatialdata._io.format import SpatialDataContainerFormatV01

    def rename(sdata: Any) -> dict[str, Any]:
        content = elements(sdata)
        table = content["tables"].pop("table").copy()
        table.obs["region"] = pd.Categorical(["Slide-1.spots_x"] * table.n_obs)
        table.uns["spatialdata_attrs"] = {**table.uns["spatialdata_attrs"], "region": "Slide-1.spots_x"}
        return {
            "images": {"0.he-Image": content["images"]["picture"]},
            "shapes": {"Slide-1.spots_x": content["shapes"]["spots"]},
            "tables": {"T.1-counts": table},
        }

    report = rewritten(tmp_path, rename, sdata_formats=[SpatialDataContainerFormatV01()])
    assert (tmp_path / "again.zarr" / ".zattrs").is_file()
    assert (report.kind, report.verdict) == ("SpatialData", "passes")
    assert "orientation-agrees" in codes(report, "note")


def test_points_alone_and_zarrs_of_other_kinds_are_refused_for_what_they_lack(tmp_path: Path) -> None:
    import anndata
    import spatialdata
    import zarr
    from spatialdata.models import PointsModel

    xy = pd.DataFrame({"x": np.arange(9.0), "y": np.arange(9.0)})
    points = PointsModel.parse(xy, coordinates={"x": "x", "y": "y"})
    spatialdata.SpatialData(points={"transcripts": points}).write(tmp_path / "points.zarr")
    anndata.AnnData(np.ones((3, 2), np.float32)).write_zarr(tmp_path / "anndata.zarr")
    zarr.create_group(tmp_path / "plain.zarr").create_array("numbers", data=np.zeros(3))
    assert codes(check_store(tmp_path / "points.zarr")) == {"no-table"}
    for name, found in (("anndata.zarr", "anndata"), ("plain.zarr", "none of them")):
        report = check_store(tmp_path / name)
        assert (report.kind, codes(report)) == ("unknown", {"no-elements"})
        assert found in str(report.findings.of("refuse")[0].facts.found)


def test_a_table_that_annotates_nothing_is_not_laid_on_shapes_by_chance(tmp_path: Path) -> None:
    def unlink(sdata: Any) -> dict[str, Any]:
        content = elements(sdata)
        content["tables"]["table"] = content["tables"]["table"].copy()
        del content["tables"]["table"].uns["spatialdata_attrs"]
        return content

    report = rewritten(tmp_path, unlink)
    named = {item.facts.field for item in report.findings if item.facts.code == "not-checkable"}
    assert named >= {"table to shapes", "scale", "orientation", "spots inside the image"}
    assert not report.refused


def test_text_json_and_lines_tell_the_same(built: Path, tmp_path: Path) -> None:
    store = copy_of(built, tmp_path)
    edit_record(store, RECORD_FAULTS["half the scale"][0])
    paths = [str(store), str(built)]
    as_json = run_humanst("validate", *paths, "--format", "json", "--workers", "1")
    assert as_json.returncode == 4, "several paths, one of them refused"
    content = output_json(as_json)
    assert content["schema"] == "humanst.validate/1"
    assert (content["sections"], content["refused"]) == (3, 1)
    verdicts = {section["item"]: section["verdict"] for path in content["paths"] for section in path["sections"]}
    assert verdicts == {"demo_visium_V1.zarr": "passes", "demo_st_A1.zarr": "passes"} | {store.name: "passes"}
    lines = run_humanst("validate", *paths, "--format", "jsonl", "--min-severity", "refuse", "--workers", "1")
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert {row["code"] for row in rows} == RECORD_FAULTS["half the scale"][1]
    assert all({"severity", "code", "section", "file:field", "found", "expected", "path"} <= set(row) for row in rows)
    text = run_humanst("validate", str(store), "--min-severity", "refuse", "--workers", "1")
    assert text.returncode == 5
    table = text.stdout.splitlines()
    assert table[-1].split()[:2] == [store.name, "refused"]
    assert all(row["code"] in text.stdout for row in rows)
    assert "expected" in table[0]
    assert "found" in table[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [store.name], "nothing was written"


def test_a_good_store_ends_with_0_and_other_paths_with_2_or_5(built: Path, tmp_path: Path) -> None:
    good = run_humanst("validate", str(built / "sections" / "demo_st_A1.zarr"), "--json")
    assert good.returncode == 0, good.stderr
    assert run_humanst("validate", str(tmp_path / "nowhere")).returncode == 2
    (tmp_path / "notes.txt").write_text("no section")
    nothing = run_humanst("validate", str(tmp_path))
    assert nothing.returncode == 5
    assert "no-sections" in nothing.stdout
