"""The page of a section, or the same as a part of a page of many: one element, its numbers in it as JSON.

A page that takes fragments in adds :func:`section_style` and :func:`section_script` once, and their hashes to its
policy. The script starts every fragment that it finds, and draws a map when its section is first seen.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from humanst.errors import printable
from humanst.report.histograms import number
from humanst.report.overlay import NO_VALUE, Layer, colours
from humanst.report.rendering import environment, script_hash, template_text

if TYPE_CHECKING:
    from markupsafe import Markup

    from humanst.report.section_facts import SectionFacts

# In per cent, at first. Spots that touch hide all of the tissue, which is to be seen with them.
OPACITY, COVERING_OPACITY = 80, 60
SEVERITIES = {"refuse": "refused", "warn": "warning", "note": "note"}


def section_style() -> Markup:
    """The style sheet of sections, once a page; every rule is of ``.hs-section``."""
    return template_text("section.css")


def section_script() -> Markup:
    """The script of sections, once a page, after the fragments."""
    return template_text("section.js")


def section_fragment(facts: SectionFacts) -> Markup:
    """A section as an element ``section-<sample_id>``, to stand in a page with others."""
    from markupsafe import Markup

    return Markup(_body(facts, level=2))  # noqa: S704


def section_page(facts: SectionFacts, *, standalone: bool, up: str | None) -> str:
    """A section as a page: one HTML file with everything in it.

    Parameters
    ----------
    standalone
        Whether the page is given away by itself: it says that it needs nothing beside it.
    up
        Where the page of all sections is, for a link; ``None`` where there is none.

    Returns
    -------
    HTML. The same facts, the same text.
    """
    from markupsafe import Markup

    page_style = template_text("base.css") + template_text("section_page.css")
    return (
        environment()
        .get_template("section.html.j2")
        .render(
            facts=facts,
            standalone=standalone,
            up=up,
            body=Markup(_body(facts, level=1)),  # noqa: S704
            page_style=page_style,
            style=section_style(),
            script=section_script(),
            page_style_hash=script_hash(page_style),
            style_hash=script_hash(section_style()),
            script_hash=script_hash(section_script()),
        )
    )


def _body(facts: SectionFacts, level: int) -> str:
    from markupsafe import Markup

    bar_px, _, bar_text = facts.frame.bar()
    return (
        environment()
        .get_template("section_body.html.j2")
        .render(
            facts=facts,
            level=level,
            first=_first(facts),
            opacity=COVERING_OPACITY if facts.spots.touch else OPACITY,
            figures=[_figures(layer) for layer in facts.layers],
            # Figures and tags of our own; no text of a file stands in a drawing.
            drawings=[Markup(one.svg) for one in facts.histograms],  # noqa: S704
            bar_px=bar_px,
            bar_text=bar_text,
            severities=SEVERITIES,
            data=Markup(as_script(_data(facts))),  # noqa: S704
        )
    )


def as_script(data: Mapping[str, Any]) -> str:
    """Data as JSON for a ``<script type="application/json">``: nothing in it ends the element or steers a line."""
    text = json.dumps(_printable(data), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: _printable(part) for key, part in value.items()}
    return [_printable(part) for part in value] if isinstance(value, list | tuple) else value


def _first(facts: SectionFacts) -> int:
    """The layer that is shown first: a pathway that was measured, else any layer with a value."""
    return next((number for number, layer in enumerate(facts.layers) if layer.n), 0)


def _figures(layer: Layer) -> dict[str, Any]:
    return {"layer": layer, **{name: number(getattr(layer, name)) for name in ("least", "median", "most")}}


def _data(facts: SectionFacts) -> dict[str, Any]:
    frame, spots = facts.frame, facts.spots
    kinds = sorted({layer.kind for layer in facts.layers})
    return {
        "schema": "humanst.section-map/1",
        "no_value": NO_VALUE,
        "frame": {key: getattr(frame, key) for key in ("width_px", "height_px", "um_per_pixel", "origin_um")},
        "spots": asdict(spots),
        "layers": [asdict(layer) for layer in facts.layers],
        "colours": {kind: base64.b64encode(colours(kind).tobytes()).decode() for kind in kinds},
    }
