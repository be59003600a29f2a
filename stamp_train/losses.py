"""The loss of an alignment, term by term: contrast, pathway regression, library size, anchor.

Over several ranks everything is gathered with its gradient and each rank computes the loss of the whole batch. The
gather's backward sums over ranks, DistributedDataParallel averages: the gradient is that of one rank with all pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from humanst.errors import DataError

if TYPE_CHECKING:
    from stamp_train.config import AlignConfig

EPSILON = 1e-8
MIN_ROWS = 3  # two points always lie on a line
RELIABILITY_FLOOR = 0.1


class Outputs(NamedTuple):
    """What the model says of B pairs.

    Attributes
    ----------
    image, pathway
        (B, dim) float, of length 1, in the shared space.
    embedding, frozen
        (B, d) float: the encoder's embedding, and the one it had before training; ``None`` without an anchor.
    scores, library
        (B, P) and (B,) float: what the heads say.
    scale
        () float, 1 / temperature.
    """

    image: Tensor
    pathway: Tensor
    embedding: Tensor
    frozen: Tensor | None
    scores: Tensor
    library: Tensor
    scale: Tensor


class Truth(NamedTuple):
    """What is true of B pairs.

    Attributes
    ----------
    scores, valid
        (B, P) float, z per section, and bool.
    library
        (B,) float, z per section.
    section
        (B,) int64, the same number for the same section on every rank.
    xy_um
        (B, 2) float64, centre of the spot in its section.
    """

    scores: Tensor
    valid: Tensor
    library: Tensor
    section: Tensor
    xy_um: Tensor


def align_loss(outputs: Outputs, truth: Truth, config: AlignConfig, reliability: Tensor) -> dict[str, Tensor]:
    """Every term of the loss of a batch over all ranks, and their weighted sum.

    Parameters
    ----------
    reliability
        (P,) float, of each pathway, measured on the training sections; see :func:`reliability_weights`.

    Returns
    -------
    dict
        () float each: ``total``, ``contrast``, ``huber``, ``pcc``, ``library``, ``anchor``; unweighted but ``total``.

    Raises
    ------
    DataError
        ``uneven-ranks`` when the ranks hold batches of different sizes.
    """
    check_even(len(truth.scores), truth.scores.device)
    image, pathway, predicted, library = (
        gather(part.float()) for part in (outputs.image, outputs.pathway, outputs.scores, outputs.library)
    )
    truth = Truth(*(gather(part) for part in truth))
    allowed = ~near_neighbours(truth.section, truth.xy_um, config.near_um)
    targets = soft_targets(truth.scores, truth.valid, allowed, config.soft_share, config.soft_temperature)
    weights = reliability_weights(reliability)
    terms = {
        "contrast": info_nce(outputs.scale.float() * image @ pathway.T, targets, allowed),
        "huber": masked_huber(predicted, truth.scores, truth.valid, weights),
        "pcc": masked_pcc(predicted, truth.scores, truth.valid),
        "library": functional.huber_loss(library, truth.library.float()),
        "anchor": anchor(outputs.embedding, outputs.frozen),
    }
    total = sum((getattr(config, f"weight_{name}") * term for name, term in terms.items()), torch.zeros(()).to(image))
    return {"total": total, **terms}


def info_nce(logits: Tensor, targets: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of both directions against soft targets, averaged.

    Parameters
    ----------
    logits
        (B, B) float, image by pathway.
    targets
        (B, B) float, rows sum to 1, zero where not allowed; the same for both directions.
    allowed
        (B, B) bool, symmetric, true on the diagonal: who is compared with whom. The others get no gradient.
    """
    return (_cross_entropy(logits, targets, allowed) + _cross_entropy(logits.T, targets, allowed)) / 2


def soft_targets(scores: Tensor, valid: Tensor, allowed: Tensor, share: float, temperature: float) -> Tensor:
    """(1 - share) on the pair itself, ``share`` spread by softmax over how alike the pathways are.

    Alike is the cosine over the pathways that both spots have; without any it is 0.

    Parameters
    ----------
    scores, valid, allowed
        (B, P) float, (B, P) bool, (B, B) bool.
    share, temperature
        Of the spread part.

    Returns
    -------
    Tensor
        (B, B) float32, rows sum to 1, zero where not allowed.
    """
    mask = valid.float()
    known = scores.float().masked_fill(~valid, 0)
    power = known.square() @ mask.T  # (i, j): of i over what j has too
    alike = known @ known.T / (power * power.T).clamp(min=EPSILON).sqrt()
    spread = torch.softmax((alike / temperature).masked_fill(~allowed, -torch.inf), dim=1)
    return (1 - share) * torch.eye(len(scores), device=scores.device) + share * spread


def near_neighbours(section: Tensor, xy_um: Tensor, radius_um: float) -> Tensor:
    """(B, B) bool: other spots of the same section nearer than the radius; such are nearly positives.

    The same spot twice is near too. An unknown place (NaN) is near nothing.
    """
    away = (xy_um.unsqueeze(0) - xy_um.unsqueeze(1)).square().sum(dim=2)
    near = (section.unsqueeze(0) == section.unsqueeze(1)) & (away < radius_um**2)
    return near & ~torch.eye(len(section), dtype=torch.bool, device=section.device)


def masked_huber(predicted: Tensor, scores: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
    """Mean over the pathways that any spot has of w_p times the Huber loss (delta 1) over the spots that have it.

    Parameters
    ----------
    predicted, scores, valid, weights
        (B, P) float, (B, P) float, (B, P) bool, (P,) float.
    """
    mask = valid.to(predicted.dtype)
    each = functional.huber_loss(predicted, scores.to(predicted).masked_fill(~valid, 0), reduction="none")
    rows = mask.sum(dim=0)
    per_pathway = each.masked_fill(~valid, 0).sum(dim=0) / rows.clamp(min=1)
    return (weights.to(predicted) * per_pathway).sum() / (rows > 0).sum().clamp(min=1)


def masked_pcc(predicted: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    """Mean over pathways of 1 - Pearson's correlation over the spots that have it.

    A pathway that fewer than three spots have, or whose scores are constant, is left out; without any the term is 0.
    """
    mask = valid.to(predicted.dtype)
    rows = mask.sum(dim=0)

    def centred(values: Tensor) -> Tensor:
        kept = values.masked_fill(~valid, 0)
        return (kept - kept.sum(dim=0) / rows.clamp(min=1)) * mask

    x, y = centred(predicted), centred(scores.to(predicted))
    power_x, power_y = x.square().sum(dim=0), y.square().sum(dim=0)
    used = (rows >= MIN_ROWS) & (power_y > EPSILON)
    correlation = (x * y).sum(dim=0) / (power_x * power_y + EPSILON).sqrt()
    return (1 - correlation).masked_fill(~used, 0).sum() / used.sum().clamp(min=1)


def anchor(embedding: Tensor, frozen: Tensor | None) -> Tensor:
    """Mean of 1 - cosine between the embedding and the frozen one, over all ranks; 0 without a frozen one."""
    if frozen is None:
        return torch.zeros((), device=embedding.device)
    return gather(1 - functional.cosine_similarity(embedding.float(), frozen.float(), dim=1)).mean()


def reliability_weights(reliability: Tensor) -> Tensor:
    """(P,) float: the measured reliability, at least 0.1; one that was not measured (NaN) counts as 0.1."""
    return torch.nan_to_num(reliability.float(), nan=RELIABILITY_FLOOR).clamp(min=RELIABILITY_FLOOR)


def gather(part: Tensor) -> Tensor:
    """(b, ...) of each rank to (B, ...) of all in the order of ranks, with gradient; of one rank the tensor itself."""
    if _world() == 1:
        return part
    if part.requires_grad:
        found: Tensor = _Gather.apply(part)
        return found
    return _gathered(part.to(torch.uint8)).bool() if part.dtype == torch.bool else _gathered(part)


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    """The gather of torch has no gradient; here each rank's rows get the sum of what all ranks' losses say of them."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        ctx.rows = len(part)
        return _gathered(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        from torch import distributed

        whole = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole)
        start = distributed.get_rank() * ctx.rows
        return whole[start : start + ctx.rows]


def _gathered(part: Tensor) -> Tensor:
    from torch import distributed

    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(_world())]
    distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def check_even(size: int, device: torch.device) -> None:
    """Refuse batches of different sizes: the gather would wait for ever, or mix rows.

    Raises
    ------
    DataError
        ``uneven-ranks``.
    """
    if _world() == 1:
        return
    from torch import distributed

    sizes = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(_world())]
    distributed.all_gather(sizes, torch.tensor([size], device=device))
    found = [int(each) for each in sizes]
    if len(set(found)) > 1:
        raise DataError(
            "The ranks hold batches of different sizes",
            code="uneven-ranks",
            expected="the same number of pairs on every rank",
            found=", ".join(map(str, found)),
        )


def _world() -> int:
    from torch import distributed

    return int(distributed.get_world_size()) if distributed.is_available() and distributed.is_initialized() else 1


def _cross_entropy(logits: Tensor, targets: Tensor, allowed: Tensor) -> Tensor:
    log_share = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=1)
    # Minus infinity times a target of 0 would be no number.
    return -(targets * log_share.masked_fill(~allowed, 0)).sum(dim=1).mean()
