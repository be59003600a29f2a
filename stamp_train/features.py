"""Embeddings of the pairs of a release: read from h5 or parquet, and joined with what the release says of each pair.

Nothing is lost in silence: an embedding of no pair, a pair without an embedding, an id that comes twice or a value that
is no number is an error that counts them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, UsageError
from stamp_train.embedded_file import FEATURES, SUFFIXES, read_file

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.release import Release

ID_COLUMNS = ("uid", "key")
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A file of embeddings.

    Attributes
    ----------
    features
        (n, d) float32.
    ids
        (n,) what the rows are called.
    id_column
        ``"uid"`` or ``"key"``: what the ids are in the index of a release.
    file
        Name of the file, for messages.
    facts
        What the file says of its making; empty where it says nothing.
    """

    features: NDArray[np.float32]
    ids: tuple[str, ...]
    id_column: str
    file: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embedded:
    """Pairs of a release and their embeddings, row by row, in the order of the index.

    Attributes
    ----------
    features
        (n, d) float32.
    pairs
        n rows: the describing columns of the index, and ``split``.
    rows
        (n,) int64: which of all pairs of these splits, counted split after split, each row is.
    missing
        Keys of the pairs that have no embedding; empty unless these were allowed.
    n_elsewhere
        Embeddings of pairs of other splits of the release, not used here.
    """

    features: NDArray[np.float32]
    pairs: pd.DataFrame
    rows: NDArray[np.int64]
    missing: tuple[str, ...]
    n_elsewhere: int


def read_embeddings(path: Path) -> Embeddings:
    """Read embeddings.

    Parameters
    ----------
    path
        An ``.h5`` file with the datasets ``features`` (n, d) and ``uid`` or ``key`` (n,) text, or a ``.parquet`` file
        with columns of these names, ``features`` being lists of equal length. Where both ids are there, ``uid`` counts.

    Raises
    ------
    UsageError
        For another kind of file.
    IntegrityError
        When the file is torn.
    DataError
        When it lacks a part, holds an id twice, rows of other numbers, or what is no number.
    HostileError
        When it sends its reader to other files, or grows too much.
    """
    if path.suffix not in SUFFIXES:
        expected, found = " or ".join(SUFFIXES), path.suffix or "no suffix"
        raise UsageError("Embeddings come in another kind of file", file=path.name, expected=expected, found=found)
    content = read_file(path, (FEATURES, *ID_COLUMNS))
    id_column = next((name for name in ID_COLUMNS if name in content.names), "")
    if FEATURES not in content.names or not id_column:
        raise _bad(path, f"{FEATURES}, and uid or key", ", ".join(content.names) or "nothing")
    features, names = content.arrays[FEATURES], content.arrays[id_column]
    if features.ndim != 2 or features.dtype.kind != "f" or 0 in features.shape:
        raise _bad(path, "features (n, d) of floating point", f"{features.dtype} of shape {features.shape}")
    ids = tuple(names.reshape(-1).tolist())
    if not all(isinstance(name, str) for name in ids):
        raise _bad(path, f"strings as {id_column}", str(names.dtype))
    if len(ids) != len(features):
        raise _bad(path, f"{len(features)} values of {id_column}", str(len(ids)))
    if n_repeated := len(ids) - len(set(ids)):
        raise _bad(path, f"each {id_column} once", f"{n_repeated} more")
    if n_bad := int((~np.isfinite(features).all(axis=1)).sum()):
        raise _bad(path, "finite features", f"{n_bad} rows with NaN or infinity")
    return Embeddings(features.astype(np.float32, copy=False), ids, id_column, path.name, content.facts)


def _bad(path: Path, expected: str, found: str) -> DataError:
    what = "These embeddings cannot be used"
    return DataError(what, code="embeddings-invalid", file=path.name, expected=expected, found=found)


def join(
    embeddings: Embeddings,
    release: str | Path | Release,
    splits: Sequence[str] = ("test",),
    *,
    allow_missing: bool = False,
) -> Embedded:
    """Put embeddings beside the pairs of some splits of a release.

    Parameters
    ----------
    embeddings
        See :func:`read_embeddings`; in any order, of these pairs and perhaps of other splits.
    release
        A release, or its folder.
    splits
        Splits whose pairs are wanted.
    allow_missing
        Take the pairs that have an embedding and name the others, rather than refuse.

    Raises
    ------
    UsageError
        For an unknown split.
    DataError
        ``embeddings-strange`` when some are of no pair of this release; ``embeddings-missing`` when pairs have none.
    """
    import pandas as pd

    from humanst.load.release import open_release

    release = open_release(release)
    wanted = [pairs_of(release, split) for split in dict.fromkeys(splits)]
    pairs = pd.concat(wanted, ignore_index=True)
    place = {name: row for row, name in enumerate(embeddings.ids)}
    rows = np.array([place.get(name, -1) for name in pairs[embeddings.id_column]], dtype=np.int64)
    missing = tuple(pairs["key"][rows < 0])
    others = set(embeddings.ids) - set(pairs[embeddings.id_column])
    for split in release.splits:
        if others and split not in splits:
            others -= set(release.index(split)[embeddings.id_column].to_pylist())
    if others:
        found = f"{len(others)} others, for example {', '.join(sorted(others)[:3])}"
        raise DataError(
            "Embeddings are of no pair of this release",
            code="embeddings-strange",
            file=embeddings.file,
            expected=f"values of {embeddings.id_column} that the release has",
            found=found,
            todo="Embed this release; the uid of a pair stays the same over re-sharding, not over patch sizes",
        )
    if missing and not allow_missing:
        raise DataError(
            "Pairs have no embedding",
            code="embeddings-missing",
            file=embeddings.file,
            expected=f"{len(pairs)} pairs of {', '.join(splits)}",
            found=f"{len(missing)} without, for example {', '.join(missing[:3])}",
            todo="Embed these splits whole",
        )
    used = np.flatnonzero(rows >= 0)
    taken = pairs.iloc[used].reset_index(drop=True)
    return Embedded(embeddings.features[rows[used]], taken, used, missing, len(embeddings.ids) - len(used))


def pairs_of(release: Release, split: str) -> pd.DataFrame:
    """Give the pairs of a split in the order of the index: its describing columns, and ``split``."""
    from humanst.load.index import Rows

    return Rows(release, split).to_pandas().assign(split=split)


def donors_of(release: Release, splits: Sequence[str]) -> list[str]:
    """Donor groups of some splits, sorted."""
    return sorted({name for split in splits for name in pairs_of(release, split)["donor_group"]})


def mean_rgb(release: str | Path | Release, split: str) -> NDArray[np.float32]:
    """Mean colour of every patch, the simplest embedding there is.

    Returns
    -------
    ndarray
        (n, 3) float32, 0 to 255, in the order of the index.

    Raises
    ------
    HumanstError
        See :class:`humanst.load.PairDataset`.
    """
    from humanst.load import PairDataset

    # A pair that cannot be decoded stops here: a row left out would move all after it.
    dataset = PairDataset(release, split, max_corrupt=0)
    found = np.empty((len(dataset), 3), dtype=np.float32)
    for start in range(0, len(dataset), _BATCH):
        rows = range(start, min(start + _BATCH, len(dataset)))
        found[start : rows.stop] = np.asarray(dataset.__getitems__(rows).images).mean(axis=(1, 2))
    return found


def read_labels(path: Path, keys: Sequence[str]) -> NDArray[np.str_]:
    """Read what pathologists called spots.

    Parameters
    ----------
    path
        A csv file with the columns ``key`` and ``label``.
    keys
        (n,) keys of pairs.

    Returns
    -------
    ndarray
        (n,) text, empty where the file says nothing.

    Raises
    ------
    DataError
        When it is no CSV in UTF-8, a column is missing, a key comes twice, or a key is none of these.
    """
    what = "These labels cannot be used"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(what, code="labels-invalid", file=path.name, expected="CSV in UTF-8", found=error) from error
    if not rows or not {"key", "label"} <= set(rows[0]):
        found = ", ".join(rows[0]) if rows else "no row"
        raise DataError(what, code="labels-invalid", file=path.name, expected="columns key and label", found=found)
    labels = {row["key"] or "": (row["label"] or "").strip() for row in rows}
    strange = sorted(set(labels) - set(keys))
    if strange or len(labels) < len(rows):
        found = f"{len(strange)} keys of no pair ({', '.join(strange[:3])}), {len(rows) - len(labels)} repeated"
        raise DataError(what, code="labels-invalid", file=path.name, expected="each key of a pair once", found=found)
    return np.array([labels.get(key, "") for key in keys], dtype=str)
