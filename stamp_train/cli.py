"""The ``stamp-train`` command. Heavy libraries load inside the commands that need them, never for ``--help``."""

from __future__ import annotations

import click

from stamp_train import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="")
@click.version_option(__version__, "--version", prog_name="stamp-train", message="%(prog)s %(version)s")
def main() -> None:
    """Train pathology foundation models on releases of humanst, and evaluate them.

    The commands for training and evaluation are not in this version. To read a release in PyTorch today, use
    humanst.load: PairDataset, PairStream and dataloader.
    """
