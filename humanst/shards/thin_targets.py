"""Target sets of a release without some of its sections: rows cut as the shards were."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from humanst.shards.opened import OpenedRelease
from humanst.shards.target_beside import take_beside
from humanst.shards.target_files import take_rows
from humanst.shards.thinning import Thinned, carry


def thin_targets(
    source: OpenedRelease, thinned: Thinned, stay: Collection[str], output: Path
) -> dict[str, dict[str, Any]]:
    """Put the target sets into ``output``; returns their entries of the manifest.

    What was fitted on a section that leaves stays as it was fitted: how many there were is told, not which.

    Parameters
    ----------
    thinned
        What became of the shards.
    stay
        ``sample_id`` of the sections that stay.

    Raises
    ------
    IntegrityError
        When a file is not the one on record.
    DataError
        When a target file does not hold the rows of its shard.
    NoRoomError
        When the disk fills up.
    """
    entries = {}
    shard_of = {Path(path).stem: path for path in (*thinned.kept, *thinned.repacked)}
    for name, entry in source.manifest.get("targets", {}).items():
        place = f"targets/{name}"
        beside = [str(path) for path in (entry["columns"], *entry["beside"])]
        if thinned.repacked or thinned.dropped:
            names = [source.checked(path).name for path in beside]
            take_beside(source.folder / place, names, stay, output / place)
        else:
            for path in beside:
                carry(source, thinned, output, path)
        rows = []
        for file in entry["files"]:
            shard = shard_of.get(Path(file["path"]).stem)
            if shard in thinned.rows:
                take_rows(source.checked(file["path"]), thinned.rows[shard], output / file["path"])
                rows.append({**file, "n_rows": len(thinned.rows[shard])})
            elif shard is not None:
                carry(source, thinned, output, file["path"])
                rows.append(dict(file))
        entries[name] = {**entry, **fit_without(entry, stay), "files": rows}
    return entries


def fit_without(entry: Mapping[str, Any], stay: Collection[str]) -> dict[str, Any]:
    """Which sections a set was fitted on, of those that stay; of the others how many."""
    if "fitted_on" not in entry:
        return {}
    here = [sample_id for sample_id in entry["fitted_on"] if sample_id in stay]
    gone = int(entry.get("fitted_on_gone", 0)) + len(entry["fitted_on"]) - len(here)
    return {"fitted_on": here, **({"fitted_on_gone": gone} if gone else {})}
