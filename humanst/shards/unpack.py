"""Section stores of a release, unpacked beside their zips: ``sections/<sample_id>.zarr`` and its card.

The zips are the release; a store that is unpacked is a copy to work with, which neither SHA256SUMS nor another release
made from this one knows of. It has the bytes of the store as built, and the card that a build commits it with.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanst import files
from humanst.errors import HumanstError, UsageError
from humanst.fetch.archives import read_whole_zip
from humanst.store import CARD_SCHEMA, TreeDigest, card_path, is_current, require_tree, tree_digest

logger = logging.getLogger(__name__)


def unpack_stores(release: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Unpack the section stores of a release that are not unpacked yet; returns their ``sample_id``.

    Raises
    ------
    UsageError
        ``store-changed`` when something else lies where a store goes: it stays as it is.
    IntegrityError
        When a zip is damaged, or does not hold the store on record.
    HostileError
        When it holds links, unsafe names or more than it should.
    NoRoomError
        When the disk is full. No store is half there.
    """
    files.sweep_partials(release / "sections")
    done = []
    for row in manifest["sections"]:
        if "store" in row:
            try:
                fresh = _unpack(release, row["sample_id"], row["store"])
            except HumanstError as error:
                raise error.located(study=row["study_id"], section=row["sample_id"]) from None
            if fresh:
                done.append(row["sample_id"])
                logger.info("%s: the section store was unpacked", row["sample_id"])
    return done


def _unpack(release: Path, sample_id: str, about: Mapping[str, Any]) -> bool:
    """Whether the store had to be unpacked."""
    packed = release / about["path"]
    target = packed.with_name(packed.name.removesuffix(".zip"))
    if is_current(target, about["inputs"]):
        return False
    unpack_store(packed, target, sample_id, about)
    return True


def unpack_store(packed: Path, target: Path, sample_id: str, about: Mapping[str, Any]) -> None:
    """Unpack one store and commit it with its card.

    Parameters
    ----------
    about
        The store's row of the manifest.

    Raises
    ------
    UsageError
        ``store-changed`` when something else lies there.
    IntegrityError, HostileError, NoRoomError
        As for :func:`unpack_stores`.
    """
    tree = {key: about[key] for key in ("n_files", "n_bytes", "tree_sha256")}
    if target.exists():
        # A run that was killed before the card, or a store that somebody works with.
        _require_untouched(target, tree)
    else:
        _unpack_zip(packed, about["path"], target, tree)
    card = {"schema": CARD_SCHEMA, "inputs": about["inputs"], "sample_id": sample_id, **tree}
    files.write_json(card_path(target), card)


def _require_untouched(target: Path, tree: Mapping[str, Any]) -> None:
    found = tree_digest(target)
    if found != tree:
        raise UsageError(
            "An unpacked section store is not as it was unpacked",
            code="store-changed",
            file=target.name,
            expected=f"{tree['n_files']} files, {tree['n_bytes']:,} bytes, tree sha256 {tree['tree_sha256']}",
            found=f"{found['n_files']} files, {found['n_bytes']:,} bytes, tree sha256 {found['tree_sha256']}",
            done="It stays as it is",
            todo="Move it elsewhere if you need it, else remove it, and run the same command again",
        )


def _unpack_zip(packed: Path, name: str, target: Path, expected: Mapping[str, Any]) -> None:
    digest = TreeDigest()
    members = read_whole_zip(packed, name=name, max_files=expected["n_files"], max_bytes=expected["n_bytes"])
    with files.folder_aside(target) as partial:
        for member, blocks in members:
            with files.write_inside(partial / files.safe_relative_path(member)) as aside:
                for block in blocks:
                    aside.write(block)
            digest.add(member, aside.n_bytes, aside.sha256)
        require_tree(target.name, expected, digest.to_dict())
