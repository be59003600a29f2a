"""What ``--json`` prints is what docs/json.md promises, for every command; and the demo is the same bytes anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import click
import pytest

from humanst.cli import humanst
from tests.helpers import ROOT, output_json, run_humanst, start_humanst

SECTION = ["--sections", "demo_st_A1"]
# What is made once for these tests would be made again by a second worker.
WITH_BUILT = pytest.mark.xdist_group("json")


def promised() -> dict[str, tuple[str, list[str]]]:
    """Schema and keys of every command, from the table of the documentation."""
    rows = {}
    for line in (ROOT / "docs" / "json.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[1].startswith("`humanst."):
            rows[cells[0].strip("`")] = (cells[1].strip("`"), re.findall(r"`([^`]+)`", cells[2]))
    return rows


def keep_promise(command: str, content: dict[str, Any]) -> None:
    schema, keys = promised()[command]
    assert next(iter(content)) == "schema"
    assert content["schema"] == schema
    for key in keys:
        name, _, of_rows = key.partition("[].")
        assert name in content, key
        if of_rows:
            assert content[name], f"no row to look at for {key}"
            assert all(of_rows in row for row in content[name]), key


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from leaves(child, (*path, name))
    else:
        yield " ".join(path), command


def test_every_command_takes_json_and_is_documented() -> None:
    found = dict(leaves(humanst))
    assert all(any("--json" in parameter.opts for parameter in command.params) for command in found.values())
    variants = {"demo --only-write", "fetch --dry-run", "fetch --list-urls", "curate propose of URLs"}
    variants |= {"fetch atlas", "fetch atlas --dry-run"}
    variants |= {"export of a document"}
    variants |= {"build-shards --stage", "build-shards --print-sbatch"}
    assert set(found) | variants | {"a command that fails"} == set(promised())


def test_list_info_and_fetch(demo_atlas: Path, tmp_path: Path) -> None:
    listed = output_json(run_humanst("list", "demo_st", "--json", atlas=demo_atlas))
    keep_promise("list", listed)
    assert [row["section_id"] for row in listed["sections"]] == ["A1", "B1", "C1", "D1", "E1"]
    assert listed["n_sections"] == 5
    info = output_json(run_humanst("info", "demo_st", "--json", atlas=demo_atlas))
    keep_promise("info", info)
    on_disk = [path for path in (demo_atlas / "mirror" / "demo_st").rglob("*") if path.is_file()]
    assert info["sections"] == info["donors"] == info["sections_with_image"] == 5
    assert info["files"] == info["pinned_files"] == len(on_disk)
    assert info["bytes_on_record"] == sum(path.stat().st_size for path in on_disk)
    text = run_humanst("info", "demo_st", atlas=demo_atlas).stdout
    assert re.search(r"^license +" + re.escape(info["license"]) + "$", text, re.MULTILINE)
    result = run_humanst(
        "fetch", "gene_sets", "demo_st", *SECTION, "--json", atlas=demo_atlas, cache=tmp_path / "cache"
    )
    fetched = output_json(result)
    keep_promise("fetch", fetched)
    assert {row["item"] for row in fetched["files"]} == {"gene_sets", "demo_st_A1"}
    wanted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (demo_atlas / "mirror").rglob("*.*")}
    for row in fetched["files"]:
        path = Path(row["path"])
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == wanted[path.name]


@pytest.fixture(scope="module")
def built(little_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One section store in ``work``, and what ``humanst build`` printed."""
    folder = tmp_path_factory.mktemp("json")
    arguments = ["build", *SECTION, "-o", str(folder / "work"), "--json"]
    result = run_humanst(
        "-v", "--log-file", str(folder / "log"), *arguments, atlas=little_atlas, cache=folder / "cache"
    )
    assert result.returncode == 0, result.stderr
    assert "demo_st_A1" in result.stderr, "-v says which section was built"
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert any("demo_st_A1" in line["message"] and line["level"] == "INFO" for line in lines)
    return folder, output_json(result)


@WITH_BUILT
def test_build_and_validate(built: tuple[Path, dict[str, Any]], little_atlas: Path) -> None:
    folder, content = built
    keep_promise("build", content)
    store = folder / "work" / "sections" / "demo_st_A1.zarr"
    assert [(row["sample_id"], row["path"], row["reused"]) for row in content["sections"]] == [
        ("demo_st_A1", str(store), False)
    ]
    report = output_json(run_humanst("validate", str(store), "--json"))
    keep_promise("validate", report)
    assert (report["sections"], report["refused"]) == (1, 0)
    row = report["paths"][0]["sections"][0]
    assert set(row) >= {"item", "kind", "verdict", "reasons", "findings"}
    assert row["item"] == store.name
    assert set(row["findings"][0]) >= {"severity", "code", "what", "file", "field", "expected", "found", "todo"}
    lines = run_humanst("validate", str(store), "--format", "jsonl").stdout.splitlines()
    assert lines
    assert all(json.loads(line)["schema"] == "humanst.finding/1" for line in lines)


@WITH_BUILT
def test_build_shards_and_verify_and_what_a_second_run_says(
    built: tuple[Path, dict[str, Any]], little_atlas: Path, tmp_path: Path
) -> None:
    """The same request again says that nothing changed; another one that a release is replaced, and why."""
    work = ["--work", str(built[0] / "work"), "--json"]

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        command = ["build-shards", "-o", str(tmp_path / "out"), *work, *arguments]
        result = run_humanst(*command, atlas=little_atlas, cache=built[0] / "cache")
        assert result.returncode == 0, result.stderr
        return output_json(result), result.stderr

    content, said = run(*SECTION)
    keep_promise("build-shards", content)
    assert content["earlier"] == "none"
    assert "replaced" not in said
    again, said = run(*SECTION)
    assert {**again, "earlier": "none"} == content
    assert again["earlier"] == "same"
    assert "unchanged" in said
    assert "replaced" not in said
    other, said = run(*SECTION, "--seed", "1", "--shard-pairs", "20")
    assert other["earlier"] == "other"
    assert "unchanged" not in said
    warning = next(line for line in said.splitlines() if "replaced" in line)
    assert f"{content['totals']['pairs']} pairs" in warning
    assert warning.endswith("not as before: seed, shard_pairs")
    report = output_json(run_humanst("verify", str(tmp_path / "out"), "--json"))
    keep_promise("verify", report)
    assert report["ok"]
    assert report["pairs"] == other["totals"]["pairs"]
    next((tmp_path / "out").glob("data/*/*.tar")).write_bytes(b"")
    result = run_humanst("verify", str(tmp_path / "out"), "--json")
    assert result.returncode == 6
    report = output_json(result)
    keep_promise("verify", report)
    assert not report["ok"]


@WITH_BUILT
def test_plan_and_its_stages(built: tuple[Path, dict[str, Any]], little_atlas: Path, tmp_path: Path) -> None:
    """Extract finds the store that is there; what needs the stage before says so, and the script names the plan."""
    file, out, work = str(tmp_path / "plan.json"), str(tmp_path / "out"), str(built[0] / "work")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_humanst(*arguments, "--json", atlas=little_atlas, cache=built[0] / "cache")

    planned = output_json(run("plan", *SECTION, "-o", file, "--work", work))
    keep_promise("plan", planned)
    assert [(row["sample_id"], row["expected_from"]) for row in planned["sections"]] == [("demo_st_A1", "store")]
    build = ["build-shards", "--plan", file, "-o", out, "--work", work]
    extract = output_json(run(*build, "--stage", "extract", "--task-index", "0", "--num-tasks", "1"))
    keep_promise("build-shards --stage", extract)
    early = run(*build, "--stage", "finish")
    assert early.returncode == 75
    assert output_json(early)["code"] == "not-packed"
    pack = output_json(run(*build, "--stage", "pack"))
    assert pack["n_shards"] == 1
    finished = output_json(run(*build, "--stage", "finish"))
    keep_promise("build-shards", finished)
    assert finished["totals"]["pairs"] == extract["sections"][0]["pairs"] == planned["totals"]["all"]["expected_pairs"]
    script = output_json(run(*build, "--print-sbatch"))
    keep_promise("build-shards --print-sbatch", script)
    assert file in script["script"]
    contradiction = run(*build, "--seed", "1")
    assert contradiction.returncode == 2
    assert output_json(contradiction)["field"] == "--seed"


def test_curate_propose(demo_atlas: Path) -> None:
    content = output_json(run_humanst("curate", "propose", str(demo_atlas / "mirror" / "demo_st"), "--json"))
    keep_promise("curate propose", content)
    assert [draft["platform"] for draft in content["drafts"]] == ["st"]
    assert sorted(content["drafts"][0]["sections"]) == ["A1", "B1", "C1", "D1", "E1"]


def test_an_error_is_an_object_too(demo_atlas: Path) -> None:
    result = run_humanst("list", "demo_st", "--sections", "Z9", "--json", atlas=demo_atlas)
    assert result.returncode == 2
    keep_promise("a command that fails", output_json(result))


# Each as small as its platform's checks allow.
SMALL_DEMO = """
import functools, humanst.demo
from tests.studies import little_studies
studies = [study for name, by in {sections}.items() for study in little_studies(name, by=by)]
humanst.demo.write_atlas = functools.partial(humanst.demo.write_atlas, studies=tuple(studies))
"""


def run_small_demo(
    folder: Path, *arguments: str, sections: dict[str, float], hash_seed: str | None = None
) -> subprocess.CompletedProcess[str]:
    """``humanst demo``, with fewer and smaller sections than a newcomer gets and nothing else changed.

    With a ``hash_seed`` the process is a fresh one; else its seed is that of the warm parent, which is drawn.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUMANST_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    first, call = SMALL_DEMO.format(sections=sections), ["demo", str(folder), *arguments]
    if hash_seed is not None:
        environment |= {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", f"{first}from humanst.cli import main; main()", *call]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    with NamedTemporaryFile() as out, NamedTemporaryFile() as err:
        with start_humanst(*call, env=environment, stdout=out.name, stderr=err.name, first=first) as process:
            code = process.wait(timeout=600)
        return subprocess.CompletedProcess(call, code, out.read().decode(), err.read().decode())


def test_two_demos_are_the_same_bytes(tmp_path: Path) -> None:
    """In another folder, with another hash seed and another number of workers; ST is built twice by test_kill."""
    sections = {"demo_visium_V1": 0.6, "demo_xenium_X1": 0.6, "demo_hd_H1": 0.77}
    one, two = tmp_path / "one", tmp_path / "deeper" / "two"
    first = run_small_demo(one, "--json", "--workers", "1", sections=sections)
    assert first.returncode == 0, first.stderr
    content = output_json(first)
    keep_promise("demo", content)
    assert sum(content["read"]["pairs"].values()) == content["totals"]["pairs"] > 0
    assert content["totals"]["sections"] == len(sections)
    second = run_small_demo(two, "--workers", "2", sections=sections, hash_seed="2")
    assert second.returncode == 0, second.stderr
    assert f"{content['totals']['pairs']:,} pairs" in second.stdout
    assert "read back" in second.stdout
    for part in ("atlas", "release", "site"):
        assert digests(one / part) == digests(two / part)
    assert (one / "release" / "MANIFEST.json").is_file()


def test_a_demo_that_only_writes(tmp_path: Path) -> None:
    result = run_small_demo(tmp_path, "--only-write", "--json", sections={"demo_st_A1": 0.58})
    assert result.returncode == 0, result.stderr
    content = output_json(result)
    keep_promise("demo --only-write", content)
    assert Path(content["catalog"]).is_file()
    assert not (tmp_path / "release").exists()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
