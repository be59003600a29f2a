"""Draw a portrait on one sheet: the section with spots, tissue and scale bar; beside it the bare image and figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.curate.portrait import PICTURE_PX, Portrait

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

MARGIN_PX, PANEL_PX, BARE_PX = 24, 620, 420
BARS_UM = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
PAPER, INK, FAINT = (255, 255, 255), (24, 24, 28), (110, 110, 118)
SPOT, OUTSIDE, EDGE = (0, 90, 255), (255, 0, 170), (0, 140, 60)
SEVERITY = {"refuse": (190, 0, 20), "warn": (176, 92, 0), "note": (0, 110, 50)}
QUESTION = "Do the spots lie on the tissue, the right way round and at the right size?   yes [  ]   no [  ]"


def draw(portrait: Portrait) -> bytes:
    """The sheet as a PNG."""
    from PIL import Image, ImageDraw

    picture = _picture(portrait)
    panel = _panel(portrait)
    width = picture.width + PANEL_PX + 3 * MARGIN_PX
    height = max(picture.height + 64, panel.height) + 2 * MARGIN_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    sheet.paste(picture, (MARGIN_PX, MARGIN_PX))
    sheet.paste(panel, (picture.width + 2 * MARGIN_PX, MARGIN_PX))
    pen, font = ImageDraw.Draw(sheet), _font(16)
    below = MARGIN_PX + picture.height + 14
    pen.text((MARGIN_PX, below), QUESTION, fill=INK, font=font)
    _legend(pen, portrait, (MARGIN_PX, below + 26))
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    return data.getvalue()


def _picture(portrait: Portrait) -> Image.Image:
    """The image with the outline of the tissue, every spot at its true size, and a scale bar."""
    from PIL import Image, ImageDraw

    rgb, origin_um, um_per_px = _ground(portrait)
    factor = PICTURE_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    um_per_px *= rgb.shape[1] / size[0]
    # Thin circles are drawn at twice the size and made smaller: without that they are broken lines.
    big = Image.fromarray(rgb).resize((2 * size[0], 2 * size[1]), Image.Resampling.BICUBIC)
    if portrait.tissue is not None and portrait.rgb is not None:
        big.paste(EDGE, mask=_outline(portrait.tissue, big.size))
    pen = ImageDraw.Draw(big)
    _spots(pen, portrait, origin_um, um_per_px / 2)
    small = big.resize(size, Image.Resampling.LANCZOS)
    _scale_bar(small, um_per_px)
    return small


def _ground(portrait: Portrait) -> tuple[NDArray[np.uint8], tuple[float, float], float]:
    """The pixels to draw on, where their corner lies in um, and their scale; blank where there is no image."""
    if portrait.rgb is not None:
        return portrait.rgb, (0.0, 0.0), portrait.um_per_px
    um = portrait.spots[["x_um", "y_um"]].to_numpy(np.float64)
    edge = float(portrait.attrs["target"]["side_um"]) * 2
    low, high = (um.min(axis=0) - edge, um.max(axis=0) + edge) if len(um) else (np.zeros(2), np.full(2, 1000.0))
    um_per_px = float((high - low).max()) / PICTURE_PX
    w, h = (int(length) for length in np.maximum(1, (high - low) / um_per_px))
    return np.full((h, w, 3), 238, np.uint8), (float(low[0]), float(low[1])), um_per_px


def _spots(pen: ImageDraw.ImageDraw, portrait: Portrait, origin_um: tuple[float, float], um_per_px: float) -> None:
    target = portrait.attrs["target"]
    half = max(2.0, float(target["side_um"]) / um_per_px / 2)
    line = 3 if half > 8 else 2
    turn = np.deg2rad(float(portrait.attrs["provenance"].get("lattice_fit", {}).get("rotation_degrees", 0.0)))
    along = half * np.array([np.cos(turn), np.sin(turn)])
    across = half * np.array([-np.sin(turn), np.cos(turn)])
    corners = np.stack([-along - across, along - across, along + across, across - along])
    xy = (portrait.spots[["x_um", "y_um"]].to_numpy(np.float64) - origin_um) / um_per_px
    for (x, y), inside in zip(xy, portrait.spots["in_tissue"].to_numpy(), strict=True):
        colour = SPOT if inside else OUTSIDE
        if target["shape"] == "circle":
            # A paper rim keeps the line visible on dark nuclei.
            pen.ellipse((x - half - 1, y - half - 1, x + half + 1, y + half + 1), outline=PAPER, width=line + 2)
            pen.ellipse((x - half, y - half, x + half, y + half), outline=colour, width=line)
        else:
            points = [(float(px), float(py)) for px, py in np.add(corners, (x, y))]
            pen.polygon(points, outline=colour, width=line)


def _outline(tissue: NDArray[np.bool_], size: tuple[int, int]) -> Image.Image:
    """Where the mask ends, as a mask of the drawing; two pixels wide."""
    from PIL import Image, ImageChops, ImageFilter

    whole = Image.fromarray(tissue.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    return ImageChops.subtract(whole.filter(ImageFilter.MaxFilter(5)), whole)


def _scale_bar(image: Image.Image, um_per_px: float) -> None:
    from PIL import ImageDraw

    fit = [um for um in BARS_UM if um / um_per_px <= image.width / 4]
    bar_um = fit[-1] if fit else BARS_UM[0]
    length = bar_um / um_per_px
    text = f"{bar_um / 1000:g} mm" if bar_um >= 1000 else f"{bar_um} um"
    pen, font = ImageDraw.Draw(image), _font(18)
    x, y = 18, image.height - 20
    pen.rectangle((x - 8, y - 32, x + max(length, font.getlength(text)) + 8, y + 12), fill=PAPER)
    pen.rectangle((x, y, x + length, y + 5), fill=INK)
    pen.text((x, y - 26), text, fill=INK, font=font)


def _legend(pen: ImageDraw.ImageDraw, portrait: Portrait, place: tuple[int, int]) -> None:
    x, y = place
    n_inside = int(portrait.spots["in_tissue"].sum())
    marks = [
        (SPOT, f"{n_inside:,} spots kept, in tissue"),
        (OUTSIDE, f"{len(portrait.spots) - n_inside:,} kept, called outside"),
    ]
    if portrait.tissue is not None:
        marks.append((EDGE, "edge of the tissue mask"))
    for colour, text in marks:
        pen.rectangle((x, y + 4, x + 12, y + 16), outline=colour, width=3)
        pen.text((x + 20, y), text, fill=FAINT, font=_font(15))
        x += 20 + int(_font(15).getlength(text)) + 28


def _panel(portrait: Portrait) -> Image.Image:
    """The section's id, the bare image, figures and findings."""
    from PIL import Image, ImageDraw

    height, lines = 0, _text(portrait)
    bare = _bare(portrait)
    height = 46 + (bare.height + 14 if bare else 0) + sum(step for *_, step in lines) + 8
    panel = Image.new("RGB", (PANEL_PX, height), PAPER)
    pen = ImageDraw.Draw(panel)
    pen.text((0, 0), portrait.title, fill=INK, font=_font(28))
    y = 46
    if bare:
        panel.paste(bare, (0, y))
        y += bare.height + 14
    for x, text, colour, size, step in lines:
        pen.text((x, y), text, fill=colour, font=_font(size))
        y += step
    return panel


def _bare(portrait: Portrait) -> Image.Image | None:
    """The image without anything on it."""
    from PIL import Image

    if portrait.rgb is None:
        return None
    image = Image.fromarray(portrait.rgb)
    image.thumbnail((PANEL_PX, BARE_PX), Image.Resampling.LANCZOS)
    return image


def _text(portrait: Portrait) -> list[tuple[int, str, tuple[int, int, int], int, int]]:
    """Lines of the panel: x, text, colour, font size, and the step to the next line; a step of 0 stays on the line."""
    lines: list[tuple[int, str, tuple[int, int, int], int, int]] = []
    indent = 150
    for name, value in portrait.figures():
        wrapped = _wrapped(value, PANEL_PX - indent, 15)
        lines.append((0, _wrapped(name, indent - 8, 15)[0], FAINT, 15, 0))
        lines += [(indent, text, INK, 15, 21) for text in wrapped]
    lines.append((0, "", INK, 15, 10))
    for severity, sentence in portrait.findings():
        wrapped = _wrapped(sentence, PANEL_PX - 66, 15)
        lines.append((0, severity, SEVERITY[severity], 15, 0))
        lines += [(66, text, INK, 15, 21) for text in wrapped]
    return lines


def _wrapped(text: str, width_px: float, size: int) -> Sequence[str]:
    font = _font(size)
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and font.getlength(longer) > width_px:
            lines.append(line)
            line = word
        else:
            line = longer
        while font.getlength(line) > width_px and len(line) > 1:
            # A path is one long word: it is cut where the line ends.
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or font.getlength(line[:n]) <= width_px)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line]


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
