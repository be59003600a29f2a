"""``humanst demo``: write the embedded mini atlas, run the main job on it, read pairs back, and draw its pages."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from humanst.cli.output import echo_json, json_option, progress, say, workers_option
from humanst.errors import raise_for_failures


@click.command()
@click.argument("folder", type=click.Path(file_okay=False), default="humanst-demo")
@click.option("--only-write", is_flag=True, help="Write the vendor files and the catalog, build nothing.")
@click.option("--seed", default=0, show_default=True, help="Another seed is another atlas.")
@workers_option
@json_option
def demo(folder: str, only_write: bool, seed: int, workers: int | None, as_json: bool) -> None:
    """Write the mini atlas to FOLDER, build a release from it, verify it, read pairs back and draw its pages.

    The atlas is synthetic but its files are the vendors' formats: everything runs as it does on real data.
    """
    from humanst.demo import write_atlas

    root = Path(folder)
    if not only_write:
        _require_room_for_pages(root)
    say(f"Writing the mini atlas to {root}/atlas")
    began = time.monotonic()
    atlas = root / "atlas"
    write_atlas(atlas, seed=seed)
    if only_write:
        if as_json:
            echo_json("humanst.demo/1", {"atlas": str(atlas), "catalog": str(atlas / "catalog.yaml")})
        else:
            click.echo(f"HUMANST_CATALOG={atlas}/catalog.yaml HUMANST_MIRROR={atlas}/mirror")
        return
    content = _build_and_read(root, atlas, workers, as_json)
    content["seconds"] = round(time.monotonic() - began, 1)
    if as_json:
        echo_json("humanst.demo/1", content)
        return
    _print(content, root)


def _build_and_read(root: Path, atlas: Path, workers: int | None, as_json: bool) -> dict[str, Any]:
    from humanst.cli.build_shards import print_report
    from humanst.cli.choose import choose_sections, open_catalog
    from humanst.cli.release_options import release_spec
    from humanst.runner import default_workers
    from humanst.shards.grouping import Chosen
    from humanst.shards.release import ReleaseRequest, build_release
    from humanst.shards.verify import verify_release

    # The demo is a world of its own: its files come from its own mirror and go to its own cache.
    os.environ |= {
        "HUMANST_MIRROR": str((atlas / "mirror").resolve()),
        "HUMANST_CACHE_DIR": str((root / "cache").resolve()),
        "HUMANST_OFFLINE": "1",
    }
    book = open_catalog(str(atlas / "catalog.yaml"))
    chosen = choose_sections(book, (), None, None)
    options = {"gene_sets": None, "assign": str(atlas / "assign.csv"), "release_version": "demo", "pin": False}
    request = ReleaseRequest(
        chosen=tuple(Chosen(study, section) for study, section in chosen),
        release=root / "release",
        work=root / "work",
        spec=release_spec(book, {**options, "shard_pairs": 512, "seed": 0, "min_tissue_fraction": 0.15}),
        workers=workers or default_workers(),
    )
    with progress("demo") as tell:
        report = build_release(request, progress=tell)
    if not as_json:
        print_report(report, False)
    raise_for_failures(len(chosen), report.failures)
    verification = verify_release(request.release)
    verification.raise_if_bad()
    return {
        "release": str(request.release),
        "totals": report.manifest["totals"],
        "read": _read_back(request.release),
        "page": str(_write_page(root, request.workers)),
    }


def _require_room_for_pages(root: Path) -> None:
    """What others keep where the pages go is found before minutes of work, not after."""
    from humanst.report.atlas import require_report_folder

    require_report_folder((root / "site").resolve())


def _write_page(root: Path, workers: int) -> Path:
    """Write the pages of the release, and name the one to open."""
    from humanst import files
    from humanst.report.atlas import PAGE, ReportRequest, write_report
    from humanst.report.atlas_source import open_source

    site, work = (root / "site").resolve(), (root / "work").resolve()
    scratch = files.partial_path(site.with_name("site.stores"))
    try:
        source = open_source(root / "release", work=work, scratch=scratch)
        with progress("report") as tell:
            made = write_report(
                ReportRequest(source, scratch, work=work, workers=workers),
                site,
                progress=lambda step, done, total: tell(step, done, total, 0),
            )
    finally:
        files.remove(scratch)
    raise_for_failures(len(made.facts.rows), made.failures)
    return site / PAGE


def _read_back(release: Path) -> dict[str, Any]:
    """Read every pair of every split as a user of the release does."""
    from humanst.load import PairDataset, open_release

    opened = open_release(release)
    pairs: dict[str, int] = {}
    example: dict[str, Any] = {}
    for split in opened.splits:
        dataset = PairDataset(opened, split)
        keys = {dataset[number]["key"] for number in range(len(dataset))}
        pairs[split] = len(keys)
        if len(dataset) and not example:
            pair = dataset[0]
            example = {
                "key": pair["key"],
                "image": f"{pair['image'].dtype} {pair['image'].shape}",
                "pathways": f"{pair['pathways'].dtype} {pair['pathways'].shape}",
                "measured": int(pair["mask"].sum()),
            }
    return {"pairs": pairs, "example": example}


def _print(content: dict[str, Any], root: Path) -> None:
    example = content["read"]["example"]
    click.echo(f"read back: {', '.join(f'{n:,} {split}' for split, n in content['read']['pairs'].items())} pairs")
    click.echo(f"one pair: {example['key']}, image {example['image']}, pathways {example['pathways']}")
    click.echo(f"done in {content['seconds']} s; the release is {content['release']}")
    click.echo("read it:  from humanst import dataloader")
    click.echo(f"          for batch in dataloader({content['release']!r}, batch_size=64): ...")
    click.echo(f"look at it: {content['page']}")
    say(f"The vendor files are below {root}/atlas/mirror, the section stores below {root}/work/sections")
