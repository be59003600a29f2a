"""``humanst add-targets``: further target sets for a finished release."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.choose import open_catalog
from humanst.cli.gate import license_option
from humanst.cli.gene_set_files import own_gene_sets, say_sets, target_sets
from humanst.cli.output import catalog_option, echo, echo_json, json_option, progress, workers_option
from humanst.cli.pathway_options import choice_of, pathway_options
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.shards.add_targets import Added
    from humanst.shards.target_sets import TargetSet


@click.command("add-targets")
@click.argument("release", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--set",
    "sets",
    metavar="NAME",
    help="counts, hvg:N, pca:K, random:SEED, shuffle:SEED, or a name for the gene sets of --gmt; several with commas.",
)
@click.option(
    "--gmt",
    type=click.Path(exists=True, dir_okay=False),
    help="Score these gene sets: GMT, or a table of weights.",
)
@click.option(
    "--gene-sets",
    type=click.Path(exists=True, dir_okay=False),
    help="The gene sets that the release was built with, for random:SEED, if they are none on record.",
)
@click.option(
    "--reliability",
    is_flag=True,
    help="Measure the reliability of the release's pathways on its training sections, and freeze weights into it.",
)
@pathway_options
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="The work folder that the release was built with [default: RELEASE.work].",
)
@click.option("--replace", "replacing", is_flag=True, help="Replace a set of the same name and other content.")
@license_option
@workers_option
@catalog_option
@json_option
def add_targets(
    release: str,
    sets: str | None,
    gmt: str | None,
    gene_sets: str | None,
    reliability: bool,
    work: str | None,
    replacing: bool,
    workers: int | None,
    catalog: str | None,
    as_json: bool,
    accept: tuple[str, ...],
    **options: Any,
) -> None:
    """Add target sets to a RELEASE, a file a shard, rows in its order. Shards, cards and indexes keep their bytes.

    counts are raw integer counts; hvg:N the N most variable genes of the training pairs as log1p(CP10k); pca:K K
    principal components of genes, fitted on training pairs. The section stores it was built from are needed. Gene sets
    are scored as those of the release, but for the options given.

    Two are controls: random:SEED are random gene sets that match the release's own in size and expression,
    shuffle:SEED its own pathways, each pair with those of another pair of its section.
    """
    from humanst.pathways import PathwayChoice
    from humanst.runner import default_workers
    from humanst.shards.add_targets import add_targets as add
    from humanst.shards.add_targets import read_manifest
    from humanst.shards.target_writing import Means

    path = Path(release).resolve()
    folder = Path(work).resolve() if work else path.with_name(f"{path.name}.work")
    pathways = read_manifest(path)["pathways"]
    choice = choice_of(options, PathwayChoice.of_record(pathways.get("options", {})))
    if sets is None and not reliability:
        raise UsageError(
            "Nothing is asked for", field="--set", expected="--set, --reliability or both", done="Nothing was written"
        )

    @cache
    def own() -> Path:
        return own_gene_sets(open_catalog(catalog), path, pathways, gene_sets, accept=accept, may_ask=not as_json)

    asked = target_sets(sets, gmt, choice=choice, own=own)
    weigh = own() if reliability else None
    with progress("add-targets") as tell:
        means = Means(folder, workers or default_workers(), tell=tell)
        result = add(path, asked, means, reliability=weigh, replacing=replacing)
    _print(result, path, asked, weigh is not None, as_json)


def _print(result: Added, release: Path, asked: Sequence[TargetSet], weighed: bool, as_json: bool) -> None:
    entries = result.manifest.get("targets", {})
    for one in asked:
        if one.kind == "gmt":
            say_sets(one.name, entries[one.name], f"of targets.{one.name} in MANIFEST.json")
    rows = [
        {key: entries[one.name][key] for key in ("kind", "n_columns", "columns", "beside")}
        | {"set": one.name, "added": one.name in result.added, "files": len(entries[one.name]["files"])}
        | {"rows": sum(file["n_rows"] for file in entries[one.name]["files"])}
        for one in asked
    ]
    if as_json:
        content = {"release": str(release), "version": result.manifest["version"], "sets": rows}
        content |= {"reliability": result.manifest["reliability"] if weighed else None}
        echo_json("humanst.add-targets/1", content | {"sha256sums": result.manifest["sha256sums"]})
        return
    if weighed:
        what = "added" if "reliability" in result.added else "were there already"
        entry = result.manifest["reliability"]
        known = sum(weight is not None for weight in entry["weights"])
        echo(f"reliability  {what}: {known} of {len(entry['weights'])} pathways, {len(entry['fitted_on'])} sections")
    for row in rows:
        what = "added" if row["added"] else "was there already"
        echo(f"{row['set']}  {what}: {row['rows']:,} rows x {row['n_columns']:,} columns in {row['files']} files")
