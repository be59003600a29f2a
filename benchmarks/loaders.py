"""Pairs a second of ways to read the same 10,000 pairs, beside the two limits: decoding from memory, and raw reads.

The patches are cut from one synthetic H&E texture, 300 sections, shuffled as a build shuffles them. Every way gives
batches of 256 uint8 images with their targets in an order of its own; one way after the other, in several rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 256
SECTIONS = 300
DISTINCT = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", help="names of ways, by their beginning")
    parser.add_argument("--folder", type=Path, default=None, help="where the files go [a temporary folder]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        world = World(Path(folder), options.pairs)
        told = measure(world, options)
    print(json.dumps(told, indent=2) if options.json else table(told))


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
            code = f"from benchmarks.loaders import pack_litdata; pack_litdata({str(self.folder)!r}, {self.n_pairs})"
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


def decode_limit(world: World, jpgs: list[bytes], rooms: NDArray[np.uint8]) -> int:
    """Decode the bytes of every pair, each its own, into rooms taken in turn."""
    import simplejpeg

    for number, jpg in enumerate(jpgs):
        simplejpeg.decode_jpeg(jpg, buffer=rooms[number % len(rooms)])
    return len(world.jpgs)


def read_limit(world: World) -> int:
    for shard in world.shards:
        with shard.open("rb", buffering=0) as handle:
            while handle.read(1 << 20):
                pass
    return world.n_pairs


def humanst(world: World, workers: int, *, stream: bool) -> Callable[[], Iterator[Any]]:
    from humanst.load import dataloader

    loader = dataloader(world.folder / "release", BATCH, workers=workers, stream=stream)
    return lambda: (batch["image"] for batch in loader)


def webdataset(world: World, workers: int) -> Callable[[], Iterator[Any]]:
    import webdataset as wds

    urls = [str(shard) for shard in world.shards]
    dataset = wds.WebDataset(urls, shardshuffle=len(urls), empty_check=False).shuffle(1000).decode("rgb8")
    dataset = dataset.to_tuple("jpg", "pathway.npy", "json").batched(BATCH)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (batch[0] for batch in loader)


def hf_parquet(world: World, workers: int) -> Callable[[], Iterator[Any]]:
    from datasets import Dataset, Image
    from torch.utils.data import DataLoader

    cache = str(world.folder / "hf")
    dataset = Dataset.from_parquet(str(world.parquet()), cache_dir=cache).cast_column("image", Image())
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    loader = DataLoader(dataset.with_format("torch"), BATCH, shuffle=True, **options)
    return lambda: (batch["image"] for batch in loader)


def litdata(world: World, workers: int) -> Callable[[], Iterator[Any]]:
    import litdata as lit

    dataset = lit.StreamingDataset(str(world.litdata()), shuffle=True, drop_last=False)
    loader = lit.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (batch["image"] for batch in loader)


class _Hdf5:
    def __init__(self, path: Path, n: int) -> None:
        self._path, self._n, self._file = path, n, None

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, number: int) -> Any:
        import h5py

        if self._file is None:
            self._file = h5py.File(self._path, "r")
        return self._file["img"][number], self._file["pathways"][number]


def hdf5(world: World, workers: int) -> Callable[[], Iterator[Any]]:
    from torch.utils.data import DataLoader

    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    loader: Any = DataLoader(_Hdf5(world.hdf5(), world.n_pairs), BATCH, shuffle=True, **options)
    return lambda: (batch[0] for batch in loader)


WAYS: dict[str, Callable[[World, int], Callable[[], Iterator[Any]]]] = {
    "humanst PairDataset": partial(humanst, stream=False),
    "humanst PairStream": partial(humanst, stream=True),
    "webdataset": webdataset,
    "HF datasets, parquet": hf_parquet,
    "litdata": litdata,
    "one HDF5 file (no JPEG)": hdf5,
}
DECODE = "limit: decode from memory"


def limits(world: World) -> dict[str, Callable[[], int]]:
    """What no way can pass: decoding the pairs' own bytes into batches, the same into one place, and reading alone."""
    own = [bytes(bytearray(jpg)) for jpg in world.jpgs]
    batches = np.zeros((4 * BATCH, 224, 224, 3), np.uint8)
    return {
        DECODE: partial(decode_limit, world, own, batches),
        "the same, into one place": partial(decode_limit, world, world.jpgs, batches[:1]),
        "limit: raw reads": partial(read_limit, world),
    }


def measure(world: World, options: argparse.Namespace) -> dict[str, Any]:
    chosen = {name: way for name, way in WAYS.items() if not options.only or name.startswith(tuple(options.only))}
    ready = limits(world)
    missing = {}
    for name, way in chosen.items():
        for workers in options.workers:
            try:
                ready[f"{name}, {workers} workers"] = partial(consume, way(world, workers))
            except ImportError as error:
                missing[name] = str(error)
    rates: dict[str, dict[str, list[float]]] = {name: {"warm": [], "cold": []} for name in ready}
    for number in range(options.rounds + 1):
        for state in ("cold", "warm"):
            for name, run in ready.items():
                if state == "cold":
                    forget(world.folder)
                start = time.perf_counter()
                n = run()
                taken = time.perf_counter() - start
                if n != world.n_pairs:
                    raise SystemExit(f"{name} gave {n} of {world.n_pairs} pairs")
                if number:  # The first round starts workers and fills caches.
                    rates[name][state].append(n / taken)
    medians = {name: {state: statistics.median(found) for state, found in of.items()} for name, of in rates.items()}
    return {"pairs": world.n_pairs, "jpg_bytes": statistics.mean(map(len, world.jpgs)), "pairs_per_s": medians} | {
        "rounds": rates,
        "missing": missing,
        "sections_a_batch": shuffle_quality(world),
    }


def consume(batches: Callable[[], Iterator[Any]]) -> int:
    """Read an epoch, and look at each batch as a training step would."""
    n = 0
    for images in batches():
        if images.dtype not in (np.uint8, _uint8()):
            raise SystemExit(f"images of {images.dtype}")
        n += len(images)
    return n


def _uint8() -> Any:
    import torch

    return torch.uint8


def forget(folder: Path) -> None:
    """Drop the files from the page cache, as far as the system lets one."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def shuffle_quality(world: World) -> float:
    """Mean number of distinct sections in a batch of the stream."""
    from humanst.load import dataloader

    loader = dataloader(world.folder / "release", BATCH, workers=0, stream=True)
    found = [len(set(batch["metadata"]["sample_id"])) for batch in loader if len(batch["key"]) == BATCH]
    return statistics.mean(found)


def table(told: dict[str, Any]) -> str:
    decode = told["pairs_per_s"][DECODE]["warm"]
    lines = [f"{told['pairs']} pairs, JPEGs of {told['jpg_bytes']:,.0f} bytes; pairs/s, median (of the decode limit)"]
    for name, rates in told["pairs_per_s"].items():
        shares = "   ".join(f"{state} {rate:8,.0f} ({rate / decode:5.0%})" for state, rate in rates.items())
        lines.append(f"{name:36} {shares}")
    lines += [f"{name}: not installed ({error})" for name, error in told["missing"].items()]
    lines.append(f"distinct sections in a batch of {BATCH}: {told['sections_a_batch']:.0f} of {SECTIONS}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
