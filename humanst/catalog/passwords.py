"""Passwords of archives, as their authors publish them: a study's ``archives``, each with where it was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanst.errors import DataError


def check_archives(study_id: str, document: Mapping[str, Any], file: str) -> None:
    """A password is that of a file of the study."""
    paths = {entry["path"] for section in document["sections"].values() for entry in section["files"].values()}
    for path in document.get("archives", {}):
        if path not in paths:
            raise DataError(
                "This password belongs to no file of the study",
                code="unknown-file",
                study=study_id,
                file=file,
                field=f"studies.{study_id}.archives.{path}",
                expected="the path of one of its files",
                found=repr(path),
                todo="Correct the path, or remove the entry",
            )
