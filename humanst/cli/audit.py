"""``humanst audit``: what pathway targets are worth, measured on sections or on a release."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import open_catalog
from humanst.cli.gate import license_option
from humanst.cli.gene_set_files import first_of, gene_sets, own_gene_sets, say_sets
from humanst.cli.output import (
    catalog_option,
    echo_json,
    end_with,
    failure_rows,
    json_option,
    progress,
    say,
    table,
    workers_option,
)
from humanst.cli.pathway_options import choice_of, pages_option, pathway_options, sets_of_option
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.report.auditing import AuditReport, AuditRequest

_TOLD = (
    "pathway", "verdict", "n_sections", "n_valid", "n_passes", "half_r", "reliability", "ceiling", "moran_residual",
    "abs_r_library", "paragraph",
)  # fmt: skip


@click.command()
@click.argument("paths", metavar="SECTION...|RELEASE", nargs=-1, required=True, type=click.Path(exists=True))
@pages_option("audit")
@sets_of_option
@pathway_options
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="How often the counts are dealt into halves."
)
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Random draws of the whole collection to compare with.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of thinnings and draws.")
@click.option(
    "--panel",
    "panels",
    multiple=True,
    metavar="NAME=FILE",
    help="Compare with scores from these genes alone, a gene a line; may be repeated. The panels of targeted "
    "sections, the six of most sections, are compared anyway.",
)
@click.option(
    "--groups",
    type=click.Path(exists=True, dir_okay=False),
    help="CSV with sample_id and donor_id of sections in no release [default: a study is one donor].",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="The work folder that the release was built with [default: RELEASE.work].",
)
@license_option
@workers_option
@catalog_option
@json_option
def audit(paths: tuple[str, ...], output: str, catalog: str | None, as_json: bool, **options: Any) -> None:
    """Measure what pathway scores are worth: of built SECTION stores or folders of them, or of a RELEASE.

    A pathway and section: coverage, reliability by halves of the counts, Moran's I and library size, each beside random
    sets. All together: information kept, mutual information, self-retrieval, variance between sections and donors.
    Writes parquet tables and index.html with a verdict for every pathway.
    """  # fmt: skip
    from humanst import files
    from humanst.report.auditing import audit as do
    from humanst.report.auditing import require_audit_folder

    target = Path(output).resolve()
    require_audit_folder(target)
    _require_outside(target, paths)
    # A name of this run's own: what another left there or is at work on is not touched, and leftovers are swept.
    files.sweep_partials(target.parent)
    scratch = files.partial_path(target)
    try:
        request = _request(paths, scratch, options, catalog, as_json)
        record = _say_request(request)
        with progress("audit") as tell:
            report = do(request, target, progress=lambda step, done, total: tell(step, done, total, 0))
    finally:
        files.remove(scratch)
    _print(report, target, record, as_json)
    end_with(len(request.sources), report.failures)


def _require_outside(target: Path, paths: tuple[str, ...]) -> None:
    """A file more, and a release or a store is not as it was built."""
    from humanst.report.sources import is_release

    for path in map(Path, paths):
        if target.is_relative_to(path.resolve()) and (is_release(path) or path.resolve().suffix == ".zarr"):
            raise UsageError(
                "An audit cannot be kept inside what it is of",
                code="inside-release",
                field="-o",
                expected=f"a folder outside of {path.resolve().name}",
                found=str(target.relative_to(path.resolve().parent)),
                done="Nothing was written",
                todo="Name another folder with -o",
            )


def _request(
    paths: tuple[str, ...], scratch: Path, options: Mapping[str, Any], catalog: str | None, as_json: bool
) -> AuditRequest:
    from humanst.harmonize.gene_table import load_gene_table
    from humanst.pathways import PathwayChoice
    from humanst.report import sources as found
    from humanst.report.auditing import AuditRequest
    from humanst.report.panels import own_panels, read_panels
    from humanst.runner import default_workers

    given = [Path(path).resolve() for path in paths]
    releases = [path for path in given if found.is_release(path)]
    base = PathwayChoice()
    identity: str | None
    if releases:
        if len(given) > 1 or options["groups"]:
            raise _one_release(given)
        manifest = found.read_release(given[0])
        # What is audited is what is in the shards, but for a pairing that was permuted on purpose.
        base = PathwayChoice.of_record({**manifest["pathways"].get("options", {}), "shuffle_seed": None})
        work = Path(options["work"]) if options["work"] else given[0].with_name(f"{given[0].name}.work")
        sources = found.release_sources(given[0], manifest, work, scratch)
        title, identity = f"release {manifest['version']}", found.release_identity(given[0])
    else:
        groups = found.read_groups(Path(options["groups"])) if options["groups"] else {}
        sources = found.store_sources(given, groups)
        title = sources[0].sample_id if len(sources) == 1 else f"{len(sources)} sections"
        identity = found.stores_identity(sources)
    book = open_catalog(catalog)
    if releases and options["sets"] is None:
        accept, may_ask = options["accept"], not as_json
        path = own_gene_sets(book, given[0], manifest["pathways"], None, accept=accept, may_ask=may_ask)
    else:
        path, _ = gene_sets(book, options["sets"], pin=False, accept=options["accept"], may_ask=not as_json)
    choice = choice_of(options, base)
    choice.check_file(path)
    # A slip of the user is found before zips are unpacked.
    named = read_panels(options["panels"], load_gene_table(), [f"panel of {source.sample_id}" for source in sources])
    own, n_own = own_panels(sources)
    return AuditRequest(
        title=title,
        sources=tuple(sources),
        gene_sets=path,
        choice=choice,
        n_seeds=options["seeds"],
        n_draws=options["draws"],
        seed=options["seed"],
        panels=(*own, *named),
        n_own_panels=n_own,
        workers=options["workers"] or default_workers(),
        command=_command(given, path, options),
        is_release=bool(releases),
        identity=identity,
    )


def _one_release(given: list[Path]) -> UsageError:
    return UsageError(
        "A release is audited by itself, with its own donor groups",
        field="SECTION...|RELEASE",
        expected="one release without --groups, or section stores",
        found=", ".join(path.name for path in given[:4]),
        done="Nothing was written",
    )


def _command(given: list[Path], sets: Path, options: Mapping[str, Any]) -> str:
    """The command as another machine would take it: names instead of folders of this one."""
    words = ["humanst", "audit", *(path.name for path in given), "--sets", sets.name]
    for name in ("scorer", "smooth", "clip", "min_members", "max_members", "top"):
        if options[name] is not None:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    words += [] if options["z"] is None else ["--z" if options["z"] else "--no-z"]
    words += ["--seeds", str(options["seeds"]), "--draws", str(options["draws"]), "--seed", str(options["seed"])]
    for panel in options["panels"]:
        name, _, file = panel.partition("=")
        words += ["--panel", f"{name}={Path(file).name}"]
    words += ["--groups", Path(options["groups"]).name] if options["groups"] else []
    return shlex.join(words)


def _say_request(request: AuditRequest) -> dict[str, Any]:
    """Tell what of the gene sets and panels is not used as it was given; returns all of it."""
    from humanst.shards.scoring import sets_of_file, sets_record

    name = request.gene_sets.name
    record = sets_record(sets_of_file(request.gene_sets, name, request.choice))
    say_sets(name, record, "of gene_sets with --json")
    for panel in request.panels:
        if panel.unknown:
            lost = f"{len(panel.unknown):,} names stand for no gene, beside {len(panel.genes):,} genes"
            say(f"panel {panel.name}: {lost}: {first_of(panel.unknown)}; all are in unknown of panels with --json")
    own = [panel.name for panel in request.panels if panel.n_sections]
    if request.n_own_panels > len(own):
        compared = ", ".join(own)
        say(f"Of {request.n_own_panels:,} panels of targeted sections those of most sections are compared: {compared}")
    panels = [
        {"panel": panel.name, "n_genes": len(panel.genes), "unknown": list(panel.unknown)} for panel in request.panels
    ]
    gene_sets_of = {"file": name, "left_out": {}, "unmapped": {}, "repeated": {}, **record}
    return {"gene_sets": gene_sets_of, "panels": panels, "n_own_panels": request.n_own_panels}


def _print(report: AuditReport, output: Path, record: Mapping[str, Any], as_json: bool) -> None:
    from humanst.report.page import n_together
    from humanst.report.verdicts import VERDICTS

    summary = report.tables["pathways"]
    counts = {verdict: int((summary["verdict"] == verdict).sum()) for verdict in VERDICTS}
    n_sections = int(report.tables["sections"]["sample_id"].nunique())
    if (together := n_together(report.tables)) < n_sections:
        say(f"information, mutual and retrieval are of {together:,} of the {n_sections:,} sections")
    if as_json:
        rows = [{key: _plain(row[key]) for key in _TOLD} for row in summary.to_dict("records")]
        content = {"output": str(output), "sections": n_sections, "sections_together": n_together(report.tables)}
        content |= {"verdicts": counts, "pathways": rows, **record, "failures": failure_rows(report.failures)}
        echo_json("humanst.audit/1", content)
        return
    lines = [("pathway", "verdict", "valid in", "half r", "random p95", "|r| library")]
    for row in summary.to_dict("records"):
        half_r, null, library = (f"{row[key]:.2f}" for key in ("half_r", "half_r_null_p95", "abs_r_library"))
        lines.append(
            (row["pathway"], row["verdict"], f"{row['n_valid']} of {row['n_sections']}", half_r, null, library)
        )
    table(lines, left={0, 1})
    say(f"{output}/index.html: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is not a number is null."""
    item = value.item() if hasattr(value, "item") else value
    return None if isinstance(item, float) and item != item else item
