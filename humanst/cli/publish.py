"""``humanst publish``: send a release to a folder or to the Hub; without --confirm only say what would be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from humanst.cli.output import echo, echo_json, json_option, progress, say, table
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.shards.publishing import Publication

_SHOWN = 20


@click.command()
@click.argument("release", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--to",
    "to",
    metavar="DIR|hf://OWNER/NAME",
    required=True,
    help="A folder, or a data set on the Hub; @BRANCH at its end for another branch than main.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be sent, and send nothing: so it is without --confirm too."
)
@click.option("--confirm", is_flag=True, help="Send it.")
@json_option
def publish(release: str, to: str, dry_run: bool, confirm: bool, as_json: bool) -> None:
    """Send a RELEASE folder to where others find it.

    Only what `humanst verify` accepts is sent, and no release with sections that may not be passed on. Without
    --confirm nothing is: the files, bytes and licences are listed, no host is asked.

    What is there already is not sent again, so a run that was cut goes on. The manifest appears last. For the Hub, a
    token that may write to the data set is taken from HF_TOKEN.
    """
    from humanst.shards import publishing

    if dry_run and confirm:
        raise UsageError(
            "Either to send or not to send", field="--dry-run", expected="one of both", found="--dry-run and --confirm"
        )
    target = publishing.target_of(to)
    with progress("publish") as tell:
        done = publishing.publish(Path(release).resolve(), target, send=confirm, progress=tell)
    if as_json:
        echo_json("humanst.publish/1", _content(release, done))
        return
    _print(done)
    if not done.is_sent:
        say("Nothing was sent: the same command with --confirm does")


def _content(release: str, done: Publication) -> dict[str, Any]:
    return {
        "release": release,
        "version": done.version,
        "manifest_sha256": done.manifest_sha256,
        "to": str(done.target),
        "sent": done.is_sent,
        "asked": done.is_asked,
        "n_files": len(done.of("send")) + len(done.of("there")),
        "send_files": len(done.of("send")),
        "send_bytes": sum(file.n_bytes for file in done.of("send")),
        "there_files": len(done.of("there")),
        "remove_files": len(done.of("remove")),
        "licenses": [
            {"license": name, "sections": sections, "pairs": pairs} for name, (sections, pairs) in done.licenses.items()
        ],
        "files": [
            {"path": file.path, "bytes": file.n_bytes, "sha256": file.sha256, "state": file.state}
            for file in done.files
        ],
    }


def _print(done: Publication) -> None:
    changing = [file for file in done.files if file.state != "there"]
    if changing:
        lines = [("file", "bytes", "")] + [(file.path, f"{file.n_bytes:,}", file.state) for file in changing[:_SHOWN]]
        table(lines, left={0, 2})
    if len(changing) > _SHOWN:
        echo(f"... and {len(changing) - _SHOWN:,} more (--json lists all)")
    for name, (sections, pairs) in done.licenses.items():
        echo(f"{name}: {sections:,} sections, {pairs:,} pairs")
    verb = "sent" if done.is_sent else "to send"
    there = len(done.of("there"))
    known = f", {there:,} are there already" if done.is_asked else " (the Hub was not asked what it has)"
    removed = f", {len(done.of('remove')):,} of another release removed" if done.of("remove") else ""
    n_bytes = sum(file.n_bytes for file in done.of("send"))
    n_sent = len(done.of("send"))
    echo(f"{done.target}: release {done.version}, {n_sent:,} files ({n_bytes:,} bytes) {verb}{known}{removed}")
