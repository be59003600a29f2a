"""The errors of reading archives, each written once."""

from __future__ import annotations

import errno
import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from humanst.errors import DataError, HostileError, HumanstError, IntegrityError, UsageError

Info = TypeVar("Info")
# What tarfile, zipfile and zlib raise on bytes that are not what their headers say.
_CHECK_ARCHIVE = "Check where the archive comes from; unpack it by hand if it is right"
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    IndexError,
    struct.error,
)


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
            expected="each name once, upper and lower case being the same",
            found=f"{len(found)} times",
            done="Nothing was unpacked",
            todo=_CHECK_ARCHIVE,
        )
    if not is_plain(found[0]):
        raise not_plain("a link, device, folder or sparse file")
    return found[0]


def not_plain(found: str) -> HostileError:
    """Say that a member is no file, or lies behind a link: ``unsafe-member``."""
    return HostileError(
        "This member is not a plain file",
        code="unsafe-member",
        expected="a plain file in plain folders",
        found=found,
        done="Nothing was unpacked",
        todo=_CHECK_ARCHIVE,
    )


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
        found="more",
        done="Nothing was unpacked",
        todo=_CHECK_ARCHIVE,
    )


def needs_password(cipher: str) -> DataError:
    """Say that nobody gave the password: ``archive-encrypted``."""
    return DataError(
        "This member is encrypted",
        code="archive-encrypted",
        expected="a member without a password, or the password in the catalog",
        found=cipher,
        done="Nothing was unpacked",
        todo="If its authors publish the password, add it to the study's archives in the catalog; else give the file",
    )


def wrong_password(cipher: str, found: str) -> DataError:
    """Say that the password opens nothing: ``archive-password``."""
    return DataError(
        "The password on record does not open this member",
        code="archive-password",
        expected=f"the password of its {cipher} encryption, in an archive that is whole",
        found=found or "bytes that are not what was packed",
        done="Nothing was unpacked",
        todo="Compare it, letter by letter, with the page named in the catalog",
    )


def library_missing(what: str, library: str) -> UsageError:
    """Say which library reads a kind of archive: ``backend-missing``."""
    return UsageError(
        f"Reading {what} needs {library}, which is not installed",
        code="backend-missing",
        expected=f"a Python that can import {library}",
        found="no such module",
        done="Nothing was unpacked",
        todo="pip install 'humanst[archives]'",
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Name the file in our errors, and say what those of the libraries mean."""
    try:
        yield
    except HumanstError as error:
        raise error.located(file=name) from None
    except (*DAMAGE, gzip.BadGzipFile) as error:
        raise cut(name, str(error) or type(error).__name__) from error
    except OSError as error:
        # What a header that points before the file's start comes to; a disk that fails is another matter.
        if error.errno != errno.EINVAL:
            raise
        raise cut(name, str(error)) from error
    except (NotImplementedError, RuntimeError) as error:
        # What zipfile says of things it does not know.
        raise DataError(
            "This archive cannot be read",
            code="archive-unreadable",
            file=name,
            expected="an archive as tar, zip or 7-Zip write it",
            found=str(error) or type(error).__name__,
            done="Nothing was unpacked",
            todo="Unpack it by hand and give the file itself",
        ) from error
