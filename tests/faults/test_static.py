"""What runs code that comes with data, or writes where data says, is not in the code, and cannot come in unseen."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

# Statement -> the rule of ruff that refuses it under the project's own settings.
PLANTED = {
    "import pickle\nx = pickle.loads(b'')": "TID251",
    "from pickle import load": "TID251",
    "import marshal": "TID251",
    "import shelve": "TID251",
    "import dill": "TID251",
    "import cloudpickle": "TID251",
    "import joblib\nx = joblib.load('x')": "TID251",
    "import pandas as pd\nx = pd.read_pickle('x')": "TID251",
    "import yaml\nx = yaml.load('x', Loader=yaml.SafeLoader)": "TID251",
    "import yaml\nx = yaml.unsafe_load('x')": "TID251",
    "import yaml\nx = yaml.load('x', Loader=yaml.UnsafeLoader)": "S506",
    "import webdataset": "TID251",
    "import shutil\nshutil.unpack_archive('x')": "TID251",
    "import tarfile\ntarfile.open('x').extractall()": "S202",
    "import torch\nx = torch.load('x')": "TID251",
    "from torch import load": "TID251",
    "import subprocess\nsubprocess.run('x', shell=True)": "S602",
    "import os\nos.system('x')": "TID251",
    "x = eval('1')": "S307",
    "exec('1')": "S102",
    "import tempfile\nx = tempfile.mktemp()": "S306",
    "import requests\nx = requests.get('https://x', verify=False, timeout=1)": "S501",
    "assert input('x')": "S101",
}
# What no rule of ruff tells: statement -> what is said of it here.
HIDDEN = {
    "import numpy as np\nx = np.load('x', allow_pickle=True)": "numpy.load with pickles",
    "import numpy\nx = numpy.load('x', allow_pickle=flag)": "numpy.load with pickles",
    "import zipfile\nzipfile.ZipFile('x').extractall('y')": "unpacking by the names of an archive",
    "archive.extract(member)": "unpacking by the names of an archive",
    "x = torch.load('x')": "torch.load with code",
    "x = torch.load('x', weights_only=False)": "torch.load with code",
    "run('x', shell=True)": "a shell",
    "x = Image.open('x')": "Pillow with every format",
    "x = PIL.Image.open('x', 'r')": "Pillow with every format",
    "x = pyvips.Image.tiffload('x')": "an image without fail_on",
    "x = pyvips.Image.new_from_file('x', access='random')": "an image without fail_on",
}
LOADERS = {"jpegload", "pngload", "tiffload", "new_from_file", "new_from_source", "new_from_buffer", "thumbnail_image"}


def offences(text: str) -> Iterator[tuple[int, str]]:
    """Line and reason of every call that opens a way for data to run or to be written elsewhere."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
            yield node.lineno, "numpy.load with pickles"
        # py7zr has no other way to read a member; with a factory it writes into memory.
        if name.endswith((".extractall", ".extract")) and "factory" not in given:
            yield node.lineno, "unpacking by the names of an archive"
        if name == "torch.load" and given.get("weights_only") != "True":
            yield node.lineno, "torch.load with code"
        if name in ("Image.open", "PIL.Image.open") and "formats" not in given:
            yield node.lineno, "Pillow with every format"
        if given.get("shell", "False") != "False":
            yield node.lineno, "a shell"
        if name.rpartition(".")[2] in LOADERS and "fail_on" not in given:
            yield node.lineno, "an image without fail_on"


@pytest.mark.parametrize("statement", HIDDEN)
def test_what_is_looked_for_is_found(statement: str) -> None:
    assert [reason for _, reason in offences(statement)] == [HIDDEN[statement]]


def test_the_code_opens_no_way_for_data_to_run() -> None:
    paths = [path for folder in ("humanst", "stamp_train", "curation") for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 300
    assert [f"{path}:{line}: {why}" for path in paths for line, why in offences(path.read_text())] == []


def test_ruff_refuses_each_with_the_settings_of_the_project(tmp_path: Path) -> None:
    """In one run: a file a statement, below a folder that is no part of the tests."""
    for number, statement in enumerate(PLANTED):
        (tmp_path / f"planted_{number}.py").write_text(f'"""A module."""\n\n{statement}\n')
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), "--output-format", "concise"]
    told = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.returncode == 1, told.stderr
    for number, (statement, rule) in enumerate(PLANTED.items()):
        lines = [line for line in told.stdout.splitlines() if f"planted_{number}.py:" in line]
        assert any(f" {rule} " in line for line in lines), (statement, lines)


def test_libvips_opens_no_format_that_it_does_not_trust(tmp_path: Path) -> None:
    """A .v file names the file its pixels are in; once an image was opened by humanst, none opens any more."""
    script = """
import sys
import numpy as np
import pyvips
from pathlib import Path
folder = Path(sys.argv[1])
pixels = pyvips.Image.new_from_memory(np.full((64, 64, 3), 90, np.uint8).data, 64, 64, 3, "uchar")
pixels.write_to_file(str(folder / "x.v"))
pixels.write_to_file(str(folder / "x.tif"), tile=True)
assert pyvips.Image.new_from_file(str(folder / "x.v")).width == 64
from humanst.tiles.raster import open_raster
assert open_raster(folder / "x.tif").width == 64
try:
    pyvips.Image.new_from_file(str(folder / "x.v"))
except pyvips.Error as error:
    print("refused")
"""
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert told.stdout == "refused\n", told.stderr
