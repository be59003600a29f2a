"""From checked settings to a run that can take its next step: model, batches, targets, and the state it was left in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from humanst.files import write_bytes, write_json
from stamp_train.align_data import VAL, TrainingImages
from stamp_train.align_targets import Source, open_targets
from stamp_train.building_model import build_model
from stamp_train.checkpoints import load_checkpoint
from stamp_train.pair_targets import Targets
from stamp_train.retrieval import N_BATCHES, ceiling
from stamp_train.run_facts import facts_of_run
from stamp_train.run_folder import CHECKPOINTS, CONFIG, FACTS, read_json, require_same_base, require_same_run
from stamp_train.training import Training, take_up
from stamp_train.validation import Validation

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.config import AlignConfig
    from stamp_train.guard import Leakage
    from stamp_train.ranks import Ranks


def prepare(
    config: AlignConfig, ranks: Ranks, release: Release, leakage: Leakage, tell: Callable[[str], None]
) -> tuple[Training, int | None, list[str]]:
    """Build what a run needs, and bring it to where it was left.

    Returns
    -------
    training, resume_step, notes
        The run; steps that its checkpoint has behind it, ``None`` for a new one; and what a reader should know.

    Raises
    ------
    HumanstError
        See :func:`stamp_train.align.align`.
    """
    images = TrainingImages(release, config, ranks)
    source = open_targets(release, config, images.dataset)
    targets = source.read(images.dataset, shuffle_seed=config.seed if config.shuffle_pairs else None)
    validation = Validation(release, source, config, ranks) if _has_pairs(release, VAL) else None
    model = build_model(config, source)
    steps = config.epochs * images.steps_an_epoch
    steps = steps if config.max_steps is None else min(steps, config.max_steps)
    notes = _notes(config, source, images, targets, validation)
    facts = facts_of_run(
        config, release, model.encoder.base_sha256, leakage=leakage.note, targets=source.facts(release)
    )
    training = Training(
        config=config,
        ranks=ranks,
        run=Path(config.run),
        facts={**facts, "columns": list(source.columns), "steps": steps, "notes": notes},
        model=model.to(ranks.device),
        images=images,
        targets=targets,
        reliability=torch.from_numpy(source.reliability).to(ranks.device),
        validation=validation,
        retrieval_ceiling=_ceiling(source, targets, images, config),
        steps=steps,
    )
    for note in notes:
        tell(note)
    return training, _take_up(training, release, tell), notes


def _take_up(training: Training, release: Release, tell: Callable[[str], None]) -> int | None:
    """Go on from the newest whole checkpoint, or begin: settings and facts are written before the first step."""
    run, base_sha256 = training.run, training.model.encoder.base_sha256
    if (saved := read_json(run / FACTS)) is not None:
        require_same_base(run, saved, base_sha256)
    found = load_checkpoint(run / CHECKPOINTS)
    if found is not None:
        require_same_run(run, found[1]["facts"], training.config, release)
        require_same_base(run, found[1]["facts"], base_sha256)
    training.ranks.wait()
    if training.ranks.is_first:
        write_bytes(run / CONFIG, training.config.to_yaml().encode())
        write_json(run / FACTS, dict(training.facts))
    if found is None:
        return None
    step, state = found
    for warning in state["warnings"]:
        tell(warning)
    take_up(training, step, state)
    tell(f"Going on from step {step} of {training.steps}")
    return step


def _ceiling(source: Source, targets: Targets, images: TrainingImages, config: AlignConfig) -> float | None:
    batches = images.first_batches(N_BATCHES)
    return ceiling(source, targets, images.dataset, batches, near_um=config.near_um, seed=config.seed)


def _has_pairs(release: Release, split: str) -> bool:
    return split in release.splits and release.splits[split].n_pairs > 0


def _notes(
    config: AlignConfig, source: Source, images: TrainingImages, targets: Targets, validation: Validation | None
) -> list[str]:
    notes = []
    if images.n_left_out:
        notes.append(
            f"{images.n_left_out} of {len(targets)} training pairs are in sections with fewer than "
            f"{config.batch_size // config.sections_per_batch} pairs and are never drawn"
        )
    if config.shuffle_pairs:
        notes.append(
            f"Control: every image is paired with the targets of another spot of its section, by seed {config.seed}"
            + (f"; {targets.n_alone} pairs are alone in theirs and keep their own" if targets.n_alone else "")
        )
    if source.kind == "pathways" and not source.measured:
        notes.append("The release has no reliability weights: all pathways weigh the same")
    if validation is None:
        notes.append("The release has no pairs in the split val: nothing is validated")
    return notes
