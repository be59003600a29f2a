"""``humanst add-targets``: further target sets for a finished release."""

from __future__ import annotations

from pathlib import Path

import click

from humanst.cli.output import echo_json, json_option, progress, workers_option
from humanst.cli.release_options import target_sets


@click.command("add-targets")
@click.argument("release", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--set",
    "sets",
    required=True,
    metavar="NAME",
    help="counts, hvg:N, pca:K, or a name for the gene sets of --gmt; several with commas.",
)
@click.option("--gmt", type=click.Path(exists=True, dir_okay=False), help="Score these gene sets as the default ones.")
@click.option(
    "--work",
    type=click.Path(file_okay=False),
    help="The work folder that the release was built with [default: RELEASE.work].",
)
@click.option("--replace", "replacing", is_flag=True, help="Replace a set of the same name and other content.")
@workers_option
@json_option
def add_targets(
    release: str, sets: str, gmt: str | None, work: str | None, replacing: bool, workers: int | None, as_json: bool
) -> None:
    """Add target sets to a RELEASE, a file a shard, rows in its order. Shards, cards and indexes keep their bytes.

    counts are raw integer counts; hvg:N the N most variable genes of the training pairs as log1p(CP10k); pca:K K
    principal components of genes, fitted on training pairs. The section stores it was built from are needed.
    """
    from humanst.runner import default_workers
    from humanst.shards.add_targets import add_targets as add
    from humanst.shards.target_writing import Means

    path = Path(release).resolve()
    folder = Path(work).resolve() if work else path.with_name(f"{path.name}.work")
    asked = target_sets(sets, gmt)
    with progress("add-targets") as tell:
        result = add(path, asked, Means(folder, workers or default_workers(), tell=tell), replacing=replacing)
    entries = result.manifest["targets"]
    rows = [
        {key: entries[one.name][key] for key in ("kind", "n_columns", "columns", "beside")}
        | {"set": one.name, "added": one.name in result.added, "files": len(entries[one.name]["files"])}
        | {"rows": sum(file["n_rows"] for file in entries[one.name]["files"])}
        for one in asked
    ]
    if as_json:
        content = {"release": str(path), "version": result.manifest["version"], "sets": rows}
        echo_json("humanst.add-targets/1", content | {"sha256sums": result.manifest["sha256sums"]})
        return
    for row in rows:
        what = "added" if row["added"] else "was there already"
        click.echo(f"{row['set']}  {what}: {row['rows']:,} rows x {row['n_columns']:,} columns in {row['files']} files")
