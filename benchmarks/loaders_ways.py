"""Ways to read the pairs of a world in batches, each as its own documentation has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.loaders_world import World

BATCH = 256


def humanst(world: World, workers: int, *, stream: bool) -> Callable[[], Iterator[Any]]:
    from humanst.load import dataloader

    loader = dataloader(world.folder / "release", BATCH, workers=workers, stream=stream)
    return lambda: (batch["image"] for batch in loader)


def webdataset(world: World, workers: int) -> Callable[[], Iterator[Any]]:
    import webdataset as wds  # noqa: TID251

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
