"""What a release's pathway targets are made with: how sets are chosen out of their file, and how they are scored.

One frozen value that goes into the plan, the hash of every extract, and the manifest. Only what differs from the
default is written down, so that a release with the default choice is the same bytes whatever else can be chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from humanst.errors import DataError, UsageError
from humanst.pathways.gene_sets import GeneSets, ResolvedSets, ResolvesNames, read_gmt, require_name, resolve
from humanst.pathways.options import ScorerName, Scoring
from humanst.pathways.scorers import scorer_of
from humanst.pathways.weighted_sets import SUFFIXES, read_weights

NORMALISED: Mapping[ScorerName, str] = {
    "bincontrol": "log1p(CP10k)",
    "mean": "log1p(CP10k)",
    "zmean": "log1p(CP10k)",
    "score_genes": "log1p(CP10k)",
    "ulm": "log1p(CP10k)",
    "aucell": "ranks of genes within a spot",
    "nbres": "Pearson residuals of counts",
    "sum": "log1p of summed CP10k",
}
"""What each scorer works on, in words."""


@dataclass(frozen=True, slots=True)
class PathwayChoice:
    """How pathway targets are made.

    Attributes
    ----------
    scoring
        The scorer and what is done to its scores.
    min_members, max_members
        Sets with fewer or more members are left out, by name; a member is a distinct gene or an unmapped symbol.
    top
        Of a table of weights, the genes kept a pathway.
    shuffle_seed
        Pairs get the targets of other pairs of their section (a control), by this seed.

    Raises
    ------
    UsageError
        ``pathway-options`` for an option out of its range.
    """

    scoring: Scoring = field(default_factory=Scoring)
    min_members: int = 1
    max_members: int | None = None
    top: int | None = None
    shuffle_seed: int | None = None

    def __post_init__(self) -> None:
        rules = (
            ("min_members", self.min_members >= 1, "at least 1", self.min_members),
            ("max_members", self.max_members is None or self.max_members >= self.min_members, "at least min_members",
             self.max_members),
            ("top", self.top is None or self.top >= 1, "at least 1", self.top),
            ("shuffle_seed", self.shuffle_seed is None or self.shuffle_seed >= 0, "at least 0", self.shuffle_seed),
        )  # fmt: skip
        own = ((name, expected, found) for name, good, expected, found in rules if not good)
        for name, expected, found in (*self.scoring.faults(), *own):
            raise UsageError(
                "An option of the pathway targets is out of its range",
                code="pathway-options",
                field=f"--{name.replace('_', '-')}",
                expected=expected,
                found=found,
                done="Nothing was written",
            )

    def record(self) -> dict[str, Any]:
        """What differs from the default, as JSON-able data: nothing for the default."""
        plain = PathwayChoice()
        scoring = {name: value for name, value in asdict(self.scoring).items() if value != getattr(plain.scoring, name)}
        own = ("min_members", "max_members", "top", "shuffle_seed")
        chosen = {name: getattr(self, name) for name in own if getattr(self, name) != getattr(plain, name)}
        return scoring | chosen

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> PathwayChoice:
        """Read back what :meth:`record` gave.

        Raises
        ------
        DataError
            ``pathway-options`` for keys of another version of humanst.
        UsageError
            See the class.
        """
        scoring = {name: record[name] for name in asdict(Scoring()) if name in record}
        own = {name: record[name] for name in record if name not in scoring}
        if unknown := own.keys() - {"min_members", "max_members", "top", "shuffle_seed"}:
            raise DataError(
                "This version of humanst does not know an option of the pathway targets",
                code="pathway-options",
                expected="options of docs/pathways.md",
                found=", ".join(sorted(unknown)),
                todo="Use the version that made the release",
            )
        return cls(scoring=Scoring(**scoring), **own)

    @property
    def normalisation(self) -> str:
        """What the numbers are, in words, for people."""
        scoring = self.scoring
        said = [NORMALISED[scoring.scorer]]
        if scoring.smooth:
            said.append(f"{scoring.smooth:g} of it from lattice neighbours")
        said.append("z per section over in-tissue spots that pass QC" if scoring.z else "no z")
        if scoring.clip is not None:
            said.append(f"clipped at {scoring.clip:g}")
        if self.shuffle_seed is not None:
            said.append("a control: every pair has those of another pair of its section")
        return ", ".join(said)

    def check_file(self, path: Path) -> None:
        """Ask that a file of gene sets can be on record and the scorer has a use for it, before anything is read.

        Raises
        ------
        UsageError
            ``file-name`` for a name that is no printable UTF-8, ``scorer-weights`` for a table of weights and a scorer
            of ranks.
        """
        require_name(path)
        if path.suffix.lower() in SUFFIXES and not scorer_of(self.scoring.scorer).takes_weights:
            raise UsageError(
                "This scorer has no use for weights",
                code="scorer-weights",
                field="--scorer",
                file=path.name,
                expected="a scorer that averages or fits, such as bincontrol or ulm; or sets without weights",
                found=self.scoring.scorer,
                done="Nothing was written",
            )

    def read(self, path: Path, *, name: str) -> GeneSets:
        """Read a file of gene sets: a table of weights by its suffix (``.tsv``, ``.csv``, ``.txt``), else GMT.

        Raises
        ------
        DataError
            When it cannot be read.
        """
        if path.suffix.lower() in SUFFIXES:
            return read_weights(path, name=name, top=self.top)
        return read_gmt(path, name=name)

    def resolved(self, path: Path, table: ResolvesNames, *, name: str) -> ResolvedSets:
        """The sets of a file on Ensembl ids, within the size limits.

        Raises
        ------
        DataError
            When the file cannot be read; ``no-sets-left`` when every set is outside the limits.
        """
        return limited(resolve(self.read(path, name=name), table), self.min_members, self.max_members)


def limited(sets: ResolvedSets, min_members: int, max_members: int | None) -> ResolvedSets:
    """Leave out sets of too few or too many members; they are named in ``left_out``.

    Raises
    ------
    DataError
        ``no-sets-left`` when that is all of them.
    """
    keep = [n >= min_members and (max_members is None or n <= max_members) for n in sets.n_members]
    if not any(keep):
        raise DataError(
            "No gene set is within the size limits",
            code="no-sets-left",
            file=sets.name,
            expected=f"{min_members} to {max_members or 'any number of'} members",
            found=f"{min(sets.n_members)} to {max(sets.n_members)}",
            done="No scores were made",
        )
    if all(keep):
        return sets

    def kept(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value for value, stays in zip(values, keep, strict=True) if stays)

    names = kept(sets.names)
    remaining = frozenset(names)
    return replace(
        sets,
        names=names,
        ensembl_ids=kept(sets.ensembl_ids),
        unmapped=kept(sets.unmapped),
        n_members=kept(sets.n_members),
        weights=None if sets.weights is None else kept(sets.weights),
        left_out=tuple((name, n) for name, n, stays in zip(sets.names, sets.n_members, keep, strict=True) if not stays),
        repeated=tuple((name, symbols) for name, symbols in sets.repeated if name in remaining),
    )
