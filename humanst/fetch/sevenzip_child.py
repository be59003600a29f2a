"""Read one 7z archive in a process of its own, whose memory and time the system bounds.

Run as a script, and nothing of humanst is imported here: ``sevenzip_child.py list PATH`` writes one JSON list of
``[name, is_plain, bytes, block]`` to stdout, ``sevenzip_child.py read PATH NAME`` the bytes of one member. The password
is the first line of stdin. What goes wrong is one JSON object on the last line of stderr, and exit 1.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# The dictionary of a 7z stream is allocated as its header says: 64 MiB as 7-Zip writes it, up to 4 GiB as anyone may.
MEMORY_BYTES = 512 << 20
CPU_SECONDS = 2 * 3600


def _bound() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing is written but to the pipe.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _members(archive: Any) -> list[list[Any]]:
    blocks: dict[int, int] = {}
    found = []
    for entry in archive.files:
        block = None if entry.emptystream else blocks.setdefault(id(entry.folder), len(blocks))
        plain = entry.is_file and not entry.is_directory
        found.append([entry.filename, plain, 0 if entry.emptystream else entry.uncompressed, block])
    return found


def _factory() -> Any:
    from py7zr.io import Py7zIO, WriterFactory

    class Out(Py7zIO):
        """The pipe, as py7zr wants to write it."""

        def write(self, s: bytes | bytearray) -> int:
            return sys.stdout.buffer.write(s)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def flush(self) -> None:
            sys.stdout.buffer.flush()

        def size(self) -> int:
            return 0

    class Factory(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            return Out()

    return Factory()


def _kind(error: BaseException) -> str:
    """Which of our errors it is."""
    from py7zr import exceptions

    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, exceptions.PasswordRequired):
        return "encrypted"
    if isinstance(error, exceptions.UnsupportedCompressionMethodError):
        return "method"
    return "damaged"


def main() -> int:
    """Do what the arguments say; returns the exit code."""
    _bound()
    mode, path = sys.argv[1:3]
    password = sys.stdin.readline().rstrip("\n") or None
    try:
        import py7zr

        # A file object, for py7zr starts one thread a block when it is given a path.
        with open(path, "rb") as handle, py7zr.SevenZipFile(handle, "r", password=password) as archive:  # noqa: PTH123
            if mode == "list":
                sys.stdout.write(json.dumps(_members(archive)))
            else:
                archive.extract(targets=[sys.argv[3]], factory=_factory())
        sys.stdout.flush()
    except BrokenPipeError:
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever a hostile archive makes of its reader
        told = {"kind": _kind(error), "text": f"{type(error).__name__}: {error}"[:500]}
        sys.stderr.write(json.dumps(told) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
