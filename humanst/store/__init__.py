"""The section store: one SpatialData zarr a section, written aside, committed with a card, read back verified."""

from __future__ import annotations

from humanst.store.cards import CARD_SCHEMA, TreeDigest, card_path, is_current, read_attrs, read_card, tree_digest
from humanst.store.elements import StorePicture, halvings_for, section_attrs, to_spatialdata
from humanst.store.pictures import read_picture
from humanst.store.reading import StoredSection, open_section
from humanst.store.writing import quiet_libraries, write_section
from humanst.store.zips import ZIP_VERSION, require_tree, zip_store

__all__ = [
    "CARD_SCHEMA",
    "ZIP_VERSION",
    "StorePicture",
    "StoredSection",
    "TreeDigest",
    "card_path",
    "halvings_for",
    "is_current",
    "open_section",
    "quiet_libraries",
    "read_attrs",
    "read_card",
    "read_picture",
    "require_tree",
    "section_attrs",
    "to_spatialdata",
    "tree_digest",
    "write_section",
    "zip_store",
]
