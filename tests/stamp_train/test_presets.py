"""Encoders by name: each builds, and is what its card says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from humanst.errors import UsageError
from stamp_train.encoder import Encoder, create_model
from stamp_train.lora import add_lora, lora_names, target_names
from stamp_train.presets import PRESETS, preset

# Width of the embedding and number of blocks, as published; trainable = blocks * r * (d + 3 d + d + d).
PUBLISHED = {
    "virchow2": (2560, 1280, 32),
    "uni": (1024, 1024, 24),
    "uni2-h": (1536, 1536, 24),
    "conch-like": (768, 768, 12),
    "h-optimus-0": (1536, 1536, 40),
    "dinov2": (768, 768, 12),
    "vit_tiny": (192, 192, 12),
}
PUBLISHED_COUNTS = {"virchow2": 1_966_080, "uni": 1_179_648}


def on_meta(name: str) -> Encoder:
    facts = preset(name)
    with torch.device("meta"):
        model = create_model(facts)
    known = facts if facts.mean is not None else dataclasses.replace(facts, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Encoder(model, known, base_sha256="0" * 64)


def test_every_preset_is_here() -> None:
    assert set(PRESETS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_builds_with_adapters_on_the_meta_device(name: str) -> None:
    embedding_dim, width, blocks = PUBLISHED[name]
    encoder = on_meta(name)
    assert encoder.embedding_dim == embedding_dim
    assert target_names(encoder) == [f"blocks.{i}.attn.{layer}" for i in range(blocks) for layer in ("qkv", "proj")]
    with torch.device("meta"):
        add_lora(encoder)
    trainable = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert not any("patch_embed" in name for name in trainable)
    assert len(trainable) == len(lora_names(encoder)) == blocks * 4
    side = encoder.facts.image_px
    assert encoder.embed(torch.empty(2, 3, side, side, device="meta")).shape == (2, embedding_dim)
    assert sum(p.numel() for p in trainable.values()) == PUBLISHED_COUNTS.get(name, blocks * 8 * 6 * width)


def test_any_model_of_timm_is_a_preset_with_what_timm_knows() -> None:
    vit, cnn = preset("test_vit.r160_in1k"), preset("tf_efficientnet_lite0")
    assert (vit.embedding, vit.image_px, vit.hub_id) == ("cls", 160, "timm/test_vit.r160_in1k")
    assert (cnn.embedding, cnn.mean) == ("pooled", (0.5, 0.5, 0.5))


def test_an_unknown_encoder_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="virchow2"):
        preset("virchow3")


def test_a_fact_that_nobody_saw_is_asked_for() -> None:
    facts = preset("conch-like")
    assert (facts.mean, facts.std, facts.hub_id) == (None, None, None)
    with torch.device("meta"):
        model = create_model(facts)
    with pytest.raises(UsageError) as caught:
        Encoder(model, facts, base_sha256="0" * 64)
    assert caught.value.facts.field == "mean, std"
