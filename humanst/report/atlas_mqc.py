"""The sections of an atlas as a table for MultiQC: a file that it finds by its name and reads without a module.

The head is commented YAML, as MultiQC's custom content wants it; below it is a table with a row a section.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from humanst.errors import printable

if TYPE_CHECKING:
    from humanst.report.atlas_source import AtlasSource

MQC = "humanst_mqc.tsv"
_HEAD: dict[str, Any] = {
    "id": "humanst_sections",
    "section_name": "humanst sections",
    "description": "Sections of H&amp;E histology paired with spatial gene expression.",
    "file_format": "tsv",
    "plot_type": "table",
    # Beyond 500 rows MultiQC draws distributions in the place of a table, unless it is told not to.
    "pconfig": {
        "id": "humanst_sections_table",
        "title": "humanst: sections",
        "col1_header": "Section",
        "no_violin": True,
    },
}
# Column of samples() -> title, description, more of the header.
_COLUMNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "study_id": ("Study", "Study the section is of", {}),
    "platform": ("Platform", "Platform of the gene expression", {}),
    "organ": ("Organ", "High-level organ", {}),
    "split": ("Split", "Split of the release", {}),
    "license": ("Licence", "SPDX ids of the licences it comes under", {}),
    "spots_in": ("Spots in", "Spots before quality control", {"format": "{:,.0f}", "min": 0}),
    "spots": ("Spots", "Spots after quality control", {"format": "{:,.0f}", "min": 0}),
    "pairs": ("Pairs", "Pairs of a patch and its targets", {"format": "{:,.0f}", "min": 0}),
    "counts": ("Transcripts", "Transcripts of all spots", {"format": "{:,.0f}", "min": 0}),
    "um_per_pixel": ("um per pixel", "Scale of the image", {"format": "{:,.4f}", "min": 0}),
    "warnings": ("Warnings", "Findings that are more than notes", {"format": "{:,.0f}", "min": 0, "scale": "OrRd"}),
}


def mqc_table(source: AtlasSource) -> str:
    """The text of ``humanst_mqc.tsv``.

    Text that is not this package's own is escaped, for MultiQC puts cells into its page as they are, and quoted, so
    that it is never taken for a number. What is not known is an empty cell.
    """
    headers = {name: {"title": title, "description": about, **more} for name, (title, about, more) in _COLUMNS.items()}
    lines = [f"# {key}: {json.dumps(value)}" for key, value in {**_HEAD, "headers": headers}.items()]
    lines.append("\t".join(["Section", *_COLUMNS]))
    for row in source.samples().to_dict("records"):
        lines.append("\t".join(_cell(row[name]) for name in ("sample_id", *_COLUMNS)))
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        text = " ".join(html.escape(printable(value), quote=True).split())
        return f'"{text}"' if text else ""
    return "" if value != value else f"{value:.6g}" if isinstance(value, float) else str(value)
