"""The encoder that embeds: a base as it is, or with an adapter merged into it, and a record of which it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from humanst.errors import DataError, IntegrityError, UsageError
from humanst.files import sha256_file
from stamp_train.config import AlignConfig
from stamp_train.encoder import Encoder, build_encoder, encoder_of
from stamp_train.lora import load_adapter, merge, read_adapter_facts
from stamp_train.presets import Channels, Embedding

PACKAGED = "packaged"
ADAPTER_FILES = ("adapter/adapter.safetensors", "adapter.safetensors")
MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Frozen:
    """An encoder and what is on record of it.

    Attributes
    ----------
    encoder
        Nothing of it is trained.
    record
        Plain data: architecture, embedding, normalisation, digests of the weights, and of an adapter what it belongs
        to and what its run says of leakage.
    """

    encoder: Encoder
    record: Mapping[str, Any]

    @classmethod
    def of(cls, encoder: Encoder, name: str, adapter: Mapping[str, Any] | None = None) -> Frozen:
        """Put an encoder on record."""
        from stamp_train.weights import weights_sha256

        facts = encoder.facts
        record = {
            "name": name,
            "architecture": facts.timm_name,
            "embedding": facts.embedding,
            "image_px": facts.image_px,
            "mean": list(facts.mean or ()),
            "std": list(facts.std or ()),
            "licence": facts.licence,
            "weights_sha256": weights_sha256(encoder.model.state_dict()),
            "adapter": None if adapter is None else dict(adapter),
        }
        return cls(encoder, record)


def frozen_encoder(
    encoder: str | None,
    weights: str = "preset",
    *,
    adapter: Path | None = None,
    seed: int = 0,
    image_px: int | None = None,
    embedding: Embedding | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Frozen:
    """The encoder that the options of ``embed`` name.

    Parameters
    ----------
    encoder
        As for :func:`stamp_train.encoder.build_encoder`; ``None`` = the base of the adapter's run.
    weights
        As there, or ``packaged``: those that an installed package has (:mod:`stamp_train.packaged`).
    adapter
        A run, its folder ``adapter``, or the file in it. It is merged into the weights.
    seed, image_px, embedding, mean, std
        As there.

    Raises
    ------
    UsageError
        When neither names an encoder, there is no adapter, or as there.
    IntegrityError
        ``adapter-base`` when the adapter was trained on another base (exit 6).
    HumanstError
        As there, and for an adapter that cannot be read.
    """
    if encoder is None:
        base, name = _base_of_run(adapter)
    elif weights == PACKAGED:
        from stamp_train.packaged import packaged_encoder

        base, name = packaged_encoder(encoder, image_px=image_px), encoder
    else:
        options = {"image_px": image_px, "embedding": embedding, "mean": mean, "std": std}
        base, name = build_encoder(encoder, weights, seed=seed, **options), Path(encoder).name  # type: ignore[arg-type]
    if adapter is None:
        return Frozen.of(base, name)
    file = _adapter_file(adapter)
    facts = read_adapter_facts(file)
    if facts.base_sha256 != base.base_sha256:
        raise IntegrityError(
            "The adapter was trained on another base",
            code="adapter-base",
            file=file.name,
            field="base_sha256",
            expected=f"{facts.base_sha256} ({facts.encoder or 'not named'})",
            found=f"{base.base_sha256} ({name})",
            done="Nothing was embedded",
            todo="Name the encoder and the weights it was trained on",
        )
    load_adapter(file, base)
    record = {**asdict(facts), "sha256": sha256_file(file), **_of_run(file)}
    return Frozen.of(merge(base), name, record)


def _base_of_run(adapter: Path | None) -> tuple[Encoder, str]:
    settings = None if adapter is None else adapter / "config.yaml"
    if settings is None or not settings.is_file():
        raise UsageError(
            "It is not said which encoder is meant",
            code="no-encoder",
            field="--encoder",
            expected="an encoder, or an adapter's run, which says its own",
            found="neither",
        )
    config = AlignConfig.from_yaml(settings)
    if config.weights == PACKAGED:
        from stamp_train.packaged import packaged_encoder

        return packaged_encoder(config.encoder, image_px=config.image_px), config.encoder
    return encoder_of(config), Path(config.encoder).name


def _adapter_file(adapter: Path) -> Path:
    for candidate in (adapter, *(adapter / name for name in ADAPTER_FILES)):
        if candidate.is_file():
            return candidate
    raise UsageError(
        "There is no adapter here",
        code="no-adapter",
        field="--adapter",
        expected=f"a file, or a folder with {' or '.join(ADAPTER_FILES)}",
        found=adapter,
    )


def _of_run(file: Path) -> dict[str, Any]:
    """What the run of an adapter says of itself, where it lies beside it: its training split, and leakage."""
    record = file.parent.parent / "run.json"
    if not record.is_file():
        return {}
    try:
        found = json.loads(record.read_bytes()) if record.stat().st_size <= MAX_RECORD_BYTES else None
    except (ValueError, RecursionError) as error:
        raise _bad_run(record, error) from error
    if not isinstance(found, dict):
        raise _bad_run(record, "no object")
    leakage = found.get("leakage")
    return {"leakage": leakage if leakage is None else str(leakage)}


def _bad_run(record: Path, found: object) -> DataError:
    return DataError(
        "The record of the adapter's run cannot be used",
        code="run-record",
        file=record.name,
        expected="JSON",
        found=found,
    )
