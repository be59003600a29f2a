"""What a run of an arm gave, kept in its folder: measures, predictions of slides, and a card that is written last.

The key of a card is a digest of all that the measures depend on: settings, releases, base, tiers and slides, the bytes
of the adapter, how measures are made, and the packages that compute them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.files import canonical_json, sha256_file, write_bytes, write_json
from stamp_train.control_table import MEASURES_VERSION
from stamp_train.merging import FOLDER, TENSORS
from stamp_train.tier_tables import write_table

if TYPE_CHECKING:
    import pandas as pd

CARD = "arm.json"
CARD_SCHEMA = "stamp_train.control_arm/2"
EMBEDDINGS, MEASURED, PREDICTED, RUN = "embeddings.h5", "measures.parquet", "slides.npy", "run"
# What embeds, fits probes and clusters: another version may give other numbers.
PACKAGES = ("torch", "timm", "numpy", "scipy", "scikit-learn", "igraph")


@dataclass(frozen=True, slots=True)
class Found:
    """What a run of an arm gave: measures, predictions of slides, a note of leakage; and whether it was there."""

    measures: pd.DataFrame
    slides: NDArray[np.float64] | None
    leakage: str | None
    is_kept: bool = False


def folder_of(out: Path, arm: str, seed: int) -> Path:
    """Where a run of an arm is kept."""
    return out / "arms" / arm / f"seed-{seed}"


def key_of(folder: Path, parts: Mapping[str, Any]) -> str:
    """Digest of all that the measures of a run depend on.

    Parameters
    ----------
    folder
        Of the run, whose adapter is hashed.
    parts
        Everything else, plain data.
    """
    how = {"measures": MEASURES_VERSION, "packages": {name: _version(name) for name in PACKAGES}}
    return hashlib.sha256(canonical_json({**parts, **how, "adapter": adapter_sha256(folder)})).hexdigest()


def adapter_sha256(folder: Path) -> str | None:
    """Digest of the adapter of a run; None where there is none."""
    file = folder / RUN / FOLDER / TENSORS
    return sha256_file(file) if file.is_file() else None


def keep(folder: Path, key: str, found: Found) -> None:
    """Write what a run of an arm gave, the card last."""
    digests = {MEASURED: write_table(folder / MEASURED, found.measures)}
    if found.slides is not None:
        buffer = io.BytesIO()
        np.save(buffer, found.slides, allow_pickle=False)
        digests[PREDICTED] = write_bytes(folder / PREDICTED, buffer.getvalue())
    card = {"schema": CARD_SCHEMA, "key": key, "sha256": digests, "leakage": found.leakage}
    write_json(folder / CARD, {**card, "adapter_sha256": adapter_sha256(folder)})


def kept(folder: Path, key: str, *, with_slides: bool) -> Found | None:
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
    return Found(pd.read_parquet(folder / MEASURED), predicted, card.get("leakage"), is_kept=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
