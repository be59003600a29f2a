"""What loading may import, seen from a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

NEVER = ("anndata", "pyvips", "spatialdata", "scanpy", "humanst.catalog", "humanst.shards", "humanst.tiles")


def modules_after(script: str) -> set[str]:
    code = f"{script}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_costs_nothing() -> None:
    loaded = modules_after("import humanst.load")
    assert not loaded & {*NEVER, "torch", "numpy", "pyarrow", "pandas"}


def test_reading_pairs_needs_no_torch(release: Any) -> None:
    script = f"""
import sys
sys.modules["torch"] = None  # any import of torch fails from here on
from humanst.load import PairDataset, open_release
from humanst.load.stream import PlainPairStream
dataset = PairDataset(open_release({str(release.path)!r}), "train")
assert dataset[0]["image"].shape == (224, 224, 3)
assert len([pair for pair in PlainPairStream(dataset.release, "train")]) == len(dataset) == 51
"""
    loaded = modules_after(script)
    assert not loaded & {*NEVER, "torch.utils"}


def test_where_torch_is_not_installed_the_stream_is_a_plain_iterable(release: Any) -> None:
    script = f"""
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
import pickle
from humanst.load import PairStream
stream = PairStream({str(release.path)!r}, "train", seed=1)
assert len([pair["key"] for pair in pickle.loads(pickle.dumps(stream))]) == 51
"""
    assert "torch" not in modules_after(script)


def test_unknown_names_are_attribute_errors() -> None:
    script = """
import humanst.load, humanst.load.stream
for module in (humanst.load, humanst.load.stream):
    try:
        module.PairBucket
    except AttributeError as error:
        assert "PairBucket" in str(error)
    else:
        raise SystemExit(1)
assert set(dir(humanst.load)) >= {"PairDataset", "PairStream", "dataloader", "open_release", "Release", "collate"}
"""
    modules_after(script)


def test_a_dataloader_without_torch_says_what_to_install(release: Any) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
from humanst.errors import UsageError
from humanst.load import dataloader
for stream in (False, True):
    try:
        dataloader({str(release.path)!r}, 8, stream=stream)
    except UsageError as error:
        assert "humanst[train]" in str(error)
    else:
        raise SystemExit(1)
"""
    modules_after(script)
