"""Bombs at fetch: refused after less than two seconds of processor time, in less than 512 MiB.

Each is fetched in a process of its own, whose peak memory and processor time, and those of what it started, are the
figures. What a bomb would become is 4 GiB.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fetch.conftest import on_disk
from tests.fetch.packing import huge_header, tar_of, with_dictionary, zip_of_many
from tests.helpers import ROOT
from tests.server import serving

GIB = 1 << 30
_PIECE = 64 << 20
MIB_ALLOWED, SECONDS_ALLOWED = 512, 2.0


def zeros(n_bytes: int) -> bytes:
    """A raw deflate stream of zeros, made of one piece again and again."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = engine.compress(bytes(_PIECE)) + engine.flush(zlib.Z_FULL_FLUSH)
    return piece * (n_bytes // _PIECE) + engine.flush()


def gzip_bomb(start: bytes = b"") -> bytes:
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = engine.compress(start) + engine.flush(zlib.Z_FULL_FLUSH)
    return head + first + zeros(4 * GIB) + struct.pack("<LL", 0, len(start))


def zip_bomb(says: int) -> bytes:
    """One member of 4 GiB less a bit, that says it has ``says`` bytes."""
    out, packed = io.BytesIO(), zeros(4 * GIB - _PIECE)
    info = zipfile.ZipInfo("wanted")
    info.compress_type, info.CRC, info.compress_size, info.file_size = zipfile.ZIP_DEFLATED, 0, len(packed), says
    out.write(info.FileHeader() + packed)
    with zipfile.ZipFile(out, "a") as archive:
        info.header_offset = 0
        archive.filelist, archive.start_dir, archive._didModify = [info], out.tell(), True
    return out.getvalue()


def tar_bomb() -> bytes:
    """A tar.gz whose first member is 4 GiB of zeros; the wanted one would come behind it."""
    info = tarfile.TarInfo("a")
    info.size = 4 * GIB
    return gzip_bomb(info.tobuf(tarfile.GNU_FORMAT))


# Name -> file, the name that the archive has, the member asked for, code.
BOMBS: dict[str, tuple[Callable[[], bytes], str, str | None, str]] = {
    "zip": (lambda: zip_bomb(4 * GIB - _PIECE), "a.zip", "wanted", "archive-bomb"),
    "zip that lies": (lambda: zip_bomb(10), "a.zip", "wanted", "archive-cut"),
    "gz": (gzip_bomb, "image.png.gz", None, "archive-bomb"),
    "gz in a tar": (lambda: tar_of(("wanted.gz", gzip_bomb())), "a.tar", "wanted.gz", "archive-bomb"),
    "tar.gz": (tar_bomb, "a.tar.gz", "wanted", "archive-bomb"),
    "long header": (huge_header, "a.tar", "wanted", "archive-bomb"),
    "header in a tar.gz": (lambda: gzip.compress(huge_header()), "a.tar.gz", "wanted", "archive-bomb"),
    "list of members": (lambda: zip_of_many(350_000), "a.zip", "wanted", "archive-members"),
    "7z dictionary": (lambda: with_dictionary(40), "a.7z", "wanted", "archive-bomb"),
}

_FETCH = """
import json, resource, sys, time
from humanst.errors import HumanstError
from humanst.fetch import fetch_section
from tests.fetch.conftest import study
from humanst.catalog import Source
wanted = json.loads(sys.argv[1])
source = Source(**wanted["source"])
started = time.process_time()
try:
    fetch_section(*study(source, hosts=tuple(wanted["hosts"])), pin=True)
    code = "taken"
except HumanstError as error:
    code = error.facts.code
other = resource.getrusage(resource.RUSAGE_CHILDREN)
# Not ru_maxrss, which a process takes over from the one it was forked from: here a large one.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "code": code,
    "seconds": time.process_time() - started + other.ru_utime + other.ru_stime,
    "mib": max(int(status["VmHWM"].split()[0]), other.ru_maxrss) / 1024,
}))
"""


def fetched_apart(source: dict[str, object], cache: Path, **env: str) -> dict[str, object]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
    result = subprocess.run(
        [sys.executable, "-c", _FETCH, json.dumps({"source": source, "hosts": [env.pop("host", "")]})],
        env={**clean, "PYTHONPATH": str(ROOT), "HUMANST_CACHE_DIR": str(cache), **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: dict[str, object] = json.loads(result.stdout)
    return found


def check(found: dict[str, object], code: str) -> None:
    assert found["code"] == code
    assert float(str(found["mib"])) < MIB_ALLOWED, found
    assert float(str(found["seconds"])) < SECONDS_ALLOWED, found


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_early_and_small(tmp_path: Path, cache: Path, kind: str) -> None:
    make, path, member, code = BOMBS[kind]
    body = make()
    (tmp_path / "mirror" / "tiny").mkdir(parents=True)
    (tmp_path / "mirror" / "tiny" / path).write_bytes(body)
    record = {"role": "hires", "path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    source = record | ({} if member is None else {"member": member})
    check(fetched_apart(source, cache, HUMANST_MIRROR=str(tmp_path / "mirror"), HUMANST_OFFLINE="1"), code)
    assert on_disk(cache) == {f"sources/tiny/{path}"}


@pytest.mark.parametrize(("n_bytes", "code"), [(10_000, "body-too-long"), (None, "archive-bomb")])
def test_encoded_body_is_no_way_around(cache: Path, n_bytes: int | None, code: str) -> None:
    """A host that encodes for transport what nobody asked it to, of a size on record and of none."""
    with serving() as server:
        server.bodies["a.h5"] = gzip_bomb()
        url = server.url("labelled-gzip", "a.h5")
        source = {"role": "counts", "path": "a.h5", "url": url, "bytes": n_bytes}
        env = {"HUMANST_OFFLINE": "0", "HUMANST_ALLOW_LOOPBACK_HTTP": "1", "NO_PROXY": "*"}
        check(fetched_apart(source, cache, host=server.host, **env), code)
    assert on_disk(cache) == set()
