"""The genes that a study measured are a union over its tables: those of sections that nobody asked for count too."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from humanst.builder import measured
from humanst.builder.folders import study_from_folder
from humanst.builder.measured import MeasuredGenes, kept_measured_genes
from humanst.catalog import Source, load_catalog, load_recipe
from tests.shards.conftest import Made
from tests.studies import ST_RECIPE

Run = Callable[[Sequence[str]], Result]


def counts_of(made: Made, section_id: str) -> Source:
    source = load_catalog(made.atlas / "catalog.yaml").study("demo_st").section(section_id).source("counts")
    assert source is not None
    return source


def test_a_table_that_is_not_at_hand_is_named(
    made: Made, humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one section was fetched, and is built without a connection."""
    mirror = tmp_path / "mirror"
    shutil.copytree(made.atlas / "mirror", mirror, copy_function=os.link)
    (mirror / "demo_st" / counts_of(made, "B1").path).unlink()
    monkeypatch.setenv("HUMANST_MIRROR", str(mirror))
    monkeypatch.setenv("HUMANST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HUMANST_OFFLINE", "1")
    result = humanst_here(["build", "demo_st", "--sections", "A1", "-o", str(tmp_path / "out"), "--workers", "1"])
    assert result.exception is None, result.exception
    (told,) = [line for line in result.stderr.splitlines() if "gene-axis-incomplete" in line]
    assert "demo_st_B1" in told
    assert "A1" in told.split(":")[0]
    whole = json.loads((made.release / "MANIFEST.json").read_text())
    assert "gene-axis-incomplete" not in json.dumps(whole), "with all tables there is nothing to tell"


def test_a_plan_holds_until_any_table_of_its_axis_changes(
    made: Made, humanst_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, catalog = tmp_path / "plan.json", tmp_path / "atlas" / "catalog.yaml"
    shutil.copytree(made.atlas, catalog.parent, copy_function=os.link)
    monkeypatch.setenv("HUMANST_CATALOG", str(catalog))
    assert humanst_here(["plan", "demo_st", "--sections", "A1", "-o", str(plan)]).exception is None
    inputs = json.loads(plan.read_text())["sections"][0]["inputs"]
    digest = counts_of(made, "B1").sha256
    assert digest
    text = catalog.read_text()
    assert text.count(digest) == 1
    catalog.unlink()
    catalog.write_text(text.replace(digest, "f" * 64))
    build = ["build-shards", "--plan", str(plan), "-o", str(tmp_path / "out"), "--stage", "extract", "--workers", "1"]
    error = humanst_here(build).exception
    assert getattr(getattr(error, "facts", None), "code", None) == "plan-outdated", error
    assert humanst_here(["plan", "demo_st", "--sections", "A1", "-o", str(plan)]).exception is None
    assert json.loads(plan.read_text())["sections"][0]["inputs"] != inputs


def test_the_tables_of_a_folder_are_read_once_until_one_of_them_changes(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab"
    shutil.copytree(made.atlas / "mirror" / "demo_st", lab)
    recipe = tmp_path / "recipe.yaml"
    files = {"counts": "data/ST-cnts/{section}.tsv.gz", "spots": "data/ST-spotfiles/{section}_selection.tsv"}
    recipe.write_text(yaml.safe_dump({**ST_RECIPE, "files": files}))
    study = study_from_folder(lab, load_recipe(recipe))
    read: list[str] = []
    reading = measured.read_genes
    monkeypatch.setattr(measured, "read_genes", lambda *given: (read.append(str(given[1])), reading(*given))[1])

    def axis() -> MeasuredGenes:
        found = kept_measured_genes(study, study.sections[:1], pin=False, folder=tmp_path / "genes")
        assert found is not None
        return found

    first = axis()
    assert axis() is first
    assert len(read) == len(study.sections) > 1
    (other,) = (lab / source.path for source in study.sections[1].sources if source.role == "counts")
    with gzip.open(other, "rt") as table:
        head, *rest = table.read().splitlines()
    rows = [f"{row}\t1" for row in rest]
    with gzip.open(other, "wt") as table:
        table.write("\n".join([f"{head}\tENSG00000141510", *rows]))
    assert axis().ensembl_ids - first.ensembl_ids == {"ENSG00000141510"}
