"""A synthetic cohort on the disk: bags of random features, in positive ones a few patches moved along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

WIDTH = 16


@dataclass
class Made:
    features: Path
    labels: Path
    splits: Path

    def edit_labels(self, change) -> None:
        self._edit(self.labels, change)

    def edit_splits(self, change) -> None:
        self._edit(self.splits, change)

    @staticmethod
    def _edit(path: Path, change) -> None:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        changed = change(table)
        (table if changed is None else changed).to_csv(path, index=False)


def write_slide(path: Path, features: np.ndarray, coords: np.ndarray | None = None) -> None:
    with h5py.File(path, "w") as handle:
        handle["features"] = features
        handle["coords"] = np.zeros((len(features), 2), np.int64) if coords is None else coords


def make_cohort(folder: Path, sizes: dict[str, int], *, seed: int = 0, width: int = WIDTH, signal: float = 3.0) -> Made:
    """Patients of one slide each: 8 of their 12 to 24 patches moved by ``signal``, up or down."""
    rng = np.random.default_rng(seed)
    features = folder / "features"
    features.mkdir(parents=True)
    rows = []
    for split, n in sizes.items():
        for number in range(n):
            slide, positive = f"{split}_{number:03d}", number % 2 == 1
            values = rng.normal(size=(int(rng.integers(12, 25)), width)).astype(np.float32)
            values[:8, 0] += signal if positive else -signal
            write_slide(features / f"{slide}.h5", rng.permutation(values))
            time = rng.exponential(3.0 if positive else 100.0)
            row = {"slide_id": slide, "patient_id": f"p_{slide}", "er": "positive" if positive else "negative"}
            rows.append({**row, "time": round(time, 3), "event": int(rng.random() < 0.8), "split": split})
    table = pd.DataFrame(rows).sample(frac=1, random_state=seed)
    table.drop(columns="split").to_csv(folder / "labels.csv", index=False)
    table[["slide_id", "split"]].to_csv(folder / "splits.csv", index=False)
    return Made(features, folder / "labels.csv", folder / "splits.csv")
