"""What every command shares: JSON on stdout, messages on stderr, exit codes, progress bars."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from humanst.errors import HumanstError, InterruptedRun, PartialFailure, UsageError, printable, raise_for_failures

if TYPE_CHECKING:
    from humanst.findings import Finding

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of text.")
catalog_option = click.option(
    "--catalog",
    type=click.Path(exists=True, dir_okay=False),
    help="Another catalog.yaml than the one that ships [env: HUMANST_CATALOG].",
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Processes to use [default: one a core]."
)


def echo_json(schema: str, content: dict[str, Any]) -> None:
    """Print one JSON object with its ``schema`` key first."""
    click.echo(json.dumps({"schema": schema, **content}, indent=2, default=str))


def echo(text: str) -> None:
    """Print a line of a result for a person; what a name in it could do to a terminal is spelled out."""
    click.echo(printable(text))


def say(message: str) -> None:
    """Print a message for a person on stderr, as :func:`echo` does on stdout."""
    click.echo(printable(message), err=True)


def table(lines: Sequence[Sequence[str]], *, left: Collection[int] = ()) -> None:
    """Print lines of cells as columns; those in ``left`` are flush left, the others are numbers and flush right."""
    lines = [[printable(text) for text in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


def cell(value: Any) -> str:
    """A value as a cell of a table for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def configure_logging(verbose: int, log_file: str | None) -> None:
    """Send humanst's log to stderr (warnings, or more with -v) and, if asked, to a file of JSON lines."""
    logger = logging.getLogger("humanst")
    logger.handlers.clear()
    stream = logging.StreamHandler(sys.stderr)
    stream.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
    stream.setFormatter(_Lines("%(levelname)s %(message)s"))
    logger.addHandler(stream)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    if log_file:
        logger.addHandler(_log_file(log_file))


def _log_file(path: str) -> logging.Handler:
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UsageError("The log file cannot be written", field="--log-file", found=str(error)) from error
    handler.setFormatter(_JsonLines())
    return handler


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelname, "logger": record.name, "message": record.getMessage()})


def run_and_exit(command: click.Command, arguments: Sequence[str]) -> None:
    """Run the command line and end the process with the exit code of what happened."""
    # A scheduler that ends a job sends SIGTERM: it is an interruption like any other.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Outside standalone mode click returns the code of an Exit, and None after a command that just ended.
        sys.exit(command.main(args=list(arguments), prog_name="humanst", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        told = usage_error(error, arguments)
        if json_wanted(arguments):
            echo_json("humanst.error/1", told.to_dict())
        sys.exit(told.exit_code)
    except (click.Abort, KeyboardInterrupt):
        stopped = InterruptedRun("Interrupted", todo="Run the same command again: it goes on where it stopped")
        report_error(stopped, json_wanted(arguments))
        sys.exit(stopped.exit_code)
    except HumanstError as error:
        report_error(error, json_wanted(arguments))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`); nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        from humanst.files import refused_by_system

        refused = refused_by_system(error)
        if refused is None:
            raise
        report_error(refused, json_wanted(arguments))
        sys.exit(refused.exit_code)


def json_wanted(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, be it one that cannot be parsed: ``--json`` or ``--format json``."""
    options = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    return "--json" in options or "--format=json" in options or ("--format", "json") in pairwise(options)


def usage_error(error: click.ClickException, arguments: Sequence[str]) -> UsageError:
    """What click says of a command line, in the fields of every other error."""
    context = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    option = getattr(error, "option_name", None) or (parameter.opts[0] if parameter is not None else None)
    return UsageError(
        error.format_message(),
        field=option,
        found=" ".join(arguments)[:200],
        todo=None if context is None else f"`{context.command_path} --help` shows what there is",
    )


def report_error(error: HumanstError, as_json: bool) -> None:
    """Tell an error: on stderr for a person, and as one JSON object on stdout with ``--json``."""
    say(f"error: {error}")
    if isinstance(error, PartialFailure):
        for item, failure in error.failures:
            say(f"  {item} (exit {failure.exit_code}): {failure}")
    if as_json:
        echo_json("humanst.error/1", error.to_dict())


def failure_rows(failures: Sequence[tuple[str, HumanstError]]) -> list[dict[str, Any]]:
    """Failed items as JSON rows, each with its own exit code."""
    return [{"item": item, **error.to_dict()} for item, error in failures]


def end_with(asked: int, failures: Sequence[tuple[str, HumanstError]], noun: str = "section") -> None:
    """End a command whose result is already printed: tell the failures on stderr and use their exit code."""
    try:
        raise_for_failures(asked, failures, noun)
    except HumanstError as error:
        report_error(error, False)
        raise click.exceptions.Exit(error.exit_code) from None


def say_findings(findings: Sequence[Finding], name: str) -> None:
    """Print warnings of a section on stderr, a line each."""
    for finding in findings:
        if finding.severity == "warn":
            say(f"warning {name}: {finding.facts.code}: {finding.facts.sentence()}")


def progress_wanted() -> bool:
    """Whether progress bars make sense: a terminal, and nobody said no."""
    return sys.stderr.isatty() and os.environ.get("HUMANST_NO_PROGRESS", "").lower() in ("", "0", "false", "no", "off")


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int, int, int], None]]:
    """A rich progress display on stderr: steps done, pairs written, time left. Silent when not on a terminal."""
    if not progress_wanted():
        yield lambda step, done, total, pairs: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pairs]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, Any] = {}
    with bar:

        def tell(step: str, done: int, total: int, pairs: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(f"{title}: {step}", total=total, pairs="")
            bar.update(tasks[step], completed=done, total=total, pairs=f"{pairs:,} pairs" if pairs else "")

        yield tell
