"""What a stranger or an accident makes of a file: mutations drawn from a seeded generator, each with its name.

Every function takes the bytes of a good file and gives mutated bytes and the names of what was done. The same state of
the generator gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

Mutated = tuple[bytes, str]

# Field values that no table should hold, or that readers take for something else.
ODD = (
    *("", " ", "nan", "NaN", "inf", "-inf", "NA", "None", "null", "true", "-1", "0", "0.5", "1e400", "-1e400", "1e308"),
    *(
        "1e-320",
        "9" * 400,
        "18446744073709551616",
        "-9223372036854775809",
        "2147483648",
        "0x10",
        "1_000",
        "\u0661\u0662",
    ),
    *(
        "\x00",
        "\u202eevil",
        "\ufeff",
        "../../../etc/passwd",
        "/etc/passwd",
        "=1+1",
        "'",
        '"',
        '"a\nb"',
        "\x1b[2J",
        "\r",
    ),
)
LONG = 3_000_000
DEEP = 100_000


def mutate_bytes(data: bytes, rng: Random) -> Mutated:
    """Flips, cuts, insertions and exchanges that know nothing of a format."""
    at, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    end = min(end, at + 4096)
    how = rng.choice(("flip", "flips", "cut", "drop", "twice", "insert", "nul", "no utf-8", "empty", "head", "noise"))
    if how in ("flip", "flips"):
        changed = bytearray(data)
        for _ in range(1 if how == "flip" else rng.randrange(2, 40)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed), how
    made = {
        "cut": data[:at],
        "drop": data[:at] + data[end:],
        "twice": data[:end] + data[at:],
        "insert": data[:at] + rng.randbytes(rng.randrange(1, 200)) + data[at:],
        "nul": data[:at] + b"\0" * rng.choice((1, 8, 4096)) + data[at:],
        "no utf-8": data[:at]
        + rng.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"))
        + data[at:],
        "empty": rng.choice((b"", b"\n", b"\0", b"\xef\xbb\xbf")),
        "head": rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b\x08", b"PK\x03\x04", b"<html>", b"%PDF-1.4\n"))
        + data,
        "noise": rng.randbytes(rng.randrange(1, 5000)),
    }
    return made[how], f"{how} at {at}"


def mutate_table(data: bytes, rng: Random, sep: str) -> Mutated:
    """A text table with other lines, fields or columns."""
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    rows = [line.split(sep) for line in data.decode().rstrip("\n").split("\n")]
    done = [_change_table(rows, rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    end = rng.choice(("\n",) * 8 + ("\r\n", "\r", "\n\n", ""))
    between = rng.choice((sep,) * 8 + (",", "\t", ";", " ", f" {sep} "))
    text = end.join(between.join(row) for row in rows) + rng.choice(("\n", "\n", "", "\x1a", "\n\n\n"))
    return text.encode("utf-8", "surrogatepass"), f"{', '.join(done)}; end {end!r}, separator {between!r}"


def _change_table(rows: list[list[str]], rng: Random) -> str:
    how = rng.choice(tuple(_TABLE))
    line = rng.randrange(len(rows)) if rows else 0
    if not rows or not rows[line]:
        return "nothing left"
    _TABLE[how](rows, line, rng.randrange(len(rows[line])), rng)
    return f"{how} in line {line + 1}"


def _odd_field(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    rows[line][field] = rng.choice(ODD)


def _other_number(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    rows[line][field] = str(rng.choice((rng.randrange(-5, 5), rng.uniform(-1e4, 1e4), 10 ** rng.randrange(3, 300))))


def _odd_column(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    odd = rng.choice(ODD)
    for row in rows[rng.randrange(2) :]:
        row[field % len(row) :] = [odd, *row[field % len(row) + 1 :]] if row else []


def _swapped_columns(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    other = rng.randrange(len(rows[line]))
    for row in rows[rng.randrange(2) :]:
        if max(field, other) < len(row):
            row[field], row[other] = row[other], row[field]


def _long_field(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    rows[line][field] = rng.choice("x9,\t\"'") * rng.choice((200_000, LONG))


def _long_line(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    rows[line] = rows[line] * _times(rows[line], rng)


def _many_lines(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    rows[line:line] = [list(rows[line]) for _ in range(_times(rows[line], rng))]


def _times(row: list[str], rng: Random) -> int:
    """So often that the file stays below some megabytes."""
    return min(rng.choice((2, 1000, 100_000)), max(LONG // (sum(map(len, row)) + len(row)), 1))


def _swapped_lines(rows: list[list[str]], line: int, field: int, rng: Random) -> None:
    other = rng.randrange(len(rows))
    rows[line], rows[other] = rows[other], rows[line]


_TABLE: dict[str, Callable[[list[list[str]], int, int, Random], None]] = {
    "odd field": _odd_field,
    "other number": _other_number,
    "odd column": _odd_column,
    "swapped columns": _swapped_columns,
    "long field": _long_field,
    "long line": _long_line,
    "many lines": _many_lines,
    "swapped lines": _swapped_lines,
    "line gone": lambda rows, line, field, rng: rows.pop(line) and None,
    "line twice": lambda rows, line, field, rng: rows.insert(rng.randrange(len(rows)), list(rows[line])),
    "field gone": lambda rows, line, field, rng: rows[line].pop(field) and None,
    "field twice": lambda rows, line, field, rng: rows[line].insert(field, rows[line][field]),
    "quoted": lambda rows, line, field, rng: rows[line].__setitem__(field, f'"{rows[line][field]}"'),
    "open quote": lambda rows, line, field, rng: rows[line].__setitem__(field, f'"{rows[line][field]}'),
}


class Raw(str):
    """Text that stands in a document as it is, for what no writer would write."""

    __slots__ = ()


def odd_values(rng: Random) -> Any:
    """A value of the wrong kind or size, at any place of a document."""
    scalars = (None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, "", "x", [], {})
    raw = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000, "[" * DEEP, '{"a":' * DEEP, '"\\ud800"')
    return rng.choice(
        (
            rng.choice(scalars),
            rng.choice(scalars),
            Raw(rng.choice(raw)),
            rng.choice(ODD),
            "x" * rng.choice((300, LONG)),
            [rng.choice(scalars)] * rng.choice((1, 3, 100_000)),
            {rng.choice(ODD): rng.choice(scalars)},
            {str(n): n for n in range(rng.choice((2, 50_000)))},
        )
    )


def mutate_tree(tree: Any, rng: Random) -> tuple[Any, str]:
    """A document (plain dicts and lists) with one place changed."""
    places = list(_places(tree))
    holder, key = rng.choice(places)
    shown = f"{key!r}"[:60]
    how = rng.choice(("odd value", "odd value", "odd value", "gone", "renamed", "other's value", "wrapped", "more"))
    value = holder[key]
    if how == "gone":
        del holder[key]
    elif how == "renamed" and isinstance(holder, dict):
        holder[rng.choice((*ODD, key.upper(), f"{key} "))] = holder.pop(key)
    elif how == "other's value":
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else other[name % len(other)]))
    elif how == "wrapped":
        holder[key] = rng.choice(([value], {"value": value}, str(value)))
    elif how == "more" and isinstance(value, list | dict):
        value.append(odd_values(rng)) if isinstance(value, list) else value.update({"more": odd_values(rng)})
    else:
        how, holder[key] = "odd value", odd_values(rng)
    return tree, f"{how} at {shown}"


def _places(tree: Any) -> Any:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def dump_json(tree: Any, ascii_only: bool = False) -> str:
    """JSON, with :class:`Raw` text as it is."""
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {dump_json(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(dump_json, tree)) + "]"
    # Python writes no whole number of more than 4,300 digits.
    return json.dumps(tree, ensure_ascii=ascii_only)


def mutate_json(data: bytes, rng: Random) -> Mutated:
    """A JSON document with other values, keys or bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(data, rng)
    tree, done = json.loads(data), []
    for _ in range(rng.choice((1, 1, 1, 3))):
        if not any(_places(tree)):
            break
        tree, what = mutate_tree(tree, rng)
        done.append(what)
    text = dump_json(tree)
    if rng.random() < 0.1:
        key = text[text.find('"') :].partition(":")[0]
        text, _ = "{" + f"{key}: {dump_json(odd_values(rng))}, " + text[1:], done.append("a key twice")
    return text.encode("utf-8", "surrogatepass"), "; ".join(done)


_YAML_LINES = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)),
    "? " * 5000 + "x\n",
    "k: " + "[" * DEEP + "\n",
    "k: " + "{a: " * 5000 + "\n",
    "k: !!python/object/apply:os.system ['true']\n",
    "k: !!python/name:os.system\n",
    "k: !!binary AAAA\nl: !!set {a, b}\nm: !!timestamp 2001-01-01\nn: 2001-01-01\n",
    "k: &x {a: 1}\nl: {<<: *x}\n",
    "<<: {schema: x}\n",
    "k: !unknown x\n",
    "%YAML 9.9\n---\n",
    "---\na: 1\n---\nb: 2\n",
    "k: 0x7fffffffffffffffffffff\nl: 190:20:30\nm: 0o17\nn: .inf\no: .nan\n",
    "\tk: 1\n",
    "k: |\n" + " x\n" * 200_000,
    "k: " + "9" * 5000 + "\n",
    'k: "' + "\\x00" * 10 + '"\n',
    "- a\n- b\n",
    "k: *nothing\n",
    "1: 2\nnull: 3\ntrue: 4\n",
    "? [a, b]\n: c\n",
    "k: 9999-99-99\nl: 2001-13-45T99:99:99Z\n",
    "# " + "x" * LONG + "\n",
)


def mutate_yaml(data: bytes, rng: Random) -> Mutated:
    """A YAML document with other values, keys, lines or bytes; aliases, tags and nesting of every kind."""
    import yaml

    how = rng.random()
    if how < 0.2:
        return mutate_bytes(data, rng)
    if how < 0.45:
        lines = data.decode().splitlines(keepends=True)
        at = rng.choice((0, len(lines), rng.randrange(len(lines) + 1)))
        number = rng.randrange(len(_YAML_LINES))
        deep = " " * rng.choice((0, 0, 2, 4))
        lines[at:at] = [deep + line for line in _YAML_LINES[number].splitlines(keepends=True)]
        return "".join(lines).encode(), f"lines {number} put in at line {at + 1}"
    if how < 0.6:
        rows = [[line] for line in data.decode().split("\n")]
        done = _change_table(rows, rng)
        return "\n".join("".join(row) for row in rows).encode("utf-8", "surrogatepass"), done
    tree, done_here = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), []  # noqa: S506
    for _ in range(rng.choice((1, 1, 2))):
        tree, what = mutate_tree(tree, rng)
        done_here.append(what)
    # YAML 1.1 reads JSON but for a few corners, and it is much faster to write.
    return dump_json(tree, ascii_only=True).encode("utf-8", "surrogatepass"), "; ".join(done_here)
