"""Sources to validated section stores: fetch, read, harmonize, validate, write, one task a section."""

from __future__ import annotations

from humanst.builder.measured import axis_hash, kept_measured_genes
from humanst.builder.sections import (
    BUILD_VERSION,
    BuildOptions,
    BuiltSection,
    SectionTask,
    build_section,
    build_sections,
    store_path,
)

__all__ = [
    "BUILD_VERSION",
    "BuildOptions",
    "BuiltSection",
    "SectionTask",
    "axis_hash",
    "build_section",
    "build_sections",
    "kept_measured_genes",
    "store_path",
]
