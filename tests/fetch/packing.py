"""Archives as strangers pack them, for tests: ZipCrypto after the format's own description, AES zip, 7z."""

from __future__ import annotations

import io
import random
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
    with py7zr.SevenZipFile(out, "w", password=password, header_encryption=hide_names) as archive:
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
