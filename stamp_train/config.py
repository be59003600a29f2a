"""All settings of an alignment in one frozen dataclass, read from YAML, changed by ``--set``, echoed into the run.

A setting that does not exist, has the wrong type or lies out of bounds is refused by name before anything is built.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from humanst.errors import UsageError
from stamp_train.plain_yaml import parse_settings, read_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig:
    """Settings of ``stamp-train align``; the defaults are those of the method.

    Attributes
    ----------
    release, run
        Folder or address of the release; folder that the run writes into.
    encoder, weights
        A preset, or any model of timm; and where its weights are: ``preset`` (where the preset says), ``random``
        (drawn from ``seed``), ``hf-hub:owner/name``, or a local file or folder.
    image_px, embedding
        Side of the images that the encoder sees, and how its tokens become one vector (``cls``, ``cls+mean``,
        ``pooled``); null = as the preset says.
    mean, std
        Of the three channels, in 0..1; null = as the preset says.
    lora_rank, lora_alpha, lora_dropout
        Adapters of the attention's ``qkv`` and ``proj`` in every block.
    pathway_encoder, pathway_dropout
        ``score`` or ``token``, which reads genes; and the dropout within it.
    target_set
        What images are aligned to: null = the release's pathways; a target set of it by name, or as ``random:SEED`` and
        ``shuffle:SEED``; or made of its counts here: ``hvg:N``, ``pca:K``; or ``library``, the library size alone.
    gene_sets
        The GMT file that the target set was scored with, for ``token``.
    projection_dim, hidden_dim
        Width of the shared space and of the layers before it.
    temperature
        At the start; it is learnt, down to 0.01.
    soft_share, soft_temperature
        Share of the contrastive target that is spread over pairs of similar pathways, and how sharply.
    near_um
        Other spots of the same section nearer than this are no negatives.
    weight_contrast, weight_huber, weight_pcc, weight_library, weight_anchor
        Weight of each term of the loss.
    batch_size, sections_per_batch, single_section_share
        Pairs and sections of a batch over all ranks; share of the batches that come from one section.
    augment, jitter
        Flips and quarter turns of the images; and how much brightness and stain are varied (0 = not).
    epochs, max_steps
        Passes over the training split; an upper bound of the steps, or null.
    learning_rate_lora, learning_rate_heads, learning_rate_end, weight_decay, beta1, beta2, clip_norm
        AdamW with warm-up and cosine to ``learning_rate_end``; the decay spares adapters, norms and biases.
    warmup_share
        Share of the steps in which the rates rise; the first of them already moves.
    precision, device
        ``auto`` is bf16 where the GPU has it, else fp32; ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    gradient_checkpointing, workers, save_every_steps, keep_checkpoints, log_every_steps, log, seed
        How it runs.
    validate_every_steps
        When the split ``val`` is predicted; null = after every epoch. It is at the end in any case.
    shuffle_pairs
        Control: images are paired with pathways of other spots.
    evaluation_release
        Release of the evaluation; null = the same.
    evaluation_sections, evaluation_groups
        Sections and exclusion groups of the evaluation that the training split must not share.
    allow_leakage
        Train although it does; every table then says so.
    """

    release: str = ""
    run: str = ""
    encoder: str = "virchow2"
    weights: str = "preset"
    image_px: int | None = None
    embedding: Literal["cls", "cls+mean", "pooled"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.1
    pathway_encoder: Literal["score", "token"] = "score"
    pathway_dropout: float = 0.1
    target_set: str | None = None
    gene_sets: str | None = None
    projection_dim: int = 256
    hidden_dim: int = 512
    temperature: float = 0.07
    soft_share: float = 0.2
    soft_temperature: float = 0.1
    near_um: float = 150.0
    weight_contrast: float = 1.0
    weight_huber: float = 1.0
    weight_pcc: float = 1.0
    weight_library: float = 0.1
    weight_anchor: float = 0.5
    batch_size: int = 512
    sections_per_batch: int = 16
    single_section_share: float = 0.5
    augment: bool = True
    jitter: float = 0.05
    epochs: int = 5
    max_steps: int | None = None
    learning_rate_lora: float = 1e-4
    learning_rate_heads: float = 3e-4
    learning_rate_end: float = 1e-6
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    warmup_share: float = 0.05
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    gradient_checkpointing: bool = False
    workers: int = 2
    save_every_steps: int = 500
    keep_checkpoints: int = 2
    log_every_steps: int = 20
    log: Literal["csv", "tensorboard"] = "csv"
    validate_every_steps: int | None = None
    seed: int = 0
    shuffle_pairs: bool = False
    evaluation_release: str | None = None
    evaluation_sections: tuple[str, ...] = ()
    evaluation_groups: tuple[str, ...] = ()
    allow_leakage: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise _wrong(name, f"{low:g} to {high:g}", value)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and (len(values) != 3 or not all(0 <= value <= 1 for value in values)):
                raise _wrong(name, "three numbers of 0..1", list(values))
        if self.std is not None and min(self.std) == 0:
            raise _wrong("std", "three numbers above 0", list(self.std))

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """Settings by name, each checked against its type; the others keep their defaults.

        Raises
        ------
        UsageError
            ``unknown-setting``, ``setting-type`` or ``setting-bounds``, with the name.
        """
        return cls(**_typed(settings))

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read a file of ``name: value`` lines.

        Raises
        ------
        UsageError
            As :meth:`from_mapping`, and for what is no such file (``settings-unreadable``).
        HostileError
            For a file that is too large, too deep, uses aliases, or asks for objects.
        """
        return cls.from_mapping(read_settings(path))

    def with_settings(self, changes: Iterable[str]) -> Self:
        """The same with ``key=value`` changes, as ``--set`` gives them; the value is read as YAML.

        Raises
        ------
        UsageError
            As :meth:`from_mapping`; also for what is not ``key=value``.
        """
        new: dict[str, Any] = {}
        for change in changes:
            name, equals, text = change.partition("=")
            if not equals:
                raise UsageError("A setting is given as key=value", code="setting-form", found=change)
            new[name.strip()] = parse_settings(text, f"--set {name.strip()}")
        return replace(self, **_typed(new))

    def to_dict(self) -> dict[str, Any]:
        """Every setting in the order of the class as plain data, lists for tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def to_yaml(self) -> str:
        """:meth:`to_dict` as YAML; :meth:`from_yaml` of it gives an equal object."""
        import yaml

        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))


_ANY = math.inf
_BOUNDS: dict[str, tuple[float, float]] = {
    "image_px": (8, 4096),
    "lora_rank": (1, 1024),
    "lora_alpha": (1e-6, 1e6),
    "lora_dropout": (0, 0.99),
    "projection_dim": (1, 65536),
    "hidden_dim": (1, 65536),
    "temperature": (0.01, 100),
    "soft_share": (0, 1),
    "soft_temperature": (1e-3, 100),
    "near_um": (0, _ANY),
    "weight_contrast": (0, 1e6),
    "weight_huber": (0, 1e6),
    "weight_pcc": (0, 1e6),
    "weight_library": (0, 1e6),
    "weight_anchor": (0, 1e6),
    "batch_size": (2, 1 << 20),
    "sections_per_batch": (1, 1 << 20),
    "single_section_share": (0, 1),
    "pathway_dropout": (0, 0.99),
    "jitter": (0, 0.5),
    "epochs": (1, 1 << 20),
    "max_steps": (1, _ANY),
    "learning_rate_lora": (0, 10),
    "learning_rate_heads": (0, 10),
    "learning_rate_end": (0, 10),
    "weight_decay": (0, 10),
    "beta1": (0, 0.9999),
    "beta2": (0, 0.999999),
    "clip_norm": (1e-6, _ANY),
    "warmup_share": (0, 1),
    "workers": (0, 1024),
    "save_every_steps": (1, _ANY),
    "keep_checkpoints": (1, 1024),
    "log_every_steps": (1, _ANY),
    "validate_every_steps": (1, _ANY),
    "seed": (0, 2**63 - 1),
}


def _typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    known = get_type_hints(AlignConfig)
    if unknown := [str(name) for name in settings if name not in known]:
        raise UsageError(
            f"There is no such setting: {', '.join(unknown)}",
            code="unknown-setting",
            field=unknown[0],
            expected=", ".join(field.name for field in fields(AlignConfig)),
            found=", ".join(unknown),
        )
    return {name: _as(known[name], value, name) for name, value in settings.items()}


def _as(kind: Any, value: Any, name: str) -> Any:
    """``value`` as ``kind``; YAML 1.1 reads ``1e-4`` as text, so text that is a number is one where one is wanted."""
    if get_origin(kind) in (types.UnionType, Union):
        return None if value is None else _as(get_args(kind)[0], value, name)
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise _wrong(name, " or ".join(get_args(kind)), value)
    if get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(name, "a list", value, code="setting-type")
        return tuple(_as(get_args(kind)[0], entry, name) for entry in value)
    if kind is float and not isinstance(value, bool):
        number = _number(value)
        if number is not None and math.isfinite(number):
            return number
    elif type(value) is kind:
        return value
    raise _wrong(name, {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[kind], value)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _wrong(name: str, expected: str, found: Any, *, code: str | None = None) -> UsageError:
    return UsageError(
        f"The setting {name} cannot be this", code=code or "setting-value", field=name, expected=expected, found=found
    )
