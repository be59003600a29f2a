"""``stamp-train align``: LoRA alignment of an encoder to the pathways of a release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from humanst.errors import UsageError
from stamp_train.commands.output import echo_json, json_option, loaders_keep_quiet, progress, say

if TYPE_CHECKING:
    from stamp_train.align import AlignResult


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting. Can be repeated.")
@click.option(
    "--allow-leakage",
    is_flag=True,
    help="Train although the training split holds tissue of the evaluation (allow_leakage: true); every table says so.",
)
@click.option("--print-sbatch", is_flag=True, help="Print a script for SLURM that runs this, and do nothing else.")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs of that script, one rank each.")
@json_option
def align(
    config: Path,
    changes: tuple[str, ...],
    allow_leakage: bool,
    print_sbatch: bool,
    gpus: int | None,
    as_json: bool,
) -> None:
    """Align an encoder to the pathways of a release with LoRA.

    CONFIG.yaml holds the settings; docs/align.md tells them all. The run folder gets the settings, a log, checkpoints
    and, at the end, the adapter. Run again, the same command goes on where it was stopped (SIGTERM and SIGUSR1 save and
    end with exit code 75); a run that is finished says so.

    Refused with exit code 5: a training split that holds tissue of the evaluation.
    """
    from stamp_train.config import AlignConfig

    changes = (*changes, "allow_leakage=true") if allow_leakage else changes
    settings = AlignConfig.from_yaml(config).with_settings(changes)
    if print_sbatch:
        _print_sbatch(config, changes, gpus, as_json)
        return
    if gpus is not None:
        raise UsageError("--gpus is for --print-sbatch; a run has the ranks that its launcher starts", field="--gpus")
    from stamp_train.align import align as run

    with loaders_keep_quiet(), progress() as bar:
        result = run(settings, progress=bar, say=say)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        echo_json(result.to_dict())
    else:
        _echo(result)


def _print_sbatch(config: Path, changes: tuple[str, ...], gpus: int | None, as_json: bool) -> None:
    from stamp_train.sbatch import sbatch_script

    if gpus is None:
        raise UsageError("A script needs to know how many GPUs", field="--gpus", todo="Add --gpus 4, for example")
    arguments = [part for change in changes for part in ("--set", change)]
    script = sbatch_script(config, gpus, arguments=arguments)
    if as_json:
        echo_json({"schema": "stamp_train.sbatch/1", "script": script})
    else:
        click.echo(script, nl=False)


def _echo(result: AlignResult) -> None:
    done = "was finished before" if result.already_done else "is finished"
    click.echo(f"{result.run}: {done}, {result.steps} steps")
    first, last = result.first, result.last
    click.echo(f"    contrast {first['contrast']:.3f} -> {last['contrast']:.3f} (chance ln B {first['ln_batch']:.3f})")
    if result.best_step is not None:
        looks = {row["step"]: row["pcc"] for row in result.validation}
        final = result.validation[-1]["pcc"]
        told = "none" if final is None else f"{final:.3f}"
        click.echo(f"    val PCC {told} at the end; best {looks[result.best_step]:.3f} at step {result.best_step}")
    click.echo(f"    {result.adapter}")
    if result.leakage is not None:
        say(result.leakage)
