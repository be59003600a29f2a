"""What a model is trained on and measured by: classes (cross-entropy, macro AUC)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from stamp_train.slides.pairs import Pairs, class_pairs, pairs_in_order


class Objective(Protocol):
    """Targets of every bag with their loss and their measure; ``bags`` are row numbers of these targets."""

    metric: str
    n_outputs: int

    def loss(self, outputs: torch.Tensor, bag: int) -> torch.Tensor:
        """Loss of the outputs (C,) of one bag."""
        ...

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs (n, C) as predictions (n, k)."""
        ...

    def measure(self, predictions: NDArray[np.float64], bags: NDArray[np.int64]) -> float:
        """The metric of predictions (n, k) of these bags."""
        ...

    def pairs(self, predictions: NDArray[np.float64], bags: NDArray[np.int64]) -> list[Pairs]:
        """The pairs whose mean share is the metric, for predictions (seeds, n, k)."""
        ...


class Classification:
    """Classes.

    Parameters
    ----------
    labels
        (n,) class number of each bag.
    n_classes
        How many classes there are.
    """

    metric = "macro AUC"

    def __init__(self, labels: NDArray[np.int64], n_classes: int) -> None:
        self.labels = labels
        self.n_outputs = n_classes

    def loss(self, outputs: torch.Tensor, bag: int) -> torch.Tensor:
        """Cross-entropy, not weighted by class."""
        label = torch.tensor([int(self.labels[bag])], device=outputs.device)
        return functional.cross_entropy(outputs[None], label)

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, C)."""
        return torch.softmax(outputs, dim=-1)

    def measure(self, predictions: NDArray[np.float64], bags: NDArray[np.int64]) -> float:
        """Macro AUC: the mean over classes of one against the rest; of two classes, the AUC of the second."""
        from sklearn.metrics import roc_auc_score

        labels = self.labels[bags]
        if self.n_outputs == 2:
            return float(roc_auc_score(labels, predictions[:, 1]))
        one_hot = labels[:, None] == np.arange(self.n_outputs)
        there = one_hot.any(axis=0)
        return float(roc_auc_score(one_hot[:, there], predictions[:, there], average="macro"))

    def pairs(self, predictions: NDArray[np.float64], bags: NDArray[np.int64]) -> list[Pairs]:
        """One matrix of pairs a class that is there; of two classes the second alone."""
        labels = self.labels[bags]
        classes = [1] if self.n_outputs == 2 else sorted(set(labels.tolist()))
        return [pairs_in_order(class_pairs(labels, label), predictions[:, :, label]) for label in classes]
