"""``humanst build-shards``: section stores (building those that are missing) to a release folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import (
    choose_sections,
    on_record,
    open_catalog,
    pool_like_option,
    qc_options,
    qc_overrides,
    recipe_option,
    require_one_section,
    section_options,
)
from humanst.cli.gate import gate_sections, license_option
from humanst.cli.output import (
    catalog_option,
    echo_json,
    end_with,
    failure_rows,
    json_option,
    progress,
    say,
    say_findings,
    workers_option,
)

if TYPE_CHECKING:
    from humanst.catalog import Catalog
    from humanst.shards.release import ReleaseReport
    from humanst.shards.spec import ReleaseSpec


@click.command("build-shards")
@click.argument("studies", metavar="[STUDY | FOLDER]...", nargs=-1)
@recipe_option
@section_options
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="The release folder.")
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="Section stores and intermediates; a later run goes on from them [default: OUTPUT.work].",
)
@click.option("--gene-sets", help="A file of the resource gene_sets, or a GMT file [default: the catalog's default].")
@click.option(
    "--assign",
    type=click.Path(exists=True, dir_okay=False),
    help="CSV with donor_id (or sample_id) and split: overrides the hash for those groups.",
)
@click.option("--release-version", default="0.1.0", show_default=True, help="Version written into the manifest.")
@click.option("--seed", default=0, show_default=True, help="Goes into the order of pairs.")
@click.option(
    "--shard-pairs", type=click.IntRange(min=1), default=4096, show_default=True, help="Pairs in a full shard."
)
@click.option(
    "--tissue",
    type=click.Path(exists=True, dir_okay=False),
    help="GeoJSON outline of one section's tissue in level-0 pixels, instead of the optical-density mask.",
)
@click.option("--embed-image", is_flag=True, help="Section stores carry the image from max(native, 0.5) um/px down.")
@click.option("--pin", is_flag=True, help="Take files that have no hash on record, writing theirs to a lock file.")
@click.option(
    "--min-tissue-fraction",
    type=click.FloatRange(0, 1),
    default=0.15,
    show_default=True,
    help="Drop patches with less tissue than this share.",
)
@license_option
@pool_like_option
@qc_options
@workers_option
@catalog_option
@json_option
def build_shards(
    studies: tuple[str, ...],
    recipe: str | None,
    sections: str | None,
    where: str | None,
    output: str,
    work: str | None,
    accept: tuple[str, ...],
    workers: int | None,
    catalog: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Build a release of patch-pathway pairs from the catalog's sections, or from your own folders with a --recipe.

    Sections that cannot be built are listed and left out; the others are released (exit code 4).
    """
    from humanst.runner import default_workers
    from humanst.shards.grouping import Chosen
    from humanst.shards.release import ReleaseRequest, build_release

    book = open_catalog(catalog)
    asked = choose_sections(book, studies, sections, where, recipe=recipe)
    require_one_section(options["tissue"], asked)
    pairs, gate = gate_sections(book, asked, accept, may_ask=not as_json)
    release = Path(output).resolve()
    request = ReleaseRequest(
        chosen=tuple(Chosen(study, section) for study, section in pairs),
        related=tuple(Chosen(study, section) for study in on_record(book, pairs) for section in study.sections),
        release=release,
        work=Path(work) if work else release.with_name(f"{release.name}.work"),
        spec=release_spec(book, options),
        pin=options["pin"],
        embed_image=options["embed_image"],
        tissue=Path(options["tissue"]) if options["tissue"] else None,
        pool_like=options["pool_like"],
        qc=qc_overrides(options),
        workers=workers or default_workers(),
        accepted=gate.accepted,
        recipe=Path(recipe) if recipe else None,
    )
    with progress("build-shards") as tell:
        report = build_release(request, progress=tell)
    report = replace(report, failures=(*gate.failures, *report.failures))
    print_report(report, as_json)
    end_with(len(asked), report.failures)


def release_spec(book: Catalog, options: dict[str, Any]) -> ReleaseSpec:
    """The release's parameters from the command's options; fetches the gene sets."""
    from humanst.files import sha256_file
    from humanst.shards.spec import ReleaseSpec
    from humanst.splits import read_assignment
    from humanst.tiles import PatchSpec

    path, name = gene_sets(book, options["gene_sets"], pin=options["pin"])
    assigned = read_assignment(Path(options["assign"])) if options["assign"] else {}
    return ReleaseSpec(
        version=options["release_version"],
        gene_sets_path=path,
        gene_sets_name=name,
        gene_sets_sha256=sha256_file(path),
        patch=PatchSpec(min_tissue_fraction=options["min_tissue_fraction"]),
        assigned=tuple(sorted(assigned.items())),
        shard_pairs=options["shard_pairs"],
        seed=options["seed"],
    )


def gene_sets(book: Catalog, asked: str | None, *, pin: bool) -> tuple[Path, str]:
    """The GMT file and its name: a local file, or a file of the resource ``gene_sets``."""
    from humanst.errors import UsageError
    from humanst.fetch import fetch_resource

    if asked and Path(asked).is_file():
        return Path(asked), Path(asked).name
    resource = book.resources.get("gene_sets")
    known = [source.path for source in resource.sources] if resource else []
    name = asked or (resource.default if resource else "")
    if resource is None or name not in known:
        raise UsageError(
            "No such gene sets",
            field="--gene-sets",
            expected=f"a GMT file, or one of {', '.join(known) or 'no catalogued files'}",
            found=repr(asked),
        )
    return fetch_resource(resource, name, pin=pin), name


def print_report(report: ReleaseReport, as_json: bool) -> None:
    """Print what was built: warnings on stderr, totals on stdout."""
    for section in report.done:
        say_findings(section.findings, section.sample_id)
    say_findings(report.findings, "release")
    manifest = report.manifest
    if report.earlier == "same":
        say(f"{report.release.name}: this release was there already and is unchanged")
    if as_json:
        summary = {key: manifest.get(key) for key in ("version", "totals", "organs", "sha256sums")}
        rows = [
            {key: row[key] for key in ("sample_id", "split", "group", "spots_in", "spots_out", "pairs", "drops")}
            | {"pair_drops": row["pair_drops"]}
            for row in manifest.get("sections", [])
        ]
        failures = failure_rows(report.failures)
        content = {"release": str(report.release), "earlier": report.earlier, **summary}
        content |= {"sections": rows, "failures": failures}
        echo_json("humanst.build-shards/1", content)
        return
    for row in manifest.get("sections", []):
        lost = [
            f"{drop['n']} {drop['reason']}"
            for drop in [*row["drops"], *row["pair_drops"]]
            if drop["what"] in ("spots", "pairs")
        ]
        dropped = f" ({', '.join(lost)})" if lost else ""
        click.echo(f"{row['sample_id']}  {row['split']}  {row['spots_in']} spots -> {row['pairs']} pairs{dropped}")
    if manifest:
        totals = manifest["totals"]
        click.echo(
            f"{report.release}: {totals['pairs']:,} pairs of {totals['sections']} sections "
            f"({totals['donor_groups']} split groups) in {totals['shards']} shards, {totals['bytes'] / 1e6:,.1f} MB"
        )
    else:
        say("No section gave pairs: nothing was released")
