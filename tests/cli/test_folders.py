"""A lab's own folder: found by the recipe, built by the same checks, drafted by ``humanst curate propose``."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from humanst.builder.folders import section_files, study_from_folder
from humanst.builder.matching import list_files, match_sections, safe_id, unique_ids
from humanst.catalog import load_catalog, load_recipe
from humanst.cli.choose import chosen_studies, on_record
from humanst.curate import propose
from humanst.errors import DataError, UsageError
from tests.helpers import ROOT, output_json, run_humanst
from tests.studies import ST_RECIPE, little_studies

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("folders")

ST_FILES = {
    "counts": "data/ST-cnts/{section}.tsv.gz",
    "spots": "data/ST-spotfiles/{section}_selection.tsv",
    "image": "data/ST-imgs/*/{section}/*.jpg",
    "labels": "data/ST-pat/lbl/{section}_labeled_coordinates.tsv",
}
SAFE = re.compile(r"[A-Za-z0-9_-]{1,40}")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo atlas: two legacy ST sections and two of each Visium layout."""
    from humanst.demo import write_atlas

    names = ["demo_st_A1", "demo_st_B1", "demo_visium_V1", "demo_visium_V2", "demo_visium_v1_P1", "demo_visium_v1_P2"]
    return write_atlas(tmp_path_factory.mktemp("atlas"), studies=little_studies(*names)).folder


def write_recipe(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({**ST_RECIPE, "files": ST_FILES, **changes}))
    return path


def lab_folder(atlas: Path, folder: Path) -> Path:
    shutil.copytree(atlas / "mirror" / "demo_st", folder)
    return folder


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    """Path -> (sha256, mtime) of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_folder_gives_the_store_the_catalog_gives(atlas: Path, tmp_path: Path) -> None:
    lab = lab_folder(atlas, tmp_path / "Run 7 (new)")
    recipe = write_recipe(tmp_path / "recipe.yaml")
    store = tmp_path / "store"
    before = fingerprint(lab)
    result = run_humanst("build", str(lab), "--recipe", str(recipe), "-o", str(store), "--json", "--workers", "1")
    assert fingerprint(lab) == before, "the lab's files stay as they are, where they are"
    assert result.returncode == 0, result.stderr
    rows = output_json(result)["sections"]
    assert [row["sample_id"] for row in rows] == ["run-7-new_A1", "run-7-new_B1"]
    known = run_humanst(
        "build", "demo_st", "--sections", "A1,B1", "-o", str(tmp_path / "known"), "--workers", "1", atlas=atlas
    )
    assert known.returncode == 0, known.stderr
    for name in ("A1", "B1"):
        mine = anndata.io.read_zarr(store / "sections" / f"run-7-new_{name}.zarr" / "tables" / "table")
        theirs = anndata.io.read_zarr(tmp_path / "known" / "sections" / f"demo_st_{name}.zarr" / "tables" / "table")
        assert (mine.X != theirs.X).nnz == 0
        assert mine.obs.equals(theirs.obs)
        assert mine.var.equals(theirs.var)
    again = run_humanst("build", str(lab), "--recipe", str(recipe), "-o", str(store), "--json", "--workers", "1")
    assert {row["reused"] for row in output_json(again)["sections"]} == {True}
    text = (store / "sections" / "run-7-new_A1.zarr" / "zarr.json").read_text()
    assert str(tmp_path) not in text, "no machine path goes into a store"


def readme_commands() -> list[list[str]]:
    """The commands that the README's section on one's own sections gives."""
    section = (ROOT / "README.md").read_text().split("## Your own sections")[1].split("\n## ")[0]
    block = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0]
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


def test_the_commands_of_the_readme_go_from_a_folder_to_a_release(atlas: Path, tmp_path: Path) -> None:
    """As written there. The release is one split group beside all that the catalog holds, and not for passing on."""
    lab_folder(atlas, tmp_path / "my_run")
    commands = readme_commands()
    assert [command[:2] for command in commands] == [
        ["curate", "propose"],
        ["build", "my_run"],
        ["build-shards", "my_run"],
    ]
    for command in [*commands, ["validate", "store"], ["verify", "release"]]:
        result = run_humanst(*command, atlas=atlas, cwd=tmp_path, env={"COLUMNS": "200"})
        assert result.returncode == 0, (command, result.stderr)
        if command[0] == "curate":
            check_marks((tmp_path / "recipe.yaml").read_text())
            assert "st, 2 sections" in result.stdout
        if command[0] == "build-shards":
            assert "donor-unknown" in result.stderr
    rows = json.loads((tmp_path / "release" / "MANIFEST.json").read_text())["sections"]
    assert {row["sample_id"] for row in rows} == {"my_run_A1", "my_run_B1"}
    assert {row["license"] for row in rows} == {"LicenseRef-unknown"}
    assert {row["redistributable"] for row in rows} == {False}
    assert len({row["group"] for row in rows}) == len({row["split"] for row in rows}) == 1
    assert all(row["pairs"] > 0 for row in rows)


def test_the_same_checks_refuse_what_they_refuse_in_a_catalog(atlas: Path, tmp_path: Path) -> None:
    """One section loses its count table, another gets two pictures: each is named, exit 4."""
    lab = lab_folder(atlas, tmp_path / "lab")
    (lab / "data/ST-cnts/A1.tsv.gz").unlink()
    picture = next(lab.glob("data/ST-imgs/*/B1/*.jpg"))
    shutil.copyfile(picture, picture.with_name("again.jpg"))
    recipe = write_recipe(tmp_path / "recipe.yaml")
    result = run_humanst("build", str(lab), "--recipe", str(recipe), "-o", str(tmp_path / "s"), "--json")
    assert result.returncode == 4
    failures = {row["item"]: row for row in output_json(result)["failures"]}
    assert failures["lab_A1"]["exit_code"] == failures["lab_B1"]["exit_code"] == 5
    assert failures["lab_A1"]["code"] in ("no-counts", "missing-file")
    assert failures["lab_A1"]["field"] == "counts"
    assert failures["lab_B1"]["code"] == "ambiguous-file"
    assert "again.jpg" in failures["lab_B1"]["found"]


def test_wrong_words_about_folders_are_usage_errors(atlas: Path, tmp_path: Path) -> None:
    lab = lab_folder(atlas, tmp_path / "lab")
    twin = tmp_path / "other" / "lab"
    twin.mkdir(parents=True)
    shutil.copytree(lab / "data", twin / "data")
    recipe = write_recipe(tmp_path / "recipe.yaml")
    elsewhere = write_recipe(tmp_path / "elsewhere.yaml", files={"counts": "{section}/none.tsv"})
    silent = write_recipe(tmp_path / "silent.yaml", files={})
    cases = {
        "no-recipe": [str(lab)],
        "A recipe says how to read folders": ["demo_st", "--recipe", str(recipe)],
        "have one name": [str(lab), str(twin), "--recipe", str(recipe)],
        "No file of the folder matches": [str(lab), "--recipe", str(elsewhere)],
        "does not say which files": [str(lab), "--recipe", str(silent)],
    }
    for words, arguments in cases.items():
        result = run_humanst("build", *arguments, "-o", str(tmp_path / "s"), atlas=atlas, env={"COLUMNS": "200"})
        assert result.returncode == 2, (words, result.stderr)
        assert (words if words != "no-recipe" else "humanst curate propose") in result.stderr
    assert not (tmp_path / "s").exists()


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\n"), min_size=1, max_size=50)


@given(st.lists(names, min_size=1, max_size=8, unique=True))
def test_ids_are_safe_and_tell_names_apart(raw: list[str]) -> None:
    ids = unique_ids(sorted(raw))
    assert all(SAFE.fullmatch(value) for value in ids.values())
    assert len({value.casefold() for value in ids.values()}) == len(raw)
    assert safe_id("plain_Name-1") == "plain_Name-1"


words = st.text("abcXYZ019_-", min_size=1, max_size=6)


@given(sections=st.lists(words, min_size=1, max_size=5, unique=True), patient=words, stain=words)
def test_sections_are_found_where_the_pattern_put_them(sections: list[str], patient: str, stain: str) -> None:
    """Paths made from the pattern by hand are found again, with the section they were made for, and nothing else."""
    patterns = {"image": "imgs/*/{section}/{section}_*.jpg", "counts": "cnts/{section}.tsv.gz", "table": "all.csv"}
    paths = ["all.csv", "imgs/README", f"imgs/{patient}/none.jpg", "cnts/deeper/x.tsv.gz"]
    for section in sections:
        paths += [f"imgs/{patient}/{section}/{section}_{stain}.jpg", f"cnts/{section}.tsv.gz"]
    found = match_sections(paths, patterns)
    assert sorted(found) == sorted(sections)
    for section, roles in found.items():
        assert roles == {
            "image": (f"imgs/{patient}/{section}/{section}_{stain}.jpg",),
            "counts": (f"cnts/{section}.tsv.gz",),
            "table": ("all.csv",),
        }


def test_patterns_without_a_section_make_one_and_labels_make_none() -> None:
    assert match_sections(["a.h5", "b.csv"], {"counts": "a.h5", "positions": "b.csv"}) == {
        "s1": {"counts": ("a.h5",), "positions": ("b.csv",)}
    }
    assert match_sections(["x_labels.tsv"], {"labels": "{section}_labels.tsv"}) == {}
    assert match_sections(["a.tsv", "b.tsv", "b_l.csv"], {"counts": "{section}.tsv", "labels": "{section}_l.csv"}) == {
        "a": {"counts": ("a.tsv",)}, "b": {"counts": ("b.tsv",), "labels": ("b_l.csv",)},
    }  # fmt: skip


def test_linked_folders_are_followed_once_and_stores_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "a.tsv").touch()
    (tmp_path / "real" / "deep" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "lab" / "old.zarr").mkdir()
    (tmp_path / "lab" / "old.zarr" / "zarr.json").touch()
    (tmp_path / "lab" / ".hidden").touch()
    assert list_files(tmp_path / "lab") == ["linked/deep/a.tsv"]


def test_sections_inside_an_archive_are_found(atlas: Path, tmp_path: Path) -> None:
    """A repository's one tar: sections come from its members, and the files read are theirs."""
    lab = tmp_path / "GSE1"
    lab.mkdir()
    with tarfile.open(lab / "GSE1_RAW.tar", "w") as archive:
        for name in ("A1", "B1"):
            data = (atlas / f"mirror/demo_st/data/ST-cnts/{name}.tsv.gz").read_bytes()
            info = tarfile.TarInfo(f"GSM_{name}_counts.tsv.gz")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    recipe = load_recipe(
        write_recipe(
            tmp_path / "recipe.yaml",
            files={"archive": "GSE*_RAW.tar"},
            options={"members": {"counts": "GSM_{section}_counts.tsv.gz"}},
        )
    )
    study = study_from_folder(lab, recipe)
    assert [section.section_id for section in study.sections] == ["A1", "B1"]
    local = section_files(study, study.sections[1])
    assert local.names == {"counts": "GSE1_RAW.tar/GSM_B1_counts.tsv.gz"}
    import gzip

    wanted = gzip.decompress((atlas / "mirror/demo_st/data/ST-cnts/B1.tsv.gz").read_bytes())
    found = local.paths["counts"].read_bytes()
    assert (gzip.decompress(found) if found[:2] == b"\x1f\x8b" else found) == wanted


@pytest.mark.parametrize("study_id", ["demo_st", "demo_visium", "demo_visium_v1"])
def test_a_drafted_recipe_finds_what_the_catalog_lists(study_id: str, atlas: Path, tmp_path: Path) -> None:
    """The demo's own catalog is the reference: same sections, same file for every role, same way to read it."""
    folder = atlas / "mirror" / study_id
    proposal = propose(folder)
    assert len(proposal.drafts) == 1
    drafted = proposal.drafts[0].recipe()
    known = load_catalog(atlas / "catalog.yaml").study(study_id)
    study = study_from_folder(folder, drafted)
    assert [section.section_id for section in study.sections] == [section.section_id for section in known.sections]
    for mine, theirs in zip(study.sections, known.sections, strict=True):
        assert {source.role: source.path for source in mine.sources} == {
            source.role: source.path for source in theirs.sources
        }
    for field in ("platform", "gene_id_type", "lattice"):
        assert getattr(drafted, field) == getattr(known.recipe, field), field


def check_marks(text: str) -> None:
    """Whatever was guessed says so on its own line."""
    fixed = ("#", "schema:", "orientation:", "files:", "um_per_pixel: null", "platform: unknown")
    for line in text.splitlines():
        assert line.startswith(fixed) or "  # guess: " in line, line


def vendor_folder(folder: Path, *outs: str, positions: str = "spatial/tissue_positions.csv") -> Path:
    """Empty files under vendors' names: what a draft goes by before it looks inside."""
    for place in outs:
        for name in ("filtered_feature_bc_matrix.h5", "spatial/scalefactors_json.json", positions):
            path = folder / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return folder


def drafted_sections(folder: Path) -> list[dict[str, dict[str, str]]]:
    found = []
    for draft in propose(folder).drafts:
        study = study_from_folder(folder, draft.recipe())
        for one in study.sections:
            assert len({source.role for source in one.sources}) == len(one.sources), "one file a role"
        found.append({one.section_id: {source.role: source.path for source in one.sources} for one in study.sections})
    return found


def test_of_three_binnings_the_one_of_8_um_is_proposed(tmp_path: Path) -> None:
    bins = [f"S1/outs/binned_outputs/square_{side}um" for side in ("002", "008", "016")]
    lab = vendor_folder(tmp_path / "hd", *bins, positions="spatial/tissue_positions.parquet")
    draft = propose(lab).drafts[0]
    assert len(propose(lab).drafts) == 1
    recipe = draft.recipe()
    assert (recipe.platform, dict(recipe.options)) == ("visium_hd", {"bin_um": 8.0, "target_side_um": 112.0})
    assert all("square_008um" in pattern for pattern in recipe.files.values())
    assert "bins" in draft.guesses["options"]


def test_nested_folders_of_one_study_are_one_draft_and_others_are_told_apart(tmp_path: Path) -> None:
    """Patients above sections make one pattern, whichever Space Ranger wrote; another depth is a draft of its own."""
    lab = vendor_folder(tmp_path / "lab", "patient1/S1/outs", "patient2/S2/outs", "patient2/S3/outs")
    (sections,) = drafted_sections(lab)
    assert sorted(sections) == ["S1", "S2", "S3"]
    assert sections["S3"]["positions"] == "patient2/S3/outs/spatial/tissue_positions.csv"
    assert all(len(files) == 3 for files in sections.values())
    vendor_folder(lab, "old/S9/outs", positions="spatial/tissue_positions_list.csv")
    vendor_folder(lab, "lone/outs/outs/outs")
    many, lone = drafted_sections(lab)
    assert sorted(many) == ["S1", "S2", "S3", "S9"]
    assert many["S9"]["positions"] == "old/S9/outs/spatial/tissue_positions_list.csv"
    assert {role: path.split("/")[0] for one in lone.values() for role, path in one.items()} == dict.fromkeys(
        many["S9"], "lone"
    )


def test_sections_written_by_several_versions_are_told_apart_by_their_patterns(tmp_path: Path) -> None:
    """One section gzipped, one with positions of another Space Ranger: every role still finds one file a section."""
    lab = vendor_folder(tmp_path / "lab", "S1/outs", "S2/outs")
    vendor_folder(lab, "S3/outs", positions="spatial/tissue_positions_list.csv")
    for name in ("spatial/scalefactors_json.json", "spatial/tissue_positions.csv"):
        (lab / "S1/outs" / name).rename(lab / "S1/outs" / f"{name}.gz")
    for name in ("S1_he_07.tif", "S2_he_08.tif", "S3_he_09.tif"):
        (lab / name[:2] / name).touch()
        (lab / name[:2] / "outs/spatial/tissue_lowres_image.png").touch()
    (sections,) = drafted_sections(lab)
    assert {section: len(files) for section, files in sections.items()} == {"S1": 5, "S2": 5, "S3": 5}
    assert sections["S1"]["positions"].endswith("tissue_positions.csv.gz")
    assert sections["S3"]["positions"].endswith("tissue_positions_list.csv")
    assert {files["image"] for files in sections.values()} == {
        "S1/S1_he_07.tif", "S2/S2_he_08.tif", "S3/S3_he_09.tif"
    }  # fmt: skip
    assert not any("matches all" in sentence for sentence in propose(lab).drafts[0].unknown)


def test_labels_are_those_of_the_barcodes(tmp_path: Path) -> None:
    """Numbers, a constant, a name a row and a file of other barcodes are no labels; a lost suffix is said."""
    lab = vendor_folder(tmp_path / "lab", "outs")
    barcodes = [f"ACGT{number:04d}-1" for number in range(40)]
    positions = "".join(f"{name},1,{n},{n},{n * 100},{n * 100}\n" for n, name in enumerate(barcodes))
    (lab / "outs/spatial/tissue_positions.csv").write_text(positions)
    rows = [f"{name};{'tumour' if n % 3 else 'stroma'};P1;{n % 4};spot {n}" for n, name in enumerate(barcodes)]
    (lab / "regions.csv").write_text("\n".join(["spot;region;patient;replicate;name", *rows]))
    (lab / "other.tsv").write_text("\n".join(["barcode\tregion", *(f"TTTT{n}-1\t{n % 2}a" for n in range(40))]))
    draft = propose(lab).drafts[0]
    assert draft.recipe().labels == {"key": "spot", "separator": ";", "column": "region"}
    assert draft.recipe().files["labels"] == "regions.csv"
    assert "labels" in draft.guesses
    (lab / "regions.csv").write_text((lab / "regions.csv").read_text().replace("-1;", ";"))
    bare = propose(lab).drafts[0]
    assert bare.recipe().labels is None
    assert any("regions.csv" in sentence and "barcode_suffix" in sentence for sentence in bare.unknown)


def test_a_folder_called_as_a_study_is_told_from_it(atlas: Path, tmp_path: Path) -> None:
    """A bare name means the study; the folder itself gets an id of its own, so that neither stands in for the other."""
    lab_folder(atlas, tmp_path / "demo_st")
    recipe = write_recipe(tmp_path / "recipe.yaml")
    bare = run_humanst("build", "demo_st", "--recipe", str(recipe), "-o", "s", atlas=atlas, cwd=tmp_path)
    assert bare.returncode == 2
    assert "./demo_st" in bare.stderr
    catalog = load_catalog(atlas / "catalog.yaml")
    (study,) = chosen_studies(catalog, [str(tmp_path / "demo_st")], str(recipe))
    assert study.study_id == "lab-demo_st"
    pairs = [(study, study.sections[0])]
    related = [section.sample_id for one in on_record(catalog, pairs) for section in one.sections]
    assert len(set(related)) == len(related)
    assert {"demo_st_A1", "lab-demo_st_A1", "lab-demo_st_B1"} <= set(related), "sections that are not built join too"


def test_the_draft_of_real_folders(real_data: Path, tmp_path: Path) -> None:
    """her2st against its curated recipe, Block A and the mouse set by what is in their folders."""
    her2st = propose(real_data / "her2st").drafts[0]
    curated = load_recipe(ROOT / "curation/her2st/recipe.yaml")
    drafted = her2st.recipe()
    assert dict(drafted.files) == dict(curated.files)
    assert drafted.labels == curated.labels
    assert drafted.options["spots"] == curated.options["spots"]
    for field in ("platform", "gene_id_type", "targeted", "absent_genes", "lattice"):
        assert getattr(drafted, field) == getattr(curated, field), field
    assert set(her2st.sections) == {"A1", "B1", "B4", "C1", "C2", "C3"}
    assert any("A1_HE_2000px_masked.png" in sentence for sentence in her2st.unknown), "it lies elsewhere: said"
    stahl = propose(real_data / "st_stahl2016_breast_counts_only").drafts[0]
    assert (stahl.platform, stahl.recipe().options["array_from_ids"]) == ("st", True)
    block_a = propose(real_data / "visium_10x_breast_blockA_s1").drafts[0]
    assert (block_a.platform, block_a.recipe().gene_id_type, block_a.recipe().targeted) == ("visium", "ensembl", False)
    assert "0.3662" in block_a.guesses["um_per_pixel"]
    assert any("full-resolution" in sentence for sentence in block_a.unknown)
    mouse = propose(real_data / "visium_mouse_cytassist_v2").drafts[0]
    assert mouse.platform == "visium"
    assert set(mouse.recipe().files) >= {"matrix", "features", "barcodes", "positions", "scalefactors"}
    assert any("human" in sentence and "ENSMUSG" in sentence for sentence in mouse.unknown), "drafted, and said"
    trap = propose(real_data / "traps_incomplete").drafts[0]
    assert any("H&E" in sentence for sentence in trap.unknown)
    assert any("count matrix" in sentence for sentence in trap.unknown)
    xenium = propose(real_data / "xenium_multiqc_outs").drafts[0]
    assert (xenium.platform, xenium.sections) == ("xenium", ("sample1", "sample3"))
    assert [sentence for sentence in xenium.unknown if "human" in sentence and "sample3" in sentence], "a mouse brain"
    assert not [sentence for sentence in xenium.unknown if "human" in sentence and "sample1" in sentence]
    slide = propose(real_data / "wsi_cmu1_small_region").drafts[0]
    assert slide.platform is None
    assert any("CMU-1-Small-Region.svs" in sentence and "count matrix" in sentence for sentence in slide.unknown)
    for draft in (her2st, stahl, block_a, mouse, trap, xenium, slide):
        check_marks(draft.text)
        assert all(f"# Could not tell: {' '.join(sentence.split())}" in draft.text for sentence in draft.unknown)


def test_propose_refuses_nothing(tmp_path: Path) -> None:
    """Garbage under vendors' names, an empty folder, a folder of photographs: a draft or a sentence, exit 0."""
    rng = np.random.default_rng(0)
    for name in (
        *("outs/filtered_feature_bc_matrix.h5", "outs/spatial/scalefactors_json.json", "outs/raw.tsv.gz"),
        *("outs/spatial/tissue_positions.csv", "outs/spatial/tissue_hires_image.png", "outs/spots.csv"),
        *("x/transcripts.parquet", "x/experiment.xenium", "hd/square_008um/spatial/tissue_positions.parquet"),
    ):
        path = tmp_path / "garbage" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(3000))
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "slide.jpg").write_bytes(b"\xff\xd8\xff")
    for folder in ("garbage", "empty", "photos"):
        for draft in propose(tmp_path / folder).drafts:
            check_marks(draft.text)
            assert yaml.safe_load(draft.text)["schema"] == "humanst.recipe/1"
            assert draft.unknown
    with pytest.raises(DataError):
        propose(tmp_path / "empty").drafts[0].recipe()
    with pytest.raises(UsageError):
        study_from_folder(tmp_path / "empty", propose(tmp_path / "garbage").drafts[0].recipe())


def test_a_matrix_that_reaches_out_tells_the_draft_nothing(tmp_path: Path) -> None:
    """Another file's text must not come into a draft through a link."""
    outs = tmp_path / "run" / "outs"
    (outs / "spatial").mkdir(parents=True)
    (outs / "spatial" / "scalefactors_json.json").write_text("{}")
    with h5py.File(tmp_path / "secret.h5", "w") as handle:
        handle["id"] = [b"ENSG_SECRET"] * 10
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "w") as handle:
        handle["matrix/features/id"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/id")
    result = run_humanst("curate", "propose", str(tmp_path / "run"), "-o", str(tmp_path / "recipe.yaml"))
    assert result.returncode == 8
    assert "reads from other files" in result.stderr
    assert not (tmp_path / "recipe.yaml").exists()
    assert "SECRET" not in result.stdout + result.stderr


def test_a_role_that_nothing_reads_is_a_typo(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", files={**ST_FILES, "alignement": "x/*.csv"})
    (tmp_path / "lab").mkdir()
    result = run_humanst("build", str(tmp_path / "lab"), "--recipe", str(recipe), "-o", str(tmp_path / "s"))
    assert result.returncode == 5
    assert "alignement" in result.stderr


def test_what_an_archive_holds_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "GSE1_RAW.tar").write_bytes(b"\0" * 10240)
    assert any("GSE1_RAW.tar" in sentence for sentence in propose(tmp_path).drafts[0].unknown)


def test_a_folder_of_nothing_is_drafted_as_nothing(tmp_path: Path) -> None:
    listed = run_humanst("curate", "propose", str(tmp_path), "--json")
    assert output_json(listed)["drafts"][0]["platform"] is None
    assert listed.returncode == 0
