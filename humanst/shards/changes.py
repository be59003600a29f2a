"""``CHANGES.md``: what a release holds and which sections stayed out of it for a reason that its readers must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from humanst.errors import HumanstError

# Reasons that lie in the release, not in a section: it could be built, and is not in all the same.
_OF_THE_RELEASE = frozenset({"links-split-groups"})


def changes_text(
    version: str, sections: Sequence[Mapping[str, Any]], failures: Sequence[tuple[str, HumanstError]]
) -> str:
    """The text of ``CHANGES.md``: the same release, the same text.

    Parameters
    ----------
    sections
        Rows of the manifest.
    failures
        ``(sample_id, error)`` of all sections that are not in.
    """
    pairs = sum(section["pairs"] for section in sections)
    groups = len({section["group"] for section in sections})
    lines = ["# Changes", "", f"## {version}", ""]
    lines += [f"- {pairs:,} pairs of {len(sections):,} sections in {groups:,} split groups"]
    left_out = [(name, error) for name, error in failures if error.facts.code in _OF_THE_RELEASE]
    if left_out:
        lines += ["", "Left out, because they would join split groups that are on different sides already:", ""]
        lines += [f"- {name}: {error.facts.found}" for name, error in left_out]
    return "".join(f"{line}\n" for line in lines)
