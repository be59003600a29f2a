"""``align``: settings in, adapter out. What is asked is checked, what is left is done, what came of it is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, IntegrityError, InterruptedRun, UsageError
from humanst.files import write_json
from stamp_train.run_folder import FACTS, HEADS, RESULT, read_json, require_same_run

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.config import AlignConfig
    from stamp_train.guard import Leakage
    from stamp_train.training import Training

logger = logging.getLogger(__name__)

SCHEMA = "stamp_train.align/1"
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AlignResult:
    """What a run gave; ``result.json`` in its folder.

    Attributes
    ----------
    run, adapter
        Its folder, and the adapter in it.
    steps
        How many were done.
    already_done
        Whether it was found finished.
    first, last
        First and last row of the log.
    validation
        A mapping a look at the split ``val``: ``step``, ``pcc``, ``pcc_library``, ``n_sections``, ``n_donors``.
    best_step
        Of the best look; the adapter is that of the last step all the same.
    base_sha256, adapter_sha256
        Digests of the base's weights and of the adapter's file.
    leakage
        What every table of it has to carry, or ``None``.
    notes
        What a reader should know.
    """

    run: Path
    adapter: Path
    steps: int
    already_done: bool
    first: dict[str, float]
    last: dict[str, float]
    validation: list[dict[str, float | None]]
    best_step: int | None
    base_sha256: str
    adapter_sha256: str
    leakage: str | None
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"schema": SCHEMA, **asdict(self), "run": str(self.run), "adapter": str(self.adapter)}


def align(config: AlignConfig, *, progress: Progress | None = None, say: Say | None = None) -> AlignResult:
    """Align an encoder to the pathways of a release, or go on with it.

    Parameters
    ----------
    config
        All settings; ``release`` and ``run`` have no default.
    progress
        Called with what is being done, how much of it is done, and how much there is.
    say
        Called with each message for a person; they are logged without it.

    Returns
    -------
    AlignResult
        Also of a run that was found finished.

    Raises
    ------
    UsageError
        For settings that do not go together, name what is not there, or differ from those of the run in the folder.
    DataError
        ``leakage`` when the training split holds tissue of the evaluation; ``other-release`` when the run in the folder
        was of another one, ``other-gene-sets`` when the evaluation is.
    IntegrityError
        When the base, the release or every checkpoint is not what it was.
    InterruptedRun
        When it was asked to stop, after it has saved.
    """
    from torch.random import fork_rng

    from stamp_train.ranks import cuda_of, joined
    from stamp_train.stopping import asked_to_stop

    for name in ("release", "run"):
        if not getattr(config, name):
            raise UsageError("A setting is missing", code="setting-missing", field=name)
    with joined(config.device) as ranks, asked_to_stop() as stop:
        quiet = not ranks.is_first
        tell_progress: Progress = (lambda what, done, of: None) if quiet or progress is None else progress
        tell: Say = (lambda text: None) if quiet else (say or logger.info)
        release, evaluation = open_releases(config)
        leakage = check_training(config, release, evaluation)
        run = Path(config.run)
        if (done := _finished(run, config, release)) is not None:
            tell(f"This run is finished: {run}")
            return done
        from stamp_train.preparing import prepare
        from stamp_train.training import train

        training, resume_step, notes = prepare(config, ranks, release, leakage, tell)
        if leakage.note:
            tell(leakage.note)
        # What steps draw is seeded anew in each: the caller's random state is left as it was.
        with _log(training, resume_step) as log, fork_rng(devices=cuda_of(ranks)):
            try:
                train(training, log, stop, tell_progress)
            except RuntimeError as error:
                # Some schedulers signal every process; torch tells of a worker's end wherever this one is.
                if not stop.asked:
                    raise
                raise _cut_short(training, str(stop.by)) from error
        ranks.wait()
        return _finish(training, leakage, notes)


def _cut_short(training: Training, by: str) -> InterruptedRun:
    return InterruptedRun(
        f"Stopped in step {training.step} of {training.steps}",
        found=f"{by}, which ended the workers too",
        done="The last checkpoint stays as it is",
        todo="Run the same command again: it goes on from there",
    )


def open_releases(config: AlignConfig) -> tuple[Release, Release | None]:
    """The release that is trained on, and that of the evaluation where it is another.

    Raises
    ------
    DataError
        ``other-gene-sets`` when their pathways are not the same.
    """
    from humanst.load import open_release

    release = open_release(config.release)
    if config.evaluation_release is None:
        return release, None
    evaluation = open_release(config.evaluation_release)
    _require_same_pathways(release, evaluation)
    return release, evaluation


def check_training(config: AlignConfig, release: Release, evaluation: Release | None) -> Leakage:
    """See that nothing of the evaluation is trained on (:func:`stamp_train.guard.check_leakage`)."""
    from stamp_train.align_data import TRAIN
    from stamp_train.guard import check_leakage

    asked = (config.evaluation_sections, config.evaluation_groups, config.allow_leakage)
    return check_leakage(release, TRAIN, *asked, evaluation=evaluation)


def _require_same_pathways(release: Release, evaluation: Release) -> None:
    mine, theirs = ((one.manifest["pathways"].get("sha256"), one.pathway_names) for one in (release, evaluation))
    if mine != theirs:
        raise DataError(
            "The release of the evaluation has pathways of other gene sets",
            code="other-gene-sets",
            field="evaluation_release",
            expected=f"{len(mine[1])} pathways of gene sets {str(mine[0])[:16]}",
            found=f"{len(theirs[1])} of {str(theirs[0])[:16]}",
            todo="Build it with the gene sets of the release that is trained on",
        )


def _finished(run: Path, config: AlignConfig, release: Release) -> AlignResult | None:
    """What a finished run gave; ``None`` when there is something left to do."""
    facts = read_json(run / FACTS)
    if facts is None:
        return None
    require_same_run(run, facts, config, release)
    content = read_json(run / RESULT)
    if content is None:
        return None
    known = {field.name for field in fields(AlignResult)}
    kept = {name: value for name, value in content.items() if name in known}
    try:
        # The folder may have been moved since.
        places = {"run": run, "adapter": run / Path(content["adapter"]).relative_to(content["run"])}
        done = AlignResult(**{**kept, **places, "already_done": True})
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            "The result of the run cannot be read", code="run-torn", file=run / RESULT, expected=SCHEMA, found=error
        ) from error
    if not done.adapter.is_file():
        raise IntegrityError(
            "The run is finished, and its adapter is gone",
            code="adapter-gone",
            file=done.adapter,
            expected=f"sha256 {done.adapter_sha256}",
            found="no file",
            todo=f"Put it back, or remove {RESULT} to have it written again from the last checkpoint",
        )
    return done


def _log(training: Training, resume_step: int | None) -> Any:
    from stamp_train.logs import open_log

    if not training.ranks.is_first:
        return nullcontext()
    return open_log(training.config.log, training.run, resume_step=resume_step)


def _finish(training: Training, leakage: Leakage, notes: list[str]) -> AlignResult:
    """Write what the run gave, the result last."""
    from stamp_train.building_model import save_heads
    from stamp_train.merging import FOLDER, TENSORS, write_adapter

    run, config = training.run, training.config
    validation = [
        {name: None if value != value else value for name, value in asdict(one).items()} for one in training.validated
    ]
    known = [one for one in training.validated if one.pcc == one.pcc]
    digest = ""
    if training.ranks.is_first:
        save_heads(run / HEADS, training.model, tuple(training.facts["columns"]))
        digest = write_adapter(run / FOLDER, training.model.encoder, config, training.facts)
    result = AlignResult(
        run=run,
        adapter=run / FOLDER / TENSORS,
        steps=training.steps,
        already_done=False,
        first=training.rows["first"],
        last=training.rows["last"],
        validation=validation,
        best_step=max(known, key=lambda one: one.pcc).step if known else None,
        base_sha256=training.model.encoder.base_sha256,
        adapter_sha256=digest,
        leakage=leakage.note,
        notes=notes,
    )
    if training.ranks.is_first:
        write_json(run / RESULT, result.to_dict())
    training.ranks.wait()
    return result
