"""The model: it starts at chance whatever the base, learns what can be told apart, and trains what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stamp_train.config import AlignConfig
from stamp_train.lora import add_lora, lora_names
from stamp_train.losses import Truth, align_loss, info_nce
from stamp_train.model import AlignModel, start_alike
from stamp_train.pathway_encoders import Pathways, ScoreEncoder, TokenEncoder
from tests.stamp_train.small import noise_images, tiny_encoder

B, P = 16, 50


def batch(n: int = B, seed: int = 0) -> tuple[Pathways, Truth]:
    draw = torch.Generator().manual_seed(seed)
    scores, library = torch.randn(n, P, generator=draw), torch.randn(n, generator=draw)
    valid = torch.rand(n, P, generator=draw) > 0.1
    genes = torch.rand(n, 3 * P, generator=draw) * 5
    xy_um = torch.rand(n, 2, generator=draw, dtype=torch.float64) * 1e4
    pathways = Pathways(scores, valid, library, genes, torch.ones(n, 3 * P, dtype=torch.bool))
    return pathways, Truth(scores, valid, library, torch.arange(n) // 4, xy_um)


def model(seed: int = 0, kind: str = "score", **settings) -> AlignModel:
    torch.manual_seed(seed)
    config = AlignConfig(pathway_encoder=kind, **settings)
    encoder = ScoreEncoder(P) if kind == "score" else TokenEncoder([[3 * p, 3 * p + 1, 3 * p + 2] for p in range(P)])
    return AlignModel(add_lora(tiny_encoder(seed)), encoder, P, config)


def terms(net: AlignModel, n: int = B, **settings) -> dict[str, torch.Tensor]:
    pathways, truth = batch(n)
    return align_loss(net(noise_images(n), pathways), truth, AlignConfig(**settings), torch.ones(P))


@pytest.mark.parametrize("kind", ["score", "token"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_contrast_starts_at_chance(kind: str, seed: int) -> None:
    with torch.no_grad():
        assert terms(model(seed, kind).train(), 48)["contrast"].item() == pytest.approx(math.log(48), abs=0.1)


def test_it_starts_at_chance_with_embeddings_that_differ_as_those_of_a_trained_base() -> None:
    # A base without training gives nearly one embedding for all; a trained one does not.
    torch.manual_seed(0)
    projector, encoder = model().projector, ScoreEncoder(P)
    start_alike(encoder.out)
    pathways, _ = batch(64)
    image = functional.normalize(projector(torch.randn(64, 64)), dim=1)
    pathway = functional.normalize(encoder(pathways), dim=1)
    everyone = torch.ones(64, 64, dtype=torch.bool)
    loss = info_nce(image @ pathway.T / 0.07, torch.eye(64), everyone)
    assert loss.item() == pytest.approx(math.log(64), abs=0.1)


def test_the_contrast_goes_to_zero_where_pairs_can_be_told_apart() -> None:
    net = model().eval()
    pathways, _ = batch(32)
    image, everyone = pathways.scores @ torch.randn(P, 64), torch.ones(32, 32, dtype=torch.bool)
    trained = [*net.projector.parameters(), *net.pathway_encoder.parameters(), net.log_scale]
    optimiser = torch.optim.AdamW(trained, lr=1e-3)
    for _ in range(60):
        ours = functional.normalize(net.projector(image), dim=1)
        theirs = functional.normalize(net.pathway_encoder(pathways), dim=1)
        loss = info_nce(net.log_scale.exp() * ours @ theirs.T, torch.eye(32), everyone)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_at_step_0_the_anchor_holds_and_the_embedding_is_the_base() -> None:
    net = model().train()
    outputs = net(noise_images(B), batch()[0])
    assert torch.equal(outputs.embedding, outputs.frozen)
    assert not outputs.frozen.requires_grad
    with torch.no_grad():
        assert torch.equal(outputs.embedding, tiny_encoder()(noise_images(B)))
    assert model(weight_anchor=0.0)(noise_images(B), batch()[0]).frozen is None


def test_the_frozen_embedding_stays_when_the_adapters_move() -> None:
    net = model()
    with torch.no_grad():
        for name, parameter in net.encoder.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    outputs = net(noise_images(B), batch()[0])
    assert torch.equal(outputs.frozen, tiny_encoder()(noise_images(B)))
    assert not torch.allclose(outputs.embedding, outputs.frozen, atol=1e-2)
    assert terms(net)["anchor"].item() > 0


def test_the_anchor_is_the_base_without_dropout_of_its_own() -> None:
    net = model()
    net.encoder.model.pos_drop = nn.Dropout(0.5)
    net.train()
    with torch.no_grad():
        outputs = net(noise_images(B), batch()[0])
    assert torch.equal(outputs.frozen, tiny_encoder()(noise_images(B)))
    assert net.encoder.model.pos_drop.training


@pytest.mark.parametrize("kind", ["score", "token"])
def test_a_step_moves_adapters_and_heads_and_nothing_of_the_base(kind: str) -> None:
    net, config = model(kind=kind).train(), AlignConfig()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameter_groups(config))
    for _ in range(2):  # while B is zero, A has no gradient
        optimiser.zero_grad()
        terms(net)["total"].backward()
        optimiser.step()
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert {name for name in moved if name.startswith("encoder.")} == {
        f"encoder.model.{name}" for name in lora_names(net.encoder)
    }


def test_groups_hold_each_trainable_parameter_once_and_spare_what_is_not_decayed() -> None:
    net, config = model(), AlignConfig()
    groups = net.parameter_groups(config)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in net.parameters() if parameter.requires_grad}
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    decayed = {names[id(parameter)] for group in groups if group["weight_decay"] for parameter in group["params"]}
    assert decayed == {
        "projector.1.weight", "projector.3.weight", "score_head.weight", "library_head.weight",
        "pathway_encoder.layers.0.weight", "pathway_encoder.layers.3.weight", "pathway_encoder.out.weight",
    }  # fmt: skip


def test_gradient_checkpointing_changes_no_gradient() -> None:
    found = []
    for on in (False, True):
        net = model(gradient_checkpointing=on).eval()
        net.encoder.model.train()  # timm checkpoints in training; nothing of test_vit is random in it but the adapters
        for module in net.encoder.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        terms(net)["total"].backward()
        found.append({name: p.grad.numpy() for name, p in net.named_parameters() if p.requires_grad})
    assert any(np.abs(gradient).max() > 0 for name, gradient in found[0].items() if "lora_B" in name)
    for name, gradient in found[0].items():
        np.testing.assert_allclose(found[1][name], gradient, atol=1e-6, err_msg=name)


def test_the_scale_stays_within_1_and_100() -> None:
    net = model()
    for value, kept in ((9.0, 100.0), (-3.0, 1.0)):
        with torch.no_grad():
            net.log_scale.fill_(value)
        net.clamp_scale()
        assert net(noise_images(2), batch(2)[0]).scale.item() == pytest.approx(kept, rel=1e-5)
    assert model(temperature=0.5)(noise_images(2), batch(2)[0]).scale.item() == pytest.approx(2.0)
