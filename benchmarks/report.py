"""How long the pages of 50, 100 and 200 sections take, and how large the first of them is.

Donors are written with ``humanst.demo``, a small section each, and built into one release a size by the commands a user
has; the section stores are built once. A report is timed with one process and from the zips of the release, as whoever
fetched it makes it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.align_world import STUDY, WorldPlan, study
from humanst.demo import write_atlas

SIDE_UM = 1150.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Where the world is written, or was written before.")
    parser.add_argument("--sizes", default="50,100,200", help="Sections of the releases, comma-separated.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that write and build; a report takes one.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = sorted(int(text) for text in options.sizes.split(","))
    folder = options.folder.resolve()
    releases = {size: _release(folder, size, sizes[-1], options.workers) for size in sizes}
    rows = [_measure(folder, releases[size], size) for size in sizes]
    if options.json:
        print(json.dumps({"rows": rows}, indent=2))
        return
    print("sections  seconds  a section  index MB  folder MB")
    for row in rows:
        print(
            f"{row['sections']:8d}  {row['seconds']:7.1f}  {row['seconds'] / row['sections']:9.3f}  "
            f"{row['index_bytes'] / 1e6:8.2f}  {row['bytes'] / 1e6:9.1f}"
        )


def _release(folder: Path, size: int, most: int, workers: int) -> Path:
    release = folder / f"release{size}"
    if (release / "MANIFEST.json").exists():
        return release
    atlas = folder / "atlas"
    if not (folder / "written").exists():
        plan = WorldPlan(train=most - most // 5, val=most // 10, test=most // 10, side_um=SIDE_UM)
        write_atlas(atlas, studies=(study(plan),), workers=workers)
        (folder / "written").touch()
    names = ",".join(f"S{number:02d}" for number in range(size))
    _humanst(
        folder,
        *("build-shards", STUDY, "--sections", names, "-o", str(release), "--work", str(folder / "work")),
        *("--workers", str(workers)),
    )
    return release


def _measure(folder: Path, release: Path, size: int) -> dict[str, float]:
    site, no_work = folder / f"site{size}", folder / "no-work"
    shutil.rmtree(site, ignore_errors=True)
    began = time.monotonic()
    printed = _humanst(
        folder, "report", str(release), "-o", str(site), "--folder", "--work", str(no_work), "--workers", "1", "--json"
    )
    seconds = time.monotonic() - began
    content = json.loads(printed)
    return {key: content[key] for key in ("bytes", "index_bytes")} | {"sections": size, "seconds": seconds}


def _humanst(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    settings = {
        "HUMANST_OFFLINE": "1",
        "HUMANST_CATALOG": str(folder / "atlas" / "catalog.yaml"),
        "HUMANST_MIRROR": str(folder / "atlas" / "mirror"),
        "HUMANST_CACHE_DIR": str(folder / "cache"),
    }
    environment = os.environ | settings | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
