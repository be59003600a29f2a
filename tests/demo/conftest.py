"""Three sections of the mini atlas, one a study kind, and the pixels around their spots."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from humanst.demo import DemoAtlas, write_atlas

SECTIONS = ("demo_visium_V1", "demo_visium_v1_P2", "demo_st_A1")


@pytest.fixture(scope="session")
def small_atlas(shared_tmp: Path) -> DemoAtlas:
    """Written once a run, for all worker processes; the atlas folder itself holds nothing but the atlas."""
    described = shared_tmp / "small_atlas.json"
    with FileLock(shared_tmp / "small_atlas.lock"):
        if not described.exists():
            written = asdict(write_atlas(shared_tmp / "small_atlas", sections=SECTIONS))
            described.write_text(json.dumps(written, default=str))
    fields = json.loads(described.read_text())
    return DemoAtlas(**{name: tuple(v) if isinstance(v, list) else Path(v) for name, v in fields.items()})


@pytest.fixture(scope="session")
def image_of(small_atlas: DemoAtlas) -> Callable[[str], NDArray[np.uint8]]:
    """Full-resolution RGB of a section, decoded by Pillow and tifffile, which the generator does not use."""
    found: dict[str, NDArray[np.uint8]] = {}

    def read(sample_id: str) -> NDArray[np.uint8]:
        if sample_id not in found:
            found[sample_id] = _decode(image_path(small_atlas, sample_id))
        return found[sample_id]

    return read


def image_path(atlas: DemoAtlas, sample_id: str) -> Path:
    study, section = sample_id.rsplit("_", 1)
    if study == "demo_st":
        return next((atlas.mirror / study / "data/ST-imgs").glob(f"*/{section}/*.jpg"))
    return atlas.mirror / study / section / "image.tif"


def _decode(path: Path) -> NDArray[np.uint8]:
    if path.suffix == ".tif":
        import tifffile

        return np.asarray(tifffile.imread(path, key=0))
    from PIL import Image

    return np.asarray(Image.open(path))


@pytest.fixture(scope="session")
def section_stores(demo_release: Path) -> dict[str, Path]:
    """The section stores the demo release was built from, by sample id."""
    work = demo_release.with_name(f"{demo_release.name}.work")
    return {path.stem: path for path in sorted((work / "sections").glob("*.zarr"))}
