"""The section store: one SpatialData zarr a section, written aside, committed with a card, read back verified."""

from __future__ import annotations

from humanst.store.cards import card_path, is_current, read_attrs, read_card, tree_digest
from humanst.store.elements import StorePicture, halvings_for, section_attrs, to_spatialdata
from humanst.store.reading import StoredSection, open_section
from humanst.store.writing import quiet_libraries, write_section

__all__ = [
    "StorePicture",
    "StoredSection",
    "card_path",
    "halvings_for",
    "is_current",
    "open_section",
    "quiet_libraries",
    "read_attrs",
    "read_card",
    "section_attrs",
    "to_spatialdata",
    "tree_digest",
    "write_section",
]
