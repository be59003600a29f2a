"""What a lab gets wrong in its tables and features: each is told clearly, with its exit code, before any training."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from humanst.errors import DataError, HostileError, HumanstError, IntegrityError, UsageError
from stamp_train.slides.bags import open_bags, read_features
from stamp_train.slides.data import read_cohort
from stamp_train.slides.tasks import NO_LABEL, all_tasks, task_named
from tests.stamp_train.slide_cohort import Made, make_cohort, write_slide

SIZES = {"train": 8, "val": 4, "test": 4, "external_a": 4}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_cohort(tmp_path, SIZES)


def cohort(made: Made, task: str = "er", **options):
    return read_cohort(made.labels, made.splits, task_named(task), **options)


def bags(made: Made, **options):
    return open_bags([made.features], cohort(made), **options)


def refused(made: Made, code: str, *, task: str = "er", kind: type[HumanstError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        open_bags([made.features], cohort(made, task))
    assert caught.value.facts.code == code
    return str(caught.value)


def put(column: str, slide: str, value: str):
    def change(table: pd.DataFrame) -> None:
        assert (table["slide_id"] == slide).any()
        table.loc[table["slide_id"] == slide, column] = value

    return change


def test_a_sound_cohort_is_read_in_the_order_of_its_names(made: Made) -> None:
    read, found = cohort(made), bags(made)
    assert list(read.names) == sorted(read.names)
    assert {name: len(read.rows(name)) for name in SIZES} == SIZES
    assert read.tested == ["test", "external_a"]
    assert found.width == 16
    with h5py.File(made.features / "test_001.h5") as handle:
        stored = handle["features"][()]
    row = read.names.index("p_test_001")
    assert np.array_equal(found.features(row), stored)
    assert found.n_patches[row] == len(stored)


def test_slides_of_a_patient_are_one_bag_or_one_each(made: Made) -> None:
    made.edit_labels(put("patient_id", "train_001", "p_train_003"))
    together, apart = cohort(made), cohort(made, bag="slide")
    row = together.names.index("p_train_003")
    assert together.slides[row] == ("train_001", "train_003")
    assert len(apart.names) == len(together.names) + 1
    found = open_bags([made.features], together)
    both = [read_features(made.features / f"{slide}.h5") for slide in ("train_001", "train_003")]
    assert np.array_equal(found.features(row), np.concatenate(both))


def test_labels_of_one_patient_that_differ_are_refused_unless_slides_stand_alone(made: Made) -> None:
    made.edit_labels(put("patient_id", "train_000", "p_train_001"))
    assert "train_000: negative, train_001: positive" in refused(made, "labels-differ")
    assert len(cohort(made, bag="slide").names) == sum(SIZES.values())


def test_a_patient_in_two_splits_is_leakage(made: Made) -> None:
    made.edit_labels(put("patient_id", "test_001", "p_train_001"))
    told = refused(made, "leakage")
    assert "p_train_001: test, train" in told
    assert DataError.exit_code == 5
    made.edit_splits(put("split", "test_001", "unused"))
    assert cohort(made).n_unused == 1


def test_a_slide_under_two_names_in_two_splits_is_leakage(made: Made) -> None:
    (made.features / "test_001.h5").write_bytes((made.features / "train_001.h5").read_bytes())
    told = refused(made, "leakage")
    assert "train_001.h5 in train" in told
    assert "test_001.h5 in test" in told


def test_slides_of_one_table_alone_are_unknown(made: Made) -> None:
    row = {"slide_id": "nowhere", "patient_id": "p", "er": "positive", "time": "1", "event": "1"}
    made.edit_labels(lambda table: pd.concat([table, pd.DataFrame([row])]))
    assert "nowhere" in refused(made, "slides-unknown")
    made.edit_labels(lambda table: table[~table["slide_id"].isin(["nowhere", "val_001"])])
    assert "val_001" in refused(made, "slides-unknown")


def test_empty_labels_are_left_out_and_counted(made: Made) -> None:
    for slide, value in (("train_000", ""), ("train_001", "NA"), ("test_000", "n/a")):
        made.edit_labels(put("er", slide, value))
    read = cohort(made)
    assert read.n_unlabelled == 3
    assert len(read.names) == sum(SIZES.values()) - 3


@pytest.mark.parametrize("split", ["train", "val", "test", "external_a"])
def test_a_single_class_is_refused_in_every_split(made: Made, split: str) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["slide_id"].str.startswith(split), "er"] = "positive"

    made.edit_labels(change)
    assert f"Split {split} has a single class" in refused(made, "single-class")


def test_a_class_that_is_not_trained_is_refused(made: Made) -> None:
    task = all_tasks()["molecular_subtype"]
    made.edit_labels(lambda table: table.assign(molecular_subtype=table["er"]))
    made.edit_labels(put("molecular_subtype", "test_001", "basal"))
    made.edit_labels(put("molecular_subtype", "test_003", "basal"))
    assert "basal" in refused(made, "class-untrained", task=task.name)


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (put("er", "train_001", "maybe"), "label-unknown", "train_001"),
        (put("patient_id", "train_001", " "), "id-missing", "patient_id"),
        (lambda table: table.drop(columns="er"), "column-missing", "er"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "slide-twice", "slide_id"),
    ],
)
def test_faults_of_the_labels(made: Made, change, code: str, told: str) -> None:
    made.edit_labels(change)
    assert told in refused(made, code)


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (put("split", "train_001", "tset"), "split-unknown", "tset"),
        (lambda table: table.assign(split=table["split"].replace("val", "unused")), "split-empty", "val"),
        (lambda table: table.assign(split=table["split"].replace(["test", "external_a"], "unused")), "split-empty", ""),
        (lambda table: table.rename(columns={"split": "fold"}), "column-missing", "split"),
    ],
)
def test_faults_of_the_splits(made: Made, change, code: str, told: str) -> None:
    made.edit_splits(change)
    assert told in refused(made, code)


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [("time", "-3", "time-invalid"), ("time", "soon", "time-invalid"), ("event", "dead", "event-unknown")],
)
def test_faults_of_survival_labels(made: Made, column: str, value: str, code: str) -> None:
    made.edit_labels(put(column, "val_001", value))
    assert "val_001" in refused(made, code, task="survival")


def test_a_table_that_is_none_is_refused(made: Made) -> None:
    made.labels.write_bytes(b'slide_id,patient_id,er\n"a,b\n')
    refused(made, "table-unreadable")
    made.labels.write_bytes(b"\xff\xfe\x00slide")
    refused(made, "table-unreadable")


def test_a_missing_features_file_is_named(made: Made) -> None:
    (made.features / "val_002.h5").unlink()
    assert "val_002" in refused(made, "features-missing")
    made.edit_labels(put("er", "val_002", ""))  # a slide that is not used needs no features
    assert bags(made).width == 16


def test_features_of_another_width_are_refused(made: Made) -> None:
    write_slide(made.features / "test_002.h5", np.ones((5, 17), np.float32))
    told = refused(made, "features-width")
    assert "test_002.h5" in told
    assert "Expected 16" in told


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(made: Made, value: float) -> None:
    features = np.ones((5, 16), np.float32)
    features[3, 2] = value
    write_slide(made.features / "test_002.h5", features)
    assert "1 of 5 patches" in refused(made, "features-not-finite")


@pytest.mark.parametrize("features", [np.ones((0, 16), np.float32), np.ones(16, np.float32), np.ones((3, 16), int)])
def test_features_of_another_shape_are_refused(made: Made, features: np.ndarray) -> None:
    write_slide(made.features / "test_002.h5", features)
    assert "test_002.h5" in refused(made, "features-shape")


def test_files_that_are_not_what_they_are_called_are_refused(made: Made, tmp_path: Path) -> None:
    path = made.features / "test_002.h5"
    path.write_bytes(path.read_bytes()[:900])
    refused(made, "features-unreadable", kind=IntegrityError)
    with h5py.File(path, "w") as handle:
        handle["embeddings"] = np.ones((3, 16))
    assert "embeddings" in refused(made, "features-missing")
    bad = tmp_path / "x.parquet"
    bad.write_bytes(b"PAR1 nothing")
    with pytest.raises(IntegrityError):
        read_features(bad)


def test_a_file_that_reaches_out_or_grows_too_much_is_hostile(made: Made, tmp_path: Path) -> None:
    path = made.features / "test_002.h5"
    with h5py.File(path, "w") as handle:
        handle["features"] = h5py.ExternalLink(str(made.features / "test_001.h5"), "features")
    refused(made, "h5-reaches-out", kind=HostileError)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(640))
    with h5py.File(path, "w") as handle:
        handle.create_dataset("features", (10, 16), np.float32, external=[(str(secret), 0, 640)])
    refused(made, "h5-reaches-out", kind=HostileError)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("features", (10_000_000, 1024), np.float32, chunks=(1024, 1024), compression="gzip")
    refused(made, "h5-bomb", kind=HostileError)


def test_slides_come_from_several_folders_and_twice_is_refused(made: Made, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (made.features / "external_a_000.h5").rename(other / "external_a_000.h5")
    assert open_bags([made.features, other], cohort(made)).width == 16
    (other / "train_000.h5").write_bytes((made.features / "train_000.h5").read_bytes())
    with pytest.raises(DataError) as caught:
        open_bags([made.features, other], cohort(made))
    assert caught.value.facts.code == "features-twice"


def test_ids_may_carry_the_suffix_of_the_slide_and_cannot_leave_the_folder(made: Made, tmp_path: Path) -> None:
    expected = bags(made).sha256
    rename = lambda table: table.assign(slide_id=table["slide_id"] + ".svs")
    made.edit_labels(rename)
    made.edit_splits(rename)
    assert bags(made).sha256 == expected
    write_slide(tmp_path / "outside.h5", np.ones((3, 16), np.float32))
    escape = lambda table: table.assign(slide_id=table["slide_id"].replace("test_001.svs", "../outside"))
    made.edit_labels(escape)
    made.edit_splits(escape)
    assert "../outside" in refused(made, "features-missing")


@pytest.mark.parametrize("kind", ["list", "fixed", "leading axis"])
def test_other_ways_to_keep_features_read_the_same(tmp_path: Path, kind: str) -> None:
    features = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    path = tmp_path / ("slide.h5" if kind == "leading axis" else "slide.parquet")
    if kind == "leading axis":
        write_slide(path, features[None])
    else:
        column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), 16) if kind == "fixed" else None
        column = pa.array(features.tolist(), pa.list_(pa.float32())) if column is None else column
        pq.write_table(pa.table({"x_px": np.arange(7), "features": column}), path, row_group_size=3)
    assert np.array_equal(read_features(path), features)


def test_ragged_lists_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"features": [[1.0, 2.0], [3.0]]}), tmp_path / "slide.parquet")
    with pytest.raises(DataError) as caught:
        read_features(tmp_path / "slide.parquet")
    assert caught.value.facts.code == "features-shape"


def test_memory_is_kept_to_what_is_allowed(made: Made) -> None:
    found = bags(made, memory_bytes=3000)
    for row in range(len(found.files)):
        found.features(row)
    assert 0 < found._kept_bytes <= 3000
    assert len(found._kept) < len(found.files)


def test_every_biomarker_of_the_paper_has_a_task_with_labels_that_mean_one_thing() -> None:
    tasks = all_tasks()
    wanted = {"er", "pr", "her2", "ar", "ck5", "ttf1", "napsin_a", "pik3ca", "egfr", "kras", "braf", "idh", "tp53"}
    assert wanted | {"ki67", "molecular_subtype", "tmb", "msi"} <= set(tasks)
    for task in tasks.values():
        spellings = [spelling for names in task.classes.values() for spelling in names]
        assert len(spellings) == len(set(spellings))
        assert not NO_LABEL & set(spellings)
        assert all(task.class_of(name) == name for name in task.classes)
        assert task.needs
    assert task_named("MSI").class_of(" dMMR ") == "instable"
    assert task_named("napsin-a").name == "napsin_a"
    with pytest.raises(UsageError) as caught:
        task_named("er2")
    assert "napsin_a" in str(caught.value)


def test_a_task_without_a_column_asks_for_one(made: Made) -> None:
    refused(made, "usage", task="classification", kind=UsageError)
