"""A script that gives a planned build to SLURM: an array for each stage of many tasks, and one job that finishes."""

from __future__ import annotations

import shlex
from pathlib import Path

_SCRIPT = r"""#!/bin/sh
# Submit with: sh {name}
# extract ({n} tasks) -> pack ({n} tasks) -> finish; each begins when all of the one before ended with exit code 0, and
# leaves the queue when it never can.
# Exit code 4 of extract: some sections were refused; failed.jsonl in the work folder says why. Mend them and run this
# again, or put ACCEPT=4 before the command to release the others without them.
# Exit code 75: stopped in time; the task is put back into the queue and goes on where it stopped.
set -eu
SBATCH_OPTIONS=${{SBATCH_OPTIONS:-"--time=12:00:00 --mem=8G --cpus-per-task=1"}}
ACCEPT=${{ACCEPT:-0}}
COMMAND={command}
mkdir -p {logs}

run() {{  # run NAME ARRAY DEPENDENCY COMMAND
    name=$1 array=$2 after=$3 command=$4
    # SIGTERM goes to the step five minutes before the end: enough to finish the section in hand.
    sbatch --parsable --job-name="humanst-$name" --output={logs}/"$name"-%A_%a.log \
        --signal=TERM@300 --requeue --kill-on-invalid-dep=yes $SBATCH_OPTIONS $array $after \
        --wrap "srun $command; code=\$?; [ \$code -ne 75 ] || scontrol requeue \$SLURM_JOB_ID; \
            [ \$code -ne $ACCEPT ] || exit 0; exit \$code"
}}

extract=$(run extract --array=0-{last} "" \
    "$COMMAND --stage extract --task-index \$SLURM_ARRAY_TASK_ID --num-tasks {n}")
pack=$(run pack --array=0-{last} "--dependency=afterok:$extract" \
    "$COMMAND --stage pack --task-index \$SLURM_ARRAY_TASK_ID --num-tasks {n}")
finish=$(run finish "" "--dependency=afterok:$pack" "$COMMAND --stage finish")
echo "extract $extract, pack $pack, finish $finish"
"""


def sbatch_script(plan: Path, release: Path, work: Path, *, n_tasks: int, catalog: Path | None) -> str:
    """The script, with every path in full.

    Parameters
    ----------
    n_tasks
        Tasks of each array.
    catalog
        Another catalog than the one that ships.
    """
    command = ["humanst", "build-shards", "--plan", str(plan), "-o", str(release), "--work", str(work)]
    command += ["--workers", "1"]
    command += [] if catalog is None else ["--catalog", str(catalog)]
    return _SCRIPT.format(
        name="submit.sh",
        n=n_tasks,
        last=n_tasks - 1,
        logs=shlex.quote(str(work / "logs")),
        command=shlex.quote(shlex.join(command)),
    )
