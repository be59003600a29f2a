"""YAML read within bounds: limits of size, depth and number of values, no aliases, no duplicate keys, safe tags only.

271 bytes of aliases unfold to millions of leaves, deep nesting overruns the C parser, and a key given twice silently
loses the first: each is refused by line.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from humanst.errors import DataError, HostileError, UsageError

MAX_BYTES = 20 * 1024 * 1024
MAX_DEPTH = 24
# Ten times those of the catalog that ships: a node takes some twenty microseconds.
MAX_NODES = 100_000
_TOO_DEEP = "exceeded maximum nesting depth"


def read_yaml(path: Path, *, name: str | None = None) -> Any:
    """Read a YAML document as plain dicts, lists, strings, numbers, booleans and nulls.

    Parameters
    ----------
    path
        The file, UTF-8.
    name
        How messages call it; the file's own name by default.

    Raises
    ------
    DataError
        ``yaml-unreadable`` for what is not YAML (or carries a tag that is not plain data), ``duplicate-key`` and
        ``key-not-text`` with the line.
    HostileError
        ``yaml-bounds`` for a file that is too large, too deep, holds too many values, or uses aliases.
    """
    import yaml

    shown = name or path.name
    text = _bounded_text(path, shown)
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_shape(yaml.parse(text, Loader=base), shown)
        loader = _loader_class(base, shown)(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if _TOO_DEEP in str(error):
            # The C scanner reads ahead of the events that the depth is counted on, and has a limit of its own.
            raise _out_of_bounds(shown, f"at most {MAX_DEPTH} levels of nesting", "more than libyaml reads") from error
        raise DataError(
            "This YAML file cannot be read",
            code="yaml-unreadable",
            file=shown,
            field=None if mark is None else f"line {mark.line + 1}",
            expected="one plain YAML document",
            found=str(getattr(error, "problem", None) or error).replace("\n", " "),
            todo="Correct the file",
        ) from error


def _bounded_text(path: Path, shown: str) -> str:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise _out_of_bounds(shown, f"at most {MAX_BYTES:,} bytes", f"{size:,} bytes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            "This YAML file cannot be read",
            code="yaml-unreadable",
            file=shown,
            expected="UTF-8 text",
            found=str(error),
        ) from error


def _check_shape(events: Iterable[Any], shown: str) -> None:
    import yaml

    depth = n_nodes = 0
    for event in events:
        line = event.start_mark.line + 1
        n_nodes += isinstance(event, yaml.NodeEvent)
        if n_nodes > MAX_NODES:
            raise _out_of_bounds(shown, f"at most {MAX_NODES:,} keys and values", "more", line)
        if isinstance(event, yaml.AliasEvent):
            raise _out_of_bounds(shown, "no aliases", f"*{event.anchor}", line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _out_of_bounds(shown, f"at most {MAX_DEPTH} levels of nesting", "more", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _loader_class(base: Any, shown: str) -> Any:
    from yaml.constructor import ConstructorError

    class StrictKeysLoader(base):  # type: ignore[misc]  # the C loader is used where it was built
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep=deep)
            except (ValueError, OverflowError) as error:
                # What looks like a date or a number, and is none: 2001-13-45, or 5,000 digits.
                raise ConstructorError(None, None, str(error), node.start_mark) from error

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            seen: set[str] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                line = f"line {key_node.start_mark.line + 1}"
                if not isinstance(key, str):
                    raise DataError(
                        "A key is not text",
                        code="key-not-text",
                        file=shown,
                        field=line,
                        expected="a text key",
                        found=repr(key),
                        todo="Put the key in quotes",
                    )
                if key in seen:
                    raise DataError(
                        "A key is given twice",
                        code="duplicate-key",
                        file=shown,
                        field=line,
                        expected="each key once",
                        found=repr(key),
                        todo="Remove or merge one of the two entries",
                    )
                seen.add(key)
            mapping: dict[str, Any] = super().construct_mapping(node, deep=deep)
            return mapping

    return StrictKeysLoader


def _out_of_bounds(shown: str, expected: str, found: str, line: int | None = None) -> HostileError:
    return HostileError(
        "This YAML file is outside the bounds humanst reads",
        code="yaml-bounds",
        file=shown,
        field=None if line is None else f"line {line}",
        expected=expected,
        found=found,
        done="It was not read",
        todo="Write the document plainly, or split it",
    )


def require_file(path: Path) -> None:
    """Ask for a file that must be there.

    Raises
    ------
    UsageError
        When it is not.
    """
    if not path.is_file():
        raise UsageError(
            "This file is not there",
            code="file-missing",
            file=str(path),
            expected="a file",
            found="nothing",
            todo="Check the path (HUMANST_CATALOG, --catalog)",
        )


def short_name(path: Path) -> str:
    """How messages call a file: ``curation/<study>/<file>`` for curated ones, else its own name."""
    return "/".join(path.parts[-3:]) if "curation" in path.parts else path.name
