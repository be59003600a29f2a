"""The encoder that embeds: a base as it is, or with an adapter merged into it, and a record of which it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from humanst.errors import UsageError
from humanst.files import sha256_file
from stamp_train.encoder import Encoder, build_encoder
from stamp_train.lora import load_adapter, merge, read_adapter_facts
from stamp_train.merging import adapter_file, base_settings, load_base, merged_before, read_record, require_base
from stamp_train.presets import Channels, Embedding
from stamp_train.weights import weights_sha256

PACKAGED = "packaged"


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
        As for :func:`stamp_train.encoder.build_encoder`; ``None`` = the base that the adapter's record names, its seed
        included.
    weights
        As there, or ``packaged``: those that an installed package has (:mod:`stamp_train.packaged`).
    adapter
        A run, its folder ``adapter``, or the file in it. It is merged into the weights.
    seed, image_px, embedding, mean, std
        As there; of an adapter with a record, what is not given is as in its run.

    Raises
    ------
    UsageError
        When neither names an encoder, there is no adapter, or as there.
    IntegrityError
        ``other-base`` when the adapter was trained on another base (exit 6).
    HumanstError
        As there, and for an adapter that cannot be read.
    """
    if adapter is None and encoder is None:
        raise UsageError(
            "It is not said which encoder is meant",
            code="no-encoder",
            field="--encoder",
            expected="an encoder, or an adapter, whose record names its own",
            found="neither",
        )
    options = {"image_px": image_px, "embedding": embedding, "mean": mean, "std": std}
    if adapter is None:
        before = merged_before(str(encoder), weights)
        return Frozen.of(_base(str(encoder), weights, seed, options), Path(str(encoder)).name, before)
    file = adapter_file(adapter)
    facts, record = read_adapter_facts(file), read_record(file)
    if record is not None:
        # Pixels go in and tokens come out as in the run, unless it is said otherwise.
        told = base_settings(record)
        options = {name: told[name] if value is None else value for name, value in options.items()}
        if encoder is None:
            encoder, seed = told["encoder"], told["seed"]
            weights = told["weights"] if weights == "preset" else weights
    base = load_base(facts, record, None) if encoder is None else _base(encoder, weights, seed, options)
    require_base(facts, base, encoder, file=file, todo="Name the encoder and the weights it was trained on")
    load_adapter(file, base)
    leakage = None if record is None else record["leakage"]
    about = {**asdict(facts), "sha256": sha256_file(file), "leakage": leakage}
    if (before := merged_before(str(encoder), weights)) is not None:
        about["before"] = before
    return Frozen.of(merge(base), Path(encoder or facts.encoder).name, about)


def _base(encoder: str, weights: str, seed: int, options: dict[str, Any]) -> Encoder:
    if weights != PACKAGED:
        return build_encoder(encoder, weights, seed=seed, **options)
    from stamp_train.packaged import packaged_encoder

    return packaged_encoder(encoder, image_px=options["image_px"])
