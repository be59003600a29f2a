"""``stamp-train domains``: tier 2, spatial domains by clustering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stamp_train.commands.output import json_option
from stamp_train.commands.parsing import (
    FILE,
    by_name,
    comma_list,
    embeddings_argument,
    methods_option,
    split_option,
    table_option,
    trained_on_option,
)
from stamp_train.commands.probe import tell


@click.command()
@click.argument("release")
@embeddings_argument
@click.option("--labels", type=FILE, required=True, help="CSV with key and label: what a pathologist called spots.")
@split_option("Whose sections.")
@methods_option("kmeans,ward")
@click.option("--seeds", "n_seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Of k-means.")
@click.option(
    "--not-labels",
    type=comma_list,
    metavar="A,B,...",
    help="What stands for no label  [default: undetermined,unknown,nan].",
)
@trained_on_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the intervals.")
@table_option
@json_option
def domains(
    release: str, embeddings: tuple[tuple[str, Path], ...], out: Path | None, as_json: bool, **given: Any
) -> None:
    """Cluster the embeddings of each section and compare with what a pathologist drew (tier 2).

    k-means with as many clusters as there are classes of at least 10 spots; ARI, NMI, homogeneity and completeness.
    Beside them stand mean colour and library size. Intervals draw donors; fewer than 8 have none.
    """
    from stamp_train.tier_report import domains_report
    from stamp_train.tier_tables import check_table_path

    if out is not None:
        check_table_path(out)
    if given["not_labels"] is None:
        del given["not_labels"]
    else:
        given["not_labels"] = ("", *given["not_labels"])
    report = domains_report(release, by_name(embeddings), **given)
    tell(report, out, as_json=as_json)
