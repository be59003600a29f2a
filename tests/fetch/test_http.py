"""Fetch over loopback HTTP: each fault ends with its own error, and nothing wrong is ever placed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from humanst import __version__
from humanst.errors import HostileError, HumanstError, IntegrityError, NetworkError
from humanst.fetch import fetch_section
from humanst.fetch.download import stream
from humanst.fetch.mirrors import check_url
from humanst.fetch.patience import Patience, TransientError, with_patience
from tests.fetch.conftest import BODY, NAME, on_disk, source, study
from tests.server import FaultServer, serving

pytestmark = pytest.mark.usefixtures("online")


def fetch_from(server: FaultServer, fault: str, **record: object) -> Path:
    made, section = study(source(server.url(fault, NAME), **record), hosts=(server.host,))  # type: ignore[arg-type]
    return fetch_section(made, section).paths["counts"]


def test_good_file_is_placed_with_its_bytes_and_asked_for_once(server: FaultServer, cache: Path) -> None:
    path = fetch_from(server, "ok")
    assert path == cache / "sources" / "tiny" / NAME
    assert path.read_bytes() == BODY
    assert fetch_from(server, "ok") == path
    assert sum(server.hits.values()) == 1
    assert server.agents == {f"humanst/{__version__}"}


@pytest.mark.parametrize(
    ("fault", "kind", "code", "tries"),
    [
        ("short", IntegrityError, "body-short", 3),
        ("short-unsaid", IntegrityError, "body-short", 3),
        ("flip", IntegrityError, "hash-differs", 1),
        ("long", IntegrityError, "body-too-long", 1),
        ("html", IntegrityError, "html-page", 1),
        ("gzip-cut", IntegrityError, "body-short", 3),
        ("br", NetworkError, "encoding", 1),
        ("busy~9", NetworkError, "http-status", 3),
        ("redirect-loop", HostileError, "redirect-loop", 6),
        ("redirect-file", HostileError, "redirect-away", 1),
    ],
)
def test_faults(server: FaultServer, cache: Path, fault: str, kind: type[HumanstError], code: str, tries: int) -> None:
    with pytest.raises(kind) as caught:
        fetch_from(server, fault)
    facts = caught.value.facts
    assert (type(caught.value), facts.code) == (kind, code)
    assert (facts.study, facts.section, facts.file) == ("tiny", "S1", NAME)
    assert facts.expected
    assert facts.found
    assert sum(server.hits.values()) == tries
    assert on_disk(cache) == set()


def test_wrong_hash_message_names_both_hashes(server: FaultServer) -> None:
    with pytest.raises(IntegrityError) as caught:
        fetch_from(server, "flip")
    wanted = source().sha256
    assert wanted is not None
    assert wanted in str(caught.value.facts.expected)
    assert "sha256" in str(caught.value.facts.found)
    assert wanted not in str(caught.value.facts.found)


def test_html_page_is_called_one(server: FaultServer) -> None:
    with pytest.raises(IntegrityError, match="HTML page"):
        fetch_from(server, "html")


@pytest.mark.parametrize("fault", ["busy~2", "short-once"])
def test_transient_faults_are_tried_again(server: FaultServer, fault: str) -> None:
    assert fetch_from(server, fault).read_bytes() == BODY


def test_redirect_on_the_same_host_is_followed(server: FaultServer) -> None:
    assert fetch_from(server, "redirect-ok").read_bytes() == BODY


def test_redirect_to_another_port_never_asks_it(server: FaultServer, cache: Path) -> None:
    with serving() as other:
        other.bodies[NAME] = BODY
        server.away = f"http://{other.host}"
        with pytest.raises(HostileError) as caught:
            fetch_from(server, "redirect-away")
        assert sum(other.hits.values()) == 0
        assert other.host in str(caught.value)
    assert on_disk(cache) == set()


def test_redirect_to_a_listed_host_is_followed(server: FaultServer) -> None:
    with serving() as other:
        other.bodies[NAME] = BODY
        server.away = f"http://{other.host}"
        made, section = study(source(server.url("redirect-away", NAME)), hosts=(server.host, other.host))
        assert fetch_section(made, section).paths["counts"].read_bytes() == BODY


def test_md5_is_checked_where_that_is_on_record(server: FaultServer, cache: Path) -> None:
    assert fetch_from(server, "ok", md5=True).read_bytes() == BODY
    (cache / "sources" / "tiny" / NAME).unlink()
    with pytest.raises(IntegrityError, match="md5"):
        fetch_from(server, "flip", md5=True)


def test_transport_encoding_is_undone(server: FaultServer) -> None:
    assert fetch_from(server, "gzipped").read_bytes() == BODY


def test_gz_file_with_an_encoding_label_stays_as_it_is(server: FaultServer) -> None:
    server.bodies["S1.tsv.gz"] = BODY
    made, section = study(source(server.url("labelled-gzip", "S1.tsv.gz"), path="S1.tsv.gz"), hosts=(server.host,))
    assert fetch_section(made, section).paths["counts"].read_bytes() == BODY


def test_missing_file_is_a_network_error_without_retry(server: FaultServer) -> None:
    made, section = study(source(server.url("ok", "nothing.tsv")), hosts=(server.host,))
    with pytest.raises(NetworkError, match="404"):
        fetch_section(made, section)
    assert sum(server.hits.values()) == 1


def test_next_mirror_is_tried_before_giving_up(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrors = [server.url("flip"), server.url("html"), server.url("ok")]
    monkeypatch.setenv("HUMANST_MIRROR", ",".join(mirrors))
    made, section = study(source(None))
    assert fetch_section(made, section).paths["counts"].read_bytes() == BODY
    assert list(server.hits) == [f"/{fault}/tiny/{NAME}" for fault in ("flip", "html", "ok")]


def test_wrong_bytes_everywhere_is_an_integrity_error_that_names_the_places(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HUMANST_MIRROR", f"{tmp_path / 'empty'},{server.url('flip')}")
    made, section = study(source(server.url("ok", "nothing.tsv")), hosts=(server.host,))
    with pytest.raises(IntegrityError) as caught:
        fetch_section(made, section)
    for place in (str(tmp_path / "empty"), server.url("flip")):
        assert place in str(caught.value)


def test_unreachable_host_is_a_network_error() -> None:
    with serving() as gone:
        url, host = gone.url("ok", NAME), gone.host
    made, section = study(source(url), hosts=(host,))
    with pytest.raises(NetworkError) as caught:
        fetch_section(made, section)
    assert caught.value.facts.code == "unreachable"


def test_slow_drip_ends_within_the_time_budget(server: FaultServer) -> None:
    patience = Patience(tries=1, read_s=5.0, budget_s=0.4)
    received: list[bytes] = []

    def attempt(deadline: float) -> str:
        stream(
            server.url("drip", NAME),
            received.append,
            hosts=(server.host,),
            patience=patience,
            deadline=deadline,
            allow_loopback_http=True,
        )
        return "whole"

    start = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        with_patience(patience, attempt)
    assert caught.value.facts.code == "time-budget"
    assert time.monotonic() - start < 2.4
    assert 0 < len(b"".join(received)) < len(BODY)


def test_patience_pauses_longer_each_time() -> None:
    moments: list[float] = []

    def fail(_: float) -> str:
        moments.append(time.monotonic())
        raise TransientError(NetworkError("busy"))

    with pytest.raises(NetworkError, match="Tried 3 times"):
        with_patience(Patience(tries=3, backoff_s=0.05), fail)
    first, second = moments[1] - moments[0], moments[2] - moments[1]
    assert first >= 0.05
    assert second >= 0.1


@pytest.mark.parametrize(
    "url",
    [
        "http://data.example.org/a",
        "https://other.example.org/a",
        "https://data.example.org.evil.example/a",
        "https://data.example.org@evil.example/a",
        "https://user:pass@data.example.org/a",
        "https://data.example.org:8443/a",
        "ftp://data.example.org/a",
        "file:///etc/hostname",
        "https:///a",
        "https://data.example.org:port/a",
    ],
)
def test_addresses_that_are_never_asked(url: str) -> None:
    with pytest.raises(HostileError) as caught:
        check_url(url, ["data.example.org"], allow_loopback_http=True)
    assert "data.example.org" in str(caught.value.facts.expected)


@pytest.mark.parametrize("url", ["https://data.example.org/a", "https://DATA.example.org:443/a?b=c"])
def test_addresses_on_the_list(url: str) -> None:
    check_url(url, ["data.example.org"], allow_loopback_http=False)


def test_plain_http_needs_the_loopback_setting(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "0")
    with pytest.raises(HostileError):
        fetch_from(server, "ok")
    assert sum(server.hits.values()) == 0
