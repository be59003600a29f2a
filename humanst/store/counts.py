"""How a store keeps its counts: the arrays of the CSR matrix with their bytes shuffled before compression.

The first bytes of thousands of small numbers are all zero. Beside each other they take next to no room, and unpack at
several times the speed: on 15 million counts of a Visium section 18 MB in place of 27, and 0.09 s in place of 0.28.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

CHUNK_ENTRIES = 1 << 22
"""16 MiB of counts: one file for most sections, and as little memory while it is read."""


def take_counts(table: AnnData) -> csr_matrix:
    """Take the counts out of a table, which keeps its shape; :func:`write_counts` writes them."""
    from scipy.sparse import csr_matrix

    counts = table.X
    table.X = csr_matrix(counts.shape, dtype=counts.dtype)
    return counts


def write_counts(store: Path, counts: csr_matrix) -> None:
    """Write the counts of a store whose table was written without them.

    Parameters
    ----------
    store
        The zarr group of the section, with a ``tables/table`` of the counts' shape.
    counts
        ``(n_spots, n_genes)`` CSR integer counts.
    """
    import zarr
    from zarr.codecs import BloscCodec

    group = zarr.open_group(store / "tables" / "table" / "X", mode="r+")
    for name in ("data", "indices", "indptr"):
        values = getattr(counts, name)
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(max(1, min(len(values), CHUNK_ENTRIES)),),
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
            overwrite=True,
        )
        array[...] = values
