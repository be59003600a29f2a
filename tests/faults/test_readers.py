"""F20 and F21: readers that crash, and files that end too early."""

from __future__ import annotations

from pathlib import Path

import pytest

from humanst.demo import DemoAtlas
from tests.faults.board import judge
from tests.faults.sections import build_folders, one_section, recipe_of

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-readers")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("st", tmp_path_factory.mktemp("st") / "atlas")


# Case -> what a reader does, in a library written in C perhaps, and the reason that should be given.
READERS = {
    "aborts": ("os.abort()", "reader-crashed"),
    "reads at address 0": ("ctypes.string_at(0)", "reader-crashed"),
    "eats memory": ("[bytearray(1 << 26) for _ in range(1 << 10)]", "task-memory"),
    "spins": ("any(iter(int, 1))", "task-time"),
}
_BAD_READER = """
import ctypes, os
from humanst.platforms import st
whole, does = st.read, {does!r}
def read(files, recipe):
    eval(does.get(files.study_id, "0"))
    return whole(files, recipe)
st.read = read
"""


def test_f20_crashing_reader(legacy: DemoAtlas, tmp_path: Path) -> None:
    """Of the sections of one command those before, between and after them are built."""
    good = ("good 1", "good 2")
    folders = {}
    for number, case in enumerate(("good 1", *READERS, "good 2")):
        folders[case] = tmp_path / f"f{number:02d}"
        folders[case].symlink_to(legacy.mirror / "lab", target_is_directory=True)
    does = {folders[case].name: text for case, (text, _) in READERS.items()}
    env = {"HUMANST_TASK_CPU_S": "4", "HUMANST_TASK_MEMORY_GIB": "2"}
    built = build_folders(folders, recipe_of(legacy), tmp_path, env=env, first=_BAD_READER.format(does=does))
    assert (built.exit_code, sorted(built.stores)) == (4, sorted(good))
    judge("F20", built.seen({case: (None, (8,), (code,)) for case, (_, code) in READERS.items()}))
