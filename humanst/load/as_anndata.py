"""A selection of pairs as an ``AnnData``: pathways by pairs, with what the index and the manifest say of each.

This module imports anndata; nothing imports it before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd

from humanst.load.sections import fact_names, of_pairs, section_facts

if TYPE_CHECKING:
    from humanst.load.dataset import PairDataset


def to_anndata(dataset: PairDataset) -> anndata.AnnData:
    """See ``PairDataset.to_anndata``."""
    obs = dataset.metadata.set_index("key")
    facts = section_facts(dataset.release)
    for name in sorted(fact_names(facts) - {*obs.columns, "key", "pairs"}):
        obs[name] = of_pairs(dataset.table, facts, name)
    for name in obs.columns:
        if all(isinstance(value, str) for value in obs[name]):
            obs[name] = obs[name].astype("category")
    return anndata.AnnData(
        X=dataset.pathways(),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(dataset.pathway_names, name="pathway")),
        obsm={"spatial": dataset.metadata[["x_um", "y_um"]].to_numpy(np.float64)},
        uns={"humanst": {"release": dataset.release.version, "split": dataset.split}},
    )
