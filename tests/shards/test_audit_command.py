"""``humanst audit`` on a small release and on its stores: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import Result

from humanst.errors import HumanstError, IntegrityError, InterruptedRun, UsageError
from humanst.files.owners import host_name
from humanst.harmonize.gene_table import load_gene_table
from humanst.pathways import PathwayChoice
from humanst.report import auditing, sources
from humanst.report.verdicts import VERDICTS
from humanst.shards.scoring import score_store
from humanst.store import CARD_SCHEMA, StoredSection, card_path, open_section
from tests.cli.test_json import keep_promise
from tests.helpers import output_json, run_humanst
from tests.shards.conftest import SECTIONS, Made, digests

pytestmark = pytest.mark.xdist_group("audit")

Run = Callable[[Sequence[str]], Result]
TABLES = ("sections", "panels", "geometry", "information", "mutual", "retrieval", "variance", "pathways")
QUICK = ("--seeds", "1", "--draws", "2", "--workers", "1")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def audited(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The audit of the release, and what the command printed."""
    folder = tmp_path_factory.mktemp("audit")
    panel = folder / "panel.txt"
    genes = pd.read_csv(next((made.atlas / "mirror").rglob("*.gmt")), sep="\t", header=None, nrows=1).iloc[0, 2:]
    # One gene under two names, and a name that is none.
    panel.write_text("gene\n" + "\n".join([*genes.dropna(), load_gene_table().resolve(genes.iloc[0]), "NOT-A-GENE\n"]))
    before = digests(made.release)
    result = run_humanst(
        *("audit", str(made.release), "-o", str(folder / "out"), *QUICK, "--json"),
        *("--panel", f"{HOSTILE}={panel}"),
        atlas=made.atlas,
        cache=made.cache,
    )
    assert result.returncode == 0, result.stderr
    assert digests(made.release) == before, "a release that is audited stays as it is"
    told = f"panel {HOSTILE}: 1 names stand for no gene, beside {genes.nunique()} genes: NOT-A-GENE"
    assert told in result.stderr
    return folder / "out", output_json(result)


def test_every_table_is_there_with_a_row_for_what_it_is_of(made: Made, audited: tuple[Path, dict]) -> None:
    output, _ = audited
    names = {"index.html", *(f"{name}.parquet" for name in TABLES)}
    assert {path.name for path in output.iterdir()} == {"audit.json", *names}
    card = json.loads((output / "audit.json").read_bytes())
    assert card["bytes"] == {name: (output / name).stat().st_size for name in names}
    assert card["manifest_sha256"] == hashlib.sha256((made.release / "MANIFEST.json").read_bytes()).hexdigest()
    assert card["manifest_sha256"] in (output / "index.html").read_text("utf-8"), "a report binds it to its release"
    names = json.loads((made.release / "MANIFEST.json").read_bytes())["pathways"]["names"]
    sections = pd.read_parquet(output / "sections.parquet")
    assert set(zip(sections["sample_id"], sections["pathway"], strict=True)) == {
        (s, p) for s in SECTIONS for p in names
    }
    summary = pd.read_parquet(output / "pathways.parquet")
    assert summary["pathway"].tolist() == names
    by_hand = sections.groupby("pathway")["half_r"].median().reindex(names)
    assert summary["half_r"].to_numpy() == pytest.approx(by_hand.to_numpy(), nan_ok=True)
    panels = pd.read_parquet(output / "panels.parquet")
    assert set(panels["panel"]) == {HOSTILE}


def test_what_is_printed_is_what_was_promised_and_what_the_tables_hold(audited: tuple[Path, dict]) -> None:
    output, printed = audited
    keep_promise("audit", printed)
    summary = pd.read_parquet(output / "pathways.parquet")
    assert {row["pathway"]: row["verdict"] for row in printed["pathways"]} == dict(
        zip(summary["pathway"], summary["verdict"], strict=True)
    )
    assert sum(printed["verdicts"].values()) == len(summary)
    assert tuple(printed["verdicts"]) == VERDICTS
    assert "NaN" not in json.dumps(printed)
    assert [(row["panel"], row["unknown"]) for row in printed["panels"]] == [(HOSTILE, ["NOT-A-GENE"])]


def test_the_page_shows_hostile_names_as_text(audited: tuple[Path, dict]) -> None:
    page = (audited[0] / "index.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert HOSTILE not in page


def test_stores_out_of_the_zips_give_the_same_figures_and_leave_nothing_behind(
    made: Made, humanst_here: Run, audited: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the work folder; only the panel was not asked for. One store is unpacked at a time.

    What lies there is nobody's but its owner's: an earlier run that was killed is swept, another thing stays.
    """
    shutil.copytree(made.release, tmp_path / "moved")
    (somebodys := tmp_path / ".out.stores" / f"{SECTIONS[0]}.zarr").mkdir(parents=True)
    (somebodys / "zarr.json").write_text("mine")
    (tmp_path / f".out.partial-{host_name()}-99999999-0123abcd" / f"{SECTIONS[0]}.zarr").mkdir(parents=True)
    unpacked: list[int] = []

    def watched(store: Path) -> StoredSection:
        unpacked.append(len(list(store.parent.glob("*.zarr"))))
        return open_section(store)

    monkeypatch.setattr(sources, "open_section", watched)
    arguments = ["audit", str(tmp_path / "moved"), "-o", str(tmp_path / "out"), *QUICK]
    assert humanst_here(arguments).exception is None
    for name in ("sections", "information", "mutual", "retrieval", "variance", "geometry"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "out" / f"{name}.parquet"), pd.read_parquet(audited[0] / f"{name}.parquet")
        )
    assert set(unpacked) == {1}
    assert digests(tmp_path / "moved") == digests(made.release)
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"moved", "out", ".out.stores"}
    assert (somebodys / "zarr.json").read_text() == "mine"


def test_stores_alone_are_audited_and_a_broken_one_is_told(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    for name in SECTIONS[:2]:
        for part in (f"{name}.zarr", f"{name}.zarr.card.json"):
            source = made.work / "sections" / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    broken = next((tmp_path / f"{SECTIONS[1]}.zarr").rglob("c/*"))
    broken.unlink()
    groups = tmp_path / "groups.csv"
    groups.write_text(f"sample_id,donor_id\n{SECTIONS[0]},d1\n")
    sets = _with_tiny_sets(made, tmp_path / "own.gmt")
    out = tmp_path / "out"
    asked = ["--groups", str(groups), "--sets", str(sets), "--min-members", "4", "-o", str(out)]
    result = humanst_here(["audit", str(tmp_path), *asked, *QUICK, "--json"])
    assert result.return_value == 4 or getattr(result.exception, "exit_code", None) == 4
    printed = json.loads(result.output[result.output.index("{") : result.output.rindex("}") + 1])
    assert [row["item"] for row in printed["failures"]] == [SECTIONS[1]]
    assert printed["failures"][0]["exit_code"] == 6
    assert set(pd.read_parquet(out / "sections.parquet")["sample_id"]) == {SECTIONS[0]}
    page = (out / "index.html").read_text("utf-8")
    assert f"{SECTIONS[1]}:" in page
    # What of the gene sets is not scored as it stands in the file.
    assert printed["gene_sets"]["left_out"] == {f"TINY{number}": 3 for number in range(25)}
    assert "25 gene sets are left out by size: TINY0 (3), " in result.output
    assert "TINY4 (3) and 20 more; all are in left_out of gene_sets with --json" in result.output
    assert "TINY19 (3) and 5 more" in page
    (twice,) = printed["gene_sets"]["repeated"].values()
    assert f"1 symbols are in a gene set more than once and count once: {twice[0]};" in result.output


def _with_tiny_sets(made: Made, path: Path) -> Path:
    """The sets of the atlas, the first with a gene twice, and 25 sets of three genes."""
    lines = [line.split("\t") for line in next((made.atlas / "mirror").rglob("*.gmt")).read_text().splitlines()]
    lines[0].append(lines[0][2])
    lines += [[f"TINY{number}", "x", *lines[0][2:5]] for number in range(25)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def test_a_damaged_zip_costs_a_release_its_section_alone(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    shutil.copytree(made.release, tmp_path / "moved")
    damaged, missing, whole = SECTIONS
    data = (zipped := tmp_path / "moved" / "sections" / f"{damaged}.zarr.zip").read_bytes()
    zipped.write_bytes(data[: len(data) // 2])
    (tmp_path / "moved" / "sections" / f"{missing}.zarr.zip").unlink()
    result = humanst_here(["audit", str(tmp_path / "moved"), "-o", str(tmp_path / "out"), *QUICK, "--json"])
    assert result.return_value == 4 or getattr(result.exception, "exit_code", None) == 4
    printed = json.loads(result.output[result.output.index("{") : result.output.rindex("}") + 1])
    assert {row["item"]: row["exit_code"] for row in printed["failures"]} == {damaged: 6, missing: 5}
    assert set(pd.read_parquet(tmp_path / "out" / "sections.parquet")["sample_id"]) == {whole}


def test_names_in_a_strangers_manifest_are_no_paths(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    shutil.copytree(made.release, tmp_path / "moved")
    manifest = json.loads((tmp_path / "moved" / "MANIFEST.json").read_bytes())
    manifest["sections"][0]["sample_id"] = "../../escaped"
    (tmp_path / "moved" / "MANIFEST.json").write_text(json.dumps(manifest))
    result = humanst_here(["audit", str(tmp_path / "moved"), "-o", str(tmp_path / "out"), *QUICK])
    assert getattr(result.exception, "exit_code", None) == 5
    assert not list(tmp_path.rglob("*escaped*"))
    assert {path.name for path in tmp_path.iterdir()} == {"moved"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--panel", "nameless"], "a name and a file"),
        (["--panel", "empty={tmp}/empty.txt"], "no human gene"),
        (["--panel", "a={tmp}/panel.txt", "--panel", "a={tmp}/panel.txt"], "Two panels have one name"),
        (["--groups", "{tmp}/groups.csv"], "audited by itself"),
        (["--sets", "{tmp}/none.gmt"], "No such gene sets"),
        (["-o", "{tmp}"], "holds something else"),
        (["-o", "{release}/audit"], "inside what it is of"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    made: Made, humanst_here: Run, tmp_path: Path, arguments: list[str], match: str
) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\nNOT-A-GENE\n")
    (tmp_path / "panel.txt").write_text("TP53\n")
    (tmp_path / "groups.csv").write_text("sample_id,donor_id\nx,y\n")
    given = [text.replace("{tmp}", str(tmp_path)).replace("{release}", str(made.release)) for text in arguments]
    before = digests(tmp_path), digests(made.release)
    error = humanst_here(["audit", str(made.release), "-o", str(tmp_path / "out"), *QUICK, *given]).exception
    assert isinstance(error, UsageError)
    assert match in str(error)
    assert (digests(tmp_path), digests(made.release)) == before


@pytest.mark.parametrize("stranger", ["index.html", "sections.parquet", "audit.json"])
def test_a_folder_of_something_else_is_left_alone(made: Made, humanst_here: Run, tmp_path: Path, stranger: str) -> None:
    """With a name that an audit writes too, and no card that says it is one."""
    (out := tmp_path / "out").mkdir()
    (out / stranger).write_text('{"schema": "mine"}')
    error = humanst_here(["audit", str(made.release), "-o", str(out), *QUICK]).exception
    assert isinstance(error, UsageError)
    assert error.facts.code == "not-an-audit"
    assert {path.name: path.read_text() for path in out.iterdir()} == {stranger: '{"schema": "mine"}'}


def test_a_folder_without_stores_says_what_makes_them(made: Made, humanst_here: Run, tmp_path: Path) -> None:
    error = humanst_here(["audit", str(tmp_path), "-o", str(tmp_path / "out")]).exception
    assert isinstance(error, HumanstError)
    assert "humanst build" in str(error)


@pytest.mark.parametrize("content", [b"{", b"{}", b"[]", b"\xff", None], ids=repr)
def test_a_store_that_does_not_say_what_it_is_of_is_damaged(
    humanst_here: Run, tmp_path: Path, content: bytes | None
) -> None:
    (store := tmp_path / "s1.zarr").mkdir()
    card_path(store).write_text(json.dumps({"schema": CARD_SCHEMA, "sample_id": "s1", "n_files": 1, "n_bytes": 1}))
    if content is not None:
        (store / "zarr.json").write_bytes(content)
    error = humanst_here(["audit", str(tmp_path), "-o", str(tmp_path / "out")]).exception
    assert isinstance(error, IntegrityError)
    assert error.exit_code == 6
    assert "s1.zarr" in str(error)


def test_gated_gene_sets_of_a_release_need_a_yes(
    made: Made, humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    content = yaml.safe_load((made.atlas / "catalog.yaml").read_text())
    content["resources"]["gene_sets"]["license"] = "CC-BY-NC-4.0"
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    shutil.copytree(made.atlas / "curation", tmp_path / "curation")
    monkeypatch.setenv("HUMANST_CATALOG", str(tmp_path / "catalog.yaml"))
    # What comes after the gate is refused as well, so that nothing is made.
    audit = ["audit", str(made.release), "-o", str(tmp_path / "out"), "--panel", "nameless"]
    add = ["add-targets", str(made.release), "--set", "random:1,no-such"]
    for arguments in (audit, add):
        assert getattr(humanst_here(arguments).exception, "exit_code", None) == 3
    for arguments, match in ((audit, "a name and a file"), (add, "No such target set")):
        error = humanst_here([*arguments, "--accept-license", "CC-BY-NC-4.0"]).exception
        assert isinstance(error, UsageError)
        assert match in str(error)


def test_gene_sets_are_found_where_a_demo_leaves_them_else_the_option_is_named(
    made: Made, humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the catalog that ships, which knows nothing of a demo."""
    monkeypatch.delenv("HUMANST_CATALOG")
    sets = next((made.atlas / "mirror").rglob("*.gmt"))
    release, beside = tmp_path / "demo" / "release", tmp_path / "demo" / "atlas" / "mirror" / "gene_sets" / sets.name
    release.mkdir(parents=True)
    shutil.copy(made.release / "MANIFEST.json", release)
    beside.parent.mkdir(parents=True)
    arguments = ["audit", str(release), "-o", str(tmp_path / "out"), "--panel", "nameless"]
    for content in (None, b"OTHER\tx\tTP53\n"):
        if content is not None:
            beside.write_bytes(content)
        error = humanst_here(arguments).exception
        assert isinstance(error, UsageError)
        assert error.facts.code == "no-gene-sets"
        assert f"Say --gene-sets FILE with the {sets.name} that the release was built with" in str(error)
    shutil.copy(sets, beside)
    assert "a name and a file" in str(humanst_here(arguments).exception)


def test_an_audit_that_is_interrupted_keeps_nothing_and_says_so(
    made: Made, humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the sections, before the folder: an earlier audit stays."""

    def pressed(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(auditing, "summary_of", pressed)
    (out := tmp_path / "out").mkdir()
    earlier = {"index.html": "earlier", "audit.json": json.dumps({"schema": "humanst.audit-card/1"})}
    for name, text in earlier.items():
        (out / name).write_text(text)
    store = made.work / "sections" / f"{SECTIONS[0]}.zarr"
    error = humanst_here(["audit", str(store), "-o", str(out), *QUICK]).exception
    assert isinstance(error, InterruptedRun)
    assert error.exit_code == 75
    assert "when 1 of 1 sections were done. Nothing of it was kept; out is as it was" in str(error)
    assert {path.name: path.read_text() for path in out.iterdir()} == earlier
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_of_gene_sets_that_changed_meanwhile_scores_nothing(made: Made, tmp_path: Path) -> None:
    stored = open_section(made.work / "sections" / f"{SECTIONS[0]}.zarr")
    path = tmp_path / "sets.gmt"
    shutil.copy(next((made.atlas / "mirror").rglob("*.gmt")), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    before = score_store(stored, path, path.name, PathwayChoice(), sha256=sha256)
    assert before.is_valid.any()
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(IntegrityError, match="has changed since") as caught:
        score_store(stored, path, path.name, PathwayChoice(), sha256=sha256)
    assert caught.value.exit_code == 6
