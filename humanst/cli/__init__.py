"""The ``humanst`` command: parses, calls one function, prints one result. The only room that prints."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from humanst import __version__
from humanst.cli.output import run_and_exit

# Commands load on first use; their modules import nothing heavy, so that --help answers at once.
COMMANDS = {
    "add-targets": "humanst.cli.add_targets:add_targets",
    "audit": "humanst.cli.audit:audit",
    "build": "humanst.cli.build:build",
    "cache": "humanst.cli.cache:cache",
    "build-shards": "humanst.cli.build_shards:build_shards",
    "cite": "humanst.cli.cite:cite",
    "curate": "humanst.cli.curate:curate",
    "demo": "humanst.cli.demo:demo",
    "doctor": "humanst.cli.doctor:doctor",
    "export": "humanst.cli.export:export",
    "fetch": "humanst.cli.fetch:fetch",
    "info": "humanst.cli.catalog:info",
    "licenses": "humanst.cli.cite:licenses",
    "list": "humanst.cli.catalog:list_sections",
    "plan": "humanst.cli.plan:plan",
    "publish": "humanst.cli.publish:publish",
    "report": "humanst.cli.report:report",
    "validate": "humanst.cli.validate:validate",
    "verify": "humanst.cli.verify:verify",
}

EXIT_CODES = """\b
Exit codes:
  0   done
  1   unexpected (a bug)
  2   usage
  3   licence not accepted
  4   some of several items failed (listed)
  5   data invalid, leakage included
  6   integrity (hash, truncated)
  7   network or offline
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
@click.version_option(__version__, prog_name="humanst")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
@click.option(
    "--log-file", type=click.Path(dir_okay=False), help="Also write the log to this file, a JSON object a line."
)
def humanst(verbose: int, log_file: str | None) -> None:
    """Build, check and read the open atlas of H&E histology and spatial gene expression.

    Results go to stdout (--json on every command), progress and messages to stderr.
    """
    from humanst.cli.output import configure_logging

    configure_logging(verbose, log_file)


def main() -> None:
    """Entry point of the console script: every humanst error ends with its own exit code."""
    run_and_exit(humanst, sys.argv[1:])
