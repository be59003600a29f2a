"""Which tasks there are, and what the values of a label column mean: ``tasks.yaml`` as frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from humanst.errors import DataError, UsageError

NO_LABEL = frozenset({"", "na", "n/a", "nan", "null", "none"})


@dataclass(frozen=True, slots=True)
class Task:
    """A slide-level task.

    Attributes
    ----------
    name, title
        How it is asked for, and what it is.
    kind
        ``classification`` or ``survival``.
    column
        The column of the labels: of the class, or of the event (1 seen, 0 censored). None: the user names it.
    time_column
        The column of the time to the event, of survival tasks.
    classes
        Class name -> spellings that mean it, in the order of the outputs. Empty: as the column has them.
    needs
        What the user's labels must have settled.
    """

    name: str
    title: str
    kind: str = "classification"
    column: str | None = None
    time_column: str | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: str = ""

    def class_names(self, values: Sequence[str]) -> list[str]:
        """The classes of these labels in the order of the outputs: those of the task, else the values sorted."""
        return list(self.classes) or sorted(set(values))

    def class_of(self, value: str) -> str:
        """The class that one value of the label column means.

        Raises
        ------
        DataError
            ``label-unknown`` for a spelling that the task does not know.
        """
        if not self.classes:
            return value.strip()
        for name, spellings in self.classes.items():
            if value.strip().lower() in spellings:
                return name
        raise DataError(
            f"Task {self.name} does not know this label",
            code="label-unknown",
            field=self.column,
            expected="; ".join(f"{name}: {', '.join(spellings)}" for name, spellings in self.classes.items()),
            found=repr(value),
            todo="Write one of these, leave the cell empty where it is not known, or use --task classification",
        )


@cache
def all_tasks() -> dict[str, Task]:
    """Every preset by name, in the order of ``tasks.yaml``."""
    import yaml

    content = yaml.safe_load((files("stamp_train.slides") / "tasks.yaml").read_text(encoding="utf-8"))
    tasks = {}
    for name, record in content.items():
        classes = {label: tuple(spellings) for label, spellings in record.pop("classes", {}).items()}
        tasks[name] = Task(name=name, classes=classes, **record)
    return tasks


def task_named(name: str) -> Task:
    """The preset of this name.

    Raises
    ------
    UsageError
        When there is none.
    """
    task = all_tasks().get(name.lower().replace("-", "_"))
    if task is None:
        raise UsageError(
            "There is no such task",
            code="task-unknown",
            field="--task",
            expected=", ".join(all_tasks()),
            found=name,
            todo="Take one of these; `--task classification --label-column NAME` takes any column",
        )
    return task
