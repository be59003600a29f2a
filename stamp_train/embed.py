"""Embeddings into a file. What was done when a run ends early is kept beside it, and the next run does the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanst.errors import DataError, HumanstError, UsageError
from humanst.files import canonical_json, locked, remove, require_room, sha256_file
from stamp_train.embed_work import Chunks, Settings
from stamp_train.embedded_file import COORDS, SUFFIXES, read_file
from stamp_train.embedded_writing import write_file
from stamp_train.frozen import Frozen
from stamp_train.sources import Grid, PairImages, SlideImages, Source

if TYPE_CHECKING:
    from humanst.load.release import Release

logger = logging.getLogger(__name__)

SCHEMA = "stamp_train.embeddings/1"
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Done:
    """A file of embeddings that is there.

    Attributes
    ----------
    path, sha256
        The file.
    n_rows, width
        Its shape.
    n_kept
        Rows that an earlier run had done.
    facts
        What the file says of its making.
    """

    path: Path
    sha256: str
    n_rows: int
    width: int
    n_kept: int
    facts: Mapping[str, Any]


def embed_release(
    frozen: Frozen,
    release: str | Path | Release,
    out: Path,
    *,
    splits: Sequence[str] | None = None,
    settings: Settings | None = None,
    overwrite: bool = False,
    tell: Tell = lambda step, done, total: None,
) -> Done:
    """Embed the pairs of a release.

    Parameters
    ----------
    frozen
        See :func:`stamp_train.frozen.frozen_encoder`.
    release, splits
        See :class:`stamp_train.sources.PairImages`.
    out
        ``.h5`` or ``.parquet``; with ``features``, ``uid``, ``key``, ``sample_id`` and coordinates, in the order of the
        index.
    overwrite
        Replace a file that holds other embeddings.
    tell
        Called with a step, how much of it is done, and of how much.

    Raises
    ------
    HumanstError
        See :func:`embed` and :class:`stamp_train.sources.PairImages`.
    """
    _check_out(out)
    return embed(frozen, lambda work: PairImages(release, splits), out, settings, overwrite=overwrite, tell=tell)


def embed_slide(
    frozen: Frozen,
    slide: Path,
    out: Path,
    *,
    grid: Grid | None = None,
    um_per_pixel: float | None = None,
    settings: Settings | None = None,
    overwrite: bool = False,
    tell: Tell = lambda step, done, total: None,
) -> Done:
    """Embed the patches of a whole slide that lie on tissue.

    Parameters
    ----------
    slide, grid, um_per_pixel
        See :class:`stamp_train.sources.SlideImages`.
    out
        ``.h5`` with ``features`` and ``coords``, as TRIDENT's readers take it; or ``.parquet``.
    frozen, settings, overwrite, tell
        See :func:`embed_release`.

    Raises
    ------
    HumanstError
        See :func:`embed` and :class:`stamp_train.sources.SlideImages`.
    """
    _check_out(out)

    def open_slide(work: Path) -> Source:
        return SlideImages(slide, work / "image.tif", grid or Grid(), um_per_pixel=um_per_pixel)

    return embed(frozen, open_slide, out, settings, overwrite=overwrite, tell=tell)


def embed(
    frozen: Frozen,
    open_source: Callable[[Path], Source],
    out: Path,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    tell: Tell = lambda step, done, total: None,
) -> Done:
    """Embed what a source gives.

    The work lies in ``.<name>.work`` beside ``out`` until the file is whole. The file is the same, byte for byte,
    whether a run was broken or not.

    Parameters
    ----------
    open_source
        Given a folder for what it makes on the way.

    Raises
    ------
    UsageError
        ``exists`` when ``out`` holds other embeddings.
    DataError
        ``features-not-finite`` when the encoder gives NaN or infinity.
    NoRoomError
        When the disk cannot hold the features.
    """
    settings = settings or Settings()
    work = out.with_name(f".{out.name}.work")
    with locked(out, what=out.name):
        source = open_source(work)
        facts = {
            "schema": SCHEMA,
            "source": dict(source.facts),
            "encoder": dict(frozen.record),
            "precision": settings.precision,
        }
        if out.exists() and (there := _there(out, facts, overwrite=overwrite)) is not None:
            remove(work)
            return there
        n_rows, width = len(source), frozen.encoder.embedding_dim
        require_room(out.parent, 2 * 4 * n_rows * width)
        chunks = Chunks(work, facts, settings, n_rows)
        n_kept = chunks.n_kept
        if n_kept:
            logger.info("%d of %d rows were done before", n_kept, n_rows)
        _fill(frozen, source, chunks, settings, tell)
        sha256 = write_file(out, chunks.blocks(), source.columns, facts, source.about_coords)
        remove(work)
    return Done(out, sha256, n_rows, width, n_kept, facts)


class _Batches:
    """The batches of the chunks that are to be done, for ``torch.utils.data.DataLoader``."""

    def __init__(self, source: Source, chunks: Chunks, batch_size: int) -> None:
        self._source = source
        self.places = [
            (number, range(start, min(start + batch_size, rows.stop)))
            for number in chunks.missing
            for rows in [chunks.ranges[number]]
            for start in range(rows.start, rows.stop, batch_size)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> NDArray[np.uint8] | HumanstError:
        # An error that crosses to another process by itself would come out as another one.
        try:
            return self._source.images(self.places[index][1])
        except HumanstError as error:
            return error


def _fill(frozen: Frozen, source: Source, chunks: Chunks, settings: Settings, tell: Tell) -> None:
    """Embed the rows that are missing, and keep each chunk when it is whole."""
    import torch
    from torch.utils.data import DataLoader

    batches = _Batches(source, chunks, settings.batch_size)
    loader = DataLoader(batches, batch_size=None, num_workers=settings.workers, collate_fn=_as_it_is)
    encoder = frozen.encoder.to(settings.device)
    kind = settings.device.partition(":")[0]
    done, part = chunks.n_kept, []
    with torch.inference_mode():
        for (number, rows), images in zip(batches.places, loader, strict=True):
            if isinstance(images, HumanstError):
                raise images
            reduced = torch.autocast(kind, torch.bfloat16) if settings.precision == "bf16" else nullcontext()
            with reduced:
                features = encoder(torch.from_numpy(images)).float().cpu().numpy()
            part.append(_finite(features, source, rows))
            done += len(rows)
            if rows.stop == chunks.ranges[number].stop:
                chunks.keep(number, np.concatenate(part))
                part = []
            tell("embed", done, len(source))


def _as_it_is(images: Any) -> Any:
    return images


def _finite(features: NDArray[np.float32], source: Source, rows: range) -> NDArray[np.float32]:
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        names = source.columns.get("key", source.columns[COORDS])[rows.start + bad[:3]].tolist()
        raise DataError(
            "The encoder gives what is no number",
            code="features-not-finite",
            expected="finite features",
            found=f"NaN or infinity for {', '.join(map(str, names))}",
            done="No file was written",
            todo="Try --precision fp32, or look at the weights",
        )
    return features


def _there(out: Path, facts: Mapping[str, Any], *, overwrite: bool) -> Done | None:
    """What is there already, when it is what was asked for; ``None`` when it may be replaced."""
    try:
        content = read_file(out, ("features",))
        same = canonical_json(dict(content.facts)) == canonical_json(facts)
    except (HumanstError, ValueError):
        same = False
    if same:
        n_rows, width = content.arrays["features"].shape
        return Done(out, sha256_file(out), n_rows, width, n_rows, facts)
    if overwrite:
        return None
    raise UsageError(
        "There is a file of this name already",
        code="exists",
        file=out.name,
        expected="no file, or these very embeddings",
        found="something else",
        done="Nothing was written",
        todo="Give another name, or --overwrite",
    )


def _check_out(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        expected, found = " or ".join(SUFFIXES), out.suffix or "no suffix"
        raise UsageError("The file cannot be of this kind", field="--out", expected=expected, found=found)
