"""Files that no list of faults names: pipes, circles, doubled keys, and small ones that ask for gigabytes."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from humanst import files
from humanst.builder.folders import section_files, study_from_folder
from humanst.builder.matching import list_files
from humanst.catalog import Recipe
from humanst.catalog.samples import read_samples
from humanst.curate.draft import propose
from humanst.errors import DataError, HostileError, HumanstError
from humanst.fetch import LocalFiles
from humanst.findings import Findings
from humanst.harmonize.outline import read_outline
from humanst.platforms.mex_header import check_header
from humanst.platforms.scalefactors import read_scalefactors
from humanst.platforms.tables import counts_from_values, read_table
from humanst.platforms.tenx import read_matrix
from humanst.platforms.tenx_blocks import open_matrix
from humanst.platforms.visium import read as read_visium
from humanst.platforms.xenium_bundle import read_experiment
from humanst.shards.verify import verify_release
from humanst.tiles.raster import image_size, thumbnail
from humanst.tiles.tiff import read_layout
from tests.fetch.small_release import write_release
from tests.platforms.visium_outs import RECIPE, Outs, local_files

FOLDER = Recipe(**{**{name: getattr(RECIPE, name) for name in RECIPE.__slots__}, "files": {"counts": "{section}/a.h5"}})


def a_section(folder: Path) -> Path:
    """Where the file of the only section goes."""
    (folder / "s1").mkdir(parents=True)
    return folder / "s1" / "a.h5"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def with_holes(path: Path) -> None:
    path.touch()
    os.truncate(path, (256 << 30) + 1)


STRANGE: dict[Callable[[Path], None], tuple[int, str]] = {
    pipe: (8, "not-a-file"),
    device: (8, "not-a-file"),
    nowhere: (5, "file-unreadable"),
    with_holes: (8, "file-too-large"),
}


@pytest.mark.parametrize("make", STRANGE)
def test_what_is_no_file_of_a_section_is_refused_unopened(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(a_section(tmp_path))
    study = study_from_folder(tmp_path, FOLDER)
    with pytest.raises(HumanstError) as caught:
        section_files(study, study.sections[0])
    facts = caught.value.facts
    assert (caught.value.exit_code, facts.code) == STRANGE[make]
    assert (facts.section, facts.file) == ("s1", "s1/a.h5")
    assert facts.expected
    assert facts.found
    assert facts.todo


@pytest.mark.parametrize("make", [pipe, device, nowhere])
def test_a_draft_passes_over_what_is_no_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    for name in ("filtered_feature_bc_matrix.h5", "tissue_positions.csv", "counts.tsv.gz"):
        make(tmp_path / name)
    assert len(list_files(tmp_path)) == 3
    assert propose(tmp_path).drafts[0].platform is None


@pytest.mark.parametrize("make", [pipe, device, nowhere])
def test_a_release_holds_files_and_folders_alone(make: Callable[[Path], None], tmp_path: Path) -> None:
    write_release(tmp_path / "release")
    assert not verify_release(tmp_path / "release").findings.refused
    make(tmp_path / "release" / "data" / "more")
    told = [(f.facts.code, f.facts.file) for f in verify_release(tmp_path / "release").findings.of("refuse")]
    assert ("stranger", "data/more") in told
    manifest = tmp_path / "release" / "MANIFEST.json"
    manifest.unlink()
    make(manifest)
    with pytest.raises(HumanstError) as caught:
        verify_release(tmp_path / "release")
    assert caught.value.facts.code == ("no-manifest" if make is nowhere else "not-a-file")


JSON = {
    "a key twice": ('{"pixel_size": 0.2125, "pixel_size": 0.425}', "twice"),
    "too deep": ("[" * 100_000, "deeper"),
    "no number": ('{"pixel_size": NaN}', "JSON"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_of_instruments_and_curators_is_read_within_bounds(name: str, tmp_path: Path) -> None:
    text, told = JSON[name]
    path = tmp_path / "a.json"
    path.write_text(text)
    local = local_files({"experiment": path, "scalefactors": path})
    findings = Findings()
    read_experiment(local, findings)
    read_scalefactors(local, findings)
    assert [f.facts.code for f in findings] == ["experiment-unreadable", "scalefactors-unreadable"]
    assert all(told in str(f.facts.found) for f in findings)
    with pytest.raises(DataError, match=told):
        read_outline(path, size_px=(100, 100), um_per_pixel=1.0, mask_um_per_pixel=8.0)


def test_a_json_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    os.truncate(tmp_path / "a.json", 1 << 40)
    with pytest.raises(ValueError, match="beyond"):
        files.read_json(tmp_path / "a.json")


def test_a_table_that_unpacks_to_gigabytes_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"\tA\tB\n") + gzip.compress(b"1x1\t0\t0\n" * (1 << 17)) * 66)
    assert path.stat().st_size * 200 < 64 << 20
    with pytest.raises(HostileError) as caught:
        read_table(path, name="a.tsv.gz", sep="\t")
    assert caught.value.facts.code == "archive-bomb"


HEADS = {
    "a dense one": ("array integer general", "30 40", "coordinate"),
    "of another shape": ("coordinate integer general", "1000000000 1000000000 1", "30 features"),
    "of entries that are not there": ("coordinate integer general", "30 40 1000000000", "entries"),
    "without sizes": ("coordinate integer general", "many", "rows"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_matrix_has_room_for_what_it_declares(name: str, tmp_path: Path) -> None:
    kind, sizes, told = HEADS[name]
    path = tmp_path / "matrix.mtx"
    path.write_text(f"%%MatrixMarket matrix {kind}\n%\n{sizes}\n1 1 5\n")
    with pytest.raises(DataError, match=told):
        check_header(path, (30, 40), path.name)
    path.write_text("%%MatrixMarket matrix coordinate integer general\n% a word\n30 40 1\n1 1 5\n")
    check_header(path, (30, 40), path.name)


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[h5py.File], None]:
    def spoil(handle: h5py.File) -> None:
        values = handle[name][...]
        del handle[name]
        handle[name] = change(values)

    return spoil


def huge_chunk(handle: h5py.File) -> None:
    values = handle["matrix/data"][...]
    del handle["matrix/data"]
    how: dict[str, Any] = {"maxshape": (None,), "chunks": (1 << 25,), "compression": "gzip", "compression_opts": 1}
    handle.create_dataset("matrix/data", shape=values.shape, dtype=values.dtype, **how)


def long_name(handle: h5py.File) -> None:
    names = [name.decode() for name in handle["matrix/barcodes"][...]]
    del handle["matrix/barcodes"]
    handle.create_dataset("matrix/barcodes", data=["A" * (1 << 20), *names[1:]], dtype=h5py.string_dtype())


def first_twice(indices: Any) -> Any:
    indices[1] = indices[0]
    return indices


MATRICES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "a chunk larger than its dataset": (huge_chunk, "h5-bomb"),
    "a name of a megabyte": (long_name, "matrix-unreadable"),
    "fractions as gene numbers": (changed("matrix/indices", lambda v: v + 0.4), "matrix-unreadable"),
    "fractions as borders": (changed("matrix/indptr", lambda v: v + 0.4), "matrix-unreadable"),
    "a gene of a spot twice": (changed("matrix/indices", first_twice), "entries-twice"),
    "complex counts": (changed("matrix/data", lambda v: v + 1j), "counts-not-numbers"),
    "flags for counts": (changed("matrix/data", lambda v: v > 0), "counts-not-numbers"),
}


def read_whole(local: LocalFiles) -> None:
    findings = Findings()
    read_matrix(local, findings)
    findings.raise_if_refused()


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_that_would_be_read_as_something_else(name: str, tmp_path: Path) -> None:
    spoil, code = MATRICES[name]
    local = Outs(tmp_path).write()
    with h5py.File(local.paths["counts"], "r+") as handle:
        spoil(handle)
    with pytest.raises(HumanstError) as caught:
        read_whole(local)
    assert caught.value.facts.code == code


@pytest.mark.parametrize("name", ["fractions as gene numbers", "fractions as borders"])
def test_so_are_those_that_are_read_in_blocks(name: str, tmp_path: Path) -> None:
    local = Outs(tmp_path).write()
    with h5py.File(local.paths["counts"], "r+") as handle:
        MATRICES[name][0](handle)
    with pytest.raises(DataError) as caught:
        open_matrix(local, Findings())
    assert caught.value.facts.code == "matrix-unreadable"


def test_counts_as_whole_floats_are_still_counts() -> None:
    findings = Findings()
    counts = counts_from_values(np.array([0.0, 3.0]), name="a", findings=findings)
    assert counts is not None
    assert (counts.tolist(), list(findings)) == ([0, 3], [])


def test_positions_without_a_spot_are_refused(tmp_path: Path) -> None:
    local = Outs(tmp_path).write()
    path = local.paths["positions"]
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError) as caught:
        read_visium(local, RECIPE)
    assert caught.value.facts.code == "positions-empty"


@pytest.mark.parametrize(("text", "told"), [("section_id\0,x\n", "NUL"), (None, "bytes")])
def test_a_samples_table_is_text_of_some_size(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text(text or "")
    if text is None:
        os.truncate(path, 1 << 40)
    with pytest.raises(DataError, match=told):
        read_samples(path)


def chain(n_pages: int, last: int) -> bytes:
    """A TIFF of pages without tags, one after the other; the last names the page at ``last``."""
    pages = [struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(n_pages - 1)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + struct.pack("<HI", 0, last)


@pytest.mark.parametrize(("n_pages", "last"), [(1, 8), (3, 14), (5000, 0)])
def test_pages_in_a_circle_and_pages_without_end(n_pages: int, last: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(chain(n_pages, last))
    with pytest.raises(DataError, match="page") as caught:
        read_layout(path)
    assert caught.value.facts.code == "image-unreadable"
    assert any(word in str(caught.value.facts.found) for word in ("earlier", "more"))


def jpeg_of(side: int, *, progressive: bool) -> bytes:
    """The head of a JPEG of any size, and enough bytes for it to pass as compressed."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG", progressive=progressive)
    data = bytearray(out.getvalue())
    at = data.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data) + bytes(3 * side * side // 400)


def test_a_large_progressive_image_is_refused_and_a_baseline_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for progressive in (False, True):
        path.write_bytes(jpeg_of(24_000, progressive=progressive))
        if not progressive:
            assert image_size(path) == (24_000, 24_000)
            continue
        with pytest.raises(HostileError, match="passes") as caught:
            image_size(path)
        assert caught.value.facts.code == "image-bomb"
    path.write_bytes(jpeg_of(2_000, progressive=True))
    assert image_size(path) == (2_000, 2_000)


def test_a_hole_of_zeros_in_a_jpeg_is_no_grey_patch(tmp_path: Path) -> None:
    """As a disk leaves it that lost a block: the file has its length, its head and its end."""
    path = tmp_path / "a.jpg"
    slope = np.add.outer(np.arange(512) / 3, np.arange(512) / 5)[..., None]
    pixels = np.clip(slope + np.random.default_rng(0).normal(0, 4, (512, 512, 3)), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
    assert thumbnail(path, 1.0, 8.0).shape == (64, 64, 3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        thumbnail(path, 1.0, 8.0)
    assert caught.value.facts.code == "image-unreadable"


def test_documents_of_ours_have_each_key_once(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [{"b": 1}, {"b": 2}]})
    assert files.read_json(tmp_path / "a.json") == json.loads((tmp_path / "a.json").read_bytes())
