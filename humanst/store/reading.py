"""Read a committed section store back, after checking that nothing of it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, IntegrityError
from humanst.store.cards import card_path, read_card, size_of
from humanst.store.writing import quiet_libraries

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class StoredSection:
    """A section read back from its store.

    Attributes
    ----------
    attrs
        The ``humanst`` attributes: provenance, findings, drops, target geometry, picture.
    counts
        ``(n_spots, n_genes)`` CSR integer counts.
    genes, spots
        Tables indexed by Ensembl id and by spot id.
    tissue
        ``(h, w)`` bool mask, or ``None``; its scale is in ``attrs["tissue"]``.
    """

    path: Path
    attrs: Mapping[str, Any]
    counts: csr_matrix
    genes: pd.DataFrame
    spots: pd.DataFrame
    tissue: NDArray[np.bool_] | None


def open_section(store: Path) -> StoredSection:
    """Read a committed store, after checking that no file of it is missing.

    Raises
    ------
    DataError
        ``not-a-section`` for a folder without a card.
    IntegrityError
        When the number of files or bytes differs from the card: zarr would read a lost chunk as zeros.
    """
    import anndata
    import zarr

    card = read_card(store)
    if card is None:
        raise DataError(
            "This is not a finished section store",
            code="not-a-section",
            file=store.name,
            expected=f"a folder with a card {card_path(store).name}",
            found="no card",
            todo="Build it again with `humanst build`",
        )
    n_files, n_bytes = size_of(store)
    if (n_files, n_bytes) != (card["n_files"], card["n_bytes"]):
        raise IntegrityError(
            "The section store is not as it was written",
            code="store-changed",
            section=str(card.get("sample_id")),
            file=store.name,
            expected=f"{card['n_files']} files, {card['n_bytes']:,} bytes",
            found=f"{n_files} files, {n_bytes:,} bytes",
            todo="Build it again with `humanst build`",
        )
    with quiet_libraries():
        root = zarr.open_group(store, mode="r")
        table = anndata.io.read_zarr(store / "tables" / "table")
        attrs = dict(root.attrs)["humanst"]
        tissue = None
        if attrs["tissue"] is not None:
            name = "labels/tissue/s0" if "labels/tissue/s0" in root else "labels/tissue/0"
            tissue = np.asarray(root[name][...]).astype(bool)
    return StoredSection(store, attrs, table.X.tocsr(), table.var, table.obs, tissue)
