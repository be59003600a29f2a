"""mlcroissant finds no error in ``croissant.json``, and reads sections and pairs as pyarrow does."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.readers.world import Plain

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("croissant")


@pytest.fixture(scope="session")
def loaded(plain: Plain) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(str(plain.path / "croissant.json"))


def as_text(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in record.items()}


def test_no_error_and_one_warning(loaded: Any) -> None:
    """No date of publication is on record; a date of building would make other bytes every day."""
    issues = loaded.metadata.ctx.issues
    assert not issues.errors
    assert [warning for warning in issues.warnings if "datePublished" not in str(warning)] == []
    assert str(loaded.metadata.ctx.conforms_to.value) == "http://mlcommons.org/croissant/1.1"
    assert loaded.metadata.license == ["https://creativecommons.org/publicdomain/zero/1.0/"]


def test_records_of_sections_and_pairs(loaded: Any, plain: Plain) -> None:
    sections = pq.read_table(plain.path / "samples.parquet").to_pylist()
    found = [as_text(record) for record in loaded.records("samples")]
    assert found == [{f"samples/{name}": value for name, value in row.items()} for row in sections]
    expected = {
        row["uid"]: {f"pairs/{name}": value for name, value in {**row, "split": split}.items()}
        for split, rows in plain.rows.items()
        for row in rows
    }
    found = [as_text(record) for record in loaded.records("pairs")]
    assert {record["pairs/uid"]: record for record in found} == expected
    assert len(found) == len(expected)


def test_files_are_those_on_record(plain: Plain) -> None:
    """Every shard, store and table with pairs, each with its size and hash, by a path relative to the file itself."""
    content = json.loads((plain.path / "croissant.json").read_bytes())
    objects = [item for item in content["distribution"] if item["@type"] == "cr:FileObject"]
    expected = {
        path.relative_to(plain.path).as_posix() for path in plain.path.rglob("*") if path.suffix in (".tar", ".zip")
    }
    expected |= {"samples.parquet", "index/train.parquet", "index/val.parquet"}
    assert {item["contentUrl"] for item in objects} == expected
    for item in objects:
        data = (plain.path / item["contentUrl"]).read_bytes()
        assert item["contentSize"] == f"{len(data)} B"
        assert item["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_table_that_is_not_the_one_on_record(plain: Plain, tmp_path: Path) -> None:
    """mlcroissant itself sees it: the hash is there for others, too."""
    import mlcroissant

    shutil.copy(plain.path / "croissant.json", tmp_path)
    pq.write_table(pq.read_table(plain.path / "samples.parquet").slice(1), tmp_path / "samples.parquet")
    with pytest.raises(mlcroissant.GenerationError) as told:
        list(mlcroissant.Dataset(str(tmp_path / "croissant.json")).records("samples"))
    assert "is not identical with the reference" in str(told.value.__cause__)
