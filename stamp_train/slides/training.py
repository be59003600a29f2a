"""One seed: train on the slides of ``train``, keep the weights that were best on ``val``, predict every other split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from humanst.errors import DataError
from stamp_train.slides.abmil import ABMIL
from stamp_train.slides.bags import Bags
from stamp_train.slides.objectives import Objective


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is trained; the defaults are PathBench-MIL's.

    Attributes
    ----------
    epochs
        At most so many; also the length of the cosine that takes the learning rate to 0.
    patience
        Stop after so many epochs without a better validation metric. None: never.
    gated
        ABMIL with gated attention.
    """

    epochs: int = 50
    patience: int | None = 10
    learning_rate: float = 2e-4
    weight_decay: float = 1e-5
    dropout: float = 0.25
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """What one seed gave.

    Attributes
    ----------
    seed, best_epoch, epochs
        The seed, the epoch (from 1) whose weights were kept, and how many were run.
    validation
        The metric on ``val`` at that epoch.
    weights
        The model's state on the CPU.
    predictions
        (n, k) float64 of every bag of the cohort outside ``train`` with those weights; NaN in ``train``.
    """

    seed: int
    best_epoch: int
    epochs: int
    validation: float
    weights: dict[str, torch.Tensor]
    predictions: NDArray[np.float64]


def train_seed(
    bags: Bags,
    objective: Objective,
    splits: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    settings: Settings,
    *,
    seed: int,
    device: str = "cpu",
    tell: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train one model: Adam, one bag a step, cosine, early stop on the validation metric.

    Parameters
    ----------
    splits
        Row numbers of the bags to train on, to validate on, and to predict at the end.
    seed
        Of the first weights, the dropout and the order of the bags; the caller's random state is left as it was.
    tell
        Called after each epoch with its number from 1.

    Raises
    ------
    DataError
        ``training-diverged`` when the loss is no longer a number.
    """
    train, validation, tested = splits
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        order = np.random.default_rng(seed)
        model = ABMIL(bags.width, objective.n_outputs, gated=settings.gated, dropout=settings.dropout).to(device)
        optimiser = torch.optim.Adam(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=settings.epochs)
        best, best_epoch, weights = -np.inf, 0, {}
        for epoch in range(1, settings.epochs + 1):
            _one_epoch(model, optimiser, bags, objective, order.permutation(train), device)
            schedule.step()
            value = objective.measure(predict(model, bags, objective, validation, device), validation)
            tell(epoch)
            if value > best:
                best, best_epoch = value, epoch
                weights = {name: values.detach().cpu().clone() for name, values in model.state_dict().items()}
            elif settings.patience is not None and epoch - best_epoch >= settings.patience:
                break
        model.load_state_dict(weights)
        predictions = np.full((len(bags.files), _width(objective)), np.nan)
        others = np.concatenate([validation, tested])
        predictions[others] = predict(model, bags, objective, others, device)
    return Trained(seed, best_epoch, epoch, float(best), weights, predictions)


def _width(objective: Objective) -> int:
    return int(objective.predict(torch.zeros(1, objective.n_outputs)).shape[1])


def _one_epoch(
    model: ABMIL,
    optimiser: torch.optim.Optimizer,
    bags: Bags,
    objective: Objective,
    order: NDArray[np.int64],
    device: str,
) -> None:
    model.train()
    for bag in order.tolist():
        loss = objective.loss(model(_tensor(bags, bag, device)), bag)
        if not torch.isfinite(loss):
            raise DataError(
                "The loss is no longer a number",
                code="training-diverged",
                file=bags.files[bag][0],
                todo="Look at the size of the features, or lower --learning-rate",
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def predict(
    model: ABMIL, bags: Bags, objective: Objective, rows: NDArray[np.int64], device: str = "cpu"
) -> NDArray[np.float64]:
    """Predictions (n, k) of these bags, float64, with dropout off."""
    model.eval()
    with torch.no_grad():
        outputs = torch.stack([model(_tensor(bags, bag, device)) for bag in rows.tolist()])
        return np.asarray(objective.predict(outputs.double()).cpu().numpy())


def _tensor(bags: Bags, bag: int, device: str) -> torch.Tensor:
    return torch.from_numpy(bags.features(bag)).to(device=device, dtype=torch.float32)
