"""Checkpoints of a run: folders of tensors (safetensors) and plain JSON, whole or not there, and never a pickle.

``step-00000500/`` holds ``tensors.safetensors``, ``state.json`` and, written last, ``card.json`` with the hashes of
both. It is filled aside and renamed; older ones go when the new one is in its place.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, HostileError, HumanstError, IntegrityError
from humanst.files import canonical_json, folder_aside, remove, sha256_file, sweep_partials, write_inside
from stamp_train.plain_state import pack, unpack
from stamp_train.weights import read_safetensors

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

SCHEMA = "stamp_train.checkpoint/1"
TENSORS, STATE, CARD = "tensors.safetensors", "state.json", "card.json"
WARNINGS = "warnings"
MAX_JSON_BYTES = 256 << 20
_NAME = re.compile(r"step-(\d{8,18})")
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
# How torch.save and pickle begin: a zip archive, and pickle's protocols from 2 on.
_PICKLE_HEADS = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 10)))


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write the state after a step, then remove what is older than the ``keep`` newest.

    Parameters
    ----------
    folder
        Of the run's checkpoints; one process writes into it.
    step
        Steps done.
    state
        By name: tensors, numbers, text, ``None``, and lists, tuples and mappings of such. Tensors come back with their
        exact bytes, types and shapes, on the CPU. ``warnings`` is no name for it.
    keep
        How many whole ones stay, this one included. Those of later steps, which belong to a run that was gone back on,
        and damaged ones go too.

    Returns
    -------
    Path
        ``folder/step-<step>``.

    Raises
    ------
    NoRoomError
        When the disk is full; the older ones stay as they are.
    TypeError
        For a state of anything else.
    """
    from safetensors.torch import save

    if WARNINGS in state:
        raise TypeError(f"{WARNINGS!r} is what load_checkpoint adds to a state")
    sweep_partials(folder)
    tensors: dict[str, Tensor] = {}
    plain = pack(dict(state), tensors)
    path = folder / f"step-{step:08d}"
    with folder_aside(path) as aside:
        files = {}
        content = {"schema": SCHEMA, "step": step, "state": plain}
        for name, data in ((TENSORS, save(tensors)), (STATE, canonical_json(content))):
            with write_inside(aside / name) as file:
                file.write(data)
                files[name] = {"bytes": file.n_bytes, "sha256": file.sha256}
        with write_inside(aside / CARD) as file:
            file.write(canonical_json({"schema": SCHEMA, "step": step, "files": files}))
    _remove_others(folder, step, keep)
    return path


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest whole checkpoint of a run.

    Parameters
    ----------
    folder
        As in :func:`save_checkpoint`.

    Returns
    -------
    step, state
        Steps done, and what was saved; ``state["warnings"]`` names the newer ones that are damaged and why, and is
        empty when there are none. ``None`` when there is no checkpoint.

    Raises
    ------
    IntegrityError
        ``no-whole-checkpoint`` when there are some and all are damaged.
    HostileError
        ``pickled-code`` when a pickle lies in the place of the tensors; nothing of it is run.
    """
    warnings: list[str] = []
    for step, path in _checkpoints(folder):
        try:
            state = _read(path, step)
        except HostileError:
            raise
        except HumanstError as error:
            warnings.append(f"{path.name} is damaged and was left alone: {error}")
            logger.warning("%s", warnings[-1])
            continue
        return step, {**state, WARNINGS: warnings}
    if warnings:
        raise IntegrityError(
            "No checkpoint of this run is whole",
            code="no-whole-checkpoint",
            file=folder,
            expected="one with all its files as they were written",
            found="; ".join(warnings),
            done="Nothing was loaded or removed",
            todo="Put a copy in their place, or move the folder away to begin anew",
        )
    return None


def rng_state() -> dict[str, Any]:
    """The states of the generators of Python, numpy, torch and its GPUs in this process, to be saved."""
    import numpy as np
    import torch

    known: Any = np.random.get_state()  # noqa: NPY002  # the global one is what others draw from
    name, keys, *rest = known
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the generators of this process back to where :func:`rng_state` found them.

    GPUs that are no more there are left out, as those are whose state was not saved.

    Raises
    ------
    DataError
        ``rng-state`` when it is no such state.
    """
    import numpy as np
    import torch

    try:
        name, keys, *rest = state["numpy"]
        random.setstate(state["python"])
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        for number, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, number)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(
            "The states of the random generators cannot be put back", code="rng-state", found=error
        ) from error


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and folder of each, newest first."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if (name := _NAME.fullmatch(path.name)) and path.is_dir():
            found.append((int(name[1]), path))
    return sorted(found, reverse=True)


def _remove_others(folder: Path, step: int, keep: int) -> None:
    kept = 1
    for number, path in _checkpoints(folder):
        if number == step:
            continue
        if number < step and kept < keep and _is_whole(path, number):
            kept += 1
            continue
        if number > step:
            logger.warning("%s is of a later step than the one just saved, and is removed", path.name)
        remove(path)


def _is_whole(path: Path, step: int) -> bool:
    try:
        _check(path, step)
    except HumanstError as error:
        logger.warning("%s is damaged and is removed: %s", path.name, error)
        return False
    return True


def _read(path: Path, step: int) -> dict[str, Any]:
    _refuse_pickles(path)
    _check(path, step)
    content = _json(path / STATE)
    if content.get("schema") != SCHEMA or content.get("step") != step:
        raise _damaged(path / STATE, f"{SCHEMA} of step {step}", f"{content.get('schema')} of {content.get('step')}")
    try:
        state = unpack(content.get("state"), read_safetensors(path / TENSORS)[0])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path / STATE, "a state and its tensors", error) from error
    if not isinstance(state, dict) or WARNINGS in state:
        raise _damaged(path / STATE, "a state by name", type(state).__name__)
    return state


def _check(path: Path, step: int) -> None:
    """Compare the files with the card."""
    card = _json(path / CARD)
    files = card.get("files")
    if card.get("schema") != SCHEMA or card.get("step") != step or not isinstance(files, dict):
        raise _damaged(path / CARD, f"{SCHEMA} of step {step}", f"{card.get('schema')} of step {card.get('step')}")
    for name in (TENSORS, STATE):
        wanted = files.get(name)
        digest = wanted.get("sha256") if isinstance(wanted, dict) else None
        try:
            found = sha256_file(path / name)
        except OSError as error:
            raise _damaged(path / name, f"sha256 {digest}", error) from error
        if found != digest:
            raise _damaged(path / name, f"sha256 {digest}", f"sha256 {found}")


def _refuse_pickles(path: Path) -> None:
    suspects = [entry for entry in sorted(path.iterdir()) if entry.suffix in _PICKLED]
    tensors = path / TENSORS
    if tensors.is_file():
        with tensors.open("rb") as file:
            head = file.read(9)
        # A header of 640 bytes begins as a pickle of protocol 2 does; its ninth byte is that of JSON.
        if head.startswith(_PICKLE_HEADS) and head[8:] != b"{":
            suspects.append(tensors)
    if suspects:
        raise HostileError(
            "A checkpoint holds a pickle: loading it could run code",
            code="pickled-code",
            file=suspects[0],
            expected=f"{TENSORS}, {STATE} and {CARD}",
            found="a pickle or a name of one",
            done="Nothing of it was run",
            todo="Remove this checkpoint when it is not yours",
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise _damaged(path, f"at most {MAX_JSON_BYTES:,} bytes", f"{path.stat().st_size:,}")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, "JSON", error) from error
    if not isinstance(content, dict):
        raise _damaged(path, "an object", type(content).__name__)
    return content


def _damaged(path: Path, expected: object, found: object) -> IntegrityError:
    return IntegrityError(
        "A checkpoint is not as it was written",
        code="checkpoint-damaged",
        file=path,
        expected=expected,
        found=" ".join(str(found).split())[:300],
    )
