"""A timm model as a folder: ``config.json`` says the architecture and the pixels, beside it are the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from humanst.errors import DataError, UsageError
from humanst.files import canonical_json, folder_aside, write_inside
from stamp_train.presets import Embedding, Preset, preset, three
from stamp_train.weights import CONFIG, WEIGHT_FILES, weights_file

if TYPE_CHECKING:
    from torch import nn

MAX_CONFIG_BYTES = 1 << 20
# What a folder may say of its architecture; other arguments of timm open files or change what is built.
MODEL_ARGUMENTS = frozenset(
    [
        "act_layer",
        "class_token",
        "depth",
        "drop_path_rate",
        "dynamic_img_size",
        "embed_dim",
        "global_pool",
        "img_size",
        "in_chans",
        "init_values",
        "mlp_layer",
        "mlp_ratio",
        "no_embed_class",
        "num_classes",
        "num_heads",
        "patch_size",
        "pos_embed",
        "qk_norm",
        "qkv_bias",
        "reg_tokens",
    ]
)


def read_folder(folder: Path) -> tuple[Preset, Path]:
    """What a folder of a timm model says of itself, and its file of weights.

    Parameters
    ----------
    folder
        With ``config.json`` (``architecture``, ``model_args``, ``pretrained_cfg``) beside the weights, as timm saves it
        and as :func:`write_folder` does.

    Raises
    ------
    UsageError
        When there is no such folder, or no weights in it.
    DataError
        When ``config.json`` is not as timm writes it, or asks for arguments beyond an architecture.
    """
    config = _read_config(folder / CONFIG)
    arguments = config.get("model_args") or {}
    facts = config.get("pretrained_cfg") or {}
    ours = config.get("humanst") or {}
    if unknown := sorted(set(arguments) - MODEL_ARGUMENTS):
        raise _bad_config(folder, "arguments of an architecture", ", ".join(unknown))
    try:
        base = preset(str(config["architecture"]))
        found = replace(
            base,
            name=folder.name,
            timm_kwargs={**base.timm_kwargs, **arguments},
            embedding=_embedding(ours.get("embedding", base.embedding)),
            image_px=int((facts.get("input_size") or (3, base.image_px, base.image_px))[-1]),
            mean=three(facts.get("mean")),
            std=three(facts.get("std")),
            licence=facts.get("license"),
            hub_id=None,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, UsageError) as error:
        raise _bad_config(folder, "what timm writes", error) from error
    return found, weights_file(folder)


def write_folder(folder: Path, model: nn.Module, facts: Preset, notes: Mapping[str, Any]) -> None:
    """Write a plain timm model: ``config.json`` and ``model.safetensors``, the folder aside and renamed.

    Parameters
    ----------
    notes
        What else ``config.json`` shall say under ``humanst``, plain data.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    side = facts.image_px
    config = {
        "architecture": facts.timm_name.partition(".")[0],
        "num_classes": 0,
        "num_features": model.num_features,
        "model_args": {"num_classes": 0, **facts.timm_kwargs, **_grid(model)},
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "num_classes": 0,
            **{key: list(value) for key, value in (("mean", facts.mean), ("std", facts.std)) if value is not None},
            **({} if facts.licence is None else {"license": facts.licence}),
        },
        "humanst": {"embedding": facts.embedding, **notes},
    }
    with folder_aside(folder) as aside:
        for name, content in ((CONFIG, canonical_json(config)), (WEIGHT_FILES[0], save(tensors, {"format": "pt"}))):
            with write_inside(aside / name) as file:
                file.write(content)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise _bad_config(path.parent, f"at most {MAX_CONFIG_BYTES:,} bytes", f"{path.stat().st_size:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            "The folder does not say what model it holds",
            code="no-config",
            file=path.parent,
            expected=CONFIG,
            found="none",
            todo="Name a preset or a model of timm as encoder, and this folder as weights",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_config(path.parent, "JSON", error) from error
    if not isinstance(found, dict) or not isinstance(found.get("model_args", {}), dict | None):
        raise _bad_config(path.parent, "an object", type(found).__name__)
    return found


def _grid(model: nn.Module) -> dict[str, int]:
    """The side that positions were learnt for; without it timm stretches them to the architecture's usual one."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return {} if size is None else {"img_size": int(size[0])}


def _embedding(name: Any) -> Embedding:
    for known in get_args(Embedding):
        if name == known:
            found: Embedding = known
            return found
    raise ValueError(f"embedding {name!r}")


def _bad_config(folder: Path, expected: str, found: object) -> DataError:
    return DataError(
        f"{CONFIG} of the model cannot be used",
        code="checkpoint-config",
        file=folder / CONFIG,
        expected=expected,
        found=found,
    )
