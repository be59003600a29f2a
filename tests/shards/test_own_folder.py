"""Whose folder the output is: names that anybody may use count as a release's only beside what nobody else has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from humanst.cli import humanst
from humanst.errors import UsageError
from humanst.shards.folder import remove_old_shards, require_own_folder
from humanst.shards.seal import seal
from tests.fetch.small_release import sha, write_release

COMMON = [
    "README.md",
    "CITATION.bib",
    "CHANGES.md",
    "LICENSES.tsv",
    "croissant.json",
    "SHA256SUMS",
    "MANIFEST.json",
    "samples.parquet",
    "index/train.parquet",
    "data/_info.json",
    "data/train/sizes.json",
    "targets/mine/notes.txt",
    "sections/open_A1.zarr.zip",
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all documents. Read only."""
    path = tmp_path_factory.mktemp("own") / "1.2.3"
    write_release(path)
    seal(path, json.loads((path / "MANIFEST.json").read_bytes()))
    return path


def put(folder: Path, name: str, text: str = "mine\n") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def here(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", COMMON)
def test_a_common_name_alone_is_somebody_elses(tmp_path: Path, name: str) -> None:
    put(tmp_path / "out", name)
    with pytest.raises(UsageError) as told:
        require_own_folder(tmp_path / "out", tmp_path / "work")
    assert str(told.value.facts.found).endswith(name)


def test_all_common_names_together_are_no_release(tmp_path: Path) -> None:
    for name in COMMON:
        put(tmp_path / "out", name, "{}" if name.endswith(".json") else "mine")
    with pytest.raises(UsageError, match="no release of humanst"):
        require_own_folder(tmp_path / "out", tmp_path / "work")


def test_a_manifest_of_another_tool_is_not_ours(tmp_path: Path, release: Path) -> None:
    put(tmp_path / "out", "README.md")
    put(tmp_path / "out", "MANIFEST.json", json.dumps({"schema": "other/1"}))
    with pytest.raises(UsageError):
        require_own_folder(tmp_path / "out", tmp_path / "work")
    shutil.copy(release / "MANIFEST.json", tmp_path / "out")
    require_own_folder(tmp_path / "out", tmp_path / "work")


def test_a_release_with_all_its_documents_is_ours(tmp_path: Path, release: Path) -> None:
    """Whole, and what is left of it without its manifest."""
    shutil.copytree(release, tmp_path / "out")
    for name in ("targets/hvg/train-00000.npz", "targets/hvg/genes.tsv"):
        put(tmp_path / "out", name)
    require_own_folder(tmp_path / "out", tmp_path / "work")
    (tmp_path / "out/MANIFEST.json").unlink()
    require_own_folder(tmp_path / "out", tmp_path / "work")
    put(tmp_path / "out", "data/train/notes.txt")
    with pytest.raises(UsageError, match="no release of humanst") as told:
        require_own_folder(tmp_path / "out", tmp_path / "work")
    assert told.value.facts.found == "1 other files, such as data/train/notes.txt"


@pytest.mark.parametrize("name", ["README.md", "CITATION.bib"])
def test_build_shards_leaves_it_alone(tmp_path: Path, name: str) -> None:
    put(tmp_path / "out", name)
    sets = put(tmp_path, "few.gmt", "SET\tnone\tACTB\tGAPDH\n")
    asked = ["build-shards", "her2st", "-o", str(tmp_path / "out"), "--gene-sets", str(sets)]
    result = CliRunner().invoke(humanst, asked, standalone_mode=False)
    assert isinstance(result.exception, UsageError), result.exception
    assert "no release of humanst" in str(result.exception)
    assert here(tmp_path / "out") == {name: b"mine\n"}


@pytest.fixture
def fetch(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that fetch all pairs of the release, from its folder, to ``tmp_path/out``."""
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    return [
        "fetch",
        "atlas",
        "--release",
        str(release),
        "--accept-license",
        "CC-BY-NC-4.0",
        "-o",
        str(tmp_path / "out"),
    ]


@pytest.mark.parametrize("name", ["README.md", "CITATION.bib", "samples.parquet"])
def test_fetch_leaves_it_alone(fetch: list[str], tmp_path: Path, name: str) -> None:
    put(tmp_path / "out", name)
    result = CliRunner().invoke(humanst, fetch, standalone_mode=False)
    assert isinstance(result.exception, UsageError), result.exception
    assert here(tmp_path / "out") == {name: b"mine\n"}


def test_fetch_goes_on_from_the_first_file_it_brought(fetch: list[str], release: Path, tmp_path: Path) -> None:
    """Nothing there but a README: the release's own, to the byte."""
    (tmp_path / "out").mkdir()
    shutil.copy(release / "README.md", tmp_path / "out")
    result = CliRunner().invoke(humanst, [*fetch, "--with-sections"], standalone_mode=False)
    assert result.exception is None, result.exception
    found = here(tmp_path / "out")
    assert {name: sha(data) for name, data in here(release).items()}.items() <= {
        name: sha(data) for name, data in found.items()
    }.items()


def test_nothing_is_removed_or_written_behind_a_link(fetch: list[str], release: Path, tmp_path: Path) -> None:
    """Another release, whose data somebody shows in the output folder too: more shards than the one that is fetched."""
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(release, other)
    put(other, "data/train/train-00077.tar")
    before = here(other)
    out.mkdir()
    (out / "data").symlink_to(other / "data")
    for refuse in (lambda: require_own_folder(out, tmp_path / "work"), lambda: invoke(fetch)):
        with pytest.raises(UsageError) as told:
            refuse()
        assert told.value.facts.found == "1 other files, such as data"
    remove_old_shards(out, set())
    assert here(other) == before
    (out / "data").unlink()
    shutil.copytree(other / "data", out / "data")
    remove_old_shards(out, {out / name for name in here(release)})
    assert "data/train/train-00077.tar" not in here(out)
    assert here(out) == {name: data for name, data in here(release).items() if name.startswith("data/")}


def test_a_fetched_release_moved_behind_a_link_is_left_as_it_is(fetch: list[str], tmp_path: Path) -> None:
    """Whole it is found to be done; damaged it is mended only where it lies."""
    out, moved = tmp_path / "out", tmp_path / "moved"
    invoke(fetch)
    shutil.move(out / "data", moved)
    (out / "data").symlink_to(moved)
    invoke(fetch)
    shard = next(moved.glob("train/*.tar"))
    shard.write_bytes(b"damaged")
    before = here(moved) | here(out)
    with pytest.raises(UsageError) as told:
        invoke(fetch)
    assert (told.value.facts.code, told.value.facts.found) == ("links", "1 links, such as data")
    assert here(moved) | here(out) == before
    (out / "data").unlink()
    shutil.move(moved, out / "data")
    invoke(fetch)
    assert (out / "data/train" / shard.name).stat().st_size > 7


def invoke(arguments: list[str]) -> None:
    """Run humanst, and raise what it raises."""
    result = CliRunner().invoke(humanst, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
