"""Eight readers and two builders on one cache, killed at random moments: no wrong byte, no deadlock, nothing left.

Ten seconds in every run; ``HUMANST_LOAD_SECONDS=300`` is that of ``make faults-long``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from humanst import files
from humanst.fetch import fetch_section
from humanst.fetch.cached import collect_garbage, damaged_files
from tests.faults.cache_load import BUILD, GENERATION_S, N_FILES, body, digest_of, study_of, tree_digest
from tests.faults.fuzz_kinds import epoch, shared_world
from tests.helpers import run_humanst, start_humanst
from tests.server import FaultServer, serving

SECONDS = float(os.environ.get("HUMANST_LOAD_SECONDS", "10"))
# A build takes as long as it takes, and a machine may be busy.
PATIENCE_S = 120
N_GENERATIONS = int(SECONDS / GENERATION_S) + 2
# In every short run, some of the addresses have been read before.
N_ADDRESSES = min(N_GENERATIONS, 20)


@pytest.fixture(scope="module")
def world(shared_tmp: Path) -> Path:
    return shared_world(shared_tmp)


@pytest.fixture
def server(world: Path) -> Iterator[FaultServer]:
    with serving() as running:
        for path in sorted((world / "release").rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                for number in range(N_ADDRESSES):
                    running.bodies[f"r{number}/{path.relative_to(world / 'release').as_posix()}"] = data
        yield running


def leftovers(folder: Path) -> list[str]:
    """What a writer has under no final name: partials, parts of downloads, folders that are being replaced."""
    unfinished = re.compile(r"\.(partial|part|replaced|next)(-|$)")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if unfinished.search(path.name))


def test_readers_and_builders_of_one_cache_are_killed(
    world: Path, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas, cache, mirror = world / "atlas", tmp_path / "cache", tmp_path / "mirror"
    for generation in range(N_GENERATIONS):
        (mirror / f"load{generation}").mkdir(parents=True)
        (mirror / f"load{generation}" / "data").symlink_to(tmp_path / "data")
    (tmp_path / "data").mkdir()
    for number in range(N_FILES):
        (tmp_path / "data" / f"{number}.bin").write_bytes(body(number))
    alone = run_humanst("build-shards", "-o", str(tmp_path / "alone"), *BUILD, atlas=atlas, cache=tmp_path / "own")
    assert alone.returncode == 0, alone.stderr
    request: dict[str, Any] = {
        "folder": str(tmp_path),
        "seconds": SECONDS,
        "patience_s": PATIENCE_S,
        "seed": 7,
        "address": server.url("ok", "r"),
        "addresses": N_ADDRESSES,
        "pairs": digest_of(epoch(world / "release")),
        "built": tree_digest(tmp_path / "alone"),
    }
    (tmp_path / "request").write_text(json.dumps(request))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
    environment |= {
        "HUMANST_CACHE_DIR": str(cache),
        "HUMANST_MIRROR": f"{atlas / 'mirror'},{mirror}",
        "HUMANST_CATALOG": str(atlas / "catalog.yaml"),
        "HUMANST_OFFLINE": "0",
        "HUMANST_ALLOW_LOOPBACK_HTTP": "1",
    }
    first = f"from tests.faults.cache_load import serve; serve({str(tmp_path / 'request')!r})"
    (tmp_path / "err").touch()
    with start_humanst("--version", env=environment, stderr=str(tmp_path / "err"), first=first) as watching:
        assert watching.wait(SECONDS + PATIENCE_S + 60) == 0, (tmp_path / "err").read_text()
    answer = json.loads((tmp_path / "request.answer").read_bytes())
    assert answer["failures"] == []
    assert answer["stuck"] == [], "some wait for a lock that nobody holds"
    # A busy machine takes longer to notice that one is dead than to draw the next.
    assert answer["kills"] >= SECONDS / 4, answer
    assert {"read_files", "read_pairs", "build"} <= answer["did"].keys(), answer
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(cache))
    monkeypatch.setenv("HUMANST_MIRROR", str(mirror))
    n_files, damaged = damaged_files(cache)
    assert n_files >= N_FILES
    assert damaged == []
    # Whoever comes next needs no flag, and goes on with what was left.
    for owner in sorted((cache / "sources").glob("load*")):
        found = fetch_section(*study_of(int(owner.name.removeprefix("load"))))
        assert all(path.read_bytes() == body(int(role[4:])) for role, path in found.paths.items())
        files.sweep_partials(owner)
    for number in (8, 9):
        output = tmp_path / f"built{number}"
        again = run_humanst("build-shards", "-o", str(output), *BUILD, atlas=atlas, cache=cache)
        assert again.returncode == 0, again.stderr
        assert tree_digest(output) == request["built"]
        assert leftovers(output.with_name(f"{output.name}.work")) == []
    collect_garbage(cache)
    assert leftovers(tmp_path) == []
    with (tmp_path / "figures.json").open("w") as out:
        json.dump(answer, out)
