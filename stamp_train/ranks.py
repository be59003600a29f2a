"""The processes that train together: which one this is, on which device, and the little they say to each other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from humanst.errors import UsageError


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among several.

    Attributes
    ----------
    rank, world
        Its number from 0, and how many there are.
    device
        Where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and messages."""
        return self.rank == 0

    def total(self, part: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(part)
        return part

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            torch.distributed.barrier()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the ranks, in one message.

        Adapters and heads are few: overlapping this with the backward pass would save nothing that can be measured.
        """
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.world
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that a launcher started (``torchrun``, or the variables that it sets), or be alone.

    Parameters
    ----------
    device
        ``auto`` (the GPU of this rank where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    UsageError
        ``device`` for one that is not there.
    """
    from torch import distributed

    place = find_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    started = distributed.is_available() and distributed.is_initialized()
    mine = not started and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if mine:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        if started or mine:
            yield Ranks(distributed.get_rank(), distributed.get_world_size(), place)
        else:
            yield Ranks(0, 1, place)
    finally:
        if mine:
            distributed.destroy_process_group()


def cuda_of(ranks: Ranks) -> list[torch.device]:
    """The GPU of this rank, as a list: empty without one."""
    return [ranks.device] if ranks.device.type == "cuda" else []


def find_device(name: str, *, field: str = "device") -> torch.device:
    """The device that a setting names; ``cuda`` without a number is the one of this rank.

    Parameters
    ----------
    name
        As in :func:`joined`.
    field
        What an error calls the setting.

    Raises
    ------
    UsageError
        ``device`` for one that is not there.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    there = torch.cuda.device_count() if kind == "cuda" else 1
    index = int(number) if colon and number.isdecimal() else local
    if kind not in ("cpu", "cuda") or (colon and (kind == "cpu" or not number.isdecimal())) or not there:
        raise _no_device(name, there, field)
    if kind == "cuda" and index >= there:
        raise _no_device(f"cuda:{index}", there, field)
    return torch.device("cpu") if kind == "cpu" else torch.device("cuda", index)


def _no_device(name: str, there: int, field: str) -> UsageError:
    return UsageError(
        "This device is not there",
        code="device",
        field=field,
        expected=f"auto, cpu, cuda or cuda:N{f' with N below {there}' if there else ''}",
        found=name,
    )
