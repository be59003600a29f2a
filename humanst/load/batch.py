"""Several pairs as arrays: decoded into one block of memory, so that making a batch copies no pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypedDict, overload

import numpy as np

from humanst.load.decode import split_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

Empty = Callable[[tuple[int, ...]], "tuple[NDArray[np.uint8], Any]"]
"""Makes a uint8 array of a shape, and what else holds its memory."""


class Pair(TypedDict):
    """What both front ends give for one pair.

    Attributes
    ----------
    image
        (side_px, side_px, 3) uint8, RGB; or what ``transform`` made of it.
    pathways
        (P,) float32, z per section; 0 where unmeasured.
    mask
        (P,) bool, true where measured.
    log10_counts_z
        float32, library size, z per section.
    label
        Organ code, named in ``Release.organs``.
    key, uid
        ``<sample_id>_<spot>``, and the id that stays the same over re-sharding.
    metadata
        The pair's row of the index, without the columns that only locate bytes.
    targets, target_masks
        Of further target sets that were asked for: name to (C,) values, 0 where unmeasured, and (C,) bool.
    """

    image: Any
    pathways: NDArray[np.float32]
    mask: NDArray[np.bool_]
    log10_counts_z: np.float32
    label: int
    key: str
    uid: str
    metadata: dict[str, Any]
    targets: dict[str, NDArray[Any]]
    target_masks: dict[str, NDArray[np.bool_]]


class Batch(Sequence[Pair]):
    """B pairs: a sequence of :class:`Pair` whose arrays are views of the batch's.

    Attributes
    ----------
    images
        (B, side_px, side_px, 3) uint8, RGB; or a list of what ``transform`` made of them.
    holder
        What else is known of the memory of ``images``: in a worker, the place of their slot.
    pathways, mask
        (B, P) float32 and bool, as in :class:`Pair`.
    labels
        (B,) int64.
    columns
        The describing columns of the index: name to (B,) numbers or a list of text.
    targets, target_masks
        Name of a further target set to (B, C) values and bool.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | list[Any],
        holder: Any,
        vectors: NDArray[np.float32],
        labels: list[int],
        columns: dict[str, NDArray[Any] | list[str]],
        targets: dict[str, tuple[NDArray[Any], NDArray[np.bool_]]],
    ) -> None:
        self.images, self.holder = images, holder
        self.pathways, self.mask = split_targets(vectors)
        self.labels = np.array(labels, dtype=np.int64)
        self.columns = columns
        self.targets = {name: values for name, (values, _) in targets.items()}
        self.target_masks = {name: mask for name, (_, mask) in targets.items()}

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Self:
        """Stack pairs that were read one by one."""
        batch = cls.__new__(cls)
        images = [pair["image"] for pair in pairs]
        plain = all(isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 for image in images)
        batch.images, batch.holder = np.stack(images) if plain and images else images, None
        batch.pathways = np.array([pair["pathways"] for pair in pairs], dtype=np.float32)
        batch.mask = np.array([pair["mask"] for pair in pairs], dtype=np.bool_)
        batch.labels = np.array([pair["label"] for pair in pairs], dtype=np.int64)
        for kind in ("targets", "target_masks"):
            sets = pairs[0][kind] if pairs else {}
            setattr(batch, kind, {name: np.stack([pair[kind][name] for pair in pairs]) for name in sets})
        names = pairs[0]["metadata"] if pairs else {}
        columns = {name: [pair["metadata"][name] for pair in pairs] for name in names}
        batch.columns = {name: _column(values) for name, values in columns.items()}
        return batch

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        metadata = {name: _plain(values[index]) for name, values in self.columns.items()}
        return Pair(
            image=self.images[index],
            pathways=self.pathways[index],
            mask=self.mask[index],
            log10_counts_z=np.float32(metadata["log10_counts_z"]),
            label=int(self.labels[index]),
            key=metadata["key"],
            uid=metadata["uid"],
            metadata=metadata,
            targets={name: values[index] for name, values in self.targets.items()},
            target_masks={name: mask[index] for name, mask in self.target_masks.items()},
        )


def _column(values: list[Any]) -> NDArray[Any] | list[str]:
    return np.array(values) if all(isinstance(value, int | float) for value in values) else values


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
