"""What one look at a machine comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from humanst.errors import HumanstError

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    group
        What it belongs to, such as ``disk``.
    item
        What was looked at, unique in its group.
    status
        ``ok``, ``warn`` for what works less well than it could or was not looked at, ``fail`` for what will not work.
    found
        What is there.
    todo
        What to do about it.
    error
        Class of the error that a command would end with; its exit code is the one of a failed check.
    """

    group: str
    item: str
    status: Status
    found: str
    todo: str | None = None
    error: type[HumanstError] = HumanstError

    @property
    def exit_code(self) -> int:
        """0, or what a command that meets this ends with."""
        return self.error.exit_code if self.status == "fail" else 0

    def as_error(self) -> HumanstError:
        """A failed check as the error it stands for."""
        return self.error(self.found, code=f"doctor-{self.group}", field=self.item, todo=self.todo)
