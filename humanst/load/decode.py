"""Members of a pair into arrays. Nothing in a pair can run code: jpg, json and npy without objects, nothing else.

The bytes are those of a shard whose sha256 was checked when it was opened, which covers every member; asking for
``check_members`` compares each member with its own hash in the index as well, against changes after the opening.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tokenize
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg

from humanst.errors import DataError, HostileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LABEL = re.compile(rb'"label": ?(0|[1-9][0-9]{0,8})[,}]')
_DECODER = json.JSONDecoder()
_NPY_1_0 = b"\x93NUMPY\x01\x00"


def decode_jpg(
    data: bytes | memoryview, *, side_px: int = 224, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Decode a patch.

    Parameters
    ----------
    data
        A JPEG file.
    side_px
        The side it must have. A larger one finds no room, and is not decoded.
    out
        (side_px, side_px, 3) uint8, contiguous, to decode into; by default new memory. Undefined after an error.

    Returns
    -------
    ndarray
        (side_px, side_px, 3) uint8, RGB.

    Raises
    ------
    DataError
        When it is no JPEG, is cut short, or has another size.
    """
    shape = (side_px, side_px, 3)
    room = np.empty(shape, dtype=np.uint8) if out is None else out
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=room)
    except ValueError as error:
        raise _bad("jpg", f"a whole JPEG image of {side_px} x {side_px} px", str(error)) from error
    if pixels.shape != shape:
        raise _bad("jpg", f"{side_px} x {side_px} px", f"{pixels.shape[1]} x {pixels.shape[0]} px")
    return pixels


def decode_json(data: bytes) -> dict[str, Any]:
    """Decode the metadata of a pair.

    Raises
    ------
    DataError
        When it is not a JSON object with a text ``key`` and an integer ``label`` of at most 64 bits.
    """
    try:
        document = _parsed(data)
    except (ValueError, RecursionError) as error:
        raise _bad("json", "a JSON document", str(error)) from error
    if not isinstance(document, dict):
        raise _bad("json", "an object", type(document).__name__)
    for field, kind in (("key", str), ("label", int)):
        if type(document.get(field)) is not kind:
            raise _bad("json", f"{field}: {kind.__name__}", repr(document.get(field)))
    if not -(2**63) <= document["label"] < 2**63:
        raise _bad("json", "label: an organ code", f"a number of {document['label'].bit_length()} bits")
    return document


def label_on_record(data: bytes, json_hash: str, key: str) -> int | None:
    """Find the label in a document whose bytes are those on record, in a third of the time of reading all of it.

    Parameters
    ----------
    data
        A JSON file.
    json_hash
        Its blake2b-64 in the index.
    key
        What its ``key`` should be.

    Returns
    -------
    int or None
        ``None`` for what :func:`decode_json` has to judge: other bytes, another key, or a document that is not flat.
    """
    if hashlib.blake2b(data, digest_size=8).hexdigest() != json_hash:
        return None
    # In a flat object a name in quotes that comes once, with a colon, is that of a field.
    if data.count(b"{") != 1 or data.count(b'"key"') != 1 or data.count(b'"label"') != 1:
        return None
    quoted, label = f'"{key}"'.encode(), _LABEL.search(data)
    if label is None or (b'"key": ' + quoted not in data and b'"key":' + quoted not in data):
        return None
    return int(label[1])


def _parsed(data: bytes) -> Any:
    # Half as fast again as json.loads, which guesses the encoding and looks for space around the document. What is
    # not plain UTF-8 from the first byte to the last is left to it.
    try:
        text = data.decode()
        document, end = _DECODER.raw_decode(text)
    except ValueError:
        return json.loads(data)
    return document if end == len(text) else json.loads(data)


def decode_npy(data: bytes, *, length: int | None = None) -> NDArray[np.float32]:
    """Decode a target vector: npy format 1.0, float32 little-endian, one dimension.

    Parameters
    ----------
    data
        An npy file.
    length
        The number of pathways it must have; None takes any.

    Returns
    -------
    ndarray
        (P,) float32, a copy that may be changed; NaN where a pathway is unmeasured.

    Raises
    ------
    HostileError
        When it holds Python objects, which could run code.
    DataError
        When it is anything else than such a vector, shorter or longer than its header says.
    """
    return np.frombuffer(npy_values(data, length=length), dtype="<f4").astype(np.float32)


def npy_values(data: bytes, *, length: int | None = None) -> bytes:
    """Give the bare little-endian float32 numbers of a target vector; see :func:`decode_npy`."""
    if data[:8] != _NPY_1_0:
        raise _bad("pathway.npy", "npy format 1.0", repr(data[:8]))
    begin = 10 + int.from_bytes(data[8:10], "little")
    (count,) = _npy_shape(data[:begin])
    if length is not None and count != length:
        raise _bad("pathway.npy", f"{length} pathways", str(count))
    if len(data) - begin != 4 * count:
        raise _bad("pathway.npy", f"{4 * count} bytes of numbers", str(len(data) - begin))
    return data[begin:]


@lru_cache(maxsize=64)
def _npy_shape(header: bytes) -> tuple[int]:
    # All vectors of a release have the same header, so its literal is parsed once, not once a pair.
    try:
        with warnings.catch_warnings():
            # numpy and the parser warn of odd literals; what is odd here is refused or a number all the same.
            warnings.simplefilter("ignore")
            shape, _, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise _bad("pathway.npy", "an npy header", str(error)) from error
    if dtype.hasobject:
        raise HostileError(
            "The pathway.npy of this pair holds Python objects, which could run code when read",
            expected="float32 numbers",
            found=f"dtype {dtype}",
            done="Nothing was unpickled",
        )
    if dtype != np.dtype("<f4") or len(shape) != 1:
        raise _bad("pathway.npy", "float32, one dimension", f"{dtype}, shape {shape}")
    return shape


def split_targets(vector: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Separate what was measured from what was not.

    Parameters
    ----------
    vector
        (..., P) float32, NaN where a pathway is unmeasured.

    Returns
    -------
    values, mask
        (..., P) float32 with 0 for every NaN, and bool, true where measured. ``vector`` stays as it is.
    """
    mask = ~np.isnan(vector)
    return np.where(mask, vector, np.float32(0)), mask


def _bad(member: str, expected: str, found: str) -> DataError:
    return DataError(
        f"The {member} of this pair cannot be read",
        code="pair-unreadable",
        expected=expected,
        found=found,
        done="The run stops rather than leave the pair out",
        todo="Run humanst verify on the release",
    )
