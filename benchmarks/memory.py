"""Peak memory of the two largest things a build reads: a transcript table and a whole-slide image.

- ``transcripts``: a Xenium bundle of 30 million transcripts of a 5,000-gene panel over 1 cm2 (parquet, row groups of
  one million), read through a turned alignment, pooled to 112 um squares and mapped to Ensembl genes.
- ``one_group``: the same transcripts in one single row group.
- ``image``: everything a build does with a 30,000 x 30,000 px H&E image (JPEG tiles, no pyramid): stain check, image of
  record, tissue mask, the store's picture, the store itself.

Each runs in a process of its own, which reports its high-water mark (``VmHWM``) and what it was before the work began.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

DAPI_UM_PER_PIXEL = 0.2125
IMAGE_UM_PER_PIXEL = 0.27
TURN_DEGREES = 7.0
SIDE_UM = 10_000.0
GENES = 5_000
ROW_GROUP = 1_000_000
TILE_PX = 256
LIMIT_GIB = 4.0
SMALL_TABLE = 300_000


def high_water_mib() -> float:
    """Peak resident memory of this process in MiB, from the kernel."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not report VmHWM")


def gene_names(n: int) -> list[tuple[str, str]]:
    """(symbol, Ensembl id) of the first ``n`` protein-coding genes of the shipped table."""
    from humanst.harmonize.gene_table import TABLE_PATH

    rows = [line.split("\t") for line in gzip.decompress(TABLE_PATH.read_bytes()).decode().splitlines()]
    return [(row[1], row[0]) for row in rows if row[0].startswith("ENSG") and row[1] and "protein_coding" in row][:n]


def alignment(image_px: int) -> list[list[float]]:
    """H&E pixels to DAPI pixels: turned, scaled, shifted so that all of the image has positive coordinates."""
    angle = np.deg2rad(TURN_DEGREES)
    scale = IMAGE_UM_PER_PIXEL / DAPI_UM_PER_PIXEL
    cosine, sine = float(scale * np.cos(angle)), float(scale * np.sin(angle))
    return [[cosine, -sine, image_px * sine + 100.0], [sine, cosine, 100.0]]


def write_bundle(folder: Path, n_transcripts: int, image_px: int, *, one_group: bool = False) -> None:
    """Write transcripts, feature matrix, experiment, alignment and an image of ``image_px`` a side."""
    import h5py
    import pyarrow.parquet as pq

    genes = gene_names(GENES)
    rows = alignment(image_px)
    lines = [",".join(map(repr, row)) for row in [*rows, [0.0, 0.0, 1.0]]]
    (folder / "he_imagealignment.csv").write_text("\n".join(lines))
    (folder / "experiment.xenium").write_text(json.dumps({"panel_organism": "Human", "pixel_size": DAPI_UM_PER_PIXEL}))
    with h5py.File(folder / "cell_feature_matrix.h5", "w") as handle:
        features = handle.create_group("matrix/features")
        features["name"] = np.array([symbol for symbol, _ in genes], dtype="S")
        features["id"] = np.array([ident for _, ident in genes], dtype="S")
        features["feature_type"] = np.full(len(genes), b"Gene Expression")
    write_image(folder / "he.tif", image_px)
    side_um = min(SIDE_UM, 0.9 * image_px * IMAGE_UM_PER_PIXEL)
    writer = None
    rng = np.random.default_rng(0)
    chunk = n_transcripts if one_group else min(ROW_GROUP, n_transcripts)
    for start in range(0, n_transcripts, chunk):
        table = transcripts_table(start, min(chunk, n_transcripts - start), rows, side_um, genes, rng)
        writer = writer or pq.ParquetWriter(folder / "transcripts.parquet", table.schema)
        writer.write_table(table, row_group_size=chunk)
    if writer is not None:
        writer.close()


def transcripts_table(
    start: int, n: int, rows: list[list[float]], side_um: float, genes: list[tuple[str, str]], rng: np.random.Generator
) -> Any:
    """``n`` transcripts anywhere on the tissue, genes with uneven shares, a tenth of low quality."""
    import pyarrow as pa

    x, y = rng.uniform(100.0, side_um, (2, n)) / IMAGE_UM_PER_PIXEL
    place = [(row[0] * x + row[1] * y + row[2]) * DAPI_UM_PER_PIXEL for row in rows]
    weights = np.random.default_rng(1).lognormal(0.0, 1.5, len(genes))
    feature = rng.choice(len(genes), n, p=weights / weights.sum()).astype(np.int32)

    def text(codes: Any, values: list[str]) -> Any:
        return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(values)).cast(pa.string())

    return pa.table(
        {
            "transcript_id": np.arange(start, start + n, dtype=np.uint64),
            "cell_id": text(rng.integers(0, 100, n), [f"cell-{number}" for number in range(100)]),
            "overlaps_nucleus": rng.integers(0, 2, n).astype(np.uint8),
            "feature_name": text(feature, [symbol for symbol, _ in genes]),
            "x_location": place[0].astype(np.float32),
            "y_location": place[1].astype(np.float32),
            "z_location": rng.uniform(10, 25, n).astype(np.float32),
            "qv": rng.choice(np.array([12.5, 31.0, 40.0], dtype=np.float32), n, p=[0.1, 0.1, 0.8]),
            "codeword_category": text(np.zeros(n), ["predesigned_gene"]),
            "is_gene": np.ones(n, dtype=bool),
        }
    )


def write_image(path: Path, side_px: int) -> None:
    """Stained in the middle, white at the border: H&E-like texture in JPEG tiles, one level, no pyramid."""
    import simplejpeg
    import tifffile

    from benchmarks.patches import texture

    rgb = texture(0)
    n = rgb.shape[0] // TILE_PX
    white = simplejpeg.encode_jpeg(np.full((TILE_PX, TILE_PX, 3), 245, np.uint8), quality=87, colorsubsampling="420")
    stained = [
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(rgb[r * TILE_PX : (r + 1) * TILE_PX, c * TILE_PX : (c + 1) * TILE_PX]),
            quality=87,
            colorsubsampling="420",
        )
        for r in range(n)
        for c in range(n)
    ]
    across = -(-side_px // TILE_PX)
    edge = max(1, across // 20)

    def tile(row: int, column: int) -> bytes:
        inside = min(row, column, across - 1 - row, across - 1 - column) >= edge
        return stained[(row % n) * n + column % n] if inside else white

    tifffile.imwrite(
        path,
        (tile(row, column) for row in range(across) for column in range(across)),
        shape=(side_px, side_px, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
        metadata=None,
        resolution=(10_000 / IMAGE_UM_PER_PIXEL,) * 2,
        resolutionunit="CENTIMETER",
    )


def local_files(folder: Path) -> Any:
    """The bundle as the reader is given it."""
    from humanst.fetch import LocalFiles

    roles = {
        "transcripts": "transcripts.parquet",
        "counts": "cell_feature_matrix.h5",
        "experiment": "experiment.xenium",
        "alignment": "he_imagealignment.csv",
        "image": "he.tif",
    }
    paths = {role: folder / name for role, name in roles.items()}
    return LocalFiles("benchmark", "s1", paths, dict.fromkeys(paths, "0" * 64), roles)


def xenium_recipe() -> Any:
    """The recipe of the bundle."""
    from humanst.catalog import Lattice, Recipe

    return Recipe("xenium", "ensembl", True, "unmeasured", Lattice("square", 112.0, 112.0))


def read_table(folder: Path) -> dict[str, Any]:
    """Read, pool and map the transcripts."""
    from humanst.builder.steps import map_columns
    from humanst.findings import Findings
    from humanst.platforms.xenium import read

    raw = read(local_files(folder), xenium_recipe())
    mapped = map_columns(raw, xenium_recipe(), Findings())
    dropped = sum(drop.counts for drop in raw.drops)
    return {
        "counts_in": int(raw.counts.sum()) + dropped,
        "squares": int(raw.counts.shape[0]),
        "square_gene_pairs": int(mapped.counts.nnz),
    }


def build_image(folder: Path) -> dict[str, Any]:
    """Build a whole section round the image and write its store."""
    from humanst.builder.images import store_picture
    from humanst.builder.steps import harmonize_files
    from humanst.harmonize.section import Choices
    from humanst.harmonize.spots import SpotQC
    from humanst.store import write_section

    section, record = harmonize_files(
        local_files(folder),
        xenium_recipe(),
        choices=Choices(sample_id="benchmark_s1", qc=SpotQC(min_counts=1, min_genes=0)),
        outline=None,
        record_path=folder / "record.tif",
    )
    if record is None:
        raise RuntimeError("the image was not used")
    section.findings.raise_if_refused()
    picture = store_picture(record, section.lattice_fit, embed=False)
    write_section(section, folder / "store.zarr", picture=picture, inputs="benchmark")
    return {"width_px": record.width_px, "levels": len(record.levels), "spots": len(section.spots)}


WORK: dict[str, Callable[[Path], dict[str, Any]]] = {
    "transcripts": read_table,
    "one_group": read_table,
    "image": build_image,
}


def in_a_process(*arguments: str) -> dict[str, Any]:
    """Run one step of this script in a process of its own; returns what it printed."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).resolve().parents[1])
    content: dict[str, Any] = json.loads(done.stdout or b"{}")
    return content


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Do the work in this process and say how much memory it took."""
    import pyvips  # noqa: F401 - the largest libraries are loaded before the start is measured
    import spatialdata  # noqa: F401

    start = high_water_mib()
    began = time.perf_counter()
    facts = WORK[name](folder)
    seconds = time.perf_counter() - began
    return {"start_mib": round(start), "peak_mib": round(high_water_mib()), "seconds": round(seconds, 1), **facts}


@click.command()
@click.option("--transcripts", default=30_000_000, show_default=True, help="Rows of the transcript table.")
@click.option("--image-px", default=30_000, show_default=True, help="Side of the image.")
@click.option("--only", multiple=True, type=click.Choice(list(WORK)), help="Measure these only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
@click.option("--step", hidden=True, help="One step in this process, for the parent.")
@click.option("--folder", hidden=True, type=click.Path(path_type=Path))
def main(
    transcripts: int, image_px: int, only: tuple[str, ...], as_json: bool, step: str | None, folder: Path | None
) -> None:
    """Measure peak memory; exits with 1 when anything took 4 GiB or more."""
    if step is not None and folder is not None:
        if step.startswith("write-"):
            write_bundle(folder, transcripts, image_px, one_group=step == "write-one_group")
        else:
            click.echo(json.dumps(measure(step, folder)))
        return
    rows = {}
    for name in only or WORK:
        with tempfile.TemporaryDirectory() as temporary:
            click.echo(f"Measuring {name}", err=True)
            rows_of, side = (SMALL_TABLE, image_px) if name == "image" else (transcripts, 40_000)
            sizes = ("--transcripts", str(rows_of), "--image-px", str(side), "--folder", temporary)
            in_a_process("--step", f"write-{name}", *sizes)
            rows[name] = in_a_process("--step", name, "--folder", temporary)
    if as_json:
        click.echo(json.dumps({"schema": "humanst.benchmark.memory/1", "limit_gib": LIMIT_GIB, **rows}, indent=2))
    else:
        for name, row in rows.items():
            click.echo(f"{name:<12} " + "  ".join(f"{key} {value:,}" for key, value in row.items()))
    sys.exit(int(any(row["peak_mib"] >= LIMIT_GIB * 1024 for row in rows.values())))


if __name__ == "__main__":
    main()
