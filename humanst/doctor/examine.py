"""All looks at the machine, by group. The slow ones, a child that imports torch and the hosts, wait side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from humanst.doctor.checks import Check
from humanst.doctor.configuration import catalog_checks, known_settings, setting_checks
from humanst.doctor.images import image_checks
from humanst.doctor.machine import machine_checks, slurm_checks
from humanst.doctor.places import host_checks, mirror_checks
from humanst.doctor.software import package_checks, python_checks
from humanst.doctor.storage import cache_checks, disk_checks
from humanst.doctor.torch_child import torch_checks
from humanst.errors import HumanstError, UsageError
from humanst.settings import Settings

GROUPS = (
    "python", "packages", "images", "settings", "catalog", "disk", "cache", "mirrors", "hosts", "torch", "machine",
    "slurm",
)  # fmt: skip
"""The names of all groups, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class _Looks:
    """What the looks need to know."""

    settings: Settings
    outputs: Sequence[Path]

    def of(self, group: str) -> Callable[[], list[Check]]:
        looks: dict[str, Callable[[], list[Check]]] = {
            "python": python_checks,
            "packages": package_checks,
            "images": image_checks,
            "settings": setting_checks,
            "catalog": lambda: catalog_checks(self.settings),
            "disk": lambda: disk_checks(self.settings, self.outputs),
            "cache": lambda: cache_checks(self.settings),
            "mirrors": lambda: mirror_checks(self.settings),
            "hosts": lambda: host_checks(self.settings),
            "torch": torch_checks,
            "machine": machine_checks,
            "slurm": slurm_checks,
        }
        return looks[group]


def examine(groups: Sequence[str] = (), *, hosts: bool = False, outputs: Sequence[Path] = ()) -> list[Check]:
    """Look at the machine.

    Parameters
    ----------
    groups
        Those of :data:`GROUPS` to look at; all but ``hosts`` without any.
    hosts
        Whether to ask the hosts of the catalog too.
    outputs
        Folders that results are to go to, which need not exist.

    Returns
    -------
    In the order of :data:`GROUPS`. What is not there to be looked at (no mirror, no SLURM) gives no check.

    Raises
    ------
    UsageError
        ``unknown-check``.
    """
    if unknown := sorted(set(groups) - set(GROUPS)):
        raise UsageError(
            "There is no such check", code="unknown-check", expected=", ".join(GROUPS), found=", ".join(unknown)
        )
    asked = set(groups) or set(GROUPS) - {"hosts"}
    asked |= {"hosts"} if hosts else set()
    looks = _Looks(known_settings(), outputs)
    slow = {"torch", "mirrors", "hosts"} & asked
    with ThreadPoolExecutor(max(len(slow), 1)) as side:
        waiting = {group: side.submit(looks.of(group)) for group in slow}
        done = {group: looks.of(group)() for group in GROUPS if group in asked - slow}
        done |= {group: future.result() for group, future in waiting.items()}
    return [check for group in GROUPS for check in done.get(group, ())]


def failures_of(checks: Sequence[Check]) -> list[tuple[str, HumanstError]]:
    """The failed checks as items of a command, each with its error."""
    return [(f"{check.group} {check.item}", check.as_error()) for check in checks if check.status == "fail"]
