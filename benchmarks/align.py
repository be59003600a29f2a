"""Align a small base on synthetic donors, hold it against frozen and controls on donors it never saw, and write a page.

    python -m benchmarks.align -o docs/align_measured.md            # about 11 minutes of 2 cores
    python -m benchmarks.align -o page.md --folder F                # keeps world, base and arms for the next run

The base is `benchmarks.pretext`'s. Everything else is what a user has: `stamp-train controls` on a release that was
built from `benchmarks.align_world`. Settings were chosen on the donors of ``val``; those of ``test`` had no say.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.align_world import World, make_world
from benchmarks.pretext import write_base
from humanst.load import open_release
from stamp_train.config import AlignConfig
from stamp_train.control_report import main_lines, markdown, pathway_lines, with_interval
from stamp_train.control_tiers import Tiers, measure
from stamp_train.controls import Compared, run_controls
from stamp_train.embed import embed_release
from stamp_train.encoder import build_encoder
from stamp_train.frozen import Frozen

COMMAND = "python -m benchmarks.align -o docs/align_measured.md"
TEXTURE = "DEMO_FIBRE_TEXTURE"
BEATEN = ("frozen", "shuffled", "random-sets")
SETTINGS: dict[str, Any] = {
    "batch_size": 64,
    "sections_per_batch": 4,
    "epochs": 1000,
    "max_steps": 400,
    "learning_rate_lora": 8e-3,
    "learning_rate_heads": 4e-3,
    "weight_anchor": 0.1,
    "validate_every_steps": 100_000,
    "log_every_steps": 10,
    "jitter": 0.0,
    "workers": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the page")
    parser.add_argument("--folder", type=Path, default=None, help="keep everything here [a temporary folder]")
    parser.add_argument("--pretext-steps", type=int, default=300)
    parser.add_argument("--set", dest="changes", action="append", default=[], help="change a setting; can be repeated")
    parser.add_argument("--only", action="append", default=[], help="controls to run [all]; can be repeated")
    parser.add_argument("--split", default="test", help="whose donors are tested; val to choose settings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        text = run(folder, options)
        options.out.write_text(text)


def run(folder: Path, options: argparse.Namespace) -> str:
    """Everything, one step after the other; returns the page."""
    timed: dict[str, float] = {}

    def step(name: str, do: Callable[[], Any]) -> Any:
        print(f"{name} ...", flush=True)
        began = time.perf_counter()
        found = do()
        timed[name] = time.perf_counter() - began
        print(f"{name}: {timed[name]:.0f} s", flush=True)
        return found

    world: World = step("world", lambda: make_world(folder / "world"))
    base = folder / "base"
    if not base.exists():
        step("pretext", lambda: write_base(base, world.release, steps=options.pretext_steps))
    settings = {"release": str(world.release), "encoder": str(base), **SETTINGS}
    config = AlignConfig.from_mapping(settings).with_settings(options.changes)
    labels = world.labels if options.split == "test" else None
    tiers = Tiers((options.split,), gmt=world.gene_sets, labels=labels, domain_seeds=3)
    out = folder / f"controls-{options.split}"
    compared: Compared = step("controls", lambda: run_controls(config, out, tiers, only=options.only, say=print))
    random = step("random base", lambda: of_random_base(world, base, folder, tiers))
    return page(compared, random, timed, config)


def of_random_base(world: World, base: Path, folder: Path, tiers: Tiers) -> pd.DataFrame:
    """Measures of the same architecture with weights as they are drawn."""
    release = open_release(world.release)
    file = folder / f"random-{tiers.splits[0]}.h5"
    embed_release(Frozen.of(build_encoder(str(base), "random"), "random"), release, file, splits=tiers.splits)
    return measure(file, release, tiers, arm="random", seed=0)


def claims(table: pd.DataFrame) -> list[list[str]]:
    """What has to be shown, what came out, and whether it was hit; a line each."""
    lines = [["what has to be shown", "aligned", "the other", "paired difference", "above 0", "own intervals apart"]]
    of_part = {part: _rows(table, part) for part in ("all", TEXTURE)}
    for part, rows in of_part.items():
        ours = rows["aligned"]
        for other in (name for name in BEATEN if name in rows):
            theirs = rows[other]
            row, prefix = (ours, "minus_frozen_") if other == "frozen" else (theirs, "aligned_minus_")
            means = [with_interval(one, "") for one in (ours, theirs)]
            hits = [_hit(row[f"{prefix}low"] > 0), _hit(ours["low"] > theirs["high"])]
            lines.append([f"{_CALLED[part]}: aligned above {other}", *means, with_interval(row, prefix), *hits])
    for part, rows in of_part.items():
        if "shuffled" in rows:
            row = rows["shuffled"]
            means = ["", with_interval(row, "")]
            hit = _hit(not row["minus_frozen_low"] > 0)
            what = f"{_CALLED[part]}: shuffled does not beat frozen"
            lines.append([what, *means, with_interval(row, "minus_frozen_"), f"not above 0: {hit}", ""])
    return lines


_CALLED = {"all": "pathways", TEXTURE: "the texture-only programme"}


def _rows(table: pd.DataFrame, part: str) -> dict[str, dict[str, Any]]:
    rows = table[(table["tier"] == "pathways") & (table["part"] == part)]
    return {str(row["arm"]): row for row in rows.to_dict("records")}


def _hit(is_hit: bool) -> str:
    return "hit" if is_hit else "**missed**"


PAGE = """# Alignment, measured on donors it never saw

Made by `{command}`; nothing here is corrected by hand. {donors} synthetic donors to train on, {val} to choose settings
by, {test} to test with, a section each ({pairs} pairs to train on). What the columns mean: [controls.md](controls.md).

The programmes are painted into the image as tissue class, as colour, as texture alone, or not at all
(`DEMO_HIDDEN_FIELD` and the two `DEMO_CONTROL` sets, which nothing in an image can tell).

{claims}

Differences are paired by donor, section and pathway: what donors have in common cancels, which the arms' own intervals
cannot know. The texture-only programme is `DEMO_FIBRE_TEXTURE`.

The verdict of `stamp-train controls`, on genes: **{verdict}**

- Base: a ViT of {parameters:,} weights at {side} px, trained without labels ({pretext}); linear probes
  of pathways from it reach {frozen:.3f}, from random weights {random:.3f}; the ceiling of noise is {ceiling:.3f}.
- Alignment: {settings}. The defaults of the method otherwise; settings were chosen on the donors of `val`.
- Contrastive loss of the aligned arm: {first:.3f} at the first step (ln B = {ln_batch:.3f}), {last:.3f} at the last.
- {machine}; seconds of this run, in which what was kept of an earlier one is not made again: {timed}.

## All tiers

{table}

## Pathways one by one

{pathways}
"""


def page(compared: Compared, random: pd.DataFrame, timed: dict[str, float], config: AlignConfig) -> str:
    """The page."""
    table = compared.table
    release = open_release(config.release)
    encoder = build_encoder(config.encoder)
    rows = _rows(table, "all")
    result = json.loads((compared.out / "arms" / "aligned" / "seed-0" / "run" / "result.json").read_text())
    notes = json.loads((Path(config.encoder) / "config.json").read_text())["humanst"]
    pathways = random[random["tier"] == "pathways"]
    n_donors = {split: len(set(release.index(split)["donor_group"].to_pylist())) for split in release.splits}
    return PAGE.format(
        command=COMMAND,
        donors=n_donors["train"],
        val=n_donors["val"],
        test=n_donors["test"],
        pairs=f"{len(release.index('train')):,}",
        claims="\n".join(markdown(claims(table))),
        verdict=compared.content["verdict"]["sentence"],
        parameters=sum(parameter.numel() for parameter in encoder.model.parameters()),
        side=encoder.facts.image_px,
        pretext=f"{notes['pretext']}, {notes['steps']} steps, {notes['cpu_seconds']:.0f} s of one core",
        frozen=rows["frozen"]["mean"],
        random=pathways.groupby("donor")["value"].mean().mean(),
        ceiling=rows["frozen"]["ceiling"],
        settings=", ".join(f"{name} {getattr(config, name):g}" for name in SETTINGS if name in _TOLD),
        first=result["first"]["contrast"],
        ln_batch=result["first"]["ln_batch"],
        last=result["last"]["contrast"],
        machine=f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}",
        timed=", ".join(f"{name} {seconds:.0f} s" for name, seconds in timed.items()),
        table="\n".join(markdown(main_lines(table))),
        pathways="\n".join(markdown(pathway_lines(table))),
    )


_TOLD = (
    "jitter",
    "batch_size",
    "sections_per_batch",
    "max_steps",
    "learning_rate_lora",
    "learning_rate_heads",
    "weight_anchor",
)


if __name__ == "__main__":
    main()
