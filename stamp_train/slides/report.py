"""An evaluation as one JSON, one CSV, the predictions behind both, the weights, and a table for a person."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from humanst import __version__
from humanst.files import sha256_file, write_bytes, write_json, write_with
from stamp_train.slides.abmil import ABMIL, n_parameters
from stamp_train.slides.data import TRAIN
from stamp_train.slides.evaluate import Evaluation, Figures
from stamp_train.slides.pairs import FEWEST_PATIENTS

SCHEMA = "stamp_train.slides/1"
SEEDS_NOTE = (
    "All seeds share one split and one test set: their spread says how much training varies, "
    "not how sure the figure is. The interval draws patients."
)


def as_dict(result: Evaluation, labels: Path, splits: Path) -> dict[str, Any]:
    """The evaluation as plain data for JSON; the same inputs give the same bytes on one machine."""
    cohort, bags = result.cohort, result.bags
    n_outputs = result.runs[0].weights["head.bias"].shape[0]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "task": {
            "name": result.task.name,
            "title": result.task.title,
            "kind": result.task.kind,
            "column": result.task.column,
            "time_column": result.task.time_column,
            "classes": list(result.classes),
            "needs": result.task.needs,
        },
        "model": {
            "name": "abmil-gated" if result.settings.gated else "abmil",
            "n_features": bags.width,
            "n_outputs": n_outputs,
            "n_parameters": n_parameters(ABMIL(bags.width, n_outputs, gated=result.settings.gated)),
        },
        "training": asdict(result.settings),
        "bag": result.bag,
        "inputs": {
            "labels_sha256": sha256_file(labels),
            "splits_sha256": sha256_file(splits),
            "features_sha256": bags.sha256,
            "n_slides": sum(len(slides) for slides in cohort.slides),
            "n_patches": int(bags.n_patches.sum()),
            "n_slides_unlabelled": cohort.n_unlabelled,
            "n_slides_unused": cohort.n_unused,
            "n_bags": {name: cohort.splits.count(name) for name in sorted(set(cohort.splits))},
        },
        "metric": result.metric,
        "seeds": [
            {"seed": run.seed, "epochs": run.epochs, "best_epoch": run.best_epoch, "validation": run.validation}
            for run in result.runs
        ],
        "cohorts": [_figures(figures) for figures in result.figures],
        "notes": notes(result),
    }


def notes(result: Evaluation) -> list[str]:
    """What a reader must know beside the figures."""
    said = [SEEDS_NOTE, *(f"LEAKAGE at training: {one}" for one in result.bags.leakage)]
    for figures in result.figures:
        if figures.interval is None and figures.n_patients < FEWEST_PATIENTS:
            said.append(f"{figures.cohort}: too few patients ({figures.n_patients}), no interval.")
        elif figures.interval is None:
            said.append(f"{figures.cohort}: no interval; it was not asked for, or a class is too rare to draw.")
    return said


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "cohort": figures.cohort,
        "n_bags": figures.n_bags,
        "n_patients": figures.n_patients,
        "counts": figures.counts,
        "by_seed": list(figures.by_seed),
        "mean": figures.mean,
        "sd_over_seeds": figures.sd,
        "interval": None if figures.interval is None else {**asdict(figures.interval), "unit": "patient"},
        "patches_alone": figures.patches_alone,
    }


def figures_csv(result: Evaluation) -> str:
    """One line a cohort: task, model, metric, counts, mean, spread, interval, each seed, notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    seeds = [f"seed_{run.seed}" for run in result.runs]
    head = ["task", "model", "cohort", "metric", "n_bags", "n_patients", "mean", "sd_over_seeds"]
    writer.writerow([*head, "interval_low", "interval_high", "patches_alone", *seeds, "notes"])
    said = " ".join(notes(result))
    model = "abmil-gated" if result.settings.gated else "abmil"
    for figures in result.figures:
        interval = ("", "") if figures.interval is None else (figures.interval.low, figures.interval.high)
        alone = "" if figures.patches_alone is None else figures.patches_alone
        first = [result.task.name, model, figures.cohort, result.metric, figures.n_bags, figures.n_patients]
        writer.writerow([*first, figures.mean, figures.sd, *interval, alone, *figures.by_seed, said])
    return text.getvalue()


def predictions_csv(result: Evaluation) -> str:
    """One line a seed and bag outside training: what a paired comparison of two runs needs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"p_{name}" for name in result.classes] or ["risk"]
    writer.writerow(["seed", "bag", "patient_id", "split", "label", "time", *columns])
    cohort = result.cohort
    for run in result.runs:
        for row, name in enumerate(cohort.names):
            if cohort.splits[row] != TRAIN:
                time = "" if result.classes else cohort.times[row]
                about = [name, cohort.patients[row], cohort.splits[row], cohort.labels[row], time]
                writer.writerow([run.seed, *about, *run.predictions[row].tolist()])
    return text.getvalue()


def write(result: Evaluation, labels: Path, splits: Path, folder: Path) -> dict[str, Any]:
    """Write weights, predictions, ``slides.csv`` and last ``slides.json`` into a folder; returns what the JSON says."""
    from safetensors.torch import save_file

    content = as_dict(result, labels, splits)
    about = {"task": json.dumps(content["task"]), "model": json.dumps(content["model"])}
    for run in result.runs:
        path = folder / "weights" / f"seed-{run.seed}.safetensors"
        write_with(path, lambda partial, weights=run.weights: save_file(weights, partial, metadata=about))  # type: ignore[misc]
    write_bytes(folder / "predictions.csv", predictions_csv(result).encode())
    write_bytes(folder / "slides.csv", figures_csv(result).encode())
    write_json(folder / "slides.json", content)
    return content


def table(content: dict[str, Any]) -> list[list[str]]:
    """The figures as lines of cells, the first one naming the columns."""
    lines = [["cohort", "bags", "patients", content["metric"], "sd seeds", "95 % interval", "patches alone"]]
    for figures in content["cohorts"]:
        interval = figures["interval"]
        alone = figures["patches_alone"]
        lines.append(
            [
                figures["cohort"],
                f"{figures['n_bags']:,}",
                f"{figures['n_patients']:,}",
                f"{figures['mean']:.3f}",
                f"{figures['sd_over_seeds']:.3f}",
                "-" if interval is None else f"{interval['low']:.3f} to {interval['high']:.3f}",
                "-" if alone is None else f"{alone:.3f}",
            ]
        )
    return lines
