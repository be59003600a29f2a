"""The contracts of ``schemas/``: loaded once, checked in full, every failure one finding.

Tables (samples, spots, genes, pairs) are pandera schemas in YAML; documents (catalog, recipe, manifest, shard_card,
pair, licenses, terms) are JSON Schema 2020-12 written as YAML. pandera and jsonschema are imported on first use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from humanst.findings import Findings
from humanst.settings import data_path

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("genes", "pairs", "samples", "spots")
DOCUMENTS = ("catalog", "licenses", "manifest", "pair", "recipe", "shard_card", "terms")
_SHOWN = 80
MAX_FAULTS = 1_000
_COLUMN_FAULTS = {
    "column_in_dataframe": ("missing-column", "A column is missing"),
    "column_in_schema": ("unknown-column", "A column is not in the schema"),
    "column_ordered": ("column-order", "A column is not in its place"),
}
_VALUE_FAULTS = {
    "not_nullable": ("missing-value", "a value in every row"),
    "field_uniqueness": ("duplicate-value", "no value twice"),
}
_DOCUMENT_CODES = {
    "required": "missing-field",
    "additionalProperties": "unknown-field",
    "propertyNames": "bad-name",
    "type": "wrong-type",
}


@cache
def table_schema(name: str) -> Any:
    """The pandera ``DataFrameSchema`` of ``schemas/<name>.yaml``.

    Raises
    ------
    ValueError
        When there is no such table.
    """
    if name not in TABLES:
        message = f"no table schema {name!r}; there are {', '.join(TABLES)}"
        raise ValueError(message)
    import pandera.pandas as pa

    _register_checks()
    return pa.DataFrameSchema.from_yaml(data_path("schemas", f"{name}.yaml"))


@cache
def document_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of ``schemas/<name>.yaml`` as plain data.

    Raises
    ------
    ValueError
        When there is no such document.
    """
    if name not in DOCUMENTS:
        message = f"no document schema {name!r}; there are {', '.join(DOCUMENTS)}"
        raise ValueError(message)
    import yaml

    text = data_path("schemas", f"{name}.yaml").read_text(encoding="utf-8")
    # Ours, and safe either way; libyaml reads it ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506, TID251
    return schema


@cache
def _validator(name: str) -> Any:
    """The validator of a document, its local references followed once: the catalog follows thousands of them."""
    from jsonschema import Draft202012Validator

    schema = document_schema(name)
    return Draft202012Validator(_inlined(schema, schema.get("$defs", {}), ()))


def _inlined(part: Any, defs: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """A schema with what ``#/$defs/...`` points to in place of the reference; one that leads to itself stays."""
    if isinstance(part, list):
        return [_inlined(item, defs, inside) for item in part]
    if not isinstance(part, dict):
        return part
    target = str(part.get("$ref", "")).removeprefix("#/$defs/")
    if "$ref" not in part or target not in defs or target in inside:
        return {key: value if key == "$defs" else _inlined(value, defs, inside) for key, value in part.items()}
    beside = {key: value for key, value in part.items() if key != "$ref"}
    return {**_inlined(beside, defs, inside), **_inlined(defs[target], defs, (*inside, target))}


@cache
def _register_checks() -> None:
    """Add the checks that pandera's own cannot say. They are named in the YAML like pandera's."""
    from pandera.api.checks import Check
    from pandera.extensions import register_check_method

    def no_blank(values: pd.Series[str], *, value: bool) -> pd.Series[bool]:
        """Cells hold text without surrounding spaces (``value`` is always true)."""
        return (values.str.strip() == values) & (values != "") | (not value)

    def separated_list(values: pd.Series[str], *, separator: str, pattern: str, may_be_empty: bool) -> pd.Series[bool]:
        """Cells are a list of items that match ``pattern``, none of them twice."""
        item = re.compile(pattern)

        def good(cell: object) -> bool:
            if not isinstance(cell, str):
                return False
            items = cell.split(separator) if cell else []
            whole = all(item.fullmatch(part) for part in items)
            return whole and len(set(items)) == len(items) and bool(items or may_be_empty)

        return values.map(good)

    for check, statistics in ((no_blank, ["value"]), (separated_list, ["separator", "pattern", "may_be_empty"])):
        if not hasattr(Check, check.__name__):
            register_check_method(check, statistics=statistics)


def check_table(table: pd.DataFrame, name: str, findings: Findings, *, every_cell: bool = False) -> None:
    """Check a table against ``schemas/<name>.yaml``: one refusal a fault, with the column as ``field``.

    A column that fails a check in several rows gives one finding that counts them; a row that fails two checks of one
    column is counted under the first. A column of the wrong dtype is not checked further.

    Parameters
    ----------
    table
        The table. What the schema calls its index may be the index or a column of that name.
    name
        One of :data:`TABLES`.
    findings
        Where the findings go.
    every_cell
        One finding a bad cell, with ``<column> in row <index>`` as its field, instead of one a column and check.
    """
    from pandera.errors import SchemaErrors

    schema = table_schema(name)
    index = getattr(schema.index, "name", None)
    if index is not None and table.index.name != index:
        table = table.set_index(index) if index in table.columns else table.rename_axis(index=index)
    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as error:
        _report_table(error.failure_cases, schema, index, findings, every_cell)


def _report_table(cases: pd.DataFrame, schema: Any, index: str | None, findings: Findings, every_cell: bool) -> None:
    cases = cases.assign(check=cases["check"].astype(str), column=cases["column"].astype(object))
    groups = [
        (column, str(check), group)
        for (column, check), group in cases.groupby(["column", "check"], sort=False, dropna=False)
    ]
    seen: dict[str, set[Any]] = {}
    untyped: set[str] = set()
    # A wrong dtype makes every other check of its column fail or mean nothing, so it is told first and alone.
    for column, check, group in sorted(groups, key=lambda item: not item[1].startswith("dtype(")):
        kind = check.split("(")[0]
        field = str(column) if isinstance(column, str) else (index or "")
        if kind in _COLUMN_FAULTS:
            for case in group["failure_case"]:
                _column_fault(kind, str(case), schema, findings)
        elif kind == "dtype":
            untyped.add(field)
            expected, found = check[len("dtype('") : -len("')")], str(group["failure_case"].iloc[0])
            findings.refuse("wrong-dtype", "A column has the wrong type", field=field, expected=expected, found=found)
        elif field not in untyped:
            rows = seen.setdefault(field, set())
            fresh = group[[row not in rows for row in group["index"]]]
            rows.update(fresh["index"])
            if len(fresh) and every_cell:
                # Of a value given twice the first is taken as right, as everywhere.
                twice = kind == "field_uniqueness"
                told = fresh[fresh["failure_case"].duplicated()] if twice else fresh
                for case, row in zip(told["failure_case"], told["index"], strict=True):
                    code, expected = _VALUE_FAULTS.get(kind, ("bad-value", check))
                    place = f"{field} in row {row}"
                    findings.refuse(code, "A cell breaks its rule", field=place, expected=expected, found=_short(case))
            elif len(fresh):
                _value_fault(kind, check, field, fresh, findings)


def _column_fault(kind: str, column: str, schema: Any, findings: Findings) -> None:
    code, what = _COLUMN_FAULTS[kind]
    findings.refuse(code, what, field=column, expected=f"columns {', '.join(schema.columns)}", found=column)


def _value_fault(kind: str, check: str, field: str, group: pd.DataFrame, findings: Findings) -> None:
    examples = ", ".join(
        f"{_short(case)} in row {row}"
        for case, row in zip(group["failure_case"].iloc[:3], group["index"].iloc[:3], strict=True)
    )
    code, expected = _VALUE_FAULTS.get(kind, ("bad-value", check))
    findings.refuse(
        code,
        "A column breaks its rule",
        field=field,
        expected=expected,
        found=f"{len(group)}: {examples}",
    )


def check_document(document: Any, name: str, findings: Findings) -> None:
    """Check a document against ``schemas/<name>.yaml``: one refusal a fault, with the JSON path as ``field``.

    After a thousand of them the rest is left out, which is a refusal of its own.

    Parameters
    ----------
    document
        Plain data (dicts, lists, strings, numbers, booleans, nulls).
    name
        One of :data:`DOCUMENTS`.
    findings
        Where the findings go.
    """
    seen: set[str] = set()
    errors = islice(_validator(name).iter_errors(document), MAX_FAULTS)
    what = f"The {name.replace('_', ' ')} breaks its schema"
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        for path, expected, found in document_faults(error):
            if path in seen:
                continue
            if len(seen) == MAX_FAULTS:
                expected, found = f"at most {MAX_FAULTS:,} faults to list", "more, which are left out"
                findings.refuse("too-many-faults", what, field="(document)", expected=expected, found=found)
                return
            seen.add(path)
            code = _DOCUMENT_CODES.get(str(error.validator), "bad-value")
            findings.refuse(code, what, field=path or "(document)", expected=expected, found=found)


def document_faults(error: Any) -> Iterator[tuple[str, str, str]]:
    """(JSON path, expected, found) of each fault that one jsonschema error stands for."""
    path = _path(error.absolute_path)
    kind, rule, value = error.validator, error.validator_value, error.instance
    if kind == "required":
        for name in rule:
            if name not in value:
                yield _join(path, name), f"a field {name!r}", "nothing"
    elif kind == "additionalProperties" and rule is False:
        known = set(error.schema.get("properties", ()))
        patterns = [re.compile(pattern) for pattern in error.schema.get("patternProperties", ())]
        for name in sorted(map(str, value)):
            if name not in known and not any(pattern.search(name) for pattern in patterns):
                yield _join(path, name), f"one of {', '.join(sorted(known))}", f"field {name!r}"
    elif error.parent is None and "propertyNames" in error.absolute_schema_path:
        yield _join(path, str(value)), _rule_text(kind, rule, error.schema), f"name {value!r}"
    else:
        yield path, _rule_text(kind, rule, error.schema), _short(value)


def _rule_text(kind: str, rule: Any, schema: Any) -> str:
    if kind == "enum":
        return f"one of {', '.join(map(str, rule))}"
    if kind == "type":
        return f"type {' or '.join(rule) if isinstance(rule, list) else rule}"
    wording = {
        "pattern": "text matching {}",
        "const": "{!r}",
        "minimum": "at least {}",
        "maximum": "at most {}",
        "exclusiveMinimum": "more than {}",
        "exclusiveMaximum": "less than {}",
        "minItems": "at least {} items",
        "minProperties": "at least {} entries",
        "minLength": "at least {} characters",
    }
    text = wording[kind].format(rule) if kind in wording else f"{kind} {rule}"
    description = schema.get("description") if isinstance(schema, dict) else None
    return f"{text} ({description})" if description and kind == "pattern" else text


def _path(parts: Any) -> str:
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, str(part))
    return path


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
