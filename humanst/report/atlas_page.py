"""The first page of an atlas: one HTML file with its style and script in it, which fetches nothing from anywhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from humanst import __version__
from humanst.report.atlas_base import UNKNOWN
from humanst.report.atlas_facts import AtlasFacts, Box
from humanst.report.rendering import environment, script_hash, template_text
from humanst.report.section_page import section_script, section_style

N_COLOURS = 8
MOST_LISTED = 100
_RELEASE_ONLY = ("split", "licence", "pairs")
_NOT_HERE = "not on record here"
_COLUMNS = (
    ("section", False), ("study", False), ("platform", False), ("organ", False), ("disease", False), ("split", False),
    ("licence", False), ("pairs", True), ("spots", True), ("genes a spot", True), ("um/px", True), ("warnings", True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _BoxRow:
    """A box, where its quantiles lie from the left, in per cent, and what it says in words."""

    box: Box
    at: tuple[float, ...]
    words: str


def atlas_page(facts: AtlasFacts, *, fragments: Mapping[str, str], audit: str | None, audit_note: str = "") -> str:
    """The page.

    Parameters
    ----------
    fragments
        ``sample_id`` -> page of the section, where all are one file.
    audit
        Address of the page of an audit, seen from here.
    audit_note
        What is to be said of that audit.

    Returns
    -------
    HTML. The same facts, the same text.
    """
    from markupsafe import Markup

    scripts = [template_text("sort.js"), template_text("atlas.js")]
    style = template_text("base.css") + template_text("atlas.css")
    if fragments:
        scripts.append(section_script())
        style += section_style()
    templates = environment()
    templates.filters["web_address"] = web_address
    return templates.get_template("atlas.html.j2").render(
        facts=facts,
        subtitle=_subtitle(facts),
        tiles=_tiles(facts),
        colour={platform: min(number, N_COLOURS - 1) for number, platform in enumerate(facts.platforms)},
        failures=_alike(facts.failures),
        legend_entries=_legend(facts.platforms),
        boxes=_boxes(facts.boxes),
        hrefs={row["sample_id"]: row["href"] for row in facts.rows},
        pictures={row["sample_id"]: _inline(row["picture"]) for row in facts.rows},
        selects=_selects(facts),
        columns=[column for column in _COLUMNS if facts.kind == "release" or column[0] not in _RELEASE_ONLY],
        # Made by this package from its own templates.
        fragments={name: Markup(fragment) for name, fragment in fragments.items()},  # noqa: S704
        audit=audit,
        audit_note=audit_note if audit is not None else "",
        number=lambda value: "" if value != value else repr(float(value)),
        percent=lambda share: f"{100 * share:.2f}%",
        made_by=__version__,
        most_listed=MOST_LISTED,
        style=style,
        style_hash=script_hash(style),
        scripts=scripts,
        script_hashes=[script_hash(script) for script in scripts],
    )


def web_address(url: str) -> str:
    """An address that a link may lead to; any other, such as a script, leads nowhere."""
    try:
        return url if urlsplit(url).scheme in ("http", "https") else "#"
    except ValueError:  # A bracket that never closes, say.
        return "#"


def _subtitle(facts: AtlasFacts) -> str:
    if facts.kind == "release":
        return "Pairs of H&E patches and pathway targets, with the sections they are from."
    return "Section stores: H&E images with spatial gene expression, not yet cut into pairs."


def _tiles(facts: AtlasFacts) -> list[tuple[str, str, str]]:
    """Name, figure and a note of every total."""
    totals = facts.totals
    unknown = totals["sections_of_unknown_donors"] or 0
    donors = "-" if totals["donors"] is None else f"{totals['donors']:,}"
    of_unknown = f"{unknown:,} sections of unknown donors" if unknown else ""
    tiles = [
        ("studies", f"{totals['studies']:,}", ""),
        ("sections", f"{totals['sections']:,}", _may(totals["redistributable_sections"], totals["sections"])),
        ("donors", donors, _NOT_HERE if totals["donors"] is None else of_unknown),
    ]
    if totals["pairs"] is not None:
        tiles.append(("pairs", f"{totals['pairs']:,}", _may(totals["redistributable_pairs"], totals["pairs"])))
    tiles += [
        ("spots", f"{totals['spots']:,}", "after quality control"),
        ("transcripts", short_number(totals["transcripts"] or 0), "of all spots"),
    ]
    if totals["bytes"] is not None:
        tiles.append(("shards", size_text(totals["bytes"]), ""))
    stores = "in this folder" if facts.kind == "stores" else ""
    tiles.append(("section stores", size_text(totals["store_bytes"] or 0), stores))
    names = [row.name for row in facts.licenses if row.name != UNKNOWN]
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    tiles.append(("licences", f"{len(names):,}" if names else "-", some or _NOT_HERE))
    return tiles


def _alike(failures: Sequence[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Sections by what is wrong with them: a damaged shard is wrong with all of its split."""
    found: dict[str, list[str]] = {}
    for name, why in failures:
        found.setdefault(why, []).append(name)
    return [(names, why) for why, names in found.items()]


def _legend(platforms: Sequence[str]) -> list[tuple[int, str]]:
    """Colour and text of every entry; of more platforms than colours the smallest share the last."""
    own = platforms if len(platforms) <= N_COLOURS else platforms[: N_COLOURS - 1]
    others = platforms[len(own) :]
    entries = list(enumerate(own))
    return [*entries, (N_COLOURS - 1, f"others: {', '.join(others)}")] if others else entries


def _may(n: int | None, total: int | None) -> str:
    if n is None:
        return ""
    return "all may be passed on" if n == total else f"{n:,} may be passed on"


def _boxes(boxes: Sequence[Box]) -> dict[str, Any]:
    """Boxes on one logarithmic axis, whose ends are powers of ten, and its ticks."""
    if not boxes:
        return {"rows": [], "ticks": []}
    low = math.floor(math.log10(max(1.0, min(box.quantiles[0] for box in boxes))))
    high = max(low + 1, math.ceil(math.log10(max(1.0, max(box.quantiles[-1] for box in boxes)))))

    def left(value: float) -> float:
        return 100 * (min(max(math.log10(max(value, 1.0)), low), high) - low) / (high - low)

    rows = []
    for box in boxes:
        lowest, first, median, third, highest = (f"{value:,.0f}" for value in box.quantiles)
        words = (
            f"median {median}, middle half {first} to {third}, middle 90 % {lowest} to {highest}; "
            f"{box.n_spots:,} spots of {box.n_sections:,} sections"
        )
        rows.append(_BoxRow(box, tuple(left(value) for value in box.quantiles), words))
    marks = [factor * 10**power for power in range(low, high) for factor in (1, 2, 5)] + [10**high]
    # Ticks between powers of ten only where there is room for their figures.
    chosen = marks if high - low == 1 else [mark for mark in marks if math.log10(mark).is_integer()]
    return {"rows": rows, "ticks": _ticks(chosen, left)}


def _ticks(marks: Sequence[int], left: Callable[[float], float]) -> list[dict[str, Any]]:
    minor = {mark for mark in marks if not math.log10(mark).is_integer()}
    return [{"left": left(mark), "text": f"{mark:,}", "minor": mark in minor} for mark in marks]


def _selects(facts: AtlasFacts) -> list[tuple[str, list[str]]]:
    names = {"platform": "platform", "organ": "organ", "split": "split", "licence": "license"}
    wanted = {name: key for name, key in names.items() if facts.kind == "release" or name not in _RELEASE_ONLY}
    return [(name, sorted({str(row[key]) for row in facts.rows})) for name, key in wanted.items()]


def _inline(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode() if picture else ""


def size_text(n_bytes: int) -> str:
    """Bytes for a person, in steps of a thousand."""
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" or size >= 100 else f"{size:.1f} {units[0]}"


def short_number(n: int) -> str:
    """A large number for a person."""
    if n < 10_000:
        return f"{n:,}"
    size, units = n / 1000, ["k", "M", "G"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:,.0f} {units[0]}" if size >= 100 else f"{size:.1f} {units[0]}"
