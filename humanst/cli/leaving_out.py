"""What a release leaves out of the sections asked for: those without files, those published anew, exclusion groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from humanst.cli.choose import on_record
from humanst.cli.output import say
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import Catalog, Section, Study


def without_superseded(asked: Sequence[tuple[Study, Section]], *, named: bool) -> list[tuple[Study, Section]]:
    """Leave out, and name, what is on record without files and, unless it was ``named``, what was published anew.

    Raises
    ------
    UsageError
        ``listed-section`` when nothing else was asked for.
    """
    from humanst.catalog import without_files

    left = [(study, section) for study, section in asked if not section.sources]
    old = [
        section.sample_id for _, section in asked if section.sources and section.status == "deprecated" and not named
    ]
    kept = [(study, section) for study, section in asked if section.sources and section.sample_id not in old]
    names = [section.sample_id for _, section in left]
    if not kept and not old:
        raise without_files(", ".join(dict.fromkeys(study.study_id for study, _ in left)), names)
    if names:
        say(f"on record without files, left out: {', '.join(names)}")
    if old:
        say(f"deprecated, left out unless --sections names them: {', '.join(old)}")
    if not kept:
        raise UsageError("No section is left", field="--sections", expected="a section that is active", found="none")
    return kept


def without_groups(
    book: Catalog, asked: Sequence[tuple[Study, Section]], labels: Sequence[str]
) -> list[tuple[Study, Section]]:
    """The sections asked for, but for those of exclusion groups and all that are joined to them.

    Raises
    ------
    UsageError
        For a group that no section on record belongs to: a slip of the pen must not let a test set in.
    """
    from humanst.shards.grouping import Chosen, excluded, exclusion_groups

    everyone = [Chosen(study, section) for study in on_record(book, asked) for section in study.sections]
    known = {name for item in everyone for name in exclusion_groups(item.section)}
    known |= {name for study in book.listed.values() for name in study.exclusion_groups}
    strangers = [name for name in labels if name not in known]
    if strangers:
        raise UsageError(
            "No section on record is of this exclusion group",
            code="unknown-exclusion-group",
            field="--exclude-group",
            expected=", ".join(sorted(known)) or "no group: the catalog names none",
            found=", ".join(map(repr, strangers)),
            done="Nothing was written",
        )
    gone = excluded(everyone, labels)
    kept = [(study, section) for study, section in asked if section.sample_id not in gone]
    if not kept:
        found = ", ".join(labels)
        raise UsageError("No section is left", field="--exclude-group", expected="at least one section", found=found)
    of_them = sum(bool(exclusion_groups(section) & set(labels)) for _, section in asked)
    others = len(asked) - len(kept) - of_them
    say(f"Left out: {of_them} sections of {', '.join(labels)}, and {others} joined to them")
    return kept
