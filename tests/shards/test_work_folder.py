"""What lies in a work folder is believed only as far as it can be checked."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from click.testing import Result

from tests.shards.conftest import SHARD_PAIRS, Made, digests

Run = Callable[[Sequence[str]], Result]


def test_a_patch_that_changed_after_it_was_cut_is_not_packed_and_other_codecs_are_told(
    made: Made, humanst_here: Run, tmp_path: Path
) -> None:
    work, release = tmp_path / "out.work", tmp_path / "out"
    shutil.copytree(made.work, work)
    (extract,) = (work / "extract").glob("demo_st_A1-*")
    card = json.loads((extract / "card.json").read_bytes())
    (extract / "card.json").write_text(json.dumps(card | {"codecs": card["codecs"] | {"simplejpeg": "0.0.1"}}))
    arguments = ["build-shards", "-o", str(release), "--workers", "1", "--shard-pairs", SHARD_PAIRS, "--json"]
    patches = extract / "patches.bin"
    whole = patches.read_bytes()
    patches.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    result = humanst_here(arguments)
    assert result.exception is not None
    facts = result.exception.facts  # type: ignore[attr-defined]
    assert (result.exception.exit_code, facts.code, facts.section) == (6, "extract-damaged", "demo_st_A1")  # type: ignore[attr-defined]
    assert not release.exists()

    patches.write_bytes(whole)
    result = humanst_here(arguments)
    assert result.exception is None
    findings = json.loads((release / "MANIFEST.json").read_bytes())["findings"]
    (told,) = (finding for finding in findings if finding["code"] == "codecs-differ")
    assert "simplejpeg 0.0.1 (1 sections)" in told["found"]


def test_what_a_killed_finish_left_anywhere_is_not_in_the_release(
    made: Made, humanst_here: Run, tmp_path: Path
) -> None:
    """Some libraries write into a folder aside, which is as much a leftover as a file aside."""
    work, release = tmp_path / "out.work", tmp_path / "out"
    shutil.copytree(made.work, work)
    plan = tmp_path / "plan.json"
    assert humanst_here(["plan", "-o", str(plan), "--shard-pairs", SHARD_PAIRS]).exception is None
    build = ["build-shards", "--plan", str(plan), "-o", str(release), "--workers", "1"]
    assert humanst_here([*build, "--stage", "extract"]).exception is None
    assert humanst_here([*build, "--stage", "pack"]).exception is None
    (staging,) = tmp_path.glob(".out.next-*")
    gone = subprocess.Popen(["true"])
    gone.wait()
    owner = f"{re.sub('[^A-Za-z0-9-]', '-', socket.gethostname())}-{gone.pid}-0123abcd"
    for left in (f"index/.val.parquet.partial-{owner}/val.parquet", f"targets/hvg/.columns.parquet.partial-{owner}/x"):
        (staging / left).parent.mkdir(parents=True)
        (staging / left).write_bytes(b"PAR1")
    (staging / f".samples.parquet.partial-{owner}").mkdir()
    assert humanst_here([*build, "--stage", "finish"]).exception is None
    assert digests(release) == digests(made.release)
    assert {path for path in release.rglob("*") if path.is_dir()} == {
        release / path.relative_to(made.release) for path in made.release.rglob("*") if path.is_dir()
    }
