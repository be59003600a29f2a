"""docs/recipes.md against schemas/recipe.yaml: every example is a recipe, and no key of the schema is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from humanst.findings import Findings
from humanst.platforms import reader_for
from humanst.schemas import check_document
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
SCHEMA: dict[str, Any] = yaml.safe_load((ROOT / "schemas" / "recipe.yaml").read_text(encoding="utf-8"))
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def keys_of(schema: Any) -> Iterator[str]:
    """Every property name of the schema, at any depth."""
    if isinstance(schema, dict):
        for name, content in schema.get("properties", {}).items():
            yield name
            yield from keys_of(content)
        for part in schema.get("$defs", {}).values():
            yield from keys_of(part)


def spelled_keys(recipe: Any) -> Iterator[str]:
    if isinstance(recipe, dict):
        for name, content in recipe.items():
            yield str(name)
            yield from spelled_keys(content)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_keeps_to_the_schema(number: int) -> None:
    findings = Findings(file="docs/recipes.md")
    check_document(EXAMPLES[number], "recipe", findings)
    assert [finding.line() for finding in findings] == []
    assert EXAMPLES[number]["files"], "an example for a folder says which files to read"


def test_there_is_an_example_for_every_platform_that_is_read() -> None:
    platforms = {example["platform"] for example in EXAMPLES}
    assert platforms == {"visium", "visium_hd", "xenium", "st"}
    assert all(reader_for(platform) for platform in platforms)


def test_every_key_of_the_schema_is_explained() -> None:
    """In the prose or a table, as code; an example alone explains nothing."""
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    explained = set(re.findall(r"`([a-z0-9_.]+)`", prose))
    missing = {name for name in keys_of(SCHEMA) if name not in explained}
    assert missing == set()


def test_every_option_has_an_example() -> None:
    used = {name for example in EXAMPLES for name in spelled_keys(example.get("options", {}))}
    wanted = set(SCHEMA["$defs"]["options"]["properties"])
    assert wanted - used == {"array_from_ids"}, "it stands instead of a spot file, which the examples have"
