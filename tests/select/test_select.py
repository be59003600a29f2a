from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.errors import UsageError
from humanst.select import compile_where

TABLE = {
    "organ": np.array(["breast", "lung", "breast", "skin"]),
    "n_counts": np.array([100, 500, 900, 500]),
    "um": np.array([0.5, 0.25, np.nan, 1.0]),
    "in_tissue": np.array([True, False, True, True]),
    "label": np.array(["a", None, "b", "a"], dtype=object),
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("organ == 'breast'", [0, 2]),
        ("organ != 'breast'", [1, 3]),
        ("'breast' == organ", [0, 2]),
        ("organ in ('lung', 'skin')", [1, 3]),
        ("organ not in ['lung', 'skin']", [0, 2]),
        ("n_counts >= 500 and organ == 'breast'", [2]),
        ("n_counts < 500 or organ == 'skin'", [0, 3]),
        ("not (n_counts < 500 or organ == 'skin')", [1, 2]),
        ("100 < n_counts <= 500", [1, 3]),
        ("n_counts in (100, 900)", [0, 2]),
        ("n_counts > -1", [0, 1, 2, 3]),
        ("in_tissue == True", [0, 2, 3]),
        ("um < 1", [0, 1]),
        ("um != 0.5", [1, 2, 3]),
        ("label == 'a'", [0, 3]),
        ("label != 'a'", [1, 2]),
        ("label not in ('a',)", [1, 2]),
        ("organ == 'breast' and n_counts > 100 or organ == 'lung'", [1, 2]),
        ("  organ == 'lung'  ", [1]),
    ],
)
def test_chosen_rows(text: str, rows: list[int]) -> None:
    where = compile_where(text, TABLE)
    mask = where.mask(TABLE)
    assert mask.dtype == np.bool_
    assert np.flatnonzero(mask).tolist() == rows
    by_row = [where.matches({name: column[i] for name, column in TABLE.items()}) for i in range(4)]
    assert by_row == mask.tolist()


def test_frames_and_arrow_tables_give_the_same_mask() -> None:
    where = compile_where("organ in ('breast', 'skin') and um <= 1 and label != 'b'", TABLE)
    assert where.columns == ("label", "organ", "um")
    expected = where.mask(TABLE).tolist()
    frame = pd.DataFrame(TABLE)
    assert where.mask(frame).tolist() == expected
    assert where.mask(pa.Table.from_pandas(frame)).tolist() == expected


@given(
    numbers=st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=20),
    low=st.integers(-5, 5),
    high=st.floats(-1e3, 1e3),
)
def test_agrees_with_python_row_by_row(numbers: list[float], low: int, high: float) -> None:
    mask = compile_where(f"not ({low} < x <= {high!r}) or x in [0, {low}]", ["x"]).mask({"x": np.array(numbers)})
    assert mask.tolist() == [not (low < x <= high) or (not math.isnan(x) and x in [0, low]) for x in numbers]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "organ",
        "organ = 'breast'",
        "organs == 'breast'",
        "len(organ) == 3",
        "organ.x == 1",
        "organ[0] == 'b'",
        "n_counts + 1 == 2",
        "n_counts == 1 if organ else 2",
        "lambda: 1",
        "__import__('os').system('true')",
        "(organ := 'x') == 'x'",
        "organ in label",
        "organ in 'breast'",
        "organ in ()",
        "organ in ['a', label]",
        "organ is None",
        "organ == None",
        "organ == b'x'",
        "n_counts == -'x'",
        "n_counts == 1j",
        "f'{organ}' == 'x'",
        "1 == 1",
        "organ == 'a'; n_counts == 1",
        "not " * 3000 + "n_counts == 1",
        "(" * 500 + "n_counts == 1" + ")" * 500,
        "n_counts == 1 or " * 5000 + "n_counts == 1",
        "n_counts == 1\x00",
    ],
)
def test_anything_else_is_refused_with_the_columns(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_where(text, TABLE)
    assert caught.value.exit_code == 2
    assert "in_tissue, label, n_counts, organ, um" in str(caught.value.facts.expected)


def test_position_of_the_fault_is_named() -> None:
    with pytest.raises(UsageError, match=r"position 24"):
        compile_where("organ == 'breast' and (organs == 'x')", TABLE)


@pytest.mark.parametrize("text", ["organ == 3", "n_counts > 'a'", "n_counts in (1, 'a')", "organ < n_counts"])
def test_text_and_numbers_do_not_compare(text: str) -> None:
    with pytest.raises(UsageError, match="Text and numbers"):
        compile_where(text, TABLE).mask(TABLE)
