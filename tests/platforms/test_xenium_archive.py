"""The viewer's transcripts.zarr.zip: it gives what the parquet table of the same transcripts gives, or is refused."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numcodecs import Blosc

from humanst.errors import DataError
from humanst.platforms import RawSection
from humanst.platforms.transcripts import read_transcripts
from humanst.platforms.xenium import read
from tests.platforms.bundles import GENES, Bundle, by_gene, codes, dropped, recipe, table
from tests.platforms.viewer_archive import edit_json, rewrite, write_archive

FEATURES = {
    **dict.fromkeys(GENES, "predesigned_gene"),
    "reporter": "custom_gene",
    "NegControlProbe_00031": "negative_control_probe",
    "NegControlCodeword_0500": "negative_control_codeword",
    "UnassignedCodeword_1234": "unassigned_codeword",
    "DeprecatedCodeword_10041": "deprecated_codeword",
    "Intergenic_Region_24000": "genomic_control_probe",
}


def mixed(n: int = 900, seed: int = 5) -> pd.DataFrame:
    """Genes and every kind of control, good and poor, over 3 x 2 tiles."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(FEATURES), n).tolist()
    xy = rng.uniform((0, 0), (637.5, 425), (n, 2))
    return table(xy, names, rng.uniform(0, 40, n), codeword_category=[FEATURES[name] for name in names])


def archive_of(bundle: Bundle, frame: pd.DataFrame | None = None, **changes: object) -> Path:
    """The bundle's transcripts as an archive in their place."""
    path = bundle.paths["transcripts"]
    return write_archive(path, bundle.transcripts if frame is None else frame, **changes)


def same(one: RawSection, other: RawSection) -> bool:
    return (
        (one.counts != other.counts).nnz == 0
        and one.gene_names.tolist() == other.gene_names.tolist()
        and one.spot_ids.tolist() == other.spot_ids.tolist()
        and one.drops == other.drops
    )


@pytest.mark.parametrize("categories", [True, False])
@pytest.mark.parametrize("version", [4, 5])
def test_it_gives_what_the_table_gives(tmp_path: Path, version: int, categories: bool) -> None:
    """Level 1 holds the same transcripts again, as clusters, and must not be counted."""
    frame = mixed() if categories else mixed().drop(columns="codeword_category")
    bundle = Bundle(tmp_path, frame)
    files = bundle.write()
    from_table = read(files, recipe())
    archive_of(bundle, version=version)
    from_archive = read(files, recipe())
    assert same(from_table, from_archive)
    assert set(dropped(from_archive)) == {
        *({"custom-gene"} if categories else ()), "negative-control-probe", "negative-control-codeword",
        "unassigned-codeword", "deprecated-codeword", "genomic-control-probe", "low-qv", "partial-square",
    }  # fmt: skip
    assert from_archive.counts.sum() + sum(dropped(from_archive).values()) == len(frame)


def test_tiles_are_put_together_to_batches(tmp_path: Path) -> None:
    frame = mixed()
    path = write_archive(tmp_path / "transcripts.zarr.zip", frame)
    for batch_rows, n_batches in ((1, 6), (300, 3), (10_000, 1)):
        batches = list(read_transcripts(path, name=path.name, batch_rows=batch_rows))
        assert len(batches) == n_batches
        places = np.concatenate([batch.xy_um for batch in batches])
        expected = frame[["x_location", "y_location"]].to_numpy(np.float64)
        assert sorted(map(tuple, places.tolist())) == sorted(map(tuple, expected.tolist()))


def test_what_the_archive_calls_not_valid_or_without_a_gene_leaves_by_name(tmp_path: Path) -> None:
    frame = table(np.full((10, 2), 40.0), ["LUM"] * 10)
    bundle = Bundle(tmp_path, frame)
    files = bundle.write()
    path = archive_of(bundle, valid=np.array([0, 0, 0, *[1] * 7], dtype=np.uint8), number_rnas=7)
    gene = np.array([*[0] * 8, 65535, 65535], dtype="<u2").reshape(-1, 1)
    blosc = Blosc("lz4").encode(gene)
    rewrite(path, lambda members: members | {"grids/0/0,0/gene_identity/0.0": blosc})
    raw = read(files, recipe())
    assert by_gene(raw) == {"LUM": 5}
    assert dropped(raw) == {"invalid-transcript": 3, "no-call": 2}


def test_chunks_that_are_not_compressed(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, mixed())
    files = bundle.write()
    from_table = read(files, recipe())
    path = archive_of(bundle)

    def plain(members: dict[str, bytes]) -> dict[str, bytes]:
        out = {}
        for name, data in members.items():
            if name.endswith(".zarray"):
                out[name] = json.dumps({**json.loads(data), "compressor": None}).encode()
            else:
                is_chunk = not name.rsplit("/", 1)[-1].startswith(".")
                out[name] = bytes(Blosc().decode(data)) if is_chunk else data
        return out

    rewrite(path, plain)
    assert same(from_table, read(files, recipe()))


ARRAY = "grids/0/1,0/location"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("archive") / "transcripts.zarr.zip"
    return write_archive(path, mixed().drop(columns="codeword_category")).read_bytes()


@pytest.fixture
def archive(written: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "transcripts.zarr.zip"
    path.write_bytes(written)
    assert sum(len(batch.qv) for batch in read_transcripts(path, name=path.name)) == 900, "whole until it is spoilt"
    return path


def without(member: str) -> Callable[[Path], object]:
    return lambda path: rewrite(path, lambda members: {key: members[key] for key in members if key != member})


def without_tile(path: Path) -> None:
    rewrite(path, lambda members: {key: members[key] for key in members if "grids/0/1,0/" not in key})


def another_tile(path: Path) -> None:
    rewrite(path, lambda members: members | {f"grids/0/7,7/valid/{leaf}": members[f"grids/0/1,0/valid/{leaf}"]
                                             for leaf in (".zarray", "0.0")})  # fmt: skip


def fewer_rows(path: Path) -> None:
    """A shorter array with all its chunks there: the count of the tile tells."""
    for array, width in (("location", 3), ("gene_identity", 1), ("quality_score", 1), ("valid", 1)):
        edit_json(path, f"grids/0/1,0/{array}/.zarray", shape=[37, width])
        start = f"grids/0/1,0/{array}/"
        surplus = {f"{start}{row}.0" for row in range(1, 7)}
        rewrite(path, lambda members, surplus=surplus: {key: members[key] for key in members if key not in surplus})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"{ARRAY}/0.0").header_offset + 30 + len(f"{ARRAY}/0.0")
    data = bytearray(path.read_bytes())
    data[start + 40] ^= 0xFF
    path.write_bytes(data)


def swapped_size(path: Path) -> None:
    """A chunk whose own header asks for a gigabyte."""

    def grow(members: dict[str, bytes]) -> dict[str, bytes]:
        data = bytearray(members[f"{ARRAY}/0.0"])
        data[4:8] = (1 << 30).to_bytes(4, "little")
        return members | {f"{ARRAY}/0.0": bytes(data)}

    rewrite(path, grow)


def half_a_chunk(path: Path) -> None:
    rewrite(path, lambda members: members | {f"{ARRAY}/0.0": members[f"{ARRAY}/0.0"][:30]})


@pytest.mark.parametrize(
    "spoil",
    [
        without(f"{ARRAY}/0.0"),
        without(f"{ARRAY}/.zarray"),
        without("grids/0/1,0/valid/0.0"),
        without_tile,
        another_tile,
        fewer_rows,
        cut,
        flipped,
        swapped_size,
        half_a_chunk,
        lambda path: edit_json(path, f"{ARRAY}/.zarray", shape=[1 << 40, 3]),
        lambda path: edit_json(path, f"{ARRAY}/.zarray", chunks=[0, 3]),
        lambda path: edit_json(path, ".zattrs", number_rnas=899),
        lambda path: edit_json(path, ".zattrs", gene_names=["LUM"]),
        lambda path: rewrite(path, lambda members: members | {".zattrs": b"[" * 100_000}),
    ],
)  # fmt: skip
def test_a_damaged_archive_is_refused_and_never_read_as_zeros(archive: Path, spoil: Callable[[Path], object]) -> None:
    spoil(archive)
    with pytest.raises(DataError) as caught:
        list(read_transcripts(archive, name="bundle/transcripts.zarr.zip"))
    assert codes(caught.value) == {"transcripts-unreadable"}
    assert caught.value.facts.file == "bundle/transcripts.zarr.zip"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: edit_json(path, ".zattrs", major_version=6),
        lambda path: edit_json(path, ".zattrs", name="CellSegmentationDataset"),
        lambda path: edit_json(path, ".zattrs", spatial_units="pixel"),
        lambda path: edit_json(path, ".zattrs", gene_names=["LUM", "LUM"]),
        lambda path: edit_json(path, "grids/.zattrs", grid_keys=None),
        lambda path: edit_json(path, f"{ARRAY}/.zarray", compressor={"id": "pickle"}),
        lambda path: edit_json(path, f"{ARRAY}/.zarray", filters=[{"id": "pickle"}]),
        lambda path: edit_json(path, f"{ARRAY}/.zarray", dtype="|O"),
        lambda path: edit_json(path, f"{ARRAY}/.zarray", dtype="nothing"),
        lambda path: edit_json(path, f"{ARRAY}/.zarray", zarr_format=3),
        lambda path: rewrite(path, lambda members: {"readme.txt": b"another zip"}),
    ],
)
def test_an_archive_of_another_kind_is_refused_as_such(archive: Path, spoil: Callable[[Path], object]) -> None:
    spoil(archive)
    with pytest.raises(DataError) as caught:
        list(read_transcripts(archive, name=archive.name))
    assert codes(caught.value) == {"transcripts-zarr"}
    assert "parquet" in str(caught.value.facts.todo)


def test_a_chunk_that_asks_for_a_gigabyte_is_not_unpacked(archive: Path) -> None:
    swapped_size(archive)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            list(read_transcripts(archive, name=archive.name))
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()
    assert "1,073,741,824" in str(caught.value.facts.found)


def test_rows_without_a_place_are_refused(archive: Path) -> None:
    rewrite(archive, _nowhere)
    with pytest.raises(DataError) as caught:
        list(read_transcripts(archive, name=archive.name))
    assert codes(caught.value) == {"transcripts-invalid"}
    assert caught.value.facts.field == ARRAY


def _nowhere(members: dict[str, bytes]) -> dict[str, bytes]:
    chunk = np.full((37, 3), np.nan, dtype="<f4")
    return members | {f"{ARRAY}/0.0": Blosc().encode(chunk)}
