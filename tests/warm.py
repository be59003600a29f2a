"""Commands in children forked from a warm parent: real processes, without the seconds each spends on imports.

One parent a test process imports the libraries once, and forks for each command. A child takes over arguments,
environment, folder and output, and runs the command as the console script does, but for the wait for the disk
(``tests/disk.py``). libvips starts threads, which do not survive a fork, and is left to the children.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Self

from humanst.harmonize.gene_table import load_gene_table
from tests.disk import wait_for_no_disk

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    "anndata",
    "click",
    "cv2",
    "distributed",
    "filelock",
    "geopandas",
    "jsonschema",
    "narwhals",
    "pandera.backends.pandas.register",
    "pandera.io",
    "pandera.pandas",
    # pandera opens hypothesis, where it is installed, with the first check of one's own.
    "pandera.strategies.pandas_strategies",
    "pyarrow.parquet",
    "pydantic_settings",
    "requests",
    "rich.progress",
    "scipy.ndimage",
    "scipy.spatial",
    "skimage.color",
    "skimage.measure",
    "skimage.transform",
    "spatialdata._core.spatialdata",
    "spatialdata._io",
    "spatialdata.models",
    "spatialdata.transformations",
    "tifffile",
    "yaml",
    "zarr",
)
# What a command opens on its way: with all of them here a child compiles and runs none of it again.
OWN = (
    "humanst.builder",
    "humanst.builder.checking",
    "humanst.cli.build",
    "humanst.cli.build_shards",
    "humanst.cli.plan",
    "humanst.cli.validate",
    "humanst.cli.verify",
    "humanst.fetch",
    "humanst.runner.processes",
    "humanst.shards.release",
    "humanst.shards.verify",
    "humanst.store.elements",
    "humanst.validate.stored",
)
_SCRIPT = "from tests.warm import serve; serve()"


class Running:
    """A command that was started; the parent takes no other until it was waited for."""

    def __init__(self, parent: WarmParent, arguments: Sequence[str], pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent, self._arguments = parent, arguments

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            self.wait()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; ``None`` while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended.

        Raises
        ------
        subprocess.TimeoutExpired
            When it takes longer; it goes on.
        """
        if self.returncode is None:
            ended = self._parent.ended(timeout)
            if ended is None:
                raise subprocess.TimeoutExpired(list(self._arguments), timeout or 0)
            self.returncode = ended
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it alone."""
        if self.returncode is None:
            os.kill(self.pid, number)


class WarmParent:
    """The parent: one command at a time."""

    def __init__(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
        environment["PYTHONPATH"] = str(ROOT)
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, request: dict[str, Any]) -> Running:
        """Start a command, when the one before it has ended.

        A request is ``arguments``, ``env``, ``cwd``, ``stdout`` and ``stderr`` (paths), and may hold ``first``: code
        that the child runs before the command.
        """
        self._turn.acquire()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        return Running(self, request["arguments"], int(stdout.readline()))

    def ended(self, timeout_s: float | None) -> int | None:
        """The exit code of the command that runs; ``None`` while it goes on."""
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], timeout_s)[0]:
            return None
        code = int(stdout.readline())
        self._turn.release()
        return code

    def run(self, request: dict[str, Any], timeout_s: float) -> int:
        """Run a command; returns its exit code, negative for a signal.

        Raises
        ------
        subprocess.TimeoutExpired
            When it takes longer; it is killed first.
        """
        with self.start(request) as command:
            return command.wait(timeout_s)


@cache
def warm_parent() -> WarmParent:
    """The parent of this test process."""
    return WarmParent()


def serve() -> None:
    """Fork a child for each line of standard input, and end with the input."""
    for name in (*LIBRARIES, *OWN):
        import_module(name)
    wait_for_no_disk()
    # The gene table of the package, which each command reads: 60,000 rows.
    load_gene_table()
    gc.collect()
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        child = os.fork()
        if child == 0:
            request = json.loads(line)
            _become(request)
            _run(request.get("first", ""))
        _reply(child)
        _reply(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _run(first: str) -> NoReturn:
    """What comes first, the command, and the end of a process.

    All but the taking apart of modules, for which a child would copy them first.
    """
    from humanst.cli import main

    code: Any = 0
    try:
        exec(first, {})  # noqa: S102 - code of the test itself
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _reply(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY),
        (2, request["stderr"], os.O_WRONLY),
    ):
        descriptor = os.open(path, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["humanst", *request["arguments"]]
