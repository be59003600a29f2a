"""How much an archive may hold and become, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from humanst.errors import HostileError
from humanst.fetch.archive_faults import bomb
from humanst.files import CHUNK_BYTES, folded_name

MAX_MEMBERS = 100_000
# Longer single reads are asked for by hostile headers only: members are read in chunks.
MAX_READ_BYTES = 16 << 20


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


def bounded(handle: IO[bytes], limit: int, name: str) -> Iterator[bytes]:
    """Blocks of a stream, refused as a bomb beyond ``limit`` bytes."""
    made = 0
    while block := handle.read(CHUNK_BYTES):
        made += len(block)
        if made > limit:
            raise bomb(name, limit)
        yield block


def same_name(one: str, other: str) -> bool:
    """Whether two members would be one file on some disk."""
    return folded_name(one) == folded_name(other)


class Careful:
    """A file for tarfile and zipfile: no single read beyond :data:`MAX_READ_BYTES`, and none behind ``limit()``.

    zipfile reads the whole list of members at once and tarfile a whole header, both as long as the archive says.
    ``limit`` tells how far a compressed file may be read by now, ``name`` is the archive's, for messages. ``last`` is
    the block that was read last, for the question whether an archive ended as archives do.
    """

    def __init__(self, handle: Any, name: str, *, limit: Callable[[], int] | None = None) -> None:
        self._handle, self.name, self._limit = handle, name, limit
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes, all that are left without it."""
        data: bytes = self._handle.read(min(size, MAX_READ_BYTES + 1) if size >= 0 else MAX_READ_BYTES + 1)
        if size < -1 or max(size, len(data)) > MAX_READ_BYTES:
            raise HostileError(
                "A header of this archive asks for too much memory",
                code="archive-bomb",
                file=self.name,
                expected=f"headers of at most {MAX_READ_BYTES:,} bytes",
                found=f"a read of {size:,} bytes",
                done="Nothing was unpacked",
                todo="Check where the file comes from; unpack it by hand if it is right",
            )
        self.last = data
        self._require(self._handle.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; in a compressed file by reading what lies before it."""
        if self._limit is None or whence != 0:
            return int(self._handle.seek(offset, whence))
        position = int(self._handle.seek(min(offset, self.tell())))
        while position < offset and (block := self.read(min(CHUNK_BYTES, offset - position))):
            position += len(block)
        return position

    def _require(self, position: int) -> None:
        if self._limit is not None and position > (limit := self._limit()):
            raise bomb(self.name, limit)

    def tell(self) -> int:
        """Where the next read begins."""
        return int(self._handle.tell())

    def seekable(self) -> bool:
        """Yes."""
        return True

    def drain(self) -> None:
        """Read what follows in a compressed stream, so that its checksum is looked at."""
        while self._limit is not None and self.read(CHUNK_BYTES):
            pass
