"""The encoder whose weights a package brings: it is the one it says, and other weights do not pass for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image

from humanst.errors import DataError, UsageError
from stamp_train.encoder import create_model
from stamp_train.frozen import frozen_encoder
from stamp_train.packaged import TIMM_NAME, in_order, packaged_weights
from stamp_train.presets import preset

EGYPTIAN_CAT, TIGER_CAT, TABBY, ESPRESSO = 285, 282, 281, 967  # of ImageNet


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    """The whole network under timm's names, tensor by tensor."""
    torch.set_num_threads(1)
    model = timm.create_model(TIMM_NAME, pretrained=False).eval()
    stored = torch.load(packaged_weights(), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    return model


def test_its_features_are_those_that_tell_a_cat_from_coffee(classifier: torch.nn.Module) -> None:
    encoder = frozen_encoder(TIMM_NAME, "packaged").encoder
    for picture, classes in (
        (skimage.data.cat(), {EGYPTIAN_CAT, TIGER_CAT, TABBY}),
        (skimage.data.coffee(), {ESPRESSO}),
    ):
        image = np.asarray(Image.fromarray(picture).resize((224, 224)))
        with torch.inference_mode():
            features = encoder(torch.from_numpy(image.copy())[None])
            said = int(classifier.classifier(features).argmax())
            pixels = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() - 127) / 128
            straight = classifier.forward_head(classifier.forward_features(pixels), pre_logits=True)
        assert features.shape == (1, 1280)
        assert said in classes
        assert torch.allclose(features, straight, atol=1e-4)


def test_other_weights_and_other_encoders_are_refused() -> None:
    wanted = create_model(preset(TIMM_NAME)).state_dict()
    given = {str(number): tensor for number, tensor in enumerate([*wanted.values(), torch.zeros(9), torch.zeros(9)])}
    assert list(in_order(given, wanted, Path("x.pth"))) == list(wanted)
    swapped = dict(zip(given, [*list(given.values())[::-1]], strict=True))
    for other in (swapped, dict(list(given.items())[1:])):
        with pytest.raises(DataError, match="another architecture"):
            in_order(other, wanted, Path("x.pth"))
    with pytest.raises(UsageError, match="No package has the weights"):
        frozen_encoder("resnet18", "packaged")
