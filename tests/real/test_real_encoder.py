"""A real encoder on real sections and on a real slide: what the commands print follows from what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from stamp_train.frozen import frozen_encoder
from stamp_train.slides.bags import read_features
from tests.helpers import run_humanst
from tests.real.test_her2st_release import built as built
from tests.stamp_train.test_embed import alone, call

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("her2st")]
# Small images, so that a convolutional encoder is quick.
ENCODER = ["--encoder", "tf_efficientnet_lite0", "--weights", "packaged", "--image-px", "96", "--device", "cpu"]


@pytest.fixture(scope="module")
def embedded(built: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The release of real sections with counts, and the embeddings of its pairs."""
    folder = tmp_path_factory.mktemp("encoder")
    release = Path(shutil.copytree(built[0], folder / "release"))
    work = built[0].with_name(f"{built[0].name}.work")
    added = run_humanst("add-targets", str(release), "--set", "counts", "--work", str(work), cache=folder / "cache")
    assert added.returncode == 0, added.stderr
    assert call("embed", str(release), "-o", str(folder / "lite0.h5"), *ENCODER) == 0
    return release, folder / "lite0.h5"


def test_every_real_pair_is_embedded_once(embedded: tuple[Path, Path]) -> None:
    release, file = embedded
    index = pd.concat([pq.read_table(path).to_pandas() for path in sorted((release / "index").glob("*.parquet"))])
    with h5py.File(file) as opened:
        keys, features = opened["key"][()].astype(str), opened["features"][()]
    assert sorted(keys) == sorted(index["key"])
    assert features.shape == (len(index), 1280)
    # Spots of one section are more alike than spots of two donors, on the whole: it is no noise.
    sections = index.set_index("key")["sample_id"].loc[keys].to_numpy()
    centred = features - features.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    alike, same = centred @ centred.T, sections[:, None] == sections
    np.fill_diagonal(same, val=False)
    assert alike[same].mean() > alike[sections[:, None] != sections].mean() + 0.05


def test_real_sections_are_probed_as_scikit_learn_does(
    embedded: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release, file = embedded
    out = tmp_path / "t.parquet"
    given = ["probe", str(release), str(file), "--split", "train", "--genes", "10", "-o", str(out), "--json"]
    capsys.readouterr()
    assert call(*given) == 0
    content = json.loads(capsys.readouterr().out)
    lines = {(line["features"], line["column"]): line for line in content["lines"]}
    columns = ("hest-compat", "cv-alpha", "norm", "pathways")
    assert set(lines) == {(name, column) for name in ("lite0", "mean RGB") for column in columns}
    assert all(line["pcc"]["note"] == "too few donors" for line in lines.values())
    assert all(0 < line["ceiling"] <= 1 for (_, column), line in lines.items() if column != "pathways")
    table = pd.read_parquet(out)
    assert table.query("column == 'pathways'")["target"].nunique() == 50
    is_first = table["target"] == content["genes"][0]["ensembl_id"]
    mine = table[is_first].query("features == 'lite0' and column == 'hest-compat'").set_index("donor")["pcc"]
    assert np.allclose(mine, by_hand(release, file, content).loc[mine.index], atol=2e-3)


def by_hand(release: Path, file: Path, content: dict[str, Any]) -> pd.Series:
    """r of the first gene by the protocol of HEST-Bench, donor by donor, from the files themselves."""
    import scipy.sparse as sp

    index = pq.read_table(release / "index/train.parquet").to_pandas()
    with h5py.File(file) as opened:
        features = (
            pd.DataFrame(opened["features"][()], index=opened["key"][()].astype(str)).loc[index["key"]].to_numpy()
        )
    genes = pq.read_table(release / "targets/counts/genes.parquet")["ensembl_id"].to_pylist()
    counts = sp.vstack([sp.load_npz(path) for path in sorted((release / "targets/counts").glob("train-*.npz"))])
    chosen = [genes.index(gene["ensembl_id"]) for gene in content["genes"]]
    target, donors = np.log1p(counts.tocsc()[:, chosen].toarray()), index["donor_group"].to_numpy()
    found = {}
    for donor in np.unique(donors):
        train, test = donors != donor, donors == donor
        scaler = StandardScaler().fit(features[train])
        pca = PCA(min(256, train.sum()), random_state=1).fit(scaler.transform(features[train]))
        first, second = (pca.transform(scaler.transform(features[rows])).astype(np.float32) for rows in (train, test))
        alpha = 100 / (first.shape[1] * len(chosen))
        ridge = Ridge(alpha=alpha, solver="lsqr", fit_intercept=False, max_iter=1000, random_state=1)
        predicted = ridge.fit(first, target[train]).predict(second)
        found[donor] = np.corrcoef(predicted[:, 0], target[test, 0])[0, 1]
    return pd.Series(found)


def test_a_real_slide_is_embedded_at_the_scale_its_header_claims(real_data: Path, tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    slide = real_data / "wsi_cmu1_small_region/CMU-1-Small-Region.svs"
    out = tmp_path / "cmu.h5"
    assert call("embed", str(slide), "-o", str(out), *ENCODER, "--min-tissue", "0.6") == 0
    with h5py.File(out) as file:
        features, coords, attributes = file["features"][()], file["coords"][()], dict(file["coords"].attrs)
    with openslide.OpenSlide(slide) as opened:
        assert attributes["level0_um_per_pixel"] == pytest.approx(float(opened.properties["openslide.mpp-x"]))
        assert (attributes["level0_width"], attributes["level0_height"]) == opened.dimensions
        place = tuple(coords[len(coords) // 2].tolist())
        patch = np.asarray(opened.read_region(place, 0, (224, 224)).convert("RGB"))
    assert len(coords) > 10
    assert np.array_equal(read_features(out), features)
    torch.set_num_threads(1)
    encoder = frozen_encoder("tf_efficientnet_lite0", "packaged", image_px=96)
    # 0.499 um a pixel is 0.5 within a pixel's width over the patch; the slide's own pixels lie a fraction beside.
    apart = np.linalg.norm(features - alone(encoder, patch), axis=1)
    assert apart.argmin() == len(coords) // 2
    assert apart.min() < 0.5 * np.median(apart)
