"""The genes of the mini atlas and the gene sets painted with them.

``genes.tsv`` ships with the package: 1,500 real human protein-coding genes in genome order (10x GRCh38-3.0.0 order),
today's symbol (GENCODE v43), the symbol before where HGNC knows exactly one gene by it, and the gene set.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from humanst.demo.layout import Era

CLONE_NAME = "FO538757.1"


@dataclass(frozen=True, slots=True)
class DemoGenes:
    """The embedded gene list.

    Attributes
    ----------
    ensembl_ids, symbols
        Ensembl id without version, and today's symbol, one a gene.
    previous_symbols
        The symbol before, empty where the gene was never renamed.
    gene_sets
        Name of the one set the gene belongs to, empty for none.
    """

    ensembl_ids: tuple[str, ...]
    symbols: tuple[str, ...]
    previous_symbols: tuple[str, ...]
    gene_sets: tuple[str, ...]

    def names(self, era: Era) -> tuple[str, ...]:
        """Symbols as a table of that era prints them."""
        if era == "current":
            return self.symbols
        return tuple(old or new for old, new in zip(self.previous_symbols, self.symbols, strict=True))

    def members(self, gene_set: str) -> NDArray[np.int64]:
        """Positions of the genes of one set."""
        return np.flatnonzero(np.array(self.gene_sets) == gene_set).astype(np.int64)

    @property
    def set_names(self) -> tuple[str, ...]:
        """Names of the gene sets, sorted."""
        return tuple(sorted({name for name in self.gene_sets if name}))


def load_genes() -> DemoGenes:
    """Read the embedded gene list."""
    lines = files("humanst.demo").joinpath("genes.tsv").read_text(encoding="utf-8").splitlines()
    columns = zip(*(line.split("\t") for line in lines[1:]), strict=True)
    return DemoGenes(*(tuple(column) for column in columns))


def demo_gmt(genes: DemoGenes) -> bytes:
    """Write the demo gene sets as GMT: set name, note, symbols of today."""
    lines = []
    for name in genes.set_names:
        note = "random genes, no programme" if name.startswith("DEMO_CONTROL") else "painted programme"
        lines.append("\t".join([name, note, *(genes.symbols[i] for i in genes.members(name))]))
    return ("\n".join(lines) + "\n").encode()
