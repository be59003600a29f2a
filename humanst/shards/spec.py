"""What a release is made with: patch, pathways, splits. One frozen value that goes into the plan and the manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from humanst.files import canonical_json
from humanst.pathways import PathwayChoice
from humanst.splits import DEFAULT_SHARES
from humanst.tiles import PatchSpec

RELEASE_SCHEMA = "humanst.release/1"
PLAN_SCHEMA = "humanst.plan/1"
SHARD_CARD_SCHEMA = "humanst.shard-card/1"
EXTRACT_SCHEMA = "humanst.extract/1"
PACK_SCHEMA = "humanst.pack/1"
# Raised whenever the same inputs would give other patches, targets or shards.
EXTRACT_VERSION = 4
PACK_VERSION = 1
_OTHER = re.compile("[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    """The parameters of a release.

    Attributes
    ----------
    version
        Name of the release's version, as the user gives it.
    gene_sets_path, gene_sets_sha256
        The GMT file, and its hash (the hash goes into the release, the path does not).
    assigned
        ``donor_id`` (or ``sample_id``) -> split, from ``--assign``.
    shares
        Shares of train, val and test for groups that nobody assigned.
    shard_pairs
        Pairs in a full shard.
    seed
        Goes into the order of pairs.
    choice
        How the pathways are made of the gene sets.
    """

    version: str
    gene_sets_path: Path
    gene_sets_name: str
    gene_sets_sha256: str
    patch: PatchSpec = field(default_factory=PatchSpec)
    assigned: tuple[tuple[str, str], ...] = ()
    shares: tuple[float, float, float] = DEFAULT_SHARES
    shard_pairs: int = 4096
    seed: int = 0
    choice: PathwayChoice = field(default_factory=PathwayChoice)

    def patch_hash(self) -> str:
        """Identity of a patch's pixels, part of every ``uid``; which spots are kept does not enter."""
        pixels = {name: getattr(self.patch, name) for name in ("side_px", "um_per_pixel", "quality", "subsampling")}
        return hashlib.sha256(canonical_json(pixels)).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON-able data, without machine paths."""
        record = self.choice.record()
        return {
            "version": self.version,
            "patch": asdict(self.patch),
            "gene_sets": {"name": self.gene_sets_name, "sha256": self.gene_sets_sha256}
            | ({"options": record} if record else {}),
            "assigned": dict(self.assigned),
            "shares": list(self.shares),
            "shard_pairs": self.shard_pairs,
            "seed": self.seed,
        }


def uid_of(sample_id: str, spot_id: str, patch_hash: str) -> str:
    """128-bit hex identity of a pair: (sample, spot, patch specification), stable across re-sharding."""
    return hashlib.blake2b(f"{sample_id}\0{spot_id}\0{patch_hash}".encode(), digest_size=16).hexdigest()


def order_of(uid: str, seed: int) -> bytes:
    """Sort key of the global shuffle: blake2b(seed | uid)."""
    return hashlib.blake2b(f"{seed}|{uid}".encode(), digest_size=16).digest()


def encode_spot(spot_id: str) -> str:
    """Encode a spot id injectively in ``[A-Za-z0-9-]``.

    Letters and digits stay; every other byte of the UTF-8 text, the hyphen included, becomes ``-XX`` (two hex digits).
    """
    return _OTHER.sub(lambda found: "".join(f"-{byte:02x}" for byte in found[0].encode()), spot_id)


def organ_codes(organs: Mapping[str, str]) -> dict[str, int]:
    """Integer label of each organ: alphabetical, from 0."""
    return {organ: code for code, organ in enumerate(sorted(set(organs.values())))}
