"""What lies in a work folder is believed only as far as it can be checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from click.testing import Result

from tests.shards.conftest import Made

Run = Callable[[Sequence[str]], Result]


def test_a_patch_that_changed_after_it_was_cut_is_not_packed_and_other_codecs_are_told(
    made: Made, humanst_here: Run, tmp_path: Path
) -> None:
    work, release = tmp_path / "out.work", tmp_path / "out"
    shutil.copytree(made.work, work)
    (extract,) = (work / "extract").glob("demo_st_A1-*")
    card = json.loads((extract / "card.json").read_bytes())
    (extract / "card.json").write_text(json.dumps(card | {"codecs": card["codecs"] | {"simplejpeg": "0.0.1"}}))
    arguments = ["build-shards", "-o", str(release), "--workers", "1", "--shard-pairs", "100", "--json"]
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
