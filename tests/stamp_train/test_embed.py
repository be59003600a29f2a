"""Embeddings into files: of every pair its own, of every patch on tissue, the same whether a run was broken or not."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import pyvips
import simplejpeg
import torch
from PIL import Image

from humanst.errors import DataError, IntegrityError, UsageError
from humanst.load import open_release
from stamp_train.cli import main
from stamp_train.config import AlignConfig
from stamp_train.embed import embed_release, embed_slide
from stamp_train.embed_work import Settings
from stamp_train.encoder import build_encoder
from stamp_train.features import Embeddings, join, read_embeddings
from stamp_train.frozen import Frozen, frozen_encoder
from stamp_train.lora import add_lora
from stamp_train.merging import merge_adapter, write_adapter
from stamp_train.run_facts import facts_of_run
from stamp_train.slides.bags import read_features
from stamp_train.sources import Grid
from stamp_train.tier_notes import leakage_notes
from tests.load.conftest import Written, write_release
from tests.stamp_train.small import tiny_encoder

SMALL = Settings(batch_size=4, chunk_rows=8)
TINY = ["--encoder", "test_vit", "--weights", "random", "--device", "cpu"]
SCALE = 0.5


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_release(tmp_path_factory.mktemp("embed") / "r", {"train": [11, 6], "test": [5], "val": []})


@pytest.fixture(scope="module")
def tiny() -> Frozen:
    return Frozen.of(tiny_encoder(), "test_vit")


@pytest.fixture(scope="module")
def whole(release: Written, tiny: Frozen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embeddings of all pairs, by a run that nothing broke."""
    out = tmp_path_factory.mktemp("whole") / "e.h5"
    embed_release(tiny, release.path, out, settings=SMALL)
    return out


def alone(frozen: Frozen, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return frozen.encoder(torch.from_numpy(image.copy())[None])[0].numpy()


def decoded(jpg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpg)).convert("RGB"))


def call(*given: str) -> int:
    torch.set_num_threads(1)
    with pytest.raises(SystemExit) as ended:
        main(list(given))
    return int(ended.value.code or 0)


def test_each_pair_gets_the_embedding_of_its_own_image(release: Written, tiny: Frozen, whole: Path) -> None:
    keys = [key for split in ("train", "test") for key in release.keys[split]]
    with h5py.File(whole) as file:
        stored = {name: file[name][()] for name in file}
    assert stored["key"].astype(str).tolist() == keys
    assert stored["uid"].astype(str).tolist() == [release.documents[key]["uid"] for key in keys]
    assert stored["sample_id"].astype(str).tolist() == [release.documents[key]["sample_id"] for key in keys]
    corners = [[release.documents[key][axis] - 112 for axis in ("x_px", "y_px")] for key in keys]
    assert np.allclose(stored["coords"], corners)
    wanted = np.stack([alone(tiny, decoded(release.jpgs[key])) for key in keys])
    apart = np.linalg.norm(stored["features"][:, None] - wanted, axis=2)
    assert np.abs(stored["features"] - wanted).max() < 1e-3
    # A few of these pairs have the same image, and nothing else comes as near.
    alike = [[release.jpgs[key] == release.jpgs[other] for other in keys] for key in keys]
    assert ((apart < 1e-3) == np.array(alike)).all()
    found = join(read_embeddings(whole), release.path, ["test", "train"])
    assert found.pairs["key"].tolist() == release.keys["test"] + release.keys["train"]


def test_parquet_holds_the_same_and_splits_can_be_chosen(
    release: Written, tiny: Frozen, whole: Path, tmp_path: Path
) -> None:
    done = embed_release(tiny, str(release.path), tmp_path / "e.parquet", splits=["test"], settings=SMALL)
    table = pq.read_table(tmp_path / "e.parquet")
    with h5py.File(whole) as file:
        assert np.allclose(np.stack(table["features"].to_pylist()), file["features"][17:], atol=1e-5)
        assert np.array_equal(table["x_px"].to_numpy(), file["coords"][17:, 0])
    assert table["key"].to_pylist() == release.keys["test"]
    facts = read_embeddings(done.path).facts
    assert facts == json.loads(json.dumps(done.facts))
    assert facts["source"]["splits"] == {"test": 5}
    assert facts["encoder"]["weights_sha256"] == tiny.encoder.base_sha256
    assert join(read_embeddings(done.path), release.path, ["test"]).missing == ()


def test_the_demo_release_joins_one_to_one(demo_release: Path, tiny: Frozen, tmp_path: Path) -> None:
    opened = open_release(demo_release)
    split = min((name for name in opened.splits if len(opened.index(name))), key=lambda name: len(opened.index(name)))
    embed_release(tiny, demo_release, tmp_path / "e.h5", splits=[split])
    found = join(read_embeddings(tmp_path / "e.h5"), demo_release, [split])
    assert found.pairs["uid"].tolist() == opened.index(split)["uid"].to_pylist()
    assert (found.missing, found.n_elsewhere) == ((), 0)
    assert len(np.unique(found.features, axis=0)) > 0.99 * len(found.pairs)


def killed(frozen: Frozen, release: Path, out: Path, after: int) -> None:
    def tell(step: str, done: int, total: int) -> None:
        if done >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    embed_release(frozen, release, out, settings=SMALL, tell=tell)


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(
    release: Written, tiny: Frozen, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "e.h5"
    for after in (14, 18):
        process = multiprocessing.get_context("fork").Process(target=killed, args=(tiny, release.path, out, after))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        assert not out.exists()
    parts = sorted((tmp_path / ".e.h5.work").glob("*.npy"))
    assert len(parts) == 2  # 16 of 22 rows
    parts[0].write_bytes(parts[0].read_bytes()[:-1] + b"\x01")  # spoilt in the meantime
    done = embed_release(tiny, release.path, out, settings=SMALL)
    assert (done.n_kept, done.n_rows) == (8, 22)
    assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["e.h5"]


def interrupted(step: str, done: int, total: int) -> None:
    if done >= 8:
        raise KeyboardInterrupt


def test_what_another_encoder_has_done_is_not_gone_on_with(release: Written, tiny: Frozen, tmp_path: Path) -> None:
    out = tmp_path / "e.h5"
    other = Frozen.of(tiny_encoder(seed=1), "test_vit")
    with pytest.raises(KeyboardInterrupt):
        embed_release(other, release.path, out, settings=SMALL, tell=interrupted)
    assert embed_release(tiny, release.path, out, settings=SMALL).n_kept == 0


def test_a_file_that_is_there_is_kept_and_another_is_not_replaced(
    release: Written, tiny: Frozen, whole: Path, tmp_path: Path
) -> None:
    before = whole.stat().st_mtime_ns
    done = embed_release(tiny, release.path, whole, settings=Settings(batch_size=3))
    assert (done.n_kept, whole.stat().st_mtime_ns) == (22, before)
    out = Path(shutil.copy(whole, tmp_path / "e.h5"))
    other = Frozen.of(tiny_encoder(seed=1), "test_vit")
    with pytest.raises(UsageError, match="of this name already"):
        embed_release(other, release.path, out, settings=SMALL)
    assert out.read_bytes() == whole.read_bytes()
    embed_release(other, release.path, out, settings=SMALL, overwrite=True)
    assert out.read_bytes() != whole.read_bytes()


def test_workers_read_the_same_images(release: Written, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.h5"
    given = ["embed", str(release.path), "-o", str(out), *TINY, "--batch-size", "4", "--save-every", "8"]
    assert call(*given, "--workers", "1") == 0
    assert out.read_bytes() == whole.read_bytes()


def test_an_adapter_goes_in_and_belongs_to_its_base(release: Written, tmp_path: Path) -> None:
    encoder = add_lora(tiny_encoder(), rank=2, alpha=4.0, dropout=0.0)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.3)
    config = AlignConfig(encoder="test_vit", weights="random", lora_rank=2, lora_alpha=4.0, lora_dropout=0.0)
    opened = open_release(release.path)
    facts = facts_of_run(config, opened, encoder.base_sha256, leakage="a donor was seen")
    write_adapter(tmp_path / "run/adapter", encoder, config, facts)
    frozen = frozen_encoder("test_vit", "random", adapter=tmp_path / "run")
    done = embed_release(frozen, release.path, tmp_path / "e.h5", splits=["test"])
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([decoded(release.jpgs[key]) for key in release.keys["test"]]))
        wanted, base = encoder(images).numpy(), tiny_encoder()(images).numpy()
    with h5py.File(done.path) as file:
        found = file["features"][()]
    assert np.abs(found - wanted).max() < 1e-3
    assert np.abs(found - base).max() > 0.05
    adapter = read_embeddings(done.path).facts["encoder"]["adapter"]
    manifest = (release.path / "MANIFEST.json").read_bytes()
    assert (adapter["release_sha256"], adapter["leakage"]) == (hashlib.sha256(manifest).hexdigest(), "a donor was seen")
    assert frozen_encoder(None, adapter=tmp_path / "run").record == frozen.record
    # A model that was merged before is the same, and does not lose what was said of its adapter.
    merge_adapter(tmp_path / "run", tmp_path / "merged")
    merged = frozen_encoder(str(tmp_path / "merged")).record
    assert merged["weights_sha256"] == frozen.record["weights_sha256"]
    assert (merged["adapter"]["release_sha256"], merged["adapter"]["leakage"]) == (
        adapter["release_sha256"],
        "a donor was seen",
    )
    for weights in ("merged", "merged/model.safetensors"):
        assert frozen_encoder("test_vit", str(tmp_path / weights)).record["adapter"] == merged["adapter"]
    with pytest.raises(IntegrityError, match="trained on another base") as raised:
        frozen_encoder("test_vit", "random", seed=1, adapter=tmp_path / "run/adapter/adapter.safetensors")
    assert raised.value.exit_code == 6


def test_an_adapter_sees_pixels_as_in_its_run_and_on_a_merged_base_both_are_told(
    release: Written, tmp_path: Path
) -> None:
    opened = open_release(release.path)

    def aligned(name: str, **of: Any) -> Path:
        config = AlignConfig(**{"weights": "preset", "lora_rank": 2, **of})
        options = {"image_px": config.image_px, "mean": config.mean, "std": config.std}
        encoder = add_lora(build_encoder(config.encoder, config.weights, **options), rank=2)
        facts = facts_of_run(config, opened, encoder.base_sha256, leakage=f"seen by {name}")
        write_adapter(tmp_path / name / "adapter", encoder, config, facts)
        return tmp_path / name

    first = aligned("first", encoder="test_vit", weights="random", image_px=64, mean=(0.1, 0.2, 0.3))
    for encoder, weights in ((None, "preset"), ("test_vit", "random")):
        record = frozen_encoder(encoder, weights, adapter=first).record
        assert (record["image_px"], record["mean"]) == (64, [0.1, 0.2, 0.3])
    assert frozen_encoder(None, adapter=first, image_px=32).record["image_px"] == 32
    merge_adapter(first, tmp_path / "once")
    second = aligned("second", encoder=str(tmp_path / "once"))
    merge_adapter(second, tmp_path / "twice")
    for frozen in (frozen_encoder(None, adapter=second), frozen_encoder(str(tmp_path / "twice"))):
        facts = {"encoder": json.loads(json.dumps(frozen.record))}
        given = {"m": Embeddings(np.zeros((1, 1), np.float32), ("a",), "key", "f", facts)}
        told = [note for note in leakage_notes(opened, [], given) if "at training" in note]
        assert told == ["m: LEAKAGE at training: seen by second", "m: LEAKAGE at training: seen by first"]


@pytest.fixture(scope="module")
def slide() -> np.ndarray:
    """White glass with one large piece of stained tissue, 0.5 um a pixel: 5 by 4 patches and a rest."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(238, 250, (4 * 224 + 60, 5 * 224 + 90, 3), dtype=np.uint8)
    rgb[180:700, 100:900] = (rng.integers(0, 60, (520, 800, 1)) + np.array([150, 70, 140])).astype(np.uint8)
    return rgb


def as_pyramid(path: Path, rgb: np.ndarray, scale: float = SCALE) -> Path:
    per_mm = 1000 / scale
    options = {"tile": True, "pyramid": True, "compression": "jpeg", "Q": 90, "xres": per_mm, "yres": per_mm}
    pyvips.Image.new_from_array(rgb).tiffsave(str(path), tile_width=256, tile_height=256, resunit="cm", **options)
    return path


def test_a_slide_gives_what_each_patch_alone_would(slide: np.ndarray, tiny: Frozen, tmp_path: Path) -> None:
    source = as_pyramid(tmp_path / "s.tif", slide)
    done = embed_slide(tiny, source, tmp_path / "s.h5", settings=SMALL)
    stained = slide.min(axis=2) < 200
    corners = {(224 * column, 224 * row) for column in range(5) for row in range(4)}
    wanted = {(x, y) for x, y in corners if stained[y : y + 224, x : x + 224].mean() >= 0.15}
    with h5py.File(done.path) as file:
        features, coords = file["features"][()], file["coords"][()]
    assert coords.dtype == np.int64
    assert {tuple(corner) for corner in coords.tolist()} == wanted
    assert 8 < len(coords) == len(wanted) < 20
    whole = np.asarray(Image.open(source).convert("RGB"))
    for corner, found in zip(coords.tolist(), features, strict=True):
        patch = np.ascontiguousarray(whole[corner[1] : corner[1] + 224, corner[0] : corner[0] + 224])
        jpg = simplejpeg.encode_jpeg(patch, quality=90, colorsubsampling="444")
        assert np.abs(alone(tiny, decoded(jpg)) - found).max() < 2e-3
    nearest = np.linalg.norm(features[:, None] - features, axis=2) + 9 * np.eye(len(features))
    assert nearest.min() > 0.02  # so that a patch in another's place would show


def test_a_slide_is_read_as_others_read_it(slide: np.ndarray, tiny: Frozen, tmp_path: Path) -> None:
    source = as_pyramid(tmp_path / "s.tif", slide, scale=0.25)
    embed_slide(tiny, source, tmp_path / "s.h5", settings=SMALL)
    with h5py.File(tmp_path / "s.h5", "r") as file:
        data = {name: file[name][:] for name in ("features", "coords")}
        attributes = dict(file["coords"].attrs)
    assert data["features"].shape == (len(data["coords"]), 64)
    assert attributes["patch_size"] == 224
    assert attributes["patch_size_level0"] == 448
    assert (attributes["level0_magnification"], attributes["target_magnification"]) == (40, 20)
    assert (attributes["overlap"], attributes["name"]) == (0, "s")
    # How TRIDENT finds the side of a patch in level-0 pixels.
    assert round(224 * attributes["level0_magnification"] / attributes["target_magnification"]) == 448
    assert (data["coords"] % 448 == 0).all()
    assert (data["coords"] + 448 <= slide.shape[1::-1]).all()
    assert np.array_equal(read_features(tmp_path / "s.h5"), data["features"])
    embed_slide(tiny, source, tmp_path / "s.parquet", settings=SMALL)
    assert np.array_equal(read_features(tmp_path / "s.parquet"), data["features"])
    table = pq.read_table(tmp_path / "s.parquet")
    assert np.array_equal(np.stack([table["x_px"], table["y_px"]], axis=1), data["coords"])


def test_any_image_and_overlapping_patches(slide: np.ndarray, tiny: Frozen, tmp_path: Path) -> None:
    Image.fromarray(slide).save(tmp_path / "s.png")
    with pytest.raises(DataError, match="how large a pixel"):
        embed_slide(tiny, tmp_path / "s.png", tmp_path / "s.h5")
    grid = Grid(side_px=128, um_per_pixel=1.0, overlap_px=64, min_tissue=0.9)
    done = embed_slide(tiny, tmp_path / "s.png", tmp_path / "s.h5", grid=grid, um_per_pixel=SCALE)
    with h5py.File(done.path) as file:
        coords = file["coords"][()]
    assert (coords % 128 == 0).all()
    assert len(np.unique(coords, axis=0)) == len(coords)
    assert (coords >= [100 - 26, 180 - 26]).all()
    assert (coords + 256 <= [900 + 26, 700 + 26]).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.h5.lock", "s.h5", "s.png"]


def test_a_broken_run_over_a_slide_goes_on(slide: np.ndarray, tiny: Frozen, tmp_path: Path) -> None:
    Image.fromarray(slide).save(tmp_path / "s.png")
    given: dict[str, Any] = {"um_per_pixel": SCALE, "settings": SMALL}
    unbroken = embed_slide(tiny, tmp_path / "s.png", tmp_path / "whole.h5", **given)
    with pytest.raises(KeyboardInterrupt):
        embed_slide(tiny, tmp_path / "s.png", tmp_path / "s.h5", tell=interrupted, **given)
    done = embed_slide(tiny, tmp_path / "s.png", tmp_path / "s.h5", **given)
    assert done.n_kept == 8
    assert done.path.read_bytes() == unbroken.path.read_bytes()


def test_faults_end_with_their_exit_codes(
    release: Written, slide: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def code(source: Path | str, *more: str, out: str = "e.h5", encoder: list[str] = TINY) -> tuple[int, str]:
        capsys.readouterr()
        ended = call("embed", str(source), "-o", str(tmp_path / out), *encoder, *more, "--json")
        return ended, json.loads(capsys.readouterr().out).get("code", "")

    assert code(release.path, "--split", "testing") == (2, "unknown-split")
    assert code(release.path, "--min-tissue", "0.5")[0] == 2
    assert code(release.path, out="e.pt")[0] == 2
    assert code(release.path, encoder=["--device", "cpu"]) == (2, "no-encoder")
    assert code(release.path, encoder=["--encoder", "nosuch"]) == (2, "unknown-encoder")
    assert code(release.path, "--device", "cuda:99") == (2, "device")
    assert code(release.path, "--mean", "1,2")[0] == 2
    assert code(release.path, "--split", "val") == (5, "no-pairs")
    (tmp_path / "empty").mkdir()
    assert code(tmp_path / "empty")[0] == 5
    (tmp_path / "torn.tif").write_bytes(b"II*\0 torn")
    assert code(tmp_path / "torn.tif") == (5, "image-unreadable")
    assert code(as_pyramid(tmp_path / "s.tif", slide), "--split", "test")[0] == 2
    assert code(as_pyramid(tmp_path / "glass.tif", np.full_like(slide, 244))) == (5, "no-tissue")
    torch.save({"weights": Path("x")}, tmp_path / "evil.pth")
    assert code(release.path, encoder=["--encoder", "test_vit", "--weights", str(tmp_path / "evil.pth")])[0] == 8
    own = Path(shutil.copytree(release.path, tmp_path / "own"))
    shard = next((own / "data/test").glob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[2000] ^= 255
    shard.write_bytes(bytes(data))
    assert code(own)[0] == 6
    assert not (tmp_path / "e.h5").exists()
