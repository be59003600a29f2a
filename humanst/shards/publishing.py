"""Publishing a release: what would be sent, and sending it to a folder or to the Hub, once it is found to be fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from humanst.errors import LicenseError, UsageError
from humanst.fetch.hub import Sent, send_to_hub
from humanst.settings import settings
from humanst.shards.departures import may_be_passed_on
from humanst.shards.documents.facts import licenses_of
from humanst.shards.exporting import require_known_files
from humanst.shards.folder import MANIFEST, SUMS, strangers_among
from humanst.shards.opened import OpenedRelease, open_folder
from humanst.shards.publishing_folder import copy_release, look_at, require_target, size_of
from humanst.shards.verify import verify_release

State = Literal["send", "there", "remove"]
Progress = Callable[[str, int, int, int], None]
_HUB = re.compile(r"hf://(?:datasets/)?(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?/?")
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Target:
    """Where a release goes: a folder, or a data set on the Hub."""

    folder: Path | None = None
    repository: str | None = None
    revision: str = "main"

    def __str__(self) -> str:
        if self.folder is not None:
            return str(self.folder)
        return f"hf://datasets/{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A file, and what becomes of it at the target; one that is removed there has no hash here."""

    path: str
    n_bytes: int
    sha256: str | None
    state: State


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published, or would be.

    Attributes
    ----------
    licenses
        SPDX ids of sections -> how many sections and pairs come under them.
    files
        By path, the manifest last.
    is_sent
        Whether it was done, and found to be there afterwards.
    is_asked
        Whether the target was looked at: the Hub is not before something is sent.
    """

    version: str
    manifest_sha256: str
    target: Target
    licenses: Mapping[str, tuple[int, int]]
    files: tuple[Planned, ...]
    is_sent: bool
    is_asked: bool

    def of(self, state: State) -> list[Planned]:
        """The files that something becomes of."""
        return [file for file in self.files if file.state == state]


def target_of(text: str) -> Target:
    """Where ``--to`` leads.

    Raises
    ------
    UsageError
        For an address that is neither a folder nor a data set on the Hub.
    """
    # A slash too few in `hf://a/b`, or a variable that is not set, is no folder.
    if "://" not in text and text.strip() and not text.casefold().startswith("hf:"):
        return Target(folder=Path(text).expanduser().resolve())
    match = _HUB.fullmatch(text)
    if match is None:
        raise UsageError(
            "Nothing can be published there",
            code="bad-address",
            field="--to",
            expected="a folder, or hf://<owner>/<name>, with @<branch> for another than main",
            found=repr(text),
            done="Nothing was sent",
        )
    return Target(repository=match["repository"], revision=match["revision"] or "main")


def publish(release: Path, target: Target, *, send: bool, progress: Progress | None = None) -> Publication:
    """Check a release and send it, or only say what would be sent.

    Parameters
    ----------
    send
        Without it nothing is written and no host is asked.

    Raises
    ------
    LicenseError
        ``not-redistributable``, naming the sections that may not be passed on.
    DataError, IntegrityError
        What ``humanst verify`` says of it, or of the copy; ``unknown-file`` for files that the manifest does not speak
        of, whose licences nobody knows; ``unreadable`` for a file that cannot be read while it is sent.
    UsageError
        For a target that holds anything but a release, or lies inside this one.
    NetworkError, HostileError
        See :func:`humanst.fetch.hub.send_to_hub`.
    NoRoomError
        When a folder is too small.
    """
    tell = progress or _silent
    source = open_folder(release)
    _require_redistributable(source.manifest)
    if target.folder is not None:
        require_target(source, target.folder)
    result = verify_release(release, progress=lambda done, total: tell("verify", done, total, 0))
    result.raise_if_bad()
    require_known_files(source)
    if target.folder is not None:
        return _to_folder(source, target, target.folder, send, tell)
    return _to_hub(source, target, send, tell)


def _silent(step: str, done: int, total: int, pairs: int) -> None:
    """Tell nobody."""


def _require_redistributable(manifest: Mapping[str, Any]) -> None:
    closed = [row["sample_id"] for row in manifest["sections"] if not may_be_passed_on(row)]
    if not closed:
        return
    more = f" and {len(closed) - _NAMED:,} more" if len(closed) > _NAMED else ""
    raise LicenseError(
        "The release holds sections that may not be passed on",
        code="not-redistributable",
        expected="redistributable: true for every section in MANIFEST.json, and licences that allow it",
        found=f"{len(closed):,} of {len(manifest['sections']):,} are not: {', '.join(closed[:_NAMED])}{more}",
        done="Nothing was sent",
        todo="`humanst export RELEASE --redistributable -o PUBLIC` makes the release that can be published",
    )


def _names(source: OpenedRelease) -> dict[str, str]:
    """Path -> sha256 of all files, the manifest last."""
    digests = {name: source.sums[name] for name in sorted(source.sums)}
    return {**digests, SUMS: str(source.manifest["sha256sums"]), MANIFEST: source.manifest_sha256}


def _licenses(manifest: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in manifest["sections"]:
        name = " AND ".join(licenses_of(row))
        sections, pairs = found.get(name, (0, 0))
        found[name] = (sections + 1, pairs + int(row["pairs"]))
    return dict(sorted(found.items()))


def _publication(
    source: OpenedRelease, target: Target, states: Mapping[str, State], removed: Mapping[str, int], *, sent: bool
) -> Publication:
    planned = [Planned(name, size, None, "remove") for name, size in removed.items()]
    for name, digest in _names(source).items():
        planned.append(Planned(name, size_of(source, name), digest, states[name]))
    return Publication(
        str(source.manifest["version"]),
        source.manifest_sha256,
        target,
        _licenses(source.manifest),
        tuple(planned),
        is_sent=sent,
        is_asked=sent or target.folder is not None,
    )


def _to_folder(source: OpenedRelease, target: Target, folder: Path, send: bool, tell: Progress) -> Publication:
    digests = _names(source)
    look = look_at(digests, folder)
    if send:
        look = copy_release(source, digests, folder, tell, partial(_check_copy, folder, tell))
    states: dict[str, State] = {name: "send" if name in look.missing else "there" for name in digests}
    return _publication(source, target, states, look.gone, sent=send)


def _check_copy(folder: Path, tell: Progress) -> None:
    verify_release(folder, progress=lambda done, total: tell("verify the copy", done, total, 0)).raise_if_bad()


def _to_hub(source: OpenedRelease, target: Target, send: bool, tell: Progress) -> Publication:
    digests = _names(source)
    if not send:
        states: dict[str, State] = dict.fromkeys(digests, "send")
        return _publication(source, target, states, {}, sent=False)
    wanted = {name: Sent(source.folder / name, size_of(source, name), digest) for name, digest in digests.items()}
    upload = send_to_hub(
        str(target.repository),
        target.revision,
        wanted,
        MANIFEST,
        f"humanst {source.manifest['version']}",
        settings(),
        strangers=strangers_among,
        progress=lambda done, total: tell("send", done, total, 0),
    )
    states = {name: "there" if name in upload.there else "send" for name in digests}
    return _publication(source, target, states, dict.fromkeys(upload.removed, 0), sent=True)
