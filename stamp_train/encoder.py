"""The image encoder: a timm model with what its card says of pixels and tokens, giving one embedding an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from humanst.errors import UsageError
from stamp_train.model_folder import read_folder
from stamp_train.presets import Channels, Embedding, Preset, preset
from stamp_train.weights import HUB, fetch, load_into, read_weights, weights_file, weights_sha256

if TYPE_CHECKING:
    from stamp_train.config import AlignConfig


class Encoder(nn.Module):  # type: ignore[misc]
    """Images to embeddings.

    Parameters
    ----------
    model
        A timm model without a classifier, or the same with adapters in it. It is put into evaluation mode.
    facts
        What is known of it; ``mean`` and ``std`` are needed.
    base_sha256
        Digest of the weights before anything was trained; computed of ``model`` by default.

    Attributes
    ----------
    embedding_dim
        Numbers in an embedding.

    Raises
    ------
    UsageError
        ``no-normalisation`` when nobody has said how pixels are normalised; ``embedding`` when the model has no tokens
        to make the embedding from.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, facts: Preset, *, base_sha256: str | None = None) -> None:
        super().__init__()
        if facts.mean is None or facts.std is None:
            raise UsageError(
                "It is not known how this encoder's pixels are normalised",
                code="no-normalisation",
                field="mean, std",
                expected="what the model's card says",
                found="nothing",
                todo="Give both: --set 'mean=[0.5, 0.5, 0.5]' --set 'std=[0.5, 0.5, 0.5]' with the card's figures",
            )
        if facts.embedding != "pooled" and not getattr(model, "has_class_token", False):
            raise UsageError(
                "This encoder has no class token",
                code="embedding",
                field="embedding",
                expected="pooled",
                found=facts.embedding,
            )
        self.model, self.facts = model, facts
        self.base_sha256 = base_sha256 or weights_sha256(model.state_dict())
        self.embedding_dim = int(getattr(model, "num_features", 0)) * (2 if facts.embedding == "cls+mean" else 1)
        # Not among the weights: the state dict is the model's own.
        self.register_buffer("mean", torch.tensor(facts.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels as the model wants them.

        Parameters
        ----------
        images
            (B, H, W, 3) uint8, RGB.

        Returns
        -------
        torch.Tensor
            (B, 3, S, S) float32, normalised; resized (bicubic, antialiased) when H or W is not S = ``image_px``.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise UsageError(
                "These are no images",
                code="images",
                expected="(B, H, W, 3) of uint8",
                found=f"{tuple(images.shape)} of {images.dtype}",
            )
        pixels = images.to(self.mean.device).permute(0, 3, 1, 2).float() / 255
        side = self.facts.image_px
        if pixels.shape[-2:] != (side, side):
            size = (side, side)
            pixels = nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False)
            pixels = pixels.clamp(0, 1)
        return (pixels - self.mean) / self.std

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) float from :meth:`prepare` to (B, d), d = ``embedding_dim``."""
        model: Any = self.model
        tokens = model.forward_features(pixels)
        if self.facts.embedding == "pooled":
            pooled: torch.Tensor = model.forward_head(tokens, pre_logits=True)
            return pooled
        first = tokens[:, 0]
        if self.facts.embedding == "cls":
            return first
        return torch.cat([first, tokens[:, model.num_prefix_tokens :].mean(dim=1)], dim=-1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 to (B, d)."""
        return self.embed(self.prepare(images))


def create_model(facts: Preset) -> nn.Module:
    """The architecture with weights as timm draws them; no file is read. On torch's meta device it takes no memory.

    Raises
    ------
    UsageError
        When timm cannot build it with these arguments.
    """
    import timm

    arguments = {"num_classes": 0, **facts.timm_kwargs}
    if "mlp_layer" in arguments:
        arguments["mlp_layer"] = _layer(str(arguments["mlp_layer"]))
    try:
        model: nn.Module = timm.create_model(facts.timm_name, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise UsageError(
            "The encoder cannot be built",
            code="encoder-arguments",
            field="encoder",
            expected=facts.timm_name,
            found=error,
        ) from error
    return model.requires_grad_(False).eval()


def build_encoder(
    encoder: str,
    weights: str = "preset",
    *,
    seed: int = 0,
    image_px: int | None = None,
    embedding: Embedding | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Encoder:
    """An encoder with its weights, frozen, on the CPU.

    Parameters
    ----------
    encoder
        A preset, a model of timm, or where a whole model is: ``hf-hub:owner/name``, or a folder with ``config.json``.
    weights
        ``preset``: where the preset, timm or ``encoder`` itself has them; ``random``: drawn from ``seed``; or
        ``hf-hub:owner/name``, a file, a folder.
    image_px, embedding, mean, std
        In the place of what the preset says.

    Raises
    ------
    UsageError
        For an unknown encoder, weights that are not there, or facts that nobody gave.
    HostileError
        For a checkpoint with pickled code.
    IntegrityError, DataError
        For a checkpoint that is torn, or of another architecture.
    NetworkError
        When the hub does not give the weights.
    """
    file = None
    if encoder.startswith(HUB):
        facts, file = read_folder(fetch(encoder, with_config=True))
    elif encoder.startswith((".", "/", "~")) or Path(encoder).is_dir():
        facts, file = read_folder(Path(encoder).expanduser())
    else:
        facts = preset(encoder)
    given = {"image_px": image_px, "embedding": embedding, "mean": mean, "std": std}
    facts = replace(facts, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(facts)
    if weights != "random":
        file = file if weights == "preset" and file is not None else _find(weights, facts)
        load_into(model, read_weights(file), file)
    return Encoder(model, facts)


def encoder_of(config: AlignConfig) -> Encoder:
    """The encoder that the settings name."""
    return build_encoder(
        config.encoder,
        config.weights,
        seed=config.seed,
        image_px=config.image_px,
        embedding=config.embedding,
        mean=config.mean,  # type: ignore[arg-type]
        std=config.std,  # type: ignore[arg-type]
    )


def _find(weights: str, facts: Preset) -> Path:
    if weights == "preset":
        if facts.hub_id is None:
            raise UsageError(
                "It is not known where this encoder's weights are",
                code="no-weights",
                field="weights",
                expected="a file, a folder, hf-hub:owner/name, or random",
                found=f"no place in what is known of {facts.name}",
            )
        weights = HUB + facts.hub_id
    if weights.startswith(HUB):
        return weights_file(fetch(weights, with_config=False))
    return weights_file(Path(weights).expanduser())


def _layer(name: str) -> Any:
    import timm.layers

    known = ("Mlp", "SwiGLU", "SwiGLUPacked", "GluMlp")
    if name not in known:
        raise UsageError(
            "The encoder names a layer that is not known", code="layer", expected=", ".join(known), found=name
        )
    return getattr(timm.layers, name)
