"""Where a run stopped, as numbers: which order, which epoch, how far. Resuming is arithmetic; nothing is dumped.

An order is a pure function of what :class:`Order` holds and of the epoch. A state names the order, so that it cannot
be loaded into another one, and says how many pairs of the epoch were given. The number of worker processes is no part
of an order: it may change between stop and resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from humanst.errors import UsageError

STATE_SCHEMA = "humanst.load-state/1"


@dataclass(frozen=True, slots=True)
class Order:
    """What the order of the pairs of one rank depends on, besides the epoch.

    Attributes
    ----------
    kind
        How rows are chosen: ``rows``, ``stream``, ``weighted``, ``slides`` or ``mixed``.
    source
        Identity of the rows: hash of the index and of the condition, or text a caller chose.
    n_pairs
        Rows that are chosen from.
    details
        What else the kind depends on, as text.
    """

    kind: str
    source: str
    n_pairs: int
    seed: int
    shuffle: bool
    tail: str
    batch_size: int | None
    rank: int
    world: int
    details: str = ""

    def state(self, epoch: int, pairs: int) -> dict[str, Any]:
        """The state after ``pairs`` pairs of ``epoch``; plain numbers and text, fit for JSON."""
        return {"schema": STATE_SCHEMA, "order": asdict(self), "epoch": epoch, "pairs": pairs}

    def position(self, state: Mapping[str, Any]) -> tuple[int, int]:
        """Read a state of this order.

        Returns
        -------
        epoch, pairs
            Where to go on.

        Raises
        ------
        UsageError
            ``other-order`` when it was saved by another order: going on would repeat pairs and leave out others.
        """
        if state.get("schema") != STATE_SCHEMA:
            raise UsageError(
                "This is no state of a humanst loader",
                code="other-order",
                expected=STATE_SCHEMA,
                found=repr(state.get("schema")),
            )
        mine, theirs = asdict(self), dict(state.get("order", {}))
        differ = sorted(name for name in mine if theirs.get(name) != mine[name])
        if differ:
            raise UsageError(
                "The state was saved by a loader that gives its pairs in another order",
                code="other-order",
                field=", ".join(differ),
                expected=", ".join(f"{name} {mine[name]!r}" for name in differ),
                found=", ".join(f"{name} {theirs.get(name)!r}" for name in differ),
                done="Nothing was loaded",
                todo="Make the loader as it was; the number of workers alone may change",
            )
        epoch, pairs = state.get("epoch"), state.get("pairs")
        if not isinstance(epoch, int) or not isinstance(pairs, int) or epoch < 0 or pairs < 0:
            raise UsageError(
                "The state has no position",
                code="other-order",
                expected="epoch and pairs, both >= 0",
                found=f"epoch {epoch!r}, pairs {pairs!r}",
            )
        return epoch, pairs
