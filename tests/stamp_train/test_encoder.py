"""The encoder: pixels in, embeddings out, weights from files that may be anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from humanst.errors import DataError, HostileError, IntegrityError, NetworkError, UsageError
from stamp_train.encoder import build_encoder
from stamp_train.model_folder import write_folder
from stamp_train.weights import read_weights, weights_sha256
from tests.stamp_train.small import noise_images, tiny_encoder

MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])


class Code:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def plain_model(**arguments):
    torch.manual_seed(3)
    return timm.create_model("test_vit", num_classes=0, **arguments).eval()


def test_pixels_are_normalised_as_the_card_says() -> None:
    encoder = tiny_encoder(mean=tuple(MEAN), std=tuple(STD))
    images = noise_images(2)
    expected = ((images.numpy() / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(encoder.prepare(images).numpy(), expected, atol=1e-5)


def test_images_of_another_size_are_resized() -> None:
    encoder = tiny_encoder()
    grey = torch.full((1, 224, 200, 3), 51, dtype=torch.uint8)
    pixels = encoder.prepare(grey)
    assert pixels.shape == (1, 3, 160, 160)
    np.testing.assert_allclose(pixels.numpy(), (0.2 - 0.5) / 0.5, atol=1e-5)
    assert tiny_encoder(image_px=96).prepare(grey).shape == (1, 3, 96, 96)
    assert tiny_encoder(image_px=96)(grey).shape == (1, 64)


def test_the_embedding_is_what_timm_gives() -> None:
    encoder = tiny_encoder()
    pixels = encoder.prepare(noise_images(3))
    with torch.no_grad():
        assert torch.equal(encoder.embed(pixels), encoder.model(pixels))
        tokens = encoder.model.forward_features(pixels).numpy()
        both = build_encoder("test_vit", "random", embedding="cls+mean").embed(pixels).numpy()
    np.testing.assert_allclose(both, np.concatenate([tokens[:, 0], tokens[:, 1:].mean(axis=1)], axis=1), atol=1e-5)


def test_registers_are_no_patches(tmp_path: Path) -> None:
    # As in Virchow2: class token, 4 registers, then the patches; no pooling by timm.
    model = plain_model(reg_tokens=4, global_pool="", mlp_layer=timm.layers.SwiGLUPacked, act_layer="silu")
    facts = tiny_encoder().facts
    arguments = {"reg_tokens": 4, "global_pool": "", "mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
    folder = tmp_path / "registers"
    write_folder(
        folder,
        model,
        type(facts)("x", "test_vit", "cls+mean", arguments, image_px=160, mean=(0.5,) * 3, std=(0.5,) * 3),
        {},
    )
    encoder = build_encoder(str(folder))
    with torch.no_grad():
        pixels = encoder.prepare(noise_images(2))
        tokens = model(pixels)
        found = encoder.embed(pixels)
    assert tokens.shape == (2, 1 + 4 + 100, 64)
    np.testing.assert_allclose(found[:, :64], tokens[:, 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 64:], tokens[:, 5:].mean(dim=1), atol=1e-5)
    assert not np.allclose(found[:, 64:], tokens[:, 1:].mean(dim=1), atol=1e-3)


def test_a_convolutional_model_is_pooled() -> None:
    encoder = build_encoder("test_efficientnet", "random")
    pixels = encoder.prepare(noise_images(2))
    with torch.no_grad():
        assert torch.equal(encoder.embed(pixels), encoder.model(pixels))
    with pytest.raises(UsageError, match="no class token"):
        build_encoder("test_efficientnet", "random", embedding="cls")


@pytest.mark.parametrize("images", [torch.zeros(1, 160, 160, 3), torch.zeros(1, 3, 160, 160, dtype=torch.uint8)])
def test_what_are_no_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UsageError):
        tiny_encoder().prepare(images)


def test_random_weights_come_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first = tiny_encoder(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.base_sha256 == tiny_encoder(5).base_sha256 != tiny_encoder(6).base_sha256
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_weights_are_the_same_from_every_kind_of_file(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=7)
    tensors = model.state_dict()
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.bin")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, tmp_path / "c.pth")
    (tmp_path / "folder").mkdir()
    torch.save({"model": tensors}, tmp_path / "folder" / "pytorch_model.bin")
    digests = {
        build_encoder("test_vit", str(tmp_path / name)).base_sha256
        for name in ("a.safetensors", "b.bin", "c.pth", "folder")
    }
    model.reset_classifier(0)
    assert digests == {weights_sha256(model.state_dict())}


def test_the_digest_tells_names_shapes_types_and_values_apart() -> None:
    one = torch.arange(6, dtype=torch.float32)
    states = [{"a": one}, {"b": one}, {"a": one.view(2, 3)}, {"a": one.double()}, {"a": one + 1}, {"a": one[:5]}]
    assert len({weights_sha256(state) for state in states}) == len(states)
    assert weights_sha256({"a": one, "b": one + 1}) == weights_sha256({"b": one + 1, "a": one})
    assert weights_sha256({"a": torch.arange(12).view(3, 4).T}) == weights_sha256(
        {"a": torch.arange(12).view(3, 4).T.contiguous()}
    )


def test_a_folder_is_a_whole_model_that_timm_reads_too(tmp_path: Path) -> None:
    encoder = tiny_encoder(4)
    write_folder(tmp_path / "base", encoder.model, encoder.facts, {})
    again = build_encoder(str(tmp_path / "base"))
    theirs = timm.create_model(f"local-dir:{tmp_path / 'base'}", pretrained=True).eval()
    pixels = encoder.prepare(noise_images(2))
    assert again.base_sha256 == encoder.base_sha256
    assert (again.facts.mean, again.facts.std, again.facts.image_px) == ((0.5,) * 3, (0.5,) * 3, 160)
    assert torch.equal(theirs(pixels), encoder.embed(pixels))


@pytest.mark.parametrize("wrap", [lambda code: code, lambda code: {"state_dict": {"a": torch.ones(1)}, "args": code}])
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, wrap) -> None:
    path = tmp_path / "evil.pth"
    torch.save(wrap(Code(tmp_path / "made")), path)
    with pytest.raises(HostileError) as caught:
        build_encoder("test_vit", str(path))
    assert caught.value.exit_code == 8
    assert not (tmp_path / "made").exists()


def test_a_whole_pickled_model_and_compiled_code_are_refused(tmp_path: Path) -> None:
    torch.save(plain_model(), tmp_path / "model.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    for name in ("model.pth", "script.pt"):
        with pytest.raises(HostileError):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["torn.safetensors", "torn.bin", "text.bin", "empty.bin", "text.safetensors", "junk.pth"]
)
def test_a_torn_file_is_told_from_a_hostile_one(tmp_path: Path, name: str) -> None:
    tensors = plain_model().state_dict()
    save_file(tensors, tmp_path / "whole.safetensors")
    torch.save(tensors, tmp_path / "whole.bin")
    content = {"text": b"hello, these are no weights", "empty": b"", "junk": bytes(range(256)) * 9}
    stem, suffix = name.split(".")
    whole = (tmp_path / f"whole.{suffix}").read_bytes() if stem == "torn" else b""
    (tmp_path / name).write_bytes(content.get(stem, whole[: len(whole) // 2]))
    with pytest.raises(IntegrityError) as caught:
        read_weights(tmp_path / name)
    assert caught.value.exit_code == 6


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    tensors = plain_model().state_dict()
    changed = {
        "missing": {name: value for name, value in tensors.items() if name != "blocks.0.attn.qkv.weight"},
        "unknown": {**tensors, "blocks.9.attn.qkv.weight": torch.ones(1)},
        "shape": {**tensors, "norm.weight": torch.ones(3)},
    }
    for word, state in changed.items():
        path = tmp_path / f"{word}.safetensors"
        save_file(state, path)
        with pytest.raises(DataError, match=word) as caught:
            build_encoder("test_vit", str(path))
        assert caught.value.exit_code == 5
    torch.save({"epoch": 3}, tmp_path / "none.bin")
    with pytest.raises(DataError, match="no named tensors"):
        read_weights(tmp_path / "none.bin")


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "no_such_model"},
        {"model_args": {"checkpoint_path": "/etc/passwd"}},
        {"model_args": [1]},
        {"pretrained_cfg": {"mean": [1]}},
        {"humanst": {"embedding": "sum"}},
        {"model_args": {"mlp_layer": "os"}},
    ],
)
def test_a_config_that_is_not_timms_is_refused(tmp_path: Path, change: dict) -> None:
    encoder = tiny_encoder()
    write_folder(tmp_path / "base", encoder.model, encoder.facts, {})
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises((DataError, UsageError)):
        build_encoder(str(tmp_path / "base"))


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no weights here"):
        build_encoder("test_vit", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="does not say what model"):
        build_encoder(str(tmp_path))
    with pytest.raises(UsageError, match="not known where"):
        build_encoder("conch-like", mean=(0.5,) * 3, std=(0.5,) * 3)


def test_without_a_hub_the_error_is_one_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for encoder, weights in (("vit_tiny", "preset"), ("test_vit", "hf-hub:a/b@main"), ("hf-hub:a/b", "preset")):
        with pytest.raises(NetworkError) as caught:
            build_encoder(encoder, weights)
        assert caught.value.exit_code == 7
