"""A folder in which the blocks of a page run one after the other, and the files that a page takes for granted."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.docs.blocks import Block, lines_of
from tests.docs.parsing import Line, split_line
from tests.fetch.hub_server import TOKEN, hub_serving
from tests.fetch.small_release import sha
from tests.helpers import ROOT, run_humanst

RELEASE_NAMES = ("RELEASE", "release", "PUBLIC", "build/demo/release", "humanst-1.0.0")


class World:
    """One page's folder, settings and Python names.

    Parameters
    ----------
    folder
        Where it all happens; the process is there while Python runs.
    request
        The test's, to ask for what is made once.
    """

    def __init__(self, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.request = request
        self.monkeypatch = monkeypatch
        self.names: dict[str, Any] = {"RELEASE": "RELEASE", "CACHE": "cache"}
        # What a page calls an address -> the server of this machine that stands for it.
        self.addresses: dict[str, str] = {}
        self.servers = ExitStack()
        request.addfinalizer(self.servers.close)
        # Not the settings of whoever runs the tests.
        self.settings = {"HUMANST_CACHE_DIR": str(folder / "cache"), "HUMANST_OFFLINE": "1"}
        monkeypatch.chdir(folder)
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)

    def run(self, block: Block) -> None:
        """Put the files that the block asks for into the folder, then run it."""
        settings = self.settings
        for name in block.files:
            self.provide(name)
        self._run(block)
        if HERE.intersection(block.files):
            self.settings, self.addresses = settings, {}

    def _run(self, block: Block) -> None:
        if "saved as" in block.said:
            (self.folder / block.said["saved as"]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), self.names)  # noqa: S102
        elif block.language == "sh":
            for line in lines_of(block.text):
                self.run_line(line, block.place)

    def run_line(self, text: str, place: str) -> None:
        """Run a line as a shell would."""
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        line = split_line(text)
        if line.program == "export":
            self.settings |= dict(word.split("=", 1) for word in line.words[1:])
            return
        if line.program == "unset":
            self.settings = {name: value for name, value in self.settings.items() if name not in line.words}
            return
        if line.settings and not line.words:
            self.settings |= line.settings
            return
        if line.program == "humanst":
            code, told = self._humanst(line)
        elif line.program == "stamp-train":
            code, told = self._stamp_train(line)
        else:
            environment = os.environ | self.settings | {"PYTHONPATH": str(ROOT)}
            environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
            done = subprocess.run(
                ["bash", "-c", text], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
            )
            code, told = done.returncode, done.stdout + done.stderr
        assert code == 0, f"{place}: {text}: exit code {code}\n{told[-3000:]}"

    def _humanst(self, line: Line) -> tuple[int, str]:
        settings = self.settings | {"COLUMNS": "200"} | line.settings
        cache = settings.pop("HUMANST_CACHE_DIR")
        done = run_humanst(*line.words[1:], env=settings, cache=self.folder / cache, cwd=self.folder)
        if line.output:
            (self.folder / line.output).write_text(done.stdout, encoding="utf-8")
        return done.returncode, done.stdout + done.stderr

    def _stamp_train(self, line: Line) -> tuple[int, str]:
        from stamp_train.cli import main

        self.monkeypatch.setattr("signal.signal", lambda *_: None)
        captured = self.request.getfixturevalue("capsys")
        with pytest.raises(SystemExit) as ended:
            main(line.words[1:])
        told = captured.readouterr()
        if line.output:
            (self.folder / line.output).write_text(told.out, encoding="utf-8")
        return int(ended.value.code or 0), told.out + told.err

    def provide(self, name: str) -> None:
        """Put a thing into the folder that the page takes for granted."""
        if name in RELEASE_NAMES:
            self._release(self.folder / name)
        else:
            MAKERS[name](self)

    def _release(self, place: Path) -> None:
        """A release of three demo sections, with its work folder; both may be changed."""
        made: Path = self.request.getfixturevalue("docs_release")
        place.parent.mkdir(parents=True, exist_ok=True)
        for end in ("", ".work"):
            shutil.copytree(f"{made}{end}", f"{place}{end}", copy_function=os.link)

    def demo(self) -> None:
        """The demo's catalog and its vendor files."""
        atlas: Path = self.request.getfixturevalue("little_atlas")
        place = self.folder / "build/demo/atlas"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(atlas)

    def on_the_demo(self) -> None:
        """As after the export of the quick start."""
        atlas: Path = self.request.getfixturevalue("little_atlas")
        self.settings |= {"HUMANST_CATALOG": str(atlas / "catalog.yaml"), "HUMANST_MIRROR": str(atlas / "mirror")}

    def on_the_atlas(self) -> None:
        """The catalog that ships, and real files at ``mirror``."""
        for name in ("HUMANST_CATALOG", "HUMANST_MIRROR"):
            self.settings.pop(name, None)
        (self.folder / "mirror").symlink_to(self.request.getfixturevalue("real_data"))

    def her2st_work(self) -> None:
        """The work folder of a build that the tests of real sections made: what was extracted is used again."""
        release, _ = self.request.getfixturevalue("built")
        shutil.copytree(f"{release}.work", self.folder / "out.work", copy_function=os.link)

    def on_record(self) -> None:
        """A catalog that has a release on record, and a mirror that has its files."""
        made: Path = self.request.getfixturevalue("docs_release")
        mirror = self.folder / "release-mirror"
        (mirror / "atlas").mkdir(parents=True)
        (mirror / "atlas/1.0.0").symlink_to(made)
        entry = {
            "url": "https://nowhere.invalid/humanst-1.0.0",
            "manifest_sha256": sha((made / "MANIFEST.json").read_bytes()),
            "hosts": ["nowhere.invalid"],
            "license": "CC0-1.0",
            "bytes": None,
        }
        content = {"schema": "humanst.catalog/1", "studies": {}, "resources": {}, "releases": {"1.0.0": entry}}
        catalog = self.folder / "release-catalog.yaml"
        catalog.write_text(yaml.safe_dump(content), encoding="utf-8")
        self.settings |= {"HUMANST_CATALOG": str(catalog), "HUMANST_MIRROR": str(mirror)}

    def online(self, **settings: str) -> None:
        """Let the next commands open connections to this machine, and to no other."""
        offline = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        offline |= {"NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
        allowed = {"HUMANST_OFFLINE": "0", "HUMANST_ALLOW_LOOPBACK_HTTP": "1"}
        self.settings = self.settings | offline | allowed | settings

    def serve(self, folder: Path) -> str:
        """Serve the files of a folder; returns host and port."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        for stop in (thread.join, server.server_close, server.shutdown):
            self.servers.callback(stop)
        return f"127.0.0.1:{server.server_port}"

    def release_host(self) -> None:
        """A host with the release of this folder."""
        self.online()
        self.addresses["https://host"] = f"http://{self.serve(self.folder)}"

    def catalog_hosts(self) -> None:
        """A catalog whose hosts are this machine."""
        atlas: Path = self.request.getfixturevalue("little_atlas")
        place = self.folder / "hosted"
        shutil.copytree(atlas, place, ignore=shutil.ignore_patterns("mirror", "truth"))
        catalog = yaml.safe_load((place / "catalog.yaml").read_text(encoding="utf-8"))
        host = self.serve(place)
        for study in catalog["studies"].values():
            study["hosts"] = [host]
        (place / "catalog.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
        self.online(HUMANST_CATALOG=str(place / "catalog.yaml"))

    def hub(self) -> None:
        """A Hub with an empty data set ``OWNER/NAME``."""
        server = self.servers.enter_context(hub_serving("OWNER/NAME"))
        self.online(HF_ENDPOINT=server.endpoint, HF_TOKEN=TOKEN)

    def my_run(self) -> None:
        """A laboratory's own folder: what legacy ST wrote."""
        atlas: Path = self.request.getfixturevalue("little_atlas")
        shutil.copytree(atlas / "mirror/demo_st", self.folder / "my_run")

    def write(self, name: str, text: str) -> None:
        """A small file."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def work(self, name: str) -> None:
        """The work folder of the demo release, under another name."""
        made: Path = self.request.getfixturevalue("docs_release")
        shutil.copytree(f"{made}.work", self.folder / name, copy_function=os.link)

    def labels(self) -> None:
        """``labels.csv``: two regions of every section to test with."""
        index = pd.read_parquet(self.request.getfixturevalue("docs_release") / "index/test.parquet")
        left = index["x_um"] < index.groupby("sample_id")["x_um"].transform("median")
        table = pd.DataFrame({"key": index["key"], "label": left.map({True: "left", False: "right"})})
        table.to_csv(self.folder / "labels.csv", index=False)

    def on_the_atlas_again(self) -> None:
        """The catalog that ships once more, after another one."""
        self.settings.pop("HUMANST_CATALOG", None)
        self.settings["HUMANST_MIRROR"] = "mirror"

    def demo_sets(self, name: str) -> None:
        """The demo's gene sets under another name."""
        (found,) = Path(self.request.getfixturevalue("little_atlas")).glob("mirror/gene_sets/*.gmt")
        shutil.copyfile(found, self.folder / name)


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, and no line about each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


# Servers of this machine: asked by one block, and no block after it opens a connection.
HERE = frozenset({"a host", "hosts of the catalog", "a data set on the Hub"})
MAKERS: dict[str, Callable[[World], object]] = {
    "demo atlas": World.demo,
    "settings of the demo": World.on_the_demo,
    "mirror of the atlas": World.on_the_atlas,
    "a release on record": World.on_record,
    "a host": World.release_host,
    "hosts of the catalog": World.catalog_hosts,
    "a data set on the Hub": World.hub,
    "my_run": World.my_run,
    "out.work": World.her2st_work,
    "settings of the atlas": World.on_the_atlas_again,
    "work": lambda world: world.work("work"),
    "release.work": lambda world: world.work("release.work"),
    "hallmark.gmt": lambda world: world.demo_sets("hallmark.gmt"),
    "reactome.gmt": lambda world: world.demo_sets("reactome.gmt"),
    "labels.csv": World.labels,
    "donors.csv": lambda world: world.write(
        "donors.csv", "sample_id,donor_id\ndemo_st_A1,d10\ndemo_st_B1,d11\ndemo_visium_v1_P1,d6\n"
    ),
    "train_step": lambda world: world.names.update(train_step=lambda *_: None),
}
