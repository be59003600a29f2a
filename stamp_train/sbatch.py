"""A script that gives an alignment to SLURM: one node, a task a GPU, stopped in time and put back into the queue."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from humanst.errors import UsageError

SECONDS_TO_SAVE = 120
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")

_SCRIPT = r"""#!/bin/bash
#SBATCH --job-name=stamp-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node={gpus}
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cpus}
#SBATCH --time={time}
#SBATCH --signal=B:USR1@{seconds}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=stamp-train-%j.log
# Submit with: sbatch FILE. Options of sbatch before FILE (--partition, --account, --mem, --time) go before these lines.
# {seconds} seconds before the end, or when this job is sent SIGUSR1, every task finishes its step and the run is saved.
# Exit code 75 says so: the job is put back into the queue and goes on from there.
set -u

export MASTER_ADDR=127.0.0.1
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-1}}}}

# SLURM tells this shell alone, and srun hands SIGUSR1 to all of its tasks; at a SIGTERM it would end them at once.
trap 'kill -USR1 "$step" 2>/dev/null' USR1 TERM

# A task that died would leave the others waiting for it: they are ended {wait} seconds later.
srun --ntasks={gpus} --cpus-per-task={cpus} --wait={wait} bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    exec "$@"' task \
    {command} &
step=$!

# A signal ends a wait before the step has ended.
wait "$step"
code=$?
while [ "$code" -gt 128 ] && kill -0 "$step" 2>/dev/null; do
    wait "$step"
    code=$?
done
if [ "$code" -gt 128 ]; then
    wait "$step" 2>/dev/null
    again=$?
    [ "$again" -eq 127 ] || code=$again
fi

if [ "$code" -eq 75 ]; then
    echo "saved; back into the queue" >&2
    scontrol requeue "$SLURM_JOB_ID" || echo "could not be put back into the queue: submit it again" >&2
fi
exit "$code"
"""


def sbatch_script(
    config_path: Path,
    gpus: int,
    *,
    arguments: Sequence[str] = (),
    cpus_per_gpu: int = 4,
    time: str = "24:00:00",
) -> str:
    """The script for ``stamp-train align`` on the GPUs of one node.

    Each task is told what ``torchrun`` would tell it: RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    Parameters
    ----------
    config_path
        The settings; the script names it in full.
    gpus
        Of one node, a task each.
    arguments
        What else ``align`` is given, such as ``--set key=value``.
    cpus_per_gpu
        For each task, its loading workers included.
    time
        Bound of the job, as SLURM writes it.

    Raises
    ------
    UsageError
        ``sbatch`` for numbers below 1, or a time that SLURM does not know.
    """
    if gpus < 1 or cpus_per_gpu < 1 or not _TIME.fullmatch(time):
        raise UsageError(
            "No such job can be given to SLURM",
            code="sbatch",
            expected="at least one GPU and one CPU for it, and a time such as 24:00:00 or 2-00:00:00",
            found=f"{gpus} GPUs, {cpus_per_gpu} CPUs for each, {time}",
        )
    command = ["stamp-train", "align", str(config_path.absolute()), *arguments]
    return _SCRIPT.format(
        gpus=gpus,
        cpus=cpus_per_gpu,
        time=time,
        seconds=SECONDS_TO_SAVE,
        wait=300,
        command=shlex.join(command),
    )
