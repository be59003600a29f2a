"""Others' readers on a release of real sections, and what its documents say of them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.readers.conftest import no_network as no_network
from tests.readers.world import Plain, pixel_hash
from tests.real.test_her2st_release import built as built

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("her2st")]


@pytest.fixture(scope="module")
def plain(built: tuple[Path, dict[str, Any]]) -> Plain:
    return Plain.read(built[0])


def test_whose_the_sections_are(plain: Plain) -> None:
    """The study's own data, as its record at Zenodo and its paper name themselves."""
    text = (plain.path / "LICENSES.tsv").read_text()
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert sorted(row["sample_id"] for row in rows) == ["her2st_B4", "her2st_C2", "her2st_C3"]
    assert {(row["license"], row["license_url"], row["redistributable"]) for row in rows} == {
        ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/", "true")
    }
    assert all(row["attribution"].startswith("Andersson et al., ") for row in rows)
    bibliography = (plain.path / "CITATION.bib").read_text()
    assert set(re.findall(r"doi = \{(.*)\}", bibliography)) >= {
        "10.1038/s41467-021-26271-2",
        "10.5281/zenodo.4751624",
    }
    card = (plain.path / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in card
    assert f"| breast | 3 | {sum(map(len, plain.rows.values())):,} | 0 |" in card


def test_datasets_timm_wids_and_mlcroissant_read_them(plain: Plain, tmp_path: Path) -> None:
    import datasets
    import mlcroissant
    from timm.data import create_dataset

    from tests.readers.test_torch_readers import wids_pairs

    (split,) = [split for split, rows in plain.rows.items() if rows]
    files = {split: f"data/{split}/*.tar"}
    loaded = datasets.load_dataset(str(plain.path), data_files=files, cache_dir=str(tmp_path / "datasets"))
    assert [row["json"] for row in loaded[split].remove_columns("jpg")] == plain.facts(split)
    read = create_dataset("wds/", root=str(plain.path / "data"), split=split)
    assert [(pixel_hash(image), label) for image, label in read] == [(pixels, 0) for pixels in plain.pixels(split)]
    found = wids_pairs(plain.path / "data/index.json", tmp_path / "wids")
    assert [pair["__key__"] for pair in found] == plain.keys(split)
    records = mlcroissant.Dataset(str(plain.path / "croissant.json")).records("pairs")
    assert {record["pairs/uid"].decode() for record in records} == {row["uid"] for row in plain.rows[split]}
    assert len(json.loads((plain.path / "data/_info.json").read_bytes())["pathway_names"]) == 50
