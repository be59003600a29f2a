"""What the tests of the documentation share: a small release with its work folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers import run_humanst


@pytest.fixture(scope="session")
def docs_release(shared_tmp: Path, little_atlas: Path) -> Path:
    """A demo section to train on and two of other donors to test with, with counts; the work folder lies beside it."""
    release = shared_tmp / "docs" / "release"
    with FileLock(shared_tmp / "docs_release.lock"):
        if not (release / "MANIFEST.json").exists():
            release.parent.mkdir(exist_ok=True)
            assign = release.with_name("assign.csv")
            assign.write_text("sample_id,split\ndemo_st_A1,test\ndemo_st_B1,test\ndemo_visium_v1_P1,train\n")
            options = [
                "-o",
                str(release),
                "--assign",
                str(assign),
                "--shard-pairs",
                "29",
                "--targets",
                "counts",
                "--reliability",
            ]
            result = run_humanst("build-shards", *options, atlas=little_atlas, cache=shared_tmp / "docs" / "cache")
            assert result.returncode == 0, result.stderr
    return release
