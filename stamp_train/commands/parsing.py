"""What the commands share: options, and functions from text to values, as click takes them for a type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def comma_list(value: str) -> tuple[str, ...]:
    """``a,b,c`` as names, each once, in the order given."""
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty name")
    return names


def channels(value: str) -> tuple[float, float, float]:
    """``r,g,b`` as three numbers of 0..1."""
    try:
        red, green, blue = (float(number) for number in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not three numbers with commas between them") from error
    if not all(0 <= number <= 1 for number in (red, green, blue)):
        raise click.BadParameter(f"{value!r} has numbers outside 0..1")
    return red, green, blue


def named_file(value: str) -> tuple[str, Path]:
    """``NAME=FILE``, or a file, which then is called as the file is without its suffix."""
    name, equals, file = value.partition("=")
    path, named = Path(value), False
    if equals and not path.is_file():
        path, named = Path(file), True
    if not path.is_file():
        raise click.BadParameter(f"{str(path)!r} is no file")
    if named and not name:
        raise click.BadParameter(f"{value!r} has an empty name")
    return (name if named else path.stem), path


def by_name(named: tuple[tuple[str, Path], ...]) -> dict[str, Path]:
    """Files by name.

    Raises
    ------
    click.BadParameter
        When two have one name.
    """
    found = dict(named)
    if len(found) != len(named):
        names = [name for name, _ in named]
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise click.BadParameter(f"two files are called {twice}: say NAME=FILE")
    return found


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

embeddings_argument = click.argument("embeddings", type=named_file, nargs=-1, required=True, metavar="[NAME=]FILE...")
fit_on_option = click.option(
    "--fit-on", type=comma_list, metavar="A,B,...", help="Further splits, fitted on in every fold  [default: none]."
)
gmt_option = click.option("--gmt", type=FILE, help="Gene sets, to tell genes inside from those outside.")
genes_option = click.option(
    "--genes", "n_genes", type=click.IntRange(min=1), default=50, show_default=True, help="How many."
)
trained_on_option = click.option("--trained-on", help="Release that an adapter was trained on, when it is another.")
table_option = click.option(
    "--out", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Long table, .parquet or .csv."
)


def split_option(whose: str) -> Callable[[Command], Command]:
    """``--split A,B,...`` with the split ``test`` by default, given as ``splits``; ``whose`` is its help."""
    return click.option(
        "--split", "splits", type=comma_list, metavar="A,B,...", default="test", show_default=True, help=whose
    )


def methods_option(default: str) -> Callable[[Command], Command]:
    """``--methods A,B,...`` of clustering."""
    what = "kmeans, ward, leiden (needs igraph)."
    return click.option("--methods", type=comma_list, metavar="A,B,...", default=default, show_default=True, help=what)
