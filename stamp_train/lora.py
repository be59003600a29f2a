"""Low-rank adapters in the attention of an encoder: put in, saved with what they belong to, merged away.

They sit on ``qkv`` and ``proj`` of the blocks alone. A list of suffixes would also hit ``patch_embed.proj``, which is
a convolution over pixels; the pattern cannot. ``B`` starts at zero: at step 0 the model is the base, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, UsageError
from humanst.files import canonical_json, write_bytes
from stamp_train.encoder import Encoder
from stamp_train.model_folder import write_folder
from stamp_train.weights import read_safetensors, weights_sha256

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = r".*blocks\.\d+\.attn\.(qkv|proj)"
HEADER = "humanst"
FORMAT = 1
_MAX_RANK = 1024


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What an adapter belongs to; written into its header.

    Attributes
    ----------
    base_sha256
        Digest of the weights it was trained on.
    gene_sets_sha256, release_sha256
        Of the gene sets its pathways are scores of, and of the release it was trained on; empty = not said.
    rank, alpha, dropout
        Of the adapters.
    encoder
        What the base was called, for the reader.
    """

    base_sha256: str
    gene_sets_sha256: str
    release_sha256: str
    rank: int
    alpha: float
    dropout: float
    encoder: str = ""


def add_lora(encoder: Encoder, *, rank: int = 8, alpha: float = 16.0, dropout: float = 0.1, seed: int = 0) -> Encoder:
    """Put adapters into an encoder, in place; they alone are trainable.

    Parameters
    ----------
    rank, alpha, dropout
        ``W x + alpha / rank * B A dropout(x)``, with A drawn from ``seed`` and B = 0.

    Raises
    ------
    UsageError
        ``no-attention`` when the model has no such layers, or adapters already.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    model: Any = encoder.model
    if not target_names(encoder) or lora_names(encoder):
        raise UsageError(
            "Adapters cannot be put into this encoder",
            code="no-attention",
            field="encoder",
            expected="a ViT of timm without adapters: blocks with attn.qkv and attn.proj",
            found=encoder.facts.timm_name,
        )
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft divides by the rank: any number will do
        lora_dropout=dropout,
        bias="none",
        target_modules=TARGETS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    encoder.train(encoder.training)  # new layers come in training mode: their dropout would be on
    return encoder


def target_names(encoder: Encoder) -> list[str]:
    """Names of the layers that adapters go onto."""
    import re

    return [name for name, _ in encoder.model.named_modules() if re.fullmatch(TARGETS, name)]


def lora_names(encoder: Encoder) -> list[str]:
    """Names of the adapters' tensors in the model."""
    return [name for name, _ in encoder.model.named_parameters() if "lora_" in name]


@contextmanager
def lora_off(encoder: Encoder) -> Iterator[Encoder]:
    """The encoder as it was before the adapters: what the block computes, the base would, bit for bit."""
    layers = _layers(encoder)
    was = [layer.disable_adapters for layer in layers]
    # Off, peft also takes them out of the training.
    trainable = {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield encoder
    finally:
        for layer, off in zip(layers, was, strict=True):
            layer.enable_adapters(enabled=not off)
        for name, parameter in encoder.model.named_parameters():
            parameter.requires_grad_(name in trainable)


def adapter_state(encoder: Encoder) -> dict[str, Tensor]:
    """The adapters' tensors by name, on the CPU."""
    state = encoder.model.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in lora_names(encoder)}


def save_adapter(path: Path, encoder: Encoder, facts: AdapterFacts) -> str:
    """Write the adapters as one ``.safetensors`` file, aside and renamed; returns its sha256.

    The header holds ``facts``. The same adapter gives the same bytes.
    """
    from safetensors.torch import save

    # One entry: the order of several is not fixed between runs.
    header = {HEADER: canonical_json({"format": FORMAT, "targets": TARGETS, **asdict(facts)}).decode()}
    return write_bytes(path, save(adapter_state(encoder), header))


def read_adapter_facts(path: Path) -> AdapterFacts:
    """What the header of an adapter says.

    Raises
    ------
    IntegrityError
        When the file is torn.
    DataError
        When it is no adapter, or one of another format.
    """
    return _facts(read_safetensors(path)[1], path)


def load_adapter(
    path: Path, encoder: Encoder, *, gene_sets_sha256: str | None = None, release_sha256: str | None = None
) -> AdapterFacts:
    """Put saved adapters into the encoder they were trained on, in place.

    Parameters
    ----------
    encoder
        The base; adapters that it already has are given the saved values.
    gene_sets_sha256, release_sha256
        What the adapter has to belong to; ``None`` = anything.

    Raises
    ------
    DataError
        ``adapter-mismatch`` when it belongs to another base, other gene sets or another release (exit 5).
    IntegrityError
        When the file is torn.
    """
    import torch

    tensors, header = read_safetensors(path)
    facts = _facts(header, path)
    for name, wanted in (
        ("base_sha256", encoder.base_sha256),
        ("gene_sets_sha256", gene_sets_sha256),
        ("release_sha256", release_sha256),
    ):
        if wanted is not None and getattr(facts, name) != wanted:
            raise _mismatch(path, name, wanted, getattr(facts, name))
    if not lora_names(encoder):
        add_lora(encoder, rank=facts.rank, alpha=facts.alpha, dropout=facts.dropout)
    own = dict(encoder.model.named_parameters())
    shapes = {name: tuple(own[name].shape) for name in lora_names(encoder)}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != given:
        differing = sorted(name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name))
        raise _mismatch(path, "tensors", f"{len(shapes)} tensors", f"{len(given)}, differing in {differing[:3]}")
    _check_scale(path, encoder, facts)
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    return facts


def merge(encoder: Encoder) -> Encoder:
    """A new encoder of the same architecture whose weights hold the adapters: plain timm, nothing of them left.

    Raises
    ------
    DataError
        ``merge-not-finite`` when the sum is not finite.
    """
    import copy

    import torch

    merged = copy.deepcopy(encoder.model)
    for parent in list(merged.modules()):
        for name, layer in list(parent.named_children()):
            if hasattr(layer, "get_base_layer"):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
    if hasattr(merged, "peft_config"):
        del merged.peft_config
    if not all(bool(torch.isfinite(tensor).all()) for tensor in merged.state_dict().values()):
        raise DataError("The merged weights are not finite", code="merge-not-finite", found="NaN or infinity")
    merged.requires_grad_(False).eval()
    return Encoder(merged, encoder.facts)


def save_merged(folder: Path, encoder: Encoder, facts: AdapterFacts, notes: Mapping[str, Any] | None = None) -> str:
    """Merge, and write a plain timm model as a folder; returns the digest of the merged weights.

    ``notes`` are said in its ``config.json`` beside the facts.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads it; an architecture with a layer of its own takes
    ``mlp_layer`` beside, as on its card.
    """
    merged = merge(encoder)
    digest = weights_sha256(merged.model.state_dict())
    told = {**(notes or {}), "adapter": asdict(facts), "weights_sha256": digest}
    write_folder(folder, merged.model, merged.facts, told)
    return digest


def _layers(encoder: Encoder) -> list[Any]:
    return [layer for layer in encoder.model.modules() if hasattr(layer, "enable_adapters")]


def _check_scale(path: Path, encoder: Encoder, facts: AdapterFacts) -> None:
    found = {scale for layer in _layers(encoder) for scale in layer.scaling.values()}
    if found != {facts.alpha / facts.rank}:
        raise _mismatch(path, "alpha", f"alpha / rank {sorted(found)}", facts.alpha / facts.rank)


def _facts(header: dict[str, str], path: Path) -> AdapterFacts:
    try:
        content = json.loads(header[HEADER])
        if content.pop("format") != FORMAT or content.pop("targets") != TARGETS:
            raise ValueError("another format or other layers")
        facts = AdapterFacts(**content)
        texts = (facts.base_sha256, facts.gene_sets_sha256, facts.release_sha256, facts.encoder)
        if not all(isinstance(text, str) for text in texts) or not 1 <= int(facts.rank) <= _MAX_RANK:
            raise ValueError("facts out of bounds")
        if not (0 < float(facts.alpha) < float("inf") and 0 <= float(facts.dropout) < 1):
            raise ValueError("facts out of bounds")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            "This is no adapter that stamp-train wrote",
            code="adapter-header",
            file=path,
            expected=f"a header with what it belongs to, format {FORMAT}",
            found=error,
        ) from error
    return facts


def _mismatch(path: Path, field: str, expected: object, found: object) -> DataError:
    return DataError(
        "The adapter does not belong here",
        code="adapter-mismatch",
        file=path,
        field=field,
        expected=expected,
        found=found,
        todo="Name the base, the gene sets and the release that it was trained on",
    )
