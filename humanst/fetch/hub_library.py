"""huggingface_hub, as it is used here: asked for when it is needed, and sending large files over plain https."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from humanst.errors import UsageError


def hub_library() -> Any:
    """The module ``huggingface_hub``.

    Raises
    ------
    UsageError
        ``backend-missing`` where it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise UsageError(
            "Publishing to the Hub needs huggingface_hub, which is not installed",
            code="backend-missing",
            expected="a Python that can import it",
            found=str(error),
            done="Nothing was sent",
            todo="pip install 'humanst[publish]'",
        ) from error
    return huggingface_hub


@contextmanager
def without_xet(library: Any) -> Iterator[None]:
    """Send large files as LFS objects while the block runs, also where hf_xet is installed, as it mostly is.

    hf_xet passes on the sha256 that it is told and checks none, speaks to hosts of its own, finds no way where a hub
    has no such store, and says of a token that is refused, or of a hub that does not answer, that a file here cannot be
    read. The Hub brings LFS objects into its own store afterwards.
    """
    before = library.constants.HF_HUB_DISABLE_XET
    library.constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        library.constants.HF_HUB_DISABLE_XET = before
