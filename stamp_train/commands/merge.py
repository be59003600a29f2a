"""``stamp-train merge``: a plain timm model of a base and the adapter of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from stamp_train.commands.output import echo_json, json_option, say


@click.command()
@click.argument("source", metavar="RUN|ADAPTER", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--base",
    help="The weights that the run began with: a file or folder, hf-hub:OWNER/NAME, an encoder by name, or random. "
    "[default: where the run says they were]",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for config.json and model.safetensors; one of an earlier merge is replaced, nothing else is.",
)
@json_option
def merge(source: Path, base: str | None, out: Path, as_json: bool) -> None:
    """Put the adapter of a run into its base's weights, as a plain timm model.

    RUN is the folder of a run that is done; ADAPTER is its adapter folder, or the .safetensors file in it. Merged
    weights are W + alpha / rank * B A. Weights that the adapter was not trained on are refused (exit 6).
    """
    from stamp_train.merging import merge_adapter

    done = merge_adapter(source, out, base)
    if as_json:
        echo_json(
            {
                "schema": "stamp_train.merge/1",
                "out": str(done.folder),
                "weights_sha256": done.weights_sha256,
                "adapter": asdict(done.facts),
                "leakage": done.leakage,
            }
        )
        return
    click.echo(f"{done.folder}: weights sha256 {done.weights_sha256}")
    click.echo(f"    of {done.facts.encoder}, rank {done.facts.rank}, alpha {done.facts.alpha:g}")
    if done.leakage is not None:
        say(done.leakage)
