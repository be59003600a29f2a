"""Encoders by name: architecture in timm, where the weights are, how tokens become one embedding, how pixels go in.

Each fact is as the model's card or its published configuration says; one that was not seen is ``None``, and using it
asks the user for it. Weights stay with their owners: nothing is loaded before :mod:`stamp_train.encoder` is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from humanst.errors import UsageError

Embedding = Literal["cls", "cls+mean", "pooled"]
Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of an encoder.

    Attributes
    ----------
    timm_name, timm_kwargs
        Architecture and its arguments, plain data; ``mlp_layer`` is the name of a layer in ``timm.layers``.
    hub_id
        ``owner/name`` of the weights on the Hugging Face hub; ``None`` where they are in no form that timm loads.
    embedding
        ``cls``: the class token; ``cls+mean``: it beside the mean of the patch tokens, without registers;
        ``pooled``: what the model itself pools.
    image_px
        Side of the images, in px.
    mean, std
        Of the three channels in 0..1, for normalisation.
    licence
        Of the weights, for the reader; it binds what is made of them too.
    """

    name: str
    timm_name: str
    embedding: Embedding
    timm_kwargs: Mapping[str, Any] = field(default_factory=dict)
    hub_id: str | None = None
    image_px: int = 224
    mean: Channels | None = None
    std: Channels | None = None
    licence: str | None = None


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "virchow2",
            "vit_huge_patch14_224",
            "cls+mean",
            {
                "img_size": 224,
                "init_values": 1e-5,
                "reg_tokens": 4,
                "mlp_ratio": 5.3375,
                "mlp_layer": "SwiGLUPacked",
                "act_layer": "silu",
                "global_pool": "",
                "dynamic_img_size": True,
            },
            hub_id="paige-ai/Virchow2",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            licence="CC-BY-NC-ND-4.0",
        ),
        Preset(
            "uni",
            "vit_large_patch16_224",
            "cls",
            {"img_size": 224, "patch_size": 16, "init_values": 1e-5, "dynamic_img_size": True},
            hub_id="MahmoodLab/UNI",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            licence="CC-BY-NC-ND-4.0",
        ),
        Preset(
            "uni2-h",
            "vit_giant_patch14_224",
            "cls",
            {
                "img_size": 224,
                "patch_size": 14,
                "depth": 24,
                "num_heads": 24,
                "embed_dim": 1536,
                "init_values": 1e-5,
                "mlp_ratio": 2.66667 * 2,
                "mlp_layer": "SwiGLUPacked",
                "act_layer": "silu",
                "no_embed_class": True,
                "reg_tokens": 8,
                "dynamic_img_size": True,
            },
            hub_id="MahmoodLab/UNI2-h",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        # CONCH's trunk is a ViT-B/16 at 448 px, but its weights and its pooling into 512 numbers come with a library
        # of their own: here is the architecture alone, for a trunk that was saved under timm's names.
        Preset(
            "conch-like",
            "vit_base_patch16_224",
            "cls",
            {"img_size": 448, "dynamic_img_size": True},
            image_px=448,
        ),
        Preset(
            "h-optimus-0",
            "vit_giant_patch14_reg4_dinov2",
            "cls",
            {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": True},
            hub_id="bioptimus/H-optimus-0",
            mean=(0.707223, 0.578729, 0.703617),
            std=(0.211883, 0.230117, 0.177517),
            licence="Apache-2.0",
        ),
        Preset(
            "dinov2",
            "vit_base_patch14_dinov2",
            "cls",
            {"img_size": 518, "dynamic_img_size": True},
            hub_id="timm/vit_base_patch14_dinov2.lvd142m",
            image_px=518,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            licence="Apache-2.0",
        ),
        Preset(
            "vit_tiny",
            "vit_tiny_patch16_224",
            "cls",
            {"dynamic_img_size": True},
            hub_id="timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            licence="Apache-2.0",
        ),
    )
}


def preset(name: str) -> Preset:
    """A preset by name, or what timm says of one of its own architectures.

    Raises
    ------
    UsageError
        For a name that neither knows.
    """
    if name in PRESETS:
        return PRESETS[name]
    import timm
    from timm.models import is_model_in_modules

    if not timm.is_model(name):
        raise UsageError(
            "There is no such encoder",
            code="unknown-encoder",
            field="encoder",
            expected=f"{', '.join(PRESETS)}, or a model of timm",
            found=name,
        )
    facts = timm.get_pretrained_cfg(name)
    is_vit = is_model_in_modules(name, ["vision_transformer"])
    found = Preset(name, name, "cls" if is_vit else "pooled", {"dynamic_img_size": True} if is_vit else {})
    if facts is None:
        return found
    return replace(
        found,
        hub_id=facts.hf_hub_id,
        image_px=facts.input_size[-1],
        mean=three(facts.mean),
        std=three(facts.std),
        licence=facts.license,
    )


def three(values: Any) -> Channels | None:
    """Three numbers of what should be such.

    Raises
    ------
    TypeError, ValueError
        When they are not.
    """
    if values is None:
        return None
    red, green, blue = (float(value) for value in values)
    return red, green, blue
