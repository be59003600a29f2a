"""Pairs by number: a map-style dataset over a release on local disk, exact under any sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from humanst.load.batch import Batch, Pair
from humanst.load.corrupt import MAX_CORRUPT
from humanst.load.index import row_number
from humanst.load.order import find_worker
from humanst.load.pairs import PairReader, PairSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import anndata
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from humanst.load.release import Release


class PairDataset(PairSource):
    """The pairs of one split, each read where the index says it lies.

    A map-style dataset for ``torch.utils.data.DataLoader`` (which asks for ``__len__`` and ``__getitem__`` only), and
    a plain Python sequence without torch. Numbers follow the order of the shards, in which pairs were shuffled when
    the release was built.

    Parameters
    ----------
    release
        A release folder or an opened release.
    split
        Name of the split, for example ``"train"``.
    where
        Keep the pairs this expression is true for, over columns of the index and facts of the sections, for example
        ``"platform == 'visium' and tissue_fraction > 0.5"`` or ``"organ == 'breast'"``.
    transform
        Called with each (side_px, side_px, 3) uint8 image; its result takes the image's place.
    verify
        Compare size and sha256 of each shard with the manifest when it is first opened in a process.
    check_members
        Also compare every member with its own hash in the index, each time it is read.
    max_corrupt
        Share of pairs that batches may lack because they cannot be decoded: each is named in a warning, and one more
        ends the run. ``dataset[i]`` never leaves a pair out.
    targets
        Further target sets of the release to give beside the pathways, for example ``("counts", "hvg-1000")``.

    Raises
    ------
    DataError
        When the folder is no release, or index and manifest do not fit.
    IntegrityError
        When the index, or later a shard, is not the one on record.
    UsageError
        For an unknown split or an expression that cannot be used.

    Examples
    --------
    >>> dataset = PairDataset("humanst-1.0.0", "train")  # doctest: +SKIP
    >>> dataset[0]["image"].shape  # doctest: +SKIP
    (224, 224, 3)
    """

    def __init__(
        self,
        release: str | Path | Release,
        split: str,
        *,
        where: str | None = None,
        transform: Callable[[NDArray[np.uint8]], Any] | None = None,
        verify: bool = True,
        check_members: bool = False,
        max_corrupt: float = MAX_CORRUPT,
        targets: Sequence[str] = (),
    ) -> None:
        self._reader = PairReader(
            release,
            split,
            where=where,
            transform=transform,
            verify=verify,
            check_members=check_members,
            max_corrupt=max_corrupt,
            targets=targets,
        )
        self.split = split

    @property
    def source(self) -> str:
        """Identity of the selected rows, for samplers whose state is saved."""
        return self._reader.source

    @property
    def table(self) -> pa.Table:
        """The selected rows of the index, all columns; row i belongs to ``dataset[i]``."""
        return self._reader.rows.table

    @property
    def metadata(self) -> pd.DataFrame:
        """What the index says about each pair; row i belongs to ``dataset[i]``."""
        return self._reader.rows.to_pandas()

    def pathways(self) -> NDArray[np.float32]:
        """Read the targets of all pairs and none of their images.

        Returns
        -------
        ndarray
            (n, P) float32, z per section; NaN where unmeasured.

        Raises
        ------
        IntegrityError, DataError, HostileError
            Naming shard and key.
        """
        return self._reader.vectors()

    def to_anndata(self) -> anndata.AnnData:
        """Give all pairs without their images.

        Returns
        -------
        anndata.AnnData
            ``X``: (n, P) float32, NaN where unmeasured; ``obs``: the row of the index and the facts of the section,
            by key; ``obsm["spatial"]``: (x, y) in um.

        Raises
        ------
        IntegrityError, DataError, HostileError
            See :meth:`pathways`.
        """
        from humanst.load.as_anndata import to_anndata

        return to_anndata(self)

    def __len__(self) -> int:
        return len(self._reader.rows)

    def __getitem__(self, index: int) -> Pair:
        return self._reader.pair(row_number(index, len(self)))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Read a batch, as ``DataLoader`` asks for it: without the pairs that are corrupt, while these are few.

        Raises
        ------
        IntegrityError
            ``too-many-corrupt``, or when a shard is not the one on record.
        """
        rows = [row_number(index, len(self)) for index in indices]
        return self._reader.build(rows, len(self) // find_worker()[1]).done()
