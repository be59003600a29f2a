"""A nested state as JSON and named tensors, and back again exactly: the part of pickle that a checkpoint needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# JSON has no tuples, no keys but text and no infinities: an object with one of these keys alone stands for such.
TENSOR, TUPLE, PAIRS, NUMBER = "$tensor", "$tuple", "$pairs", "$number"


def pack(value: Any, tensors: dict[str, Tensor], place: str = "") -> Any:
    """What of a state JSON can hold.

    Parameters
    ----------
    value
        Tensors, ``None``, bool, int, float, text, and lists, tuples and mappings of such.
    tensors
        Takes the tensors, each under the place that it has in the state: contiguous copies on the CPU.
    place
        Of ``value`` in the whole.

    Raises
    ------
    TypeError
        For anything else, with its place.
    """
    import torch

    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {NUMBER: repr(value)}
    if isinstance(value, torch.Tensor):
        name = _free(place or "tensor", tensors)
        # A copy: tensors that share memory are no more than tensors here.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {TENSOR: name}
    if type(value) is list:
        return [pack(entry, tensors, f"{place}/{n}") for n, entry in enumerate(value)]
    if type(value) is tuple:
        return {TUPLE: [pack(entry, tensors, f"{place}/{n}") for n, entry in enumerate(value)]}
    if isinstance(value, Mapping):
        return _pack_mapping(value, tensors, place)
    raise TypeError(f"A checkpoint cannot hold a {type(value).__name__} (at {place or 'the top'})")


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What :func:`pack` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        When ``value`` is not what it gave.
    """
    if isinstance(value, list):
        return [unpack(entry, tensors) for entry in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, content),) = value.items()
        if kind == TENSOR:
            return tensors[content]
        if kind == TUPLE:
            return tuple(unpack(entry, tensors) for entry in content)
        if kind == PAIRS:
            return {key: unpack(entry, tensors) for key, entry in content}
        if kind == NUMBER:
            return float(content)
    return {key: unpack(entry, tensors) for key, entry in value.items()}


def _pack_mapping(value: Mapping[Any, Any], tensors: dict[str, Tensor], place: str) -> dict[str, Any]:
    def inside(key: Any, entry: Any) -> Any:
        return pack(entry, tensors, f"{place}/{key}" if place else str(key))

    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: inside(key, entry) for key, entry in value.items()}
    for key in value:
        if type(key) not in (bool, int, str):
            raise TypeError(f"A checkpoint cannot hold a key of type {type(key).__name__} (at {place or 'the top'})")
    return {PAIRS: [[key, inside(key, entry)] for key, entry in value.items()]}


def _free(name: str, tensors: Mapping[str, Tensor]) -> str:
    """A name that no tensor has: keys with slashes, and 1 beside "1", can lead to one place."""
    number, found = 1, name
    while found in tensors:
        number += 1
        found = f"{name}#{number}"
    return found
