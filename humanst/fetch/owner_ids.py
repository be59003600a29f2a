"""Ids of studies and resources as folders of the cache."""

from __future__ import annotations

from pathlib import Path

from humanst.errors import HostileError
from humanst.files import safe_relative_path


def owner_folder(owner_id: str) -> Path:
    """The folder of a study or resource below ``sources``.

    Raises
    ------
    HostileError
        For an id that is not one folder name.
    """
    folder = safe_relative_path(owner_id)
    if len(folder.parts) != 1:
        raise HostileError(
            "An id must be one folder name",
            code="unsafe-id",
            expected="an id without slashes",
            found=repr(owner_id),
            done="Nothing was touched",
            todo="Correct the id",
        )
    return folder
