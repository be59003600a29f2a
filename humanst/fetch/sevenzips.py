"""Members of 7z archives, read by py7zr in a process of its own.

Its parser and its eight decoders meet bytes of strangers. So it runs apart, with bounded memory and time
(:mod:`humanst.fetch.sevenzip_child`), writes to a pipe and to nothing else, and is stopped when too much comes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from humanst.errors import DataError, HostileError, HumanstError, UsageError
from humanst.fetch.archive_faults import (
    bomb,
    cut,
    library_missing,
    needs_password,
    not_plain,
    the_one,
    too_many,
    wrong_password,
)
from humanst.fetch.budget import MAX_MEMBERS, Budget, bounded, same_name
from humanst.fetch.sevenzip_child import MEMORY_BYTES

_MAGIC = b"7z\xbc\xaf\x27\x1c"
_CHILD = Path(__file__).with_name("sevenzip_child.py")
# As bytes of JSON: a list of as many members as are allowed.
_MAX_LIST_BYTES = 64 << 20
_CIPHER = "7zAES-256"


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry: its name, whether it is a plain file, its bytes, and the solid block it lies in."""

    filename: str
    is_plain: bool
    n_bytes: int
    block: int | None


def is_sevenzip(path: Path) -> bool:
    """Whether a file begins as 7z archives do."""
    with path.open("rb") as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def list_sevenzip(path: Path, name: str, password: str | None) -> tuple[str, ...]:
    """Names of its plain files."""
    return tuple(member.filename for member in _members(path, name, password) if member.is_plain)


def read_sevenzip(path: Path, member: str, name: str, budget: Budget, password: str | None) -> Iterator[bytes]:
    """Blocks of one member."""
    members = _members(path, name, password)
    if any(member.startswith(f"{other.filename}/") and not _is_folder(other) for other in members):
        raise not_plain("a link or a file in the place of its folder")
    twins = [other for other in members if same_name(other.filename, member)]
    found = twins if any(other.filename == member for other in twins) else []
    wanted = the_one(found, member, name, lambda other: other.is_plain)
    limit = budget.limit(path.stat().st_size)
    # All that lies before it in its block is unpacked on the way.
    before = members[: members.index(wanted) + 1]
    if sum(other.n_bytes for other in before if other.block == wanted.block) > limit:
        raise bomb(name, limit)
    made = 0
    with _child("read", path, member, name=name, password=password) as pipe:
        for block in bounded(pipe, limit, f"{name}/{member}"):
            made += len(block)
            yield block
    if made != wanted.n_bytes:
        raise cut(name, f"{made:,} bytes of {member} where its header says {wanted.n_bytes:,}")


def _is_folder(member: _Member) -> bool:
    # py7zr knows folders by an attribute that not every writer sets: an entry without bytes may be one.
    return member.block is None


def _members(path: Path, name: str, password: str | None) -> list[_Member]:
    with _child("list", path, name=name, password=password) as pipe:
        said = pipe.read(_MAX_LIST_BYTES + 1)
        if len(said) > _MAX_LIST_BYTES:
            raise too_many(name, MAX_MEMBERS)
    members = [_Member(*row) for row in json.loads(said)]
    if len(members) > MAX_MEMBERS:
        raise too_many(name, MAX_MEMBERS)
    return members


@contextmanager
def _child(mode: str, path: Path, *more: str, name: str, password: str | None) -> Iterator[IO[bytes]]:
    """The output of the reading process; raises what it says when it ends badly, and stops it on any error here."""
    if find_spec("py7zr") is None:
        raise library_missing("7z archives", "py7zr")
    if find_spec("resource") is None:
        raise UsageError(
            "7z archives are not read on this system: it sets no limits to a process",
            code="no-limits",
            file=name,
            expected="Linux or macOS",
            found=sys.platform,
            done="Nothing was unpacked",
            todo="Unpack it by hand and give the file itself",
        )
    # -P: the folder of the script is no place to import from.
    command = [sys.executable, "-P", "-W", "ignore", str(_CHILD), mode, str(path), *more]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:  # noqa: S603 - our own script
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(f"{password or ''}\n".encode())  # type: ignore[union-attr]
                process.stdin.close()  # type: ignore[union-attr]
            yield process.stdout  # type: ignore[misc]
            told = process.stderr.read(1 << 16)  # type: ignore[union-attr]
            code = process.wait()
        finally:
            process.kill()
    if code != 0:
        raise _meaning(told, code, name, password)


def _meaning(told: bytes, code: int, name: str, password: str | None) -> HumanstError:
    """The error that the last line of the reading process stands for; one that was killed wrote none."""
    try:
        said = json.loads(told.splitlines()[-1])
        kind, text = str(said["kind"]), str(said["text"])
    except (IndexError, ValueError, KeyError, TypeError):
        kind, text = "memory" if code < 0 else "damaged", f"the reading process ended with {code}"
    if kind == "encrypted":
        return needs_password(_CIPHER)
    if kind == "memory":
        return HostileError(
            "This archive needs too much memory or time to be unpacked",
            code="archive-bomb",
            file=name,
            expected=f"a dictionary that fits into {MEMORY_BYTES:,} bytes",
            found=text,
            done="Nothing was placed",
            todo="Check where the file comes from; unpack it by hand if it is right",
        )
    if kind == "method":
        return DataError(
            "This archive is compressed in a way that py7zr does not know",
            code="archive-method",
            file=name,
            expected="LZMA, LZMA2, PPMd, BZip2, Deflate or Zstandard",
            found=text,
            done="Nothing was unpacked",
            todo="Unpack it by hand and give the file itself",
        )
    return wrong_password(_CIPHER, text) if password is not None else cut(name, text)
