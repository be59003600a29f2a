"""Every block of code in docs/loading.md, and README's part on loading, as it stands there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.load.conftest import write_release
from tests.load.forked import Rank, run_ranks

pytestmark = pytest.mark.xdist_group("ddp")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/loading.md"
SIZES = [60, 60, 20]


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def block(word: str) -> str:
    """The one block of the page that has this word."""
    (found,) = [code for code in blocks(PAGE.read_text()) if word in code]
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_release(tmp_path_factory.mktemp("docs") / "r", {"train": SIZES, "val": [7]})


@pytest.fixture
def world(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the release at the places the pages name."""
    (tmp_path / "build/demo").mkdir(parents=True)
    for place in ("build/demo/release", "humanst-1.0.0"):
        (tmp_path / place).symlink_to(made.path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_the_blocks_that_are_run_here() -> None:
    known = ('train_step(batch["image"]', "init_process_group", "PairDataset", "state_dict")
    assert len(blocks(PAGE.read_text())) == len(known)
    assert all(block(word) for word in known)


def test_three_lines(torch: ModuleType, made: Any, world: Path) -> None:
    seen = []

    def train_step(image: Any, pathways: Any, mask: Any) -> None:
        assert image.shape[1:] == (3, 224, 224)
        assert image.dtype == torch.uint8
        assert image.is_contiguous(memory_format=torch.channels_last)
        assert pathways.shape == mask.shape == (len(image), 5)
        seen.append(len(image))

    exec(block('train_step(batch["image"]'), {"train_step": train_step})  # noqa: S102
    assert sum(seen) == sum(SIZES)


def test_readme(torch: ModuleType, made: Any, world: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (code,) = blocks(text.split("## Load a release")[1].split("\n## ")[0])
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    batch = names["batch"]
    assert tuple(batch["image"].shape[1:]) == (3, 224, 224)
    assert batch["pathways"].shape == batch["mask"].shape
    assert set(batch) >= {"metadata", "key", "uid", "label"}


def test_without_torch(made: Any, world: Path) -> None:
    code = f"import sys\nsys.modules['torch'] = None\n{block('PairDataset')}\n"
    code += "print(len(dataset), dataset.pathways().shape, dataset.to_anndata().shape, dataset[0]['image'].shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    n = sum(document["platform"] == "visium" for document in made.documents.values() if document["split"] == "train")
    assert done.stdout == f"{n} ({n}, 5) ({n}, 5) (224, 224, 3)\n"


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def test_training_and_evaluation_on_two_ranks(torch: ModuleType, world: Path, tmp_path: Path) -> None:
    """With the environment that torchrun gives: 140 pairs are one step of 2 x 64, and 12 stay out."""
    script = tmp_path / "train.py"
    script.write_text(block("init_process_group"))
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    common |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ranks = [
        Rank(
            [str(script)],
            {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            str(tmp_path / f"stdout-{rank}"),
            str(tmp_path / f"stderr-{rank}"),
        )
        for rank in range(2)
    ]
    codes = run_ranks(ranks, os.environ | common)
    told = [((tmp_path / f"stdout-{rank}").read_text(), (tmp_path / f"stderr-{rank}").read_text()) for rank in range(2)]
    assert codes == [0, 0], told
    printed = [out.splitlines() for out, _ in told]
    assert len(printed[0]) == 5
    assert printed[1] == []
    assert all(re.fullmatch(r"epoch \d: mean squared error [\d.]+ over 7 pairs", line) for line in printed[0])
    assert "12 of 140 pairs are left out" in told[0][1]


def test_stop_and_go_on(torch: ModuleType, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run twice: the first run is ended after its second batch, the second one goes on with the third."""
    from humanst import dataloader

    expected = [batch["key"] for batch in dataloader("humanst-1.0.0", 64, workers=0)]
    seen: list[list[str]] = []

    def train_step(batch: dict[str, Any]) -> None:
        seen.append(batch["key"])
        if len(seen) == 3:
            raise KeyboardInterrupt

    code = block("state_dict")
    with pytest.raises(KeyboardInterrupt):
        exec(code, {"train_step": train_step})  # noqa: S102
    assert seen == expected
    del seen[2:]
    exec(code, {"train_step": lambda batch: seen.append(batch["key"])})  # noqa: S102
    assert seen[:3] == expected, "the third was begun, not done: it comes again, and none is left out"
    assert len(seen) == 15
