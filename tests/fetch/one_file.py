"""A catalog of one study of one section with one file, and the settings to fetch it from a server of faults."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import yaml

from tests.helpers import ROOT
from tests.server import FaultServer

BODY = random.Random(4).randbytes(3 << 20)
NAME = "data/large.bin"


def write_catalog(folder: Path) -> Path:
    """Write it; returns the path of catalog.yaml."""
    document = {
        "schema": "humanst.catalog/1",
        "studies": {
            "tiny": {
                "title": "Tiny",
                "platform": "st",
                "license": "CC0-1.0",
                "license_source": "made here",
                "citation": "none",
                "hosts": [],
                "sections": {
                    "S1": {
                        "files": {
                            "counts": {
                                "path": NAME,
                                "url": None,
                                "bytes": len(BODY),
                                "sha256": hashlib.sha256(BODY).hexdigest(),
                            }
                        }
                    }
                },
            }
        },
        "listed": {},
        "resources": {},
        "releases": {},
    }
    (folder / "curation" / "tiny").mkdir(parents=True)
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(document))
    with (ROOT / "curation/her2st/samples.csv").open() as lines:
        header, first = next(lines), next(lines)
    samples = header + first.replace("her2st_A1,A1,", "tiny_S1,S1,")
    (folder / "curation" / "tiny" / "samples.csv").write_text(samples)
    (folder / "curation" / "tiny" / "recipe.yaml").write_text((ROOT / "curation/her2st/recipe.yaml").read_text())
    return path


def online_env(server: FaultServer, fault: str, catalog: Path, cache: Path, **more: str) -> dict[str, str]:
    return {
        "HUMANST_MIRROR": f"http://{server.host}/{fault}",
        "HUMANST_CATALOG": str(catalog),
        "HUMANST_CACHE_DIR": str(cache),
        "HUMANST_OFFLINE": "0",
        "HUMANST_ALLOW_LOOPBACK_HTTP": "1",
        "NO_PROXY": "*",
        **more,
    }
