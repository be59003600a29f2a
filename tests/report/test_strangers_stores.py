"""A section store of a stranger: what it claims to hold is held against what is there before room is made for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from humanst.errors import HostileError, IntegrityError
from humanst.store import card_path, open_section, read_card, tree_digest
from tests.report.atlas_world import report
from tests.shards.conftest import SECTIONS, Made

MASK, COUNTS = "labels/tissue/s0", "tables/table/X/data"
# Zeros that nothing stored stands for: enough to tell, and no harm to a machine where nothing refuses them.
FAR_TOO_MANY = [1 << 15, 1 << 15]


def stores(made: Made, folder: Path, change: Callable[[Path], None]) -> Path:
    """A folder with one store, changed and committed with a card that fits it, as a stranger would."""
    store = folder / "stores" / f"{SECTIONS[0]}.zarr"
    shutil.copytree(made.work / "sections" / store.name, store)
    change(store)
    card = read_card(made.work / "sections" / store.name) or {}
    card_path(store).write_text(json.dumps({**card, **tree_digest(store)}))
    return store


def rewrite(array: str, **told: Any) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        path = store / array / "zarr.json"
        content = json.loads(path.read_bytes())
        if "chunk_shape" in told:
            content["chunk_grid"]["configuration"]["chunk_shape"] = told["chunk_shape"]
        path.write_text(json.dumps({**content, **{key: told[key] for key in told.keys() & {"shape"}}}))

    return change


def many_arrays(store: Path) -> None:
    content = json.loads((store / "tables" / "table" / "raw" / "zarr.json").read_bytes())
    for number in range(40):
        (folder := store / "tables" / "table" / "layers" / f"L{number}").mkdir()
        (folder / "zarr.json").write_text(
            json.dumps(
                {
                    **content,
                    "shape": [1 << 25],
                    "chunk_grid": {**content["chunk_grid"], "configuration": {"chunk_shape": [1 << 25]}},
                }
            )
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param(rewrite(MASK, shape=FAR_TOO_MANY), MASK, id="shape"),
        pytest.param(rewrite(COUNTS, chunk_shape=[1 << 30]), COUNTS, id="chunk"),
        pytest.param(rewrite(COUNTS, shape=[70_000], chunk_shape=[1]), COUNTS, id="chunks"),
        pytest.param(many_arrays, "tables/table/layers/L", id="arrays"),
    ],
)
def test_a_store_that_claims_too_much_is_refused_unread(
    made: Made, tmp_path: Path, change: Callable[[Path], None], field: str
) -> None:
    store = stores(made, tmp_path, change)
    with pytest.raises(HostileError) as caught:
        open_section(store)
    assert (caught.value.exit_code, caught.value.facts.code) == (8, "store-bomb")
    assert str(caught.value.facts.field).startswith(field)


def test_a_report_refuses_it_too(made: Made, tmp_path: Path) -> None:
    store = stores(made, tmp_path, rewrite(MASK, shape=FAR_TOO_MANY))
    sets = next((made.atlas / "mirror").rglob("*.gmt"))
    result = report(store.parent, "-o", tmp_path / "site", "--sets", sets)
    assert isinstance(result.exception, HostileError)
    assert result.exception.facts.file == f"{SECTIONS[0]}.zarr"
    assert not (tmp_path / "site").exists()


def test_a_second_word_on_the_shape_of_an_array_is_not_heard(made: Made, tmp_path: Path) -> None:
    def second(store: Path) -> None:
        path = store / "zarr.json"
        content = json.loads(path.read_bytes())
        content["consolidated_metadata"]["metadata"][MASK]["shape"] = FAR_TOO_MANY
        path.write_text(json.dumps(content))

    mine, theirs = (
        open_section(store)
        for store in (stores(made, tmp_path, second), made.work / "sections" / f"{SECTIONS[0]}.zarr")
    )
    assert mine.tissue is not None
    assert theirs.tissue is not None
    assert np.array_equal(mine.tissue, theirs.tissue)


def older_format(store: Path) -> None:
    shutil.rmtree(store / "tables" / "table")
    (store / "tables" / "table").mkdir()
    (store / "tables" / "table" / ".zgroup").write_text('{"zarr_format": 2}')


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda store: (store / COUNTS / "zarr.json").write_text("{"), id="no JSON"),
        pytest.param(rewrite(COUNTS, shape=[3]), id="rows that do not fit"),
        pytest.param(older_format, id="another format, whose filters may run code"),
        pytest.param(lambda store: (store / COUNTS / "c" / "0").write_bytes(b"no chunk"), id="no chunk"),
    ],
)
def test_what_is_no_section_is_damaged_and_no_bug(made: Made, tmp_path: Path, change: Callable[[Path], None]) -> None:
    with pytest.raises(IntegrityError) as caught:
        open_section(stores(made, tmp_path, change))
    assert (caught.value.exit_code, caught.value.facts.code) == (6, "store-damaged")
