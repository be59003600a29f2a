"""A newcomer follows docs/add_a_study.md word for word, on a small series as GEO has it, served from a folder."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.demo.genes import load_genes
from tests.docs.blocks import blocks_of, lines_of
from tests.helpers import ROOT
from tests.platforms.visium_outs import PITCH_PX, Outs, add_geo_members

SAMPLES = ("GSM100_A1", "GSM101_B2")
STUDY = "smith2024_liver"


def commands() -> list[str]:
    """The lines of the shell blocks, in order."""
    blocks = [block for block in blocks_of("docs/add_a_study.md") if block.language == "sh"]
    return [line for block in blocks for line in lines_of(block.text)]


def tissue(size: tuple[int, int]) -> Image.Image:
    """A stained blob on a pale slide, with some texture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[1], : size[0]]
    inside = ((x - size[0] / 2) / (0.42 * size[0])) ** 2 + ((y - size[1] / 2) / (0.42 * size[1])) ** 2 < 1
    rgb = np.where(inside[..., None], (190, 110, 165), (242, 240, 243)) + rng.normal(0, 9, (*size[::-1], 3))
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def deposit(folder: Path) -> None:
    """``GSE123456_RAW.tar``: two samples, each with matrix, positions, scale factors and hires image, gzipped."""
    real = real_genes()
    with tarfile.open(folder / "GSE123456_RAW.tar", "w") as tar:
        for number, name in enumerate(SAMPLES):
            made = Outs(folder / name, header=False, seed=number, rows=12, columns=24, genes=real)
            made.counts = np.random.default_rng(number).poisson(4.0, made.counts.shape)
            local = made.write()
            width = int((1000 + 24 * PITCH_PX / 2) * 0.1)
            height = int((800 + 12 * PITCH_PX * np.sqrt(3) / 2) * 0.1)
            image = io.BytesIO()
            tissue((width, height)).save(image, format="PNG")
            add_geo_members(tar, name, local, image.getvalue())


def real_genes() -> list[tuple[str, str]]:
    """Human genes by their Ensembl ids."""
    genes = load_genes()
    return list(zip(genes.ensembl_ids, genes.symbols, strict=True))[:300]


def run_line(line: str) -> None:
    """Run a line as a shell would; humanst itself in this process, which saves its start and imports each time."""
    program, *arguments = shlex.split(line)
    if program == "humanst":
        with pytest.raises(SystemExit) as ended:
            run_and_exit(humanst, arguments)
        assert not ended.value.code, line
    else:
        subprocess.run(line, shell=True, check=True)  # noqa: S602


def test_a_newcomer_adds_a_geo_study_by_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deposit(tmp_path)
    mirror = tmp_path / "mirror" / STUDY
    mirror.mkdir(parents=True)
    (mirror / "GSE123456_RAW.tar").symlink_to(tmp_path / "GSE123456_RAW.tar")
    monkeypatch.setenv("HUMANST_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    # One worker builds in this process.
    monkeypatch.setattr("humanst.runner.default_workers", lambda: 1)
    lines = commands()
    assert [shlex.split(line)[:3] for line in lines if "curate" in line] == [
        ["humanst", "curate", "propose"],
        ["humanst", "curate", "check"],
        ["humanst", "curate", "sheet"],
    ]
    for line in lines:
        run_line(line)
    assert Image.open(tmp_path / "A1.png").size[0] > 1000
    stores = sorted(path.name for path in (tmp_path / "store" / "sections").glob("*.zarr"))
    assert stores == [f"{STUDY}_{name}.zarr" for name in SAMPLES]
    kept = json.loads((tmp_path / "cache" / "licenses.json").read_text())["accepted"]
    assert [(row["license"], row["owner"]) for row in kept] == [("LicenseRef-unknown", STUDY)]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/add_a_study.md"])
def test_every_file_the_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:tests|docs|curation|schemas|humanst)/[\w./-]+)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
