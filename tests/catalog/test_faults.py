"""A catalog, recipe or samples table with a fault: refused, with the file and the field."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from humanst.catalog import is_redistributable, load_catalog, load_recipe, read_samples, read_yaml
from humanst.errors import DataError, HostileError, HumanstError, UsageError
from humanst.settings import data_path

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """One study of the shipped catalog, and its resources, to break."""
    document = read_yaml(data_path("catalog.yaml"))
    document["studies"] = {"her2st": document["studies"]["her2st"]}
    document["listed"] = {"meylan2022_ccrcc": document["listed"]["meylan2022_ccrcc"]}
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    shutil.copytree(data_path("curation", "her2st"), tmp_path / "curation" / "her2st")
    return path


def rewrite(path: Path, change: Change) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def study_of(document: dict[str, Any]) -> dict[str, Any]:
    study: dict[str, Any] = document["studies"]["her2st"]
    return study


def counts_of(document: dict[str, Any]) -> dict[str, Any]:
    counts: dict[str, Any] = study_of(document)["sections"]["B4"]["files"]["counts"]
    return counts


def listed_of(document: dict[str, Any]) -> dict[str, Any]:
    listed: dict[str, Any] = document["listed"]["meylan2022_ccrcc"]
    return listed


def share_a_folder(document: dict[str, Any]) -> None:
    """A second study whose one section stands in the table of the first."""
    twin = deepcopy(study_of(document)) | {"curation": "her2st"}
    twin["sections"] = {"A1": study_of(document)["sections"].pop("A1")}
    document["studies"]["twin"] = twin


def name_the_folder(document: dict[str, Any], name: str) -> None:
    share_a_folder(document)
    for study in document["studies"].values():
        study["curation"] = name


B4 = "studies.her2st.sections.B4"
COUNTS = f"{B4}.files.counts"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.update(schema="humanst.catalog/9"), "schema"),
        (lambda d: d.pop("releases"), "releases"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: study_of(d).pop("license"), "studies.her2st.license"),
        (lambda d: study_of(d).update(license="CC BY 4.0"), "studies.her2st.license"),
        (lambda d: study_of(d).update(doi="https://doi.org/10.1038/x"), "studies.her2st.doi"),
        (lambda d: study_of(d).update(hosts=["https://host"]), "studies.her2st.hosts[0]"),
        (lambda d: study_of(d).update(base_url="http://host/x/"), "studies.her2st.base_url"),
        (lambda d: study_of(d).update(titel="x"), "studies.her2st.titel"),
        (lambda d: counts_of(d).update(bytes=-1), f"{COUNTS}.bytes"),
        (lambda d: counts_of(d).update(bytes="12"), f"{COUNTS}.bytes"),
        (lambda d: counts_of(d).update(sha256="abc"), f"{COUNTS}.sha256"),
        (lambda d: counts_of(d).update(url="ftp://host/x"), f"{COUNTS}.url"),
        (lambda d: counts_of(d).pop("path"), f"{COUNTS}.path"),
        (lambda d: d["resources"]["gene_sets"].update(files=[]), "resources.gene_sets.files"),
        (lambda d: d["studies"].update({"Her 2": deepcopy(study_of(d))}), "studies.Her 2"),
        (lambda d: study_of(d).update(curation="../her2st"), "studies.her2st.curation"),
        (lambda d: study_of(d).update(recipe="../x"), "studies.her2st.recipe"),
        (lambda d: study_of(d)["sections"]["B4"].update(spots_under_tissue=0), f"{B4}.spots_under_tissue"),
        (lambda d: study_of(d)["sections"]["B4"].update(slide=12), f"{B4}.slide"),
        (lambda d: listed_of(d).pop("n_sections"), "listed.meylan2022_ccrcc.n_sections"),
        (lambda d: listed_of(d).update(n_sections="24"), "listed.meylan2022_ccrcc.n_sections"),
        (lambda d: listed_of(d).update(sections={}), "listed.meylan2022_ccrcc.sections"),
        (lambda d: listed_of(d).update(xref_hest="INT1 to 24"), "listed.meylan2022_ccrcc.xref_hest"),
    ],
)
def test_one_bad_field_is_one_fault_at_its_path(catalog: Path, change: Change, field: str) -> None:
    rewrite(catalog, change)
    with pytest.raises(DataError) as caught:
        load_catalog(catalog)
    facts = caught.value.facts
    assert (facts.file, facts.field, caught.value.exit_code) == ("catalog.yaml", field, 5)
    assert facts.expected
    assert facts.found
    assert caught.value.also == ()


def test_every_fault_is_reported_at_once(catalog: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        counts_of(document).update(bytes=-1, sha256="abc")
        study_of(document)["license"] = 3

    rewrite(catalog, change)
    with pytest.raises(DataError) as caught:
        load_catalog(catalog)
    for field in (f"{COUNTS}.bytes", f"{COUNTS}.sha256", "studies.her2st.license"):
        assert field in str(caught.value)


@pytest.mark.parametrize("path", ["../up.tsv", "/etc/passwd", "a/../../up", "C:\\x", "nul"])
def test_path_that_leaves_its_folder_is_hostile(catalog: Path, path: str) -> None:
    rewrite(catalog, lambda d: counts_of(d).update(path=path))
    with pytest.raises(HostileError) as caught:
        load_catalog(catalog)
    assert (caught.value.facts.field, caught.value.exit_code) == (f"{COUNTS}.path", 8)


def test_paths_that_differ_in_case_only_are_refused(catalog: Path) -> None:
    rewrite(catalog, lambda d: counts_of(d).update(path="data/ST-cnts/c2.TSV.gz"))
    with pytest.raises(DataError) as caught:
        load_catalog(catalog)
    assert caught.value.facts.code == "path-twins"


def test_sections_of_catalog_and_samples_must_agree(catalog: Path) -> None:
    rewrite(catalog, lambda d: study_of(d)["sections"].pop("B4"))
    with pytest.raises(DataError, match=r"only in samples\.csv: B4"):
        load_catalog(catalog)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: study_of(d).update(platform="visium"), "platform-differs"),
        (lambda d: d["resources"]["gene_sets"].update(default="x.gmt"), "unknown-file"),
        (lambda d: d["resources"]["gene_sets"].update(aliases={"short": "x.gmt"}), "unknown-file"),
        (lambda d: d["resources"].update(her2st=deepcopy(d["resources"]["gene_sets"])), "duplicate-id"),
        (lambda d: study_of(d)["sections"]["A1"]["options"].update(image_scale=3), "bad-options"),
        (lambda d: study_of(d)["sections"]["A1"]["options"].update(image_scal=0.3), "bad-options"),
        (lambda d: study_of(d)["sections"]["B4"].update(files={}), "status-differs"),
        (lambda d: d["listed"].update(her2st=deepcopy(listed_of(d))), "duplicate-id"),
        (lambda d: name_the_folder(d, "gene_sets"), "file-missing"),
        (lambda d: d["studies"].update(twin=deepcopy(study_of(d)) | {"curation": "her2st"}), "duplicate-id"),
        (lambda d: share_a_folder(d) or d["studies"]["twin"]["sections"].clear(), "sections-differ"),
        (share_a_folder, "duplicate-id"),
        (lambda d: study_of(d).update(recipe="visium"), "file-missing"),
    ],
)
def test_parts_that_do_not_fit_together(catalog: Path, change: Change, code: str) -> None:
    rewrite(catalog, change)
    with pytest.raises(HumanstError) as caught:
        load_catalog(catalog)
    assert caught.value.facts.code == code


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.pop("platform"), "platform"),
        (lambda d: d["lattice"].update(pitch_um=0), "lattice.pitch_um"),
        (lambda d: d["lattice"].update(kind="round"), "lattice.kind"),
        (lambda d: d.update(orientation="flip_x"), "orientation"),
        (lambda d: d.update(targeted="no"), "targeted"),
        (lambda d: d["options"].update(spot_ids="{x}"), "options.spot_ids"),
        (lambda d: d["options"].update(spot_id="{x}"), "options.spot_id"),
        (lambda d: d["options"]["spots"].update(pixelx="x"), "options.spots.pixelx"),
        (lambda d: d["labels"].pop("column"), "labels.column"),
        (lambda d: d["labels"].update(colum="x"), "labels.colum"),
    ],
)
def test_recipe_faults_name_the_field(catalog: Path, change: Change, field: str) -> None:
    recipe = catalog.parent / "curation" / "her2st" / "recipe.yaml"
    rewrite(recipe, change)
    with pytest.raises(DataError) as caught:
        load_catalog(catalog)
    facts = caught.value.facts
    assert (facts.file, facts.field) == ("curation/her2st/recipe.yaml", field)
    assert caught.value.also == ()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("her2st_B9,B9", "row-length"),
        ("{row}\n{row}", "duplicate-value"),
        ('"her2st', "table-unreadable"),
    ],
)
def test_samples_faults(catalog: Path, line: str, code: str) -> None:
    path = catalog.parent / "curation" / "her2st" / "samples.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], line.format(row=lines[1])]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_samples(path)
    assert caught.value.facts.code == code
    assert caught.value.facts.file == "curation/her2st/samples.csv"


def test_a_column_that_is_there_twice_is_not_taken_by_its_last(catalog: Path) -> None:
    path = catalog.parent / "curation" / "her2st" / "samples.csv"
    first, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([f"{first},donor_id", *(f"{row},other" for row in rows)]), encoding="utf-8")
    with pytest.raises(DataError, match="donor_id") as caught:
        read_samples(path)
    assert caught.value.facts.code == "duplicate-column"


def test_studies_may_share_a_folder_and_a_recipe(catalog: Path) -> None:
    folder = catalog.parent / "curation"
    (folder / "her2st").rename(folder / "both")
    (folder / "_recipes").mkdir()
    (folder / "both" / "recipe.yaml").rename(folder / "_recipes" / "legacy.yaml")
    rewrite(catalog, lambda d: name_the_folder(d, "both"))
    rewrite(catalog, lambda d: [study.update(recipe="legacy") for study in d["studies"].values()])
    loaded = load_catalog(catalog)
    assert [section.sample_id for section in loaded.study("twin").sections] == ["her2st_A1"]
    assert len(loaded.study("her2st").sections) == 35
    assert loaded.study("twin").recipe.lattice.pitch_um == 200.0
    assert {name: [study.study_id for study in studies] for name, studies in loaded.folders().items()} == {
        "both": ["her2st", "twin"]
    }


def test_a_listed_study_says_that_it_cannot_be_fetched(catalog: Path) -> None:
    with pytest.raises(UsageError, match="renal cell") as caught:
        load_catalog(catalog).study("meylan2022_ccrcc")
    assert (caught.value.facts.code, caught.value.exit_code) == ("listed-study", 2)


def test_samples_without_a_needed_column(catalog: Path) -> None:
    path = catalog.parent / "curation" / "her2st" / "samples.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("donor_id,", "donor,", 1), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_samples(path)
    assert caught.value.facts.field == "donor_id"


BOMB = "a: &a [x,x]\n" + "\n".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]" for i in range(20))


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (BOMB, HostileError, "yaml-bounds"),
        ("a: &x {b: 1}\nc: {<<: *x}", HostileError, "yaml-bounds"),
        ("[" * 100_000 + "]" * 100_000, HostileError, "yaml-bounds"),
        ("a: !!python/object/apply:os.system ['true']", DataError, "yaml-unreadable"),
        ("a: 1\nb: 2\na: 3", DataError, "duplicate-key"),
        ("A1: {files: 1}\n151673: {files: 2}", DataError, "key-not-text"),
        ("a: [1", DataError, "yaml-unreadable"),
        ("a: 1\n---\nb: 2", DataError, "yaml-unreadable"),
        (b"a: \xff", DataError, "yaml-unreadable"),
    ],
)
def test_yaml_outside_the_bounds(tmp_path: Path, text: str | bytes, kind: type[HumanstError], code: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(kind) as caught:
        read_yaml(path)
    assert (type(caught.value), caught.value.facts.code) == (kind, code)
    assert caught.value.facts.file == "x.yaml"


def test_yaml_fault_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\nb:\n  c: 1\n  c: 2\n")
    with pytest.raises(DataError) as caught:
        read_yaml(path)
    assert caught.value.facts.field == "line 4"


def test_too_large_yaml_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as handle:
        handle.truncate(21 * 1024 * 1024)
    with pytest.raises(HostileError):
        read_yaml(path)


def test_plain_yaml_reads_as_the_library_does(catalog: Path) -> None:
    assert read_yaml(catalog) == yaml.safe_load(catalog.read_text(encoding="utf-8"))


def test_missing_files_are_usage_errors(tmp_path: Path) -> None:
    for load in (load_catalog, load_recipe, read_samples):
        with pytest.raises(UsageError, match="not there"):
            load(tmp_path / "nothing")


def test_catalog_setting_is_honoured(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUMANST_CATALOG", str(catalog))
    rewrite(catalog, lambda d: study_of(d).update(title="Another title"))
    assert load_catalog().study("her2st").title == "Another title"


@pytest.mark.parametrize(
    ("license_id", "free"),
    [
        ("CC-BY-4.0", True),
        ("CC0-1.0", True),
        ("MIT", True),
        ("CC-BY-SA-4.0", True),
        ("CC-BY-NC-4.0", False),
        ("CC-BY-NC-SA-4.0", False),
        ("CC-BY-ND-4.0", False),
        ("CC-BY-NC-ND-4.0", False),
        ("LicenseRef-unknown", False),
    ],
)
def test_what_may_be_passed_on(license_id: str, free: bool) -> None:
    assert is_redistributable(license_id) is free
