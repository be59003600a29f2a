"""Tar bytes that depend on names and data only: the same members give the same archive on every machine.

The format is POSIX.1-1988 USTAR (IEEE Std 1003.1, *pax*, "ustar Interchange Format"), byte for byte what Python's
``tarfile`` writes in its ``USTAR_FORMAT`` for regular files with mode 0644, time 0 and no owner. Every reader of tar
files reads it. No extended header is ever written, so the offset of a member's data is known before it is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from humanst.errors import DataError

BLOCK_BYTES = 512
RECORD_BYTES = 10_240
NAME_BYTES = 100
SIZE_LIMIT_BYTES = 8**11 - 1

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_OWNER = b"0000644\0" + 2 * b"0000000\0"
_TIME = b"00000000000\0"
_REST = (b"0" + bytes(100) + b"ustar\x0000").ljust(BLOCK_BYTES - 156, b"\0")
# The checksum counts its own field as eight spaces.
_SUM_OF_CONSTANTS = sum(_OWNER + _TIME + _REST + 8 * b" ")


class CountingFile(Protocol):
    """A binary file that is written once from start to end and counts its bytes (``humanst.files.AsideFile``)."""

    n_bytes: int

    def write(self, data: bytes, /) -> int:
        """Append ``data`` and return the number of bytes written."""
        ...


def member_header(name: str, size: int) -> bytes:
    """Make the 512-byte USTAR header of a regular file.

    Parameters
    ----------
    name
        Name of the member: at most 100 characters of ``[A-Za-z0-9_.-]``, the first one not a dot.
    size
        Bytes of data that follow, below 8 GiB.

    Returns
    -------
    bytes
        The header: mode 0644, uid and gid 0, time 0, no user or group name.

    Raises
    ------
    DataError
        For a name or size that USTAR cannot hold without an extension, or a name with other characters.
    """
    if len(name) > NAME_BYTES or not _NAME.fullmatch(name):
        raise DataError(
            "This name cannot be a member of a shard",
            code="tar-name",
            file=name,
            expected=f"at most {NAME_BYTES} characters of A-Z a-z 0-9 _ . -, the first one not a dot",
            found=f"{name!r} ({len(name)} characters)",
            done="The member was not written",
            todo="Give the section a shorter id, or one without other characters",
        )
    if not 0 <= size <= SIZE_LIMIT_BYTES:
        raise DataError(
            "This size cannot stand in a USTAR header",
            code="tar-size",
            file=name,
            expected=f"0 to {SIZE_LIMIT_BYTES:,} bytes",
            found=f"{size:,}",
            done="The member was not written",
        )
    name_field, size_field = name.encode("ascii"), b"%011o\0" % size
    # The checksum is the sum of all bytes of the header; zeros add nothing, and the rest is the same for every member.
    checksum = _SUM_OF_CONSTANTS + sum(name_field) + sum(size_field)
    return b"".join((name_field.ljust(NAME_BYTES, b"\0"), _OWNER, size_field, _TIME, b"%06o\0 " % checksum, _REST))


def write_member(out: CountingFile, name: str, data: bytes) -> tuple[int, int]:
    """Append one member; see :func:`write_members`."""
    return write_members(out, [(name, data)])[0]


def write_members(out: CountingFile, members: Sequence[tuple[str, bytes]]) -> list[tuple[int, int]]:
    """Append members, all in one go, to an archive that began at byte 0 of ``out``.

    Parameters
    ----------
    out
        The archive; ``out.n_bytes`` is the position of the next byte.
    members
        Their names (see :func:`member_header`) and contents.

    Returns
    -------
    list of (offset, length)
        Position of the first byte of each one's data in the archive, and number of data bytes (without padding).

    Raises
    ------
    DataError
        For a bad name or size, or when ``out`` does not stand at a block border; nothing is written then.
    """
    position = out.n_bytes
    _require_block_border(position, members[0][0] if members else None)
    pieces, places = [], []
    for name, data in members:
        padding = bytes(-len(data) % BLOCK_BYTES)
        pieces += [member_header(name, len(data)), data, padding]
        places.append((position + BLOCK_BYTES, len(data)))
        position += BLOCK_BYTES + len(data) + len(padding)
    out.write(b"".join(pieces))
    return places


def end_of_archive(position: int) -> bytes:
    """Make the end of an archive: two zero blocks, then zeros up to a whole record of 10,240 bytes.

    Parameters
    ----------
    position
        Bytes written so far, a multiple of 512.

    Returns
    -------
    bytes
        Zeros to append; ``position + len(result)`` is a multiple of 10,240.

    Raises
    ------
    DataError
        When ``position`` is not at a block border.
    """
    _require_block_border(position, None)
    closed = position + 2 * BLOCK_BYTES
    return bytes(2 * BLOCK_BYTES + -closed % RECORD_BYTES)


def _require_block_border(position: int, name: str | None) -> None:
    if position < 0 or position % BLOCK_BYTES:
        raise DataError(
            "The archive does not stand at a block border",
            code="tar-position",
            file=name,
            expected=f"a multiple of {BLOCK_BYTES} bytes",
            found=f"{position:,} bytes",
            done="Nothing more was written",
            todo="Write members with write_member only",
        )
