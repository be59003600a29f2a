"""Discrete-time survival, as PathBench-MIL does it: hazards of four time bins, their likelihood, Harrell's C-index."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from humanst.errors import DataError
from stamp_train.slides.pairs import TIED, Pairs, concordance_index, pairs_in_order, survival_pairs

N_BINS = 4
# As PathBench-MIL trains survival; classification has up to 50, and stops early.
EPOCHS = 30


class Survival:
    """Times to an event.

    Parameters
    ----------
    times
        (n,) float64, in one unit.
    seen
        (n,) bool: the event was seen at that time; else the patient was censored then.
    train
        Row numbers of the training bags. The bins are the quartiles of their event times alone: PathBench-MIL takes
        them over all splits, which lets the test times choose the bins.

    Raises
    ------
    DataError
        ``too-few-events`` when training has fewer than four different event times.
    """

    metric = "C-index"
    n_outputs = N_BINS

    def __init__(self, times: NDArray[np.float64], seen: NDArray[np.bool_], train: NDArray[np.int64]) -> None:
        self.times, self.seen = times, seen
        events = times[train][seen[train]]
        self.edges = np.unique(np.quantile(events, [0.25, 0.5, 0.75])) if len(events) else np.empty(0)
        if len(self.edges) < N_BINS - 1 or len(set(events.tolist())) < N_BINS:
            raise DataError(
                "Training has too few events for four time bins",
                code="too-few-events",
                expected=f"at least {N_BINS} different event times whose quartiles differ",
                found=f"{len(events)} events at {len(set(events.tolist()))} times",
                done="Nothing was trained",
            )
        self.bins = np.searchsorted(self.edges, times, side="right")

    def loss(self, outputs: torch.Tensor, bag: int) -> torch.Tensor:
        """Negative log-likelihood of discrete hazards ``h = sigmoid(outputs)``.

        An event in bin y: ``-log h_y - sum_{k<y} log(1 - h_k)``; censored in bin y: ``-sum_{k<=y} log(1 - h_k)``.
        Zadeh and Schmid, IEEE TPAMI 2021, without their extra weight on uncensored patients. The sums of
        log-sigmoids stay finite where products of probabilities would not.
        """
        time_bin = int(self.bins[bag])
        survived = functional.logsigmoid(-outputs)
        if self.seen[bag]:
            return -(functional.logsigmoid(outputs[time_bin]) + survived[:time_bin].sum())
        return -survived[: time_bin + 1].sum()

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Risk (n, 1): minus the survival probabilities at the ends of the bins, summed."""
        return -torch.cumprod(torch.sigmoid(-outputs), dim=-1).sum(dim=-1, keepdim=True)

    def measure(self, predictions: NDArray[np.float64], bags: NDArray[np.int64]) -> float:
        """Harrell's C-index of the risks."""
        return concordance_index(self.times[bags], self.seen[bags], predictions[:, 0])

    def pairs(self, predictions: NDArray[np.float64], bags: NDArray[np.int64]) -> list[Pairs]:
        """The comparable pairs of patients."""
        comparable = survival_pairs(self.times[bags], self.seen[bags])
        return [pairs_in_order(comparable, predictions[:, :, 0], TIED)]
