"""Tier 3 for arms: each embeds the slides, a task is trained on that, and arms are paired draw by draw of patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, UsageError
from humanst.files import remove, sha256_file
from stamp_train.bootstrap import TOO_FEW, Interval
from stamp_train.control_arms import ALIGNED, FROZEN
from stamp_train.control_table import cells, empty_row
from stamp_train.embed import embed_slide
from stamp_train.slides.bags import SLIDE_SUFFIXES
from stamp_train.slides.data import read_cohort
from stamp_train.slides.evaluate import evaluate, objective_of
from stamp_train.slides.pairs import FEWEST_PATIENTS, interval_of, patient_draws
from stamp_train.slides.survival import EPOCHS
from stamp_train.slides.training import Settings

if TYPE_CHECKING:
    from stamp_train.embed_work import Settings as EmbedSettings
    from stamp_train.frozen import Frozen
    from stamp_train.slides.tasks import Task

RESAMPLES = 1000
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class SlideTier:
    """A slide-level task for all arms.

    Attributes
    ----------
    task
        See :mod:`stamp_train.slides.tasks`.
    images
        Slides, named after their ``slide_id``.
    labels, splits
        Tables as ``stamp-train slides`` takes them.
    n_seeds
        Models of the task an arm.
    settings
        How they are trained; the usual ones of the task by default.
    """

    task: Task
    images: tuple[Path, ...]
    labels: Path
    splits: Path
    n_seeds: int = 10
    settings: Settings | None = field(default=None)

    def training(self) -> Settings:
        """The settings, or the usual ones."""
        if self.settings is not None:
            return self.settings
        return Settings(epochs=EPOCHS, patience=None) if self.task.kind == "survival" else Settings()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; of files their sha256."""
        return {
            "task": self.task.name,
            "columns": [self.task.column, self.task.time_column],
            "images": {path.stem: sha256_file(path) for path in self.images},
            "labels_sha256": sha256_file(self.labels),
            "splits_sha256": sha256_file(self.splits),
            "n_seeds": self.n_seeds,
            "settings": asdict(self.training()),
        }


def slides_in(folder: Path) -> tuple[Path, ...]:
    """The files of a folder, sorted; each is a slide.

    Raises
    ------
    UsageError
        When there is none, or two have one name.
    """
    found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    stems = [path.stem for path in found]
    if not found or len(set(stems)) < len(stems):
        what = f"{len(found)} files, {len(stems) - len(set(stems))} of a name that another has"
        raise UsageError("This is no folder of slides", file=folder, expected="one file a slide", found=what)
    return tuple(found)


def check_slides(tier: SlideTier) -> None:
    """See that the task can be trained with these slides, labels and splits, before anything is.

    Raises
    ------
    DataError
        ``slides-missing`` when a slide of the cohort has no image; and see :func:`stamp_train.slides.data.read_cohort`.
    UsageError
        When the task has no column.
    """
    cohort = read_cohort(tier.labels, tier.splits, tier.task, bag="patient")
    objective_of(tier.task, cohort)
    there = {path.stem for path in tier.images}
    if missing := [slide for slides in cohort.slides for slide in slides if not {slide, _stem(slide)} & there]:
        raise DataError(
            f"{len(missing)} slides of the cohort have no image",
            code="slides-missing",
            file=tier.labels.name,
            field="--slides",
            expected=f"a file called {missing[0]}",
            found=", ".join(missing[:5]) + (", ..." if len(missing) > 5 else ""),
            done="Nothing was trained",
            todo="Put them into the folder, or give the slides split `unused`",
        )


def _stem(slide: str) -> str:
    return Path(slide).stem if Path(slide).suffix.lower() in SLIDE_SUFFIXES else slide


def predict(frozen: Frozen, tier: SlideTier, folder: Path, settings: EmbedSettings, tell: Tell) -> NDArray[np.float64]:
    """Embed the slides and train the task on them: predictions (seeds, n, k) of all bags of the cohort.

    Features that lie in the folder are taken only when their file tells of this encoder and this very slide, by their
    digests (:func:`stamp_train.embed.embed`); those of slides that are not among the images are removed.

    Raises
    ------
    HumanstError
        See :func:`stamp_train.embed.embed_slide` and :func:`stamp_train.slides.evaluate.evaluate`.
    """
    wanted = {f"{slide.stem}.h5" for slide in tier.images}
    for stale in sorted(folder.iterdir() if folder.is_dir() else ()):
        if stale.is_file() and not stale.name.startswith(".") and stale.name not in wanted:
            remove(stale)
    for number, slide in enumerate(tier.images):
        tell("slides", number, len(tier.images))
        embed_slide(frozen, slide, folder / f"{slide.stem}.h5", settings=settings, overwrite=True)
    tell("slides", len(tier.images), len(tier.images))
    seeds = range(tier.n_seeds)
    found = evaluate(tier.task, [folder], tier.labels, tier.splits, tier.training(), seeds=seeds, resamples=0)
    return np.stack([run.predictions for run in found.runs])


def slide_rows(predictions: Mapping[str, Sequence[NDArray[np.float64]]], tier: SlideTier) -> Iterator[dict[str, Any]]:
    """Rows of the table: a cohort and arm each.

    Parameters
    ----------
    predictions
        Arm -> what :func:`predict` gave for each of its trainings.
    """
    cohort = read_cohort(tier.labels, tier.splits, tier.task, bag="patient")
    _, objective = objective_of(tier.task, cohort)
    stacked = {arm: np.concatenate(list(runs)) for arm, runs in predictions.items()}
    for name in cohort.tested:
        rows = cohort.rows(name)
        patients, numbers = np.unique([cohort.patients[row] for row in rows], return_inverse=True)
        note = TOO_FEW.replace("donors", "patients") if len(patients) < FEWEST_PATIENTS else ""
        draws, means = {}, {}
        for arm, predicted in stacked.items():
            parts = objective.pairs(predicted[:, rows], rows)
            draws[arm] = patient_draws(parts, numbers.astype(np.int64), seed=0, resamples=RESAMPLES)
            means[arm] = float(np.mean([part.share for part in parts]))
        for arm in stacked:
            row = {**empty_row(), "tier": "slides", "measure": f"{tier.task.name} {objective.metric}", "part": name}
            row |= {"arm": arm, "n_donors": len(patients), "n_units": len(rows), "n_seeds": len(predictions[arm])}
            row |= cells("", _interval(means[arm], draws[arm], len(patients), note))
            if arm != FROZEN:
                found = _interval(*_difference(means, draws, arm, FROZEN), len(patients), note)
                row |= cells("minus_frozen_", found)
            if arm not in (FROZEN, ALIGNED):
                found = _interval(*_difference(means, draws, ALIGNED, arm), len(patients), note)
                row |= cells("aligned_minus_", found)
            yield row


def _difference(
    means: Mapping[str, float], draws: Mapping[str, NDArray[np.float64] | None], arm: str, other: str
) -> tuple[float, NDArray[np.float64] | None]:
    ours, theirs = draws[arm], draws[other]
    return means[arm] - means[other], None if ours is None or theirs is None else ours - theirs


def _interval(mean: float, draws: NDArray[np.float64] | None, n_patients: int, note: str) -> Interval:
    found = interval_of(draws)
    if found is None:
        return Interval(mean, None, None, n_patients, 0, note or "a class is too rare to draw")
    return Interval(mean, found.low, found.high, n_patients, 0, note)
