"""F20 and F21: readers that crash, and files that end too early."""

from __future__ import annotations

from pathlib import Path

import pytest

from humanst.demo import DemoAtlas
from tests.faults.board import Seen, judge
from tests.faults.sections import build_folders, one_section, recipe_of

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-readers")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("st", tmp_path_factory.mktemp("st") / "atlas")


# A reader of a library written in C, on the files of the section whose folder is called so.
_BAD_READER = """
import os
from humanst.platforms import st
whole = st.read
def read(files, recipe):
    if files.study_id == "f00":
        {does}
    return whole(files, recipe)
st.read = read
"""
READERS = {
    "aborts": ("os.abort()", "reader-crashed"),
    "reads at address 0": ("import ctypes; ctypes.string_at(0)", "reader-crashed"),
    "eats memory": ("hoard = [bytearray(1 << 26) for _ in range(1 << 10)]", "task-memory"),
    "spins": ("exec('while True: pass')", "task-time"),
}


def test_f20_crashing_reader(legacy: DemoAtlas, tmp_path: Path) -> None:
    """The section before it in the command, and the one after it, are built."""
    seen = []
    for number, (case, (does, code)) in enumerate(READERS.items()):
        folder = tmp_path / str(number)
        folders = {name: folder / name for name in ("e00", "f00", "g00")}
        for path in folders.values():
            path.parent.mkdir(exist_ok=True)
            path.symlink_to(legacy.mirror / "lab", target_is_directory=True)
        env = {"HUMANST_TASK_CPU_S": "4", "HUMANST_TASK_MEMORY_GIB": "2"}
        built = build_folders(folders, recipe_of(legacy), folder, env=env, first=_BAD_READER.format(does=does))
        wrong = "" if sorted(built.stores) == ["e00", "g00"] else f"built {sorted(built.stores)}"
        message = built.messages.get("f00")
        exit_code = message.exit_code if message else built.exit_code
        seen.append(Seen(case, (8,), exit_code, message, built.left, wrong, (code,)))
        assert built.exit_code == 4
    judge("F20", seen)
