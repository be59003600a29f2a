"""Which files of a folder look like whose: vendors' file names, and the sections they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath

from humanst.builder.matching import SECTION

_GZ = r"(?:\.gz)?"
_PREFIX = r"(?P<prefix>.*?)"
IMAGE_SUFFIXES = frozenset({".btf", ".jpeg", ".jpg", ".ndpi", ".png", ".svs", ".tif", ".tiff"})
# Pictures that vendors put beside the H&E image and that are none.
NO_HISTOLOGY = re.compile(
    r"aligned_fiducials|detected_tissue|cytassist|tissue_(hires|lowres)|morphology|dapi|tissue_image_aligned", re.I
)
# From the surest name to the last resort; the first that a section has is its file for the role.
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "scalefactors": (("", rf"{_PREFIX}scalefactors_json\.json{_GZ}"),),
    "positions": (
        ("", rf"{_PREFIX}tissue_positions\.(?:csv|parquet){_GZ}"),
        ("", rf"{_PREFIX}tissue_positions_list\.csv{_GZ}"),
    ),
    "hires": (("", rf"{_PREFIX}tissue_hires_image\.(?:png|jpe?g){_GZ}"),),
    "lowres": (("", rf"{_PREFIX}tissue_lowres_image\.(?:png|jpe?g){_GZ}"),),
    "counts": (
        ("", rf"{_PREFIX}filtered_feature_bc_matrix\.h5{_GZ}"),
        ("", rf"{_PREFIX}raw_feature_bc_matrix\.h5{_GZ}"),
        ("", rf"{_PREFIX}raw_probe_bc_matrix\.h5{_GZ}"),
        ("", rf"{_PREFIX}cell_feature_matrix\.h5{_GZ}"),
    ),
    **{
        role: (
            ("filtered_feature_bc_matrix", rf"{_PREFIX}{role}\.{suffix}{_GZ}"),
            ("raw_feature_bc_matrix", rf"{_PREFIX}{role}\.{suffix}{_GZ}"),
            ("", rf"{_PREFIX}{role}\.{suffix}{_GZ}"),
        )
        for role, suffix in (("matrix", "mtx"), ("features", "tsv"), ("barcodes", "tsv"))
    },
    "transcripts": (
        ("", rf"{_PREFIX}transcripts\w*\.parquet"),
        ("", rf"{_PREFIX}transcripts\w*\.csv{_GZ}"),
        ("", rf"{_PREFIX}transcripts\.zarr\.zip"),
    ),
    "cells": (("", rf"{_PREFIX}cells\.parquet"), ("", rf"{_PREFIX}cells\.csv{_GZ}")),
    "experiment": (("", rf"{_PREFIX}experiment\.xenium"),),
    "panel": (("", rf"{_PREFIX}gene_panel\.json"),),
    "alignment": (("", rf"{_PREFIX}.*imagealignment\.csv"),),
}
_COMPILED = {role: [(folder, re.compile(text, re.I)) for folder, text in names] for role, names in NAMES.items()}
_BELOW_ROOT = frozenset({"spatial", "filtered_feature_bc_matrix", "raw_feature_bc_matrix"})
_BINS = re.compile(r"square_(\d+)um")
# The vendor's finer binning that squares of 56 and 112 um can be made of comes first.
BIN_ORDER = ("square_008um", "square_016um", "square_002um")


@dataclass(slots=True)
class Bundle:
    """The files of one section that a vendor's names put together.

    Attributes
    ----------
    root
        Folder that the files lie in or below; empty for the folder itself.
    prefix
        What stands before the vendor's file names, as in GEO supplements.
    files
        Role -> relative path.
    others
        Files of the same role that were not taken.
    """

    root: str
    prefix: str
    files: dict[str, str] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)

    @property
    def platform(self) -> str | None:
        """The platform that the roles at hand speak of; ``None`` when they are not enough to tell."""
        if "transcripts" in self.files or "experiment" in self.files:
            return "xenium"
        if not {"positions", "scalefactors"} & set(self.files):
            return None
        return "visium_hd" if self.files.get("positions", "").endswith(".parquet") else "visium"


def find_bundles(paths: Iterable[str]) -> tuple[list[Bundle], list[Bundle]]:
    """Group files by the section that their names and folders speak of; sorted by folder.

    Returns
    -------
    bundles
        Those whose platform can be told.
    loose
        Count matrices without the positions that would make a section of them.
    """
    found: dict[tuple[str, str], Bundle] = {}
    ranks: dict[tuple[str, str, str], int] = {}
    for path in sorted(paths):
        for role, rank, prefix in _roles_of(path):
            key = (_root_of(path), prefix)
            bundle = found.setdefault(key, Bundle(*key))
            known = ranks.get((*key, role))
            if known is None or rank < known:
                if known is not None:
                    bundle.others.setdefault(role, []).append(bundle.files[role])
                bundle.files[role], ranks[(*key, role)] = path, rank
            else:
                bundle.others.setdefault(role, []).append(path)
    ordered = [found[key] for key in sorted(found)]
    bundles = [bundle for bundle in ordered if bundle.platform is not None]
    roots = {bundle.root for bundle in bundles}
    loose = [
        bundle
        for bundle in ordered
        if bundle.platform is None
        and {"counts", "matrix"} & set(bundle.files)
        and not any(f"{bundle.root}/".startswith(f"{root}/" if root else "") for root in roots)
    ]
    return sorted(_finest_bins(bundles), key=lambda bundle: (bundle.root, bundle.prefix)), loose


def _roles_of(path: str) -> Iterable[tuple[str, int, str]]:
    pure = PurePosixPath(path)
    for role, names in _COMPILED.items():
        for rank, (folder, expression) in enumerate(names):
            match = expression.fullmatch(pure.name)
            if match is not None and (not folder or pure.parent.name == folder):
                yield role, rank, match["prefix"]
                break


def _root_of(path: str) -> str:
    parts = list(PurePosixPath(path).parts[:-1])
    while parts and parts[-1] in _BELOW_ROOT:
        parts.pop()
    return "/".join(parts)


def _finest_bins(bundles: list[Bundle]) -> list[Bundle]:
    """Of several binnings of one HD section, the one that pooling starts from; other bundles as they are."""
    kept: dict[str, Bundle] = {}
    rest: list[Bundle] = []
    for bundle in bundles:
        name = PurePosixPath(bundle.root).name
        if bundle.platform != "visium_hd" or not _BINS.fullmatch(name):
            rest.append(bundle)
            continue
        section = str(PurePosixPath(bundle.root).parent)
        other = kept.get(section)
        if other is None or _bin_rank(name) < _bin_rank(PurePosixPath(other.root).name):
            kept[section] = bundle
    return [*rest, *kept.values()]


def _bin_rank(name: str) -> int:
    return BIN_ORDER.index(name) if name in BIN_ORDER else len(BIN_ORDER)


def bin_um(bundle: Bundle) -> float:
    """The bin side that the folder of an HD bundle names; 8 um where it names none."""
    match = _BINS.search(bundle.root)
    return float(match[1]) if match else 8.0


def folders_of(bundle: Bundle) -> set[str]:
    """Where files of a section may lie: its root, and the folders above that only a vendor's name parts from it."""
    folders = {bundle.root}
    parts = PurePosixPath(bundle.root).parts
    while parts and (parts[-1] in ("outs", "binned_outputs") or _BINS.fullmatch(parts[-1])):
        parts = parts[:-1]
        folders.add("/".join(parts))
    return folders


def full_image(bundle: Bundle, sizes: Mapping[str, int]) -> tuple[str | None, list[str]]:
    """The largest picture beside a bundle that may be its full-resolution H&E image, and the others."""
    folders = folders_of(bundle)
    candidates = [
        path
        for path in sizes
        if "/".join(PurePosixPath(path).parts[:-1]) in folders
        and is_histology(path)
        and PurePosixPath(path).name.startswith(bundle.prefix)
    ]
    ordered = sorted(candidates, key=lambda path: (-sizes[path], path))
    return (ordered[0], ordered[1:]) if ordered else (None, [])


def is_histology(path: str) -> bool:
    """Whether a name may be that of a histology picture."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() in IMAGE_SUFFIXES and not NO_HISTOLOGY.search(pure.name)


def name_sections(bundles: list[Bundle]) -> dict[str, Bundle]:
    """Section id -> bundle, for bundles with a part of their folder, or a prefix, of their own."""
    if len(bundles) == 1:
        return {"": bundles[0]}
    part = _telling_part(bundles)
    if part is not None:
        return {PurePosixPath(bundle.root).parts[part]: bundle for bundle in bundles}
    return {bundle.prefix.rstrip("_.-"): bundle for bundle in bundles}


def _telling_part(bundles: list[Bundle]) -> int | None:
    """The deepest part of the folders that no two bundles share; ``None`` when there is none."""
    columns = list(zip(*(PurePosixPath(bundle.root).parts for bundle in bundles), strict=True))
    return next((index for index in reversed(range(len(columns))) if len(set(columns[index])) == len(bundles)), None)


def group_alike(bundles: list[Bundle]) -> list[list[Bundle]]:
    """Bundles that one set of patterns can describe: one platform, folders of one depth."""
    groups: list[list[Bundle]] = []
    for bundle in bundles:
        home = next((group for group in groups if _alike([*group, bundle])), None)
        if home is None:
            groups.append([bundle])
        else:
            home.append(bundle)
    return groups


def _alike(bundles: list[Bundle]) -> bool:
    first, last = bundles[0], bundles[-1]
    one, other = PurePosixPath(first.root).parts, PurePosixPath(last.root).parts
    if first.platform != last.platform or len(one) != len(other):
        return False
    if one == other:
        # One folder with a prefix a section, as in GEO supplements.
        return all(bundle.root == first.root for bundle in bundles)
    return first.prefix == last.prefix and _telling_part(bundles) is not None


def template(files: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """One pattern for section -> path, with ``{section}`` and ``*``; and the paths it does not describe.

    Where paths have different depths, the most common depth wins.
    """
    if list(files) == [""]:
        return files[""], {}
    spelled = {section: _insert(section, path) for section, path in files.items()}
    depths = [text.count("/") for text in spelled.values()]
    depth = max(sorted(set(depths)), key=depths.count)
    alike = {section: text for section, text in spelled.items() if text.count("/") == depth}
    parts = zip(*(text.split("/") for text in alike.values()), strict=True)
    return "/".join(_merge(list(column)) for column in parts), {
        section: path for section, path in files.items() if section not in alike
    }


def _insert(section: str, path: str) -> str:
    # Beside a letter or digit an id is part of another word: A1 is not in A12.
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(section)}(?![A-Za-z0-9])", SECTION, path)


def _merge(parts: list[str]) -> str:
    """One pattern for one part of all paths: what they share at both ends, and the section id where all have it."""
    if len(set(parts)) == 1:
        return parts[0]
    if all(SECTION in part for part in parts):
        before, after = zip(*(part.split(SECTION, 1) for part in parts), strict=True)
        return f"{_merge(list(before))}{SECTION}{_merge(list(after))}"
    head = _shared_head(parts)
    tail = _shared_head([part[len(head) :][::-1] for part in parts])[::-1]
    return f"{head}*{tail}"


def _shared_head(texts: list[str]) -> str:
    """The characters that all texts begin with."""
    columns = zip(*texts, strict=False)
    return "".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))
