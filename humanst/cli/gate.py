"""The licence gate of every command that fetches or builds: what needs a yes, who gave it, what stays closed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from humanst.cli.output import say
from humanst.errors import HumanstError

if TYPE_CHECKING:
    from humanst.catalog import Acceptances, Catalog, Item, Section, Study

Command = TypeVar("Command", bound=Callable[..., Any])


def license_option(command: Command) -> Command:
    """``--accept-license``, as on every command that fetches or builds."""
    return click.option(
        "--accept-license",
        "accept",
        multiple=True,
        metavar="ID",
        help="Accept a licence with NC or ND, or LicenseRef-unknown, for what is asked; comma-separated or repeated "
        "[env: HUMANST_ACCEPT_LICENSES].",
    )(command)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a command may go on with.

    Attributes
    ----------
    open
        Positions of the items that may be used, in the order asked.
    failures
        ``(name, error)`` of the others.
    accepted
        Gated licence -> the studies and resources it was accepted for.
    """

    open: tuple[int, ...]
    failures: tuple[tuple[str, HumanstError], ...]
    accepted: tuple[tuple[str, tuple[str, ...]], ...]


def pass_gate(items: Sequence[Item], accept: Sequence[str], *, may_ask: bool) -> Gate:
    """Let through what is free or accepted; keep what is accepted now on record, with the date.

    Parameters
    ----------
    items
        All that the command was asked for, without a lab's own folders.
    accept
        Values of ``--accept-license``.
    may_ask
        Whether a prompt makes sense; there is none off a terminal either way.

    Raises
    ------
    LicenseError
        When nothing at all is let through.
    """
    from datetime import UTC, datetime

    from humanst.catalog.licenses import Acceptances, gated, refusal
    from humanst.settings import settings

    if not any(gated(item.licenses) for item in items):
        return Gate(tuple(range(len(items))), (), ())
    found = settings()
    named = [name.strip() for text in accept for name in text.split(",") if name.strip()]
    folder = found.resolved_cache_dir()
    today = datetime.now(UTC).date().isoformat()
    acceptances = Acceptances.read(folder, found.accept_licenses)
    new = acceptances.record(items, date=today, how="environment")
    acceptances = acceptances.with_given(named)
    new += acceptances.record(items, date=today, how="option")
    if may_ask and sys.stdin.isatty() and sys.stderr.isatty():
        asked = _ask(items, acceptances)
        acceptances = acceptances.with_given(asked)
        new += acceptances.record(items, date=today, how="prompt")
    if new:
        say(f"Accepted: {', '.join(dict.fromkeys(new))}; kept on record in {acceptances.path}")
    closed = {number: missing for number, item in enumerate(items) if (missing := acceptances.missing(item))}
    if closed and len(closed) == len(items):
        raise refusal(items, (name for names in closed.values() for name in names), done="Nothing was fetched or built")
    failures = [
        (items[number].name, refusal([items[number]], names, done="It was left out"))
        for number, names in closed.items()
    ]
    passed = tuple(number for number in range(len(items)) if number not in closed)
    return Gate(passed, tuple(failures), _accepted([items[number] for number in passed]))


def gate_sections(
    book: Catalog, pairs: Sequence[tuple[Study, Section]], accept: Sequence[str], *, may_ask: bool
) -> tuple[list[tuple[Study, Section]], Gate]:
    """Put sections through the gate; a lab's own folders are its own and pass.

    Returns
    -------
    pairs
        Those that may be built, in the order asked.
    gate
        What was refused and accepted; ``open`` counts among all ``pairs``.

    Raises
    ------
    LicenseError
        When nothing at all is let through.
    """
    gate = pass_gate([section_item(book, *pair) for pair in pairs], accept, may_ask=may_ask)
    return [pairs[number] for number in gate.open], gate


def section_item(book: Catalog, study: Study, section: Section) -> Item:
    """A section as the gate sees it: without licences when it lies in a folder outside the catalog."""
    from humanst.catalog import Item

    licenses = study.licenses(section) if study.study_id in book.studies else ()
    return Item(section.sample_id, study.study_id, licenses)


def _accepted(items: Sequence[Item]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    from humanst.catalog.licenses import gated

    found: dict[str, set[str]] = {}
    for item in items:
        for name in gated(item.licenses):
            found.setdefault(name, set()).add(item.owner)
    return tuple((name, tuple(sorted(owners))) for name, owners in sorted(found.items()))


def _ask(items: Sequence[Item], acceptances: Acceptances) -> list[str]:
    from humanst.catalog import terms_of

    concerned: dict[str, list[str]] = {}
    for item in items:
        for name in acceptances.missing(item):
            concerned.setdefault(name, []).append(item.owner)
    said = []
    for name, owners in concerned.items():
        studies = ", ".join(dict.fromkeys(owners))
        say(f"{name}, for {len(owners)} sections or files of {studies}, allows {terms_of(name).allows}.")
        if click.confirm(f"Do you accept {name}?", default=False, err=True):
            said.append(name)
    return said
