"""One synthetic release of 300 sections, and the same pairs as other tools keep them; what loaders.py reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SECTIONS = 300
DISTINCT = 400


class World:
    """One release, and the same pairs as other tools keep them."""

    def __init__(self, folder: Path, n_pairs: int) -> None:
        from tests.load import conftest

        self.folder, self.n_pairs = folder, n_pairs
        jpgs = patches(DISTINCT)
        conftest.PATHWAYS = tuple(f"PATHWAY_{number}" for number in range(50))
        conftest._jpg = lambda number: jpgs[number % DISTINCT]
        document = conftest._document
        turn = np.random.default_rng(1).integers(0, SECTIONS, n_pairs + 1)

        def of_section(split: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
            made = document(split, number, rng)
            return made | {"sample_id": f"section_{turn[number]}"}

        conftest._document = of_section
        sizes = [min(4096, n_pairs - begin) for begin in range(0, n_pairs, 4096)]
        self.written = conftest.write_release(folder / "release", {"train": sizes})
        self.jpgs = list(self.written.jpgs.values())
        self.vectors = list(self.written.vectors.values())
        self.shards = sorted((folder / "release" / "data" / "train").glob("*.tar"))

    def hdf5(self) -> Path:
        """One file with decoded patches, a chunk each, as HEST keeps them."""
        import h5py
        import simplejpeg

        path = self.folder / "pairs.h5"
        if not path.exists():
            with h5py.File(path, "w") as file:
                images = file.create_dataset("img", (self.n_pairs, 224, 224, 3), "u1", chunks=(1, 224, 224, 3))
                for number, jpg in enumerate(self.jpgs):
                    images[number] = simplejpeg.decode_jpeg(jpg)
                file["pathways"] = np.array(self.vectors, dtype=np.float32)
        return path

    def parquet(self) -> Path:
        """The pairs as Hugging Face keeps image data sets: bytes in a column."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / "pairs.parquet"
        if not path.exists():
            images = pa.array([{"bytes": jpg, "path": None} for jpg in self.jpgs])
            vectors = pa.array([vector.tolist() for vector in self.vectors], pa.list_(pa.float32()))
            pq.write_table(pa.table({"image": images, "pathways": vectors}), path, row_group_size=1000)
        return path

    def litdata(self) -> Path:
        """The pairs in litdata's chunks, images as JPEG."""
        folder, jpgs = self.folder / "litdata", self.folder / "jpg"
        if not folder.exists():
            jpgs.mkdir()
            for number, jpg in enumerate(self.jpgs):
                (jpgs / f"{number}.jpg").write_bytes(jpg)
            np.save(self.folder / "vectors.npy", np.array(self.vectors, dtype=np.float32))
            # In a process of its own: it sets how this one's workers would start, and talks on standard output.
            code = (
                f"from benchmarks.loaders_world import pack_litdata; pack_litdata({str(self.folder)!r}, {self.n_pairs})"
            )
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(jpgs)
        return folder


def pack_litdata(folder: str, n_pairs: int) -> None:
    """Write litdata's chunks; of an image with a file it keeps the very bytes."""
    import litdata

    pack = partial(_pack, Path(folder))
    litdata.optimize(pack, list(range(n_pairs)), f"{folder}/litdata", chunk_bytes="64MB", num_workers=1)


def _pack(folder: Path, number: int) -> dict[str, Any]:
    from PIL import Image

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    return {"image": Image.open(folder / "jpg" / f"{number}.jpg"), "pathways": np.array(vectors[number])}


def patches(n: int) -> list[bytes]:
    """JPEG patches (quality 90, 4:4:4) out of a smooth random texture in H&E colours, about 25 kB each."""
    import simplejpeg
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    side_px = 2048
    fields = [gaussian_filter(rng.normal(size=(side_px, side_px)).astype(np.float32), sigma) for sigma in (1.2, 4, 24)]
    level = sum(field / field.std() * weight for field, weight in zip(fields, (0.35, 0.6, 0.8), strict=True))
    share = np.clip(0.5 + 0.28 * level, 0, 1)[..., None]
    pixels = (share * np.array([96, 58, 140]) + (1 - share) * np.array([236, 190, 214])).astype(np.uint8)
    places = rng.integers(0, side_px - 224, (n, 2))
    cut = (np.ascontiguousarray(pixels[y : y + 224, x : x + 224]) for x, y in places.tolist())
    return [simplejpeg.encode_jpeg(patch, quality=90, colorsubsampling="444") for patch in cut]
