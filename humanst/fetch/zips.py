"""Members of zip archives, plain or encrypted with a password that their authors publish."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from humanst.errors import DataError
from humanst.fetch.archive_faults import (
    DAMAGE,
    bomb,
    library_missing,
    needs_password,
    not_plain,
    the_one,
    too_many,
    wrong_password,
)
from humanst.fetch.budget import MAX_MEMBERS, Budget, Careful, bounded, same_name
from humanst.files import folded_name, safe_relative_path

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_LISTED = b"PK\x01\x02"
_ENCRYPTED, _STRONG = 0x1, 0x40
_AES_METHOD, _AES_EXTRA = 99, 0x9901
_AES_BITS = {1: 128, 2: 192, 3: 256}
# zipfile bounds what one read may unpack for these alone: of bzip2 and LZMA a read of 1 MiB can become gigabytes.
_METHODS = {9: "Deflate64", zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA", 93: "Zstandard", 98: "PPMd"}
_BOUNDED_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip archives do."""
    with path.open("rb") as handle:
        return handle.read(4) in _ZIP_MAGIC


def list_zip(path: Path, name: str) -> tuple[str, ...]:
    """Names of its plain files; they can be read without the password."""
    with path.open("rb") as handle, zipfile.ZipFile(_careful(handle, name)) as archive:
        return tuple(info.filename for info in _infos(archive, name) if _is_plain(info))


def read_zip(path: Path, member: str, name: str, budget: Budget, password: str | None) -> Iterator[bytes]:
    """Blocks of one member."""
    with path.open("rb") as file, zipfile.ZipFile(_careful(file, name)) as archive:
        infos = _infos(archive, name)
        if any(member.startswith(f"{info.filename}/") for info in infos):
            raise not_plain("a link or a file in the place of its folder")
        twins = [info for info in infos if same_name(info.filename, member)]
        found = twins if any(info.filename == member for info in twins) else []
        info = the_one(found, member, name, _is_plain)
        method, cipher = _method(info), _cipher(info)
        if cipher is not None and password is None:
            raise needs_password(cipher)
        if method not in _BOUNDED_METHODS:
            raise _unbounded(cipher if method is None else _METHODS.get(method, f"method {method}"))
        limit = budget.limit(min(info.compress_size, path.stat().st_size))
        if info.file_size > limit:
            raise bomb(f"{name}/{member}", limit)
        with _opened(archive, info, _careful(file, name), cipher, password) as handle:
            yield from bounded(handle, limit, f"{name}/{member}")


def read_whole_zip(path: Path, name: str, max_files: int, max_bytes: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and blocks of every member, all names having been looked at before the first is read."""
    with path.open("rb") as file, zipfile.ZipFile(_careful(file, name)) as archive:
        infos = _infos(archive, name)
        if len(infos) > max_files:
            raise too_many(name, max_files)
        _require_plain_tree(infos)
        if sum(info.file_size for info in infos) > max_bytes:
            raise bomb(name, max_bytes)
        for info in infos:
            with archive.open(info) as handle:
                yield info.filename, bounded(handle, info.file_size, f"{name}/{info.filename}")


def _require_plain_tree(infos: Sequence[zipfile.ZipInfo]) -> None:
    """Ask for plain files with safe names, none of them twice or in the place of a folder, stored or deflated."""
    seen = [folded_name(info.filename) for info in infos]
    counted = Counter(seen)
    folders = {"/".join(parts[:n]) for parts in (one.split("/") for one in seen) for n in range(1, len(parts))}
    for info, folded in zip(infos, seen, strict=True):
        safe_relative_path(info.filename)
        if folded in folders:
            raise not_plain(f"a file in the place of a folder: {info.filename}")
        if (cipher := _cipher(info)) is not None:
            raise needs_password(cipher)
        if info.compress_type not in _BOUNDED_METHODS:
            raise _unbounded(_METHODS.get(info.compress_type, f"method {info.compress_type}"))
        the_one([info] * counted[folded], info.filename, info.filename, _is_plain)


def _unbounded(found: str | None) -> DataError:
    return DataError(
        "This member is compressed in a way that cannot be unpacked in bounded memory",
        code="archive-method",
        expected="a stored or deflated member",
        found=found,
        done="Nothing was unpacked",
        todo="Unpack it by hand and give the file itself",
    )


@contextmanager
def _opened(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: IO[bytes], cipher: str | None, password: str | None
) -> Iterator[IO[bytes]]:
    if cipher is None or password is None:
        with archive.open(info) as handle:
            yield handle
        return
    try:
        if info.compress_type != _AES_METHOD:
            with archive.open(info, pwd=password.encode()) as handle:
                yield handle
            return
        with _pyzipper().AESZipFile(file) as other:
            twin = next(entry for entry in other.infolist() if entry.header_offset == info.header_offset)
            with other.open(twin, pwd=password.encode()) as handle:
                yield handle
    except (RuntimeError, *DAMAGE) as error:
        # A check of one or two bytes tells most wrong passwords; the others unpack to nonsense.
        raise wrong_password(cipher, str(error)) from error


def _pyzipper() -> ModuleType:
    try:
        import pyzipper
    except ImportError as error:
        raise library_missing("AES-encrypted zip archives", "pyzipper") from error
    module: ModuleType = pyzipper
    return module


class _CarefulZip(Careful):
    """Counts the members in the list that zipfile reads at once, before it makes an object of each."""

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        # The end of the archive says a number too, but nobody holds it to that.
        if len(data) > MAX_MEMBERS and data.count(_LISTED) > MAX_MEMBERS:
            raise too_many(self.name, MAX_MEMBERS)
        return data


def _careful(handle: IO[bytes], name: str) -> IO[bytes]:
    careful: Any = _CarefulZip(handle, name)
    opened: IO[bytes] = careful
    return opened


def _infos(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise too_many(name, MAX_MEMBERS)
    return infos


def _is_plain(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return not info.is_dir() and kind in (0, stat.S_IFREG)


def _cipher(info: zipfile.ZipInfo) -> str | None:
    """What a member is encrypted with, ``None`` for a plain one."""
    if not info.flag_bits & _ENCRYPTED:
        return None
    if info.compress_type == _AES_METHOD:
        return f"WinZip AES-{_AES_BITS.get(_aes_field(info)[2], '?')}"
    return "PKWARE strong encryption" if info.flag_bits & _STRONG else "ZipCrypto"


def _method(info: zipfile.ZipInfo) -> int | None:
    """How a member is compressed; AES keeps that in a field of its own. ``None`` where nobody can say."""
    if info.compress_type == _AES_METHOD:
        method = _aes_field(info)[3]
        return int(method) if info.flag_bits & _ENCRYPTED and method is not None else None
    return None if info.flag_bits & _STRONG else info.compress_type


def _aes_field(info: zipfile.ZipInfo) -> tuple[Any, ...]:
    """Version, vendor, strength and compression method of an AES member."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == _AES_EXTRA and size == 7 and len(extra) >= 11:
            return struct.unpack("<H2sBH", extra[4:11])
        extra = extra[4 + size :]
    return (None, None, None, None)
