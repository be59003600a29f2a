"""Commands in children forked from a warm parent: real processes, without the seconds each spends on imports.

One parent a test process imports the libraries once, and forks for each command. A child takes over arguments,
environment, folder and output, and runs the command as the console script does. libvips starts threads, which do not
survive a fork, and is left to the children.
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
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from humanst.harmonize.gene_table import load_gene_table

ROOT = Path(__file__).resolve().parents[1]
_LIBRARIES = (
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
_OWN = (
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


class WarmParent:
    """The parent: one command at a time."""

    def __init__(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
        environment["PYTHONPATH"] = str(ROOT)
        self.turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, request: dict[str, Any], timeout_s: float) -> int:
        """Run a command; returns its exit code, negative for a signal.

        Raises
        ------
        subprocess.TimeoutExpired
            When it takes longer; it is killed first.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        if not select.select([process.stdout], [], [], timeout_s)[0]:
            os.kill(child, signal.SIGKILL)
            process.stdout.readline()
            raise subprocess.TimeoutExpired(request["arguments"], timeout_s)
        return int(process.stdout.readline())


@cache
def warm_parent() -> WarmParent:
    """The parent of this test process."""
    return WarmParent()


def serve() -> None:
    """Fork a child for each line of standard input, and end with the input."""
    for name in (*_LIBRARIES, *_OWN):
        import_module(name)
    # The gene table of the package, which each command reads: 60,000 rows.
    load_gene_table()
    gc.collect()
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            _run()
        _reply(child)
        _reply(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _run() -> NoReturn:
    """The command, and the end of a process but for the taking apart of all modules, which copies them first."""
    from humanst.cli import main

    code: Any = 0
    try:
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
