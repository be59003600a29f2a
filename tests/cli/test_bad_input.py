"""Bad input: the right exit code, a message with section, file, expected and found, and the good rest still built."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.helpers import output_json, run_humanst
from tests.studies import ST_RECIPE, World, write_world

Break = Callable[[dict[str, Path]], None]
# What is made once for these tests would be made again by a second worker.
BUILT_ONCE = pytest.mark.xdist_group("bad-input")


def files_of(atlas: Path, section: str = "S1") -> dict[str, Path]:
    """The vendor files of a demo legacy ST section by role, found through the demo catalog itself."""
    from humanst.catalog import load_catalog

    study = load_catalog(atlas / "catalog.yaml").study("demo_st")
    entry = next(item for item in study.sections if item.section_id == section)
    return {source.role: atlas / "mirror" / "demo_st" / source.path for source in entry.sources}


def sections_of(atlas: Path) -> list[str]:
    from humanst.catalog import load_catalog

    return [section.section_id for section in load_catalog(atlas / "catalog.yaml").study("demo_st").sections]


def broken_world(atlas: Path, folder: Path, spoils: dict[str, Break]) -> World:
    """A study of a section ``good``, and sections whose files ``spoils`` may change."""
    first, second = sections_of(atlas)[:2]
    sections = {"good": files_of(atlas, first)}
    for name, spoil in spoils.items():
        sections[name] = {}
        for role, path in files_of(atlas, second).items():
            target = folder / "files" / name / f"bad_{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            sections[name][role] = target
        spoil(sections[name])
    sets = next((atlas / "mirror" / "gene_sets").glob("*.gmt"))
    return write_world(folder / "world", {"study": sections}, {"study": ST_RECIPE}, gene_sets=sets)


def edit_spots(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Break:
    def spoil(files: dict[str, Path]) -> None:
        change(pd.read_csv(files["spots"], sep="\t")).to_csv(files["spots"], sep="\t", index=False)

    return spoil


def edit_counts(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Break:
    def spoil(files: dict[str, Path]) -> None:
        with gzip.open(files["counts"], "rt") as handle:
            table = pd.read_csv(handle, sep="\t", index_col=0)
        with gzip.open(files["counts"], "wt") as handle:
            change(table).to_csv(handle, sep="\t")

    return spoil


def one_value(value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype(float)
        table.iat[3, 5] = value
        return table

    return change


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[:2]])


def not_an_image(files: dict[str, Path]) -> None:
    files["image"].write_text("<html><body>Please log in</body></html>")


def cut_image(files: dict[str, Path]) -> None:
    data = files["image"].read_bytes()
    files["image"].write_bytes(data[: len(data) // 2])


def fluorescence(files: dict[str, Path]) -> None:
    with Image.open(files["image"]) as image:
        size = image.size
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[(x // 37 + y // 41) % 3 == 0] = (10, 190, 80)
    Image.fromarray(pixels).save(files["image"], quality=90)


def mouse(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=lambda name: name[0].upper() + name[1:].lower())


CASES: dict[str, tuple[Break, str, tuple[str, ...]]] = {
    "no-pixel-columns": (
        edit_spots(lambda spots: spots.drop(columns=["pixel_x", "pixel_y"])), "missing-column", ("selection", "pixel_x")
    ),
    "nan-count": (edit_counts(one_value(np.nan)), "counts-nan", ("counts", "integers >= 0")),
    "negative-count": (edit_counts(one_value(-3)), "counts-negative", ("counts", "-3")),
    "fractional-count": (edit_counts(one_value(1.5)), "counts-fractional", ("counts", "1.5")),
    "duplicate-rows": (edit_counts(twice), "duplicate-spot-ids", ("more than once",)),
    "duplicate-spots": (edit_spots(twice), "duplicate-spot-ids", ("selection", "more than once")),
    "not-an-image": (not_an_image, "image-unreadable", ("image",)),
    "cut-image": (cut_image, "image-unreadable", ("image",)),
    "fluorescence": (fluorescence, "not-he", ("pink to purple",)),
    "mouse": (edit_counts(mouse), "not-human", ("human",)),
    "half-scale": (
        edit_spots(lambda spots: spots.assign(pixel_x=spots.pixel_x * 3, pixel_y=spots.pixel_y * 3)),
        "spots-off-image",
        ("outside",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(little_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    """All broken sections beside one good section in one build: its folder, and how it ended."""
    folder = tmp_path_factory.mktemp("broken")
    world = broken_world(little_atlas, folder, {case: spoil for case, (spoil, _, _) in CASES.items()})
    cache = folder / "cache"
    return folder / "store", run_humanst(
        "build", "-o", str(folder / "store"), "--json", "--workers", "1", atlas=world.folder, cache=cache
    )


@BUILT_ONCE
def test_the_good_section_is_built_beside_the_broken_ones(built: tuple[Path, CompletedProcess[str]]) -> None:
    store, result = built
    assert result.returncode == 4, result.stderr
    content = output_json(result)
    assert [row["sample_id"] for row in content["sections"]] == ["study_good"]
    assert sorted(row["item"] for row in content["failures"]) == sorted(f"study_{case}" for case in CASES)
    stores = {path.name for path in (store / "sections").iterdir() if not path.name.startswith(".")}
    assert stores == {"study_good.zarr", "study_good.zarr.card.json"}
    assert [path.name for path in (store / "sections").iterdir() if "partial" in path.name] == []


@BUILT_ONCE
@pytest.mark.parametrize("case", CASES)
def test_a_broken_section_is_named(case: str, built: tuple[Path, CompletedProcess[str]]) -> None:
    _, code, words = CASES[case]
    failure = next(row for row in output_json(built[1])["failures"] if row["item"] == f"study_{case}")
    assert failure["exit_code"] == 5
    assert code in {failure["code"], *(facts["code"] for facts in failure["also"])}
    text = failure["message"]
    assert f"study/{case}" in text
    assert all(word in text for word in words), text
    assert "Expected" in text
    assert "Found" in text


def test_one_section_asked_keeps_its_own_code(little_atlas: Path, tmp_path: Path) -> None:
    world = broken_world(little_atlas, tmp_path, {"bad": CASES["nan-count"][0]})
    result = run_humanst("build", "study", "--sections", "bad", "-o", str(tmp_path / "store"), atlas=world.folder)
    assert result.returncode == 5
    assert result.stdout == ""


def test_a_file_with_another_hash_is_integrity(little_atlas: Path, tmp_path: Path) -> None:
    world = broken_world(little_atlas, tmp_path, {"bad": lambda files: None})
    target = next((world.mirror / "study" / "bad").glob("*selection*"))
    target.write_bytes(target.read_bytes()[:-10])
    result = run_humanst("build", "study", "--sections", "bad", "-o", str(tmp_path / "store"), atlas=world.folder)
    assert result.returncode == 6, result.stderr
    assert target.name in result.stderr


def test_a_missing_file_offline_is_network(little_atlas: Path, tmp_path: Path) -> None:
    world = broken_world(little_atlas, tmp_path, {"bad": lambda files: None})
    next((world.mirror / "study" / "bad").glob("*selection*")).unlink()
    result = run_humanst("build", "study", "--sections", "bad", "-o", str(tmp_path / "store"), atlas=world.folder)
    assert result.returncode == 7, result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "no-such-study", "-o", "x"],
        ["build", "demo_st", "--sections", "Z9", "-o", "x"],
        ["list", "--where", "organ == "],
        ["list", "--where", "__import__('os')"],
        ["build-shards", "-o", "x", "--gene-sets", "none.gmt"],
        ["no-such-command"],
        ["build"],
    ],
)
def test_wrong_words_are_usage_errors(arguments: list[str], little_atlas: Path, tmp_path: Path) -> None:
    result = run_humanst(*[str(tmp_path / "x") if word == "x" else word for word in arguments], atlas=little_atlas)
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert result.stderr
    assert not (tmp_path / "x").exists()
