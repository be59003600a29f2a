"""Patches as a model wants them: what a timm data config says, without detours where nothing has to be resized."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.load.index import Rows


def transformed(
    transform: Callable[[NDArray[np.uint8]], Any],
    images: Iterable[NDArray[np.uint8]],
    row_of_image: list[int],
    rows: Rows,
) -> list[Any]:
    """What a transform makes of each image. An error of the transform is noted with the pair it came from."""
    made = []
    for row, image in zip(row_of_image, images, strict=True):
        try:
            made.append(transform(image))
        except Exception as error:
            error.add_note(f"in the transform of pair {rows.key(row)} of {rows.shard(row)}")
            raise
    return made


class TimmTransform:
    """The evaluation transform of a timm data config, picklable.

    Parameters
    ----------
    config
        As ``timm.data.resolve_model_data_config(model)`` gives it: ``input_size``, ``mean``, ``std``,
        ``interpolation``, ``crop_pct``, ``crop_mode``.
    side_px
        Side of the patches.

    Notes
    -----
    A patch that has the model's input size already, with a crop of 1, is scaled and shifted only: what timm's own
    transform does to it too. All else goes through timm.
    """

    def __init__(self, config: Mapping[str, Any], side_px: int) -> None:
        self._config = dict(config)
        self._as_it_is = tuple(config["input_size"][-2:]) == (side_px, side_px) and config.get("crop_pct", 1) == 1
        mean, std = (np.asarray(config[name], dtype=np.float32) for name in ("mean", "std"))
        self._scale = (1 / (255 * std)).astype(np.float32)[:, None, None]
        self._shift = (-mean / std).astype(np.float32)[:, None, None]
        self._timm: Callable[[Any], Any] | None = None

    def __call__(self, image: NDArray[np.uint8]) -> Any:
        """Turn (side_px, side_px, 3) uint8 into a (3, height, width) float32 tensor."""
        import torch

        if self._as_it_is:
            pixels = image.transpose(2, 0, 1) * self._scale
            pixels += self._shift
            return torch.from_numpy(np.ascontiguousarray(pixels))
        from PIL import Image

        return self._made()(Image.fromarray(image))

    def _made(self) -> Callable[[Any], Any]:
        if self._timm is None:
            from timm.data.transforms_factory import create_transform

            self._timm = create_transform(**self._config, is_training=False)
        return self._timm

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_timm": None}
