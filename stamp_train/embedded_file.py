"""Files of embeddings: one reader for all of them, which looks before it believes.

Files come from elsewhere: what reads from other files, or grows out of all proportion when it is opened, is refused
before a value is read. ``.h5`` is as TRIDENT writes it, ``features`` beside ``coords``; ``.parquet`` has ``features``
as lists. Files written here say in ``humanst`` what made them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, HostileError, IntegrityError

if TYPE_CHECKING:
    import h5py
    import pyarrow.parquet as pq

FACTS = "humanst"
FEATURES, COORDS = "features", "coords"
H5_SUFFIXES = (".h5", ".hdf5")
SUFFIXES = (*H5_SUFFIXES, ".parquet")
# A slide of 100,000 patches by 2,560 float32 features is 1 GB; and features hardly shrink.
MAX_BYTES = 16 << 30
FREE_BYTES = 64 << 20
MAX_RATIO = 1000
MAX_FACTS_BYTES = 1 << 20
_TEXT_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """What was read of a file.

    Attributes
    ----------
    arrays
        Name -> values, of those wanted that are there: numbers as stored, text as str objects.
    names
        Everything the file has.
    facts
        What it says of its own making; empty for files from elsewhere.
    """

    arrays: Mapping[str, NDArray[Any]]
    names: tuple[str, ...]
    facts: Mapping[str, Any]


def read_file(path: Path, wanted: Sequence[str]) -> Content:
    """Read some of what a file holds.

    Parameters
    ----------
    path
        ``.h5``, ``.hdf5`` or ``.parquet``.
    wanted
        Datasets or columns; one that is not there is left out.

    Raises
    ------
    IntegrityError
        When it cannot be read as what it is called.
    DataError
        ``features-shape`` when rows differ in length or lack a value.
    HostileError
        When it reads from other files, or grows too much.
    """
    try:
        return _read_h5(path, wanted) if path.suffix in H5_SUFFIXES else _read_parquet(path, wanted)
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _read_h5(path: Path, wanted: Sequence[str]) -> Content:
    import h5py

    with h5py.File(path, "r") as file:
        # All are looked at before any is read.
        sets = {name: _looked_at(file, path, name) for name in wanted if name in file}
        arrays = {name: _values(dataset, path) for name, dataset in sets.items()}
        return Content(arrays, tuple(file), _h5_facts(file))


def _looked_at(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    import h5py

    link = file.get(name, getlink=True)
    dataset = file[name] if isinstance(link, h5py.HardLink) else None
    if isinstance(dataset, h5py.Group):
        raise DataError(
            "This features file has no features",
            code="features-missing",
            file=path,
            field=name,
            expected="a dataset, one row a patch",
            found="a group",
        )
    if dataset is None or dataset.external or dataset.is_virtual:
        raise HostileError(
            "This HDF5 file reads from other files",
            code="h5-reaches-out",
            file=path,
            field=name,
            expected="a dataset inside the file alone",
            done="It was not read",
        )
    _bound(path, name, "h5-bomb", dataset.nbytes, dataset.id.get_storage_size())
    return dataset


def _bound(path: Path, name: str, code: str, n_bytes: int, stored: int) -> None:
    if n_bytes > min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * stored)):
        raise HostileError(
            "This features file grows too much",
            code=code,
            file=path,
            field=name,
            expected=f"at most {MAX_RATIO} times what is stored, and {MAX_BYTES:,} bytes",
            found=f"{n_bytes:,} bytes, {stored:,} of them stored",
            done="It was not read",
        )


def _values(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is None:
        return np.asarray(dataset[()]) if dataset.dtype.kind in "fiub" else np.empty((0, 0), dtype="V1")
    text = dataset.asstr()
    if dataset.ndim != 1:
        return np.asarray(text[()], dtype=object)
    # A row of text of any length points to where the text is: many rows may share one that is long.
    found: list[str] = []
    n_letters = 0
    for start in range(0, len(dataset), _TEXT_BLOCK):
        block = text[start : start + _TEXT_BLOCK].tolist()
        n_letters += sum(map(len, block))
        _bound(path, dataset.name, "h5-bomb", n_letters, path.stat().st_size)
        found += block
    return np.array(found, dtype=object)


def _h5_facts(file: h5py.File) -> Mapping[str, Any]:
    if FACTS not in file.attrs or file.attrs.get_id(FACTS).get_storage_size() > MAX_FACTS_BYTES:
        return {}
    return _facts(file.attrs[FACTS])


def _facts(text: Any) -> Mapping[str, Any]:
    """What a file says of itself; what is no JSON object says nothing."""
    try:
        found = json.loads(text) if len(text) <= MAX_FACTS_BYTES else None
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_parquet(path: Path, wanted: Sequence[str]) -> Content:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            here = [name for name in wanted if name in names]
            for name in here:
                _look_at_column(file, path, name)
            table = file.read(columns=here)
            facts = (file.schema_arrow.metadata or {}).get(FACTS.encode(), b"")
    except pa.ArrowException as error:
        raise _unreadable(path, error) from error
    return Content({name: _column(table[name], path, name) for name in here}, names, _facts(facts))


def _look_at_column(file: pq.ParquetFile, path: Path, name: str) -> None:
    n_bytes = stored = 0
    for group in range(file.metadata.num_row_groups):
        for number in range(file.metadata.num_columns):
            part = file.metadata.row_group(group).column(number)
            if part.path_in_schema.split(".")[0] == name:
                # Values that are all alike are stored once, whatever their number.
                n_bytes += max(part.total_uncompressed_size, 8 * part.num_values)
                stored += part.total_compressed_size
    _bound(path, name, "parquet-bomb", n_bytes, stored)


def _column(column: Any, path: Path, name: str) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.combine_chunks()
    if column.null_count:
        raise _uneven(path, name, f"{column.null_count} rows without")
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if isinstance(column, pa.ChunkedArray) or len(column) == 0:
        return np.empty((0, 0), dtype=np.float32)
    lengths = pc.unique(pc.list_value_length(column))
    if len(lengths) != 1:
        raise _uneven(path, name, f"{len(lengths)} lengths")
    flat = column.flatten()
    if flat.null_count:
        raise _uneven(path, name, f"{flat.null_count} values without a number")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def _uneven(path: Path, name: str, found: str) -> DataError:
    return DataError(
        "Features have another shape or type",
        code="features-shape",
        file=path,
        field=name,
        expected="a value in every row, and lists of equal length",
        found=found,
    )


def _unreadable(path: Path, error: Exception) -> IntegrityError:
    found = " ".join(str(error).split())[:300]
    return IntegrityError("This features file cannot be read", code="features-unreadable", file=path, found=found)
