"""What the commands share: JSON and tables on stdout, progress on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of text.")


def echo_json(content: dict[str, Any]) -> None:
    """Print one JSON object; its ``schema`` key says what it is."""
    import json

    click.echo(json.dumps(content, indent=2, default=str))


def say(message: str) -> None:
    """Print a message for a person on stderr."""
    click.echo(message, err=True)


def echo_table(lines: Sequence[Sequence[str]]) -> None:
    """Print lines of cells as columns: the first flush left, the others flush right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        click.echo("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())


@contextmanager
def loaders_keep_quiet() -> Iterator[None]:
    """While it lasts, no loader tells which rank it is of how many: a command opens many, and knows its ranks."""
    logger, nobody = logging.getLogger("humanst.load"), logging.NullHandler()
    logger.addHandler(nobody)
    try:
        yield
    finally:
        logger.removeHandler(nobody)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each step, told as (step, done, total). Silent when not on a terminal."""
    wanted = os.environ.get("HUMANST_NO_PROGRESS", "").lower() in ("", "0", "false", "no", "off")
    if not (sys.stderr.isatty() and wanted):
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield tell
