"""What a person sees while files arrive: a bar for each that is on its way, and one for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from humanst.cli.output import progress_wanted


@contextmanager
def transfer_progress(n_files: int, total_bytes: int | None) -> Iterator[Callable[[str, int, int | None], None]]:
    """Give a function to call with (file, bytes so far, bytes expected). Silent when not on a terminal.

    ``total_bytes`` is what all files have together, ``None`` where some are of unknown size.
    """
    if not progress_wanted():
        yield lambda name, n_bytes, expected: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Transfers(bars, n_files, total_bytes).tell


class _Transfers:
    """One task a file, gone when the file is whole, and one for all files."""

    def __init__(self, bars: Any, n_files: int, total_bytes: int | None) -> None:
        self._bars = bars
        self._n_files = n_files
        self._total = bars.add_task("", total=total_bytes)
        self._tasks: dict[str, Any] = {}
        self._n_bytes: dict[str, int] = {}
        self._done: set[str] = set()

    def tell(self, name: str, n_bytes: int, expected: int | None) -> None:
        if name not in self._tasks and name not in self._done:
            self._tasks[name] = self._bars.add_task(name[-48:], total=expected)
        self._n_bytes[name] = n_bytes
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=n_bytes)
            if expected is not None and n_bytes >= expected:
                self._bars.remove_task(self._tasks.pop(name))
                self._done.add(name)
        label = f"[bold]{len(self._done)} of {self._n_files} files"
        self._bars.update(self._total, completed=sum(self._n_bytes.values()), description=label)
