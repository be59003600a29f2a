"""``stamp-train slides``: slide-level tasks from features, labels and splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.errors import UsageError
from stamp_train.commands.device import chosen_device, device_option
from stamp_train.commands.output import echo_json, echo_table, json_option, progress, say

if TYPE_CHECKING:
    from stamp_train.slides.tasks import Task
    from stamp_train.slides.training import Settings

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--task", help="The task; --list-tasks shows them.")
@click.option("--list-tasks", is_flag=True, help="Show the tasks, what they read and what your labels need; then end.")
@click.option("--features", multiple=True, type=FOLDER, help="Folder of features, a file a slide. Can be repeated.")
@click.option("--labels", type=FILE, help="CSV with slide_id, patient_id and the label columns.")
@click.option("--splits", type=FILE, help="CSV with slide_id and split: train, val, test, external..., unused.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for results and weights.")
@click.option("--label-column", help="Column of the class, or of the event  [default: the task's].")
@click.option("--time-column", help="Column of the time, of survival  [default: the task's].")
@click.option("--model", type=click.Choice(["abmil", "abmil-gated"]), default="abmil", show_default=True)
@click.option("--bag", type=click.Choice(["patient", "slide"]), default="patient", show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=10, show_default=True, help="How many seeds, from 0.")
@click.option("--epochs", type=click.IntRange(min=1), help="At most so many  [default: 50; survival 30].")
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="Stop after so many without gain; 0 never  [default: 10; survival 0].",
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-4, show_default=True)
@click.option("--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Draws of patients.")
@click.option("--memory-gb", type=click.FloatRange(min=0), default=4.0, show_default=True, help="For features.")
@device_option
@json_option
def slides(task: str | None, list_tasks: bool, as_json: bool, **given: Any) -> None:
    """Train and test attention-based MIL on a slide-level task (tier 3).

    ABMIL as in PathBench-MIL, on one split with several seeds; external cohorts are tested with the same weights.
    Writes slides.json, slides.csv, predictions.csv and the weights of each seed into --out.
    """
    if list_tasks:
        _list_tasks(as_json)
        return
    given["task"] = task
    missing = [name for name in ("task", "features", "labels", "splits", "out") if not given[name]]
    if missing:
        raise UsageError(
            "An option is missing",
            field=", ".join(f"--{name}" for name in missing),
            todo="`stamp-train slides --help` shows what there is",
        )
    _run(as_json, given)


def _run(as_json: bool, given: dict[str, Any]) -> None:
    task = _task(given)
    from stamp_train.slides.evaluate import evaluate
    from stamp_train.slides.report import table, write

    with progress() as tell:
        result = evaluate(
            task,
            given["features"],
            given["labels"],
            given["splits"],
            _settings(task, given),
            seeds=range(given["seeds"]),
            bag=given["bag"],
            resamples=given["bootstrap"],
            memory_bytes=int(given["memory_gb"] * (1 << 30)),
            device=chosen_device(given["device"]),
            tell=tell,
        )
    content = write(result, given["labels"], given["splits"], given["out"])
    if as_json:
        echo_json({**content, "out": str(given["out"])})
        return
    echo_table(table(content))
    for note in content["notes"]:
        say(note)


def _task(given: dict[str, Any]) -> Task:
    from stamp_train.slides.tasks import task_named

    task = task_named(given["task"])
    if given["time_column"] and task.kind != "survival":
        raise UsageError("Only survival has times", field="--time-column", found=task.name)
    return replace(
        task, column=given["label_column"] or task.column, time_column=given["time_column"] or task.time_column
    )


def _settings(task: Task, given: dict[str, Any]) -> Settings:
    from stamp_train.slides.survival import EPOCHS
    from stamp_train.slides.training import Settings

    is_survival = task.kind == "survival"
    usual = Settings(gated=given["model"] == "abmil-gated", learning_rate=given["learning_rate"])
    patience = given["patience"]
    if patience is None:
        patience = 0 if is_survival else usual.patience
    return replace(
        usual, epochs=given["epochs"] or (EPOCHS if is_survival else usual.epochs), patience=patience or None
    )


def _list_tasks(as_json: bool) -> None:
    from stamp_train.slides.tasks import all_tasks

    tasks = list(all_tasks().values())
    if as_json:
        rows = [
            {
                "name": task.name,
                "title": task.title,
                "kind": task.kind,
                "column": task.column,
                "time_column": task.time_column,
                "classes": {name: list(spellings) for name, spellings in task.classes.items()},
                "needs": task.needs,
            }
            for task in tasks
        ]
        echo_json({"schema": "stamp_train.tasks/1", "tasks": rows})
        return
    for task in tasks:
        classes = " | ".join(task.classes) or ("event and time" if task.kind == "survival" else "as in the column")
        click.echo(f"{task.name}: {task.title} ({classes})")
        click.echo(f"    column {task.column or 'of your choice'}; needs {task.needs}")
