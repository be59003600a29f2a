"""A real build of some 54,000 pairs: section stores and images of record in, shards out.

Sixteen Visium sections of `benchmarks.build_world` are written and their stores built; then, each in a process of its
own: the same patches cut alone; a build with one worker; builds of a quarter, half and all of the sections with two;
and shards that draw on as many sections as the whole atlas has. Seconds are wall time; CPU seconds are those of the
process and its workers, user and system, so that other work on the machine counts as little as possible. Peak memory is
the high-water mark (``VmHWM``) of the largest worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.build_meter import Meter, cpu_seconds
from benchmarks.build_report import show, summary
from benchmarks.build_world import read_donor, read_world, write_world
from benchmarks.memory import gene_names, high_water_mib
from humanst import files
from humanst.shards.grouping import Chosen
from humanst.shards.request import ReleaseRequest
from humanst.shards.spec import ReleaseSpec

GENE_SETS = "gene_sets/msigdb_h.all.v2025.1.Hs.symbols.gmt"
MADE_BY_A_BUILD = ("extract", "done", "pack", "index")
ATLAS_SECTIONS, ATLAS_PAIRS = 1152, 1_800_000


def gene_sets(folder: Path) -> Path:
    """The Hallmark sets where they are at hand, else fifty sets of as many genes drawn by lot."""
    path = Path(os.environ.get("HUMANST_TEST_DATA", ".")) / GENE_SETS
    if path.is_file():
        return path
    path = folder / "drawn.gmt"
    if not path.exists():
        rng = np.random.default_rng(3)
        symbols = [name for name, _ in gene_names(14_000)]
        sets = ["\t".join([f"DRAWN_{k}", "drawn", *rng.choice(symbols, 146, replace=False)]) for k in range(50)]
        files.write_bytes(path, ("\n".join(sets) + "\n").encode())
    return path


def request_for(folder: Path, n_sections: int, workers: int) -> ReleaseRequest:
    """The request for the first sections of the world."""
    chosen = tuple(read_world(folder)[:n_sections])
    sets = gene_sets(folder)
    spec = ReleaseSpec("0.1.0", sets, sets.name, files.sha256_file(sets))
    return ReleaseRequest(
        chosen=chosen, related=chosen, release=folder / "out", work=folder / "work", spec=spec, workers=workers
    )


def make_world(folder: Path, n_sections: int, workers: int) -> dict[str, Any]:
    """Write the sources."""
    del workers
    began = time.perf_counter()
    rows = write_world(folder, n_sections)
    return {"seconds": time.perf_counter() - began, "spots": sum(row["spots"] for row in rows)}


def make_stores(folder: Path, n_sections: int, workers: int) -> dict[str, Any]:
    """Build the section stores, study by study."""
    from humanst.builder import BuildOptions
    from humanst.builder.sections import build_sections

    began, cpu = time.perf_counter(), cpu_seconds()
    studies: dict[str, list[Chosen]] = {}
    for item in read_world(folder)[:n_sections]:
        studies.setdefault(item.study.study_id, []).append(item)
    for chosen in studies.values():
        sections = [item.section for item in chosen]
        _, failures = build_sections(chosen[0].study, sections, BuildOptions(folder / "work"), workers=workers)
        if failures:
            raise RuntimeError(f"{failures[0][0]}: {failures[0][1].facts}")
    return {"sections": n_sections, "seconds": time.perf_counter() - began, "cpu_seconds": cpu_seconds() - cpu}


def cut_alone(folder: Path, n_sections: int, workers: int) -> dict[str, Any]:
    """Cut the patches of all spots under tissue, and keep none."""
    from humanst.store import open_section
    from humanst.tiles import PatchSpec, cut_patches, inside

    del workers
    n, seconds, cpu = 0, 0.0, 0.0
    for item in read_world(folder)[:n_sections]:
        stored = open_section(folder / "work" / "sections" / f"{item.section.sample_id}.zarr")
        scale, spec = stored.attrs["picture"]["um_per_pixel"], PatchSpec()
        spots = stored.spots[stored.spots["tissue_fraction"] >= spec.min_tissue_fraction]
        xy_px = spots[["x_px", "y_px"]].to_numpy()
        size = (stored.attrs["picture"]["width_px"], stored.attrs["picture"]["height_px"])
        xy_px = xy_px[inside(xy_px, *size, um_per_pixel=scale, spec=spec)]
        image = folder / "cache" / "sources" / item.study.study_id / item.section.sources[0].path
        began, cpu_began = time.perf_counter(), cpu_seconds()
        n += sum(1 for _ in cut_patches(image, xy_px, um_per_pixel=scale, spec=spec))
        seconds, cpu = seconds + time.perf_counter() - began, cpu + cpu_seconds() - cpu_began
    return {"patches": n, "seconds": seconds, "cpu_seconds": cpu}


def build(folder: Path, n_sections: int, workers: int) -> dict[str, Any]:
    """Build the release anew, from the stores that are there."""
    from humanst.shards.release import build_release

    request = request_for(folder, n_sections, workers)
    for path in (request.release, *(request.work / name for name in MADE_BY_A_BUILD)):
        files.remove(path)
    with Meter() as meter:
        report = build_release(request, progress=meter.tell)
    if report.failures:
        raise RuntimeError(f"{report.failures[0][0]}: {report.failures[0][1].facts}")
    totals = report.manifest["totals"]
    return {
        "sections": n_sections,
        "workers": workers,
        "pairs": totals["pairs"],
        "shards": totals["shards"],
        "shard_bytes": sum(path.stat().st_size for path in request.release.glob("data/*/*.tar")),
        "release_bytes": _bytes_below(request.release),
        "work_bytes": sum(_bytes_below(request.work / name) for name in MADE_BY_A_BUILD),
        **meter.result(),
    }


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def pack_wide(folder: Path, n_sections: int, workers: int) -> dict[str, Any]:
    """Pack shards that draw on as many extracts as the atlas has sections: each extract stands for several."""
    from benchmarks.build_wide import pack_wide_shards

    del workers
    return pack_wide_shards(request_for(folder, n_sections, 1), ATLAS_SECTIONS)


STEPS: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    "world": make_world,
    "stores": make_stores,
    "cut": cut_alone,
    "build": build,
    "wide": pack_wide,
}


def run_step(name: str, folder: Path, n_sections: int, workers: int) -> dict[str, Any]:
    """Do one step in a process of its own."""
    click.echo(f"{name}: {n_sections} sections, {workers} workers", err=True)
    call = [sys.executable, "-m", "benchmarks.build", "--step", name, "--folder", str(folder)]
    call += ["--sections", str(n_sections), "--workers", str(workers)]
    environment = os.environ | {"HUMANST_CACHE_DIR": str(folder / "cache"), "HUMANST_OFFLINE": "1"}
    ran = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@click.command()
@click.option("--sections", default=16, show_default=True, help="About 3,400 pairs each.")
@click.option("--folder", type=click.Path(), help="Keep the world and the stores here for the next run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the tables.")
@click.option("--step", type=click.Choice(list(STEPS)), help="Used by the script itself.")
@click.option("--workers", default=1, help="Used by the script itself.")
def main(sections: int, folder: str | None, as_json: bool, step: str | None, workers: int) -> None:
    """Measure a whole build beside patch cutting alone, with one worker and with two."""
    if step and folder:
        found = STEPS[step](Path(folder), sections, workers)
        print(json.dumps({**found, "process_peak_mib": high_water_mib()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder).resolve() if folder else Path(temporary)
        result: dict[str, Any] = {"schema": "humanst.benchmark.build/1", "counts": read_donor().source}
        if not (place / "sections.json").exists() or len(read_world(place)) < sections:
            result["world"] = run_step("world", place, sections, 2)
        result["stores"] = run_step("stores", place, sections, 2)
        result["cut"] = run_step("cut", place, sections, 1)
        sizes = sorted({max(1, sections // 4), max(1, sections // 2), sections})
        runs = [(sections, 1), *((size, 2) for size in sizes)]
        result["builds"] = [run_step("build", place, size, n) for size, n in runs]
        result["wide"] = run_step("wide", place, sections, 1)
    result |= summary(result, ATLAS_PAIRS, ATLAS_SECTIONS)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
