"""The adapter of a run as a folder, and its way into the weights of the base that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, HumanstError, IntegrityError, UsageError
from humanst.files import canonical_json, folder_aside, sha256_file, write_bytes
from stamp_train.lora import TARGETS, AdapterFacts, load_adapter, read_adapter_facts, save_adapter, save_merged
from stamp_train.weights import CONFIG, WEIGHT_FILES

if TYPE_CHECKING:
    from stamp_train.config import AlignConfig
    from stamp_train.encoder import Encoder

SCHEMA = "stamp_train.adapter/1"
FOLDER, TENSORS, RECORD = "adapter", "adapter.safetensors", "adapter.json"
MAX_RECORD_BYTES = 16 << 20
_MERGED = {CONFIG, WEIGHT_FILES[0]}
# What a record says of the base, and the types that it may have.
_BASE: dict[str, tuple[type, ...]] = {
    "encoder": (str,),
    "weights": (str,),
    "seed": (int,),
    "image_px": (int, type(None)),
    "embedding": (str, type(None)),
    "mean": (list, type(None)),
    "std": (list, type(None)),
}


@dataclass(frozen=True, slots=True)
class Merged:
    """A model whose weights hold an adapter.

    Attributes
    ----------
    folder
        With ``config.json`` and ``model.safetensors``: a plain timm model.
    weights_sha256
        Digest of its weights.
    facts
        What the adapter belongs to.
    leakage
        The note of its run that every table has to carry, or ``None``.
    """

    folder: Path
    weights_sha256: str
    facts: AdapterFacts
    leakage: str | None


def write_adapter(folder: Path, encoder: Encoder, config: AlignConfig, facts: Mapping[str, Any]) -> str:
    """Write the adapter of a run: ``adapter.safetensors`` and ``adapter.json``, the folder aside and renamed.

    Parameters
    ----------
    folder
        ``RUN/adapter``.
    encoder
        With adapters in it.
    facts
        Of :func:`stamp_train.run_facts.facts_of_run`.

    Returns
    -------
    str
        sha256 of ``adapter.safetensors``.
    """
    told = AdapterFacts(
        base_sha256=encoder.base_sha256,
        gene_sets_sha256=facts["targets"]["gene_sets_sha256"],
        release_sha256=facts["release"]["sha256"],
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        encoder=config.encoder,
    )
    settings = config.to_dict()
    with folder_aside(folder) as aside:
        digest = save_adapter(aside / TENSORS, encoder, told)
        record = {
            "schema": SCHEMA,
            "file": {"name": TENSORS, "sha256": digest},
            **{name: facts[name] for name in ("release", "targets", "versions", "leakage")},
            "lora": {"rank": told.rank, "alpha": told.alpha, "dropout": told.dropout, "target_modules": TARGETS},
            "base": {**{name: settings[name] for name in _BASE}, "sha256": encoder.base_sha256},
        }
        write_bytes(aside / RECORD, canonical_json(record))
    return digest


def adapter_file(source: Path) -> Path:
    """The file of an adapter: of a run's folder, of the adapter's own, or itself.

    Raises
    ------
    UsageError
        ``no-adapter`` when there is none.
    """
    for place in (source / FOLDER / TENSORS, source / TENSORS, source):
        if place.is_file():
            return place
    raise UsageError(
        "There is no adapter here",
        code="no-adapter",
        file=source,
        expected=f"the folder of a run that is done, or one with {TENSORS}",
        found="neither",
        todo="Run `stamp-train align` to its end: the adapter is written last",
    )


def read_record(file: Path) -> dict[str, Any] | None:
    """What ``adapter.json`` beside an adapter says; ``None`` where there is none.

    Raises
    ------
    DataError
        ``adapter-record`` when it is not as :func:`write_adapter` writes it.
    IntegrityError
        ``adapter-changed`` when the adapter is not the one that it was written with.
    """
    path = file.with_name(RECORD)
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        record = json.loads(path.read_bytes())
        base, digest = record["base"], record["file"]["sha256"]
        wrong = [name for name, kind in _BASE.items() if not isinstance(base[name], kind)]
        if record["schema"] != SCHEMA or wrong or not isinstance(record["leakage"], str | None):
            raise ValueError(f"schema {record['schema']!r}, base {', '.join(wrong) or 'as it should be'}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "The record of the adapter cannot be used",
            code="adapter-record",
            file=path,
            expected=SCHEMA,
            found=f"{type(error).__name__}: {error}",
        ) from error
    if (found := sha256_file(file)) != digest:
        raise IntegrityError(
            "The adapter is not the one that its record was written with",
            code="adapter-changed",
            file=file,
            expected=f"sha256 {digest}",
            found=f"sha256 {found}",
            done="Nothing was written",
        )
    return dict(record)


def merge_adapter(source: Path, out: Path, base: str | None = None) -> Merged:
    """Write the base with the adapter in its weights as a plain timm model.

    Parameters
    ----------
    source
        A run, its ``adapter`` folder, or the file.
    out
        The folder to write; one that an earlier merge wrote is replaced.
    base
        As :func:`load_base`.

    Raises
    ------
    IntegrityError
        ``other-base`` when the weights are not those that the adapter was trained on (exit 6); when a file is torn.
    UsageError
        ``not-empty`` for a folder that no merge wrote; for a base that is not there.
    DataError
        When the adapter is none, does not fit the architecture, or the sum is not finite.
    """
    file = adapter_file(source)
    facts, record = read_adapter_facts(file), read_record(file)
    _require_free(out)
    encoder = load_base(facts, record, base)
    require_base(facts, encoder, base, file=file, todo="Name the very weights of the run with --base")
    load_adapter(file, encoder)
    leakage = None if record is None else record["leakage"]
    notes = {name: record[name] for name in ("release", "targets", "leakage")} if record else {"leakage": None}
    own = record["base"] if record else {"encoder": facts.encoder, "weights": "preset"}
    before = merged_before(own["encoder"], own["weights"]) if base is None else merged_before(base)
    notes |= {} if before is None else {"before": before}
    return Merged(out, save_merged(out, encoder, facts, notes), facts, leakage)


def load_base(facts: AdapterFacts, record: Mapping[str, Any] | None, base: str | None) -> Encoder:
    """The base of an adapter, without it.

    Parameters
    ----------
    base
        A file of weights, or a folder of them without ``config.json``, for the encoder of the run; a whole model: its
        folder, ``hf-hub:owner/name``, or an encoder by name with the weights of its preset; ``random`` where the run
        began with such. ``None``: what the run says it had.

    Raises
    ------
    UsageError
        ``no-base`` when neither says what it is.
    HumanstError
        As :func:`stamp_train.encoder.build_encoder`.
    """
    from stamp_train.encoder import build_encoder

    if record is None and base is None:
        raise UsageError(
            "The base of this adapter is not known",
            code="no-base",
            field="--base",
            expected=f"a name, or {RECORD} beside the adapter",
            found="neither",
        )
    settings = base_settings(record) if record else {"encoder": facts.encoder, "weights": "preset"}
    if base is not None:
        path = Path(base).expanduser()
        is_weights = base == "random" or path.is_file() or (path.is_dir() and not (path / CONFIG).is_file())
        settings |= {"weights": base} if is_weights else {"encoder": base, "weights": "preset"}
    try:
        return build_encoder(**settings)
    except HumanstError as error:
        error.located(field="base")
        raise


def require_base(facts: AdapterFacts, encoder: Encoder, name: str | None, *, file: Path, todo: str) -> None:
    """Refuse a base that an adapter was not trained on.

    Parameters
    ----------
    name
        What the base was asked for by, or ``None``.
    file, todo
        The adapter, and what to do, for the message.

    Raises
    ------
    IntegrityError
        ``other-base`` (exit 6).
    """
    if encoder.base_sha256 != facts.base_sha256:
        raise IntegrityError(
            "The adapter was trained on another base",
            code="other-base",
            file=file,
            field="base",
            expected=f"weights {facts.base_sha256} ({facts.encoder or 'not named'})",
            found=f"weights {encoder.base_sha256} ({name or facts.encoder})",
            done="Nothing was written",
            todo=todo,
        )


def base_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of an adapter says of its base, as :func:`stamp_train.encoder.build_encoder` takes it."""
    known = {name: record["base"][name] for name in _BASE}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}


def merged_before(encoder: str, weights: str = "preset") -> dict[str, Any] | None:
    """What a folder that a merge wrote says of the adapter in its weights, which no table may lose.

    Parameters
    ----------
    encoder, weights
        As :func:`stamp_train.encoder.build_encoder` takes them; where they name no such folder, nothing is said.
    """
    path = Path(encoder if weights == "preset" else weights).expanduser()
    try:
        told = json.loads(((path.parent if path.is_file() else path) / CONFIG).read_bytes())["humanst"]
        found = {**told["adapter"], "leakage": told.get("leakage")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return {**found, "before": told["before"]} if told.get("before") else found


def _require_free(out: Path) -> None:
    """A folder that is not there, is empty, or was written by a merge: nothing else is ever replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    # Of a file it would be the folder around that tells.
    known = merged_before(str(out.absolute())) if out.is_dir() else None
    if not known or known.get("base_sha256") is None or {path.name for path in out.iterdir()} - _MERGED:
        raise UsageError(
            "Something else is there already",
            code="not-empty",
            field="--out",
            expected="a new folder, or one that holds a merged model and nothing else",
            found=out,
            done="Nothing was written",
        )
