"""Adapters: nothing changes before training, they go where they should, and they are kept with what they belong to."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from humanst.errors import DataError, IntegrityError, UsageError
from stamp_train.encoder import Encoder, build_encoder
from stamp_train.lora import (
    AdapterFacts,
    add_lora,
    load_adapter,
    lora_names,
    lora_off,
    merge,
    read_adapter_facts,
    save_adapter,
    save_merged,
    target_names,
)
from tests.stamp_train.small import noise_images, tiny_encoder


def trained(seed: int = 0, rank: int = 8, alpha: float = 16.0) -> Encoder:
    """An encoder whose adapters are not zero any more."""
    encoder = add_lora(tiny_encoder(seed), rank=rank, alpha=alpha)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return encoder


def facts_of(encoder: Encoder, **changes) -> AdapterFacts:
    return dataclasses.replace(
        AdapterFacts(encoder.base_sha256, "a" * 64, "b" * 64, 8, 16.0, 0.1, "test_vit"), **changes
    )


def embedded(encoder: Encoder) -> torch.Tensor:
    with torch.no_grad():
        return encoder(noise_images(3))


@pytest.mark.parametrize("training", [False, True])
def test_at_step_0_the_model_is_the_base_bit_for_bit(training: bool) -> None:
    base = embedded(tiny_encoder())
    adapted = add_lora(tiny_encoder()).train(training)
    assert torch.equal(embedded(adapted), base)


def test_with_adapters_off_it_is_the_base_and_afterwards_it_is_not() -> None:
    base, encoder = embedded(tiny_encoder()), trained().train()
    wanted = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    with lora_off(encoder):
        assert torch.equal(embedded(encoder), base)
    assert not torch.allclose(embedded(encoder), base, atol=1e-2)
    assert {name for name, parameter in encoder.named_parameters() if parameter.requires_grad} == wanted


def test_adapters_are_off_for_the_block_alone_even_when_it_fails() -> None:
    encoder = trained()
    before = embedded(encoder)
    with pytest.raises(ZeroDivisionError), lora_off(encoder):
        raise ZeroDivisionError
    assert torch.equal(embedded(encoder), before)


def test_adapters_sit_on_the_attention_of_the_blocks_alone() -> None:
    encoder = add_lora(tiny_encoder())
    # A list of suffixes, as is common, would take the convolution over pixels too.
    suffixes = [name for name, _ in tiny_encoder().model.named_modules() if name.endswith(("qkv", "proj"))]
    assert "patch_embed.proj" in suffixes
    layers = {name.split(".lora_")[0] for name in lora_names(encoder)}
    assert layers == set(suffixes) - {"patch_embed.proj"}
    trainable = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trainable == {f"model.{name}" for name in lora_names(encoder)}
    assert all(re.search(r"blocks\.\d+\.attn\.(qkv|proj)\.lora_[AB]", name) for name in trainable)


def test_dropout_is_on_in_training_alone() -> None:
    encoder = trained()
    assert torch.equal(embedded(encoder), embedded(encoder))
    encoder.train()
    assert not torch.equal(embedded(encoder), embedded(encoder))


def test_an_adapted_layer_is_the_formula() -> None:
    encoder = trained(rank=4, alpha=6.0)
    layer = encoder.model.blocks[1].attn.qkv
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    a, b = (getattr(layer, name)["default"].weight.detach().numpy() for name in ("lora_A", "lora_B"))
    w, bias = layer.base_layer.weight.detach().numpy(), layer.base_layer.bias.detach().numpy()
    expected = x.numpy() @ w.T + bias + 6.0 / 4 * (x.numpy() @ a.T @ b.T)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_the_start_comes_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first, same = add_lora(tiny_encoder(), seed=3), add_lora(tiny_encoder(), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    other = add_lora(tiny_encoder(), seed=4)
    name = lora_names(first)[0]
    states = [encoder.model.state_dict()[name] for encoder in (first, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_only_a_vit_without_adapters_takes_them() -> None:
    with pytest.raises(UsageError, match="Adapters cannot be put"):
        add_lora(build_encoder("test_efficientnet", "random"))
    with pytest.raises(UsageError, match="Adapters cannot be put"):
        add_lora(add_lora(tiny_encoder()))


def test_merged_it_is_a_plain_model_that_gives_the_same(tmp_path: Path) -> None:
    encoder = trained()
    expected = embedded(encoder)
    merged = merge(encoder)
    np.testing.assert_allclose(embedded(merged), expected, atol=1e-5)
    assert merged.model.state_dict().keys() == tiny_encoder().model.state_dict().keys()
    assert {type(module) for module in merged.model.modules()} == {type(m) for m in tiny_encoder().model.modules()}
    assert merged.base_sha256 != encoder.base_sha256
    assert torch.equal(embedded(encoder), expected)
    save_merged(tmp_path / "merged", encoder, facts_of(encoder))
    plain = timm.create_model(f"local-dir:{tmp_path / 'merged'}", pretrained=True).eval()
    with torch.no_grad():
        np.testing.assert_allclose(plain(encoder.prepare(noise_images(3))), expected, atol=1e-5)
    assert build_encoder(str(tmp_path / "merged")).base_sha256 == merged.base_sha256


def test_merging_what_is_not_finite_is_refused() -> None:
    encoder = trained()
    with torch.no_grad():
        dict(encoder.model.named_parameters())[lora_names(encoder)[1]][0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        merge(encoder)


def test_a_saved_adapter_gives_the_same_on_the_same_base(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "adapter.safetensors"
    facts = facts_of(encoder)
    digest = save_adapter(path, encoder, facts)
    assert read_adapter_facts(path) == facts
    fresh = tiny_encoder()
    assert load_adapter(path, fresh, gene_sets_sha256="a" * 64, release_sha256="b" * 64) == facts
    assert torch.equal(embedded(fresh), embedded(encoder))
    assert save_adapter(tmp_path / "again.safetensors", fresh, facts) == digest
    assert set(load_file(path)) == set(lora_names(encoder))
    with safe_open(path, framework="pt") as file:
        assert "a" * 64 in file.metadata()["humanst"]


@pytest.mark.parametrize("field", ["base_sha256", "gene_sets_sha256", "release_sha256"])
def test_an_adapter_of_something_else_is_refused(tmp_path: Path, field: str) -> None:
    encoder, path = trained(), tmp_path / "adapter.safetensors"
    save_adapter(path, encoder, facts_of(encoder, **{field: "c" * 64}))
    fresh = tiny_encoder()
    with pytest.raises(DataError) as caught:
        load_adapter(path, fresh, gene_sets_sha256="a" * 64, release_sha256="b" * 64)
    assert (caught.value.facts.field, caught.value.exit_code) == (field, 5)
    assert not lora_names(fresh)


def test_another_base_is_refused(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "adapter.safetensors"
    save_adapter(path, encoder, facts_of(encoder))
    with pytest.raises(DataError, match="does not belong"):
        load_adapter(path, tiny_encoder(seed=1))


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "adapter.safetensors"
    save_adapter(path, encoder, facts_of(encoder))
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    first = sorted(tensors)[0]
    for changed in (
        {name: tensor for name, tensor in tensors.items() if name != first},
        {**tensors, "patch_embed.proj.weight": torch.zeros(1)},
        {**tensors, first: tensors[first][:2]},
    ):
        save_file(changed, path, header)
        with pytest.raises(DataError, match="does not belong"):
            load_adapter(path, tiny_encoder())
    save_file(tensors, path, header)
    with pytest.raises(DataError, match="alpha"):
        load_adapter(path, add_lora(tiny_encoder(), alpha=8.0))


@pytest.mark.parametrize("header", [None, {}, {"humanst": "[]"}, {"humanst": "{"}, {"humanst": '{"format": 9}'}])
def test_a_file_without_its_header_is_no_adapter(tmp_path: Path, header: dict | None) -> None:
    path = tmp_path / "adapter.safetensors"
    save_file({"a": torch.ones(1)}, path, header)
    with pytest.raises(DataError, match="no adapter"):
        read_adapter_facts(path)


def test_facts_out_of_bounds_and_torn_files_are_refused(tmp_path: Path) -> None:
    encoder, path = trained(), tmp_path / "adapter.safetensors"
    for changes in ({"rank": 10**9}, {"alpha": -1.0}, {"dropout": 1.0}, {"base_sha256": 5}):
        save_adapter(path, encoder, facts_of(encoder, **changes))
        with pytest.raises(DataError, match="no adapter"):
            read_adapter_facts(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(IntegrityError):
        read_adapter_facts(path)


def test_target_names_are_layers_of_the_base() -> None:
    modules = dict(tiny_encoder().model.named_modules())
    assert len(target_names(tiny_encoder())) == 12
    assert all(isinstance(modules[name], torch.nn.Linear) for name in target_names(tiny_encoder()))
