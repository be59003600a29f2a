"""The only room that writes, renames and deletes.

Every artefact is written aside in the same folder, hashed while it is written, flushed and fsynced, renamed into
place, and the folder is fsynced. What carries a final name is therefore whole. Partials left by a killed process are
swept at the next start. Locks only save work: a unique partial name keeps the data right without them.
"""

from __future__ import annotations

import shutil as shutil

from humanst.files.aside import (
    AsideFile,
    canonical_json,
    write_aside,
    write_bytes,
    write_inside,
    write_json,
    write_with,
)
from humanst.files.disk import CHUNK_BYTES, fsync_folder, let_group_read, remove, require_plain, sha256_file
from humanst.files.documents import parse_json, read_json
from humanst.files.folders import folder_aside, hoist, link, link_or_copy, put_folder, replace_folder
from humanst.files.locks import locked, locks_hold
from humanst.files.names import folded_name, safe_relative_path
from humanst.files.owners import STALE_PARTIAL_SECONDS, is_running, partial_path, sweep_partials
from humanst.files.owners import host_name as _host
from humanst.files.parquet import is_one_value, parse_parquet
from humanst.files.parts import (
    STALE_PART_SECONDS,
    PartFile,
    is_aside,
    ownerless_parts,
    part_bytes,
    remove_parts,
    write_part,
)
from humanst.files.room import existing_folder, refused_by_system, require_room

__all__ = [
    "CHUNK_BYTES",
    "STALE_PARTIAL_SECONDS",
    "STALE_PART_SECONDS",
    "AsideFile",
    "PartFile",
    "_host",
    "canonical_json",
    "existing_folder",
    "folded_name",
    "folder_aside",
    "fsync_folder",
    "hoist",
    "is_aside",
    "is_one_value",
    "is_running",
    "let_group_read",
    "link",
    "link_or_copy",
    "locked",
    "locks_hold",
    "ownerless_parts",
    "parse_json",
    "parse_parquet",
    "part_bytes",
    "partial_path",
    "put_folder",
    "read_json",
    "refused_by_system",
    "remove",
    "remove_parts",
    "replace_folder",
    "require_plain",
    "require_room",
    "safe_relative_path",
    "sha256_file",
    "sweep_partials",
    "write_aside",
    "write_bytes",
    "write_inside",
    "write_json",
    "write_part",
    "write_with",
]
