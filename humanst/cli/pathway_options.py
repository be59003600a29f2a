"""How pathway targets are made, as options of all commands that make or show them, and where what is shown goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from humanst.pathways import PathwayChoice

Command = TypeVar("Command", bound=Callable[..., Any])

# Those of humanst.pathways.options.SCORERS, which --help shall not import; a test compares them.
SCORERS = ("bincontrol", "mean", "zmean", "score_genes", "aucell", "ulm", "nbres", "sum")

_SCORING = (
    click.option(
        "--scorer", type=click.Choice(SCORERS), help="How a set's genes become a score [default: bincontrol]."
    ),
    click.option(
        "--smooth",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of the mean of a spot's lattice neighbours in its score [default: 0].",
    ),
    click.option("--z/--no-z", "z", default=None, help="Whether scores are z over each section [default: z]."),
    click.option(
        "--clip", type=click.FloatRange(0, min_open=True), help="Bound of the absolute score [default: none]."
    ),
)
_SETS = (
    click.option("--min-members", type=click.IntRange(1), help="Leave out gene sets with fewer members, by name."),
    click.option("--max-members", type=click.IntRange(1), help="Leave out gene sets with more members, by name."),
    click.option(
        "--top", type=click.IntRange(1), help="Of a table of weights: the genes kept a pathway, heaviest first."
    ),
)
shuffle_option = click.option(
    "--shuffle-pairs",
    type=click.IntRange(0),
    metavar="SEED",
    help="A control: give every pair the pathways of another pair of its section.",
)
sets_of_option = click.option(
    "--sets",
    "--gene-sets",
    "sets",
    help="Gene sets to score for, as for build-shards [default: those of the release, else the catalog's].",
)
NAMES = ("scorer", "smooth", "z", "clip", "min_members", "max_members", "top")


def pathway_options(command: Command) -> Command:
    """Scorer and size limits, none of them given a value where the user gave none."""
    for option in reversed((*_SCORING, *_SETS)):
        command = option(command)
    return command


def pages_option(default: str) -> Callable[[Command], Command]:
    """The folder that pages and tables go to; ``--output`` as of every other command, and ``--out``."""
    return click.option(
        "-o",
        "--output",
        "--out",
        "output",
        default=default,
        show_default=True,
        type=click.Path(file_okay=False),
        help="The folder that is written; an earlier one of this command is replaced.",
    )


def choice_of(options: Mapping[str, Any], base: PathwayChoice | None = None) -> PathwayChoice:
    """The choice that the options make; what they leave open is as in ``base``, or the default.

    Raises
    ------
    UsageError
        ``pathway-options`` when limits contradict each other.
    """
    from humanst.pathways import PathwayChoice

    given = {name: options[name] for name in NAMES if options.get(name) is not None}
    if options.get("shuffle_pairs") is not None:
        given["shuffle_seed"] = options["shuffle_pairs"]
    return PathwayChoice.of_record((base.record() if base else {}) | given)
