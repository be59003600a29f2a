"""Decoders against Pillow and numpy, and what they refuse."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from humanst.errors import DataError, HostileError, HumanstError
from humanst.load.decode import decode_jpg, decode_json, decode_npy, label_on_record, split_targets


def _npy(value: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, value, version=version)
    return out.getvalue()


def _jpg(side_px: int = 224) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling="444")


def test_a_jpg_decodes_to_the_pixels_pillow_sees() -> None:
    data = _jpg()
    assert np.array_equal(decode_jpg(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n", _jpg()[:100], _jpg()[:-2000], _jpg(64)])
def test_what_is_no_whole_patch_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="jpg"):
        decode_jpg(data)


@given(arrays(np.float32, st.integers(0, 60), elements=st.floats(width=32, allow_infinity=False)))
def test_targets_come_back_and_only_nan_is_masked(vector: np.ndarray) -> None:
    decoded = decode_npy(_npy(vector), length=vector.size)
    assert decoded.tobytes() == vector.tobytes()
    values, mask = split_targets(decoded)
    assert np.array_equal(mask, vector == vector)
    assert np.array_equal(values[mask], vector[mask])
    assert (values[~mask] == 0).all()
    assert not np.isnan(values).any()
    assert decoded.tobytes() == vector.tobytes()


@pytest.mark.parametrize(
    "data",
    [
        _npy(np.zeros(3, "<f8")),
        _npy(np.zeros(3, ">f4")),
        _npy(np.zeros((3, 1), "<f4")),
        _npy(np.zeros(4, "<f4")),
        _npy(np.zeros(3, "<f4"), (2, 0)),
        _npy(np.zeros(3, "<f4"))[:-1],
        _npy(np.zeros(3, "<f4")) + b"\x00",
        _npy(np.zeros(3, "<f4"))[:40],
        b"",
        b"\x93NUMPY\x01\x00",
    ],
)
def test_other_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"pathway\.npy"):
        decode_npy(data, length=3)


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_an_array_of_objects_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    out = io.BytesIO()
    np.save(out, np.array([Marker(marker)] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(HostileError, match="Python objects"):
        decode_npy(out.getvalue(), length=3)
    with pytest.raises(DataError):
        decode_npy(pickle.dumps(Marker(marker)), length=3)
    assert not marker.exists()


def test_json_needs_key_and_label() -> None:
    assert decode_json(b'{"key":"a_1","label":3,"n_counts":7}') == {"key": "a_1", "label": 3, "n_counts": 7}
    for document in ([], {"key": "a"}, {"label": 1}, {"key": "a", "label": "breast"}, {"key": "a", "label": True}):
        with pytest.raises(DataError, match="json"):
            decode_json(json.dumps(document).encode())
    with pytest.raises(DataError, match="json"):
        decode_json(b'{"key":')


def npy_with_header(text: str) -> bytes:
    header = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(20)


@pytest.mark.parametrize(
    "header",
    [
        *(
            "{[]: 1}",
            "'''",
            "  a\n b",
            "(" * 3000,
            "-" * 5000 + "1",
            "\0",
            "{'descr': '<04'}",
            "{'descr': ('<f4', (-1,))}",
        ),
        *("{'descr': '<f4', 'fortran_order': False, 'shape': (-5,), }", "{'descr': 1 +, 'shape': 4'}"),
    ],
)
def test_any_header_of_a_vector_is_read_or_refused(header: str) -> None:
    with pytest.raises(DataError):
        decode_npy(npy_with_header(header))


@given(
    st.lists(st.tuples(st.integers(8, 127), st.sampled_from(b"{}[]()'\",:|O<f48\n\\ \0\xff#LTF+-*.0j")), max_size=20)
)
def test_a_changed_header_never_fails_in_another_way(changes: list[tuple[int, int]]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.arange(5, dtype="<f4"), version=(1, 0))
    data = bytearray(out.getvalue())
    for place, byte in changes:
        data[place] = byte
    with contextlib.suppress(HumanstError):
        assert decode_npy(bytes(data)).dtype == np.float32


@pytest.mark.parametrize(
    "data",
    [b"[" * 200_000, b'{"key": "a", "label": 1' + b"0" * 30 + b"}", b'{"key": "a", "label": ' + b"1" * 5000 + b"}"],
)
def test_json_that_breaks_a_parser_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="json"):
        decode_json(data)


PLAIN = {"blur": 0.5, "key": "a_1", "label": 12, "spot_id": "x-1", "n_counts": 7}
TRICKY: dict[str, tuple[dict[str, Any], bool]] = {
    "plain": (PLAIN, True),
    "label last": ({"key": "a_1", "label": 0}, True),
    "text that looks like a field": ({**PLAIN, "organ": '"label": 3, "key": "a_1"'}, True),
    "text that is a name": ({**PLAIN, "organ": "label"}, False),
    "another key": ({**PLAIN, "key": "a_12"}, False),
    "the key elsewhere": ({**PLAIN, "key": "b_1", "uid": "a_1"}, False),
    "nested": ({"key": "a_1", "more": {"label": 3}}, False),
    "no label": ({"key": "a_1"}, False),
    "a label of another kind": ({**PLAIN, "label": 1.5}, False),
    "below zero": ({**PLAIN, "label": -1}, False),
    "exponent": ({**PLAIN, "label": 1e300}, False),
}


@pytest.mark.parametrize("case", TRICKY)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_label_is_found_without_parsing_only_where_it_is_that_of_the_document(
    case: str, separators: tuple[str, str]
) -> None:
    document, plain = TRICKY[case]
    data = json.dumps(document, separators=separators).encode()
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    assert label_on_record(data, digest, "a_1") == (document["label"] if plain else None)
    for number in range(len(data)):
        changed = bytes([*data[:number], data[number] ^ 1, *data[number + 1 :]])
        assert label_on_record(changed, digest, "a_1") is None
    assert label_on_record(data[:-1], digest, "a_1") is None
