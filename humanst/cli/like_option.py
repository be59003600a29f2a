"""``--like RELEASE``: build sections as another release has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.pathway_options import NAMES
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import Section, Study
    from humanst.shards.like import Like

like_option = click.option(
    "--like",
    type=click.Path(exists=True),
    metavar="RELEASE",
    help="Build sections as this release (or its MANIFEST.json) has them: parameters, splits and labels are its "
    "own [default sections: those that are recipe-only there].",
)
# What another release says, by parameter name: with --like they cannot be given.
_OF_A_RELEASE = (
    "assign",
    "release_version",
    "seed",
    "shard_pairs",
    "min_tissue_fraction",
    *NAMES,
    "shuffle_pairs",
)


def like_of(options: dict[str, Any]) -> Like | None:
    """The release that the new one is to be like.

    Raises
    ------
    UsageError
        When an option says what the release says.
    """
    from humanst.shards.like import read_like

    if not options["like"]:
        return None
    source = click.get_current_context().get_parameter_source
    if given := [name for name in _OF_A_RELEASE if source(name) == click.core.ParameterSource.COMMANDLINE]:
        raise UsageError(
            "These options do not go together",
            field=f"--{given[0].replace('_', '-')}",
            expected="--like, which takes it from that release, or this option alone",
            done="Nothing was written",
        )
    return read_like(Path(options["like"]))


def recipe_only(like: Like, asked: list[tuple[Study, Section]]) -> list[tuple[Study, Section]]:
    """The sections of which the other release holds no pairs.

    Raises
    ------
    UsageError
        When there is none.
    """
    found = [(study, section) for study, section in asked if section.sample_id in like.recipe_only]
    if not found:
        raise UsageError(
            "None of these sections is recipe-only in that release",
            field="--like",
            expected=f"one of {', '.join(sorted(like.recipe_only)) or 'none at all'}",
            found=f"{len(asked)} sections",
            done="Nothing was written",
            todo="Name with --sections what to build all the same",
        )
    return found
