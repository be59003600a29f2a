"""The loop of an alignment: one step after another, told, validated, saved, and taken up where it was left.

Everything random in a step is a function of seed, step and rank, so that going on from a checkpoint gives the run that
was never stopped: on a CPU bit for bit, with any number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from humanst.errors import DataError, InterruptedRun
from humanst.files import write_bytes
from humanst.load.order import keyed_permutation
from stamp_train.building_model import build_optimizer, load_trained, trained_state
from stamp_train.checkpoints import save_checkpoint
from stamp_train.losses import Outputs, Truth, align_loss, gather, near_neighbours
from stamp_train.metering import Meter, autocast
from stamp_train.retrieval import retrieval
from stamp_train.run_folder import CHECKPOINTS, VALIDATION
from stamp_train.schedule import set_rates
from stamp_train.validation import Validated

if TYPE_CHECKING:
    from stamp_train.align_data import Images, TrainingImages
    from stamp_train.config import AlignConfig
    from stamp_train.logs import Log
    from stamp_train.model import AlignModel
    from stamp_train.pair_targets import Targets
    from stamp_train.ranks import Ranks
    from stamp_train.stopping import StopRequest
    from stamp_train.validation import Validation

Tell = Callable[[str, int, int], None]


@dataclass(slots=True)
class Training:
    """All that a run has in hand.

    Attributes
    ----------
    steps, step
        Of the whole run; and how many are done.
    reliability
        (P,) float32.
    retrieval_ceiling
        See :func:`stamp_train.retrieval.ceiling`.
    rows, validated
        First and last row of the log, by name; and every look at the held-out sections.
    """

    config: AlignConfig
    ranks: Ranks
    run: Path
    facts: Mapping[str, Any]
    model: AlignModel
    images: TrainingImages
    targets: Targets
    reliability: Tensor
    validation: Validation | None
    retrieval_ceiling: float | None
    steps: int
    step: int = 0
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    validated: list[Validated] = field(default_factory=list)
    optimizer: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = build_optimizer(self.model, self.config)

    @property
    def trained(self) -> list[nn.Parameter]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 where the settings and the device say so."""
        return autocast(self.config.precision, self.ranks.device)


def train(run: Training, log: Log | None, stop: StopRequest, tell: Tell) -> None:
    """Do the steps that are left.

    Parameters
    ----------
    log
        Of the first rank.
    stop
        Looked at after each step.

    Raises
    ------
    InterruptedRun
        When it was asked to stop, after it has saved (exit 75).
    DataError
        ``training-diverged`` when the loss is no longer a number.
    """
    config, model = run.config, run.model
    meter, batches = Meter(run.ranks.device), run.images.batches(run.step)
    model.train()
    while run.step < run.steps:
        with meter.waiting():
            batch = next(batches)
        seed_of_step(config.seed, run.step, run.ranks.rank)
        outputs, truth, terms = forward(run, batch)
        norm = backward(run, terms["total"])
        meter.count(config.batch_size)
        if run.step % config.log_every_steps == 0 or run.step == run.steps - 1:
            row = told(run, outputs, truth, terms) | {"gradient_norm": norm} | meter.told()
            note(run, row, log)
        run.step += 1
        tell("align", run.step, run.steps)
        if is_due(run, config.validate_every_steps or run.images.steps_an_epoch):
            validate(run)
        stopping = stop.agreed()
        if stopping or is_due(run, config.save_every_steps):
            save(run, log)
        if stopping and run.step < run.steps:
            raise InterruptedRun(
                f"Stopped at step {run.step} of {run.steps}",
                found=stop.by or "a request to another rank",
                done="The run is saved",
                todo="Run the same command again: it goes on from there",
            )


def forward(run: Training, batch: Images) -> tuple[Outputs, Truth, dict[str, Tensor]]:
    """What the model says of a batch, what is true of it, and the terms of the loss over all ranks."""
    device = run.ranks.device
    pathways = run.targets.pathways(batch.rows, device)
    # The place is the image's: pathways of another spot do not make its neighbours others.
    section = torch.from_numpy(run.targets.section[batch.rows]).to(device)
    xy_um = torch.from_numpy(run.targets.xy_um[batch.rows]).to(device)
    truth = Truth(pathways.scores, pathways.valid, pathways.library, section, xy_um)
    with run.autocast():
        outputs = run.model(batch.images, pathways)
    terms = align_loss(outputs, truth, run.config, run.reliability)
    if not bool(torch.isfinite(terms["total"])):
        raise _diverged(run.step, "terms", ", ".join(f"{name} {term.item():g}" for name, term in terms.items()))
    return outputs, truth, terms


def backward(run: Training, total: Tensor) -> float:
    """One step of the optimiser; returns the norm of the gradient before it was clipped."""
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    run.ranks.average_gradients(run.trained)
    norm = float(nn.utils.clip_grad_norm_(run.trained, run.config.clip_norm))
    if not math.isfinite(norm):
        raise _diverged(run.step, "gradient", f"norm {norm}")
    set_rates(run.optimizer, run.step, run.steps, run.config)
    run.optimizer.step()
    run.model.clamp_scale()
    return norm


def told(run: Training, outputs: Outputs, truth: Truth, terms: Mapping[str, Tensor]) -> dict[str, float]:
    """A row of the log, but for what the clock says."""
    allowed = ~near_neighbours(gather(truth.section), gather(truth.xy_um), run.config.near_um)
    row = {name: float(term.detach()) for name, term in terms.items()}
    row["ln_batch"] = math.log(len(allowed))
    row["chance"] = float(allowed.sum(dim=1).double().log().mean())
    row["retrieval"] = retrieval(outputs, allowed)
    if run.retrieval_ceiling is not None:
        row["retrieval_ceiling"] = run.retrieval_ceiling
    row["temperature"] = 1 / float(outputs.scale.detach())
    row["rate_lora"], row["rate_heads"] = (float(run.optimizer.param_groups[number]["lr"]) for number in (0, 1))
    return row


def note(run: Training, row: dict[str, float], log: Log | None) -> None:
    """Log a row, and keep the first and the last."""
    run.rows.setdefault("first", {"step": run.step, **row})
    run.rows["last"] = {"step": run.step, **row}
    if log is not None:
        log.write(run.step, row)


def validate(run: Training) -> None:
    """Predict the held-out sections, and write all figures so far."""
    if run.validation is None:
        return
    run.validated.append(run.validation(run.model, run.step, run.autocast()))
    if run.ranks.is_first:
        write_validation(run.run, run.validated)


def is_due(run: Training, every: int) -> bool:
    """Whether what is done every so many steps, and at the end, is to be done now."""
    return run.step % every == 0 or run.step == run.steps


def save(run: Training, log: Log | None) -> None:
    """Write a checkpoint; every rank waits for it, or one that ends early could have the launcher end the writer."""
    if run.ranks.is_first:
        if log is not None:
            log.flush()
        state = {
            "model": trained_state(run.model),
            "optimizer": run.optimizer.state_dict(),
            "loader": run.images.state(),
            "validated": [asdict(one) for one in run.validated],
            "rows": run.rows,
            "facts": dict(run.facts),
        }
        save_checkpoint(run.run / CHECKPOINTS, run.step, state, run.config.keep_checkpoints)
    run.ranks.wait()


def take_up(run: Training, step: int, state: Mapping[str, Any]) -> None:
    """Go on from a checkpoint, in place."""
    load_trained(run.model, state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.images.go_on(state["loader"])
    run.validated = [Validated(**one) for one in state["validated"]]
    run.rows = {name: dict(row) for name, row in state["rows"].items()}
    run.step = step


def write_validation(folder: Path, validated: list[Validated]) -> None:
    """``validation.csv``: a row a look, empty where there is no figure."""
    names = list(Validated.__dataclass_fields__)
    lines = [",".join(names)]
    for one in validated:
        values = [getattr(one, name) for name in names]
        lines.append(",".join("" if value != value else f"{value:.6g}" for value in values))
    write_bytes(folder / VALIDATION, ("\n".join(lines) + "\n").encode())


def seed_of_step(seed: int, step: int, rank: int) -> None:
    """Seed what a step draws (dropout)."""
    # One number that mixes all three: neighbours of a seed are other streams, but few bits apart.
    first = int(keyed_permutation(1 << 16, "step", seed, step, rank)[0])
    # torch takes 64 bits; a seed alone may have 63 of them.
    torch.manual_seed((seed * 1_000_003 + step * 65_537 + rank * 8_191 + first) % (1 << 63))


def _diverged(step: int, what: str, found: str) -> DataError:
    return DataError(
        "The training has diverged",
        code="training-diverged",
        field=f"step {step}",
        expected=f"finite {what}",
        found=found,
        done="The last checkpoint stays as it is",
        todo="Lower learning_rate_lora and learning_rate_heads, or clip_norm",
    )
