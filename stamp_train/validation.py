"""How well the targets of held-out sections are predicted: Pearson's correlation within each section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from stamp_train.align_data import VAL, as_images, leave_signals_to_the_parent, row_of_key
from stamp_train.bootstrap import donor_means

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.align_targets import Source
    from stamp_train.config import AlignConfig
    from stamp_train.model import AlignModel
    from stamp_train.pair_targets import Targets
    from stamp_train.ranks import Ranks

MIN_PAIRS = 10
"""A section with fewer has no figure."""


@dataclass(frozen=True, slots=True)
class Validated:
    """The figures of one look.

    Attributes
    ----------
    step
        Steps done before it.
    pcc
        Mean over valid targets, then over the sections of a donor, then over donors; NaN without any.
    pcc_library
        The same of the library size.
    n_sections, n_donors
        That these are means over.
    """

    step: int
    pcc: float
    pcc_library: float
    n_sections: int
    n_donors: int


class Validation:
    """Predicts the split ``val``.

    Parameters
    ----------
    release, source
        Its pairs, and what they are compared with: their own targets, in a run on shuffled pairs too.
    config
        Batch size, workers.
    ranks
        Each predicts its part.
    """

    def __init__(self, release: Release, source: Source, config: AlignConfig, ranks: Ranks) -> None:
        from humanst.load import PairDataset, dataloader

        dataset = PairDataset(release, VAL, max_corrupt=0)
        self.targets: Targets = source.read(dataset)
        self._row_of_key, self._ranks = row_of_key(dataset), ranks
        self._loader: Any = dataloader(
            release,
            max(1, config.batch_size // ranks.world),
            split=VAL,
            shuffle=False,
            rank=ranks.rank,
            world=ranks.world,
            max_corrupt=0,
            workers=config.workers,
        )
        leave_signals_to_the_parent(self._loader)

    def __call__(self, model: AlignModel, step: int, autocast: Any) -> Validated:
        """Predict all pairs and compare; the model is left in the mode it was in.

        Parameters
        ----------
        autocast
            Context manager under which the model computes.
        """
        was_training = model.training
        model.eval()
        scores, library = self._predicted(model, autocast)
        model.train(was_training)
        return compare(step, self.targets, scores, library)

    def _predicted(self, model: AlignModel, autocast: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n, n_targets = self.targets.values.shape
        # Each rank fills in its rows; the others are zero.
        found = torch.zeros((n, n_targets + 1), dtype=torch.float64, device=self._ranks.device)
        self._loader.set_epoch(0)
        with torch.no_grad(), autocast:
            for batch in self._loader:
                embedding = model.encoder(as_images(batch).to(self._ranks.device))
                rows = torch.tensor([self._row_of_key[key] for key in batch["key"]], device=found.device)
                found[rows, :n_targets] = model.score_head(embedding).double()
                found[rows, n_targets] = model.library_head(embedding).squeeze(1).double()
        whole = self._ranks.total(found).cpu().numpy()
        return whole[:, :n_targets], whole[:, n_targets]


def compare(step: int, targets: Targets, scores: NDArray[np.float64], library: NDArray[np.float64]) -> Validated:
    """Correlate predictions with targets, a section at a time.

    Parameters
    ----------
    scores, library
        (n, P) and (n,): what was predicted of the rows of ``targets``.
    """
    by_section = section_pcc(scores, targets.values, targets.section, len(targets.sections))
    of_library = section_pcc(library[:, None], targets.library[:, None], targets.section, len(targets.sections))[:, 0]
    some = np.asarray(np.isfinite(by_section).any(axis=1))
    pcc = np.full(len(by_section), np.nan)
    pcc[some] = np.nanmean(by_section[some], axis=1)
    donors = {donor for donor, known in zip(targets.donors, some.tolist(), strict=True) if known}
    return Validated(
        step,
        mean_over_donors(pcc, targets.donors),
        mean_over_donors(of_library, targets.donors),
        int(some.sum()),
        len(donors),
    )


def section_pcc(
    predicted: NDArray[np.floating[Any]], truth: NDArray[np.floating[Any]], section: NDArray[np.int64], n_sections: int
) -> NDArray[np.float64]:
    """Pearson's correlation of each target within each section.

    Parameters
    ----------
    predicted, truth
        (n, P); NaN in ``truth`` = unmeasured.
    section
        (n,) in 0..n_sections-1.

    Returns
    -------
    ndarray
        (S, P), NaN where fewer than 10 pairs have the target or it does not vary. A constant prediction has 0.
    """
    found = np.full((n_sections, truth.shape[1]), np.nan)
    for number in range(n_sections):
        rows = np.flatnonzero(section == number)
        x, y = predicted[rows].astype(np.float64), truth[rows].astype(np.float64)
        known = ~np.isnan(y)
        n = known.sum(axis=0)
        x, y = (np.where(known, part, 0) for part in (x, y))
        x, y = (np.where(known, part - part.sum(axis=0) / np.maximum(n, 1), 0) for part in (x, y))
        power_x, power_y = (x * x).sum(axis=0), (y * y).sum(axis=0)
        good = (n >= MIN_PAIRS) & (power_y > 0)
        root = np.sqrt(power_x * power_y)
        found[number, good] = np.where(root > 0, (x * y).sum(axis=0) / np.where(root > 0, root, 1), 0)[good]
    return found


def mean_over_donors(of_section: NDArray[np.float64], donors: Sequence[str]) -> float:
    """Mean over the sections of a donor, then over donors; sections without a figure (NaN) have no say."""
    _, means = donor_means(of_section, donors)
    return float(means.mean()) if len(means) else float("nan")
