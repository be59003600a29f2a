"""``stamp-train probe``: tier 1, genes and pathways by linear probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stamp_train.commands.output import echo_json, echo_table, json_option, say
from stamp_train.commands.parsing import (
    by_name,
    comma_list,
    embeddings_argument,
    fit_on_option,
    genes_option,
    gmt_option,
    split_option,
    table_option,
    trained_on_option,
)


@click.command()
@click.argument("release")
@embeddings_argument
@split_option("Whose donors are held out in turn.")
@fit_on_option
@click.option(
    "--test-donors", type=comma_list, metavar="A,B,...", help="Donor groups to hold out  [default: all of --split]."
)
@gmt_option
@genes_option
@click.option("--allow-missing", is_flag=True, help="Go on without pairs that have no embedding; they are counted.")
@trained_on_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of ceiling and intervals.")
@table_option
@json_option
def probe(
    release: str, embeddings: tuple[tuple[str, Path], ...], out: Path | None, as_json: bool, **given: Any
) -> None:
    """Predict genes and pathways from embeddings, leaving out one donor after the other (tier 1).

    Three columns: hest-compat (the protocol of HEST-Bench), cv-alpha (alpha by inner cross-validation) and norm (log1p
    of counts per 10,000, r within sections). Beside them stand mean colour, the library size alone, and the ceiling
    that noise sets. Intervals draw donors; fewer than 8 have none.
    """
    from stamp_train.tier_report import probe_report
    from stamp_train.tier_tables import check_table_path

    if out is not None:
        check_table_path(out)
    given["fit_on"] = given["fit_on"] or ()
    report = probe_report(release, by_name(embeddings), **given)
    tell(report, out, as_json=as_json)


def tell(report: Any, out: Path | None, *, as_json: bool) -> None:
    """Print a report and its notes, and write its long table when it is wanted."""
    written = {} if out is None else {"table": str(out), "table_sha256": report.write(out)}
    if as_json:
        echo_json({**report.content(), **written})
        return
    echo_table(report.rows())
    for note in report.notes:
        say(note)
