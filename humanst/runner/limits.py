"""How much a task may take of the machine, and whether a task can be given a process of its own.

Tasks read files of strangers with libraries written in C. What crashes there, or asks for more memory or time than any
section needs, ends a process: it is to be one whose end costs that task alone.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from humanst.settings import settings

GIB = 1 << 30
# No section that was ever built needs as much; where the machine has more, a task may have its share of that.
LEAST_MEMORY_BYTES = 6 * GIB
MEMORY_SHARE = 0.9
CPU_SECONDS = 6 * 3600
FILE_BYTES = 256 * GIB
# What reading and building a section imports: here once, and not in every process that is forked.
_LIBRARIES = (
    "anndata",
    "cv2",
    "pandera.pandas",
    "pyarrow.parquet",
    "scipy.ndimage",
    "scipy.spatial",
    "skimage.color",
    "skimage.measure",
    "skimage.transform",
    "spatialdata.models",
    "spatialdata.transformations",
    "tifffile",
    "zarr",
)
# They start threads, which a forked process has not, and does not know that it has not.
_THREADED = frozenset({"pyvips", "torch"})
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Set in a process that was made for tasks: it makes none for parts of them.
_apart = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process of a task may take.

    Attributes
    ----------
    memory_bytes
        Data of the process (``RLIMIT_DATA``).
    cpu_s
        Processor seconds of one task.
    file_bytes
        Size of one file that it writes.
    """

    memory_bytes: int
    cpu_s: int
    file_bytes: int

    def apply(self) -> None:
        """Bound this process for good; no limit that it has already becomes wider."""
        import resource

        _lower(resource.RLIMIT_DATA, self.memory_bytes)
        _lower(resource.RLIMIT_FSIZE, self.file_bytes)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def begin_task(self) -> None:
        """Give a task its processor time, beside what the tasks before it took."""
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        wanted = int(used.ru_utime + used.ru_stime) + 1 + self.cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard < 0 else min(wanted, hard), hard))


def _lower(kind: int, wanted: int) -> None:
    import resource

    bounds = [bound for bound in (*resource.getrlimit(kind), wanted) if bound >= 0]
    resource.setrlimit(kind, (min(bounds),) * 2)


def machine_memory_bytes() -> int:
    """Memory of this machine, or of the container that it is in."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _CGROUP:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    return min(found)


def task_limits(workers: int) -> Limits | None:
    """The limits of a task among ``workers`` at a time, as the settings say; ``None`` on systems without any."""
    if sys.platform == "win32":
        return None
    told = settings()
    share = max(LEAST_MEMORY_BYTES, int(MEMORY_SHARE * machine_memory_bytes() / workers))
    return Limits(
        memory_bytes=int(told.task_memory_gib * GIB) if told.task_memory_gib is not None else share,
        cpu_s=int(told.task_cpu_s) if told.task_cpu_s is not None else CPU_SECONDS,
        file_bytes=FILE_BYTES,
    )


def begin_apart(limits: Limits | None) -> None:
    """Say that this process is one for tasks, and bound it."""
    global _apart
    _apart = True
    if limits is not None:
        limits.apply()


@cache
def import_libraries() -> None:
    """Import what every task would."""
    for name in _LIBRARIES:
        import_module(name)


def can_fork() -> bool:
    """Whether a task can be given a process of its own at once: forked from this one, as long as it has no threads.

    Those of the progress display hold nothing that a task needs.
    """
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return (
        sys.platform == "linux"
        and not _apart
        and not settings().one_process
        and threading.current_thread() is threading.main_thread()
        and all(type(thread).__module__.startswith("rich.") for thread in threads)
        and _THREADED.isdisjoint(sys.modules)
    )
