"""``CHANGES.md``: what a release holds, which sections stayed out of it, and what was done to it afterwards.

The manifest's ``changes`` hold it as data, the newest entry first; the text is made from them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from humanst.errors import HumanstError
from humanst.shards.like import Like

# Reasons that lie in the release, not in a section: it could be built, and is not in all the same.
_OF_THE_RELEASE = frozenset({"links-split-groups"})


def first_change(
    version: str,
    sections: Sequence[Mapping[str, Any]],
    failures: Sequence[tuple[str, HumanstError]],
    like: Like | None = None,
) -> dict[str, Any]:
    """The entry of a build: ``version`` and ``notes``, one sentence each.

    Parameters
    ----------
    sections
        Rows of the manifest.
    failures
        ``(sample_id, error)`` of all sections that are not in.
    like
        The release whose parameters, splits and labels these are.
    """
    pairs = sum(section["pairs"] for section in sections)
    groups = len({section["group"] for section in sections})
    notes = [f"{pairs:,} pairs of {len(sections):,} sections in {groups:,} split groups"]
    if like is not None:
        notes.append(f"Built like release {like.spec['version']} (sha256 of its manifest {like.manifest_sha256})")
    notes += [
        f"{name} was left out, because it would join split groups that are on different sides already: "
        f"{error.facts.found}"
        for name, error in failures
        if error.facts.code in _OF_THE_RELEASE
    ]
    return {"version": version, "notes": notes}


def changes_text(manifest: Mapping[str, Any]) -> str:
    """The text of ``CHANGES.md``: the same manifest, the same text."""
    lines = ["# Changes"]
    for entry in manifest["changes"]:
        lines += ["", f"## {entry['version']}", "", *(f"- {note}" for note in entry["notes"])]
    return "".join(f"{line}\n" for line in lines)
