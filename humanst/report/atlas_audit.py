"""The page of an audit that goes along with a report."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from humanst.errors import UsageError
from humanst.report.rendering import script_hash, template_text

_TITLE = re.compile(r"<title>Audit: (.*?)</title>", re.DOTALL)
_HEAD_BYTES = 4096


def find_audit(asked: str | None, beside: Sequence[Path], title: str | None) -> Path | None:
    """The page of an audit: the one asked for, else that of a folder ``audit`` beside, if it is of the same thing.

    Parameters
    ----------
    asked
        A folder or page as `humanst audit` writes it.
    beside
        Folders to look into.
    title
        What the audit has to be of, if it was not asked for; ``None`` where no title says what it is of.

    Raises
    ------
    UsageError
        ``not-an-audit`` when what was asked for is none.
    """
    if asked is not None:
        page = Path(asked) / "index.html" if Path(asked).is_dir() else Path(asked)
        if _title(page) is None:
            raise UsageError(
                "This is not the page of an audit",
                code="not-an-audit",
                field="--audit",
                file=page.name,
                expected="a folder or page that `humanst audit` wrote",
                found="another file" if page.is_file() else "no such file",
                done="Nothing was written",
            )
        return page
    if title is None:
        return None
    pages = [page for folder in beside for page in (folder / "audit" / "index.html", folder / "audit.html")]
    # Nobody named it, so it may be anybody's: what its own policy does not bind is left where it is.
    return next((page for page in pages if _title(page) == title and _is_bound(page)), None)


def _title(page: Path) -> str | None:
    """What an audit is of, by its page; ``None`` for any other file."""
    try:
        with page.open("rb") as handle:
            found = _TITLE.search(handle.read(_HEAD_BYTES).decode("utf-8", "replace"))
    except OSError:
        return None
    return None if found is None else html.unescape(found[1])


def _is_bound(page: Path) -> bool:
    """Whether a page begins as an audit's does: with the policy by which the script of this package alone may run."""
    head = str(template_text("audit.html.j2")).partition("<title>")[0]
    expected = head.replace("{{ script_hash }}", script_hash(template_text("sort.js"))).encode()
    try:
        with page.open("rb") as handle:
            return handle.read(len(expected)) == expected
    except OSError:
        return False
