"""Splits that keep a donor on one side: groups by union-find, a group's split by the hash of its anchor."""

from __future__ import annotations

from humanst.splits.assign import Assignment, Link, assign_splits, join_found, require_no_crossing, warn_of_empty_splits
from humanst.splits.groups import (
    DEFAULT_SHARES,
    SPLITS,
    Grouping,
    Member,
    group_sections,
    hashed_split,
    is_unknown,
    joined_to,
    release_age,
    take_in,
)
from humanst.splits.table import read_assignment

__all__ = [
    "DEFAULT_SHARES",
    "SPLITS",
    "Assignment",
    "Grouping",
    "Link",
    "Member",
    "assign_splits",
    "group_sections",
    "hashed_split",
    "is_unknown",
    "join_found",
    "joined_to",
    "read_assignment",
    "release_age",
    "require_no_crossing",
    "take_in",
    "warn_of_empty_splits",
]
