"""``humanst doctor``: is this machine fit, and what to do where it is not."""

from __future__ import annotations

import time
from pathlib import Path

import click

from humanst.cli.output import echo, echo_json, end_with, json_option


@click.command(
    epilog="""\b
Exit codes:
  0  nothing fails; there may be warnings
  4  some of the checks fail; each has its own code in --json
Where one check alone was looked at, as `humanst doctor mirrors` with one mirror, its own code: 2 for what is
installed or set, 7 for the network, 8 for an address that is not opened, 9 for no room."""
)
@click.argument("checks", metavar="[CHECK]...", nargs=-1)
@click.option("--hosts", is_flag=True, help="Also ask each host that the catalog names whether it answers.")
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(file_okay=False),
    multiple=True,
    help="A folder that results are to go to; may be given again [default: this folder].",
)
@json_option
def doctor(checks: tuple[str, ...], hosts: bool, outputs: tuple[str, ...], as_json: bool) -> None:
    """Look at the machine: software, codecs, disk, cache, mirrors, torch, limits. Changes nothing.

    CHECK is one of python, packages, images, settings, catalog, disk, cache, mirrors, hosts, torch, machine, slurm; all
    but hosts without one.
    """
    from humanst.doctor import examine, failures_of

    began = time.monotonic()
    found = examine(checks, hosts=hosts, outputs=[Path(folder).absolute() for folder in outputs])
    failures = failures_of(found)
    counts = {status: sum(check.status == status for check in found) for status in ("ok", "warn", "fail")}
    if as_json:
        rows = [
            {
                "check": check.group,
                "item": check.item,
                "status": check.status,
                "found": check.found,
                "todo": check.todo,
                "exit_code": check.exit_code,
            }
            for check in found
        ]
        echo_json("humanst.doctor/1", {"ok": not failures, **counts_named(counts), "checks": rows})
    else:
        for check in found:
            echo(f"{check.status:<4}  {check.group:<8}  {check.item}: {check.found}")
            if check.todo:
                echo(f"{'':16}  -> {check.todo}")
        seconds = time.monotonic() - began
        echo(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed ({seconds:.1f} s)")
    end_with(len(found), failures, "check")


def counts_named(counts: dict[str, int]) -> dict[str, int]:
    """The numbers of checks by status, as keys of the JSON object."""
    return {"n_ok": counts["ok"], "n_warn": counts["warn"], "n_fail": counts["fail"]}
