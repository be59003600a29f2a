"""Features of slides on the disk, and the bags they make.

A folder holds one file a slide, named after it: ``.h5`` with ``features`` (n, d) and ``coords`` (n, 2), as TRIDENT
and ``stamp-train embed`` write them, or ``.parquet`` with ``features`` as lists. Files come from elsewhere, so they
are looked at before they are believed, all of them before the first step of training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError
from humanst.files import canonical_json
from stamp_train.embedded_file import FEATURES, read_file
from stamp_train.slides.data import Cohort
from stamp_train.tier_notes import adapters_of

# What two files of one encoder have in common.
SAME = ("weights_sha256", "embedding", "image_px", "mean", "std")
SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".qptiff", ".dcm")


@dataclass(slots=True)
class Bags:
    """Features of every bag of a cohort.

    Attributes
    ----------
    files
        The files of each bag, one a slide.
    width
        Features a patch has.
    n_patches
        (n,) int64 patches of each bag.
    sha256
        Over the features of all slides, in the order of the bags.
    memory_bytes
        So much may stay in memory; the rest is read again in every epoch.
    leakage
        What the files say of leakage in the training of the adapter that made them.
    """

    files: list[list[Path]]
    width: int
    n_patches: NDArray[np.int64]
    sha256: str
    memory_bytes: int
    leakage: tuple[str, ...] = ()
    _kept: dict[int, NDArray[Any]] = field(default_factory=dict)
    _kept_bytes: int = 0

    def features(self, bag: int) -> NDArray[Any]:
        """Features (n, d) of a bag in their stored dtype: those of its slides, one below the other."""
        kept = self._kept.get(bag)
        if kept is not None:
            return kept
        features = np.concatenate([read_features(path) for path in self.files[bag]])
        if self._kept_bytes + features.nbytes <= self.memory_bytes:
            self._kept[bag] = features
            self._kept_bytes += features.nbytes
        return features


def open_bags(
    folders: Sequence[Path],
    cohort: Cohort,
    *,
    memory_bytes: int = 4 << 30,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Bags:
    """Find the file of every slide of a cohort, and read each once to see that it is sound.

    Parameters
    ----------
    folders
        Folders with one file a slide. A slide must be in one of them only.
    tell
        Called with slides read and slides in all.

    Raises
    ------
    DataError
        A file missing (``features-missing``) or ambiguous, features of another width, no patch, NaN or infinite
        values, the same features in two splits (``leakage``), files of several encoders (``features-encoders``).
    IntegrityError
        A file that is not what its name says, or is cut off.
    HostileError
        An HDF5 file that reads from other files or grows too much.
    """
    listed = _listed(folders)
    found = {slide: listed.get(slide) or listed.get(_stem(slide)) for slides in cohort.slides for slide in slides}
    missing = [slide for slide, path in found.items() if not path]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(found)} slides have no features file",
            code="features-missing",
            file=", ".join(str(folder) for folder in folders),
            expected=f"{missing[0]}.h5 or {missing[0]}.parquet",
            found=", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""),
            done="Nothing was trained",
            todo="Extract their features, or give the slides split `unused`",
        )
    files = [[_only(slide, found[slide]) for slide in slides] for slides in cohort.slides]
    width, counts, digest = _look_at_all(files, cohort, tell)
    return Bags(files, width, counts, digest, memory_bytes, _told([path for paths in files for path in paths]))


def _stem(slide: str) -> str:
    return slide[: -len(Path(slide).suffix)] if Path(slide).suffix.lower() in SLIDE_SUFFIXES else slide


def _listed(folders: Sequence[Path]) -> dict[str, list[Path]]:
    # Names are looked up among those that are there, so that no id can point outside the folder.
    listed: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".h5", ".parquet"):
                listed.setdefault(path.name[: -len(path.suffix)], []).append(path)
    return listed


def _only(slide: str, paths: list[Path] | None) -> Path:
    if paths is None or len(paths) != 1:
        names = ", ".join(str(path) for path in paths or [])
        raise DataError("A slide has more than one features file", code="features-twice", section=slide, found=names)
    return paths[0]


def _look_at_all(
    files: list[list[Path]], cohort: Cohort, tell: Callable[[int, int], None]
) -> tuple[int, NDArray[np.int64], str]:
    total = sum(len(paths) for paths in files)
    counts = np.zeros(len(files), dtype=np.int64)
    first: tuple[int, Path] | None = None
    splits: dict[bytes, tuple[str, Path]] = {}
    overall, done = hashlib.sha256(), 0
    for bag, paths in enumerate(files):
        for path in paths:
            features = read_features(path)
            first = first or (features.shape[1], path)
            _check_width(features, path, *first)
            digest = hashlib.sha256(np.ascontiguousarray(features).data).digest()
            split, other = splits.setdefault(digest, (cohort.splits[bag], path))
            if split != cohort.splits[bag]:
                raise DataError(
                    "Two slides of different splits have the same features",
                    code="leakage",
                    file=path,
                    found=f"{other} in {split}, {path} in {cohort.splits[bag]}",
                    done="Nothing was trained",
                    todo="One slide is there under two names: give one of them split `unused`",
                )
            overall.update(digest)
            counts[bag] += len(features)
            done += 1
            tell(done, total)
    return (first[0] if first else 0), counts, overall.hexdigest()


def _check_width(features: NDArray[Any], path: Path, width: int, first: Path) -> None:
    if features.shape[1] != width:
        raise DataError(
            "Slides have features of different width",
            code="features-width",
            file=path,
            field="features",
            expected=f"{width:,}, as in {first.name}",
            found=f"{features.shape[1]:,}",
            done="Nothing was trained",
            todo="Extract all slides with one model",
        )
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        raise DataError(
            "Features are NaN or infinite",
            code="features-not-finite",
            file=path,
            field="features",
            found=f"{bad:,} of {len(features):,} patches",
            done="Nothing was trained",
            todo="Extract this slide again (half precision overflows above 65,504)",
        )


def _told(paths: Sequence[Path]) -> tuple[str, ...]:
    """What files that say how they were made tell of leakage; they have to be of one encoder."""
    leakage: dict[str, None] = {}
    first: tuple[bytes, Path] | None = None
    for path in paths:
        facts = read_file(path, ()).facts
        if not isinstance(encoder := facts.get("encoder"), dict):
            continue
        own = canonical_json({name: encoder.get(name) for name in SAME})
        first = first or (own, path)
        if own != first[0]:
            raise DataError(
                "Slides have features of several encoders",
                code="features-encoders",
                file=path,
                field=", ".join(SAME),
                expected=f"those of {first[1].name}",
                found=own.decode(),
                done="Nothing was trained",
                todo="Extract all slides with one model",
            )
        leakage |= {str(said): None for adapter in adapters_of(facts) if (said := adapter.get("leakage"))}
    return tuple(leakage)


def read_features(path: Path) -> NDArray[Any]:
    """Features (n, d) of one slide in their stored floating dtype; a leading axis of length 1 is dropped.

    Raises
    ------
    DataError
        No ``features``, another shape or dtype, no patch.
    IntegrityError
        A file that cannot be read as what it is called.
    HostileError
        Data that lie in other files, or grow too much.
    """
    content = read_file(path, (FEATURES,))
    if FEATURES not in content.arrays:
        raise DataError(
            "This features file has no features",
            code="features-missing",
            file=path,
            field=FEATURES,
            expected="`features`, one row a patch",
            found=", ".join(content.names[:10]) or "nothing",
        )
    features = content.arrays[FEATURES]
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating) or 0 in features.shape:
        raise DataError(
            "Features have another shape or type",
            code="features-shape",
            file=path,
            field="features",
            expected="patches x features of floating point, at least one patch",
            found=f"{features.shape} of {features.dtype}",
        )
    return features
