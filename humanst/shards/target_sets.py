"""Which target sets are asked for, and what makes two of them the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from humanst.errors import UsageError
from humanst.files import sha256_file
from humanst.pathways import PathwayChoice

Kind = Literal["counts", "hvg", "pca", "gmt", "random", "shuffle"]
# Raised whenever the same request and the same sections would give other numbers.
TARGETS_VERSION = 2
PCA_GENES = 2000
# A section that lacks more of the genes of a PCA than this share is not scored.
MAX_SHARE_MISSING = 0.05
REFERENCE = "mean log1p(CP10k) over training pairs, of genes that half of them measured"
"""What the expression bins of random sets are made of."""

_FITTED = re.compile(r"(hvg|pca):([1-9][0-9]{0,5})")
_CONTROL = re.compile(r"(random|shuffle):(0|[1-9][0-9]{0,8})")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_RESERVED = re.compile(r"counts|pathways?|reliability|(hvg|pca|random|shuffle)(-.*)?")


@dataclass(frozen=True, slots=True)
class TargetSet:
    """One target set.

    Attributes
    ----------
    name
        Of its folder below ``targets/``.
    n
        Genes of ``hvg``, components of ``pca``, seed of ``random`` and ``shuffle``.
    gmt
        The file of gene sets of ``gmt``, and of those that ``random`` is matched to.
    choice
        How scores are made of them.
    """

    name: str
    kind: Kind
    n: int = 0
    gmt: Path | None = None
    choice: PathwayChoice = field(default_factory=PathwayChoice)

    def parameters(self) -> dict[str, Any]:
        """What its numbers depend on besides the sections; a set of the same name with the same ones is the same."""
        found: dict[str, Any] = {"version": TARGETS_VERSION}
        if self.kind == "hvg":
            found |= {"n": self.n, "normalisation": "log1p(CP10k)"}
        elif self.kind == "pca":
            found |= {"n": self.n, "genes": PCA_GENES, "normalisation": "log1p(CP10k)"}
        elif self.kind == "shuffle":
            found |= {"seed": self.n, "of": "pathways"}
        elif self.gmt is not None:
            record = self.choice.record()
            found |= {
                "gene_sets": self.gmt.name,
                "gene_sets_sha256": sha256_file(self.gmt),
                "scorer": self.choice.scoring.scorer,
                "normalisation": self.choice.normalisation,
                **({"options": record} if record else {}),
                **({"seed": self.n, "reference": REFERENCE} if self.kind == "random" else {}),
            }
        return found


def parse_sets(
    names: Sequence[str],
    gmt: Path | None = None,
    *,
    choice: PathwayChoice | None = None,
    own: Path | None = None,
) -> tuple[TargetSet, ...]:
    """Target sets from what a user wrote: ``counts``, ``hvg:1000``, ``pca:50``, ``random:0``, ``NAME=FILE.gmt`` ...

    Parameters
    ----------
    gmt
        Gene sets of the one name that is given.
    choice
        How gene sets are chosen and scored; the default without it.
    own
        The gene sets that the release's own pathways are scored with: what ``random:SEED`` is matched to.

    Raises
    ------
    UsageError
        For a name that is none, a file that is not there, a set asked for twice.
    """
    if gmt is not None and len(names) != 1:
        raise _refused(", ".join(names), "one name for the gene sets of --gmt")
    # Shuffling is a target set of its own.
    plain = replace(choice or PathwayChoice(), shuffle_seed=None)
    sets = tuple(_parse(name, gmt, plain, own) for name in names)
    if not sets:
        raise _refused("nothing", "counts, hvg:N, pca:K, random:SEED, shuffle:SEED or the name of gene sets")
    if len({one.name for one in sets}) < len(sets):
        raise _refused(", ".join(names), "every set once")
    return sets


def needs_own_sets(names: Sequence[str]) -> bool:
    """Whether one of them is matched to the gene sets of the release's own pathways."""
    return any(name.startswith("random:") and "=" not in name for name in names)


def _parse(text: str, gmt: Path | None, choice: PathwayChoice, own: Path | None) -> TargetSet:
    name, equals, file = text.partition("=")
    path = Path(file) if equals else gmt
    if match := _CONTROL.fullmatch(name):
        return _control(text, match, path, choice, own)
    if path is None:
        if name == "counts":
            return TargetSet("counts", "counts")
        if match := _FITTED.fullmatch(name):
            kind: Kind = "hvg" if match[1] == "hvg" else "pca"
            return TargetSet(f"{kind}-{match[2]}", kind, int(match[2]))
        raise _refused(text, "counts, hvg:N, pca:K, random:SEED, shuffle:SEED, or a name with a file of gene sets")
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise _refused(
            text, "a name of gene sets in [a-z0-9_-], other than counts, pathways, hvg, pca, random, shuffle"
        )
    choice.check_file(_there(path))
    return TargetSet(name, "gmt", gmt=path, choice=choice)


def _control(text: str, match: re.Match[str], path: Path | None, choice: PathwayChoice, own: Path | None) -> TargetSet:
    seed = int(match[2])
    if match[1] == "shuffle":
        if path is not None:
            raise _refused(text, "shuffle:SEED alone: it permutes the pathways in the shards")
        return TargetSet(f"shuffle-{seed}", "shuffle", seed)
    matched_to = path or own
    if matched_to is None:
        raise _refused(text, "random:SEED=FILE, with the gene sets that the random ones are matched to")
    choice.check_file(_there(matched_to))
    return TargetSet(f"random-{seed}", "random", seed, matched_to, choice)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(
            "There is no such file of gene sets", field="--gmt", file=path.name, done="Nothing was written"
        )
    return path


def _refused(found: str, expected: str) -> UsageError:
    return UsageError(
        "No such target set", field="target set", expected=expected, found=found, done="Nothing was written"
    )
