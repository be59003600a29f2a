"""stamp_train: align a pathology foundation model to pathway targets with LoRA, and evaluate what it learnt.

A thin consumer of releases: of humanst it uses ``load``, ``tiles``, ``files`` and ``errors``, nothing else.
``stamp-train align`` trains adapters and ``merge`` puts them into the weights; ``embed``, ``probe``, ``domains`` and
``slides`` measure what came of it, and ``controls`` compares it with what could explain a gain away.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
