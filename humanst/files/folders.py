"""Folders filled aside and swapped into place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from humanst.files.aside import write_aside
from humanst.files.disk import CHUNK_BYTES, fsync_file, fsync_folder
from humanst.files.owners import is_partial, owned_path, partial_path
from humanst.files.room import no_room


@contextmanager
def folder_aside(path: Path, *, keep_hidden: bool = False) -> Iterator[Path]:
    """Fill a folder aside and swap it into place when the block ends without an error.

    An older folder at ``path`` stays whole until the new one is complete; after a kill in the middle of the swap
    :func:`sweep_partials` puts it back.

    Parameters
    ----------
    keep_hidden
        Whether what is hidden in an older folder moves along.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    partial.mkdir()
    try:
        yield partial
        for folder, _, names in os.walk(partial):
            for name in names:
                fsync_file(Path(folder) / name)
            fsync_folder(Path(folder))
        if keep_hidden:
            _keep_hidden(path, partial)
        _swap_folder(partial, path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise no_room(error, path) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _swap_folder(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.replace(path)
        fsync_folder(path.parent)
        return
    replaced = owned_path(path, "replaced")
    path.replace(replaced)
    partial.replace(path)
    fsync_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def hoist(inner: Path) -> None:
    """Move the content of ``inner`` into its parent (inside a partial folder, before its commit)."""
    for entry in sorted(inner.iterdir()):
        entry.replace(inner.parent / entry.name)
    inner.rmdir()


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, without a copy; ``False`` where the file system has no such thing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(target)
    try:
        os.link(source, partial)
    except OSError:
        return False
    partial.replace(target)
    # Renaming one name of a file to another name of it does nothing.
    partial.unlink(missing_ok=True)
    return True


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such thing.

    Raises
    ------
    NoRoomError
        When the disk fills up.
    """
    if link(source, target):
        return
    with source.open("rb") as handle, write_aside(target) as aside:
        while chunk := handle.read(CHUNK_BYTES):
            aside.write(chunk)


def put_folder(new: Path, path: Path) -> None:
    """Put a finished folder in the place of ``path``; what is hidden in an older one moves along.

    After a kill in the middle, :func:`sweep_partials` of the parent puts the older one back.
    """
    for folder, _, names in os.walk(new):
        for name in names:
            fsync_file(Path(folder) / name)
        fsync_folder(Path(folder))
    _keep_hidden(path, new)
    _swap_folder(new, path)


def _keep_hidden(old: Path, new: Path) -> None:
    """Give what is hidden in a folder a second name in the one that replaces it: a kill in between loses nothing."""
    for entry in sorted(old.iterdir()) if old.is_dir() else []:
        if not entry.name.startswith(".") or is_partial(entry.name):
            continue
        target = new / entry.name
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target, symlinks=True, dirs_exist_ok=True, copy_function=_second_name)
        else:
            _second_name(str(entry), str(target))


def _second_name(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def replace_folder(new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``old`` (inside a partial folder, before its commit)."""
    shutil.rmtree(old)
    new.replace(old)
