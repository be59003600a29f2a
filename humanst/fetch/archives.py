"""Reading archives without trusting them: tar, tar.gz, zip and gzip, one wanted member at a time.

Nothing is ever unpacked whole. A member is asked for by its exact name, must be a plain file that is there once, and
comes as a stream whose length is bounded, so that links, devices and bombs of other members never matter.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from humanst.errors import DataError, HostileError
from humanst.fetch.archive_faults import bomb, cut, not_plain, reading, the_one, too_many
from humanst.files import CHUNK_BYTES, safe_relative_path

MAX_MEMBERS = 200_000
# Longer single reads are asked for by hostile headers only: members are read in chunks.
MAX_READ_BYTES = 64 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Budget:
    """How much compressed bytes may become.

    ``free_bytes`` always, then ``max_ratio`` times their number, never more than ``max_bytes``. Count tables shrink to
    a tenth and images to a third; a bomb to a thousandth.
    """

    max_bytes: int = 64 << 30
    free_bytes: int = 64 << 20
    max_ratio: int = 200

    def limit(self, compressed_bytes: int) -> int:
        """The most bytes that ``compressed_bytes`` may give."""
        return min(self.max_bytes, max(self.free_bytes, self.max_ratio * compressed_bytes))


BUDGET = Budget()


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    with path.open("rb") as handle:
        return handle.read(2) == _GZIP_MAGIC


def list_members(path: Path, *, name: str, budget: Budget = BUDGET) -> tuple[str, ...]:
    """Names of all plain files of an archive, in its order; links, devices and folders are no files.

    Raises
    ------
    DataError
        ``archive-unreadable`` for what is neither tar, tar.gz nor zip.
    IntegrityError
        ``archive-cut`` when it ends too early.
    HostileError
        ``archive-bomb`` beyond the budget, ``archive-members`` for too many members.
    """
    with reading(name):
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return tuple(info.filename for info in _zip_infos(archive, name) if _is_plain_zip(info))
        with _open_tar(path, name, budget) as tar:
            return tuple(info.name for info in _tar_infos(tar, name) if info.isreg())


def read_member(path: Path, member: str, *, name: str, budget: Budget = BUDGET) -> Iterator[bytes]:
    """Blocks of one member, as it is in the archive.

    Parameters
    ----------
    path
        tar, tar.gz or zip.
    member
        Its exact name.
    name
        How messages call the archive.

    Raises
    ------
    DataError
        ``no-member``, ``archive-unreadable``, ``archive-encrypted``.
    HostileError
        ``unsafe-member`` for a link, a device or an unsafe name, ``member-twice``, ``archive-bomb``.
    IntegrityError
        ``archive-cut``.
    """
    with reading(f"{name}/{member}"):
        safe_relative_path(member)
        if _is_zip(path):
            yield from _from_zip(path, member, name, budget)
        else:
            with _open_tar(path, name, budget) as tar:
                yield from _from_tar(tar, member, name)


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


def _is_zip(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(4) in _ZIP_MAGIC


def _zip_infos(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise too_many(name, MAX_MEMBERS)
    return infos


def _is_plain_zip(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return not info.is_dir() and kind in (0, stat.S_IFREG)


def _from_zip(path: Path, member: str, name: str, budget: Budget) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        infos = _zip_infos(archive, name)
        if any(member.startswith(f"{info.filename}/") for info in infos):
            raise not_plain("a link or a file in the place of its folder")
        twins = [info for info in infos if _same_name(info.filename, member)]
        found = twins if any(info.filename == member for info in twins) else []
        info = the_one(found, member, name, _is_plain_zip)
        if info.flag_bits & 1:
            raise DataError(
                "This member is encrypted",
                code="archive-encrypted",
                expected="a member without a password",
                done="Nothing was unpacked",
                todo="Unpack it by hand and give the file itself",
            )
        limit = budget.limit(min(info.compress_size, path.stat().st_size))
        with archive.open(info) as handle:
            yield from _bounded(handle, limit, f"{name}/{member}")


def _same_name(one: str, other: str) -> bool:
    """Whether two members would be one file where upper and lower case are the same."""
    return one.casefold() == other.casefold()


def _bounded(handle: IO[bytes], limit: int, name: str) -> Iterator[bytes]:
    made = 0
    while block := handle.read(CHUNK_BYTES):
        made += len(block)
        if made > limit:
            raise bomb(name, limit)
        yield block


class _Careful:
    """A file for tarfile: no single read beyond :data:`MAX_READ_BYTES`, and none behind ``limit``.

    ``last`` is the block that was read last, for the question whether an archive ended as archives do.
    """

    def __init__(self, handle: Any, name: str, limit: int | None) -> None:
        self._handle, self._name, self._limit = handle, name, limit
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise HostileError("A header of this archive asks for too much memory", code="archive-bomb")
        data: bytes = self._handle.read(size)
        self.last = data
        self._require(self._handle.tell())
        return data

    def seek(self, offset: int) -> int:
        self._require(offset)
        return int(self._handle.seek(offset))

    def _require(self, position: int) -> None:
        if self._limit is not None and position > self._limit:
            raise bomb(self._name, self._limit)

    def tell(self) -> int:
        return int(self._handle.tell())

    def seekable(self) -> bool:
        return True

    def drain(self) -> None:
        """Read what follows in a compressed stream, so that its checksum is looked at."""
        while self._limit is not None and self.read(CHUNK_BYTES):
            pass


@contextmanager
def _open_tar(path: Path, name: str, budget: Budget) -> Iterator[tarfile.TarFile]:
    compressed = is_gzip(path)
    with gzip.open(path, "rb") if compressed else path.open("rb") as handle:
        limit = budget.limit(path.stat().st_size) if compressed else None
        careful: Any = _Careful(handle, name, limit)
        try:
            tar = tarfile.open(fileobj=careful, mode="r:")  # noqa: SIM115
        except tarfile.ReadError as error:
            raise DataError(
                "This archive cannot be read",
                code="archive-unreadable",
                expected="a tar, tar.gz or zip archive",
                found=str(error),
                todo="Correct its entry in the catalog",
            ) from error
        with tar:
            yield tar


def _tar_infos(tar: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    for number, info in enumerate(tar):
        if number >= MAX_MEMBERS:
            raise too_many(name, MAX_MEMBERS)
        yield info
    # tarfile takes a file that stops between two members for a whole archive; a whole one ends in a block of zeros.
    careful: Any = tar.fileobj
    if careful.last != bytes(_TAR_BLOCK):
        raise cut(name, "no end-of-archive block")
    careful.drain()


def _from_tar(tar: tarfile.TarFile, member: str, name: str) -> Iterator[bytes]:
    seen, found = 0, False
    for info in _tar_infos(tar, name):
        if member.startswith(f"{info.name}/") and not info.isdir():
            raise not_plain("a link or a file in the place of its folder")
        if not _same_name(info.name, member):
            continue
        seen += 1
        the_one([info] * seen, member, name, lambda info: info.isreg() and not info.issparse())
        if info.name != member:
            continue
        found = True
        handle = tar.extractfile(info)
        left = info.size
        while handle is not None and (block := handle.read(CHUNK_BYTES)):
            left -= len(block)
            yield block
        if left:
            raise cut(name, f"{left:,} bytes of {member} are missing")
    if not found:
        the_one([], member, name, lambda _: True)
