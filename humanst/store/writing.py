"""Write a section store aside, shard its rasters, and commit it with its card."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from humanst import files
from humanst.harmonize.section import Section
from humanst.store.cards import CARD_SCHEMA, card_path, tree_digest
from humanst.store.counts import take_counts, write_counts
from humanst.store.elements import StorePicture, to_spatialdata

CHUNK_PX = 256
SHARD_PX = 2048


def write_section(section: Section, path: Path, *, picture: StorePicture | None, inputs: str) -> str:
    """Write the section store at ``path`` and, last, its card ``<name>.card.json``.

    Parameters
    ----------
    inputs
        Hash of everything the store was made from; :func:`is_current` compares it.

    Returns
    -------
    str
        Digest over the store's files (paths and sha256).
    """
    import dask

    files.remove(card_path(path))
    with files.folder_aside(path) as partial:
        inner = partial / "store.zarr"
        with quiet_libraries(), dask.config.set(scheduler="synchronous"):
            whole = to_spatialdata(section, picture)
            counts = take_counts(whole["table"])
            whole.write(inner)
            write_counts(inner, counts)
            _shard_rasters(inner)
        files.hoist(inner)
    tree = tree_digest(path)
    card = {"schema": CARD_SCHEMA, "inputs": inputs, "sample_id": section.sample_id, **tree}
    files.write_json(card_path(path), card)
    return str(tree["tree_sha256"])


def _shard_rasters(store: Path) -> None:
    """Rewrite every raster array with 256 px chunks inside shards, so that a store has few files."""
    import dask.array as da
    import zarr

    for folder in sorted(path.parent for path in store.glob("*/*/*/zarr.json")):
        array = zarr.open(folder, mode="r")
        if not isinstance(array, zarr.Array) or array.ndim < 2 or folder.parent.parent.name not in ("images", "labels"):
            continue
        lead = array.shape[:-2]
        sharded = folder.with_name(f"{folder.name}.sharded")
        side = [min(SHARD_PX, -(-size // CHUNK_PX) * CHUNK_PX) for size in array.shape[-2:]]
        new = zarr.create_array(
            sharded,
            shape=array.shape,
            dtype=array.dtype,
            chunks=(*lead, CHUNK_PX, CHUNK_PX),
            shards=(*lead, *side),
            dimension_names=array.metadata.dimension_names,
            fill_value=0,
        )
        new.attrs.update(dict(array.attrs))
        da.from_zarr(folder, chunks=(*lead, *side)).store(new, lock=False)
        files.replace_folder(sharded, folder)
    zarr.consolidate_metadata(store)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence warnings that the libraries print about their own future, within the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=UserWarning)
        yield
