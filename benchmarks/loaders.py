"""Pairs a second of ways to read the same 10,000 pairs, beside the limits: decoding from memory, and raw reads.

The patches are cut from one synthetic H&E texture, 300 sections, shuffled as a build shuffles them. Every way gives
batches of 256 uint8 images with their targets in an order of its own; one way after the other, in several rounds. The
limit is measured right before and right after each way, for a machine's speed changes within a run; a way's share is
that of the mean of the two.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loaders_ways import BATCH, WAYS
from benchmarks.loaders_world import SECTIONS, World
from humanst.load.order import available_cpus

LIMIT_PAIRS = 1536
STATES = ("cold", "warm")


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


class Limit:
    """What no way can pass: decoding the pairs' own bytes, held in memory, into batches; on one core and on all."""

    def __init__(self, world: World) -> None:
        # Of each pair its own bytes: the processor's cache would hold those of the few different patches.
        self.jpgs = [bytes(bytearray(jpg)) for jpg in world.jpgs[:LIMIT_PAIRS]]
        self.rooms = np.zeros((4 * BATCH, 224, 224, 3), np.uint8)
        self.n_cores = available_cpus()
        self.crew = multiprocessing.get_context("fork").Pool(self.n_cores, _take_part, (self,))
        self.pairs_per_s()

    def pairs_per_s(self) -> tuple[float, float]:
        """Measure it now."""
        start = time.perf_counter()
        self.decode(0)
        one = time.perf_counter() - start
        start = time.perf_counter()
        self.crew.map(_decode, range(self.n_cores), chunksize=1)
        every = time.perf_counter() - start
        return len(self.jpgs) / one, len(self.jpgs) * self.n_cores / every

    def decode(self, _: int) -> None:
        import simplejpeg

        for number, jpg in enumerate(self.jpgs):
            simplejpeg.decode_jpeg(jpg, buffer=self.rooms[number % len(self.rooms)])


def _take_part(limit: Limit) -> None:
    global _limit
    _limit = limit


def _decode(number: int) -> None:
    _limit.decode(number)


def raw_reads(world: World) -> int:
    for shard in world.shards:
        with shard.open("rb", buffering=0) as handle:
            while handle.read(1 << 20):
                pass
    return world.n_pairs


def measure(world: World, options: argparse.Namespace) -> dict[str, Any]:
    limit = Limit(world)
    ready: dict[str, Callable[[], int]] = {"raw reads": partial(raw_reads, world)}
    missing = {}
    for name, way in WAYS.items():
        for workers in options.workers if not options.only or name.startswith(tuple(options.only)) else ():
            try:
                ready[f"{name}, {workers} workers"] = partial(consume, way(world, workers))
            except ImportError as error:
                missing[name] = str(error)
    found: dict[str, dict[str, list[list[float]]]] = {name: {state: [] for state in STATES} for name in ready}
    for number in range(options.rounds + 1):
        for state in STATES:
            before = limit.pairs_per_s()
            for name, run in ready.items():
                rate, after = timed(world, name, run, forgotten=state == "cold"), limit.pairs_per_s()
                if number:  # The first round starts workers and fills caches.
                    one, every = ((a + b) / 2 for a, b in zip(before, after, strict=True))
                    found[name][state].append([rate, rate / one, rate / every, one, every])
                before = after
    return {
        "pairs": world.n_pairs,
        "jpg_bytes": statistics.mean(map(len, world.jpgs)),
        "cores": limit.n_cores,
        "ways": {name: {state: summary(rounds) for state, rounds in of.items()} for name, of in found.items()},
        "missing": missing,
        "sections_a_batch": shuffle_quality(world),
    }


def timed(world: World, name: str, run: Callable[[], int], *, forgotten: bool) -> float:
    """Pairs a second of one epoch."""
    if forgotten:
        forget(world.folder)
    start = time.perf_counter()
    n = run()
    taken = time.perf_counter() - start
    if n != world.n_pairs:
        raise SystemExit(f"{name} gave {n} of {world.n_pairs} pairs")
    return n / taken


FIGURES = ("pairs_per_s", "of_one_core", "of_all_cores", "limit_one_core", "limit_all_cores")


def summary(rounds: list[list[float]]) -> dict[str, Any]:
    medians = dict(zip(FIGURES, (statistics.median(values) for values in zip(*rounds, strict=True)), strict=True))
    return {**medians, "range_of_one_core": [min(row[1] for row in rounds), max(row[1] for row in rounds)]}


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
    warm = [of["warm"] for of in told["ways"].values()]
    one, every = (statistics.median(way[f"limit_{cores}"] for way in warm) for cores in ("one_core", "all_cores"))
    lines = [
        f"{told['pairs']:,} pairs, JPEGs of {told['jpg_bytes']:,.0f} bytes",
        f"Decoding from memory: {one:,.0f} pairs/s on one core, {every:,.0f} on {told['cores']} ({every / one:.2f} x)",
        "Median pairs/s; its share of the limit of one core (lowest and highest round), and of all cores",
    ]
    for name, states in told["ways"].items():
        for state in ("warm", "cold"):
            of = states[state]
            low, high = of["range_of_one_core"]
            shares = f"{of['of_one_core']:7.0%} ({low:.0%} to {high:.0%})".ljust(26) + f"{of['of_all_cores']:7.0%}"
            lines.append(f"{name:36} {state}  {of['pairs_per_s']:10,.0f}  {shares}")
    lines += [f"{name}: not installed ({error})" for name, error in told["missing"].items()]
    lines.append(f"distinct sections in a batch of {BATCH}: {told['sections_a_batch']:.0f} of {SECTIONS}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
