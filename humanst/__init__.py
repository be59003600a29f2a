"""humanst: the open atlas of H&E histology and spatial gene expression, and the tool that makes it.

Public names load on first use, so that ``import humanst`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from humanst.catalog import Catalog, load_catalog
    from humanst.errors import HumanstError
    from humanst.load import PairDataset, PairStream, dataloader, open_release

_WHERE = {
    "Catalog": "humanst.catalog",
    "HumanstError": "humanst.errors",
    "PairDataset": "humanst.load",
    "PairStream": "humanst.load",
    "dataloader": "humanst.load",
    "load_catalog": "humanst.catalog",
    "open_release": "humanst.load",
}

__all__ = [
    "Catalog",
    "HumanstError",
    "PairDataset",
    "PairStream",
    "__version__",
    "dataloader",
    "load_catalog",
    "open_release",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        message = f"module 'humanst' has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
