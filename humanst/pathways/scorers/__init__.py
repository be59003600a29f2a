"""Eight ways to make a number of a spot and a gene set, behind one interface.

| scorer | a spot's score of a set | free of library size |
|---|---|---|
| ``bincontrol`` | mean log expression, less that of all genes of the same expression level | yes |
| ``mean`` | mean log expression | no: it is mostly library size |
| ``zmean`` | mean over the genes of their z over spots | no |
| ``score_genes`` | mean log expression, less that of randomly drawn control genes (scanpy) | mostly |
| ``aucell`` | how early the genes come among the 5 % most expressed of the spot (AUCell) | mostly |
| ``ulm`` | t value of membership as the one predictor of log expression (decoupler) | in part |
| ``nbres`` | mean Pearson residual of a negative binomial | mostly |
| ``sum`` | log of the share of all counts that the genes have | in part |

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
