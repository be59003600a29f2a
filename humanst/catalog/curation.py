"""The folders of ``curation/``: which study's rows and recipe lie where.

A study has a folder of its own, or shares one with others whose sections one table describes; its recipe is the
``recipe.yaml`` of its folder, or one of ``curation/_recipes/`` that many studies share. Each file is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from humanst.catalog.records import Recipe
from humanst.catalog.samples import read_samples
from humanst.catalog.yaml_files import short_name
from humanst.errors import DataError

SHARED_RECIPES = "_recipes"


class Curation:
    """``curation/`` beside a catalog.

    Parameters
    ----------
    root
        The folder.
    studies
        The ``studies`` of a catalog that keeps to its schema.
    """

    def __init__(self, root: Path, studies: Mapping[str, Mapping[str, Any]]) -> None:
        self._root = root
        self._studies = studies
        self._rows: dict[Path, dict[str, dict[str, str]]] = {}
        self._recipes: dict[Path, Recipe] = {}

    def folder(self, study_id: str) -> Path:
        """Where the study's samples and notes are."""
        name: str = self._studies[study_id].get("curation", study_id)
        return self._root / name

    def rows(self, study_id: str) -> Mapping[str, dict[str, str]]:
        """Rows of ``samples.csv`` by section id; of the whole folder, where several studies share it.

        Raises
        ------
        DataError
            ``sections-differ`` when the studies of the folder and its table list different sections, ``duplicate-id``
            when two of them share a section id; those of :func:`humanst.catalog.samples.read_samples`.
        UsageError
            When there is no table.
        """
        folder = self.folder(study_id)
        if folder not in self._rows:
            rows = {row["section_id"]: row for row in read_samples(folder / "samples.csv")}
            owners = [other for other in self._studies if self.folder(other) == folder]
            self._check_same(owners, rows, folder)
            self._rows[folder] = rows
        return self._rows[folder]

    def recipe(self, study_id: str, load: Callable[[Path], Recipe]) -> Recipe:
        """The study's recipe, read by ``load``."""
        shared = self._studies[study_id].get("recipe")
        own = self.folder(study_id) / "recipe.yaml"
        path = own if shared is None else self._root / SHARED_RECIPES / f"{shared}.yaml"
        if path not in self._recipes:
            self._recipes[path] = load(path)
        return self._recipes[path]

    def _check_same(self, owners: list[str], rows: Mapping[str, Any], folder: Path) -> None:
        file = short_name(folder / "samples.csv")
        listed: dict[str, str] = {}
        for study_id in owners:
            for section_id in self._studies[study_id]["sections"]:
                if (other := listed.setdefault(section_id, study_id)) != study_id:
                    raise DataError(
                        "Two studies of one folder share a section id",
                        code="duplicate-id",
                        study=study_id,
                        section=section_id,
                        file=file,
                        field="section_id",
                        expected="ids that are unique over the studies of a folder",
                        found=f"{section_id}, also in {other}",
                        todo="Rename one of them",
                    )
        only_here, only_there = set(listed) - set(rows), set(rows) - set(listed)
        if only_here or only_there:
            raise DataError(
                "catalog.yaml and samples.csv list different sections",
                code="sections-differ",
                study=next((listed[section_id] for section_id in sorted(only_here)), owners[0]),
                file=file,
                field="section_id",
                expected="the same sections in both",
                found=f"only in catalog.yaml: {_names(only_here)}; only in samples.csv: {_names(only_there)}",
                todo="Add the missing entry, or remove the other one",
            )


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
