"""``humanst export``: what leaves is named, what stays is the same byte for byte, and nothing else is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow.parquet as pq
import pytest
from braceexpand import braceexpand
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import load_npz

from humanst.cli import humanst
from humanst.errors import HumanstError, IntegrityError, NoRoomError, UsageError
from humanst.shards.exporting import ExportReport, ExportRequest, export_release
from humanst.shards.verify import verify_release
from tests.cli.test_json import keep_promise
from tests.fetch.small_release import pairs_of, sha
from tests.shards.conftest import digests
from tests.shards.drawn_release import CLOSED, Drawn, write_drawn
from tests.shards.test_no_room import FullDisk

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("export")

Contents = dict[str, list[list[Drawn]]]
A, B, C, D, E = (
    Drawn(1, "train", 1, False),
    Drawn(2, "train", 2, True),
    Drawn(3, "train", 2, True),
    Drawn(4, "val", 4, False),
    Drawn(5, "train", 5, False),
)
# Shards: without B and C the second shrinks, the third is gone, the others stay.
SHAPE: Contents = {"train": [[A, E, A], [A, B, E, C, B], [B, C], [E]], "val": [[D, D]], "test": []}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "release"
    write_drawn(folder, SHAPE)
    return folder


@pytest.fixture
def release(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "release"))


def export(source: Path, output: Path, **options: Any) -> ExportReport:
    return export_release(ExportRequest(source, output, **options))


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "MANIFEST.json").read_text())
    return content


@st.composite
def shapes(draw: st.DrawFn) -> Contents:
    """Donors stay in one split; every shard has a pair."""
    contents: Contents = {}
    number = 0
    for place, split in enumerate(("train", "val", "test")):
        sections = []
        for _ in range(draw(st.integers(0 if place else 1, 3))):
            number += 1
            donor = 10 * place + draw(st.integers(0, 1))
            sections.append(Drawn(number, split, donor, draw(st.booleans())))
        some = st.lists(st.sampled_from(sections), min_size=1, max_size=4) if sections else st.nothing()
        contents[split] = draw(st.lists(some, min_size=1 if sections else 0, max_size=3 if sections else 0))
    return contents


@example(SHAPE, True, set(), False)
@given(shapes(), st.booleans(), st.sets(st.integers(0, 9), max_size=2), st.booleans())
@settings(max_examples=10, deadline=None)
def test_what_goes_in_comes_out_or_is_named(
    contents: Contents, redistributable: bool, numbers: set[int], by_donor: bool
) -> None:
    here = {section.sample_id: section for shards in contents.values() for shard in shards for section in shard}
    asked = [section for section in here.values() if section.number in numbers]
    names = [section.row["donor_id"] if by_donor else section.sample_id for section in asked]
    down = {s for s in here.values() if (s.row["donor_id"] if by_donor else s.sample_id) in names}
    leaving = down | ({s for s in here.values() if s.closed} if redistributable else set())
    with TemporaryDirectory() as folder:
        source, output = Path(folder) / "in", Path(folder) / "out"
        write_drawn(source, contents)
        call: Callable[[], ExportReport] = lambda: export(
            source, output, redistributable=redistributable, without=tuple(dict.fromkeys(names))
        )
        if len(leaving) == len(here) or not (redistributable or names):
            with pytest.raises(UsageError):
                call()
            assert not output.exists()
            return
        report = call()
        assert {gone.sample_id for gone in report.gone} == {section.sample_id for section in leaving}
        before, after = pairs_of(source), pairs_of(output)
        stay = {
            split: {key: members for key, members in pairs.items() if not _is_of(key, leaving)}
            for split, pairs in before.items()
        }
        assert {split: list(pairs.items()) for split, pairs in after.items()} == {
            split: list(pairs.items()) for split, pairs in stay.items() if pairs
        }
        n_in = sum(map(len, before.values()))
        assert n_in == sum(map(len, after.values())) + sum(gone.n_pairs for gone in report.gone)
        _check_shards(source, output, contents, leaving)
        verify_release(output).raise_if_bad()
        first = digests(output)
        assert call().earlier == "same"
        assert digests(output) == first


def _is_of(key: str, sections: set[Drawn]) -> bool:
    return any(key.startswith(f"{section.sample_id}_") for section in sections)


def _check_shards(source: Path, output: Path, contents: Contents, leaving: set[Drawn]) -> None:
    """Who touched a shard is told from who is in it, as the release was drawn."""
    written = {row["path"]: row for split in manifest_of(output)["splits"].values() for row in split["shards"]}
    for split, shards in contents.items():
        for number, sections in enumerate(shards):
            name = f"data/{split}/{split}-{number:05d}"
            stay = [section for section in sections if section not in leaving]
            assert (output / f"{name}.tar").exists() == bool(stay) == (f"{name}.tar" in written)
            if len(stay) == len(sections):
                for end in (".tar", ".card.json"):
                    assert (output / (name + end)).read_bytes() == (source / (name + end)).read_bytes()
            elif stay:
                card = json.loads((output / f"{name}.card.json").read_text())
                data = (output / f"{name}.tar").read_bytes()
                assert (card["n_pairs"], card["sha256"], card["bytes"]) == (len(stay), sha(data), len(data))


def test_index_tables_and_stores_follow(release: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    export(release, output, redistributable=True)
    moved = {"shard", "jpg_offset", "json_offset", "npy_offset"}
    for split in ("train", "val", "test"):
        before = pq.read_table(release / f"index/{split}.parquet").to_pylist()
        after = pq.read_table(output / f"index/{split}.parquet").to_pylist()
        stay = [row for row in before if row["sample_id"] not in ("sample_2", "sample_3")]
        assert [{k: row[k] for k in row.keys() - moved} for row in after] == [
            {k: row[k] for k in row.keys() - moved} for row in stay
        ]
        assert [row["shard"] for row in after] == [row["shard"] for row in stay]
        members = pairs_of(output).get(split, {})
        for row in after:
            data = (output / f"data/{split}/{row['shard']}").read_bytes()
            for kind, suffix in (("jpg", "jpg"), ("json", "json"), ("npy", "pathway.npy")):
                start = row[f"{kind}_offset"]
                assert data[start : start + row[f"{kind}_length"]] == members[row["key"]][suffix]
    for name in ("samples.parquet", "targets/pathway_stats.parquet"):
        before = pq.read_table(release / name).to_pylist()
        assert pq.read_table(output / name).to_pylist() == [
            row for row in before if row["sample_id"] not in ("sample_2", "sample_3")
        ]
    assert sorted(path.name for path in (output / "sections").iterdir()) == [
        f"sample_{number}.zarr.zip" for number in (1, 4, 5)
    ]
    manifest = manifest_of(output)
    for shard in (row for split in manifest["splits"].values() for row in split["shards"]):
        path = Path(shard["path"])
        index = pq.read_table(output / f"index/{path.parent.name}.parquet", filters=[("shard", "==", path.name)])
        totals = index["n_counts"].to_numpy()
        assert np.load(output / f"targets/values/{path.stem}.npy")[:, 0].tolist() == totals.tolist()
        counts = load_npz(output / f"targets/counts/{path.stem}.npz")
        assert counts.sum(axis=1).A1.tolist() == totals.tolist()
    assert {path.stem for path in (output / "targets/counts").glob("*.npz")} == {
        path.stem for path in output.glob("data/*/*.tar")
    }
    for name in ("values/stats", "counts/measured"):
        assert pq.read_table(output / f"targets/{name}.parquet")["sample_id"].unique().to_pylist() == [
            f"sample_{number}" for number in (1, 4, 5)
        ]
    values = manifest["targets"]["values"]
    assert (values["fitted_on"], values["fitted_on_gone"]) == (["sample_1", "sample_4", "sample_5"], 2)
    assert manifest["organs"] == manifest_of(release)["organs"]
    assert manifest["totals"]["pairs"] == 8
    assert manifest["totals"]["shards"] == 4
    assert manifest["accepted_licenses"] == {}
    assert (output / "index/val.parquet").read_bytes() == (release / "index/val.parquet").read_bytes()


def test_the_card_names_the_shards_that_are_there(release: Path, tmp_path: Path) -> None:
    """As the readers that it speaks of expand them, shell and Python; the release was two shards longer."""
    export(release, tmp_path / "out", redistributable=True)
    card = (tmp_path / "out" / "README.md").read_text()
    here = [f"data/train/{path.name}" for path in sorted((tmp_path / "out").glob("data/train/*.tar"))]
    assert [name[-9:-4] for name in here] == ["00000", "00001", "00003"]
    shell = re.search(r'--train-data "\$RELEASE/(.+)"', card)
    python = re.search(r'^shards = f"(.+)"$', card, re.MULTILINE)
    assert shell is not None
    assert python is not None
    assert list(braceexpand(shell[1])) == here
    assert list(braceexpand(python[1].format(RELEASE="."))) == [f"./{name}" for name in here]


def test_changes_and_recipe_only_name_what_left(release: Path, tmp_path: Path) -> None:
    output, again = tmp_path / "out", tmp_path / "again"
    export(release, output, redistributable=True, without=("donor4",), version="2")
    manifest = manifest_of(output)
    assert [entry["version"] for entry in manifest["changes"]] == ["2", "1"]
    assert "5 more pairs of 2 sections may not be passed on" in (output / "README.md").read_text()
    text = (output / "CHANGES.md").read_text()
    for said in (CLOSED, "sample_2", "sample_3", "donor donor4, 2 pairs of sample_4", "5 pairs"):
        assert said in text
    entries = {entry["sample_id"]: entry for entry in manifest["recipe_only"]}
    assert list(entries) == ["sample_2", "sample_3"]
    rows = pq.read_table(release / "index/train.parquet").to_pylist()
    uids = sorted(row["uid"] for row in rows if row["sample_id"] == "sample_2")
    assert entries["sample_2"]["hashes"]["uids"] == sha("".join(f"{uid}\n" for uid in uids).encode())
    assert entries["sample_2"]["pairs"] == len(uids) == 3
    assert entries["sample_2"]["split"] == "train"
    assert entries["sample_2"]["licenses"] == [CLOSED]
    # A section that was recipe-only can be taken down too, and then nothing is said of it but that.
    export(output, again, without=("sample_2",))
    assert [entry["sample_id"] for entry in manifest_of(again)["recipe_only"]] == ["sample_3"]
    assert "section sample_2, which was recipe-only" in (again / "CHANGES.md").read_text()
    assert {k: v for k, v in digests(again).items() if k.startswith(("data", "index"))} == {
        k: v for k, v in digests(output).items() if k.startswith(("data", "index"))
    }
    verify_release(again).raise_if_bad()


def test_a_takedown_leaves_nothing_but_the_sample_id(release: Path) -> None:
    """Every file is searched, tables as what they hold, for words that only the section had."""
    traces = ("spot4", "donor4", "studyO4", "piece4", "disease4", "store4", "inputs4", "sample_4g")
    assert set(_found(release, traces)) == set(traces)
    (release / ".note").write_text("mine")
    report = export(release, release, without=("sample_4",))
    assert report.earlier == "other"
    assert _found(release, traces) == []
    assert "sample_4" in (release / "CHANGES.md").read_text()
    assert (release / ".note").read_text() == "mine"
    (release / ".note").unlink()
    verify_release(release).raise_if_bad()
    assert [path.name for path in release.parent.iterdir() if not path.name.endswith(".lock")] == ["release"]
    warned = manifest_of(release)["findings"]
    assert sorted(finding["field"] for finding in warned) == ["test", "val"]


def _found(folder: Path, words: tuple[str, ...]) -> list[str]:
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            texts.append(repr(pq.read_table(path).to_pylist()))
        elif path.is_file():
            texts.append(path.read_bytes().decode("latin-1"))
    return [word for word in words if any(word in text for text in texts)]


def test_unpacked_stores_stay_where_a_takedown_is_in_place(release: Path, tmp_path: Path) -> None:
    """They are on no record: a new folder has none, the same folder keeps those of the sections that stay."""
    for number in (1, 4):
        with ZipFile(release / f"sections/sample_{number}.zarr.zip") as archive:
            archive.extractall(release / f"sections/sample_{number}.zarr")
        (release / f"sections/sample_{number}.zarr.card.json").write_text("{}")
    before = {name: digest for name, digest in digests(release).items() if "sample_1.zarr/" in name}
    export(release, tmp_path / "out", without=("sample_5",))
    export(release, release, without=("sample_4",))
    assert before.items() <= digests(release).items()
    assert [name for name in digests(release) if "sample_4" in name] == []
    assert [name for name in digests(tmp_path / "out") if ".zarr/" in name] == []
    verify_release(tmp_path / "out").raise_if_bad()


def test_a_part_that_was_fetched_loses_sections_too(release: Path, tmp_path: Path) -> None:
    content = manifest_of(release)
    content["selection"] = {
        "version": "1",
        "manifest_sha256": "0" * 64,
        "splits": ["train", "val"],
        "where": None,
        "sections": None,
        "n_pairs": 13,
        "left_out": [],
    }
    (release / "MANIFEST.json").write_text(json.dumps(content))
    export(release, tmp_path / "out", without=("sample_4",))
    assert manifest_of(tmp_path / "out")["selection"]["n_pairs"] == 11
    verify_release(tmp_path / "out").raise_if_bad()


def test_nothing_to_leave_gives_the_very_same_release(release: Path, tmp_path: Path) -> None:
    export(release, tmp_path / "open", redistributable=True)
    export(tmp_path / "open", tmp_path / "again", redistributable=True)
    assert digests(tmp_path / "again") == digests(tmp_path / "open")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"without": ("nobody",)}, "unknown-section"),
        ({"without": ("sample_1", "donor:sample_4")}, "unknown-section"),
        ({"without": ("donor1", "donor2", "donor4", "donor5")}, "empty-selection"),
        ({"redistributable": True, "without": ("sample_1", "sample_4", "sample_5")}, "empty-selection"),
        ({}, "usage"),
    ],
)
def test_requests_that_make_no_sense_write_nothing(
    options: dict[str, Any], code: str, release: Path, tmp_path: Path
) -> None:
    before = digests(tmp_path)
    with pytest.raises(UsageError) as caught:
        export(release, tmp_path / "out", **options)
    assert caught.value.facts.code == code
    assert digests(tmp_path) in (before, before | {".out.lock": sha(b"")})


def test_names_of_two_things_have_to_be_told_apart(release: Path, tmp_path: Path) -> None:
    path = release / "MANIFEST.json"
    content = manifest_of(release)
    for row in content["sections"]:
        if row["sample_id"] in ("sample_4", "sample_5"):
            row["section_id"], row["donor_id"] = "A1", "sample_1"
    path.write_text(json.dumps(content))
    for name in ("A1", "sample_1"):
        with pytest.raises(UsageError) as caught:
            export(release, tmp_path / "out", without=(name,))
        assert caught.value.facts.code == "ambiguous-name"
    assert [gone.sample_id for gone in export(release, tmp_path / "one", without=("section:sample_1",)).gone] == [
        "sample_1"
    ]
    assert [gone.sample_id for gone in export(release, tmp_path / "two", without=("donor:sample_1",)).gone] == [
        "sample_4",
        "sample_5",
    ]


@pytest.mark.parametrize("place", ["release/inside", "", "strange", "file", "release"])
def test_outputs_that_are_somebody_elses_stay(place: str, release: Path, tmp_path: Path) -> None:
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = digests(tmp_path)
    with pytest.raises(UsageError):
        export(release, tmp_path / place, redistributable=True)
    assert {name: digest for name, digest in digests(tmp_path).items() if not name.endswith(".lock")} == before


@pytest.mark.parametrize(
    "name",
    [
        "data/train/train-00001.tar",  # written again
        "data/train/train-00000.tar",  # taken over
        "data/train/train-00003.card.json",
        "index/train.parquet",
        "index/val.parquet",
        "samples.parquet",
        "targets/pathway_stats.parquet",
        "sections/sample_1.zarr.zip",
        "targets/values/train-00000.npy",
        "targets/counts/train-00001.npz",
        "targets/counts/genes.parquet",
        "SHA256SUMS",
    ],
)
def test_a_broken_release_is_refused_whatever_is_broken(name: str, release: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    export(release, output, without=("sample_1",))
    before = digests(output)
    data = bytearray((release / name).read_bytes())
    data[len(data) // 3] ^= 1
    (release / name).unlink()
    (release / name).write_bytes(data)
    with pytest.raises(IntegrityError):
        export(release, output, redistributable=True)
    assert digests(output) == before
    assert _leftovers(tmp_path) == []


def _leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if ".partial-" in path.name or ".replaced-" in path.name]


def test_a_member_that_the_index_does_not_know_is_refused(release: Path, tmp_path: Path) -> None:
    """Shard, sums and manifest agree, so that only the hash of the member tells."""
    tar, manifest = release / "data/train/train-00001.tar", manifest_of(release)
    row = pq.read_table(release / "index/train.parquet", filters=[("shard", "==", tar.name)]).to_pylist()[0]
    data = bytearray(tar.read_bytes())
    data[row["jpg_offset"]] ^= 1
    tar.write_bytes(data)
    sums = (release / "SHA256SUMS").read_text().replace(manifest["splits"]["train"]["shards"][1]["sha256"], sha(data))
    (release / "SHA256SUMS").write_text(sums)
    manifest["splits"]["train"]["shards"][1]["sha256"] = sha(data)
    manifest["sha256sums"] = sha(sums.encode())
    (release / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError) as caught:
        export(release, tmp_path / "out", redistributable=True)
    assert caught.value.facts.field == f"{row['key']}.jpg"
    assert not (tmp_path / "out").exists()


def test_files_that_nobody_knows_stop_an_export(release: Path, tmp_path: Path) -> None:
    (release / "extra.csv").write_text("sample_4,donor4\n")
    sums = (release / "SHA256SUMS").read_text() + f"{sha(b'sample_4,donor4')}  extra.csv\n"
    (release / "SHA256SUMS").write_text(sums)
    manifest = manifest_of(release) | {"sha256sums": sha(sums.encode())}
    (release / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(HumanstError) as caught:
        export(release, tmp_path / "out", without=("sample_4",))
    assert caught.value.facts.code == "unknown-file"


def test_a_full_disk_leaves_the_earlier_output_whole(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write from the n-th file on fails, for n = 0, 6, 12 ... until one gets through."""
    output = tmp_path / "out"
    export(release, output, without=("sample_1",))
    before, disk = digests(output), FullDisk(monkeypatch)
    for n in range(0, 200, 6):
        disk.left, disk.seen = n, 0
        try:
            export(release, output, redistributable=True)
        except NoRoomError:
            assert digests(output) == before
            assert _leftovers(tmp_path) == []
        else:
            break
    assert n > 10
    verify_release(output).raise_if_bad()


@pytest.mark.parametrize("in_place", [False, True])
def test_killed_at_any_moment_the_old_one_is_whole_or_the_new_one_is(
    in_place: bool, release: Path, tmp_path: Path
) -> None:
    """A child kills itself at its n-th rename, the two of the swap among them; the next export sweeps up."""
    output = release if in_place else tmp_path / "out"
    options: dict[str, Any] = {"without": ("sample_1",)} if in_place else {"redistributable": True}
    export(release, tmp_path / "good", **options)
    if not in_place:
        export(release, output, without=("sample_5",))
    before, good = digests(output), digests(tmp_path / "good")
    killed = 0
    for n in range(0, 400, 9):
        code = _in_a_child(n, lambda: export(release, output, **options))
        if output.exists():
            assert digests(output) in (before, good)
        else:
            assert [path for path in tmp_path.iterdir() if ".replaced-" in path.name]
        if code != -signal.SIGKILL:
            break
        killed += 1
    assert killed > 3
    assert digests(output) == good
    assert _leftovers(tmp_path) == []


def _in_a_child(n: int, work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        left, real = [n], Path.replace

        def replace(path: Path, target: Path) -> Path:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path, target)

        Path.replace = replace  # type: ignore[assignment,method-assign]
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_command_prints_what_left(release: Path, tmp_path: Path) -> None:
    run = lambda *arguments: CliRunner().invoke(humanst, ["export", *map(str, arguments)], standalone_mode=False)
    result = run(release, "--redistributable", "--without", "sample_5, donor4", "-o", tmp_path / "out", "--json")
    content = json.loads(result.stdout)
    keep_promise("export", content)
    assert {row["sample_id"]: (row["reason"], row["pairs"]) for row in content["gone"]} == {
        "sample_2": ("not-redistributable", 3),
        "sample_3": ("not-redistributable", 2),
        "sample_4": ("taken-down", 2),
        "sample_5": ("taken-down", 3),
    }
    assert content["pairs_gone"] == 10
    assert content["totals"]["pairs"] == 3
    assert content["shards_dropped"] == [
        "data/train/train-00002.tar",
        "data/train/train-00003.tar",
        "data/val/val-00000.tar",
    ]
    assert str(release) in result.stderr
    text = run("release", release, "--redistributable", "-o", tmp_path / "two").stdout
    assert "sample_3" in text
    assert "5 pairs are gone" in text
    for wrong in (("poster", release, "-o", tmp_path / "x"), (release, "--without", " , ", "-o", tmp_path / "x")):
        assert isinstance(run(*wrong).exception, UsageError)
    assert not (tmp_path / "x").exists()
