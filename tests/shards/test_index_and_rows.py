"""An index joined from parts, and rows taken from an extract, against pyarrow reading and writing the whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from humanst.shards.extract_rows import read_uids, take_rows, write_rows
from humanst.shards.index import index_schema, join_index, write_index


def index_rows(n: int) -> pa.Table:
    rng = np.random.default_rng(n)
    columns = [
        pa.array([f"{field.name}-{value}" for value in range(50)]).take(rng.integers(50, size=n))
        if pa.types.is_string(field.type)
        else pa.array(rng.integers(1000, size=n)).cast(field.type)
        for field in index_schema()
    ]
    return pa.table(columns, schema=index_schema())


@pytest.mark.parametrize("sizes", [(), (5,), (4096, 4096, 7), (40_000, 30_000)])
def test_a_joined_index_has_the_bytes_of_one_written_whole(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    tables = [index_rows(size) for size in sizes]
    parts = [tmp_path / f"{number}.parquet" for number in range(len(sizes))]
    for part, table in zip(parts, tables, strict=True):
        write_index(part, table)
    digest = join_index(tmp_path / "joined.parquet", parts)
    whole = pa.concat_tables([pq.read_table(part) for part in parts]) if parts else index_schema().empty_table()
    pq.write_table(whole, tmp_path / "whole.parquet", compression="zstd", row_group_size=65_536)
    assert (tmp_path / "joined.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert digest == hashlib.sha256((tmp_path / "whole.parquet").read_bytes()).hexdigest()
    assert pq.read_table(tmp_path / "joined.parquet").num_rows == sum(sizes)


def test_rows_of_an_extract_come_back_in_the_order_asked(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    scores[4, 1] = np.nan
    table = pa.table({"uid": [f"u{number}" for number in range(100)], "n_counts": np.arange(100) * 7})
    write_rows(tmp_path / "rows.arrow", table, scores)
    wanted = np.array([99, 4, 4, 0])
    taken = take_rows(tmp_path / "rows.arrow", wanted)
    assert taken["uid"].to_pylist() == ["u99", "u4", "u4", "u0"]
    assert taken["n_counts"].to_pylist() == [693, 28, 28, 0]
    values = taken["pathways"].flatten().to_numpy().reshape(4, 3)
    np.testing.assert_array_equal(values, scores[wanted])
    assert read_uids(tmp_path / "rows.arrow") == table["uid"].to_pylist()
