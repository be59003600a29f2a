"""Target files: read by numpy and scipy alone; rows taken from them have the bytes of a file made of these rows."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from humanst.errors import DataError, IntegrityError
from humanst.shards.target_files import CountRows, count_rows, gather_rows, take_rows, write_counts, write_values


def as_rows(dense: NDArray[np.int32]) -> CountRows:
    matrix = sparse.csr_matrix(dense)
    return CountRows(matrix.data, matrix.indices, matrix.indptr.astype(np.int64), dense.shape[1])


def draw_table(data: st.DataObject) -> NDArray[np.int32]:
    n_rows, n_columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    return (rng.integers(0, 4, (n_rows, n_columns)) * rng.integers(0, 2, (n_rows, 1))).astype(np.int32)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_rows_that_are_taken_have_the_bytes_of_a_file_made_of_them(data: st.DataObject) -> None:
    """Counts and values, in any order and repeated, as positions and as flags; scipy and numpy read the same."""
    table = draw_table(data)
    rows = np.array(data.draw(st.lists(st.integers(0, len(table) - 1), max_size=12)), dtype=np.int64)
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    values = np.where(table > 2, np.nan, table).astype(np.float32)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_counts(folder / "all.npz", as_rows(table))
        write_values(folder / "all.npy", values)
        for number, chosen in enumerate((rows, flags)):
            digest = take_rows(folder / "all.npz", chosen, folder / f"{number}.npz")
            assert digest == write_counts(folder / "made.npz", as_rows(table[chosen]))
            assert (sparse.load_npz(folder / f"{number}.npz").toarray() == table[chosen]).all()
            digest = take_rows(folder / "all.npy", chosen, folder / f"{number}.npy")
            assert digest == write_values(folder / "made.npy", values[chosen])
            np.testing.assert_array_equal(np.load(folder / f"{number}.npy"), values[chosen])
        assert (count_rows(folder / "all.npy"), count_rows(folder / "0.npz")) == (len(table), len(rows))


def test_rows_of_several_files_are_put_one_after_the_other(tmp_path: Path) -> None:
    one, two = np.arange(12, dtype=np.int32).reshape(4, 3), np.eye(3, dtype=np.int32)
    for name, table in (("one", one), ("two", two)):
        write_counts(tmp_path / f"{name}.npz", as_rows(table))
        write_values(tmp_path / f"{name}.npy", table.astype(np.float32))
    expected = np.vstack([one[[3, 0]], two[[1]]])
    for suffix in ("npz", "npy"):
        pieces = [(tmp_path / f"one.{suffix}", np.array([3, 0])), (tmp_path / f"two.{suffix}", np.array([1]))]
        gather_rows(pieces, tmp_path / f"both.{suffix}")
    assert (sparse.load_npz(tmp_path / "both.npz").toarray() == expected).all()
    assert (np.load(tmp_path / "both.npy") == expected).all()


def test_rows_that_are_not_there_and_files_that_are_no_targets_are_refused(tmp_path: Path) -> None:
    write_values(tmp_path / "a.npy", np.zeros((3, 2), dtype=np.float32))
    write_values(tmp_path / "wide.npy", np.zeros((3, 5), dtype=np.float32))
    (tmp_path / "torn.npz").write_bytes(b"PK\3\4 and no more")
    np.save(tmp_path / "double.npy", np.zeros((3, 2)))
    for rows in (np.array([3]), np.array([-1]), np.array([True, False])):
        with pytest.raises(DataError, match="rows 0 to 2"):
            take_rows(tmp_path / "a.npy", rows, tmp_path / "b.npy")
    with pytest.raises(DataError, match="same columns"):
        gather_rows([(tmp_path / name, np.array([0])) for name in ("a.npy", "wide.npy")], tmp_path / "b.npy")
    for name in ("torn.npz", "double.npy"):
        with pytest.raises(IntegrityError, match="not a target file"):
            take_rows(tmp_path / name, np.array([0]), tmp_path / f"b{name[-4:]}")
    assert not (tmp_path / "b.npy").exists()
    assert not (tmp_path / "b.npz").exists()
