"""Eight ways to make a number of a spot and a gene set, behind one interface.

| scorer | a spot's score of a set | half-r without biology | r with library size |
|---|---|---|---|
| ``bincontrol`` | mean log expression, less that of all genes of the same expression level | 0.00 | 0.09 |
| ``mean`` | mean log expression | 0.58 | 0.77 |
| ``zmean`` | mean over the genes of their z over spots | 0.51 | 0.74 |
| ``score_genes`` | mean log expression, less that of randomly drawn control genes (scanpy) | 0.00 | 0.25 |
| ``aucell`` | how early the genes come among the 5 % most expressed of the spot (AUCell) | 0.00 | 0.24 |
| ``ulm`` | t value of membership as the one predictor of log expression (decoupler) | 0.01 | 0.31 |
| ``nbres`` | mean Pearson residual of a negative binomial | -0.01 | 0.08 |
| ``sum`` | log of the share of all counts that the genes have | -0.02 | 0.35 |

"Half-r without biology" is the median over 50 random sets of the correlation between scores of two halves of Poisson
counts of spots that differ in depth alone (the null of ``tests/pathways/test_scorers_properties.py``). "r with library
size" is the median over Hallmark of the absolute within-section correlation on 36 real legacy sections, where library
size is biology in part; random sets are spread over all levels of expression, and real ones are not.

Each is a module of this folder, whose docstring says what the score is, where it comes from and when not to use it.
"Log expression" is ``log1p(CP10k)``: counts divided by the spot's total over measured genes, times 10,000.

None of them sees a gene that was not measured, all are sparse and go through a section in blocks of spots, and no
result depends on the size of the blocks, on the order of genes, or on anything random. ``mean``, ``zmean``,
``bincontrol``, ``score_genes``, ``aucell``, ``ulm`` and ``sum`` do not change when every count is doubled; ``nbres``
does, for a residual is larger where there is more evidence.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from humanst.pathways.options import ScorerName
    from humanst.pathways.scorers.base import Scorer


def scorer_of(name: ScorerName) -> type[Scorer]:
    """Return the class of a scorer by its name, one of ``humanst.pathways.options.SCORERS``."""
    scorer: type[Scorer] = import_module(f"humanst.pathways.scorers.{name}").SCORER
    return scorer


__all__ = ["scorer_of"]
