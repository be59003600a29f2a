"""Members of tar and tar.gz archives, found by reading every header and unpacking nothing else."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from humanst.errors import DataError
from humanst.fetch.archive_faults import cut, not_plain, the_one, too_many
from humanst.fetch.budget import MAX_MEMBERS, Budget, Careful, same_name
from humanst.files import CHUNK_BYTES

_GZIP_MAGIC = b"\x1f\x8b"
_TAR_BLOCK = 512


def is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    with path.open("rb") as handle:
        return handle.read(2) == _GZIP_MAGIC


def list_tar(path: Path, name: str, budget: Budget) -> tuple[str, ...]:
    """Names of its plain files."""
    with _open_tar(path, name, budget) as tar:
        return tuple(info.name for info in _tar_infos(tar, name) if info.isreg())


def read_tar(path: Path, member: str, name: str, budget: Budget) -> Iterator[bytes]:
    """Blocks of one member."""
    with _open_tar(path, name, budget) as tar:
        yield from _from_tar(tar, member, name)


@contextmanager
def _open_tar(path: Path, name: str, budget: Budget) -> Iterator[tarfile.TarFile]:
    compressed = is_gzip(path)
    with path.open("rb") as raw, gzip.open(raw) if compressed else path.open("rb") as handle:
        # By what was read so far: a bomb is known after its first blocks, however large the file is.
        careful: Any = Careful(handle, name, limit=(lambda: budget.limit(raw.tell())) if compressed else None)
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
        if not same_name(info.name, member):
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
