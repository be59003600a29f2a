"""``controls``: every arm trained and measured, then compared in one table under a verdict.

Each run of an arm has a folder below ``arms/`` that keeps what it made, and a card that is written last. A run whose
card says that it was made with these settings, of this base and release, is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import UsageError
from stamp_train.align import align, check_training, open_releases
from stamp_train.config import AlignConfig
from stamp_train.control_arms import Arm, chosen_arms, config_of
from stamp_train.control_doubts import Known, known_of
from stamp_train.control_report import write_report
from stamp_train.control_runs import EMBEDDINGS, RUN, Found, folder_of, keep, kept, key_of
from stamp_train.control_slides import SlideTier, check_slides, predict, slide_rows
from stamp_train.control_table import comparison, verdict_of
from stamp_train.control_tiers import Tiers, measure
from stamp_train.embed import embed_release
from stamp_train.embed_work import Settings
from stamp_train.encoder import encoder_of
from stamp_train.frozen import Frozen, frozen_encoder
from stamp_train.ranks import find_device
from stamp_train.run_facts import config_sha256, release_sha256

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.release import Release
    from stamp_train.encoder import Encoder

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison gave.

    Attributes
    ----------
    out
        Its folder.
    content
        What ``controls.json`` says.
    table
        See :func:`stamp_train.control_table.comparison`.
    n_kept
        Runs of arms that were there already.
    """

    out: Path
    content: dict[str, Any]
    table: pd.DataFrame
    n_kept: int


@dataclass(frozen=True, slots=True)
class _World:
    """What all arms share."""

    config: AlignConfig
    release: Release
    tested: Release
    base: Encoder
    tiers: Tiers
    out: Path
    settings: Settings
    slides: SlideTier | None
    slides_told: dict[str, Any] | None
    say: Say
    progress: Progress


def run_controls(
    config: AlignConfig,
    out: Path,
    tiers: Tiers,
    *,
    only: Sequence[str] = (),
    n_seeds: int = 1,
    slides: SlideTier | None = None,
    progress: Progress = lambda step, done, total: None,
    say: Say = lambda text: None,
) -> Compared:
    """Train and measure all arms, and write the table.

    Parameters
    ----------
    config
        Settings of the aligned model; those of the controls differ in what makes them controls. ``run`` is not looked
        at. The arms are tested on ``evaluation_release``, or on ``release`` itself.
    out
        Folder of the arms and of the table.
    tiers
        How they are measured.
    only
        Controls to run; all by default. ``frozen`` and ``aligned`` are always there.
    n_seeds
        How often each arm is trained, with seeds from ``config.seed``.
    slides
        A slide-level task to measure the arms by as well.

    Raises
    ------
    UsageError
        For an unknown arm, a target set that the release lacks, a random base with several seeds, or settings that
        differ from those in ``out``.
    DataError
        ``leakage`` when sections of the evaluation, or of the splits that are tested, are trained on; and see
        :func:`stamp_train.control_slides.check_slides`.
    HumanstError
        See :func:`stamp_train.align.align`, :func:`stamp_train.embed.embed_release` and
        :func:`stamp_train.control_tiers.measure`.
    """
    _check(config, n_seeds)
    if slides is not None:
        check_slides(slides)
    release, evaluation = open_releases(config)
    tested = evaluation or release
    config = _tested_on(config, tested, tiers)
    # Every run asks this as well; here it is said before the frozen base is measured.
    check_training(config, release, evaluation)
    settings = Settings(device=str(find_device(config.device)))
    # Slides are large: they are hashed once.
    hashed = None if slides is None else slides.to_dict()
    world = _World(config, release, tested, encoder_of(config), tiers, out, settings, slides, hashed, say, progress)
    # All target sets are looked for before the first arm is trained.
    runs = [
        (arm, seed, config_of(arm, config, release, seed=seed, run=str(folder_of(out, arm.name, seed) / RUN)))
        for arm in chosen_arms(only)
        for seed in range(n_seeds if arm.is_trained else 1)
    ]
    known = known_of(runs, config, release, tested, tiers)
    for told in known.told:
        say(told)
    found: dict[str, list[Found]] = {}
    for number, (arm, seed, own) in enumerate(runs):
        progress("arms", number, len(runs))
        found.setdefault(arm.name, []).append(_measured(world, arm, seed, own))
    progress("arms", len(runs), len(runs))
    return _compared(world, known, found, n_seeds)


def _compared(world: _World, known: Known, found: dict[str, list[Found]], n_seeds: int) -> Compared:
    """Put what all runs gave into one table, and judge it."""
    import pandas as pd

    every = [one for ones in found.values() for one in ones]
    table = comparison(pd.concat([one.measures for one in every], ignore_index=True))
    if world.slides is not None:
        predicted = {arm: [one.slides for one in ones if one.slides is not None] for arm, ones in found.items()}
        table = pd.concat([table, pd.DataFrame(slide_rows(predicted, world.slides))], ignore_index=True)
    said = [*known.leakage, *(one.leakage for one in every if one.leakage)]
    leakage = "; ".join(dict.fromkeys(said)) or None
    verdict = verdict_of(table, leakage=leakage, unlike=known.unlike, doubts=known.doubts)
    notes = [*known.doubts, *known.notes]
    facts = {**_facts(world), "seeds": n_seeds, "arms": list(known.arms), "notes": notes, "leakage": leakage}
    content = write_report(world.out, table, verdict, facts)
    return Compared(world.out, content, table, sum(one.is_kept for one in every))


def _tested_on(config: AlignConfig, tested: Release, tiers: Tiers) -> AlignConfig:
    """The same with every section that is tested named, where they are not those of the split ``test`` alone."""
    if not config.evaluation_sections and tiers.splits == ("test",):
        return config
    names = {str(name) for split in tiers.splits for name in tested.index(split)["sample_id"].to_pylist()}
    return replace(config, evaluation_sections=tuple(sorted({*config.evaluation_sections, *names})))


def _check(config: AlignConfig, n_seeds: int) -> None:
    if not config.release:
        raise UsageError("A setting is missing", code="setting-missing", field="release")
    if config.weights == "random" and n_seeds > 1:
        raise UsageError(
            "A base that is drawn from the seed would be another for every seed",
            code="random-base",
            field="weights",
            expected="weights from a file, which all runs share, or one seed",
            found=f"random weights and {n_seeds} seeds",
            done="Nothing was trained",
        )


def _measured(world: _World, arm: Arm, seed: int, config: AlignConfig) -> Found:
    """Train and measure one run of an arm, unless it is there."""
    folder = folder_of(world.out, arm.name, seed)
    parts = {
        "arm": arm.name,
        "config": config_sha256(config),
        "release": release_sha256(world.release),
        "tested": release_sha256(world.tested),
        "base": world.base.base_sha256,
        "tiers": world.tiers.to_dict(),
        "slides": world.slides_told,
    }
    if (there := kept(folder, key_of(folder, parts), with_slides=world.slides is not None)) is not None:
        world.say(f"{arm.name}, seed {seed}: there already")
        return there
    world.say(f"{arm.name}, seed {seed}: {arm.what}")
    note = None
    if arm.is_trained:
        note = align(config, progress=world.progress, say=world.say).leakage
        frozen = frozen_encoder(None, adapter=Path(config.run))
    else:
        frozen = Frozen.of(world.base, "base")
    file = folder / EMBEDDINGS
    options = {"splits": world.tiers.every, "settings": world.settings, "overwrite": True, "tell": world.progress}
    embed_release(frozen, world.tested, file, **options)  # type: ignore[arg-type]
    measures = measure(file, world.tested, world.tiers, arm=arm.name, seed=seed)
    predicted = None
    if world.slides is not None:
        predicted = predict(frozen, world.slides, folder / "slides", world.settings, world.progress)
    found = Found(measures, predicted, note)
    # Now that it is trained its adapter is part of the key.
    keep(folder, key_of(folder, parts), found)
    return found


def _facts(world: _World) -> dict[str, Any]:
    """What the table stands on."""
    config, base = world.config, world.base
    pathways = world.release.manifest.get("pathways", {})
    donors = {name for split in world.tiers.splits for name in world.tested.index(split)["donor_group"].to_pylist()}
    return {
        "release": f"{world.release.version}, sha256 {release_sha256(world.release)}",
        "tested": f"{world.tested.version}, sha256 {release_sha256(world.tested)}",
        "base": f"{config.encoder}, sha256 {base.base_sha256}",
        "gene_sets": f"{pathways.get('set')}, sha256 {pathways.get('sha256')}",
        "config": f"sha256 {config_sha256(config)}",
        "donors": len(donors),
        "tiers": world.tiers.to_dict(),
        "slides": world.slides_told,
    }
