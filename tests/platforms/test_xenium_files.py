"""Panels, controls and custom genes, every version of the transcript table, and tables that cannot be read."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from humanst.errors import DataError
from humanst.platforms.xenium import read
from tests.platforms.bundles import (
    DAPI,
    Bundle,
    by_gene,
    codes,
    dropped,
    recipe,
    refused,
    spread,
    table,
)

PANEL = {"ERBB2": "ENSG00000141736", "EPCAM": "ENSG00000119888", "KRT7": "ENSG00000135480", "LUM": "ENSG00000139329"}


def with_categories(custom: str) -> pd.DataFrame:
    names = ["ERBB2"] * 60 + [custom] * 7 + ["UnassignedCodeword_0001"] * 5 + ["Anything_1"] * 3
    kinds = (
        ["predesigned_gene"] * 60 + ["custom_gene"] * 7 + ["unassigned_codeword"] * 5 + ["genomic_control_probe"] * 3
    )
    xy = np.random.default_rng(3).uniform(0, 330, (len(names), 2))
    is_gene = [kind.endswith("_gene") for kind in kinds]
    return table(xy, names, codeword_category=kinds, is_gene=is_gene)


def test_what_is_no_gene_goes_by_its_category_before_its_name(tmp_path: Path) -> None:
    raw = read(Bundle(tmp_path, with_categories("LUM")).write(), recipe())
    assert by_gene(raw) == {"ERBB2": 60}
    assert dropped(raw) == {"custom-gene": 7, "unassigned-codeword": 5, "genomic-control-probe": 3}


def test_a_custom_gene_with_an_ensembl_id_is_a_gene(tmp_path: Path) -> None:
    raw = read(Bundle(tmp_path, with_categories("LUM"), panel=PANEL).write(), recipe())
    assert by_gene(raw) == {"ERBB2": 60, "EPCAM": 0, "KRT7": 0, "LUM": 7}
    assert raw.gene_ids is not None
    assert dict(zip(raw.gene_names.tolist(), raw.gene_ids.tolist(), strict=True)) == PANEL
    assert "custom-gene" not in dropped(raw)


@pytest.mark.parametrize("ident", ["LUM", "", "reporter-7"])
def test_a_gene_of_the_panel_without_an_ensembl_id_is_no_column(tmp_path: Path, ident: str) -> None:
    """Else a reporter that somebody called LUM would be measured as the gene, or as zero."""
    frame = with_categories("LUM")
    raw = read(Bundle(tmp_path, frame, panel={**PANEL, "LUM": ident}).write(), recipe())
    assert by_gene(raw) == {"ERBB2": 60, "EPCAM": 0, "KRT7": 0}
    assert dropped(raw)["custom-gene"] == 7
    without = frame.drop(columns=["codeword_category", "is_gene"])
    raw = read(Bundle(tmp_path, without, panel={**PANEL, "LUM": ident}).write(), recipe())
    assert dropped(raw)["custom-gene"] == 7


def test_a_table_that_only_says_what_is_a_gene(tmp_path: Path) -> None:
    frame = with_categories("LUM").drop(columns="codeword_category")
    raw = read(Bundle(tmp_path, frame).write(), recipe())
    assert dropped(raw) == {"unassigned-codeword": 5, "not-a-gene": 3}
    assert by_gene(raw) == {"ERBB2": 60, "LUM": 7}


def test_a_panel_gene_without_a_good_transcript_is_measured(tmp_path: Path) -> None:
    frame = pd.concat([spread(), table(np.full((5, 2), 40.0), ["CD8A"] * 5, qv=3.0)])
    assert by_gene(read(Bundle(tmp_path, frame).write(), recipe()))["CD8A"] == 0


def test_the_panel_file_serves_where_there_is_no_matrix(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    targets = [{"type": {"descriptor": "gene", "data": {"name": name, "id": ident}}} for name, ident in PANEL.items()]
    targets.append({"type": {"descriptor": "negative_control_probe", "data": {"name": "NegControlProbe_00001"}}})
    bundle.paths["panel"] = tmp_path / "gene_panel.json"
    bundle.paths["panel"].write_text(json.dumps({"payload": {"targets": targets}}))
    raw = read(bundle.local(), recipe())
    assert raw.gene_ids is not None
    assert dict(zip(raw.gene_names.tolist(), raw.gene_ids.tolist(), strict=True)) == PANEL
    bundle.paths["panel"].write_text("{}")
    assert refused(bundle.local()) == {"panel-unreadable"}


def test_a_panel_of_another_bundle_is_told(tmp_path: Path) -> None:
    panel = {"Gene_0": "GENE_000", "Gene_1": "GENE_001"}
    raw = read(Bundle(tmp_path, spread(), panel=panel).write(), recipe())
    assert "panel-incomplete" in raw.findings.codes()
    assert {name: total for name, total in by_gene(raw).items() if total} == dict(Counter(spread()["feature_name"]))


def test_the_panel_and_the_header_go_into_the_record(tmp_path: Path) -> None:
    header = {"panel_name": "Human Breast", "panel_organism": "Human", "pixel_size": DAPI, "run_name": "secret run"}
    raw = read(Bundle(tmp_path, spread(), experiment=header, panel=PANEL).write(), recipe(min_qv=25))
    assert raw.facts["panel"] == {"name": "Human Breast", "n_genes": 4, "source": "counts"}
    assert raw.facts["min_qv"] == 25
    assert "secret run" not in json.dumps(raw.facts)


def cells(xy: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(xy, columns=["x_centroid", "y_centroid"]).assign(cell_id=range(len(xy)), total_counts=7)


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
def test_cells_are_counted_and_change_nothing(tmp_path: Path, kind: str) -> None:
    """Two in squares with counts, one in a square without, one off the image."""
    bundle = Bundle(tmp_path, spread())
    files = bundle.write()
    without = read(files, recipe())
    assert "cells" not in without.facts
    frame = cells([(10.0, 20.0), (559.0, 300.0), (600.0, 20.0), (-4.0, 50.0)])
    path = bundle.paths["cells"] = tmp_path / f"cells.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    raw = read(bundle.local(), recipe())
    assert raw.facts["cells"] == {"n": 4, "in_squares": 2}
    assert (raw.counts != without.counts).nnz == 0
    assert raw.findings.codes() == without.findings.codes()


@pytest.mark.parametrize("content", [b"PAR1 and no more", b"x_centroid,y\n1,2\n", b"\x1f\x8b\x08"])
def test_a_table_of_cells_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    bundle.paths["cells"] = tmp_path / "cells.parquet"
    bundle.paths["cells"].write_bytes(content)
    raw = read(bundle.local(), recipe())
    assert "cells-unreadable" in raw.findings.codes()
    assert "cells" not in raw.facts
    assert raw.counts.sum() == 400


@pytest.mark.parametrize("organism", ["Mouse", "Human, Mouse", "Mus musculus"])
def test_a_panel_for_another_organism_is_refused(tmp_path: Path, organism: str) -> None:
    assert refused(Bundle(tmp_path, spread(), experiment={"panel_organism": organism}).write()) == {"not-human"}


def as_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path)


def as_csv_gz(frame: pd.DataFrame, path: Path) -> None:
    path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))


def as_bytes(frame: pd.DataFrame, path: Path) -> None:
    frame.assign(feature_name=frame["feature_name"].str.encode("utf-8")).to_parquet(path)


def as_one_row_group(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path)


@pytest.mark.parametrize("write", [as_csv, as_csv_gz, as_bytes, as_one_row_group])
def test_every_version_of_the_table_reads_alike(tmp_path: Path, write: Callable[[pd.DataFrame, Path], None]) -> None:
    """A csv with a nameless index column in front, a gzipped one, names as bytes, one row group."""
    frame = with_categories("LUM")
    bundle = Bundle(tmp_path, frame, row_group=13)
    files = bundle.write()
    reference = read(files, recipe())
    write(frame, bundle.paths["transcripts"])
    raw = read(files, recipe())
    assert (raw.counts != reference.counts).nnz == 0
    assert raw.gene_names.tolist() == reference.gene_names.tolist()
    assert raw.spot_ids.tolist() == reference.spot_ids.tolist()
    assert raw.drops == reference.drops


def zipped(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 transcripts.zarr.zip")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def cut_gzip(path: Path) -> None:
    data = gzip.compress(spread(3000).to_csv(index=False).encode())
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path) -> None:
    data = bytearray(gzip.compress(spread(3000).to_csv(index=False).encode()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def image(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def no_rows(path: Path) -> None:
    spread(1).iloc[:0].to_parquet(path)


def no_qv(path: Path) -> None:
    spread().drop(columns="qv").to_parquet(path)


def no_place(path: Path) -> None:
    spread().assign(x_location=np.nan).to_parquet(path)


def no_name(path: Path) -> None:
    spread().assign(feature_name=None).astype({"feature_name": "string"}).to_parquet(path)


def far_away(path: Path) -> None:
    spread().assign(x_location=np.float32(3e9)).to_parquet(path)


def words(path: Path) -> None:
    spread().assign(x_location="left").to_csv(path)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (zipped, "transcripts-unreadable"),
        (cut, "transcripts-unreadable"),
        (cut_gzip, "transcripts-unreadable"),
        (flipped, "transcripts-unreadable"),
        (image, "transcripts-unreadable"),
        (words, "transcripts-unreadable"),
        (no_rows, "transcripts-unreadable"),
        (no_qv, "missing-column"),
        (no_place, "transcripts-invalid"),
        (no_name, "transcripts-invalid"),
        (far_away, "transcripts-invalid"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, spoil: Callable[[Path], None], code: str) -> None:
    bundle = Bundle(tmp_path, spread())
    files = bundle.write()
    spoil(bundle.paths["transcripts"])
    with pytest.raises(DataError) as caught:
        read(files, recipe())
    assert codes(caught.value) == {code}
    assert caught.value.facts.file == "transcripts.parquet"


def test_a_zarr_folder_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    bundle.paths["transcripts"] = tmp_path / "transcripts.zarr"
    bundle.paths["transcripts"].mkdir()
    with pytest.raises(DataError) as caught:
        read(bundle.local(), recipe())
    assert codes(caught.value) == {"transcripts-zarr"}


def test_all_small_faults_are_told_at_once(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread(), alignment=((1.0, 0.5, 0.0), (0.0, 1.0, 0.0)), panel=PANEL)
    files = bundle.write()
    bundle.paths["experiment"].write_text("{")
    bundle.paths["counts"].write_text("no matrix")
    found = refused(files, target_side_um=56)
    assert found == {"target-side", "alignment-not-similar", "experiment-unreadable", "matrix-unreadable"}


def test_a_bundle_without_transcripts_is_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, spread())
    bundle.write()
    del bundle.paths["transcripts"]
    assert refused(bundle.local()) == {"no-counts"}
