"""Transcripts to squares: every one is counted or dropped by name, on a lattice anchored at the image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from humanst.harmonize.section import measure_scale
from humanst.platforms import reader_for
from humanst.platforms.pooling import SquareGrid, Tally, TranscriptPool
from humanst.platforms.registration import Alignment
from humanst.platforms.transcript_batch import Batch, Coded
from humanst.platforms.xenium import read
from tests.platforms.bundles import (
    DAPI,
    GENES,
    IDENTITY,
    OWN_SCALE,
    Bundle,
    recipe,
    refused,
    spread,
    table,
)

CONTROLS = {
    "NegControlProbe_00031": "negative-control-probe",
    "NegControlCodeword_0500": "negative-control-codeword",
    "antisense_PROKR2": "antisense-probe",
    "BLANK_0022": "blank-codeword",
    "UnassignedCodeword_1234": "unassigned-codeword",
    "DeprecatedCodeword_10041": "deprecated-codeword",
    "Intergenic_Region_24000": "genomic-control-probe",
}
# 3000 x 2000 px of 0.2125 um: 5 x 3 whole squares of 112 um, and a rest of 77.5 x 89 um.
IMAGE_UM = (637.5, 425.0)


def independent(frame: pd.DataFrame, side_um: float, width_um: float, height_um: float) -> tuple[Counter, Counter]:
    """Row by row, in plain Python: (row, column, gene) counts and (reason, gene) drops."""
    kept: Counter = Counter()
    lost: Counter = Counter()
    places = frame[["x_location", "y_location"]].to_numpy(np.float64).tolist()
    for name, qv, (x, y) in zip(frame["feature_name"], frame["qv"], places, strict=True):
        if name in CONTROLS:
            lost[CONTROLS[name], name] += 1
        elif qv < 20:
            lost["low-qv", name] += 1
        elif x < 0 or y < 0 or x >= width_um or y >= height_um:
            lost["off-image", name] += 1
        elif (x // side_um + 1) * side_um > width_um or (y // side_um + 1) * side_um > height_um:
            lost["partial-square", name] += 1
        else:
            kept[int(y // side_um), int(x // side_um), name] += 1
    return kept, lost


borders = st.sampled_from(
    [0.0, -0.0, 112.0, 224.0, 336.0, 55.0, 165.0, 560.0, 637.5, 425.0, 100.0, 300.0, -1e-3, 700.0]
)
places = st.one_of(borders, st.floats(-50.0, 700.0, width=32))
transcripts = st.tuples(
    places, places, st.sampled_from([*GENES, *CONTROLS]), st.sampled_from([5.0, 19.999, 20.0, 20.001, 40.0])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(transcripts, min_size=1, max_size=120), side=st.sampled_from([112.0, 55.0, 100.0]))
def test_every_transcript_is_counted_or_dropped_by_name(rows: list[tuple], side: float) -> None:
    """Per gene and square against a count in plain Python; borders belong to the square on their far side."""
    frame = table(np.array([row[:2] for row in rows]), [row[2] for row in rows], np.array([row[3] for row in rows]))
    kept, lost = independent(frame, side, *IMAGE_UM)
    grid = SquareGrid(side, np.array(IDENTITY), *IMAGE_UM, "off-image")
    pool = TranscriptPool(grid, min_qv=20.0)
    for rows_of_part in np.array_split(np.arange(len(frame)), 3):
        part = frame.iloc[rows_of_part]
        if len(part):
            names, values = pd.factorize(part["feature_name"])
            xy = part[["x_location", "y_location"]].to_numpy(np.float64)
            pool.add(Batch(Coded(names, tuple(values)), xy, part["qv"].to_numpy(np.float64), None, None))
    pooled = pool.result()
    coo = pooled.counts.tocoo()
    squares = pooled.row_col[coo.row].tolist()
    found = {(*square, pooled.features[j]): n for square, j, n in zip(squares, coo.col, coo.data, strict=True)}
    assert found == dict(kept)
    gone = {
        (reason, pooled.features[j]): int(n)
        for reason, totals in pooled.dropped.items()
        for j, n in enumerate(totals)
        if n
    }
    assert gone == dict(lost)
    per_gene = np.asarray(pooled.counts.sum(axis=0)).ravel() + sum(pooled.dropped.values(), np.zeros(1, dtype=int))
    assert dict(zip(pooled.features.tolist(), per_gene.tolist(), strict=True)) == Counter(frame["feature_name"])
    assert pooled.n_transcripts == len(frame)


placements = st.tuples(
    st.integers(-2, 7),  # row of a square: above, on, beside and below the image
    st.integers(-2, 7),
    st.floats(0.02, 0.98),  # where in the square
    st.floats(0.02, 0.98),
    st.sampled_from([*GENES, *CONTROLS]),
    st.sampled_from([3.0, 20.0, 37.5]),
    st.sampled_from([1, 1, 1, 2, 500, 140_003]),  # so many at one place
)


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    rows=st.lists(placements, min_size=1, max_size=12),
    side=st.sampled_from([112.0, 55.0, 100.0]),
    turn=st.floats(-np.pi, np.pi),
    scale=st.floats(0.5, 2.5),
    mirrored=st.booleans(),
    shift=st.tuples(st.floats(-9000, 9000), st.floats(-9000, 9000)),
)
def test_transcripts_of_a_turned_assay_come_back_to_the_squares_they_were_laid_in(
    rows: list[tuple], side: float, turn: float, scale: float, mirrored: bool, shift: tuple[float, float]
) -> None:
    """Laid square by square on the image, carried to the assay's frame by hand, and counted with a dictionary."""
    flip = -1.0 if mirrored else 1.0
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos * flip, -sin, shift[0]], [sin * flip, cos, shift[1]]])
    he_um_per_pixel = DAPI * scale
    shape, room = (3, 5), 0.4  # whole squares, and the part of a square that is left over at the far edges
    kept: Counter = Counter()
    lost: Counter = Counter()
    xy_um, names, qv = [], [], []
    for row, column, down, along, name, quality, times in rows:
        x_px, y_px = ((column + along) * side / he_um_per_pixel, (row + down) * side / he_um_per_pixel)
        xy_um.append([DAPI * (a * x_px + b * y_px + c) for a, b, c in matrix.tolist()])
        names.append(name)
        qv.append(quality)
        beyond = [at + part > n + room for at, part, n in ((row, down, shape[0]), (column, along, shape[1]))]
        if name in CONTROLS:
            lost[CONTROLS[name]] += times
        elif quality < 20:
            lost["low-qv"] += times
        elif row < 0 or column < 0 or any(beyond):
            lost["off-image"] += times
        elif row >= shape[0] or column >= shape[1]:
            lost["partial-square"] += times
        else:
            kept[row, column, name] += times
    assume(all(abs(part - room) > 0.01 for row in rows for part in row[2:4]))
    to_frame = Alignment(matrix, scale, mirrored).um_to_image(DAPI)
    height_um, width_um = ((n + room) * side for n in shape)
    pool = TranscriptPool(SquareGrid(side, to_frame, width_um, height_um, "off-image"), min_qv=20.0)
    codes, values = pd.factorize(np.array(names))
    copies = np.repeat(np.arange(len(rows)), [row[-1] for row in rows])
    for part in np.array_split(np.random.default_rng(len(copies)).permutation(copies), 2):
        if len(part):
            feature = Coded(codes[part], tuple(values.tolist()))
            pool.add(Batch(feature, np.array(xy_um)[part], np.array(qv)[part], None, None))
    pooled = pool.result()
    coo = pooled.counts.tocoo()
    squares = pooled.row_col[coo.row].tolist()
    found = {(*square, pooled.features[j]): n for square, j, n in zip(squares, coo.col, coo.data, strict=True)}
    assert found == dict(kept), "and no square without a count"
    assert {reason: int(totals.sum()) for reason, totals in pooled.dropped.items()} == dict(lost)
    assert pooled.counts.sum() + sum(lost.values()) == pooled.n_transcripts == len(copies)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=12), at=st.integers(1, 20))
def test_adding_up_early_and_often_changes_nothing(parts: list[list[int]], at: int) -> None:
    tally = Tally(compact_at=at)
    for part in parts:
        tally.add(np.array(part, dtype=np.int64))
    keys, counts = tally.result()
    assert keys.tolist() == sorted(keys.tolist())
    assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == Counter(key for part in parts for key in part)


def test_more_than_65535_transcripts_of_a_gene_in_one_square(tmp_path: Path) -> None:
    n = 70_003
    frame = pd.concat([spread(), table(np.full((n, 2), 150.0), ["LUM"] * n)])
    raw = read(Bundle(tmp_path, frame, row_group=9_999).write(), recipe())
    row = raw.spot_ids.tolist().index("r1c1")
    inside = (spread()[["x_location", "y_location"]] // 112 == 1).all(axis=1) & (spread()["feature_name"] == "LUM")
    assert raw.counts[row].toarray()[0, raw.gene_names.tolist().index("LUM")] == n + inside.sum()
    assert raw.counts.dtype == np.int64
    assert raw.counts.sum() == len(frame)


def test_the_section_is_a_square_lattice_anchored_at_the_image(tmp_path: Path) -> None:
    raw = reader_for("xenium")(Bundle(tmp_path, spread(), image_tags=OWN_SCALE).write(), recipe())
    assert raw.platform == "xenium"
    assert raw.target_shape == "square"
    assert (raw.lattice.kind, raw.lattice.pitch_um, raw.lattice.spot_diameter_um) == ("square", 112.0, 112.0)
    assert raw.spot_ids.tolist() == sorted(f"r{row}c{column}" for row in range(3) for column in range(5))
    assert raw.xy_px * DAPI == pytest.approx((raw.row_col[:, ::-1] + 0.5) * 112.0)
    assert [f"r{row}c{column}" for row, column in raw.row_col.tolist()] == raw.spot_ids.tolist()
    fit = measure_scale(raw, recipe())
    assert fit.um_per_pixel == pytest.approx(DAPI, rel=1e-6)
    assert fit.max_residual_px < 1e-6
    assert "scale-one-witness" not in raw.findings.codes()


@pytest.mark.parametrize("side", [55, 100, 112])
def test_the_three_sides_and_no_other(tmp_path: Path, side: int) -> None:
    files = Bundle(tmp_path, spread()).write()
    raw = read(files, recipe(target_side_um=side))
    assert raw.lattice.pitch_um == side
    assert raw.counts.sum() + sum(drop.n for drop in raw.drops) == 400
    assert refused(files, target_side_um=side + 1) == {"target-side"}


def test_a_recipe_that_calls_a_panel_untargeted_is_refused(tmp_path: Path) -> None:
    files = Bundle(tmp_path, spread()).write()
    assert refused(files, targeted=False) == {"panel-is-targeted"}
    assert refused(files, absent_genes="zero") == {"panel-is-targeted"}
