"""Tables as an audit makes them, small and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from humanst.pathways import ResolvedSets

GOOD: dict[str, Any] = {
    "n_measured": 40, "n_members": 50, "share": 0.8, "reason": None, "half_r": 0.6, "half_r_sd": 0.01,
    "reliability": 0.75, "ceiling": 0.87, "moran": 0.4, "moran_residual": 0.35, "r_library": 0.1, "n_draws": 10,
    "passes": True, "half_r_null_p95": 0.2, "half_r_rank": 1.0, "moran_null_p95": 0.1,
    "moran_residual_null_p95": 0.1, "moran_residual_rank": 1.0,
}  # fmt: skip
MASKED: dict[str, Any] = {
    **{name: np.nan if isinstance(value, float) else value for name, value in GOOD.items()},
    "n_measured": 4, "share": 0.08, "reason": "too-few-genes", "passes": False,
}  # fmt: skip


def sets_of(*names: str) -> ResolvedSets:
    n = len(names)
    return ResolvedSets("mine.gmt", names, (("ENSG1",),) * n, ((),) * n, (50,) * n, "0" * 64)


def tables(sections: dict[tuple[str, str], dict[str, Any]], **others: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """``(sample, pathway)`` -> its figures, and the other tables, empty where not given."""
    names = list(dict.fromkeys(pathway for _, pathway in sections))
    made = {
        "sections": pd.DataFrame([{"sample_id": s, "pathway": p, **figures} for (s, p), figures in sections.items()]),
        "panels": pd.DataFrame({name: [] for name in ("sample_id", "panel", "pathway", "n_panel_genes", "r", "weak")}),
        "geometry": pd.DataFrame({name: [] for name in ("sample_id", "covered_share", "pathway", "r", "weak")}),
        "mutual": pd.DataFrame({"pathway": names, "gaussian_bits": 0.5, "shuffled_p99_bits": 0.01}),
        "variance": pd.DataFrame({"pathway": names, "stage": "raw", "between_section": 0.2, "between_donor": 0.1}),
        "information": pd.DataFrame(
            {"features": ["pathways", "pca"], "target": "log1p(CP10k)", "r": [0.1, 0.2], "share_of_ceiling": [0.3, 0.6]}
        ),
        "retrieval": pd.DataFrame({"features": ["pathways"], "batch": [512], "r_at_1": [0.1], "n_sections": [1]}),
    }
    return made | others
