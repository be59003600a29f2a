"""Open a release and believe nothing in it before its hash was seen.

``MANIFEST.json`` is the root: it holds the hash of every index and of every shard. An index is hashed when it is
read, a shard when it is opened for the first time in a process. Paths are taken relative to the release folder and
may not leave it by name; a symbolic link *inside* the folder is followed, since caches of large downloads are built
of links, and what it leads to must have the hash on record anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from humanst.errors import IntegrityError, UsageError
from humanst.files import safe_relative_path, sha256_file
from humanst.load.manifest import Shard, Split, get_field, invalid, parse_split, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from humanst.load.remote import Remote

# A patch is cut to be read: far above what any encoder takes, far below what memory takes.
MAX_SIDE_PX = 4096
_Stamp = tuple[str, int, int, int]
_verified: dict[Path, _Stamp] = {}


@dataclass(frozen=True, slots=True)
class Release:
    """An opened release. Make one with :func:`open_release`.

    Attributes
    ----------
    path
        The release folder.
    version
        Version of the release.
    pathway_names
        The P pathways, in the order of the target vectors.
    organs
        Organ name to label code.
    splits
        Split name to :class:`Split`.
    side_px
        Side of a patch in pixels.
    manifest
        The whole manifest, for what has no field of its own.
    remote
        Where it comes from, of a release at an address; ``path`` is its folder in the cache then.
    """

    path: Path
    version: str
    pathway_names: tuple[str, ...]
    organs: Mapping[str, int]
    splits: Mapping[str, Split]
    side_px: int
    manifest: Mapping[str, Any]
    remote: Remote | None = None

    def split(self, name: str) -> Split:
        """Look up the split called ``name``.

        Raises
        ------
        UsageError
            When there is none, naming those there are.
        """
        if name not in self.splits:
            raise UsageError(
                "This release has no such split",
                code="unknown-split",
                expected=" or ".join(sorted(self.splits)),
                found=repr(name),
            )
        return self.splits[name]

    def index(self, split: str) -> pa.Table:
        """Read the index of a split, one row a pair in shard order, and check it against the manifest.

        Raises
        ------
        IntegrityError
            When the file is missing or its sha256 is not the one on record.
        DataError
            When rows or columns are missing.
        """
        from humanst.load.index import read_index

        return read_index(self, self.split(split))

    def reliability(self) -> NDArray[np.float64] | None:
        """Weights of the pathways for a loss, as they were measured on the training sections of the release.

        Returns
        -------
        ``(P,)`` float64 from 0.1 to 1, in the order of ``pathway_names``; NaN where no training section has a pathway
        valid. ``None`` for a release without weights (`humanst add-targets --reliability` adds them).

        Raises
        ------
        DataError
            When there is not one number or null a pathway.
        """
        entry = self.manifest.get("reliability")
        if entry is None:
            return None
        weights = get_field(entry, "weights", list, below="reliability")
        good = all(weight is None or (isinstance(weight, float | int) and 0 <= weight <= 1) for weight in weights)
        if len(weights) != len(self.pathway_names) or not good:
            raise invalid("reliability.weights", f"{len(self.pathway_names)} numbers from 0 to 1", repr(weights[:3]))
        return np.array([np.nan if weight is None else weight for weight in weights], dtype=np.float64)

    def file(self, relative: str) -> Path:
        """Join a path from the manifest to the release folder.

        Raises
        ------
        HostileError
            When the name would leave the folder.
        """
        return self.path / safe_relative_path(relative)

    def local(self, relative: str, sha256: str) -> Path:
        """Path of a file that has this hash on record; fetched first when the release lies elsewhere.

        Raises
        ------
        HostileError
            When the name would leave the folder.
        HumanstError
            When it cannot be fetched.
        """
        return self.file(relative) if self.remote is None else self.remote.get(relative, sha256=sha256)

    def verify_shard(self, path: str) -> Path:
        """Check size and sha256 of a shard unless this process did so already and the file has not changed since.

        Parameters
        ----------
        path
            Path of the shard as in the manifest.

        Returns
        -------
        Path
            The shard, verified.

        Raises
        ------
        IntegrityError
            When the file is missing, has another size or another hash.
        UsageError
            When the release has no such shard.
        """
        shard = self._shard(path)
        file = self.file(shard.path)
        if self.remote is not None and (file not in _verified or not file.is_file()):
            file = self.remote.get(shard.path, sha256=shard.sha256, n_bytes=shard.n_bytes)
            _verified[file] = _stamp(file, shard)
            return file
        stamp = _stamp(file, shard)
        if _verified.get(file) == stamp:
            return file
        if stamp[1] != shard.n_bytes:
            expected, found = f"{shard.n_bytes:,} bytes", f"{stamp[1]:,} bytes"
            raise not_on_record(shard.path, expected=expected, found=found)
        digest = sha256_file(file)
        if digest != shard.sha256:
            raise not_on_record(shard.path, expected=f"sha256 {shard.sha256}", found=f"sha256 {digest}")
        _verified[file] = stamp
        return file

    def _shard(self, path: str) -> Shard:
        for split in self.splits.values():
            for shard in split.shards:
                if path == shard.path:
                    return shard
        raise UsageError("This release has no such shard", code="unknown-shard", found=repr(path))


def not_on_record(file: str, *, expected: str, found: str) -> IntegrityError:
    """Make the error for a file of a release whose bytes are not the ones the manifest records."""
    return IntegrityError(
        "This file is not the one the release was published with",
        file=file,
        expected=expected,
        found=found,
        done="No pair was read from it",
        todo="Fetch this file again; if you built the release yourself, build it again",
    )


def _stamp(file: Path, shard: Shard) -> _Stamp:
    try:
        status = file.stat()
    except OSError as error:
        raise not_on_record(shard.path, expected=f"a file of {shard.n_bytes:,} bytes", found=str(error)) from error
    return shard.sha256, status.st_size, status.st_mtime_ns, status.st_ino


def verified_stamps() -> dict[Path, _Stamp]:
    """List what this process has verified, to hand to a worker process (:func:`accept_stamps`)."""
    return dict(_verified)


def accept_stamps(stamps: Mapping[Path, _Stamp]) -> None:
    """Take over what the parent process verified; a file that changed since has another stamp and is hashed again."""
    _verified.update(stamps)


def open_release(path: str | Path | Release, *, manifest_sha256: str | None = None) -> Release:
    """Open a release folder, or the one at an address.

    Parameters
    ----------
    path
        The folder, whatever its name, also as ``file:///...``; or ``https://``, ``hf://`` or ``s3://`` and the place of
        such a folder, whose files are fetched into the cache when they are needed. An already opened release is
        returned as it is.
    manifest_sha256
        Of a release at an address: the hash its manifest must have. Without one the first that comes is believed.

    Returns
    -------
    Release

    Raises
    ------
    DataError
        When there is no manifest, its schema is unknown, or a field is missing or of the wrong kind.
    HostileError
        When a path in the manifest leaves the folder.
    """
    if isinstance(path, Release):
        return path
    folder, remote = _place(path, manifest_sha256)
    manifest = read_manifest(folder)
    names = get_field(manifest, "pathways.names", list)
    if not all(isinstance(name, str) for name in names):
        raise invalid("pathways.names", "strings", repr(names[:3]))
    return Release(
        path=folder,
        version=get_field(manifest, "version", str),
        pathway_names=tuple(names),
        organs=dict(get_field(manifest, "organs", dict)),
        splits={name: parse_split(manifest, name) for name in get_field(manifest, "splits", dict)},
        side_px=_side_px(manifest),
        manifest=manifest,
        remote=remote,
    )


def _side_px(manifest: dict[str, Any]) -> int:
    """Side of a patch: what every image of a batch takes memory for before the first one is read."""
    side_px = get_field(manifest, "patch.side_px", int)
    if not 1 <= side_px <= MAX_SIDE_PX:
        raise invalid("patch.side_px", f"1 to {MAX_SIDE_PX:,} px", str(side_px))
    return side_px


def _place(path: str | Path, manifest_sha256: str | None) -> tuple[Path, Remote | None]:
    # What fetches is imported where something has to be fetched only.
    if not isinstance(path, str) or "://" not in path:
        return Path(path), None
    parts = urlsplit(path)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path)), None
    from humanst.load.remote import is_address, open_remote

    if not is_address(path):
        raise UsageError(
            "This is no address of a release",
            code="unknown-release",
            expected="a folder, or file://, https://, hf:// or s3:// and the place of one",
            found=repr(path),
        )
    remote = open_remote(path, manifest_sha256)
    return remote.folder, remote
