"""The page of an audit that goes along with a report."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from humanst.errors import UsageError
from humanst.report.rendering import script_hash, template_text

_TITLE = re.compile(r"<title>Audit: (.*?)</title>", re.DOTALL)
_IDENTITY = re.compile(r'<meta name="humanst-audit-of" content="([0-9a-f]{64})">')
_HEAD_BYTES = 4096
_UNNAMED = (
    "The audit was made by an earlier humanst and does not say which manifest it is of: it may be of another "
    "release of this version."
)


@dataclass(frozen=True, slots=True)
class FoundAudit:
    """An audit that was looked for.

    Attributes
    ----------
    page
        The page that goes along; ``None`` where there is none.
    note
        What a reader has to know of it, or why one that lies there does not go along; empty where there is nothing.
    """

    page: Path | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Head:
    title: str
    identity: str | None


def find_audit(asked: str | None, beside: Sequence[Path], title: str | None, identity: str | None) -> FoundAudit:
    """The page of an audit: the one asked for, else that of a folder ``audit`` beside, if it is of the same thing.

    Parameters
    ----------
    asked
        A folder or page as `humanst audit` writes it.
    beside
        Folders to look into.
    title
        What the audit has to be of, if it was not asked for; ``None`` where no title says what it is of.
    identity
        What tells it from another of the same title, as the page of an audit has it: the sha256 of the manifest of a
        release, or of the tree of a store.

    Raises
    ------
    UsageError
        ``not-an-audit`` when what was asked for is none.
    """
    if asked is not None:
        return _asked(Path(asked), title, identity)
    if title is None:
        return FoundAudit()
    others = []
    for page in (page for folder in beside for page in (folder / "audit" / "index.html", folder / "audit.html")):
        head = _head(page)
        # Nobody named it, so it may be anybody's: what its own policy does not bind is left where it is.
        if head is None or head.title != title or not _is_bound(page):
            continue
        if head.identity is None or identity is None:
            return FoundAudit(page, _UNNAMED)
        if head.identity == identity:
            return FoundAudit(page)
        others.append(page)
    return FoundAudit(None, _told_of_other(others[0], title)) if others else FoundAudit()


def _told_of_other(page: Path, title: str) -> str:
    name = f"{page.parent.name}/{page.name}"
    return f"{name} is an audit of another {title} and does not go along; audit this one again, or name it with --audit"


def _asked(asked: Path, title: str | None, identity: str | None) -> FoundAudit:
    page = asked / "index.html" if asked.is_dir() else asked
    head = _head(page)
    if head is None:
        raise UsageError(
            "This is not the page of an audit",
            code="not-an-audit",
            field="--audit",
            file=page.name,
            expected="a folder or page that `humanst audit` wrote",
            found="another file" if page.is_file() else "no such file",
            done="Nothing was written",
        )
    if title is None:
        return FoundAudit(page, f"The audit is of {head.title}.")
    if head.title != title or (None not in (head.identity, identity) and head.identity != identity):
        return FoundAudit(page, f"The audit is of another {head.title} than these pages.")
    return FoundAudit(page, _UNNAMED if head.identity is None else "")


def _head(page: Path) -> _Head | None:
    """What an audit is of, by its page; ``None`` for any other file."""
    try:
        with page.open("rb") as handle:
            head = handle.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    title, identity = _TITLE.search(head), _IDENTITY.search(head)
    return None if title is None else _Head(html.unescape(title[1]), None if identity is None else identity[1])


def _is_bound(page: Path) -> bool:
    """Whether a page begins as an audit's does: with the policy by which the script of this package alone may run."""
    head = str(template_text("audit.html.j2")).partition("<title>")[0]
    expected = head.replace("{{ script_hash }}", script_hash(template_text("sort.js"))).encode()
    try:
        with page.open("rb") as handle:
            return handle.read(len(expected)) == expected
    except OSError:
        return False
