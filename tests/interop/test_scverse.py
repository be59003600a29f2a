"""A section store as others use it: spatialdata reads it, squidpy counts on it, spatialdata-plot draws it in place."""

from __future__ import annotations

import csv
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import tifffile

from humanst.pathways.audit.moran import morans_i, neighbours_on
from tests.helpers import run_humanst

# The imports of squidpy are slow, and so is the first call of what it compiles.
pytestmark = pytest.mark.xdist_group("scverse")
SECTION = "demo_visium_v1_P1"
OF_THE_LIBRARIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, SyntaxWarning)
SIDE_INCHES, DPI = 6, 100


@pytest.fixture(scope="module")
def store(little_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A section of 75 spots, built by the command. Read only."""
    folder = tmp_path_factory.mktemp("interop")
    arguments = ["build", "--sections", SECTION, "-o", str(folder / "work")]
    result = run_humanst(*arguments, atlas=little_atlas, cache=folder / "cache")
    assert result.returncode == 0, result.stderr
    return folder / "work" / "sections" / f"{SECTION}.zarr"


@pytest.fixture(scope="module")
def section(store: Path) -> Any:
    """Opened as anybody does; what complains of it fails the test that asks for it."""
    mpl.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata
        import spatialdata_plot  # noqa: F401
        import squidpy  # noqa: F401
    with no_complaint():
        return spatialdata.read_zarr(store)


class no_complaint:  # noqa: N801
    """Warnings within the block are errors, but for those of the libraries about their own future."""

    def __enter__(self) -> None:
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("error")
        for category in OF_THE_LIBRARIES:
            warnings.simplefilter("ignore", category)

    def __exit__(self, *how: object) -> None:
        self._caught.__exit__(*how)


@pytest.fixture
def table(section: Any) -> Any:
    """A copy of its table, normalised, with the grid of neighbours that squidpy finds."""
    import scanpy
    import squidpy

    table = section["table"].copy()
    scanpy.pp.normalize_total(table)
    scanpy.pp.log1p(table)
    with no_complaint():
        squidpy.gr.spatial_neighbors_grid(table, n_neighs=6)
    return table


@pytest.fixture
def genes(section: Any) -> list[str]:
    """The five genes with the most counts."""
    counts = np.asarray(section["table"].X.sum(axis=0)).ravel()
    return list(section["table"].var_names[np.argsort(-counts)[:5]])


def test_spatialdata_reads_what_it_is(section: Any) -> None:
    import spatialdata

    assert section.coordinate_systems == ["um"]
    assert {kind for kind, *_ in section.gen_elements()} == {"images", "labels", "shapes", "tables"}
    table, spots = section["table"], section["spots"]
    assert table.obs["region"].unique().tolist() == ["spots"]
    assert sorted(table.obs["instance_id"]) == sorted(spots.index)
    matched, joined = spatialdata.join_spatialelement_table(
        sdata=section, spatial_element_names="spots", table_name="table", how="inner"
    )
    assert len(matched["spots"]) == joined.n_obs == table.n_obs == 75
    centres = np.column_stack([matched["spots"].geometry.x, matched["spots"].geometry.y])
    np.testing.assert_allclose(joined.obsm["spatial"], centres)


def test_squidpy_finds_the_neighbours_that_the_lattice_has(section: Any, table: Any) -> None:
    obs = table.obs
    ours = neighbours_on(obs["row"].to_numpy(), obs["col"].to_numpy(), "hex", np.ones(len(obs), bool))
    assert ours.n_islands == 0
    theirs = table.obsp["spatial_connectivities"]
    assert ((theirs > 0) != (ours.weights > 0)).nnz == 0
    assert theirs.nnz > 300


def test_squidpy_finds_neighbours_through_the_spatialdata_object(section: Any) -> None:
    import squidpy

    with no_complaint():
        squidpy.gr.spatial_neighbors_radius(
            section,
            elements_to_coordinate_systems={"spots": "um"},
            table_key="table",
            radius=105.0,
            key_added="within",
        )
    distances = section["table"].obsp["within_distances"]
    places = section["table"].obsm["spatial"]
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.testing.assert_allclose(distances.toarray(), np.where(apart <= 105.0, apart, 0.0), atol=1e-6)
    assert distances.nnz > 300


def test_moran_of_squidpy_is_ours(table: Any, genes: list[str]) -> None:
    import squidpy

    with no_complaint():
        squidpy.gr.spatial_autocorr(table, mode="moran", genes=genes, n_perms=None, n_jobs=1, show_progress_bar=False)
    theirs = table.uns["moranI"]["I"][genes].to_numpy()
    obs = table.obs
    neighbours = neighbours_on(obs["row"].to_numpy(), obs["col"].to_numpy(), "hex", np.ones(len(obs), bool))
    np.testing.assert_allclose(morans_i(table[:, genes].X.toarray(), neighbours), theirs, rtol=1e-4, atol=1e-6)
    assert np.ptp(theirs) > 0.01


def test_squidpy_draws_a_dot_a_spot(table: Any, genes: list[str]) -> None:
    import matplotlib.pyplot as plt
    import squidpy

    with no_complaint():
        axes = squidpy.pl.spatial_scatter(table, color=genes[0], shape=None, library_id="", size=20, return_ax=True)
    dots = [part for part in axes.collections if len(part.get_offsets()) == table.n_obs]
    values = table[:, genes[0]].X.toarray().ravel()
    assert dots
    for part in dots:
        np.testing.assert_allclose(np.asarray(part.get_offsets()), table.obsm["spatial"])
        if part.get_array() is not None:
            np.testing.assert_allclose(np.asarray(part.get_array()), values, rtol=1e-5)
    assert any(part.get_array() is not None for part in dots)
    plt.close("all")


def drawn(section: Any, caplog: pytest.LogCaptureFixture, *, color: str | None) -> tuple[np.ndarray, Any]:
    """Pixels (y, x, RGB in 0..1) of the section in ``um``, and the function from um to (row, column) of them."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(SIDE_INCHES, SIDE_INCHES), dpi=DPI)
    with no_complaint(), caplog.at_level(logging.WARNING):
        layers = section.pl.render_images("he")
        layers = layers if color is None else layers.pl.render_shapes("spots", color=color)
        layers.pl.show(coordinate_systems="um", ax=axes, colorbar=False)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255.0
    to_screen = axes.transData.frozen()
    plt.close(figure)

    def place(xy_um: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across, up = to_screen.transform(xy_um).T
        return np.round(len(pixels) - 1 - up).astype(int), np.round(across).astype(int)

    return pixels, place


@dataclass(frozen=True)
class Vendor:
    """What the vendor's files say: the slide, the places of spots on it, and how large its pixels are."""

    slide: np.ndarray
    places_px: dict[str, tuple[float, float]]
    um_per_px: float


@pytest.fixture(scope="module")
def vendor(little_atlas: Path) -> Vendor:
    """Read without humanst. Spots of a Visium slide are 100 um apart, which is all the scale that is needed."""
    folder = little_atlas / "mirror" / "demo_visium_v1" / "P1"
    rows = list(csv.reader((folder / "outs" / "spatial" / "tissue_positions_list.csv").open()))
    places = {row[0]: (float(row[5]), float(row[4])) for row in rows}
    grid = {(int(row[2]), int(row[3])): places[row[0]] for row in rows}
    pitches = [np.hypot(*np.subtract(grid[r, c + 2], at)) for (r, c), at in grid.items() if (r, c + 2) in grid]
    return Vendor(tifffile.imread(folder / "image.tif", level=0), places, 100.0 / float(np.median(pitches)))


def test_the_picture_is_drawn_where_the_slide_has_it_and_spots_lie_on_tissue(
    section: Any, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    """Points all over the vendor's slide have the colour that is drawn at their place in um."""
    pixels, place = drawn(section, caplog, color=None)
    # About as coarse as what is drawn.
    half = round(1.5 / vendor.um_per_px)
    rng = np.random.default_rng(0)
    at_px = rng.integers(50, np.array(vendor.slide.shape[1::-1]) - 50, size=(400, 2))
    slide = [vendor.slide[y - half : y + half + 1, x - half : x + half + 1].mean(axis=(0, 1)) / 255 for x, y in at_px]
    at_um = (at_px + 0.5) * vendor.um_per_px
    straight = np.corrcoef(pixels[place(at_um)].ravel(), np.ravel(slide))[0, 1]
    beside = np.corrcoef(pixels[place(at_um + 15.0)].ravel(), np.ravel(slide))[0, 1]
    flipped = np.corrcoef(pixels[::-1][place(at_um)].ravel(), np.ravel(slide))[0, 1]
    assert straight > 0.9
    assert straight > max(beside, flipped) + 0.1
    density = -np.log(np.clip(pixels, 1 / 255, 1)).sum(axis=2)
    ring = 20 * np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], axis=1)
    on_spots = np.array([density[place(spot + ring)].mean() for spot in section["table"].obsm["spatial"]])
    corner = density[place(np.array([[12.0, 12.0]]))]
    assert corner < 0.3
    # Fat is empty within, and the demo has some.
    assert (on_spots > corner + 0.15).mean() > 0.9


def test_spots_are_drawn_at_their_places_in_the_colour_of_the_gene(
    section: Any, vendor: Vendor, genes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The places are the vendor's, the width is that of a Visium spot: 55 um."""
    bare, place = drawn(section, caplog, color=None)
    pixels, place = drawn(section, caplog, color=genes[0])
    spots = vendor.um_per_px * np.array([vendor.places_px[name] for name in section["table"].obs_names])
    values = section["table"][:, genes[0]].X.toarray().ravel()
    colours = mpl.colormaps["viridis"](np.linspace(0, 1, 256))[:, :3]
    seen = pixels[place(spots)]
    apart = np.linalg.norm(seen[:, None] - colours[None], axis=2)
    assert apart.min(axis=1).max() < 0.05, "each centre has a colour of the map"
    expected = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(apart.argmin(axis=1) / 255, expected, atol=0.03)
    radius = 55.0 / 2
    rim = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    for share, is_drawn in ((0.85, True), (1.25, False)):
        places = place((spots[:, None] + share * radius * rim).reshape(-1, 2))
        changed = np.abs(pixels[places] - bare[places]).max(axis=1) > 0.02
        assert changed.mean() == pytest.approx(float(is_drawn), abs=0.03), "a spot is as wide as it was measured"
