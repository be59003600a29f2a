"""Planning an atlas of 1.8 million pairs: `plan.json`, final groups, and `pack.parquet`; seconds and peak memory.

1,152 sections of 64 studies, 1,563 pairs each, as the catalog and the extracts would describe them; nothing is cut.
Each step runs in a process of its own, which reports its high-water mark (``VmHWM``) and what it was before the work
began.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.memory import high_water_mib
from humanst import files
from humanst.catalog import Lattice, Recipe, Section, Source, Study
from humanst.shards.done import SectionDone
from humanst.shards.extract import Extracted
from humanst.shards.extract_rows import ROWS, write_rows
from humanst.shards.grouping import Chosen
from humanst.shards.packing import make_pack
from humanst.shards.plan import make_plan
from humanst.shards.plan_file import plan_content, plan_of, read_plan
from humanst.shards.request import ReleaseRequest
from humanst.shards.settling import settle
from humanst.shards.spec import ReleaseSpec, uid_of

STEPS = ("plan", "settle", "pack")
N_STUDIES = 64


def studies(n_sections: int, n_pairs: int) -> list[Study]:
    """Studies of as many sections each; two sections a donor."""
    recipe = Recipe("visium", "ensembl", False, "unmeasured", Lattice("hex", 100.0, 55.0))
    found = []
    for number in range(N_STUDIES):
        study_id = f"study{number:02d}"
        sections = []
        for k in range(n_sections // N_STUDIES):
            sample_id = f"{study_id}_S{k:04d}"
            row = {
                "sample_id": sample_id,
                "section_id": f"S{k:04d}",
                "donor_id": f"{study_id}_d{k // 2}",
                "organ": f"organ{number % 20}",
                "disease": "unknown",
                "release_added": "0.1.0",
            }
            sources = tuple(
                Source(role, f"S{k:04d}/{role}", bytes=1, sha256=f"{number * 10_000 + k:060d}{role[:4]:>4}")
                for role in ("counts", "image", "scalefactors", "positions")
            )
            sections.append(
                Section(study_id, f"S{k:04d}", sample_id, "active", sources, row, spots_under_tissue=n_pairs)
            )
        found.append(
            Study(study_id, "A study", "visium", "CC-BY-4.0", None, "made", None, "None", (), recipe, tuple(sections))
        )
    return found


def request_for(folder: Path, n_sections: int, n_pairs: int) -> ReleaseRequest:
    """The request for all of them."""
    chosen = tuple(Chosen(study, section) for study in studies(n_sections, n_pairs) for section in study.sections)
    spec = ReleaseSpec("0.1.0", folder / "sets.gmt", "sets.gmt", "0" * 64)
    return ReleaseRequest(chosen=chosen, related=chosen, release=folder / "out", work=folder / "work", spec=spec)


def write_extracts(request: ReleaseRequest, n_pairs: int) -> None:
    """What extraction leaves for packing to read: uids, and the facts of the card that groups depend on."""
    import pyarrow as pa

    patch = request.spec.patch_hash()
    for item in request.chosen:
        name = item.section.sample_id
        uids = [uid_of(name, str(spot), patch) for spot in range(n_pairs)]
        write_rows(request.work / "extract" / name / ROWS, pa.table({"uid": uids}))


def done_of(request: ReleaseRequest, n_pairs: int) -> dict[str, SectionDone]:
    """The cards of all sections, each with an identity of its own."""
    rng = np.random.default_rng(0)
    found = {}
    for item in request.chosen:
        name = item.section.sample_id
        identity = {
            "image": name,
            "turns": [rng.bytes(32).hex() for _ in range(8)],
            "counts": [rng.bytes(8).hex() for _ in range(64)],
        }
        section = {"study_id": item.study.study_id}
        card = {"inputs": name, "pairs": n_pairs, "identity": identity, "section": section, "codecs": {}}
        found[name] = SectionDone(name, (), Extracted(name, request.work / "extract" / name, card, True), None)
    return found


def run_step(step: str, folder: Path, n_sections: int, n_pairs: int) -> dict[str, Any]:
    """Do one step in this process."""
    request = request_for(folder, n_sections, n_pairs)
    path = folder / "plan.json"
    if step == "plan":
        before, began = high_water_mib(), time.perf_counter()
        files.write_json(path, plan_content(request, make_plan(request)))
        bytes_written = path.stat().st_size
    else:
        plan, done = plan_of(read_plan(path)), done_of(request, n_pairs)
        before, began = high_water_mib(), time.perf_counter()
        settled = settle(request, plan, done)
        bytes_written = 0
        if step == "pack":
            before, began = high_water_mib(), time.perf_counter()
            bytes_written = (make_pack(settled, request.spec, request.work).folder / "pack.parquet").stat().st_size
    seconds = time.perf_counter() - began
    return {
        "step": step,
        "seconds": round(seconds, 2),
        "before_mib": round(before),
        "peak_mib": round(high_water_mib()),
        "bytes": bytes_written,
    }


@click.command()
@click.option("--sections", default=1152, show_default=True)
@click.option("--pairs", default=1563, show_default=True, help="Of each section.")
@click.option("--step", type=click.Choice(STEPS), help="Used by the script itself.")
@click.option("--folder", type=click.Path(), help="Used by the script itself.")
@click.option("--json", "as_json", is_flag=True)
def main(sections: int, pairs: int, step: str | None, folder: str | None, as_json: bool) -> None:
    """Measure plan, settle and pack.parquet of a synthetic atlas."""
    if step and folder:
        print(json.dumps(run_step(step, Path(folder), sections, pairs)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        write_extracts(request_for(Path(temporary), sections, pairs), pairs)
        rows = []
        for name in STEPS:
            call = [sys.executable, "-m", "benchmarks.plan", "--step", name, "--folder", temporary]
            call += ["--sections", str(sections), "--pairs", str(pairs)]
            ran = subprocess.run(call, capture_output=True, text=True, check=True)
            rows.append(json.loads(ran.stdout))
    if as_json:
        print(json.dumps({"sections": sections, "pairs": sections * pairs, "steps": rows}, indent=2))
        return
    print(f"{sections:,} sections, {sections * pairs:,} pairs")
    for row in rows:
        print(f"{row['step']:8}{row['seconds']:8.2f} s  peak {row['peak_mib']:,} MiB (before {row['before_mib']:,})  "
              f"{row['bytes']:,} bytes")  # fmt: skip


if __name__ == "__main__":
    main()
