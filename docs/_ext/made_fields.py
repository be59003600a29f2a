"""Tables of fields from ``schemas/``: pandera tables and JSON Schema documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from humanst.schemas import TABLES
from humanst.settings import data_path

# Checks of pandera as people say them; `{}` takes the value.
_CHECKS = {
    "str_matches": "matches `{}`",
    "greater_than": "> {}",
    "greater_than_or_equal_to": "≥ {}",
    "isin": "one of {}",
    "in_range": "{}",
    "no_blank": "not blank",
    "separated_list": "{}",
    "unique": "no value twice",
    "nullable": "may be missing",
}
_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def fields_of(name: str) -> str:
    """A table, as Markdown, of every field of ``schemas/<name>.yaml``."""
    schema = yaml.safe_load(data_path("schemas", f"{name}.yaml").read_text(encoding="utf-8"))
    rows = list(_columns(schema) if name in TABLES else _document(schema))
    return "\n".join(["| field | type | rule | what |", "|---|---|---|---|", *(_row(*row) for row in rows)])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _code(value: object) -> str:
    # A backslash before a pipe is read as the pipe alone inside code, as tables have it.
    return f"`{value}`"


def _columns(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    indexes = [(f"{one['name']}", one, "the index; ") for one in schema.get("index") or []]
    for name, rules, first in [*indexes, *((name, rules, "") for name, rules in schema["columns"].items())]:
        shown = name.removesuffix(".*") + "…" if rules.get("regex") else name
        told = [_check(key, value) for key, value in rules.items() if key in _CHECKS and value is not False]
        if rules.get("required") is False:
            told.append("may be absent")
        yield _code(shown), _code(rules["dtype"]), first + "; ".join(told), rules.get("description", "")


def _check(key: str, value: Any) -> str:
    if key == "str_matches":
        return f"matches {_pattern(value)}"
    if key == "isin":
        return "one of " + ", ".join(_code(one) for one in value)
    if key == "in_range":
        return f"{value['min_value']} to {value['max_value']}"
    if key == "separated_list":
        empty = ", may be empty" if value["may_be_empty"] else ""
        return f"items {_pattern(value['pattern'])} separated by `{value['separator']}`{empty}"
    return _CHECKS[key].format(value)


def _pattern(text: str) -> str:
    return f"<code>{_escaped(text)}</code>"


def _escaped(text: str) -> str:
    special = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "\\": "&#92;", "*": "&#42;", "_": "&#95;"}
    special |= {"[": "&#91;", "]": "&#93;", "(": "&#40;", ")": "&#41;", "{": "&#123;", "}": "&#125;", "`": "&#96;"}
    return "".join(special.get(letter, letter) for letter in text)


def _document(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    yield from _properties(schema, schema.get("$defs", {}), "", ())


def _properties(
    part: Mapping[str, Any], defs: Mapping[str, Any], prefix: str, inside: tuple[str, ...]
) -> Iterator[tuple[str, str, str, str]]:
    """Rows of an object's properties, and below each what it holds: ``[]`` is an item, ``*`` any name."""
    needed = set(part.get("required", ()))
    for name, rules in part.get("properties", {}).items():
        yield from _field(f"{prefix}{name}", rules, defs, name in needed, inside)
    free = part.get("additionalProperties")
    if isinstance(free, Mapping) and free:
        yield from _field(f"{prefix}*", free, defs, None, inside)


def _field(
    path: str, rules: Mapping[str, Any], defs: Mapping[str, Any], needed: bool | None, inside: tuple[str, ...]
) -> Iterator[tuple[str, str, str, str]]:
    target = str(rules.get("$ref", "")).removeprefix("#/$defs/")
    whole = {**defs.get(target, {}), **{key: value for key, value in rules.items() if key != "$ref"}}
    told = list(_rules(whole))
    if needed is False:
        told.append("may be absent")
    yield _code(path), _type(whole), "; ".join(told), whole.get("description", "")
    if target and target in inside:
        return
    deeper = (*inside, target) if target else inside
    items = whole.get("items")
    if isinstance(items, Mapping):
        reference = str(items.get("$ref", "")).removeprefix("#/$defs/")
        item = {**defs.get(reference, {}), **items}
        if "properties" in item and reference not in deeper:
            yield from _properties(item, defs, f"{path}[].", (*deeper, reference) if reference else deeper)
    yield from _properties(whole, defs, f"{path}.", deeper)


def _type(rules: Mapping[str, Any]) -> str:
    kind = rules.get("type", "")
    if isinstance(kind, list):
        return " or ".join(_code(one) for one in kind)
    if not kind and ("const" in rules or "enum" in rules):
        return _code("string")
    return _code(kind) if kind else ""


def _rules(rules: Mapping[str, Any]) -> Iterator[str]:
    if "const" in rules:
        yield _code(rules["const"])
    if "enum" in rules:
        yield "one of " + ", ".join(_code(one) for one in rules["enum"])
    if "pattern" in rules:
        yield f"matches {_pattern(rules['pattern'])}"
    for key, text in _BOUNDS.items():
        if key in rules:
            yield text.format(rules[key])
    if "multipleOf" in rules:
        yield f"a multiple of {rules['multipleOf']}"
    if rules.get("uniqueItems"):
        yield "no item twice"
