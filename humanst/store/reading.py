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
from humanst.store.claims import check_claims
from humanst.store.writing import quiet_libraries

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

TABLE = "tables/table"


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
        ``store-changed`` when the number of files or bytes differs from the card: zarr would read a lost chunk as
        zeros; ``store-damaged`` when what is there is no section.
    HostileError
        ``store-bomb`` when its arrays claim to hold far more than is stored.
    """
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
    try:
        with quiet_libraries():
            return _read(store)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
        raise IntegrityError(
            "The section store cannot be read",
            code="store-damaged",
            section=str(card.get("sample_id")),
            file=store.name,
            expected="a store as `humanst build` wrote it",
            found=f"{type(error).__name__}: {error}"[:200],
            todo="Build it again with `humanst build`, or fetch it again",
        ) from error


def _read(store: Path) -> StoredSection:
    """Read what is read whole, in the one format that stores are written in."""
    import anndata
    import zarr

    # Consolidated metadata would be a second word on every shape, beside the arrays' own.
    root = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)
    attrs: Any = dict(root.attrs)["humanst"]
    mask = None
    if attrs["tissue"] is not None:
        mask = "labels/tissue/s0" if "labels/tissue/s0" in root else "labels/tissue/0"
    check_claims(root, store, (TABLE, mask) if mask is not None else (TABLE,))
    found: Any = root
    table = anndata.io.read_zarr(found[TABLE])
    tissue = None if mask is None else np.asarray(found[mask][...]).astype(bool)
    counts = table.X.tocsr()
    # Nothing else asks: sums over rows that end beyond the entries would read whatever lies there in memory.
    counts.check_format(full_check=True)
    return StoredSection(store, attrs, counts, table.var, table.obs, tissue)
