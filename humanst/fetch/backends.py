"""Addresses beyond http(s): ``hf://`` and ``s3://``, when the library that knows them is installed.

``hf://datasets/<owner>/<name>@<revision>/<path>`` becomes the https address of the file, which is then downloaded like
any other: from the hosts on record, with resume, without a login. ``s3://<bucket>/<key>`` is read through fsspec,
without a login, if ``s3://<bucket>`` is one of the hosts on record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from urllib.parse import urlsplit

from humanst.errors import HostileError, NetworkError, UsageError
from humanst.files import CHUNK_BYTES

_HF = re.compile(
    r"hf://(?:(?P<kind>datasets|spaces)/)?(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/]+))?/(?P<path>[^?#]+)"
)


def is_object_store(url: str) -> bool:
    """Whether an address is read through fsspec."""
    return url.startswith("s3://")


def resolved_url(url: str) -> str:
    """The https address of an ``hf://`` address; any other as it is.

    Raises
    ------
    UsageError
        When huggingface_hub is not installed, or the address is not whole.
    """
    if not url.startswith("hf://"):
        return url
    parts = _HF.fullmatch(url)
    if parts is None:
        raise UsageError(
            "This hf:// address is not whole",
            code="bad-address",
            expected="hf://datasets/<owner>/<name>@<revision>/<path>",
            found=url,
            todo="Correct the address in the catalog",
        )
    hub = _library("huggingface_hub", url, "huggingface_hub")
    kind = {"datasets": "dataset", "spaces": "space"}.get(parts["kind"] or "")
    address: str = hub.hf_hub_url(
        parts["repo"],
        parts["path"],
        repo_type=kind,
        revision=parts["revision"],
        endpoint=os.environ.get("HF_ENDPOINT"),
    )
    return address


def read_object(url: str, hosts: tuple[str, ...]) -> Iterator[bytes]:
    """Blocks of an object.

    Raises
    ------
    HostileError
        When its bucket is not among the hosts on record.
    UsageError
        When fsspec or s3fs is not installed.
    NetworkError
        When the store does not give it.
    """
    bucket = f"s3://{urlsplit(url).netloc}"
    if bucket not in hosts:
        raise HostileError(
            f"humanst does not ask this address: {url}",
            code="host-not-allowed",
            field="hosts",
            expected=", ".join(sorted(hosts)) or "no host at all",
            found=bucket,
            done="It was not asked",
            todo="If the bucket is right, add it to the study's hosts in the catalog",
        )
    fsspec = _library("fsspec", url, "fsspec s3fs")
    try:
        with fsspec.open(url, "rb", anon=True) as handle:
            while block := handle.read(CHUNK_BYTES):
                yield block
    except ImportError as error:
        raise _missing("s3fs", url, "fsspec s3fs") from error
    except _store_errors() as error:
        absent = isinstance(error, FileNotFoundError)
        raise NetworkError(
            "The store has no such object" if absent else "The store did not give this object",
            code="not-found" if absent else "unreachable",
            expected=f"the object at {url}",
            found=f"{type(error).__name__}: {error}",
            todo="Check the connection and the address, and run the same command again",
        ) from error


def _store_errors() -> tuple[type[Exception], ...]:
    """What reading an object raises: the errors of files, and those of the library below s3fs."""
    try:
        known = import_module("botocore.exceptions")
    except ImportError:
        return (OSError,)
    return (OSError, known.BotoCoreError, known.ClientError)


def _library(module: str, url: str, packages: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing(module, url, packages) from error


def _missing(module: str, url: str, packages: str) -> UsageError:
    return UsageError(
        f"Addresses like this one need {module}, which is not installed",
        code="backend-missing",
        expected=f"a Python that can import {module}",
        found=url,
        done="It was not asked",
        todo=f"pip install {packages}",
    )
