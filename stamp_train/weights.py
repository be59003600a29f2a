"""Weights as files: read without running what is in them, fetched from the hub, put into models, hashed."""

from __future__ import annotations

import hashlib
import pickle  # noqa: TID251 - for the name of its error alone
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from humanst.errors import DataError, HostileError, IntegrityError, NetworkError, UsageError
from humanst.files import canonical_json

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB = "hf-hub:"
CONFIG = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_HEADS = ("head.", "head_dist.", "fc.", "classifier.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU; no code in it runs.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or one that ``torch.save`` wrote of a state dict (plain, or under ``state_dict`` or
        ``model``).

    Raises
    ------
    HostileError
        When the file holds more than tensors: pickled objects or compiled code (exit 8).
    IntegrityError
        When it is torn or no checkpoint (exit 6).
    DataError
        When there are no named tensors in it.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of compiled code, which is refused below
            found = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error) and not _is_pickle(path):
            raise _torn(path, "bytes that are no checkpoint") from error
        raise _code_in(path, error) from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise _code_in(path, error) from error
        raise _torn(path, error) from error
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError) as error:
        raise _torn(path, error) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(value, torch.Tensor) for value in found.values())
    ):
        raise DataError(
            "The checkpoint holds no named tensors",
            code="checkpoint-content",
            file=path,
            expected="a state dict",
            found=type(found).__name__,
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a ``.safetensors`` file, and the text in its header.

    Raises
    ------
    IntegrityError
        When it is torn or no such file.
    """
    return _read_safetensors(path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _torn(path, error) from error


def weights_file(path: Path) -> Path:
    """The file of weights that a path names: itself, or the one in a folder.

    Raises
    ------
    UsageError
        When there is none.
    """
    for candidate in (path, *(path / name for name in WEIGHT_FILES)):
        if candidate.is_file():
            return candidate
    raise UsageError(
        "There are no weights here",
        code="no-weights",
        field="weights",
        expected=f"a file, or a folder with {' or '.join(WEIGHT_FILES)}",
        found=path,
    )


def fetch(hub: str, *, with_config: bool) -> Path:
    """Folder of a model of the Hugging Face hub (``hf-hub:owner/name``, ``...@revision``), fetched when not yet kept.

    Raises
    ------
    NetworkError
        When it cannot be reached, is not there, or has not been granted to the user (exit 7).
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    name, _, revision = hub.removeprefix(HUB).partition("@")
    try:
        if with_config:
            huggingface_hub.hf_hub_download(name, CONFIG, revision=revision or None)
        try:
            file = huggingface_hub.hf_hub_download(name, WEIGHT_FILES[0], revision=revision or None)
        except EntryNotFoundError:
            file = huggingface_hub.hf_hub_download(name, WEIGHT_FILES[1], revision=revision or None)
    except (OSError, ValueError, RuntimeError) as error:
        raise NetworkError(
            "The weights cannot be fetched from the Hugging Face hub",
            code="hub",
            field="weights",
            expected=f"{HUB}{name}",
            found=" ".join(str(error).split())[:500],
            todo="Accept the model's terms there and log in with `hf auth login`, or name a local copy as weights",
        ) from error
    return Path(file).parent


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Put tensors into a model, every one of them and no other; a head that the model has none of is left out.

    Raises
    ------
    DataError
        ``checkpoint-mismatch`` when names or shapes are not those of the model (exit 5).
    """
    wanted = model.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if name in wanted or not name.startswith(_HEADS)}
    given.pop("mask_token", None)  # of DINOv2's own training
    wrong = [
        f"{name}: {tuple(given[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    missing, unknown = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if wrong or missing or unknown:
        raise DataError(
            "The weights are of another architecture",
            code="checkpoint-mismatch",
            file=file,
            expected=f"{len(wanted)} tensors",
            found=f"{len(missing)} missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}, "
            f"{len(wrong)} of another shape {wrong[:3]}",
            todo="Name the encoder that these weights are of",
        )
    model.load_state_dict(given, strict=True)


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex digest of named tensors: names, types, shapes and bytes in the order of the names, whatever held them."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _code_in(path: Path, error: Exception) -> HostileError:
    # torch's own text goes on to advise loading it without the guard: only what it met is passed on.
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return HostileError(
        "The checkpoint holds more than weights: loading it could run code",
        code="pickled-code",
        file=path,
        expected="tensors by name",
        found=f"a call of {named[1]}" if named else "pickled objects or compiled code",
        done="Nothing of it was run",
        todo="Ask its makers for safetensors, or save the state dict alone where it is trusted",
    )


def _is_pickle(path: Path) -> bool:
    """Whether a file, or what torch keeps in its zip, begins as a pickle of Python's own (protocol 3 to 5) does.

    torch writes protocol 2. The newer ones it cannot read without running them, and calls them bytes without sense.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            inner = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "")
            start = archive.open(inner).read(2) if inner else b""
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            start = file.read(2)
    except (zlib.error, EOFError, RuntimeError):  # torn, or packed as torch never does
        return False
    return start[:1] == b"\x80" and start[1:] in {b"\3", b"\4", b"\5"}


def _torn(path: Path, found: object) -> IntegrityError:
    return IntegrityError(
        "The checkpoint cannot be read",
        code="checkpoint-torn",
        file=path,
        expected="tensors as safetensors or torch.save writes them",
        found=" ".join(str(found).split())[:300],
        todo="Fetch it again, or save its state dict alone",
    )
