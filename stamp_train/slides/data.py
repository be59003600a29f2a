"""The two tables of a cohort: labels (slide_id, patient_id, label columns) and splits (slide_id, split)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, UsageError
from stamp_train.slides.tasks import NO_LABEL, Task

if TYPE_CHECKING:
    import pandas as pd

TRAIN, VALIDATION, TEST, UNUSED, EXTERNAL = "train", "val", "test", "unused", "external"


@dataclass(frozen=True, slots=True)
class Cohort:
    """The bags of a task: what is trained on and tested, one entry a bag, in the order of their names.

    Attributes
    ----------
    names
        (n,) the bags: patients, or slides.
    slides
        The slides of each bag, sorted.
    patients
        (n,) the patient of each bag.
    splits
        (n,) ``train``, ``val``, ``test`` or the name of an external cohort.
    labels
        (n,) class of each bag; of survival tasks the event, ``1`` or ``0``.
    times
        (n,) float64 time to the event; NaN of classification.
    n_unlabelled, n_unused
        Slides left out: without a label for this task, and of split ``unused``.
    """

    names: tuple[str, ...]
    slides: tuple[tuple[str, ...], ...]
    patients: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    times: NDArray[np.float64]
    n_unlabelled: int
    n_unused: int

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of the bags of a split."""
        return np.flatnonzero(np.asarray(self.splits) == split)

    @property
    def tested(self) -> list[str]:
        """The test cohorts: ``test`` if there is one, then the external ones by name."""
        others = sorted(set(self.splits) - {TRAIN, VALIDATION, TEST})
        return [name for name in [TEST, *others] if name in self.splits]


def read_cohort(labels: Path, splits: Path, task: Task, *, bag: str = "patient") -> Cohort:
    """Read and join the two tables, and refuse what would make a figure of them wrong.

    Parameters
    ----------
    labels
        CSV with ``slide_id``, ``patient_id`` and the column of the task (of survival also its time column). An empty
        cell, NA or null is a slide without this label: it is left out and counted.
    splits
        CSV with ``slide_id`` and ``split``: train, val, test, a cohort that starts with ``external``, or unused.
    bag
        ``patient``: the slides of a patient are one bag, as in PathBench-MIL. ``slide``: each slide is one.

    Raises
    ------
    DataError
        Columns or cells missing, a slide that is twice in a table or in one table alone, an unknown split or label, a
        patient in two splits (``leakage``), one class only.
    UsageError
        When the task has no column and none was named.
    """
    if task.column is None:
        raise UsageError(f"Task {task.name} needs --label-column", field="--label-column", todo="Name a column")
    wanted = [task.column] + ([task.time_column] if task.time_column else [])
    label_table = _table(labels, ["slide_id", "patient_id", *wanted])
    split_table = _table(splits, ["slide_id", "split"])
    _same_slides(label_table, split_table, labels, splits)
    table = label_table[["slide_id", "patient_id", *wanted]].merge(split_table[["slide_id", "split"]], on="slide_id")
    _check_splits(table, splits)
    used = table[table["split"] != UNUSED]
    empty = used[wanted].apply(lambda column: column.str.lower().isin(NO_LABEL)).any(axis=1)
    kept = used[~empty].copy()
    kept["label"] = [_label(task, value, slide, labels) for value, slide in _cells(kept, task.column)]
    kept["time"] = _times(kept, task, labels)
    _refuse_leakage(kept, splits)
    cohort = _cohort(kept, bag, labels, int(empty.sum()), len(table) - len(used))
    _check_whole(cohort, task, labels)
    return cohort


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:  # pandas' parser errors and bytes that are no UTF-8 are ValueErrors
        raise DataError("This table cannot be read", code="table-unreadable", file=path, found=error) from error
    table.columns = table.columns.str.strip()
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            "This table lacks a column",
            code="column-missing",
            file=path,
            field=", ".join(missing),
            expected=", ".join(columns),
            found=", ".join(table.columns[:20]),
        )
    table = pd.DataFrame({column: table[column].str.strip() for column in columns})
    for column in ("slide_id", "patient_id"):
        if column in columns and (table[column] == "").any():
            row = int(np.flatnonzero(table[column] == "")[0]) + 2
            raise DataError("A row has no id", code="id-missing", file=path, field=column, found=f"line {row}")
    twice = table.loc[table["slide_id"].duplicated(), "slide_id"]
    if len(twice):
        raise DataError("A slide is there twice", code="slide-twice", file=path, field="slide_id", found=_some(twice))
    return table


def _same_slides(label_table: pd.DataFrame, split_table: pd.DataFrame, labels: Path, splits: Path) -> None:
    labelled, split = set(label_table["slide_id"]), set(split_table["slide_id"])
    for path, unknown, other in ((labels, labelled - split, splits), (splits, split - labelled, labels)):
        if unknown:
            raise DataError(
                f"{len(unknown)} slides of this table are not in the other one",
                code="slides-unknown",
                file=path,
                field="slide_id",
                expected=f"slides of {other}",
                found=_some(sorted(unknown)),
                done="Nothing was trained",
                todo="Give each slide a row in both tables; split `unused` leaves one out, and so does an empty label",
            )


def _check_splits(table: pd.DataFrame, path: Path) -> None:
    names = set(table["split"])
    unknown = sorted(name for name in names - {TRAIN, VALIDATION, TEST, UNUSED} if not name.startswith(EXTERNAL))
    if unknown:
        raise DataError(
            "A split has no known name",
            code="split-unknown",
            file=path,
            field="split",
            expected="train, val, test, unused, or a name that starts with `external`",
            found=_some(unknown),
        )


def _label(task: Task, value: str, slide: str, path: Path) -> str:
    try:
        if task.kind == "survival":
            return _event(value)
        return task.class_of(value)
    except DataError as error:
        raise error.located(section=slide, file=path, field=task.column) from None


def _event(value: str) -> str:
    if value not in ("0", "1", "0.0", "1.0"):
        raise DataError("An event is neither 1 nor 0", code="event-unknown", expected="1 seen, 0 censored", found=value)
    return value[0]


def _times(table: pd.DataFrame, task: Task, path: Path) -> NDArray[np.float64]:
    if task.time_column is None:
        return np.full(len(table), np.nan)
    times = np.empty(len(table))
    for row, (text, slide) in enumerate(_cells(table, task.time_column)):
        try:
            times[row] = float(text)
        except ValueError:
            times[row] = np.nan
        if not (np.isfinite(times[row]) and times[row] >= 0):
            raise DataError(
                "A time is no number from 0 up",
                code="time-invalid",
                section=slide,
                file=path,
                field=task.time_column,
                found=text,
            )
    return times


def _cells(table: pd.DataFrame, column: str) -> Iterable[tuple[str, str]]:
    return zip(table[column].tolist(), table["slide_id"].tolist(), strict=True)


def _refuse_leakage(table: pd.DataFrame, path: Path) -> None:
    splits = table.groupby("patient_id")["split"].agg(lambda names: sorted(set(names)))
    shared = splits[splits.map(len) > 1]
    if len(shared):
        raise DataError(
            f"{len(shared)} patients have slides in more than one split",
            code="leakage",
            file=path,
            field="split",
            expected="all slides of a patient in one split",
            found=_some([f"{patient}: {', '.join(names)}" for patient, names in shared.items()]),
            done="Nothing was trained",
            todo="Move a patient's slides together; where two cohorts number patients alike, put the cohort in front",
        )


def _cohort(table: pd.DataFrame, bag: str, path: Path, n_unlabelled: int, n_unused: int) -> Cohort:
    key = "patient_id" if bag == "patient" else "slide_id"
    groups = [(str(name), rows.sort_values("slide_id")) for name, rows in table.groupby(key, sort=True)]
    for name, rows in groups:
        if len(set(zip(rows["label"], rows["time"].fillna(-1.0), strict=True))) > 1:
            raise DataError(
                "Slides of one patient have different labels",
                code="labels-differ",
                section=name,
                file=path,
                field="patient_id",
                found=_some(rows["slide_id"] + ": " + rows["label"]),
                todo="Settle the label of the patient, or take each slide for itself with --bag slide",
            )
    first = [rows.iloc[0] for _, rows in groups]
    return Cohort(
        names=tuple(name for name, _ in groups),
        slides=tuple(tuple(rows["slide_id"]) for _, rows in groups),
        patients=tuple(row["patient_id"] for row in first),
        splits=tuple(row["split"] for row in first),
        labels=tuple(row["label"] for row in first),
        times=np.array([row["time"] for row in first], dtype=np.float64),
        n_unlabelled=n_unlabelled,
        n_unused=n_unused,
    )


def _check_whole(cohort: Cohort, task: Task, path: Path) -> None:
    missing = [name for name in (TRAIN, VALIDATION) if name not in cohort.splits]
    if missing or not cohort.tested:
        raise DataError(
            "A split has no slide with a label of this task",
            code="split-empty",
            file=path,
            field=task.column,
            expected="slides to train on (train), to choose the epoch by (val) and to test (test or external)",
            found=", ".join(f"{name} {cohort.splits.count(name)}" for name in sorted(set(cohort.splits))) or "none",
        )
    trained = {cohort.labels[row] for row in cohort.rows(TRAIN)}
    for split in [TRAIN, VALIDATION, *cohort.tested]:
        there = {cohort.labels[row] for row in cohort.rows(split)}
        if task.kind == "classification" and len(there) < 2:
            raise DataError(
                f"Split {split} has a single class",
                code="single-class",
                file=path,
                field=task.column,
                expected="at least two classes in each split: an AUC compares them",
                found=", ".join(sorted(there)),
                done="Nothing was trained",
            )
        if task.kind == "classification" and there - trained:
            raise DataError(
                f"Split {split} has a class that training has not",
                code="class-untrained",
                file=path,
                field=task.column,
                expected=", ".join(sorted(trained)),
                found=", ".join(sorted(there - trained)),
            )


def _some(values: Iterable[str], at_most: int = 5) -> str:
    listed = [str(value) for value in values]
    more = f" and {len(listed) - at_most} more" if len(listed) > at_most else ""
    return ", ".join(listed[:at_most]) + more
