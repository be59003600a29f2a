"""What an arm reaches in the tiers, as measures: a row a protocol, donor, section and target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst.files import sha256_file
from humanst.load.sections import section_facts
from stamp_train.control_table import MEASURES
from stamp_train.counts import N_GENES
from stamp_train.domains import METRICS
from stamp_train.features import donors_of, pairs_of
from stamp_train.tiers import cluster_release, probe_release

if TYPE_CHECKING:
    import pandas as pd

    from humanst.load.release import Release

PER_SECTION = "per section"
LIBRARY = "library size"


@dataclass(frozen=True, slots=True)
class Tiers:
    """How the arms are measured.

    Attributes
    ----------
    splits, fit_on
        Splits whose donors are held out in turn; further ones that the probe is fitted on in every fold.
    gmt
        Gene sets that tell genes inside from those outside.
    n_genes
        Genes to predict.
    labels
        ``key,label`` of the spots of ``splits``: then domains are measured too.
    methods, domain_seeds
        How domains are found, and with how many seeds.
    """

    splits: tuple[str, ...] = ("test",)
    fit_on: tuple[str, ...] = ()
    gmt: Path | None = None
    n_genes: int = N_GENES
    labels: Path | None = None
    methods: tuple[str, ...] = ("kmeans",)
    domain_seeds: int = 10

    @property
    def every(self) -> tuple[str, ...]:
        """All splits that are embedded."""
        return tuple(dict.fromkeys((*self.splits, *self.fit_on)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; of files their sha256."""
        return {
            "splits": list(self.splits),
            "fit_on": list(self.fit_on),
            "gmt_sha256": None if self.gmt is None else sha256_file(self.gmt),
            "n_genes": self.n_genes,
            "labels_sha256": None if self.labels is None else sha256_file(self.labels),
            "methods": list(self.methods),
            "domain_seeds": self.domain_seeds,
        }


def measure(embeddings: Path, release: Release, tiers: Tiers, *, arm: str, seed: int) -> pd.DataFrame:
    """Measure one run of an arm.

    Parameters
    ----------
    embeddings
        Of all pairs of ``tiers.every``.

    Returns
    -------
    pandas.DataFrame
        See :data:`stamp_train.control_table.MEASURES`.

    Raises
    ------
    HumanstError
        See :func:`stamp_train.tiers.probe_release` and :func:`stamp_train.tiers.cluster_release`.
    """
    import pandas as pd

    donors = donors_of(release, tiers.splits)
    options = {"gmt": tiers.gmt, "n_genes": tiers.n_genes, "test_donors": donors}
    probed = probe_release(embeddings, release, tiers.every, **options)  # type: ignore[arg-type]
    names = {"column": "measure", "pcc": "value", "pcc_library_size": "library_alone"}
    genes = probed.genes.rename(columns=names).assign(tier="genes")
    ceilings = dict(zip(release.pathway_names, _ceilings(release), strict=True))
    pathways = probed.pathways.rename(columns=names).assign(tier="pathways", measure=PER_SECTION, in_sets=None)
    pathways["ceiling"] = pathways["target"].map(ceilings)
    parts = [genes, pathways]
    if tiers.labels is not None:
        parts.append(_domains(embeddings, tiers.labels, release, tiers))
    columns = [name for name in MEASURES if name not in ("arm", "seed", "organ")]
    found = pd.concat([part[columns].astype({"in_sets": "boolean"}) for part in parts], ignore_index=True)
    # What is measured over all spots of a donor belongs to an organ when all of its sections do.
    single = {donor: names[0] if len(names) == 1 else "" for donor, names in organs_of(release, tiers.splits).items()}
    found = found.assign(arm=arm, seed=seed, organ=found["donor"].map(single))
    return found[list(MEASURES)]


def _ceilings(release: Release) -> list[float]:
    """Square roots of the reliabilities that the release has of its pathways; NaN without."""
    weights = release.reliability()
    if weights is None:
        return [float("nan")] * len(release.pathway_names)
    return np.sqrt(weights).tolist()  # type: ignore[no-any-return]


def organs_of(release: Release, splits: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Donor -> organs of the sections in these splits, sorted."""
    facts = section_facts(release)
    found: dict[str, set[str]] = {}
    for split in splits:
        pairs = pairs_of(release, split)[["donor_group", "sample_id"]].drop_duplicates()
        for donor, section in pairs.itertuples(index=False):
            found.setdefault(str(donor), set()).add(str(facts[str(section)].get("organ") or "unknown"))
    return {donor: tuple(sorted(organs)) for donor, organs in found.items()}


def _domains(embeddings: Path, labels: Path, release: Release, tiers: Tiers) -> pd.DataFrame:
    """Agreement with labels: a row a method, metric and section, the mean over the seeds of the clustering."""
    options = {"methods": tiers.methods, "n_seeds": tiers.domain_seeds}
    table = cluster_release({"arm": embeddings}, labels, release, tiers.splits, **options).table
    unit = ["features", "method", "donor", "sample_id"]
    means = table.groupby(unit)[list(METRICS)].mean().reset_index()
    long = means.melt(id_vars=unit, value_vars=list(METRICS), var_name="metric")
    long["measure"] = long["method"] + " " + long["metric"]
    keys = ["measure", "donor", "sample_id"]
    beside = long[long["features"] == LIBRARY].set_index(keys)["value"]
    own = long[long["features"] == "arm"].reset_index(drop=True)
    own["library_alone"] = beside.reindex(own.set_index(keys).index).to_numpy()
    return own.assign(tier="domains", target="", in_sets=None, ceiling=float("nan"))
