"""Fetch real sections over HTTP where there is a connection, build where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from humanst.catalog import load_catalog
from tests.helpers import output_json, run_humanst
from tests.server import serving


@pytest.mark.real
def test_fetch_with_a_connection_then_build_without(real_data: Path, tmp_path: Path) -> None:
    section = load_catalog().study("her2st").section("A1")
    with serving() as server:
        for source in section.sources:
            server.bodies[f"her2st/{source.path}"] = (real_data / "her2st" / source.path).read_bytes()
        online = {
            "HUMANST_OFFLINE": "0",
            "HUMANST_ALLOW_LOOPBACK_HTTP": "1",
            "HUMANST_MIRROR": f"http://{server.host}/resume",
            "NO_PROXY": "*",
        }
        arguments = ("fetch", "her2st", "--sections", "A1", "--json")
        fetched = output_json(run_humanst(*arguments, cache=tmp_path / "cache", env=online))
        assert {row["role"] for row in fetched["files"]} == {source.role for source in section.sources}
        # Every connection was cut in the middle once, and gone on with.
        for source in section.sources:
            path = f"/resume/her2st/{source.path}"
            assert server.hits[path] == 2
            assert server.sent[path] == source.bytes
    command = ("build", "--sections", "her2st_A1", "-o", str(tmp_path / "work"), "--json")
    result = run_humanst(*command, cache=tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    assert [row["sample_id"] for row in output_json(result)["sections"]] == ["her2st_A1"]
