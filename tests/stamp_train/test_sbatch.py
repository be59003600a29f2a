"""The script for SLURM, run by bash with stand-ins for SLURM's commands on the PATH."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from humanst.errors import UsageError
from stamp_train.sbatch import sbatch_script

# As srun does: a process a task, SIGUSR1 handed to all of them, the highest exit code. At SIGTERM it ends them.
SRUN = """#!{python}
import os, signal, subprocess, sys
given = sys.argv[next(n for n, word in enumerate(sys.argv) if n and not word.startswith("--")):]
n = int(dict(word[2:].split("=") for word in sys.argv[1:] if word.startswith("--n"))["ntasks"])
known = {{"SLURM_NTASKS": str(n)}}
tasks = [subprocess.Popen(given, env=os.environ | known | {{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}})
         for i in range(n)]
signal.signal(signal.SIGUSR1, lambda *_: [task.send_signal(signal.SIGUSR1) for task in tasks])
signal.signal(signal.SIGTERM, lambda *_: [task.kill() for task in tasks])
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
# As align does: it tells what it was told, works until SIGUSR1, saves for a moment and ends with 75.
ALIGN = """#!{python}
import os, signal, sys, time
from pathlib import Path
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
note = Path(os.environ["NOTES"], "task" + os.environ["RANK"])
with open(str(note) + ".new", "w") as file:
    file.write("\\n".join([*(os.environ[name] for name in names), *sys.argv[1:]]))
os.replace(str(note) + ".new", note)
if os.environ["ENDS"] != "asked":
    sys.exit(int(os.environ["ENDS"]) if os.environ["RANK"] == "1" else 0)
until = time.monotonic() + 30
while not asked and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.2)
sys.exit(75 if asked else 1)
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$NOTES/scontrol"
exit ${REQUEUE:-0}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder of stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    texts = {"srun": SRUN, "stamp-train": ALIGN, "scontrol": SCONTROL}
    for name, text in texts.items():
        (folder / name).write_text(text.replace("{{", "{").replace("}}", "}").replace("{python}", sys.executable))
        (folder / name).chmod(0o755)
    (tmp_path / "notes").mkdir()
    return folder


def begin(cluster: Path, ends: str, script: str, **more: str) -> subprocess.Popen[str]:
    path = cluster.parent / "job.sh"
    path.write_text(script)
    known = {"PATH": f"{cluster}:/usr/bin:/bin", "NOTES": str(cluster.parent / "notes"), "ENDS": ends}
    known |= {"SLURM_JOB_ID": "41234567", **more}
    return subprocess.Popen(["bash", path], env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(job: subprocess.Popen[str]) -> tuple[int, str]:
    _, told = job.communicate(timeout=60)
    return job.returncode, told


def notes(cluster: Path) -> dict[str, list[str]]:
    """What was told, without what is still being written."""
    told = sorted(path for path in (cluster.parent / "notes").iterdir() if path.suffix != ".new")
    return {path.name: path.read_text().splitlines() for path in told}


def wait_for_tasks(cluster: Path, n: int) -> None:
    until = time.monotonic() + 30
    while sum(name.startswith("task") for name in notes(cluster)) < n:
        assert time.monotonic() < until
        time.sleep(0.02)


def script(config: str = "run one/it's a $config.yaml", gpus: int = 2) -> str:
    return sbatch_script(Path(config), gpus, arguments=["--set", "run=/data/a b", "--allow-leakage"])


def test_bash_reads_it_and_slurm_is_asked_for_what_was_said() -> None:
    text = sbatch_script(Path("align.yaml"), 4, cpus_per_gpu=6, time="2-00:00:00")
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False, capture_output=True).returncode == 0
    lines = text.splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert asked >= {
        "nodes=1",
        "ntasks-per-node=4",
        "gpus-per-node=4",
        "cpus-per-task=6",
        "time=2-00:00:00",
        "signal=B:USR1@120",
        "requeue",
    }
    # sbatch reads no such line after the first command.
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])


def test_every_task_is_told_what_torchrun_would_tell_it(cluster: Path) -> None:
    assert ended(begin(cluster, "0", script()))[0] == 0
    told = notes(cluster)
    assert set(told) == {"task0", "task1"}
    for rank in ("0", "1"):
        rank_told, local, world, address, port, *given = told[f"task{rank}"]
        assert (rank_told, local, world, address) == (rank, rank, "2", "127.0.0.1")
        assert 1024 < int(port) < 65536
        config = str(Path.cwd() / "run one/it's a $config.yaml")
        assert given == ["align", config, "--set", "run=/data/a b", "--allow-leakage"]


@pytest.mark.parametrize("code", [0, 1, 5, 75])
def test_only_exit_code_75_puts_the_job_back(cluster: Path, code: int) -> None:
    assert ended(begin(cluster, str(code), script()))[0] == code
    assert notes(cluster).get("scontrol") == (["requeue 41234567"] if code == 75 else None)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_the_script_reaches_every_task_which_saves(cluster: Path, number: signal.Signals) -> None:
    job = begin(cluster, "asked", script())
    wait_for_tasks(cluster, 2)
    job.send_signal(number)
    time.sleep(0.1)
    job.send_signal(number)  # while it saves
    code, told = ended(job)
    assert code == 75, told
    assert notes(cluster)["scontrol"] == ["requeue 41234567"]


def test_tasks_that_slurm_itself_told_put_the_job_back_too(cluster: Path) -> None:
    job = begin(cluster, "asked", script(gpus=1))
    wait_for_tasks(cluster, 1)
    (step,) = psutil.Process(job.pid).children()
    step.send_signal(signal.SIGUSR1)
    assert ended(job)[0] == 75
    assert notes(cluster)["scontrol"] == ["requeue 41234567"]


def test_a_queue_that_does_not_take_it_back_is_told(cluster: Path) -> None:
    code, told = ended(begin(cluster, "75", script(), REQUEUE="1"))
    assert code == 75
    assert "submit it again" in told


def test_names_stay_one_word(cluster: Path) -> None:
    text = sbatch_script(Path("/x"), 1, arguments=["--set", "run=$(touch boom); `touch boom` 'q' \"q\"\n{gpus}"])
    assert ended(begin(cluster, "0", text))[0] == 0
    assert notes(cluster)["task0"][-2:] == ["run=$(touch boom); `touch boom` 'q' \"q\"", "{gpus}"]
    assert not (cluster.parent / "boom").exists()
    assert not Path("boom").exists()


@pytest.mark.parametrize("wrong", [{"gpus": 0}, {"cpus_per_gpu": 0}, {"time": "soon"}, {"time": "1:00\n#SBATCH --x"}])
def test_what_slurm_cannot_take_is_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        sbatch_script(Path("align.yaml"), **{"gpus": 1, **wrong})
