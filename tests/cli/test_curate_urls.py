"""``humanst curate propose URL...``: an entry from addresses alone; sizes only if a host is asked, no hash at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from humanst.catalog import load_catalog
from humanst.catalog.checking import check_catalog
from humanst.fetch.probe import Probe, probe
from humanst.settings import Settings
from tests.helpers import output_json, run_humanst

TENX = "https://cf.10xgenomics.com/samples/spatial-exp/1.1.0/V1_Lung/V1_Lung_"
GEO = "https://ftp.ncbi.nlm.nih.gov/geo/samples/GSM100nnn/GSM100001/suppl/GSM100001_"
VISIUM = ("filtered_feature_bc_matrix.h5", "tissue_positions_list.csv.gz", "scalefactors_json.json.gz", "image.tif")


def entry(folder: Path) -> dict:
    content = yaml.safe_load((folder / "catalog.yaml").read_text())
    (study,) = content["studies"].values()
    return study


def draft(tmp_path: Path, *arguments: str) -> Path:
    result = run_humanst("curate", "propose", *arguments, "--study", "x2024", "-o", str(tmp_path / "draft"))
    assert result.returncode == 0, result.stderr
    return tmp_path / "draft"


def addresses(study: dict) -> dict[str, dict[str, str]]:
    """Section -> role -> address, as the catalog's rule makes it."""
    return {
        name: {role: file.get("url") or study["base_url"] + file["path"] for role, file in section["files"].items()}
        for name, section in study["sections"].items()
    }


def test_files_of_one_sample(tmp_path: Path) -> None:
    folder = draft(tmp_path, *(GEO + name for name in VISIUM))
    study = entry(folder)
    (found,) = addresses(study).values()
    assert found == dict(zip(("counts", "positions", "scalefactors", "image"), (GEO + n for n in VISIUM), strict=True))
    assert (study["platform"], study["hosts"]) == ("visium", ["ftp.ncbi.nlm.nih.gov"])
    assert study["license"] == "LicenseRef-unknown"
    assert all(set(file) <= {"path", "url"} for s in study["sections"].values() for file in s["files"].values())
    assert [item.text() for item in check_catalog(folder).findings] == []
    assert len(load_catalog(folder / "catalog.yaml").study("x2024").sections) == 1


def test_what_the_vendor_publishes(tmp_path: Path) -> None:
    names = ["filtered_feature_bc_matrix.h5", "spatial.tar.gz", "image.tif", "web_summary.html"]
    study = entry(draft(tmp_path, *(TENX + name for name in names)))
    assert addresses(study) == {
        "V1_Lung": {"counts": TENX + names[0], "archive": TENX + names[1], "image": TENX + names[2]}
    }


def test_a_geo_series_and_its_members(tmp_path: Path) -> None:
    """The address is GEO's own rule; here the one of GSE243280, as the shipped catalog has it."""
    members = tmp_path / "members.txt"
    members.write_text("".join(f"GSM{n}_S{n}_{name}\n" for n in (1, 2) for name in VISIUM[:3]))
    folder = draft(tmp_path, "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE243280", "--members", str(members))
    study = entry(folder)
    raw = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE243nnn/GSE243280/suppl/GSE243280_RAW.tar"
    assert addresses(study) == {name: {"archive": raw} for name in ("GSM1_S1", "GSM2_S2")}
    assert study["accessions"] == {"geo": "GSE243280"}
    recipe = yaml.safe_load((folder / "curation" / "x2024" / "recipe.yaml").read_text())
    assert recipe["options"]["members"]["counts"].replace("{section}", "GSM2_S2") == f"GSM2_S2_{VISIUM[0]}"


def test_members_may_have_spaces_and_must_be_text(tmp_path: Path) -> None:
    """Names a line each, as `tar tf` prints them, on any system's line ends."""
    members = tmp_path / "members.txt"
    members.write_bytes("".join(f"my data/GSM1_S1_{name}\r\n" for name in VISIUM[:3]).encode())
    recipe = yaml.safe_load(
        (draft(tmp_path, "GSE243280", "--members", str(members)) / "curation" / "x2024" / "recipe.yaml").read_text()
    )
    found = {role: name.replace("{section}", "GSM1_S1") for role, name in recipe["options"]["members"].items()}
    assert found["counts"] == f"my data/GSM1_S1_{VISIUM[0]}"
    members.write_bytes(b"\xff\xfe\x00")
    result = run_humanst("curate", "propose", "GSE243280", "--members", str(members))
    assert result.returncode == 2
    assert "members.txt" in result.stderr


def test_files_of_two_hosts_keep_their_addresses(tmp_path: Path) -> None:
    urls = [GEO + name for name in VISIUM[:3]]
    other = "https://zenodo.org/records/1/files/GSM100001_image.tif"
    study = entry(draft(tmp_path, *urls, other))
    assert "base_url" not in study
    assert sorted(url for files in addresses(study).values() for url in files.values()) == sorted(urls)
    assert study["hosts"] == ["ftp.ncbi.nlm.nih.gov", "zenodo.org"]


def test_what_cannot_be_told_is_said() -> None:
    result = run_humanst("curate", "propose", "https://example.org/data/thing.bin", "--json")
    content = output_json(result)
    assert (content["platform"], content["sections"]) == ("unknown", [])
    assert any("thing.bin" in sentence for sentence in content["could_not_tell"])


@pytest.mark.parametrize(
    "address", ["http://example.org/a.h5", "ftp://example.org/a.h5", "nowhere", "https://x@h.org/a"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    result = run_humanst("curate", "propose", address)
    assert result.returncode == 2
    assert "GSE1" in result.stderr


def test_a_draft_is_not_written_over(tmp_path: Path) -> None:
    folder = draft(tmp_path, GEO + VISIUM[0])
    before = (folder / "catalog.yaml").read_bytes()
    result = run_humanst("curate", "propose", GEO + VISIUM[3], "--study", "x2024", "-o", str(folder))
    assert result.returncode == 2
    assert (folder / "catalog.yaml").read_bytes() == before


@contextmanager
def heads() -> Iterator[tuple[str, list[str]]]:
    """A host that says how large ``/a`` is, sends ``/b`` on, and does not know the rest; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response({"/a": 200, "/b": 302}.get(self.path, 404))
            self.send_header("Content-Length", "12345")
            if self.path == "/b":
                self.send_header("Location", "https://cdn.example.org/b")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_one_head_request_tells_the_size_or_the_next_host() -> None:
    online = Settings(offline=False, allow_loopback_http=True)
    with heads() as (base, asked):
        assert probe(f"{base}/a", online) == Probe(bytes=12345)
        assert probe(f"{base}/b", online) == Probe(sends_to="cdn.example.org")
        assert probe(f"{base}/c", online) == Probe()
        assert asked == ["HEAD /a", "HEAD /b", "HEAD /c"]
        assert probe(f"{base}/a", Settings(offline=True, allow_loopback_http=True)) == Probe()
        assert len(asked) == 3
    assert probe(f"{base}/a", online) == Probe(), "a host that is gone says nothing"
