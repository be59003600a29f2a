"""A drafted recipe, and how its last lines are written: the patterns, and the title over it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from humanst.builder.matching import match_sections
from humanst.catalog import Recipe, recipe_from
from humanst.curate.layouts import template
from humanst.curate.sheet import Sheet
from humanst.findings import Findings
from humanst.schemas import check_document

RECIPE_SCHEMA = "humanst.recipe/1"


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted recipe.

    Attributes
    ----------
    platform
        ``None`` where the files say nothing; the draft is then no valid recipe.
    text
        The recipe as YAML, each guess marked by a comment.
    sections
        Raw ids of the sections that its patterns find.
    guesses
        Field -> why it was guessed so.
    unknown
        What could not be told.
    place
        Where below the folder the files of this draft lie; empty for the folder itself.
    """

    platform: str | None
    text: str
    sections: tuple[str, ...]
    guesses: Mapping[str, str]
    unknown: tuple[str, ...]
    place: str = ""

    def recipe(self) -> Recipe:
        """The draft as a recipe.

        Raises
        ------
        DataError
            When it is none yet, for the platform could not be told.
        """
        import yaml

        document = yaml.safe_load(self.text)
        findings = Findings(file="recipe.yaml")
        check_document(document, "recipe", findings)
        findings.raise_if_refused()
        return recipe_from(document)


def put_files(sheet: Sheet, files: Mapping[str, Mapping[str, str]], n_sections: int, paths: list[str]) -> None:
    """The patterns, each checked to find exactly the files it was made from."""
    patterns: dict[str, str] = {}
    sheet.open("files")
    for role, found in files.items():
        pattern, strays = template(found)
        patterns[role] = pattern
        mine = [path for section, path in found.items() if section not in strays]
        some = f"{len(mine)} of {n_sections} sections have one, such as {mine[0]}"
        sheet.put(role, pattern, "by its name" if pattern == mine[0] else some, below="files")
        for section, path in strays.items():
            sheet.cannot_tell(f"whether {path} is the {role} of {section}: the others lie elsewhere")
    for section, roles in match_sections(paths, patterns).items():
        for role, hits in roles.items():
            if len(hits) > 1:
                sheet.cannot_tell(f"which of {', '.join(hits[:3])} is the {role} of {section}: the pattern matches all")


def finish_draft(sheet: Sheet, platform: str, folder: Path, sections: tuple[str, ...], place: str = "") -> Draft:
    """The draft, with a title that counts its sections and all that could not be told at its head."""
    names = ", ".join(name for name in sections if name)
    title = f"How to read {folder.name}: {len(sections)} sections ({names})" if names else f"How to read {folder.name}"
    return Draft(platform, sheet.text(title), sections, dict(sheet.guesses), tuple(sheet.unknown), place)
