"""Where torch computes, as a command is told."""

from __future__ import annotations

import click

from humanst.errors import UsageError

device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N, or auto.")


def chosen_device(name: str) -> str:
    """The device of this name; ``auto`` is a GPU where there is one.

    Raises
    ------
    UsageError
        When it is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    on_gpu = kind == "cuda" and torch.cuda.is_available()
    numbered = not colon or (number.isdecimal() and int(number) < torch.cuda.device_count())
    if name != "cpu" and not (on_gpu and numbered):
        raise UsageError("This device is not there", field="--device", expected="cpu, cuda, cuda:N or auto", found=name)
    return name
