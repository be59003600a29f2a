"""What reports and audits share: sections worked on one by one, in a folder that appears as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from humanst import files
from humanst.errors import HumanstError, InterruptedRun, UsageError
from humanst.runner import run_tasks

Task = TypeVar("Task")
Result = TypeVar("Result")


def each_section(
    tasks: Sequence[Task],
    work: Callable[[Task], Result],
    sample_ids: Sequence[str],
    *,
    workers: int,
    tell: Callable[[int], None],
) -> tuple[list[tuple[str, Result]], list[tuple[str, HumanstError]]]:
    """Do a task a section; both lists are in the order of the tasks.

    Parameters
    ----------
    sample_ids
        Of the task in the same place.
    tell
        Called with how many are done.

    Returns
    -------
    made, failures
        ``(sample_id, result)`` and ``(sample_id, error)``.
    """
    made: dict[int, Result] = {}
    failures: dict[int, HumanstError] = {}
    tell(0)
    # Stores may be a stranger's. One worker stays this process, which keeps what it opened from section to section.
    with closing(run_tasks(tasks, work, workers=workers, apart=workers > 1)) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            if outcome.error is not None:
                failures[outcome.position] = outcome.error
            elif outcome.result is not None:
                made[outcome.position] = outcome.result
            tell(number)
    return (
        [(sample_ids[position], made[position]) for position in sorted(made)],
        [(sample_ids[position], failures[position]) for position in sorted(failures)],
    )


@contextmanager
def as_a_whole(what: str, output: Path, reached: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Tell of Ctrl-C in work that keeps nothing of what is not finished.

    Parameters
    ----------
    what
        ``report`` or ``audit``.
    reached
        Sections done, and in all.

    Raises
    ------
    InterruptedRun
        In the place of ``KeyboardInterrupt``.
    """
    try:
        yield
    except KeyboardInterrupt:
        done, total = reached()
        raise InterruptedRun(
            f"The {what} was interrupted when {done} of {total} sections were done",
            done=f"Nothing of it was kept; {output.name} is as it was",
            todo="Run the same command again: it begins anew",
        ) from None


def require_folder_of(what: str, output: Path, strangers: Sequence[str], *, code: str, todo: str | None = None) -> None:
    """Refuse an output that is a file, or a folder with strangers in it.

    Parameters
    ----------
    what
        ``report`` or ``audit``.

    Raises
    ------
    UsageError
        With ``code``, naming the first stranger.
    """
    if output.is_file() or strangers:
        raise UsageError(
            "The output folder holds something else",
            code=code,
            field="-o",
            file=output.name,
            expected=f"an empty folder, none, or an earlier {what}",
            found="a file" if output.is_file() else strangers[0],
            done="Nothing was written",
            todo=todo,
        )


def has_card(path: Path, schema: str) -> bool:
    """Whether a file is a card of this schema."""
    try:
        content = files.parse_json(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("schema") == schema
