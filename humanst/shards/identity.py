"""What reading a section shows of its identity: its image, how that looks however it is turned, and its counts.

Records do not always say that two sections are one piece of tissue. Three facts do, once the files are read: the bytes
of the source image; a perceptual hash, the same for a copy that was scaled, coded again, turned or mirrored; and a
sketch of the spots' counts, the same whatever spots and genes are called and whichever spots a study kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.splits import Link
from humanst.store import StoredSection
from humanst.tiles import thumbnail

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SIDE_PX = 32
LOW = 16
# Real H&E images, turned, scaled to 0.6 and coded again at JPEG quality 60, differ from themselves in 2 to 34 of 255
# bits; images of different tissue in 94 and more.
SAME_PICTURE_BITS = 40
_BITS_SET = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)
SKETCH = 64
# A sketch of fewer spots says too little.
LEAST_SPOTS = 20
SAME_COUNTS_SHARE = 0.5
# So few that their entries stay in the processor's cache.
BLOCK_SPOTS = 32


def identity_of(stored: StoredSection, image_path: Path) -> dict[str, Any]:
    """The identity of a section, for its extract card.

    Returns
    -------
    dict
        ``image`` (sha256 of the source image), ``turns`` (8 perceptual hashes in hex, the first one unturned; empty for
        a picture without any structure), ``counts`` (up to 64 hashes in hex, ascending; empty below 20 spots).
    """
    picture = stored.attrs["picture"]
    shrink = max(1.0, min(picture["width_px"], picture["height_px"]) / (4 * SIDE_PX))
    um_per_pixel = float(picture["um_per_pixel"])
    rgb = thumbnail(image_path, um_per_pixel, um_per_pixel * shrink)
    counts = counts_sketch(stored.counts)
    return {"image": picture["source_sha256"], "turns": picture_hashes(rgb), "counts": counts}


def picture_hashes(rgb: NDArray[np.uint8]) -> list[str]:
    """Perceptual hashes of a picture in its 8 turns and mirror images.

    Parameters
    ----------
    rgb
        ``(h, w, 3)`` uint8. Both sides are shrunk to 32 px, so that a turn by 90 degrees does not change the field.

    Returns
    -------
    list of str
        255 bits each, in hex: which of the low frequencies are above their median.
    """
    import cv2
    from scipy.fft import dctn

    grey = rgb.astype(np.float32).mean(axis=2)
    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
    if np.ptp(small) < 1:
        return []
    hashes = []
    for mirrored in (small, small[:, ::-1]):
        for quarter in range(4):
            low = dctn(np.rot90(mirrored, quarter), norm="ortho")[:LOW, :LOW].ravel()[1:]
            hashes.append(np.packbits(low > np.median(low)).tobytes().hex())
    return hashes


def counts_sketch(counts: csr_matrix) -> list[str]:
    """The 64 smallest hashes of what is particular to a spot: two sketches share what two sections share.

    Parameters
    ----------
    counts
        ``(n_spots, n_genes)`` CSR integer counts.
    """
    if counts.shape[0] < LEAST_SPOTS:
        return []
    spots = {tuple(row) for row in _power_sums(counts).tolist()}
    hashes = sorted(hashlib.blake2b("|".join(map(str, row)).encode(), digest_size=8).hexdigest() for row in spots)
    return hashes[:SKETCH]


def _power_sums(counts: csr_matrix) -> NDArray[np.int64]:
    """Genes, transcripts, and the sums of squares and cubes of a spot's counts, ``(n_spots, 4)``.

    Genes and transcripts alone are too few numbers: in a panel of 300 genes, two large sections of different donors
    have most of these pairs in common.
    """
    sums = np.zeros((counts.shape[0], 4), dtype=np.int64)
    # A spot without entries would get its neighbour's first one from the sums between starts.
    filled = np.flatnonzero(np.diff(counts.indptr))
    for at in range(0, len(filled), BLOCK_SPOTS):
        spots = filled[at : at + BLOCK_SPOTS]
        first, last = counts.indptr[spots[0]], counts.indptr[spots[-1] + 1]
        values = counts.data[first:last].astype(np.int64)
        starts = counts.indptr[spots] - first
        sums[spots, 0] = np.add.reduceat(values != 0, starts, dtype=np.int64)
        sums[spots, 1] = np.add.reduceat(values, starts)
        powers = values * values
        sums[spots, 2] = np.add.reduceat(powers, starts)
        powers *= values
        sums[spots, 3] = np.add.reduceat(powers, starts)
    return sums


def links_between(identities: Mapping[str, Mapping[str, Any]]) -> list[Link]:
    """The pairs of sections that are one piece of tissue.

    Parameters
    ----------
    identities
        sample_id -> :func:`identity_of`.
    """
    names = sorted(identities)
    images: dict[str, list[str]] = defaultdict(list)
    for name in names:
        images[identities[name]["image"]].append(name)
    found = [Link(*pair, "image") for same in images.values() for pair in combinations(same, 2)]
    found += [Link(names[i], names[j], "picture") for i, j in _same_pictures([identities[n]["turns"] for n in names])]
    found += [Link(*pair, "counts") for pair in _same_counts({name: identities[name]["counts"] for name in names})]
    first: dict[tuple[str, str], Link] = {}
    for link in found:
        first.setdefault((link.one, link.other), link)
    return sorted(first.values())


def _same_pictures(turns: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Positions of pictures of which one, turned, is the other."""
    seen = [number for number, hashes in enumerate(turns) if hashes]
    if len(seen) < 2:
        return []
    bits = np.array([[list(bytes.fromhex(text)) for text in turns[number]] for number in seen], dtype=np.uint8)
    found = []
    for row in range(len(seen) - 1):
        # The unturned one against every turn of all that follow: 8 x 32 bytes each.
        differ = _BITS_SET[bits[row, 0] ^ bits[row + 1 :]].sum(axis=2, dtype=np.int64).min(axis=1)
        found += [(seen[row], seen[row + 1 + int(k)]) for k in np.flatnonzero(differ <= SAME_PICTURE_BITS)]
    return found


def _same_counts(sketches: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Names of sections of whose smaller sketch at least half is in the other."""
    holders: dict[str, list[str]] = defaultdict(list)
    for name, sketch in sketches.items():
        for value in sketch:
            holders[value].append(name)
    shared: Counter[tuple[str, str]] = Counter()
    for names in holders.values():
        shared.update(combinations(sorted(names), 2))
    return sorted(
        pair
        for pair, n in shared.items()
        if n >= SAME_COUNTS_SHARE * max(LEAST_SPOTS, min(len(sketches[pair[0]]), len(sketches[pair[1]])))
    )
