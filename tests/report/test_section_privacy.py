"""Of a slide its tissue alone reaches a page: no label, no macro picture, no description, no EXIF."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from PIL import Image

from humanst.demo.genes import load_genes
from humanst.report.atlas_source import open_source
from humanst.report.section_facts import section_facts
from humanst.report.section_page import section_page
from tests.helpers import run_humanst
from tests.report.searching import all_pixels, everything, patches
from tests.report.sections import pictures, pixels
from tests.studies import ST_RECIPE, World, write_world

PLANTED = ("PLANTED Jane Doe", "PLANTED 1961-05-04", "PLANTED label S-4711", "PLANTED comment")
# Of JPEG: JFIF, tables, frame, scan. APP1 is EXIF and XMP, APP2 a profile, APP13 Photoshop, COM a comment.
HARMLESS = {0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDA, 0xD9, 0xDD}


def st_world(folder: Path, slide: Path, size_px: tuple[int, int], um_per_pixel: float) -> World:
    """A legacy ST section on a slide: spots every 200 um, counts drawn at random, none of which matters here."""
    rng = np.random.default_rng(5)
    genes = list(load_genes().symbols[:400])
    step = 200.0 / um_per_pixel
    rows, spots = {}, []
    for row in range(int(size_px[1] / step)):
        for column in range(int(size_px[0] / step)):
            x, y = (column + 0.5) * step, (row + 0.5) * step
            name = (column + 2, row + 2)
            rows["x".join(map(str, name))] = rng.poisson(3, len(genes))
            spots.append([*name, *name, f"{x:.2f}", f"{y:.2f}"])
    folder.mkdir(parents=True)
    counts = pd.DataFrame.from_dict(rows, orient="index", columns=genes).to_csv(sep="\t")
    (folder / "counts.tsv.gz").write_bytes(gzip.compress(counts.encode(), mtime=0))
    names = ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y"]
    pd.DataFrame(spots, columns=names).assign(selected=1).to_csv(folder / "spots.tsv", sep="\t", index=False)
    (folder / "sets.gmt").write_text("\n".join(f"SET_{n}\tnone\t" + "\t".join(genes[n::4]) for n in range(4)) + "\n")
    files = {"counts": folder / "counts.tsv.gz", "spots": folder / "spots.tsv", "image": slide}
    return write_world(
        folder / "world", {"private": {"S1": files}}, {"private": ST_RECIPE}, gene_sets=folder / "sets.gmt"
    )


def page_of(world: World, folder: Path) -> tuple[Path, str]:
    """The release of the section, and its page."""
    release = folder / "release"
    result = run_humanst(
        "build-shards", "private", "-o", str(release), "--json", atlas=world.folder, cache=folder / "cache"
    )
    assert result.returncode == 0, result.stderr
    return release, section_page(section_facts(open_source(release), "private_S1"), standalone=True, up=None)


def segments(jpeg: bytes) -> set[int]:
    """The markers of a JPEG before its scan."""
    assert jpeg[:2] == b"\xff\xd8"
    found, at = set(), 2
    while jpeg[at + 1] != 0xDA:
        assert jpeg[at] == 0xFF
        found.add(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return found


def all_bytes(release: Path, html: str) -> bytes:
    """What a page is, with its pictures unpacked, and all that the release holds, unpacked and decoded."""
    return b"\n".join([html.encode(), *pictures(html), everything(release)])


def test_the_search_finds_what_is_packed(tmp_path: Path) -> None:
    """In every kind of packing that a release has, where the bytes of the file do not show it."""
    text = "PLANTED" * 40
    with zarr.storage.ZipStore(tmp_path / "s.zarr.zip", mode="w") as held:
        store = zarr.open_group(held, mode="w", zarr_format=3)
        store.create_array("tables/table/obs/name", data=np.frombuffer(text.encode(), np.uint8), chunks=(280,))
    # The least and the largest cell stand in the file as they are.
    table = pd.DataFrame({"name": ["A", text, "Z"]})
    table.to_parquet(tmp_path / "samples.parquet", compression="zstd", use_dictionary=False)
    packed = gzip.compress(text.encode(), mtime=0)
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        (about := tarfile.TarInfo("pair.txt.gz")).size = len(packed)
        shard.addfile(about, io.BytesIO(packed))
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        (alone := tmp_path / f"only{number}").mkdir()
        path = path.rename(alone / path.name)
        assert text.encode() not in path.read_bytes(), path.name
        assert text.encode() in everything(alone), path.name


def assert_nothing_beside_pixels(release: Path, slide: np.ndarray) -> None:  # type: ignore[type-arg]
    """The pictures of stores are the slide, smaller; the JPEGs of shards hold nothing that pixels do not need."""
    levels = [values for name, values in all_pixels(release) if name != "patch"]
    assert levels
    for level in levels:
        with Image.fromarray(slide) as whole:
            small = np.asarray(whole.resize(level.shape[1::-1], Image.Resampling.BOX))
        assert np.corrcoef(level.ravel().astype(float), small.ravel().astype(float))[0, 1] > 0.95
    found = list(patches(release))
    assert len(found) >= 20
    assert all(segments(jpeg) <= HARMLESS for jpeg in found)


def assert_of_tissue_alone(html: str, slide: np.ndarray, um_per_pixel: float) -> None:  # type: ignore[type-arg]
    """The first picture is the slide, those after it are patches, and nothing stands in them but pixels."""
    found = pictures(html)
    assert all(segments(jpeg) <= HARMLESS for jpeg in found)
    assert not any(dict(Image.open(io.BytesIO(jpeg)).getexif()) for jpeg in found)
    first = pixels(found[0])
    with Image.fromarray(slide) as whole:
        small = np.asarray(whole.resize(first.shape[1::-1], Image.Resampling.BOX))
    assert np.corrcoef(first.ravel().astype(float), small.ravel().astype(float))[0, 1] > 0.95
    assert first.shape[1] / first.shape[0] == pytest.approx(slide.shape[1] / slide.shape[0], rel=0.02)
    shown = [pixels(jpeg).shape for jpeg in found[1:]]
    assert shown == [(224, 224, 3)] * 12
    assert um_per_pixel < 0.6


@pytest.mark.real
def test_of_a_real_slide_no_label_no_macro_and_no_description(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "wsi_cmu1_small_region" / "CMU-1-Small-Region.svs"
    with tifffile.TiffFile(source) as slide:
        level = slide.pages[0]
        tissue = level.asarray()
        description = level.tags["ImageDescription"].value
        beside = [page for page in slide.pages if page is not level]
        label = [page.asarray() for page in beside if "label" in str(page.tags["ImageDescription"].value)]
        strips = [
            slide.filehandle.read_array("u1", size, offset).tobytes()
            for page in beside
            for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
    assert len(label) == 1
    height, width = tissue.shape[:2]
    world = st_world(tmp_path / "st", source, (width, height), 0.499)
    release, html = page_of(world, tmp_path)
    held = all_bytes(release, html)
    words = set(re.findall(r"[A-Za-z]{5,}|[0-9]{5,}", description)) - {"Image", "Library"}
    assert {"Aperio"} <= words
    # The name of the study's own file is on record, and no word of what is written in it.
    told = {word for word in words if re.search(rf"(?<![0-9A-Za-z]){word}(?![0-9A-Za-z])".encode(), held)}
    assert told == set()
    assert all(strip[:64] not in held and strip[-64:] not in held for strip in strips if len(strip) > 128)
    assert_of_tissue_alone(html, tissue, 0.499)
    assert_nothing_beside_pixels(release, tissue)


def planted_tiff(path: Path, picture: np.ndarray) -> Path:  # type: ignore[type-arg]
    """A tiled slide with words in its tags and a label of its own beside it."""
    label = np.full((300, 400, 3), 255, dtype=np.uint8)
    label[100:200, 50:350] = (10, 200, 30)
    with tifffile.TiffWriter(path) as out:
        words = {"description": PLANTED[0], "software": PLANTED[1], "extratags": [(33432, "s", 0, PLANTED[3], True)]}
        out.write(picture, tile=(256, 256), compression="jpeg", photometric="rgb", **words)
        out.write(label, compression="zlib", photometric="rgb", description=PLANTED[2], subfiletype=1)
    return path


def planted_jpeg(path: Path, picture: np.ndarray) -> Path:  # type: ignore[type-arg]
    """A photograph with EXIF, a small picture in it, and a comment."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0131], exif[0x9286] = PLANTED[:3]
    Image.fromarray(picture).save(path, quality=90, exif=exif, comment=PLANTED[3].encode())
    return path


@pytest.mark.parametrize(("plant", "name"), [(planted_tiff, "planted.tif"), (planted_jpeg, "planted.jpg")])
def test_of_a_planted_slide_no_word(plant: Callable[[Path, Any], Path], name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    size = 2400
    grid = np.linspace(0, 1, size)
    inside = (np.hypot(grid[:, None] - 0.5, grid[None] - 0.45) < 0.42)[..., None]
    stained = np.clip(np.array([170, 90, 160]) + rng.normal(0, 12, (size, size, 1)), 0, 255)
    picture = np.where(inside, stained, 244).astype(np.uint8)
    slide = plant(tmp_path / name, picture)
    assert all(text.encode() in slide.read_bytes() for text in PLANTED)
    release, html = page_of(st_world(tmp_path / "st", slide, (size, size), 0.5), tmp_path)
    assert b"PLANTED" not in all_bytes(release, html)
    assert_of_tissue_alone(html, picture, 0.5)
    assert_nothing_beside_pixels(release, picture)
    for rgb in (*map(pixels, pictures(html)), *(values for _, values in all_pixels(release))):
        green = (rgb.astype(int) @ np.array([-1, 2, -1])) > 150
        assert green.mean() < 0.001, "no pixel of the label"
    assert json.loads((release / "MANIFEST.json").read_bytes())["sections"][0]["pairs"] > 20
