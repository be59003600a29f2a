"""stamp_train: align a pathology foundation model to pathway targets with LoRA, and evaluate what it learnt.

A thin consumer of releases: of humanst it uses ``load``, ``tiles``, ``files`` and ``errors``, nothing else.
``stamp-train align`` trains adapters, ``merge`` puts them into the weights, ``slides`` trains slide-level models; the
probes have their parts here, tested, and no command yet.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
