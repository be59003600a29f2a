"""The frozen human gene table: every name stands for one Ensembl gene, or for none and the table says why.

The table is a file of the package (``human_genes.tsv.gz``), built once from dated public lists by
``curation/gene_table/build.py``. No service is asked, so the same name means the same gene on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from humanst.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TABLE_PATH = Path(__file__).with_name("human_genes.tsv.gz")
SCHEMA = "1"

Why = Literal[
    "ensembl-id",
    "retired-ensembl-id",
    "symbol",
    "previous-symbol",
    "alias",
    "ambiguous-symbol",
    "unmapped-symbol",
    "unknown-ensembl-id",
]

# The Y copy of a pseudoautosomal gene is ENSGR0000228572 before GENCODE 25, ENSG00000228572_PAR_Y after it.
_HUMAN_ID = re.compile(r"^ENSG(?P<digits>[0R]\d{10})(?:\.\d+)?(?:_PAR_Y)?$")


def human_ensembl_id(text: str) -> str | None:
    """Return the Ensembl gene id in ``text`` without version and PAR mark; None if it is no human gene id."""
    match = _HUMAN_ID.match(text)
    return None if match is None else f"ENSG0{match['digits'][1:]}"


@dataclass(frozen=True, slots=True)
class Gene:
    """One gene of the table: current symbol ("" if it has none), Ensembl biotype, chromosome ("MT", "X", ... or "")."""

    symbol: str
    biotype: str
    chromosome: str


@dataclass(frozen=True, slots=True)
class GeneTable:
    """Names and facts of human genes, frozen at one date.

    Attributes
    ----------
    date
        Day the table was frozen, ISO 8601.
    sha256
        Hex digest of the table file, for provenance.
    sources
        The lists the table was made from, one line each: file name, sha256, licence.
    """

    date: str
    sha256: str
    sources: tuple[str, ...]
    _genes: Mapping[str, Gene] = field(repr=False)
    _retired: Mapping[str, str] = field(repr=False)
    _symbols: Mapping[str, str] = field(repr=False)
    _previous: Mapping[str, str] = field(repr=False)
    _aliases: Mapping[str, str] = field(repr=False)
    _ambiguous: Mapping[str, tuple[str, ...]] = field(repr=False)

    def __len__(self) -> int:
        return len(self._genes)

    def __contains__(self, ensembl_id: object) -> bool:
        return ensembl_id in self._genes

    def find(self, name: str) -> tuple[str | None, Why]:
        """Find the gene a name stands for, and on what ground.

        Parameters
        ----------
        name
            A symbol, previous symbol, alias or Ensembl gene id (version and ``_PAR_Y`` are ignored). Case matters.

        Returns
        -------
        ``(Ensembl id, ground)``, or ``(None, reason)`` with the reason ``"ambiguous-symbol"``, ``"unmapped-symbol"``
        or ``"unknown-ensembl-id"``.
        """
        ensembl_id = human_ensembl_id(name)
        if ensembl_id is not None:
            if ensembl_id in self._genes:
                return ensembl_id, "ensembl-id"
            heir = self._retired.get(ensembl_id)
            return heir, "retired-ensembl-id" if heir else "unknown-ensembl-id"
        if name in self._symbols:
            return self._symbols[name], "symbol"
        if name in self._previous:
            return self._previous[name], "previous-symbol"
        if name in self._aliases:
            return self._aliases[name], "alias"
        return None, "ambiguous-symbol" if name in self._ambiguous else "unmapped-symbol"

    def resolve(self, name: str) -> str | None:
        """Return the Ensembl id of the one gene a name stands for, or None (:meth:`find` tells why)."""
        return self.find(name)[0]

    def candidates(self, name: str) -> tuple[str, ...]:
        """List the Ensembl ids an ambiguous name could stand for, sorted; empty for any other name."""
        return self._ambiguous.get(name, ())

    def symbol_of(self, ensembl_id: str) -> str:
        """Return the current symbol of a gene of the table; its Ensembl id if it has none."""
        return self._genes[ensembl_id].symbol or ensembl_id

    def biotype_of(self, ensembl_id: str) -> str:
        """Return the Ensembl biotype of a gene of the table; ``"unknown"`` for genes of older releases only."""
        return self._genes[ensembl_id].biotype

    def is_mitochondrial(self, ensembl_id: str) -> bool:
        """Tell whether a gene of the table lies on the mitochondrial chromosome."""
        return self._genes[ensembl_id].chromosome == "MT"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table written by ``curation/gene_table/build.py``.

        Raises
        ------
        IntegrityError
            When the file is missing, cut short, or not a table of this schema.
        """
        try:
            data = path.read_bytes()
            lines = gzip.decompress(data).decode("utf-8").removesuffix("\n").split("\n")
        except (OSError, EOFError, ValueError) as error:
            raise _broken(path, str(error)) from error
        comments = [line[2:] for line in lines if line.startswith("# ")]
        facts = dict(line.split(": ", 1) for line in comments if ": " in line)
        if facts.get("schema") != SCHEMA:
            raise _broken(path, f"schema {facts.get('schema')}")
        try:
            return cls(
                facts["frozen"],
                hashlib.sha256(data).hexdigest(),
                tuple(line.removeprefix("source: ") for line in comments if line.startswith("source: ")),
                *_parse(lines[len(comments) :]),
            )
        except (KeyError, ValueError, IndexError) as error:
            raise _broken(path, str(error)) from error


_Lookups = tuple[
    dict[str, Gene], dict[str, str], dict[str, str], dict[str, str], dict[str, str], dict[str, tuple[str, ...]]
]


def _broken(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        "the human gene table cannot be read",
        code="gene-table-unreadable",
        file=path.name,
        expected=f"a gzipped gene table of schema {SCHEMA}",
        found=found,
        done="Nothing was mapped",
        todo="Install humanst again, or rebuild the table with curation/gene_table/build.py",
    )


def _parse(lines: Iterable[str]) -> _Lookups:
    """Read the mappings of :class:`GeneTable`, in the order of its fields, from the lines after the header."""
    genes: dict[str, Gene] = {}
    symbols: dict[str, str] = {}
    previous: dict[str, str] = {}
    aliases: dict[str, str] = {}
    retired: dict[str, str] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    rows = iter(lines)
    next(rows, None)
    for line in rows:
        fields = line.split("\t")
        if line[0] == "#":
            mark, name, ids = fields
            if mark == "#retired":
                retired[name] = ids
            else:
                ambiguous[name] = tuple(ids.split("|"))
            continue
        ensembl_id, symbol, is_holder, biotype, chromosome, former, nicknames = fields
        genes[ensembl_id] = Gene(symbol, sys.intern(biotype), sys.intern(chromosome))
        if is_holder == "1":
            symbols[symbol] = ensembl_id
        if former:
            previous.update(dict.fromkeys(former.split("|"), ensembl_id))
        if nicknames:
            aliases.update(dict.fromkeys(nicknames.split("|"), ensembl_id))
    return genes, retired, symbols, previous, aliases, ambiguous


@cache
def load_gene_table() -> GeneTable:
    """Return the table that ships with humanst, read once a process."""
    return GeneTable.read(TABLE_PATH)
