"""Sources to validated section stores: fetch, read, harmonize, validate, write, one task a section."""

from __future__ import annotations

from humanst.builder.sections import (
    BuildOptions,
    BuiltSection,
    SectionTask,
    build_section,
    build_sections,
    store_path,
)

__all__ = [
    "BuildOptions",
    "BuiltSection",
    "SectionTask",
    "build_section",
    "build_sections",
    "store_path",
]
