"""``humanst verify``: re-validate a release from its bytes."""

from __future__ import annotations

from pathlib import Path

import click

from humanst.cli.output import echo, echo_json, json_option, progress, say


@click.command()
@click.argument("release", type=click.Path(exists=True, file_okay=False))
@json_option
def verify(release: str, as_json: bool) -> None:
    """Check every file, shard, pair and split of a RELEASE folder."""
    from humanst.shards.verify import verify_release

    with progress("verify") as tell:
        result = verify_release(Path(release), progress=lambda done, total: tell("shards", done, total, 0))
    good = not result.findings.refused
    content = {
        "release": release,
        "version": result.version,
        "ok": good,
        "files": result.files,
        "shards": result.shards,
        "pairs": result.pairs,
        "findings": result.findings.to_list(),
    }
    if as_json:
        echo_json("humanst.verify/1", content)
    for finding in result.findings:
        say(finding.line())
    if good and not as_json:
        echo(f"{release}: {result.files} files, {result.shards} shards, {result.pairs:,} pairs verified")
    if not good:
        from humanst.cli.output import report_error
        from humanst.errors import HumanstError

        try:
            result.raise_if_bad()
        except HumanstError as error:
            report_error(error, False)
            raise click.exceptions.Exit(error.exit_code) from None
