"""Which target sets are asked for, and what makes two of them the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from humanst.errors import UsageError
from humanst.files import sha256_file

Kind = Literal["counts", "hvg", "pca", "gmt"]
# Raised whenever the same request and the same sections would give other numbers.
TARGETS_VERSION = 1
PCA_GENES = 2000
# A section that lacks more of the genes of a PCA than this share is not scored.
MAX_SHARE_MISSING = 0.05

_FITTED = re.compile(r"(hvg|pca):([1-9][0-9]{0,5})")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_RESERVED = re.compile(r"counts|pathways?|(hvg|pca)(-.*)?")


@dataclass(frozen=True, slots=True)
class TargetSet:
    """One target set.

    Attributes
    ----------
    name
        Of its folder below ``targets/``.
    n
        Genes of ``hvg``, components of ``pca``.
    gmt
        The gene sets of ``gmt``.
    """

    name: str
    kind: Kind
    n: int = 0
    gmt: Path | None = None

    def parameters(self) -> dict[str, Any]:
        """What its numbers depend on besides the sections; a set of the same name with the same ones is the same."""
        found: dict[str, Any] = {"version": TARGETS_VERSION}
        if self.kind == "hvg":
            found |= {"n": self.n, "normalisation": "log1p(CP10k)"}
        elif self.kind == "pca":
            found |= {"n": self.n, "genes": PCA_GENES, "normalisation": "log1p(CP10k)"}
        elif self.gmt is not None:
            found |= {
                "gene_sets": self.gmt.name,
                "gene_sets_sha256": sha256_file(self.gmt),
                "scorer": "bincontrol",
                "normalisation": "log1p(CP10k), z per section over in-tissue spots that pass QC",
            }
        return found


def parse_sets(names: Sequence[str], gmt: Path | None = None) -> tuple[TargetSet, ...]:
    """Target sets from what a user wrote: ``counts``, ``hvg:1000``, ``pca:50``, ``NAME=FILE.gmt``.

    Parameters
    ----------
    gmt
        Gene sets of the one name that is given.

    Raises
    ------
    UsageError
        For a name that is none, a file that is not there, a set asked for twice.
    """
    if gmt is not None and len(names) != 1:
        raise _refused(", ".join(names), "one name for the gene sets of --gmt")
    sets = tuple(_parse(name, gmt) for name in names)
    if not sets:
        raise _refused("nothing", "counts, hvg:N, pca:K or the name of gene sets")
    if len({one.name for one in sets}) < len(sets):
        raise _refused(", ".join(names), "every set once")
    return sets


def _parse(text: str, gmt: Path | None) -> TargetSet:
    name, equals, file = text.partition("=")
    path = Path(file) if equals else gmt
    if path is None:
        if name == "counts":
            return TargetSet("counts", "counts")
        if match := _FITTED.fullmatch(name):
            kind: Kind = "hvg" if match[1] == "hvg" else "pca"
            return TargetSet(f"{kind}-{match[2]}", kind, int(match[2]))
        raise _refused(text, "counts, hvg:N, pca:K, or a name with a GMT file")
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise _refused(text, "a name of gene sets in [a-z0-9_-], other than counts, pathways, hvg and pca")
    if not path.is_file():
        raise UsageError("There is no such GMT file", field="--gmt", file=path.name, done="Nothing was written")
    return TargetSet(name, "gmt", gmt=path)


def _refused(found: str, expected: str) -> UsageError:
    return UsageError(
        "No such target set", field="target set", expected=expected, found=found, done="Nothing was written"
    )
