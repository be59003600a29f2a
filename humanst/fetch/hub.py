"""Sending files to a data set on the Hub: what is there already is not sent again, and all of it appears at once.

Large files go up first, one batch after the other; a commit then makes them visible together, so that nobody sees a
release in part. A run that was cut finds on the Hub what it had sent. The token comes from the environment alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from humanst.errors import IntegrityError, NetworkError, UsageError
from humanst.fetch.hub_faults import ENDPOINT, Place, hub_faults, unreadable
from humanst.fetch.hub_library import hub_library, without_xet
from humanst.fetch.mirrors import check_url, host_and_port
from humanst.fetch.patience import Patience, with_patience
from humanst.files import CHUNK_BYTES
from humanst.settings import Settings

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
PATIENCE = Patience(tries=3, backoff_s=2.0, budget_s=24 * 3600.0)
_BATCH_FILES, _BATCH_BYTES = 50, 4 << 30
# The Hub takes at most 25,000 large files a commit.
_COMMIT_FILES = 20_000
# What the Hub itself puts there, and what its form for a new data set writes.
_OF_THE_HUB = frozenset({".gitattributes"})
_OF_THE_FORM = frozenset({"README.md"})
_Strangers = Callable[[Collection[str]], Collection[str]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it is to be on the Hub."""

    path: Path
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Upload:
    """What was done: paths that were sent, were there already and were removed, and the commit that holds them."""

    sent: tuple[str, ...]
    there: tuple[str, ...]
    removed: tuple[str, ...]
    commit: str


def send_to_hub(
    repository: str,
    revision: str,
    wanted: Mapping[str, Sent],
    last: str,
    message: str,
    settings: Settings,
    *,
    strangers: _Strangers,
    progress: Callable[[int, int], None] | None = None,
) -> Upload:
    """Make a data set on the Hub hold these files and no others.

    Parameters
    ----------
    repository
        ``owner/name`` of a data set that exists.
    wanted
        Path in the data set -> file.
    last
        The path that appears last, should it take several commits; an earlier file of this name goes first then.
    strangers
        Which of the paths that are there are not ours, so that they may be neither removed nor replaced.
    progress
        Called with (files done, files in all).

    Returns
    -------
    Upload
        Once the Hub was asked again and lists every file by its hash.

    Raises
    ------
    UsageError
        ``backend-missing`` without huggingface_hub; ``no-token``; ``no-branch``; ``strangers`` when the data set holds
        other files.
    IntegrityError
        ``hash-differs`` when a file is not what it is to be: nothing of it is sent; ``unreadable`` when it cannot be
        read here.
    NetworkError
        Offline, refused, or no answer after three tries. What was sent by then is not sent again.
    HostileError
        For an ``HF_ENDPOINT`` that is not https.
    """
    hub = _Hub(repository, revision, _token(), settings)
    with without_xet(hub.library), hub.faults():
        return hub.send(wanted, last, message, strangers, progress or _silent)


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


def _token() -> str:
    for name in TOKENS:
        if token := os.environ.get(name, "").strip():
            return token
    raise UsageError(
        "Publishing to the Hub needs a token",
        code="no-token",
        field=TOKENS[0],
        expected="a token that may write to the data set, in the environment",
        found="none",
        done="Nothing was sent",
        todo=f"Make one at {ENDPOINT}/settings/tokens and export {TOKENS[0]}",
    )


class _Hub:
    """A data set on the Hub, through huggingface_hub."""

    def __init__(self, repository: str, revision: str, token: str, settings: Settings) -> None:
        if settings.offline:
            raise NetworkError(
                "humanst is offline", code="offline", done="Nothing was sent", todo="Unset HUMANST_OFFLINE"
            )
        endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
        host = host_and_port(urlsplit(endpoint))
        # The token goes there: over https, or not at all.
        check_url(endpoint, (host,), allow_loopback_http=settings.allow_loopback_http)
        self.library = hub_library()
        self.library.utils.disable_progress_bars()
        self._api = self.library.HfApi(endpoint=endpoint, token=token)
        self._token, self._where = token, {"repo_id": repository, "repo_type": "dataset", "revision": revision}
        self._names: dict[str, str] = {}

    def send(
        self,
        wanted: Mapping[str, Sent],
        last: str,
        message: str,
        strangers: _Strangers,
        tell: Callable[[int, int], None],
    ) -> Upload:
        self._names = {str(file.path): name for name, file in wanted.items()}
        sent: dict[str, None] = {}
        removed: dict[str, None] = {}

        def attempt(_: float) -> str:
            with self.faults(transient=True):
                head, listed = self._listed()
                missing = [name for name, file in wanted.items() if not _is_there(file, listed.get(name))]
                gone = sorted(set(listed) - set(wanted) - _OF_THE_HUB)
                changed = (set(missing).intersection(listed) - _OF_THE_FORM).union(gone)
                self._require_ours(sorted(changed.intersection(strangers(listed.keys()))))
                # Where one commit is too small, nobody is to take what lies between the first and the last for whole.
                withdrawn = [last] if last in listed and len(missing) + len(gone) > _COMMIT_FILES else []
                missing += [name for name in withdrawn if name not in missing]
                if missing or gone:
                    head = self._bring(wanted, missing, gone, withdrawn, message, head, tell, last)
                sent.update(dict.fromkeys(missing))
                removed.update(dict.fromkeys(gone))
                return head

        with_patience(PATIENCE, attempt)
        head, listed = self._listed()
        if wrong := [name for name, file in wanted.items() if not _is_there(file, listed.get(name))]:
            raise NetworkError(
                "The Hub does not list what was sent",
                code="not-as-sent",
                file=wrong[0],
                expected=f"sha256 {wanted[wrong[0]].sha256}",
                found=f"{len(wrong)} files that are not there, or not the same",
                todo="Run the same command again; look whether a .gitignore of the data set leaves them out",
            )
        there = tuple(name for name in wanted if name not in sent)
        return Upload(tuple(sent), there, tuple(removed), head)

    def _require_ours(self, strangers: Sequence[str]) -> None:
        if strangers:
            raise UsageError(
                "The data set holds files that are no release of humanst",
                code="strangers",
                field="--to",
                expected="an empty data set, or an earlier release",
                found=f"{len(strangers)} other files, such as {', '.join(strangers[:3])}",
                done="Nothing was sent and nothing was removed",
                todo=f"Choose another data set than {self._where['repo_id']}",
            )

    def _listed(self) -> tuple[str, dict[str, Any]]:
        """The commit that is the head now, and its files."""
        head = str(self._api.repo_info(**self._where).sha)
        entries = self._api.list_repo_tree(**{**self._where, "revision": head}, recursive=True)
        return head, {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}

    def _bring(
        self,
        wanted: Mapping[str, Sent],
        missing: Sequence[str],
        gone: Sequence[str],
        withdrawn: Sequence[str],
        message: str,
        head: str,
        tell: Callable[[int, int], None],
        last: str,
    ) -> str:
        """Send the missing files and make them visible; returns the new head."""
        ordered = sorted(missing, key=lambda name: (name == last, name))
        adds = {name: self._add(name, wanted[name]) for name in ordered}
        done = len(wanted) - len(missing)
        for batch in _batches(ordered, wanted):
            self._api.preupload_lfs_files(
                self._where["repo_id"],
                [adds[name] for name in batch],
                repo_type="dataset",
                revision=self._where["revision"],
                free_memory=False,
            )
            done += len(batch)
            tell(done, len(wanted))
        operations = [self.library.CommitOperationDelete(name) for name in gone] + list(adds.values())
        steps = [[self.library.CommitOperationDelete(name) for name in withdrawn]] if withdrawn else []
        steps += [operations[start : start + _COMMIT_FILES] for start in range(0, len(operations), _COMMIT_FILES)]
        for step in steps:
            made = self._api.create_commit(operations=step, commit_message=message, parent_commit=head, **self._where)
            head = str(made.oid)
        return head

    def _add(self, name: str, file: Sent) -> Any:
        """A file to be added. The library hashes it anew: it may have changed since it was found to be fit."""
        if not file.path.is_file():
            raise unreadable(name, "no file")
        add = self.library.CommitOperationAdd(name, str(file.path))
        if (found := add.upload_info.sha256.hex()) != file.sha256:
            raise IntegrityError(
                "A file changed since it was checked",
                code="hash-differs",
                file=name,
                expected=file.sha256,
                found=found,
                done="Nothing of it was sent",
                todo="Run the same command again once nobody works on the release",
            )
        return add

    def faults(self, *, transient: bool = False) -> AbstractContextManager[None]:
        """Errors of the library as ours, without the token; those that pass may be tried again."""
        repository, revision = self._where["repo_id"], self._where["revision"]
        place = Place(repository, revision, self._token, self._names)
        return hub_faults(self.library.errors, place, transient=transient)


def _batches(names: Sequence[str], wanted: Mapping[str, Sent]) -> Iterator[list[str]]:
    batch: list[str] = []
    n_bytes = 0
    for name in names:
        if batch and (len(batch) == _BATCH_FILES or n_bytes + wanted[name].n_bytes > _BATCH_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(name)
        n_bytes += wanted[name].n_bytes
    if batch:
        yield batch


def _is_there(file: Sent, entry: Any) -> bool:
    """Whether what the Hub lists has the bytes of a file: large ones have their sha256, others that of git."""
    if entry is None or entry.size != file.n_bytes:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == file.sha256)
    return bool(entry.blob_id == _git_blob(file))


def _git_blob(file: Sent) -> str:
    digest = hashlib.sha1(f"blob {file.n_bytes}\0".encode(), usedforsecurity=False)
    with file.path.open("rb") as handle:
        while block := handle.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()
