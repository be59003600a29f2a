"""``humanst doctor``: what is wrong is found where it is wrong, told without secrets, and nothing is left behind."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from humanst.cli import humanst
from humanst.doctor.storage import file_system
from humanst.fetch import reach
from tests.cli.test_json import keep_promise

SECRET = "hunter2"  # noqa: S105
LIGHT = ("python", "packages", "images", "settings", "catalog", "disk", "cache", "mirrors", "machine", "slurm")


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object, and all that was printed."""
    result = CliRunner().invoke(humanst, ["doctor", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout), result.stdout + result.stderr


def row(content: dict[str, Any], item: str) -> dict[str, Any]:
    found = [check for check in content["checks"] if check["item"] == item]
    assert len(found) == 1, (item, content["checks"])
    return found[0]


class _Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_HEAD(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/stall"):
            self.server.released.wait(20)  # type: ignore[attr-defined]
            return
        self.send_response(int(self.path.partition("?")[0].split("/")[1] or 200))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Answers ``/<status>`` with that status; the process may open connections to this machine."""
    monkeypatch.setenv("HUMANST_OFFLINE", "0")
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "1")
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked, server.released = [], threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def address(server: ThreadingHTTPServer, path: str = "200") -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_a_machine_that_runs_the_tests_is_fit_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, content, said = run(*LIGHT, "-o", str(tmp_path / "not" / "there"))
    assert code == 0, said
    keep_promise("doctor", content)
    assert content["ok"]
    assert {check["check"] for check in content["checks"]} >= {*LIGHT} - {"slurm", "settings"}
    counted = [sum(check["status"] == status for check in content["checks"]) for status in ("ok", "warn", "fail")]
    assert counted == [content["n_ok"], content["n_warn"], content["n_fail"]]
    assert len({(check["check"], check["item"]) for check in content["checks"]}) == sum(counted)
    for item in ("JPEG", "TIFF of JPEG tiles", "JPEG of patches", "write", "rename", "lock"):
        assert row(content, item)["status"] == "ok"
    assert not list(tmp_path.iterdir()), "neither the cache nor the output is made"
    (tmp_path / "cache").mkdir()
    assert run("cache")[0] == 0
    assert not list((tmp_path / "cache").iterdir())


def test_text_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", "/no/such/folder")
    result = CliRunner().invoke(humanst, ["doctor", "mirrors", "python"])
    lines = result.stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("fail"))
    assert "/no/such/folder: no such folder" in lines[at]
    assert "HUMANST_MIRROR" in lines[at + 1]
    assert lines[-1].startswith("3 ok, 0 to look at, 1 failed")
    assert result.exit_code == 4
    assert "1 of 4 checks failed" in result.stderr


def test_one_check_asked_has_its_own_exit_code_and_several_have_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good" / "study").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HUMANST_MIRROR", "/no/such/folder")
    assert run("mirrors")[0] == 7
    monkeypatch.setenv(
        "HUMANST_MIRROR", f"/no/such/folder,{tmp_path / 'good'},{(tmp_path / 'empty').as_uri()},ftp://h/x"
    )
    code, content, _ = run("mirrors")
    assert code == 4
    told = {check["item"]: (check["status"], check["exit_code"]) for check in content["checks"]}
    assert list(told.values()) == [("fail", 7), ("ok", 0), ("warn", 0), ("fail", 2)]


def test_an_unknown_check_is_a_matter_of_usage() -> None:
    result = CliRunner().invoke(humanst, ["doctor", "disks"], standalone_mode=False)
    assert getattr(result.exception, "exit_code", None) == 2
    assert "disk" in str(result.exception)


@pytest.mark.parametrize(("path", "status"), [("200", "ok"), ("404", "ok"), ("403", "warn"), ("503", "warn")])
def test_a_mirror_that_answers(
    host: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, path: str, status: str
) -> None:
    """Nothing need be at its root: that it answers is what counts, unless it wants a login or is in trouble."""
    monkeypatch.setenv("HUMANST_MIRROR", f"{address(host, path)}?key={SECRET}")
    code, content, said = run("mirrors")
    assert (code, content["checks"][0]["status"]) == (0, status)
    assert f"HTTP {path}" in content["checks"][0]["found"]
    assert SECRET not in said
    assert len(host.asked) == 1  # type: ignore[attr-defined]


def test_a_mirror_that_nobody_answers_for(host: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "TIMEOUT_S", (0.3, 0.3))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        monkeypatch.setenv("HUMANST_MIRROR", f"{address(host, 'stall')},{nobody}")
        code, content, _ = run("mirrors")
    assert code == 4
    assert [(check["status"], check["exit_code"]) for check in content["checks"]] == [("fail", 7), ("fail", 7)]


def test_no_password_is_told(host: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of a mirror, which is refused, of a proxy, or of a mirror that the settings cannot read."""
    mirror = f"http://me:{SECRET}@127.0.0.1:{host.server_port}/x?sig={SECRET}"
    monkeypatch.setenv("HUMANST_MIRROR", f"{mirror},odd://me:{SECRET}@host/x,https://me:{SECRET}@[bad/x")
    monkeypatch.setenv("HTTPS_PROXY", f"me:{SECRET}@proxy:3128")
    code, content, said = run("mirrors", "settings")
    assert code == 4
    assert [check["exit_code"] for check in content["checks"] if check["check"] == "mirrors"] == [8, 2, 2]
    assert row(content, "HTTPS_PROXY")["found"] == "http://***@proxy:3128"
    assert "***@127.0.0.1" in said
    assert SECRET not in said
    assert host.asked == []  # type: ignore[attr-defined]
    result = CliRunner().invoke(humanst, ["doctor", "mirrors", "settings"])
    assert SECRET not in result.stdout + result.stderr


def test_offline_asks_nobody_and_says_so(host: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", address(host))
    monkeypatch.setenv("HUMANST_OFFLINE", "1")
    code, content, _ = run("mirrors", "--hosts")
    assert code == 0
    assert {check["status"] for check in content["checks"]} == {"warn"}
    assert len([check for check in content["checks"] if check["check"] == "hosts"]) > 1
    assert all("HUMANST_OFFLINE" in check["found"] for check in content["checks"])
    assert host.asked == []  # type: ignore[attr-defined]


def test_hosts_of_the_catalog_are_asked_on_request(
    host: ThreadingHTTPServer, little_atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "atlas"
    shutil.copytree(little_atlas, folder, ignore=shutil.ignore_patterns("mirror", "truth"))
    catalog = yaml.safe_load((folder / "catalog.yaml").read_text())
    for study in catalog["studies"].values():
        study["hosts"] = [f"127.0.0.1:{host.server_port}"]
    (folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    monkeypatch.setenv("HUMANST_CATALOG", str(folder / "catalog.yaml"))
    code, content, said = run("catalog")
    assert code == 0, said
    assert host.asked == []  # type: ignore[attr-defined]
    code, content, _ = run("catalog", "--hosts")
    assert code == 0
    assert [check["item"] for check in content["checks"]] == ["catalog.yaml", f"127.0.0.1:{host.server_port}"]
    assert host.asked == ["/"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["below a file", "where the system writes alone"])
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HUMANST_CACHE_DIR", {"below a file": f"{tmp_path}/file/x"}.get(place, "/proc/humanst"))
    code, content, _ = run("cache")
    assert code in (2, 4)
    assert content["n_fail"] >= 1
    assert all(check["exit_code"] == 2 for check in content["checks"] if check["status"] == "fail")
    assert "HUMANST_CACHE_DIR" in content["checks"][0]["todo"]


def test_places_that_cannot_be_looked_at_are_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As below a folder of others: the system refuses the question itself, here because of the length of the name."""
    nowhere = f"/{'x' * 300}"
    for name in ("CACHE_DIR", "SHARED_CACHE", "MIRROR", "CATALOG"):
        monkeypatch.setenv(f"HUMANST_{name}", nowhere)
    code, content, said = run("cache", "disk", "mirrors", "catalog", "-o", f"{nowhere}/out")
    assert code == 4, said
    told = {(check["check"], check["item"]): (check["status"], check["exit_code"]) for check in content["checks"]}
    assert told.pop(("disk", "temporary files"))[0] != "fail"
    assert told == {
        ("catalog", "catalog.yaml"): ("fail", 2),
        ("disk", "cache"): ("fail", 2),
        ("disk", f"output {nowhere}/out"): ("fail", 2),
        ("cache", "folder"): ("fail", 2),
        ("cache", f"shared {nowhere}"): ("warn", 0),
        ("mirrors", nowhere): ("fail", 7),
    }
    assert all(check["todo"] for check in content["checks"] if check["status"] == "fail")


def test_a_file_system_without_locks_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As NFS without a lock service may be: everybody gets the lock at once."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    code, content, _ = run("cache")
    assert code == 0
    assert row(content, "lock")["status"] == "warn"
    assert [path.name for path in tmp_path.iterdir()] == []


def test_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.disk_usage(tmp_path)
    for free, status, code in ((2 << 30, "warn", 0), (1 << 20, "fail", 9), (100 << 30, "ok", 0)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: real._replace(free=free))
        content = run("disk", "-o", str(tmp_path / "out"))[1]
        assert {(row(content, item)["status"], row(content, item)["exit_code"]) for item in ("cache",)} == {
            (status, code)
        }
        assert row(content, f"output {tmp_path / 'out'}")["status"] == status


def test_settings_that_are_misspelt_or_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_MIRORS", "/x")
    code, content, _ = run("settings")
    assert (code, row(content, "HUMANST_MIRORS")["status"]) == (0, "warn")
    assert "HUMANST_MIRROR" in row(content, "HUMANST_MIRORS")["todo"]
    monkeypatch.setenv("HUMANST_FETCH_BUDGET_S", "soon")
    code, content, _ = run("settings", "catalog", "cache")
    assert code == 4
    assert row(content, "HUMANST_FETCH_BUDGET_S")["exit_code"] == 2
    assert {check["status"] for check in content["checks"] if check["check"] in ("catalog", "cache")} == {"ok"}


def test_a_catalog_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalog.yaml").write_text("studies: 3\n")
    monkeypatch.setenv("HUMANST_CATALOG", str(tmp_path / "catalog.yaml"))
    code, content, _ = run("catalog")
    assert code == content["checks"][0]["exit_code"] == 5


def test_packages_that_lack_or_are_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another humanst, whose record lies before ours on the path."""
    record = tmp_path / "humanst-9.dist-info"
    record.mkdir()
    needs = (
        "numpy>=99",
        "click>=8",
        "no-such-package>=1",
        "py7zr>=99; extra == 'archives'",
        "old; python_version < '3'",
    )
    lines = ["Metadata-Version: 2.1", "Name: humanst", "Version: 9", "Provides-Extra: archives"]
    (record / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs)]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, content, _ = run("packages")
    assert code == 4
    told = {check["item"]: (check["status"], check["exit_code"]) for check in content["checks"]}
    assert told == {"no-such-package": ("fail", 2), "numpy": ("fail", 2), "extra archives": ("ok", 0)}
    assert "not >=99" in row(content, "numpy")["found"]
    assert "humanst[archives]" in row(content, "extra archives")["todo"]


STAND_IN = """
__version__ = "2.9"
get_num_threads = lambda: 3
class version: cuda = "13.0"
class cuda:
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    is_bf16_supported = staticmethod(lambda including_emulation: not including_emulation)
    class _Facts: name, total_memory, major, minor = "A card", 80 << 30, 9, 0
    get_device_properties = staticmethod(lambda number: cuda._Facts)
"""


@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        ("raise ImportError('libcudart.so.13: cannot open')", 2, "libcudart.so.13"),
        ("import os; os._exit(3)", 2, "ended with 3"),
        (STAND_IN, 0, "A card, 80 GiB, capability 9.0, CUDA 13.0"),
    ],
)
def test_torch_is_asked_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, code: int, told: str
) -> None:
    """Stand-ins for torch on the path of the child: what it says is told, and how it dies."""
    (tmp_path / "torch.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    got, content, said = run("torch")
    assert got == code
    assert told in said
    if code == 0:
        assert row(content, "bf16")["found"] == "in hardware"


def test_no_torch_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    code, content, _ = run("torch")
    assert code == 0
    assert content["checks"][0]["found"] == "not installed"
    assert "humanst[train]" in content["checks"][0]["todo"]


def test_limits_and_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        code, content, _ = run("machine", "slurm")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert code == 0
    assert row(content, "open files")["status"] == "warn"
    assert row(content, "open files")["todo"].startswith("ulimit -n ")
    assert not [check for check in content["checks"] if check["check"] == "slurm"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "8")
    assert "--task-index 4 --num-tasks 8" in row(run("slurm")[1], "SLURM_ARRAY_TASK_ID")["todo"]


MOUNTS = """
22 1 0:20 / / rw - ext4 /dev/sda rw
23 22 0:21 / /data rw - nfs4 server:/data rw
24 23 0:22 / /data/of\\040many rw - lustre mds:/x rw
25 22 0:23 / /data2 rw shared:1 - xfs /dev/sdb rw
26 23 0:24 / /data/scratch rw - beegfs b rw
27 26 0:25 / /data/scratch rw - tmpfs t rw
28 22 0:26 / /données rw - gpfs g rw
"""


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    table = MOUNTS.strip()
    expected = {
        "/home/me": "ext4", "/data": "nfs4", "/data/x/y": "nfs4", "/data/of many/x": "lustre", "/data2/x": "xfs",
        "/data/scratch/a": "tmpfs", "/données/x": "gpfs",
    }  # fmt: skip
    assert {name: file_system(Path(name), table) for name in expected} == expected
    told = subprocess.run(["df", "--output=fstype", str(tmp_path)], capture_output=True, text=True, check=True)
    assert file_system(tmp_path) == told.stdout.split()[-1]
