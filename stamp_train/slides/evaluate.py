"""One task from its tables to its figures: check everything, train each seed, measure each cohort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from stamp_train.slides.bags import Bags, open_bags
from stamp_train.slides.data import TRAIN, VALIDATION, Cohort, read_cohort
from stamp_train.slides.objectives import Classification, Objective
from stamp_train.slides.pairs import Interval, patient_interval
from stamp_train.slides.survival import Survival
from stamp_train.slides.tasks import Task
from stamp_train.slides.training import Settings, Trained, train_seed

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Figures:
    """The metric of one test cohort.

    Attributes
    ----------
    cohort
        ``test``, or an external cohort.
    n_bags, n_patients
        What was tested.
    counts
        Bags of each class; of survival tasks, events seen (``1``) and censored (``0``).
    by_seed
        The metric of each seed, in the order of the seeds.
    interval
        95 % interval of their mean over patients; None with too few.
    patches_alone
        The metric when the number of patches of a bag is all that is known: what lies far above chance here is told
        by the size of the tissue. Of survival tasks, and of tasks with more than two classes, None.
    """

    cohort: str
    n_bags: int
    n_patients: int
    counts: dict[str, int]
    by_seed: tuple[float, ...]
    interval: Interval | None
    patches_alone: float | None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.by_seed))

    @property
    def sd(self) -> float:
        """Standard deviation over seeds (n - 1); 0 of one seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything one run of a task gave; :mod:`stamp_train.slides.report` writes it down."""

    task: Task
    classes: tuple[str, ...]
    metric: str
    settings: Settings
    bag: str
    cohort: Cohort
    bags: Bags
    runs: tuple[Trained, ...]
    figures: tuple[Figures, ...] = field(default=())


def evaluate(
    task: Task,
    features: Sequence[Path],
    labels: Path,
    splits: Path,
    settings: Settings,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    bag: str = "patient",
    resamples: int = 1000,
    memory_bytes: int = 4 << 30,
    device: str = "cpu",
    tell: Tell = lambda step, done, total: None,
) -> Evaluation:
    """Train and test one task.

    Parameters
    ----------
    features
        Folders with one features file a slide.
    labels, splits
        The tables; see :func:`stamp_train.slides.data.read_cohort`.
    seeds
        One model each, all on the same split.
    bag
        ``patient`` or ``slide``.
    resamples
        Draws of the patient bootstrap, whose seed is 0.
    tell
        Called with a step, what is done of it and how much there is.

    Raises
    ------
    HumanstError
        Whatever is wrong with tables or features, before the first step of training.
    """
    cohort = read_cohort(labels, splits, task, bag=bag)
    classes, objective = objective_of(task, cohort)
    bags = open_bags(
        features, cohort, memory_bytes=memory_bytes, tell=lambda done, total: tell("features", done, total)
    )
    tested = np.concatenate([cohort.rows(name) for name in cohort.tested])
    rows = (cohort.rows(TRAIN), cohort.rows(VALIDATION), tested)
    runs = []
    for number, seed in enumerate(seeds):
        before, total = number * settings.epochs, len(seeds) * settings.epochs
        runs.append(
            train_seed(
                bags,
                objective,
                rows,
                settings,
                seed=seed,
                device=device,
                tell=lambda epoch, before=before, total=total: tell("epochs", before + epoch, total),  # type: ignore[misc]
            )
        )
    predictions = np.stack([run.predictions for run in runs])
    figures = [_figures(name, cohort, objective, predictions, bags, resamples) for name in cohort.tested]
    return Evaluation(task, tuple(classes), objective.metric, settings, bag, cohort, bags, tuple(runs), tuple(figures))


def objective_of(task: Task, cohort: Cohort) -> tuple[list[str], Objective]:
    """Classes in the order of the outputs (none of survival), and what models of the task are measured by.

    Raises
    ------
    DataError
        ``no-comparable-pairs`` when the survival of no two patients of a split can be compared.
    """
    if task.kind == "survival":
        objective = Survival(cohort.times, np.asarray(cohort.labels) == "1", cohort.rows(TRAIN))
        for split in (VALIDATION, *cohort.tested):
            rows = cohort.rows(split)
            if not np.isfinite(objective.measure(np.zeros((len(rows), 1)), rows)):
                raise DataError(
                    f"Split {split} has no two patients whose survival can be compared",
                    code="no-comparable-pairs",
                    expected="an event that was seen before another patient's time",
                    done="Nothing was trained",
                )
        return [], objective
    trained = {cohort.labels[row] for row in cohort.rows(TRAIN)}
    classes = [name for name in task.class_names(cohort.labels) if name in trained]
    numbers = np.array([classes.index(label) for label in cohort.labels], dtype=np.int64)
    return classes, Classification(numbers, len(classes))


def _figures(
    name: str,
    cohort: Cohort,
    objective: Objective,
    predictions: NDArray[np.float64],
    bags: Bags,
    resamples: int,
) -> Figures:
    rows = cohort.rows(name)
    patients, numbers = np.unique([cohort.patients[row] for row in rows], return_inverse=True)
    labels = [cohort.labels[row] for row in rows]
    parts = objective.pairs(predictions[:, rows], rows)
    return Figures(
        cohort=name,
        n_bags=len(rows),
        n_patients=len(patients),
        counts={label: labels.count(label) for label in sorted(set(labels))},
        by_seed=tuple(objective.measure(one[rows], rows) for one in predictions),
        interval=patient_interval(parts, numbers.astype(np.int64), seed=0, resamples=resamples),
        patches_alone=_patches_alone(objective, bags, rows, cohort.rows(TRAIN)),
    )


def _patches_alone(objective: Objective, bags: Bags, rows: NDArray[np.int64], train: NDArray[np.int64]) -> float | None:
    if not isinstance(objective, Classification) or objective.n_outputs != 2:
        return None
    scores = np.repeat(bags.n_patches[:, None].astype(np.float64), 2, axis=1)
    # Whether large slides go with the second class is learnt where the models learn.
    direction = 1.0 if objective.measure(scores[train], train) >= 0.5 else -1.0
    return objective.measure(direction * scores[rows], rows)
