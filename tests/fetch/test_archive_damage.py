"""What is no whole archive: web pages, cut files, damaged headers; nothing on disk, and the right exit code."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from humanst.errors import HumanstError
from humanst.fetch import fetch_section
from humanst.fetch.archives import list_members, read_member
from tests.fetch.conftest import on_disk, study
from tests.fetch.test_archives import archived, make_tar, make_zip, through_a_link
from tests.helpers import output_json, run_humanst
from tests.studies import ST_RECIPE, write_world

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>\n" * 40
NO_ARCHIVES: dict[str, tuple[Callable[[], bytes], str, int]] = {
    "html called tar": (lambda: HTML, "archive-unreadable", 5),
    "html called zip, with its signature": (lambda: b"PK\x03\x04" + HTML, "archive-cut", 6),
    "gzipped html called tar.gz": (lambda: gzip.compress(HTML), "archive-unreadable", 5),
    "nothing": (lambda: b"", "archive-unreadable", 5),
    "half a tar": (lambda: make_tar()[: len(make_tar().rstrip(b"\0")) // 2], "archive-cut", 6),
    "half a tar.gz": (lambda: make_tar(compress=True)[: len(make_tar(compress=True)) // 2], "archive-cut", 6),
    "half a zip": (lambda: make_zip()[: len(make_zip()) // 2], "archive-cut", 6),
    "a zip without its last byte": (lambda: make_zip()[:-1], "archive-cut", 6),
}


@pytest.mark.parametrize("fault", NO_ARCHIVES)
def test_what_is_no_whole_archive_leaves_nothing_behind(mirror: Path, cache: Path, tmp_path: Path, fault: str) -> None:
    make, code, exit_code = NO_ARCHIVES[fault]
    sources = archived(mirror, make(), ("counts", "GSM2_B_matrix.h5"))
    before = on_disk(tmp_path)
    with pytest.raises(HumanstError) as caught:
        fetch_section(*study(*sources))
    assert (caught.value.facts.code, caught.value.exit_code) == (code, exit_code)
    assert caught.value.facts.file
    assert on_disk(tmp_path) - before == {"cache/sources/tiny/GSE1_RAW.tar"}


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["tar", "tar.gz", "zip"]), data=st.data())
def test_damage_in_headers_is_an_error_of_ours(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes changed at random where headers lie, checksums mended: read as before, or one of our own errors."""
    body = bytearray(make_zip() if kind == "zip" else make_tar(compress=kind == "tar.gz"))
    headers = [offset for offset in range(0, len(body) - 512, 512) if body[offset : offset + 3] == b"GSM"] or [0]
    for _ in range(data.draw(st.integers(1, 4))):
        back = kind == "zip" and data.draw(st.booleans())
        at = len(body) - data.draw(st.integers(1, 400)) if back else 0
        if not back:
            at = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, 511))
        body[at] = data.draw(st.sampled_from([0, 0x80, 255, *b"12Lgxp"]))
    for offset in headers if kind == "tar" else []:
        body[offset + 148 : offset + 156] = b" " * 8
        body[offset + 148 : offset + 156] = b"%06o\0 " % sum(body[offset : offset + 512])
    path = tmp_path_factory.mktemp("damaged") / "archive"
    path.write_bytes(body)
    for attempt in (list_members, lambda path, name: b"".join(read_member(path, "GSM2_B_matrix.h5", name=name))):
        with suppress(HumanstError):
            attempt(path, name="archive")


def test_the_command_tells_each_kind_by_its_exit_code(tmp_path: Path) -> None:
    bodies = {"H1": through_a_link(), "U1": HTML, "C1": make_tar()[:3000]}
    for name, body in bodies.items():
        (tmp_path / f"{name}.tar").write_bytes(body)
    world = write_world(
        tmp_path / "world",
        {"tiny": {name: {"archive": tmp_path / f"{name}.tar"} for name in bodies}},
        {"tiny": {**ST_RECIPE, "options": {"members": {"counts": "data/wanted"}}}},
        gene_sets=tmp_path / "U1.tar",
    )
    cache = tmp_path / "fetched"
    result = run_humanst("fetch", "tiny", "--json", atlas=world.folder, cache=cache)
    assert result.returncode == 4, result.stderr
    failures = {row["item"]: row["exit_code"] for row in output_json(result)["failures"]}
    assert failures == {"tiny_H1": 8, "tiny_U1": 5, "tiny_C1": 6}
    assert all(name.startswith("sources/") for name in on_disk(cache)), "nothing was unpacked"
