"""``stamp-train embed``: features of a release's pairs, or of a whole slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stamp_train.commands.device import chosen_device, device_option
from stamp_train.commands.output import echo_json, echo_table, json_option, progress
from stamp_train.commands.parsing import channels, comma_list

if TYPE_CHECKING:
    from stamp_train.embed import Done
    from stamp_train.frozen import Frozen

POSITIVE = click.FloatRange(min=0, min_open=True)
ONLY_SLIDES = ("um_per_pixel", "patch_px", "patch_um_per_pixel", "overlap_px", "min_tissue")


@click.command()
@click.argument("source", metavar="RELEASE|SLIDE")
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, help=".h5 or .parquet.")
@click.option("--encoder", help="A preset, a model of timm, a folder, or hf-hub:OWNER/NAME  [default: the adapter's].")
@click.option(
    "--weights",
    default="preset",
    show_default=True,
    help="preset, random, packaged, hf-hub:OWNER/NAME, a file or a folder.",
)
@click.option("--adapter", type=click.Path(exists=True, path_type=Path), help="A run of align, or its adapter.")
@click.option(
    "--split", "splits", type=comma_list, metavar="A,B,...", help="Splits of the release, with commas  [default: all]."
)
@click.option("--um-per-pixel", type=POSITIVE, help="Scale of the slide  [default: as its header says].")
@click.option("--patch-px", type=click.IntRange(min=8, max=4096), help="Side of a slide's patches  [default: 224].")
@click.option("--patch-um-per-pixel", type=POSITIVE, help="Scale of a slide's patches  [default: 0.5].")
@click.option("--overlap-px", type=click.IntRange(min=0), help="That neighbouring patches share  [default: 0].")
@click.option("--min-tissue", type=click.FloatRange(0, 1), help="Least tissue in a slide's patch  [default: 0.15].")
@click.option(
    "--image-px", type=click.IntRange(min=8, max=4096), help="Side that the encoder sees  [default: its own]."
)
@click.option("--embedding", type=click.Choice(["cls", "cls+mean", "pooled"]), help="[default: the encoder's]")
@click.option("--mean", type=channels, metavar="R,G,B", help="Of the channels, in 0..1  [default: the encoder's].")
@click.option("--std", type=channels, metavar="R,G,B", help="Of the channels, in 0..1  [default: the encoder's].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of random weights.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images at a time.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes reading images.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option(
    "--save-every", type=click.IntRange(min=1), default=1024, show_default=True, help="Rows that are kept at a time."
)
@device_option
@click.option("--overwrite", is_flag=True, help="Replace a file that holds other embeddings.")
@json_option
def embed(source: str, out: Path, as_json: bool, **given: Any) -> None:
    """Embed the pairs of a release, or the patches of a whole slide that lie on tissue.

    A release gives features, uid, key, sample_id and coordinates. A slide gives features and coords (upper
    left corners in level-0 px), in h5 as TRIDENT writes it. A run that was ended goes on where it stood.
    """
    is_release = "://" in source or Path(source).is_dir()
    _check_fitting(is_release, given)
    from stamp_train.embed import embed_release, embed_slide
    from stamp_train.embed_work import Settings

    settings = Settings(
        batch_size=given["batch_size"],
        workers=given["workers"],
        device=chosen_device(given["device"]),
        precision=given["precision"],
        chunk_rows=given["save_every"],
    )
    frozen = _frozen(given)
    common: dict[str, Any] = {"settings": settings, "overwrite": given["overwrite"]}
    with progress() as tell:
        if is_release:
            done = embed_release(frozen, source, out, splits=given["splits"], tell=tell, **common)
        else:
            place = {"grid": _grid(given), "um_per_pixel": given["um_per_pixel"]}
            done = embed_slide(frozen, Path(source), out, tell=tell, **place, **common)
    _tell(done, as_json=as_json)


def _check_fitting(is_release: bool, given: dict[str, Any]) -> None:
    from humanst.errors import UsageError

    strange = [name for name in (ONLY_SLIDES if is_release else ("splits",)) if given[name] is not None]
    if strange:
        names = ", ".join("--split" if name == "splits" else f"--{name.replace('_', '-')}" for name in strange)
        raise UsageError(
            "An option does not fit what is embedded",
            field=names,
            expected="options of a release" if is_release else "options of a slide",
            found=names,
        )


def _frozen(given: dict[str, Any]) -> Frozen:
    from stamp_train.frozen import frozen_encoder

    names = ("adapter", "seed", "image_px", "embedding", "mean", "std")
    return frozen_encoder(given["encoder"], given["weights"], **{name: given[name] for name in names})


def _grid(given: dict[str, Any]) -> Any:
    from stamp_train.sources import Grid

    names = {
        "side_px": "patch_px",
        "um_per_pixel": "patch_um_per_pixel",
        "overlap_px": "overlap_px",
        "min_tissue": "min_tissue",
    }
    return Grid(**{name: given[option] for name, option in names.items() if given[option] is not None})


def _tell(done: Done, *, as_json: bool) -> None:
    content = {
        "schema": "stamp_train.embed/1",
        "file": str(done.path),
        "sha256": done.sha256,
        "rows": done.n_rows,
        "width": done.width,
        "rows_done_before": done.n_kept,
        "facts": done.facts,
    }
    if as_json:
        echo_json(content)
        return
    shown = ("file", "rows", "width", "rows_done_before", "sha256")
    echo_table([(name.replace("_", " "), str(content[name])) for name in shown])
