"""On which line of a YAML file a field stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Lines:
    """Lines of a YAML document's fields, by the JSON paths that findings name.

    Parameters
    ----------
    path
        A file that :func:`humanst.catalog.read_yaml` accepts.
    """

    def __init__(self, path: Path) -> None:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_text(encoding="utf-8"))
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        self._lines: dict[str, int] = {} if root is None else dict(_walk(root, ""))

    def of(self, field: str | None) -> int:
        """Line of a field, counted from 1; of the nearest field above it where it is not in the file."""
        place = field or ""
        while place and place not in self._lines:
            place = _parent(place)
        return self._lines.get(place, 1)


def _parent(place: str) -> str:
    cut = max(place.rfind("."), place.rfind("["))
    return place[:cut] if cut > 0 else ""


def _walk(node: Any, place: str) -> Iterator[tuple[str, int]]:
    if node.id == "mapping":
        for key, value in node.value:
            inner = f"{place}.{key.value}" if place else str(key.value)
            yield inner, key.start_mark.line + 1
            yield from _walk(value, inner)
    elif node.id == "sequence":
        for number, item in enumerate(node.value):
            inner = f"{place}[{number}]"
            yield inner, item.start_mark.line + 1
            yield from _walk(item, inner)
