"""What fetching a selection takes: files as they are, shards whole or in runs, how many bytes, what room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from humanst import files
from humanst.fetch.engine import cache_path
from humanst.fetch.ranged import Member, Piece, Runs
from humanst.fetch.releases import OWNER
from humanst.settings import Settings
from humanst.shards.members import SUFFIXES
from humanst.shards.part_files import stores_of, taken_over
from humanst.shards.part_targets import kept_targets, made_targets
from humanst.shards.published import SAMPLES, STATS, card_of
from humanst.shards.repack import local_shards
from humanst.shards.selection import Selection, ShardPlan
from humanst.shards.tar import BLOCK_BYTES, RECORD_BYTES


@dataclass(frozen=True)
class FetchPlan:
    """How a selection gets here.

    Attributes
    ----------
    output
        The folder it goes to.
    """

    selection: Selection
    output: Path
    settings: Settings

    @cached_property
    def as_they_are(self) -> Mapping[str, int | None]:
        """Files that the result has as the release has them -> bytes, ``None`` where not known."""
        selection = self.selection
        sizes: dict[str, int | None] = {}
        if selection.everything:
            sizes |= dict.fromkeys(selection.head.sums)
        else:
            sizes |= dict.fromkeys([*taken_over(selection), *kept_targets(selection)])
        sizes |= {str(store["path"]): int(store["bytes"]) for store in self.stores if store["path"] in sizes}
        for shard in self.shards:
            if selection.whole_split(shard.split):
                sizes |= {shard.entry["path"]: int(shard.entry["bytes"]), card_of(shard.entry["path"]): None}
        here = {name: path.stat().st_size for name, path in selection.head.paths.items() if name in sizes}
        return dict(sorted((sizes | here).items()))

    @cached_property
    def shards(self) -> tuple[ShardPlan, ...]:
        """Every shard of which something is wanted."""
        return tuple(shard for split in self.selection.splits for shard in self.selection.shards[split])

    @cached_property
    def stores(self) -> tuple[Mapping[str, Any], ...]:
        """What the manifest says of every section store that comes along."""
        selection = self.selection
        wanted = set(stores_of(selection))
        rows = [row["store"] for row in selection.head.manifest["sections"] if "store" in row]
        return tuple(row for row in rows if row["path"] in wanted)

    @property
    def store_bytes(self) -> int:
        """Bytes of their zips."""
        return sum(int(store["bytes"]) for store in self.stores)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the stores once they are unpacked."""
        return sum(int(store["n_bytes"]) for store in self.stores)

    @cached_property
    def to_cut(self) -> tuple[ShardPlan, ...]:
        """Shards whose wanted pairs go to local shards."""
        return tuple(shard for shard in self.shards if not self.selection.whole_split(shard.split))

    @cached_property
    def ranged(self) -> tuple[ShardPlan, ...]:
        """Those of which only runs are asked for."""
        return tuple(shard for shard in self.to_cut if not shard.takes_whole)

    @property
    def whole_bytes(self) -> int:
        """Bytes of all shards of which something is wanted."""
        return sum(int(shard.entry["bytes"]) for shard in self.shards)

    @property
    def ranged_bytes(self) -> int:
        """Bytes of the runs that hold what is wanted of them."""
        return sum(shard.ranged_bytes for shard in self.shards)

    @property
    def fetch_bytes(self) -> int:
        """Bytes of shards that a fetch asks for, each whole or in runs."""
        return self.whole_bytes - sum(int(shard.entry["bytes"]) - shard.ranged_bytes for shard in self.ranged)

    @cached_property
    def here_bytes(self) -> int:
        """Those of them that are here already."""
        placed = {self.output / name: size or 0 for name, size in self.as_they_are.items() if name.endswith(".tar")}
        cut = {self.place_of(shard): shard.ranged_bytes for shard in self.ranged}
        cut |= {self.whole_place(shard): int(shard.entry["bytes"]) for shard in self.to_cut if shard.takes_whole}
        return sum(_here(path, size) for path, size in (placed | cut).items())

    def piece(self, shard: ShardPlan) -> Piece:
        """The runs of a shard and the members in them."""
        places = [f"{kind}_{part}" for kind in SUFFIXES for part in ("offset", "length", "hash")]
        rows = self.selection.tables[shard.split].select(places).take(shard.rows)
        members: list[Member] = []
        for kind in SUFFIXES:
            columns = (rows[f"{kind}_{part}"].to_pylist() for part in ("offset", "length", "hash"))
            members += zip(*columns, strict=True)
        wanted = self.selection.head.wanted(shard.entry["path"], n_bytes=int(shard.entry["bytes"]))
        return Piece(wanted, Runs.of(shard.spans), tuple(sorted(members)))

    def place_of(self, shard: ShardPlan) -> Path:
        """Where the runs of a shard are kept until they are packed."""
        name = self.piece(shard).name()
        return cache_path(self.settings, OWNER, f"{self.selection.head.root.name}/pieces/{name}")

    @property
    def target_folder(self) -> Path:
        """Where target files are kept, each at its path in the release, until their rows are cut."""
        return cache_path(self.settings, OWNER, f"{self.selection.head.root.name}/pieces")

    def whole_place(self, shard: ShardPlan) -> Path:
        """Where a shard is kept until its wanted pairs are packed."""
        return cache_path(self.settings, OWNER, f"{self.selection.head.root.name}/{shard.entry['path']}")

    def names(self) -> frozenset[str]:
        """Every file of the result but manifest, SHA256SUMS and the documents that a part's own manifest makes."""
        found = set(self.as_they_are)
        if not self.selection.all_pairs:
            head = self.selection.head
            found |= {SAMPLES, *(name for name in (STATS,) if name in head.paths)}
            found |= {f"index/{split}.parquet" for split in head.manifest["splits"]} | set(made_targets(self.selection))
            for split in self.selection.splits:
                if not self.selection.whole_split(split):
                    paths = [shard.path for shard in local_shards(self.selection, split)]
                    found |= {*paths, *map(card_of, paths)}
        return frozenset(found)

    def packed_bytes(self) -> int:
        """About what the local shards take."""
        total = 0
        for shard in self.to_cut:
            table = self.selection.tables[shard.split]
            lengths = [np.asarray(table[f"{kind}_length"].take(shard.rows), dtype=np.int64) for kind in SUFFIXES]
            padded = [-(-length // BLOCK_BYTES) * BLOCK_BYTES + BLOCK_BYTES for length in lengths]
            total += int(sum(int(length.sum()) for length in padded)) + 2 * BLOCK_BYTES * len(shard.rows)
        return total + (RECORD_BYTES * len(self.to_cut))

    def require_room(self) -> None:
        """Ask for the room of all that is to be fetched and packed.

        Raises
        ------
        NoRoomError
            With the bytes needed and the bytes free.
        """
        cache = files.existing_folder(self.settings.resolved_cache_dir())
        output = files.existing_folder(self.output)
        placed = sum(size or 0 for name, size in self.as_they_are.items()) + self.unpacked_bytes
        in_cache = sum(int(shard.entry["bytes"]) if shard.takes_whole else shard.ranged_bytes for shard in self.to_cut)
        in_output = placed + self.packed_bytes()
        if cache.stat().st_dev == output.stat().st_dev:
            files.require_room(output, in_cache + in_output - self.here_bytes)
        else:
            files.require_room(output, in_output)
            files.require_room(cache, in_cache)


def _here(path: Path, n_bytes: int) -> int:
    if path.is_file() and path.stat().st_size == n_bytes:
        return n_bytes
    return min(files.part_bytes(path), n_bytes)
