"""Mutations of shards and parquet tables: broken bytes, and whole files that say something else."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.mutating import LONG, Mutated, mutate_bytes, mutate_json

BLOCK = 512
_KINDS = b"0\x00123456789xgLKSMVDNZ"
_NAMES = (
    b"../up.jpg",
    b"/abs.jpg",
    b"a.b.c.jpg",
    b"x.pkl",
    b"x.pt",
    b"\xff\xfe",
    b"",
    b"a" * 100,
    b"C:\\x.jpg",
    b"x.jpg ",
)


def mutate_tar(data: bytes, rng: Random) -> Mutated:
    """A tar with other headers or contents."""
    if rng.random() < 0.25:
        return mutate_bytes(data, rng)
    changed, places = bytearray(data), list(_headers(data))
    at, size = rng.choice(places)
    how = rng.choice(("name", "kind", "size", "checksum", "content", "content", "gone", "twice", "exchanged", "end"))
    stop = at + BLOCK + -(-size // BLOCK) * BLOCK
    if how == "name":
        changed[at : at + 100] = rng.choice(_NAMES).ljust(100, b"\0")
    elif how == "kind":
        changed[at + 156] = rng.choice(_KINDS)
        changed[at + 157 : at + 257] = rng.choice((b"/etc/passwd", b"../..", b"x")).ljust(100, b"\0")
    elif how == "size":
        sizes = (
            b"%011o\0" % rng.randrange(8**8),
            b"77777777777\0",
            b"\x80" + b"\xff" * 11,
            b"\xff" * 12,
            b"-0000000001\0",
            b"x" * 12,
        )
        changed[at + 124 : at + 136] = rng.choice(sizes)
    elif how == "checksum":
        changed[at + 148 : at + 156] = rng.choice((b"0000000\0", b"        ", b"\xff" * 8))
    elif how == "content":
        changed[at + BLOCK : at + BLOCK + size] = _content(data[at + BLOCK : at + BLOCK + size], rng)
    elif how == "gone":
        del changed[at:stop]
    elif how == "twice":
        changed[at:at] = data[at:stop]
    elif how == "exchanged":
        other, other_size = rng.choice(places)
        n = min(size, other_size)
        changed[at + BLOCK : at + BLOCK + n] = data[other + BLOCK : other + BLOCK + n]
    else:
        changed[len(changed) - 10_240 :] = rng.choice((b"", b"\0" * 512, b"\0" * LONG, rng.randbytes(2048)))
    if how in ("name", "kind", "size") and rng.random() < 0.8:
        changed[at + 148 : at + 156] = b" " * 8
        changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + BLOCK])
    return bytes(changed), f"{how} of the member at {at}"


def _headers(data: bytes) -> Any:
    at = 0
    while data[at : at + 1] not in (b"", b"\0"):
        size = int(data[at + 124 : at + 135], 8)
        yield at, size
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _content(data: bytes, rng: Random) -> bytes:
    """As long as it was: a JPEG of another size, an array of other kind and shape, other JSON, other bytes."""
    changed = data
    if data.startswith(b"\xff\xd8") and rng.random() < 0.7:
        frame = data.find(b"\xff\xc0")
        height, width = rng.choice(((65500, 65500), (0, 224), (224, 225), (1, 1), (65535, 1)))
        changed = data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]
    elif data.startswith(b"\x93NUMPY") and rng.random() < 0.8:
        shape = rng.choice(("(3,)", "(0,)", "(4,)", "(3000000000,)", "(-3,)", "(3, 1)", "()", "('a',)", "(1e9,)"))
        kind = rng.choice(("'<f4'", "'|O'", "'<f8'", "'|V4'", "[('a', '<f4')]", "'<U1'", "'<i4'", "__import__('os')"))
        head = f"{{'descr': {kind}, 'fortran_order': {rng.choice(('False', 'True', '1'))}, 'shape': {shape}, }}"
        body = np.array(rng.choice(((0, 1, 2), (np.nan, np.inf, -np.inf), (1e38, -1e38, 0)))).astype("<f4").tobytes()
        changed = b"\x93NUMPY\x01\x00v\x00" + head.encode().ljust(117) + b"\n" + body
    elif data.startswith(b"{"):
        changed = mutate_json(data, rng)[0]
    else:
        changed = mutate_bytes(data, rng)[0] if data else data
    return changed[: len(data)].ljust(len(data), b" ")


def mutate_parquet(data: bytes, rng: Random) -> Mutated:
    """A parquet table with other columns, kinds, values or bytes."""
    if rng.random() < 0.35:
        return _parquet_bytes(data, rng)
    table = pq.read_table(io.BytesIO(data))
    name = rng.choice(table.column_names)
    how = rng.choice(tuple(_COLUMNS))
    try:
        table = _COLUMNS[how](table, name, rng)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        how, table = f"{how}, which was not possible ({type(error).__name__}): no rows", table.slice(0, 0)
    out = io.BytesIO()
    pq.write_table(
        table, out, compression=rng.choice(("snappy", "gzip", "none", "zstd")), row_group_size=rng.choice((None, 7))
    )
    return out.getvalue(), f"{how} in {name}"


def _parquet_bytes(data: bytes, rng: Random) -> Mutated:
    """Broken bytes: anywhere, in the footer that says what is where, or in its length."""
    how = rng.choice(("anywhere", "footer", "footer", "length"))
    if how == "anywhere":
        return mutate_bytes(data, rng)
    (length,) = struct.unpack("<I", data[-8:-4])
    if how == "length":
        other = rng.choice((0, 1, length - 1, length + 1, 2**31 - 1, 2**32 - 1, len(data)))
        return data[:-8] + struct.pack("<I", other) + b"PAR1", f"a footer of {other} bytes"
    footer = bytearray(data[-8 - length : -8])
    for _ in range(rng.choice((1, 1, 2, 10))):
        footer[rng.randrange(length)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return data[: -8 - length] + bytes(footer) + data[-8:], how


def _set(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _some_values(table: pa.Table, name: str, rng: Random) -> pa.Table:
    kind, values = table.schema.field(name).type, table[name].to_pylist()
    odd = (
        (None, "", "x" * 1000, "\x00", "../up", "\u202e", values[0])
        if pa.types.is_string(kind)
        else (None, -1, 0, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 10**12, values[0])
        if pa.types.is_integer(kind)
        else (None, float("nan"), float("inf"), -1.0, 1e300, -1e300)
    )
    value = rng.choice(odd)
    for row in rng.sample(range(len(values)), rng.choice((1, 2, len(values)))):
        values[row] = value
    return _set(table, name, pa.array(values, type=kind))


def _other_kind(table: pa.Table, name: str, rng: Random) -> pa.Table:
    kind = rng.choice((pa.string(), pa.float64(), pa.int8(), pa.uint64(), pa.binary(), pa.large_string(), pa.bool_()))
    return _set(table, name, table[name].cast(kind, safe=False))


def _nested(table: pa.Table, name: str, rng: Random) -> pa.Table:
    values = table[name].to_pylist()
    return _set(
        table, name, pa.array(rng.choice(([[v] for v in values], [{"a": v} for v in values], [None] * len(values))))
    )


def _exchanged(table: pa.Table, name: str, rng: Random) -> pa.Table:
    other = rng.choice(table.column_names)
    return _set(_set(table, name, table[other]), other, table[name])


def _renamed(table: pa.Table, name: str, rng: Random) -> pa.Table:
    new = rng.choice(("", "x", rng.choice(table.column_names), name.upper(), "a.b", "\u202e"))
    return table.rename_columns([new if one == name else one for one in table.column_names])


def _rows(table: pa.Table, name: str, rng: Random) -> pa.Table:
    order = list(range(table.num_rows))
    how = rng.choice(("gone", "twice", "shuffled", "none", "many"))
    row = rng.randrange(len(order))
    {
        "gone": lambda: order.pop(row),
        "twice": lambda: order.insert(row, row),
        "shuffled": lambda: rng.shuffle(order),
        "none": order.clear,
        "many": lambda: order.extend([row] * 50_000),
    }[how]()
    return table.take(pa.array(order, type=pa.int64()))


_COLUMNS: dict[str, Callable[[pa.Table, str, Random], pa.Table]] = {
    "some values": _some_values,
    "other values": _some_values,
    "another kind": _other_kind,
    "nested": _nested,
    "exchanged columns": _exchanged,
    "another name": _renamed,
    "rows": _rows,
    "column gone": lambda table, name, rng: table.drop_columns([name]),
    "column twice": lambda table, name, rng: table.append_column(name, table[name]),
    "dictionary": lambda table, name, rng: _set(table, name, table[name].combine_chunks().dictionary_encode()),
}
