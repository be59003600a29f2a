"""How often the gates of scale and orientation refuse clean sections, and how often they refuse each fault.

Synthetic sections of ``tests/harmonize/scenes.py``: a lattice, a tissue mask and the vendor's flags from one hidden
truth; every seed has another tissue, scale and small rotation. Nothing is timed: the figures are the same anywhere.
"""

from __future__ import annotations

import json
from collections import Counter

import click
import numpy as np

from humanst.harmonize.orientation import check_orientation
from humanst.harmonize.space import check_residual, fit_lattice
from tests.harmonize.scenes import IMAGE_FAULTS, Scene, scene, with_image, with_positions, with_size


def judge(section: Scene) -> str:
    """``refused``, ``warned`` or ``passed``."""
    raw = section.raw
    fit = fit_lattice(raw.all_row_col, raw.all_xy_px, raw.lattice, raw.findings)
    if fit is not None:
        check_residual(fit, raw.lattice, raw.findings, platform=raw.platform)
        check_orientation(raw, fit, section.tissue, size_px=section.size_px)
    return "refused" if raw.findings.refused else "warned" if raw.findings.of("warn") else "passed"


def one_per_cent(xy_px: np.ndarray, seed: int) -> np.ndarray:
    """Positions with 1 % of the rows (two at least) exchanged."""
    rows = np.random.default_rng(seed).choice(len(xy_px), max(2, len(xy_px) // 100), replace=False)
    swapped = xy_px.copy()
    swapped[rows] = xy_px[np.roll(rows, 1)]
    return swapped


def versions(platform: str, seed: int) -> dict[str, Scene]:
    """The clean section and every fault of it, by name."""
    clean = scene(platform, seed)
    found = {"clean": scene(platform, seed)}
    for name, (change, turned_over) in IMAGE_FAULTS.items():
        found[f"image {name}"] = with_image(clean, change(clean.tissue.mask), turned_over=turned_over)
    found["x and y of the positions exchanged"] = with_positions(clean, clean.raw.all_xy_px[:, ::-1].copy())
    found["positions x 0.5"], found["positions x 2"] = with_size(clean, 0.5), with_size(clean, 2.0)
    found["1 % of the positions exchanged"] = with_positions(clean, one_per_cent(clean.raw.all_xy_px, seed))
    return found


@click.command()
@click.option("--sections", default=100, show_default=True, type=click.IntRange(min=1), help="Sections a platform.")
@click.option("--json", "as_json", is_flag=True, help="One document instead of a table.")
def main(sections: int, as_json: bool) -> None:
    """Print, for each platform and fault, how many sections were refused, warned of and passed."""
    table: dict[str, dict[str, Counter[str]]] = {}
    for platform in ("visium", "st"):
        counts = table.setdefault(platform, {})
        for seed in range(sections):
            for name, section in versions(platform, seed).items():
                counts.setdefault(name, Counter())[judge(section)] += 1
    if as_json:
        click.echo(json.dumps({"schema": "humanst.gates/1", "sections": sections, "platforms": table}, indent=2))
        return
    click.echo("| platform | what | refused | warned | passed |\n|---|---|---|---|---|")
    for platform, counts in table.items():
        for name, found in counts.items():
            figures = " | ".join(str(found[verdict]) for verdict in ("refused", "warned", "passed"))
            click.echo(f"| {platform} | {name} | {figures} |")


if __name__ == "__main__":
    main()
