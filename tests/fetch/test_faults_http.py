"""The command over a bad line: for each fault its outcome and exit code, and nothing wrong under a final name.

The faults are those of tests/server.py. What is killed or cut is gone on with: the server counts what it sends again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from humanst import files
from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.errors import HostileError, IntegrityError, NetworkError, NoRoomError
from humanst.fetch import fetch_section, filling
from humanst.fetch.jobs import fetch_files
from humanst.fetch.local import wanted_files
from humanst.settings import settings
from tests.fetch.conftest import on_disk, source, study
from tests.fetch.one_file import BODY, NAME, online_env, write_catalog
from tests.helpers import ROOT, run_humanst
from tests.server import FaultServer, serving

MIB = 1 << 20
Command = Callable[..., tuple[int, str]]
# `make faults-long` kills fifty; the five of every run are fault F09 of ``tests/faults``.
KILLS = int(os.environ.get("HUMANST_FETCH_KILLS", "1"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as running:
        running.bodies[NAME] = running.bodies[f"tiny/{NAME}"] = BODY
        yield running


def large(server: FaultServer, fault: str, **record: Any) -> Any:
    return study(source(server.url(fault, NAME), **{"body": BODY, "path": NAME, **record}), hosts=(server.host,))


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_catalog(tmp_path)


@pytest.fixture
def command(
    server: FaultServer,
    catalog: Path,
    cache: Path,
    online: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """``humanst fetch tiny --json`` with a fault: its exit code and what it printed."""

    def run(fault: str, **more: str) -> tuple[int, str]:
        for name, value in online_env(server, fault, catalog, cache, **more).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            run_and_exit(humanst, ["fetch", "tiny", "--json"])
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("fault", "exit_code", "code"),
    [
        ("short", 6, "body-short"),
        ("short-unsaid", 6, "body-short"),
        ("flip", 6, "hash-differs"),
        ("html", 6, "html-page"),
        ("busy~9", 7, "http-status"),
        ("stall", 7, "time-budget"),
        ("drip", 7, "time-budget"),
        ("drip-head", 7, "time-budget"),
        ("continue", 7, "time-budget"),
        ("redirect-away", 8, "redirect-away"),
        ("redirect-file", 8, "redirect-away"),
    ],
)
def test_command_ends_with_the_exit_code_of_the_fault(
    server: FaultServer, command: Command, cache: Path, fault: str, exit_code: int, code: str
) -> None:
    with serving() as other:
        other.bodies[f"tiny/{NAME}"] = BODY
        server.away = f"http://{other.host}"
        found, out = command(fault, HUMANST_FETCH_BUDGET_S="1.5" if code == "time-budget" else "60")
        assert sum(other.hits.values()) == 0
    assert found == exit_code
    assert [row["code"] for row in json.loads(out)["failures"]] == [code]
    assert on_disk(cache) == set()


@pytest.mark.parametrize("fault", ["ok", "resume", "no-range", "blind", "busy~2", "later~1", "gzipped", "redirect-ok"])
def test_command_gets_the_file_all_the_same(command: Command, cache: Path, fault: str) -> None:
    found, out = command(fault)
    assert found == 0, out
    assert (cache / "sources" / "tiny" / NAME).read_bytes() == BODY
    assert on_disk(cache) == {f"sources/tiny/{NAME}"}


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("fault", "budget_s"), [("stall", 0.7), ("drip", 0.7), ("stall-late", 3.3), ("drip-head", 0.7), ("continue", 0.7)]
)
def test_budget_is_kept_to_two_seconds(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, fault: str, budget_s: float
) -> None:
    monkeypatch.setenv("HUMANST_FETCH_BUDGET_S", str(budget_s))
    start = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        fetch_section(*large(server, fault))
    assert caught.value.facts.code == "time-budget"
    assert budget_s - 0.1 < time.monotonic() - start < budget_s + 2


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("fault", "code"), [("short-unsaid", "no-length"), ("short", "body-short"), ("chunked-cut", "body-short")]
)
def test_body_that_may_be_cut_is_not_pinned(server: FaultServer, cache: Path, fault: str, code: str) -> None:
    """Without a length, chunks, a size or a hash on record a third of a file looks like a file."""
    with pytest.raises(IntegrityError) as caught:
        fetch_section(*large(server, fault, body=None), pin=True)
    assert (caught.value.facts.code, caught.value.exit_code) == (code, 6)
    assert on_disk(cache) == set()
    assert not (cache / "pins.lock.json").exists()


@pytest.mark.usefixtures("online")
class TestResume:
    def test_tries_of_one_run_go_on(self, server: FaultServer) -> None:
        assert fetch_section(*large(server, "resume")).paths["counts"].read_bytes() == BODY
        assert server.sent[f"/resume/{NAME}"] <= len(BODY) + MIB
        assert server.headers[1]["Range"] == f"bytes={len(BODY) // 2}-"
        assert server.headers[1]["If-Range"].startswith('"')
        assert server.headers[0]["Accept-Encoding"] == "identity"

    def test_the_next_run_goes_on(self, server: FaultServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filling.Patience, "__init__", _one_try(filling.Patience.__init__))
        with pytest.raises(IntegrityError) as caught:
            fetch_section(*large(server, "resume"))
        assert caught.value.facts.code == "body-short"
        assert on_disk(cache) == set()
        assert fetch_section(*large(server, "resume")).paths["counts"].read_bytes() == BODY
        assert server.sent[f"/resume/{NAME}"] <= len(BODY) + MIB
        assert _leftovers(cache) == []

    @pytest.mark.parametrize("fault", ["resume", "blind"])
    def test_a_file_that_changed_meanwhile_is_taken_whole(self, server: FaultServer, fault: str) -> None:
        new = BODY[::-1]
        server.changed[NAME] = new
        assert fetch_section(*large(server, fault, body=new)).paths["counts"].read_bytes() == new

    def test_a_host_that_gives_less_than_the_rest_is_asked_again(self, server: FaultServer) -> None:
        """Of a file without a record, each answer looks whole by its own length."""
        assert fetch_section(*large(server, "less", body=None), pin=True).paths["counts"].read_bytes() == BODY
        assert server.hits[f"/less/{NAME}"] == 3

    def test_chunks_have_an_end(self, server: FaultServer) -> None:
        assert fetch_section(*large(server, "chunked", body=None), pin=True).paths["counts"].read_bytes() == BODY

    @pytest.mark.parametrize("fault", ["dated", "weak"])
    def test_halves_of_two_dates_are_never_joined_and_pinned(self, server: FaultServer, fault: str) -> None:
        """A weak ETag stays the same for files that mean the same and differ in their bytes."""
        server.changed[NAME] = BODY[::-1]
        assert fetch_section(*large(server, fault, body=None), pin=True).paths["counts"].read_bytes() == BODY[::-1]

    def test_halves_of_two_files_are_never_joined_and_pinned(self, server: FaultServer) -> None:
        server.changed[NAME] = BODY[::-1]
        made = large(server, "blind", body=None)
        # Nothing on record can tell that the first body was cut, but its length.
        assert fetch_section(*made, pin=True).paths["counts"].read_bytes() == BODY[::-1]

    def test_what_a_kill_left_beside_a_placed_file_is_removed(self, server: FaultServer, cache: Path) -> None:
        path = fetch_section(*large(server, "slow")).paths["counts"]
        path.with_name(f"{path.name}.stamp").unlink()
        _leave_part(cache, b"", {})
        fetch_section(*large(server, "slow"))
        assert _leftovers(cache) == []
        assert sum(server.hits.values()) == 1

    def test_a_file_that_became_another_than_the_record_is_refused(self, server: FaultServer, cache: Path) -> None:
        server.changed[NAME] = BODY[::-1]
        with pytest.raises(IntegrityError) as caught:
            fetch_section(*large(server, "resume"))
        assert caught.value.facts.code == "hash-differs"
        assert _leftovers(cache) == []
        assert on_disk(cache) == set()

    def test_a_file_that_became_shorter_is_asked_for_again(self, server: FaultServer) -> None:
        server.changed[NAME] = BODY[: len(BODY) // 4]
        made = large(server, "blind", body=None)
        assert fetch_section(*made, pin=True).sha256["counts"] == hashlib.sha256(BODY[: len(BODY) // 4]).hexdigest()

    def test_wrong_bytes_of_an_earlier_run_cost_one_restart(self, server: FaultServer, cache: Path) -> None:
        _leave_part(cache, bytes(len(BODY) // 2), {"url": server.url("slow", NAME), "validator": None})
        assert fetch_section(*large(server, "slow")).paths["counts"].read_bytes() == BODY
        assert ["Range" in headers for headers in server.headers] == [True, False]

    def test_wrong_bytes_twice_are_refused(self, server: FaultServer, cache: Path) -> None:
        _leave_part(cache, BODY[:1000], {"url": server.url("flip", NAME), "validator": None})
        with pytest.raises(IntegrityError) as caught:
            fetch_section(*large(server, "flip"))
        assert caught.value.facts.code == "hash-differs"
        assert on_disk(cache) == set()

    def test_whole_part_is_not_asked_for_again(self, server: FaultServer, cache: Path) -> None:
        _leave_part(cache, BODY, {"url": server.url("slow", NAME), "validator": None})
        assert fetch_section(*large(server, "slow")).paths["counts"].read_bytes() == BODY
        assert sum(server.hits.values()) == 0

    def test_unpinned_halves_without_a_validator_are_not_joined(self, server: FaultServer, cache: Path) -> None:
        _leave_part(cache, BODY[::-1][:1000], {"url": server.url("slow", NAME), "validator": None})
        assert fetch_section(*large(server, "slow", body=None), pin=True).paths["counts"].read_bytes() == BODY

    def test_a_part_of_another_address_is_not_gone_on_with(self, server: FaultServer, cache: Path) -> None:
        etag = f'"{hashlib.sha256(BODY).hexdigest()[:16]}"'
        _leave_part(cache, BODY[::-1][:1000], {"url": server.url("resume", NAME), "validator": etag})
        assert fetch_section(*large(server, "slow", body=None), pin=True).paths["counts"].read_bytes() == BODY

    @pytest.mark.parametrize(
        ("data", "note"), [(BODY[:1000], {"encoded": True}), (BODY + b"more", {})], ids=["encoded", "too long"]
    )
    def test_useless_parts_are_not_gone_on_with(
        self, server: FaultServer, cache: Path, data: bytes, note: dict[str, Any]
    ) -> None:
        _leave_part(cache, data, {"url": server.url("slow", NAME), "validator": None, **note})
        assert fetch_section(*large(server, "slow")).paths["counts"].read_bytes() == BODY
        assert ["Range" in headers for headers in server.headers] == [False]

    @pytest.mark.parametrize("fault", ["shifted", "packed-rest"])
    def test_a_rest_that_is_another_is_not_joined(self, server: FaultServer, fault: str) -> None:
        assert fetch_section(*large(server, fault, body=None), pin=True).paths["counts"].read_bytes() == BODY

    def test_md5_is_checked_over_both_halves(self, server: FaultServer, cache: Path) -> None:
        _leave_part(cache, BODY[:1000], {"url": server.url("slow", NAME), "validator": None})
        assert fetch_section(*large(server, "slow", md5=True)).paths["counts"].read_bytes() == BODY
        assert server.headers[0]["Range"] == "bytes=1000-"

    def test_login_page_instead_of_the_rest_costs_nothing(self, server: FaultServer, cache: Path) -> None:
        with pytest.raises(IntegrityError) as caught:
            fetch_section(*large(server, "login-once"))
        assert caught.value.facts.code == "html-instead-of-rest"
        assert fetch_section(*large(server, "login-once")).paths["counts"].read_bytes() == BODY
        assert server.sent[f"/login-once/{NAME}"] <= len(BODY) + MIB

    def test_retry_after_is_waited_for(self, server: FaultServer) -> None:
        start = time.monotonic()
        fetch_section(*large(server, "later~1"))
        assert time.monotonic() - start >= 1.0

    def test_retry_after_beyond_the_budget_is_not(self, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUMANST_FETCH_BUDGET_S", "20")
        start = time.monotonic()
        with pytest.raises(NetworkError):
            fetch_section(*large(server, "later~3600"))
        assert time.monotonic() - start < 10

    def test_no_login_is_sent_anywhere(
        self, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        fetch_section(*large(server, "redirect-ok"))
        assert len(server.headers) == 2
        assert not any("Authorization" in headers for headers in server.headers)


def _one_try(init: Any) -> Any:
    def only_once(self: Any, **options: Any) -> None:
        init(self, **{**options, "tries": 1})

    return only_once


def _leave_part(cache: Path, data: bytes, note: dict[str, Any]) -> None:
    """What a run that ended left of the file."""
    folder = cache / "sources" / "tiny" / "data" / ".large.bin.part"
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(data)
    files.write_json(folder / "note.json", note)


def _leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if ".part" in path.name or ".partial" in path.name]


def _start(env: dict[str, str], *command: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
    return subprocess.Popen(
        [sys.executable, *command],
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


_FETCH = """
import contextlib, os, sys
from humanst import files
if sys.argv[1] == "unlocked":
    files.locked = lambda *args, **more: contextlib.nullcontext()
from humanst.fetch import fetch_section
from tests.fetch.conftest import source, study
from tests.fetch.one_file import BODY, NAME

# Processes of their own, which have not to import all that one by one.
children = []
for number in range(8):
    children.append(os.fork())
    if children[-1] == 0:
        made = study(source(sys.argv[2], body=BODY, path=NAME), hosts=(sys.argv[3],))
        os.write(1, f"{fetch_section(*made).paths['counts'].read_bytes() == BODY}\\n".encode())
        os._exit(0)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment_the_next_run_asks_for_the_rest_only(
    server: FaultServer, catalog: Path, cache: Path, seed: int
) -> None:
    target = cache / "sources" / "tiny" / NAME
    server.pause_s = 0.004
    # By what was sent, not by the clock: from the first byte to a little after the last.
    moment = random.Random(seed).uniform(0, 1.03) * len(BODY)
    path = f"/slow/tiny/{NAME}"
    env = online_env(server, "slow", catalog, cache)
    with _start(env, "-c", "from humanst.cli import main; main()", "fetch", "tiny") as process:
        deadline = time.monotonic() + 240
        while process.poll() is None and server.sent[path] < moment and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    before = server.sent[path]
    assert before > 0, "it was on its way"
    if target.exists():
        assert target.read_bytes() == BODY
    held = max((part.stat().st_size for part in cache.rglob("data") if part.is_file()), default=0)
    placed = target.exists()
    server.pause_s = 0.0
    result = run_humanst("fetch", "tiny", env=env)
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() == BODY
    assert server.hits[path] == (1 if placed or held == len(BODY) else 2)
    if server.hits[path] == 2:
        # What the server had sent and nobody had written yet is what the kill cost.
        asked_from = int(server.headers[-1].get("Range", "bytes=0-")[6:-1])
        assert asked_from == held >= before - MIB
    assert _leftovers(cache) == []


@pytest.mark.parametrize("lock", ["locked", "unlocked"])
def test_eight_processes_at_once(server: FaultServer, catalog: Path, cache: Path, lock: str) -> None:
    server.pause_s = 0.002
    env = online_env(server, "none", catalog, cache)
    del env["HUMANST_MIRROR"]
    command = ("-c", _FETCH, lock, server.url("slow", NAME), server.host)
    with _start(env, *command) as parent:
        out, err = parent.communicate(timeout=500)
    assert (parent.returncode, out.splitlines()) == (0, ["True"] * 8), err
    assert sum(server.hits.values()) == 1 if lock == "locked" else sum(server.hits.values()) <= 8
    assert on_disk(cache) == {f"sources/tiny/{NAME}"}
    assert _leftovers(cache) == []


@pytest.mark.usefixtures("online")
class TestSideBySide:
    def many(self, server: FaultServer, n_files: int) -> Any:
        for number in range(n_files):
            server.bodies[f"data/{number}"] = bytes([number]) * 100_000
        server.pause_s = 0.02
        sources = [
            source(server.url("slow", path), body=server.bodies[path], path=path, role=f"r{number}")
            for number, path in enumerate(f"data/{number}" for number in range(n_files))
        ]
        return study(*sources, hosts=(server.host,))

    def test_jobs_bound_how_many_files_are_under_way(self, server: FaultServer) -> None:
        made = self.many(server, 6)
        local = fetch_section(*made, jobs=3)
        assert server.at_once == 3
        for role, path in local.paths.items():
            assert path.read_bytes() == server.bodies[f"data/{role[1:]}"]

    def test_a_host_on_the_list_is_asked_for_two_at_a_time(
        self, server: FaultServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from humanst.fetch import host_jobs

        assert host_jobs.HOST_JOBS["zenodo.org"] == 2
        monkeypatch.setitem(host_jobs.HOST_JOBS, "127.0.0.1", 2)
        fetch_section(*self.many(server, 6), jobs=4)
        assert server.at_once == 2

    def test_one_bad_file_does_not_stop_the_others(self, server: FaultServer) -> None:
        made, section = self.many(server, 4)
        del server.bodies["data/2"]
        outcomes = fetch_files(wanted_files(made, section), settings(), jobs=2)
        assert [isinstance(outcome, NetworkError) for outcome in outcomes.values()] == [False, False, True, False]

    def test_room_for_all_files_is_asked_for_first(self, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
        made = self.many(server, 4)
        usage = files.shutil.disk_usage("/")._replace(free=399_999)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(NoRoomError) as caught:
            fetch_section(*made)
        assert caught.value.exit_code == 9
        assert "400,000" in str(caught.value)
        assert sum(server.hits.values()) == 0


@pytest.mark.usefixtures("online")
def test_redirect_to_a_private_scheme_keeps_what_is_here(server: FaultServer, cache: Path) -> None:
    _leave_part(cache, BODY[:1000], {"url": server.url("redirect-file", NAME), "validator": None})
    with pytest.raises(HostileError):
        fetch_section(*large(server, "redirect-file"))
    assert fetch_section(*large(server, "slow")).paths["counts"].read_bytes() == BODY
    assert server.headers[-1]["Range"] == "bytes=1000-"
