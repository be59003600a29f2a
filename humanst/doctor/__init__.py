"""Is this machine fit for humanst: what was found, and what to do about it. Looks at things and changes none."""

from __future__ import annotations

from humanst.doctor.checks import Check
from humanst.doctor.examine import GROUPS, examine, failures_of

__all__ = ["GROUPS", "Check", "examine", "failures_of"]
