"""Reading archives without trusting them: tar, tar.gz, zip, 7z and gzip, one wanted member at a time.

A member is asked for by its exact name, must be a plain file that is there once, and comes as a stream whose length is
bounded, so that links, devices and bombs of other members never matter. Only a zip of ours is unpacked whole, and that
only when all of its members are such files.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from humanst.fetch import zips
from humanst.fetch.archive_faults import bomb, cut, reading
from humanst.fetch.budget import BUDGET, Budget
from humanst.fetch.sevenzips import is_sevenzip, list_sevenzip, read_sevenzip
from humanst.fetch.tars import is_gzip, list_tar, read_tar
from humanst.fetch.zips import is_zip, list_zip, read_zip
from humanst.files import CHUNK_BYTES, safe_relative_path

__all__ = ["BUDGET", "Budget", "gunzip", "is_gzip", "list_members", "read_member", "read_whole_zip"]


def list_members(path: Path, *, name: str, budget: Budget = BUDGET, password: str | None = None) -> tuple[str, ...]:
    """Names of all plain files of an archive, in its order; links, devices and folders are no files.

    Raises
    ------
    DataError
        ``archive-unreadable`` for what is neither tar, tar.gz, zip nor 7z; ``archive-encrypted`` and
        ``archive-password`` for a 7z archive whose list itself is encrypted.
    IntegrityError
        ``archive-cut`` when it ends too early.
    HostileError
        ``archive-bomb`` beyond the budget, ``archive-members`` for too many members.
    UsageError
        ``backend-missing`` for a 7z archive without py7zr.
    """
    with reading(name):
        if is_zip(path):
            return list_zip(path, name)
        if is_sevenzip(path):
            return list_sevenzip(path, name, password)
        return list_tar(path, name, budget)


def read_member(
    path: Path, member: str, *, name: str, budget: Budget = BUDGET, password: str | None = None
) -> Iterator[bytes]:
    """Blocks of one member, as it is in the archive.

    Parameters
    ----------
    path
        tar, tar.gz, zip or 7z.
    member
        Its exact name.
    name
        How messages call the archive.
    password
        As the archive's authors publish it, for encrypted members of zip and 7z.

    Raises
    ------
    DataError
        ``no-member``, ``archive-unreadable``; ``archive-encrypted`` without a password, ``archive-password`` with a
        wrong one, ``archive-method`` for a compression that cannot be bounded.
    HostileError
        ``unsafe-member`` for a link, a device or an unsafe name, ``member-twice``, ``archive-bomb``.
    IntegrityError
        ``archive-cut``.
    UsageError
        ``backend-missing`` for 7z without py7zr, and for AES in zip without pyzipper.
    """
    with reading(f"{name}/{member}"):
        safe_relative_path(member)
        if is_zip(path):
            yield from read_zip(path, member, name, budget, password)
        elif is_sevenzip(path):
            yield from read_sevenzip(path, member, name, budget, password)
        else:
            yield from read_tar(path, member, name, budget)


def read_whole_zip(path: Path, *, name: str, max_files: int, max_bytes: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and blocks of every member of a zip, to be taken in this order.

    Parameters
    ----------
    max_files, max_bytes
        How many there are at most, and how many bytes they give together.

    Raises
    ------
    DataError
        ``archive-encrypted``, ``archive-method``, ``archive-unreadable``.
    HostileError
        ``unsafe-member`` for a folder, a link, a device, an unsafe name or a file in the place of a folder,
        ``member-twice``, ``archive-members``, ``archive-bomb``. Nothing was read then.
    IntegrityError
        ``archive-cut``, also for a member that is not the one of its checksum.
    """
    with reading(name):
        for member, blocks in zips.read_whole_zip(path, name, max_files, max_bytes):
            yield member, _reading(blocks, f"{name}/{member}")


def _reading(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    with reading(name):
        yield from blocks


def gunzip(blocks: Iterator[bytes], *, name: str, budget: Budget = BUDGET) -> Iterator[bytes]:
    """Decompress a gzip stream (of one or more members) within the budget.

    Raises
    ------
    IntegrityError
        ``archive-cut``, also for bytes that are not gzip.
    HostileError
        ``archive-bomb``.
    """
    taken, made, engine = 0, 0, zlib.decompressobj(31)
    with reading(name):
        for block in blocks:
            rest = block
            taken += len(block)
            while rest:
                if engine.eof:
                    if not rest.lstrip(b"\0"):
                        break
                    engine = zlib.decompressobj(31)
                data = engine.decompress(rest, CHUNK_BYTES)
                rest = engine.unconsumed_tail or engine.unused_data
                made += len(data)
                if made > budget.limit(taken):
                    raise bomb(name, budget.limit(taken))
                yield data
        if not engine.eof:
            raise cut(name, "the gzip stream does not end")
