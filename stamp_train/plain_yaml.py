"""YAML of settings, read within bounds: a size limit, a depth limit, no aliases, no key twice, no objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from humanst.errors import HostileError, UsageError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 3  # the document, a list in it, the entries of the list


def read_settings(path: Path) -> Mapping[str, Any]:
    """What a file of ``name: value`` lines says; an empty one says nothing.

    Raises
    ------
    UsageError
        ``settings-unreadable`` or ``setting-twice``.
    HostileError
        ``yaml-bounds`` or ``yaml-objects``.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _out_of_bounds(path.name, f"at most {MAX_BYTES:,} bytes", f"{size:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "The file of settings cannot be read", code="settings-unreadable", file=path, found=str(error)
        ) from error
    found = parse_settings(text, path.name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageError(
            "This is no file of settings",
            code="settings-unreadable",
            file=path.name,
            expected="name: value lines",
            found=type(found).__name__,
        )
    return found


def parse_settings(text: str, shown: str) -> Any:
    """YAML of plain data, within bounds.

    Parameters
    ----------
    shown
        How messages call the text.

    Raises
    ------
    UsageError, HostileError
        As :func:`read_settings`.
    """
    import yaml

    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader), shown)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise UsageError("A setting is given twice", code="setting-twice", file=shown, found=", ".join(twice))
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(
            "The settings are not plain YAML",
            code="settings-unreadable",
            file=shown,
            found=" ".join(str(error).split()),
        ) from error


def _check_events(events: Iterable[Any], shown: str) -> None:
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise _out_of_bounds(shown, "no aliases", f"*{event.anchor}")
        tag = getattr(event, "tag", None)
        if tag is not None and "python" in tag:
            raise HostileError(
                "A file of settings asks for objects of Python",
                code="yaml-objects",
                file=shown,
                expected="text, numbers, true, false, null and lists",
                found=tag,
                done="Nothing was read",
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _out_of_bounds(shown, f"at most {MAX_DEPTH} levels", "more")


def _out_of_bounds(shown: str, expected: str, found: str) -> HostileError:
    return HostileError(
        "A file of settings is out of bounds", code="yaml-bounds", file=shown, expected=expected, found=found
    )
