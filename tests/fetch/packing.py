"""Archives as strangers pack them, for tests: ZipCrypto after the format's own description, AES zip, 7z."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

PASSWORD = "zNLX-k3Q9 ü"  # noqa: S105 - locks archives of tests


def crypto_zip(members: dict[str, bytes], password: str = PASSWORD) -> bytes:
    """A zip whose members are encrypted as APPNOTE 6.1 says: three keys, twelve bytes of header."""
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(plain) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    out, places = io.BytesIO(), []
    for info, data in entries:
        engine = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = engine.compress(data) + engine.flush()
        header = random.Random(info.filename).randbytes(11) + bytes([info.CRC >> 24])
        body = _encrypted(header + packed, password.encode())
        info.flag_bits |= 1
        info.compress_size = len(body)
        info.header_offset = out.tell()
        out.write(info.FileHeader() + body)
        places.append(info)
    # zipfile writes the list of members of whatever it is told it has written.
    with zipfile.ZipFile(out, "a") as archive:
        archive.filelist, archive.start_dir = places, out.tell()
        archive._didModify = True
    return out.getvalue()


def _crc(value: int, byte: int) -> int:
    # One step of CRC-32 without its two complements.
    return zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _encrypted(data: bytes, password: bytes) -> bytes:
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = _crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = _crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    out = bytearray()
    for byte in data:
        mixed = keys[2] | 2
        out.append(byte ^ (((mixed * (mixed ^ 1)) >> 8) & 0xFF))
        update(byte)
    return bytes(out)


def aes_zip(members: dict[str, bytes], password: str = PASSWORD) -> bytes:
    import pyzipper

    out = io.BytesIO()
    options = {"compression": pyzipper.ZIP_DEFLATED, "encryption": pyzipper.WZ_AES}
    with pyzipper.AESZipFile(out, "w", **options) as archive:
        archive.setpassword(password.encode())
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def seven_zip(members: dict[str, bytes], password: str | None = None, *, hide_names: bool = False) -> bytes:
    import py7zr

    out = io.BytesIO()
    fast = None if password else [{"id": py7zr.FILTER_LZMA2, "preset": 0}]
    with py7zr.SevenZipFile(out, "w", filters=fast, password=password, header_encryption=hide_names) as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return out.getvalue()


def seven_zip_of(folder: Path, password: str | None = None) -> bytes:
    """What 7-Zip makes of a folder: links stay links."""
    import py7zr

    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", password=password) as archive:
        archive.writeall(folder, arcname="")
    return out.getvalue()


LOCKED: dict[str, Callable[..., bytes]] = {
    "ZipCrypto": crypto_zip,
    "WinZip AES-256": aes_zip,
    "7zAES-256": lambda members, password=PASSWORD: seven_zip(members, password),
    "7zAES-256, names too": lambda members, password=PASSWORD: seven_zip(members, password, hide_names=True),
}


def with_dictionary(size_byte: int) -> bytes:
    """A 7z archive of one member whose LZMA2 stream asks for the dictionary that ``size_byte`` stands for."""
    import py7zr

    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 1}]) as archive:
        archive.set_encoded_header_mode(False)
        archive.writestr(b"x" * 1000, "wanted")
    body = bytearray(out.getvalue())
    # A coder of method 0x21 with one byte of properties.
    at = body.index(b"\x21\x21\x01") + 3
    body[at] = size_byte
    return _sealed(body)


def renamed_seven_zip(name: str, other: str) -> bytes:
    """A 7z archive of one member, renamed behind its writer's back to a name as long."""
    import py7zr

    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as archive:
        archive.set_encoded_header_mode(False)
        archive.writestr(b"x", name)
    return _sealed(bytearray(out.getvalue().replace(name.encode("utf-16-le"), other.encode("utf-16-le"))))


def _sealed(body: bytearray) -> bytes:
    """Mend the checksums of a 7z archive whose header was changed."""
    offset, size = struct.unpack("<QQ", body[12:28])
    body[28:32] = struct.pack("<L", zlib.crc32(body[32 + offset : 32 + offset + size]))
    body[8:12] = struct.pack("<L", zlib.crc32(body[12:32]))
    return bytes(body)


def tar_of(*members: tuple[str, bytes]) -> bytes:
    """A tar in which every name stands as it is, in a pax header."""
    out = io.BytesIO()
    for name, data in members:
        record = _pax_record("path", name.encode("utf-8", "surrogateescape"))
        for kind, header_name, body in ((tarfile.XHDTYPE, "pax", record), (tarfile.REGTYPE, "member", data)):
            info = tarfile.TarInfo(header_name)
            info.type, info.size = kind, len(body)
            out.write(info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512))
    return out.getvalue() + bytes(1024)


def _pax_record(key: str, value: bytes) -> bytes:
    rest = b" " + key.encode() + b"=" + value + b"\n"
    size = len(rest) + 1
    while size != len(rest) + len(str(size)):
        size = len(rest) + len(str(size))
    return str(size).encode() + rest


def zip_of_many(n_members: int) -> bytes:
    """A zip that lists one empty member so many times."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"")
    body = out.getvalue()
    start = body.index(b"PK\x01\x02")
    entry = body[start : body.index(b"PK\x05\x06")]
    head, listed = body[:start], entry * n_members
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, n_members, n_members, len(listed), len(head))
    place = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(head) + len(listed), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return head + listed + end64 + place + end


def zip_that_lies(says: int) -> bytes:
    """A zip whose member is longer than its headers say."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wanted", bytes(range(256)) * 100)
    body = bytearray(out.getvalue())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = body.index(signature) + offset
        body[at : at + 4] = struct.pack("<L", says)
    return bytes(body)


def zip_bomb_that_lies() -> bytes:
    """A zip whose member of 100 MiB says that it was packed into 2 GiB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wanted", bytes(100 << 20))
    body = bytearray(out.getvalue())
    at = body.index(b"PK\x01\x02") + 20
    body[at : at + 4] = struct.pack("<L", (1 << 31) - 1)
    return bytes(body)


def huge_header() -> bytes:
    """A tar whose first header says that it is a gibibyte long."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096)


def sparse_member() -> bytes:
    """A tar member that is all hole: 64 GiB in 512 bytes, as GNU tar writes it."""
    info = tarfile.TarInfo("wanted")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = b"%011o " % 0
    block[398:410] = b"%011o " % 0
    block[483:495] = b"%011o " % ((1 << 33) - 1)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)
