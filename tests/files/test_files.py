"""The only broom: whole or absent, same bytes, dead partials swept, unsafe names refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst import files
from humanst.errors import HostileError, NoRoomError
from humanst.files.owners import is_running


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "partial" in path.name or "replaced" in path.name)


def test_write_aside_hashes_what_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.bin"
    with files.write_aside(path) as aside:
        aside.write(b"one ")
        aside.write(memoryview(b"two"))
        assert not path.exists()
    assert path.read_bytes() == b"one two"
    assert (aside.sha256, aside.n_bytes) == (hashlib.sha256(b"one two").hexdigest(), 7)
    assert leftovers(path.parent) == []


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.write_aside(path) as aside:
        aside.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel refuse the write, as a full disk does."""
    script = f"""
import resource, signal
from pathlib import Path
from humanst import files
from humanst.errors import NoRoomError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    files.write_bytes(Path({str(tmp_path)!r}) / "big.bin", b"x" * 300_000)
except NoRoomError as error:
    print(error.exit_code, error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("9 big.bin: A file grows beyond what one file may have here.")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_swapped_whole(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for content in ("first", "second"):
        with files.folder_aside(path) as partial:
            (partial / "inner").mkdir()
            (partial / "inner" / "x").write_text(content)
        assert (path / "inner" / "x").read_text() == content
    with pytest.raises(RuntimeError), files.folder_aside(path):
        raise RuntimeError
    assert (path / "inner" / "x").read_text() == "second"
    assert leftovers(tmp_path) == []


def test_a_killed_writer_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from humanst import files
with files.write_aside(Path({str(tmp_path)!r}) / "a.bin") as aside:
    aside.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert len(leftovers(tmp_path)) == 1
    with files.write_aside(tmp_path / "b.bin") as aside:
        aside.write(b"mine")
        swept = files.sweep_partials(tmp_path)
        assert [path.name.startswith(".a.bin.partial-") for path in swept] == [True]
    assert (tmp_path / "b.bin").read_bytes() == b"mine"
    assert leftovers(tmp_path) == []


def test_a_process_that_has_ended_and_that_nobody_has_buried_is_dead() -> None:
    """In a container whose first process waits for nobody, such a one would own its partials for ever."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert not is_running(child)
    os.waitpid(child, 0)
    assert is_running(os.getpid())


def test_a_swap_cut_in_the_middle_is_undone(tmp_path: Path) -> None:
    """Killed between the two renames, the old folder has no name: the next start gives it back."""
    script = f"""
import os, signal
from pathlib import Path
from humanst import files
real = Path.replace
def replace(self, target):
    if ".replaced-" in str(target):
        real(self, target)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.replace = replace
with files.folder_aside(Path({str(tmp_path)!r}) / "store") as partial:
    (partial / "x").write_text("new")
"""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x").write_text("old")
    subprocess.run([sys.executable, "-c", script], check=False)
    assert not (tmp_path / "store").exists()
    files.sweep_partials(tmp_path)
    assert (tmp_path / "store" / "x").read_text() == "old"
    assert leftovers(tmp_path) == []


def test_fsync_comes_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), real_fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("rename"), real_replace(self, to))[1])
    files.write_bytes(tmp_path / "a", b"x")
    assert calls == ["fsync", "rename", "fsync"]


def test_fsync_comes_before_the_rename_of_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of the part, then its name, then the folder that holds the name."""
    calls: list[tuple[str, int]] = []
    real_fsync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(("fsync", os.fstat(fd).st_ino)), real_fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append((Path(to).name, 0)), real_replace(self, to))[1])
    with files.write_part(tmp_path / "a") as part:
        part.write(b"x")
    inodes = {"file": (tmp_path / "a").stat().st_ino, "folder": tmp_path.stat().st_ino}
    assert calls == [("fsync", inodes["file"]), ("a", 0), ("fsync", inodes["folder"])]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "C:/x",
        "C:x",
        "\\\\host\\share",
        "a\\b",
        "x\0y",
        "a:b",
        "con",
        "a/NUL.txt",
        "a.",
        "a /b",
        "a\nb",
    ],
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(HostileError) as caught:
        files.safe_relative_path(name)
    assert caught.value.exit_code == 8


@given(st.lists(st.text(alphabet="abcXYZ019_-", min_size=1, max_size=8), min_size=1, max_size=4))
def test_plain_names_stay_below_their_folder(parts: list[str]) -> None:
    name = "/".join(part if part.lower() not in ("con", "prn", "aux", "nul") else "ok" for part in parts)
    assert (Path("/base") / files.safe_relative_path(name)).is_relative_to("/base")


def test_room_is_asked_for_first(tmp_path: Path) -> None:
    with pytest.raises(NoRoomError) as caught:
        files.require_room(tmp_path / "not" / "there" / "yet", 1 << 60)
    assert "bytes free" in str(caught.value)


def test_canonical_json_does_not_depend_on_order() -> None:
    assert files.canonical_json({"b": 1, "a": [2.5, None]}) == files.canonical_json({"a": [2.5, None], "b": 1})
