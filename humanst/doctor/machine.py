"""Cores, memory and limits of this process, and what SLURM gave it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from humanst.doctor.checks import Check, Status
from humanst.errors import NoRoomError

_GIB = 1 << 30
# What a worker that builds a section may come to.
_WORKER_BYTES = 2 * _GIB
# Shards, stores and slides are open together; a soft limit below is that of old systems.
_OPEN_FILES = 1024
_SHARED_BYTES = _GIB
_SLURM = (
    "SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE",
    "SLURM_MEM_PER_CPU", "SLURM_GPUS_ON_NODE", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT",
)  # fmt: skip


def machine_checks() -> list[Check]:
    """Cores, memory, shared memory and limits."""
    return [_cores(), _memory(), *_shared_memory(), *_limits()]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores() -> Check:
    return Check("machine", "cores", "ok", f"{cores()} to use of {os.cpu_count()}")


def _memory() -> Check:
    if not hasattr(os, "sysconf"):
        return Check("machine", "memory", "ok", f"not looked at: {sys.platform} does not say")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = min([total, *_group_limits()])
    found = f"{limit / _GIB:,.1f} GiB" + (f" (a limit; the machine has {total / _GIB:,.1f})" if limit < total else "")
    if limit < cores() * _WORKER_BYTES:
        workers = max(limit // _WORKER_BYTES, 1)
        todo = f"One worker a core may be too many: --workers {workers}"
        return Check("machine", "memory", "warn", found, todo)
    return Check("machine", "memory", "ok", found)


def _group_limits() -> list[int]:
    """Limits of the control groups that this process is in."""
    found = []
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", *_own_group()):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        found += [int(text)] if text.isdigit() else []
    return found


def _own_group() -> list[str]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    names = [line.split(":", 2)[2] for line in lines if line.startswith("0::")]
    return [f"/sys/fs/cgroup{above}/memory.max" for name in names for above in (name, *map(str, Path(name).parents))]


def _shared_memory() -> list[Check]:
    folder = Path("/dev/shm")  # noqa: S108
    if not folder.is_dir():
        return []
    total = shutil.disk_usage(folder).total
    found = f"{total / _GIB:,.1f} GiB in {folder}"
    if total >= _SHARED_BYTES:
        return [Check("machine", "shared memory", "ok", found)]
    todo = "Workers of a dataloader hand batches over through it: docker run --shm-size=8g, or num_workers=0"
    return [Check("machine", "shared memory", "warn", found, todo)]


def _limits() -> list[Check]:
    try:
        import resource
    except ImportError:
        return [Check("machine", "limits", "ok", f"not looked at: {sys.platform} has none that a process can ask for")]
    unlimited = resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != unlimited and soft < _OPEN_FILES
    todo = f"ulimit -n {_OPEN_FILES if hard == unlimited else min(hard, _OPEN_FILES)}" if few else None
    checks = [
        Check(
            "machine",
            "open files",
            "warn" if few else "ok",
            f"{_told(soft, unlimited)}, at most {_told(hard, unlimited)}",
            todo,
        )
    ]
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != unlimited:
        todo = "A shard may be larger: ulimit -f unlimited"
        status: Status = "fail" if size < _GIB else "warn"
        checks.append(Check("machine", "size of a file", status, f"{size:,} bytes", todo, NoRoomError))
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != unlimited:
        todo = "Files that are mapped count too, and images of record are: ulimit -v unlimited"
        checks.append(Check("machine", "address space", "warn", f"{space / _GIB:,.1f} GiB", todo))
    return checks


def _told(limit: int, unlimited: int) -> str:
    return "unlimited" if limit == unlimited else f"{limit:,}"


def slurm_checks() -> list[Check]:
    """What SLURM says of the job; nothing outside of one."""
    told = {name: os.environ[name] for name in _SLURM if os.environ.get(name)}
    checks = [Check("slurm", name, "ok", value, _hint(name, told)) for name, value in told.items()]
    asked = told.get("SLURM_CPUS_PER_TASK", "")
    if asked.isdigit() and int(asked) < cores():
        todo = f"humanst takes a worker a core: --workers {asked}, or bind the tasks (srun --cpu-bind=cores)"
        checks.append(Check("slurm", "cores", "warn", f"{cores()} to use, {asked} asked for", todo))
    return checks


def _hint(name: str, told: dict[str, str]) -> str | None:
    if name == "SLURM_ARRAY_TASK_ID":
        count = told.get("SLURM_ARRAY_TASK_COUNT", "N")
        return f"build-shards --task-index {told[name]} --num-tasks {count}, when the array starts at 0"
    return None
