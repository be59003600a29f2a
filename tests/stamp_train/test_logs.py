"""The log of a run, read as a user reads it."""

from __future__ import annotations

import builtins
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from humanst.errors import DataError, UsageError
from stamp_train import logs
from stamp_train.logs import open_log


def filled(folder: Path, steps: range, resume_step: int | None = None) -> pd.DataFrame:
    with open_log("csv", folder, resume_step=resume_step) as log:
        for step in steps:
            log.write(step, {"total": 1 / (step + 3), "ln_batch": math.log(8)})
    return pd.read_csv(folder / "log.csv", float_precision="round_trip")


def test_every_number_reads_back_as_it_was(tmp_path: Path) -> None:
    table = filled(tmp_path / "run", range(5))
    assert list(table.columns) == ["step", "total", "ln_batch"]
    assert table["step"].tolist() == [0, 1, 2, 3, 4]
    assert table["total"].tolist() == [1 / (step + 3) for step in range(5)]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.csv"]


def test_a_run_that_is_resumed_has_each_step_once(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", range(12))
    filled(tmp_path / "broken", range(8))
    # The checkpoint was saved after six steps: rows 6 and 7 are made again.
    pd.testing.assert_frame_equal(filled(tmp_path / "broken", range(6, 12), resume_step=6), whole)
    assert (tmp_path / "broken/log.csv").read_bytes() == (tmp_path / "whole/log.csv").read_bytes()


def test_what_was_cut_is_gone_before_the_first_new_row(tmp_path: Path) -> None:
    filled(tmp_path, range(8))
    assert filled(tmp_path, range(0), resume_step=3)["step"].tolist() == [0, 1, 2]
    assert filled(tmp_path, range(2))["step"].tolist() == [0, 1]


def test_a_step_that_comes_again_replaces_its_row(tmp_path: Path) -> None:
    with open_log("csv", tmp_path) as log:
        for step, loss in ((0, 1.0), (1, 2.0), (2, 3.0), (1, 9.0)):
            log.write(step, {"total": loss})
    assert pd.read_csv(tmp_path / "log.csv").to_numpy().tolist() == [[0, 1.0], [1, 9.0]]


def test_columns_that_come_later_are_empty_before(tmp_path: Path) -> None:
    with open_log("csv", tmp_path) as log:
        log.write(0, {"total": 1.0})
    with open_log("csv", tmp_path, resume_step=1) as log:
        log.write(1, {"total": math.nan, "peak_gb": 3})
    table = pd.read_csv(tmp_path / "log.csv", keep_default_na=False, dtype=str)
    assert table.to_dict("records") == [
        {"step": "0", "total": "1.0", "peak_gb": ""},
        {"step": "1", "total": "nan", "peak_gb": "3"},
    ]


def test_what_was_noted_before_a_failure_is_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_log("csv", tmp_path) as log:
        for step in range(5):
            log.write(step, {"total": 1.0})
        raise ZeroDivisionError
    assert len(pd.read_csv(tmp_path / "log.csv")) == 5


def test_it_can_be_read_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log("csv", tmp_path) as log:
        log.write(0, {"total": 1.0})
        log.write(1, {"total": 1.0})
        log.flush()
        assert len(pd.read_csv(tmp_path / "log.csv")) == 2
        monkeypatch.setattr(logs, "SECONDS_BETWEEN_WRITES", 0.0)
        log.write(2, {"total": 1.0})
        assert len(pd.read_csv(tmp_path / "log.csv")) == 3


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,a\nx,1\n", "step,a\n1,2,3\n", "step,a\n1\n", "\xff"])
def test_another_table_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught, open_log("csv", tmp_path, resume_step=4):
        pass
    assert caught.value.exit_code == 5
    assert path.read_bytes() == text.encode("latin-1")


def test_tensorboard_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest, **more):
        if name.startswith(("torch.utils.tensorboard", "tensorboard")):
            raise ImportError("No module named 'tensorboard'")
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="the package tensorboard"), open_log("tensorboard", tmp_path):
        pass
    with pytest.raises(UsageError, match="csv or tensorboard"), open_log("paper", tmp_path):
        pass


def test_tensorboard_gets_the_numbers_and_hides_what_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple] = []

    class Writer:
        """What the library of the same name takes, written down."""

        def __init__(self, log_dir: str, purge_step: int | None) -> None:
            calls.append((Path(log_dir), purge_step))

        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            calls.append((tag, scalar_value, global_step))

        def flush(self) -> None:
            calls.append(("flush",))

        def close(self) -> None:
            calls.append(("close",))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    with open_log("tensorboard", tmp_path, resume_step=3) as log:
        log.write(3, {"total": 0.5})
        log.flush()
    assert calls == [(tmp_path / "tensorboard", 3), ("total", 0.5, 3), ("flush",), ("close",)]
