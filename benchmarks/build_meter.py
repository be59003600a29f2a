"""What a build costs, stage by stage: wall time, CPU time and peak memory of the process and its workers."""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.memory import high_water_mib

EVERY_SECONDS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """User and system time of this process, of its children that have ended and of those at work."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


class Meter:
    """Takes the progress of a build (``tell``) as the marks between its stages, and watches its workers' memory."""

    def __init__(self) -> None:
        self._marks: list[tuple[str, float, float]] = []
        self._peaks: dict[int, float] = {}
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._mark("plan")
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._mark("end")
        self._stop.set()
        self._watcher.join()

    def tell(self, step: str, done: int, total: int, pairs: int) -> None:
        """A build's progress."""
        del pairs
        if done == 0:
            self._mark(step)
        if done == total:
            self._mark("order" if step == "extract" else "finish")

    def _mark(self, name: str) -> None:
        self._marks.append((name, time.perf_counter(), cpu_seconds()))

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            for child in multiprocessing.active_children():
                try:
                    status = Path(f"/proc/{child.pid}/status").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                for line in status.splitlines():
                    if line.startswith("VmHWM:") and child.pid is not None:
                        self._peaks[child.pid] = int(line.split()[1]) / 1024

    def result(self) -> dict[str, Any]:
        """Seconds and CPU seconds of every stage and of the whole, and the peak of the largest worker in MiB."""
        stages: dict[str, dict[str, float]] = {}
        for (name, wall, cpu), (_, wall_end, cpu_end) in zip(self._marks, self._marks[1:], strict=False):
            stage = stages.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0})
            stage["seconds"] += wall_end - wall
            stage["cpu_seconds"] += cpu_end - cpu
        whole = {key: sum(stage[key] for stage in stages.values()) for key in ("seconds", "cpu_seconds")}
        peak = max(self._peaks.values()) if self._peaks else high_water_mib()
        return {"stages": stages, **whole, "worker_peak_mib": peak}
