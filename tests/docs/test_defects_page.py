"""The page of defects names tests: each is there, and the page does not lose rows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[str]:
    lines = (ROOT / "docs/defects.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("|") and not line.startswith(("|---", "| seen elsewhere"))]


def functions_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_defect_names_a_test_that_is_there() -> None:
    assert len(rows()) >= 30
    for row in rows():
        named = NAMED.findall(row)
        assert named, row
        for path, name in named:
            assert name in functions_in(ROOT / path), f"{path}::{name}"
