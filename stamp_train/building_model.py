"""From settings to what is trained, and what of it is kept: adapters, heads, the state to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from humanst.errors import DataError
from humanst.files import canonical_json, write_bytes
from stamp_train.encoder import encoder_of
from stamp_train.lora import add_lora
from stamp_train.model import AlignModel
from stamp_train.pathway_encoders import ScoreEncoder, TokenEncoder

if TYPE_CHECKING:
    from stamp_train.align_targets import Source
    from stamp_train.config import AlignConfig

HEADER = "humanst"


def build_model(config: AlignConfig, source: Source) -> AlignModel:
    """The model before the first step: base with adapters that do nothing yet, and heads drawn from the seed.

    Raises
    ------
    HumanstError
        See :func:`stamp_train.encoder.build_encoder` and :func:`stamp_train.lora.add_lora`.
    """
    encoder = add_lora(
        encoder_of(config),
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        seed=config.seed,
    )
    n_pathways = len(source.columns)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        pathways: nn.Module
        if config.pathway_encoder == "token":
            pathways = TokenEncoder(source.members, config.projection_dim, config.pathway_dropout)
        else:
            pathways = ScoreEncoder(n_pathways, config.projection_dim, config.pathway_dropout)
        return AlignModel(encoder, pathways, n_pathways, config)


def build_optimizer(model: AlignModel, config: AlignConfig) -> torch.optim.AdamW:
    """AdamW over what is trained."""
    return torch.optim.AdamW(model.parameter_groups(config), betas=(config.beta1, config.beta2))


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes, by name, on the CPU."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trained(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put them back, every one and no other.

    Raises
    ------
    DataError
        ``checkpoint-mismatch``.
    """
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if own.keys() != tensors.keys() or any(own[name].shape != tensors[name].shape for name in own):
        differing = sorted(own.keys() ^ tensors.keys()) or sorted(
            name for name in own if own[name].shape != tensors[name].shape
        )
        raise DataError(
            "The checkpoint is of another model",
            code="checkpoint-mismatch",
            expected=f"{len(own)} tensors",
            found=f"{len(tensors)}, differing in {', '.join(differing[:3])}",
            todo="Give the run another folder",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def save_heads(path: Path, model: AlignModel, columns: tuple[str, ...]) -> str:
    """Write everything trained but the adapters as one ``.safetensors`` file; returns its sha256.

    The header names the targets in the order of the score head.
    """
    from safetensors.torch import save

    heads = {name: tensor for name, tensor in trained_state(model).items() if not name.startswith("encoder.")}
    return write_bytes(path, save(heads, {HEADER: canonical_json({"targets": list(columns)}).decode()}))
