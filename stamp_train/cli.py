"""The ``stamp-train`` command. Heavy libraries load inside the commands that need them, never for ``--help``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from humanst.errors import HumanstError, InterruptedRun, UsageError
from stamp_train import __version__

# Commands load on first use; their modules import nothing heavy, so that --help answers at once.
COMMANDS = {
    "align": "stamp_train.commands.align:align",
    "controls": "stamp_train.commands.controls:controls",
    "domains": "stamp_train.commands.domains:domains",
    "embed": "stamp_train.commands.embed:embed",
    "merge": "stamp_train.commands.merge:merge",
    "probe": "stamp_train.commands.probe:probe",
    "slides": "stamp_train.commands.slides:slides",
}

EXIT_CODES = """\b
Exit codes:
  0   done
  1   unexpected (a bug)
  2   usage
  4   some of several items failed (listed)
  5   data invalid, leakage included
  6   integrity (hash, truncated)
  8   refused as hostile
  9   no room on the disk
  75  interrupted, run again
"""


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="stamp-train", message="%(prog)s %(version)s")
def stamp_train() -> None:
    """Train pathology foundation models on releases of humanst, and evaluate them.

    Results go to stdout (--json on every command), progress and messages to stderr.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script: every error of the family ends with its own exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A scheduler that ends a job sends SIGTERM: it is an interruption like any other.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Outside standalone mode click returns the code of an Exit, and None after a command that just ended.
        sys.exit(stamp_train.main(args=given, prog_name="stamp-train", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        _end_with(UsageError(error.format_message(), found=" ".join(given)[:200]), given, said=True)
    except (click.Abort, KeyboardInterrupt):
        _end_with(InterruptedRun("Interrupted", todo="Run the same command again"), given)
    except HumanstError as error:
        _end_with(error, given)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`); nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _end_with(error: HumanstError, given: list[str], *, said: bool = False) -> None:
    """Tell an error on stderr, and as one JSON object on stdout with ``--json``; then end with its exit code."""
    if not said:
        click.echo(f"error: {error}", err=True)
    if "--json" in given:
        click.echo(json.dumps({"schema": "humanst.error/1", **error.to_dict()}, indent=2))
    sys.exit(error.exit_code)
