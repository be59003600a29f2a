"""``controls``: every arm trained and measured, then compared in one table under a verdict.

Each run of an arm has a folder below ``arms/`` that keeps what it made, and a card that is written last. A run whose
card says that it was made with these settings, of this base and release, is not done again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import UsageError
from humanst.files import canonical_json, sha256_file, write_bytes, write_json
from stamp_train.align import align
from stamp_train.align_data import TRAIN
from stamp_train.config import AlignConfig
from stamp_train.control_arms import Arm, chosen_arms, config_of
from stamp_train.control_report import write_report
from stamp_train.control_slides import SlideTier, predict, slide_rows
from stamp_train.control_table import comparison, verdict_of
from stamp_train.control_tiers import Tiers, measure
from stamp_train.embed import embed_release
from stamp_train.embed_work import Settings
from stamp_train.encoder import encoder_of
from stamp_train.frozen import Frozen, frozen_encoder
from stamp_train.guard import check_leakage
from stamp_train.merging import merged_before
from stamp_train.ranks import find_device
from stamp_train.run_facts import config_sha256
from stamp_train.tier_notes import adapters_of, release_sha256

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.release import Release
    from stamp_train.encoder import Encoder

CARD = "arm.json"
CARD_SCHEMA = "stamp_train.control_arm/1"
EMBEDDINGS, MEASURED, PREDICTED, RUN = "embeddings.h5", "measures.parquet", "slides.npy", "run"
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What a run of an arm gave: measures, predictions of slides, a note of leakage; and whether it was there."""

    measures: pd.DataFrame
    slides: NDArray[np.float64] | None
    leakage: str | None
    is_kept: bool = False


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
        ``leakage`` when sections of the evaluation, or of the splits that are tested, are trained on.
    HumanstError
        See :func:`stamp_train.align.align`, :func:`stamp_train.embed.embed_release` and
        :func:`stamp_train.control_tiers.measure`.
    """
    import pandas as pd

    from humanst.load import open_release

    _check(config, n_seeds)
    release = open_release(config.release)
    tested = release if config.evaluation_release is None else open_release(config.evaluation_release)
    config = _tested_on(config, tested, tiers)
    # Every run asks this as well; here it is said before the frozen base is measured.
    asked = (config.evaluation_sections, config.evaluation_groups, config.allow_leakage)
    check_leakage(release, TRAIN, *asked, evaluation=None if tested is release else tested)
    settings = Settings(device=str(find_device(config.device)))
    # Slides are large: they are hashed once.
    told = None if slides is None else slides.to_dict()
    world = _World(config, release, tested, encoder_of(config), tiers, out, settings, slides, told, say, progress)
    # All target sets are looked for before the first arm is trained.
    runs = [
        (arm, seed, config_of(arm, config, release, seed=seed, run=str(_folder(out, arm, seed) / RUN)))
        for arm in chosen_arms(only)
        for seed in range(n_seeds if arm.is_trained else 1)
    ]
    found: dict[str, list[_Found]] = {}
    for number, (arm, seed, own) in enumerate(runs):
        progress("arms", number, len(runs))
        found.setdefault(arm.name, []).append(_measured(world, arm, seed, own))
    progress("arms", len(runs), len(runs))
    every = [one for ones in found.values() for one in ones]
    table = comparison(pd.concat([one.measures for one in every], ignore_index=True))
    if slides is not None:
        predicted = {arm: [one.slides for one in ones if one.slides is not None] for arm, ones in found.items()}
        table = pd.concat([table, pd.DataFrame(slide_rows(predicted, slides))], ignore_index=True)
    said = [*leakage_of_base(config), *(one.leakage for one in every if one.leakage)]
    leakage = "; ".join(dict.fromkeys(said)) or None
    content = write_report(out, table, verdict_of(table, leakage=leakage), _facts(world, n_seeds, leakage))
    return Compared(out, content, table, sum(one.is_kept for one in every))


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


def leakage_of_base(config: AlignConfig) -> list[str]:
    """What a base that was aligned and merged before says of leakage then."""
    merged = {"encoder": {"adapter": merged_before(config.encoder, config.weights)}}
    return [f"The base was aligned before: {said}" for one in adapters_of(merged) if (said := one.get("leakage"))]


def _folder(out: Path, arm: Arm, seed: int) -> Path:
    return out / "arms" / arm.name / f"seed-{seed}"


def _measured(world: _World, arm: Arm, seed: int, config: AlignConfig) -> _Found:
    """Train and measure one run of an arm, unless it is there."""
    folder, key = _folder(world.out, arm, seed), _key(world, arm, config)
    if (kept := _kept(folder, key, with_slides=world.slides is not None)) is not None:
        world.say(f"{arm.name}, seed {seed}: there already")
        return kept
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
    _keep(folder, key, measures, predicted, note)
    return _Found(measures, predicted, note)


def _keep(
    folder: Path, key: str, measures: pd.DataFrame, predicted: NDArray[np.float64] | None, leakage: str | None
) -> None:
    """Write what a run of an arm gave, the card last."""
    buffer = io.BytesIO()
    measures.to_parquet(buffer, index=False)
    digests = {MEASURED: write_bytes(folder / MEASURED, buffer.getvalue())}
    if predicted is not None:
        buffer = io.BytesIO()
        np.save(buffer, predicted, allow_pickle=False)
        digests[PREDICTED] = write_bytes(folder / PREDICTED, buffer.getvalue())
    write_json(folder / CARD, {"schema": CARD_SCHEMA, "key": key, "sha256": digests, "leakage": leakage})


def _key(world: _World, arm: Arm, config: AlignConfig) -> str:
    """Digest of all that the measures of a run depend on."""
    parts = {
        "arm": arm.name,
        "config": config_sha256(config),
        "release": release_sha256(world.release),
        "tested": release_sha256(world.tested),
        "base": world.base.base_sha256,
        "tiers": world.tiers.to_dict(),
        "slides": world.slides_told,
    }
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def _kept(folder: Path, key: str, *, with_slides: bool) -> _Found | None:
    """What a run gave that was made with this key, if it is whole."""
    import pandas as pd

    try:
        card = json.loads((folder / CARD).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(card, dict) or card.get("key") != key or not isinstance(card.get("sha256"), dict):
        return None
    for name in (MEASURED, *([PREDICTED] if with_slides else [])):
        if not (folder / name).is_file() or sha256_file(folder / name) != card["sha256"].get(name):
            return None
    predicted = np.load(folder / PREDICTED, allow_pickle=False) if with_slides else None
    return _Found(pd.read_parquet(folder / MEASURED), predicted, card.get("leakage"), is_kept=True)


def _facts(world: _World, n_seeds: int, leakage: str | None) -> dict[str, Any]:
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
        "seeds": n_seeds,
        "donors": len(donors),
        "tiers": world.tiers.to_dict(),
        "slides": world.slides_told,
        "leakage": leakage,
    }
