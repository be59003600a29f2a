"""Where torch computes, as a command is told."""

from __future__ import annotations

import click

device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N, or auto.")


def chosen_device(name: str) -> str:
    """The device of this name; ``auto`` is a GPU where there is one.

    Raises
    ------
    UsageError
        ``device`` when it is not there.
    """
    from stamp_train.ranks import find_device

    return str(find_device(name, field="--device"))
