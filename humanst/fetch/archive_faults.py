"""The errors of reading archives, each written once."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from humanst.errors import DataError, HostileError, HumanstError, IntegrityError

Info = TypeVar("Info")


def the_one(found: Sequence[Info], member: str, name: str, is_plain: Callable[[Info], bool]) -> Info:
    """Ask for exactly one member of a name, and that it is a plain file.

    Raises
    ------
    DataError
        ``no-member``.
    HostileError
        ``member-twice``, ``unsafe-member``.
    """
    if not found:
        raise DataError(
            "The archive has no such member",
            code="no-member",
            file=name,
            field="member",
            expected=repr(member),
            found="no plain file of this name",
            todo="Correct the member's name in the catalog or recipe",
        )
    if len(found) > 1:
        raise HostileError(
            "The archive holds two members of one name",
            code="member-twice",
            expected="each name once",
            found=f"{len(found)} times",
            done="Nothing was unpacked",
        )
    if not is_plain(found[0]):
        raise HostileError(
            "This member is not a plain file",
            code="unsafe-member",
            expected="a plain file",
            found="a link, device, folder or sparse file",
            done="Nothing was unpacked",
        )
    return found[0]


def bomb(name: str, limit: int) -> HostileError:
    """Say that something grows too much: ``archive-bomb``."""
    return HostileError(
        "The file grows too much when it is unpacked",
        code="archive-bomb",
        file=name,
        expected=f"at most {limit:,} bytes",
        found="more",
        done="Nothing was placed",
        todo="Check where the file comes from",
    )


def cut(name: str, found: str) -> IntegrityError:
    """Say that an archive ends too early: ``archive-cut``."""
    return IntegrityError(
        "The archive is not whole",
        code="archive-cut",
        file=name,
        expected="an archive that can be read to its end",
        found=found,
        done="Nothing was placed",
        todo="Fetch it again",
    )


def too_many(name: str, limit: int) -> HostileError:
    """Say that an archive has more members than any real one: ``archive-members``."""
    return HostileError(
        "The archive has too many members",
        code="archive-members",
        file=name,
        expected=f"at most {limit:,}",
        done="Nothing was unpacked",
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Name the file in our errors, and say what those of the libraries mean."""
    try:
        yield
    except HumanstError as error:
        raise error.located(file=name) from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise cut(name, str(error) or type(error).__name__) from error
    except (NotImplementedError, RuntimeError) as error:
        # What zipfile says of compression methods and passwords it does not know.
        raise DataError("This archive cannot be read", code="archive-unreadable", file=name, found=error) from error
