"""Pathways to one vector: masked pathways add nothing, and the networks are what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scanpy as sc
import torch
from anndata import AnnData

from humanst.errors import UsageError
from stamp_train.pathway_encoders import Pathways, ScoreEncoder, TokenEncoder, log_cp10k

P, G, B = 6, 40, 5
MEMBERS = [[0, 1, 2], [3, 4], [5, 6, 7, 8], [2, 9], [10], [11, 12, 13]]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def pathways(*, gradient: bool = False) -> Pathways:
    rng = np.random.default_rng(1)
    floats = [rng.normal(size=shape).astype(np.float32) for shape in ((B, P), (B,), (B, G))]
    scores, library, genes = (torch.from_numpy(values).requires_grad_(gradient) for values in floats)
    valid = torch.ones(B, P, dtype=torch.bool)
    valid[0, 1] = valid[2, 4] = valid[2, 5] = False
    measured = torch.ones(B, G, dtype=torch.bool)
    measured[1, 3] = False
    return Pathways(scores, valid, library, genes, measured)


def encoders() -> list[torch.nn.Module]:
    return [ScoreEncoder(P).eval(), TokenEncoder(MEMBERS).eval()]


def test_both_give_one_vector_a_spot() -> None:
    for encoder in encoders():
        found = encoder(pathways())
        assert found.shape == (B, 256)
        assert bool(torch.isfinite(found).all())
        # No spot sees another.
        assert torch.allclose(encoder(Pathways(*(part[:2] for part in pathways()))), found[:2], atol=1e-5)


def test_a_masked_score_changes_nothing_and_gets_no_gradient() -> None:
    encoder, given = ScoreEncoder(P).eval(), pathways(gradient=True)
    encoder(given).square().sum().backward()
    assert torch.equal(given.scores.grad == 0, ~given.valid)
    changed = given.scores.detach().clone()
    changed[~given.valid] = torch.nan
    assert torch.equal(encoder(given._replace(scores=changed)), encoder(given))


def test_a_masked_pathway_or_gene_changes_nothing_and_gets_no_gradient() -> None:
    encoder, given = TokenEncoder(MEMBERS).eval(), pathways(gradient=True)
    encoder(given).square().sum().backward()
    seen = np.zeros((B, G), dtype=bool)
    for spot in range(B):
        for pathway, genes in enumerate(MEMBERS):
            for gene in genes:
                seen[spot, gene] |= bool(given.valid[spot, pathway]) and bool(given.measured[spot, gene])
    np.testing.assert_array_equal(given.genes.grad.numpy() != 0, seen)
    changed = given.genes.detach().clone()
    changed[torch.from_numpy(~seen)] = torch.nan
    for spot in (0, 2):  # what its masked pathways alone have
        assert torch.allclose(
            encoder(given._replace(genes=torch.nan_to_num(changed, nan=9.0)))[spot], encoder(given)[spot]
        )
    changed = given.genes.detach().clone()
    changed[~given.measured] = torch.nan
    assert torch.equal(encoder(given._replace(genes=changed)), encoder(given))


def test_a_pathway_masked_everywhere_trains_nothing_of_its_own() -> None:
    encoder, given = TokenEncoder(MEMBERS), pathways()
    valid = given.valid.clone()
    valid[:, 3] = False
    encoder(given._replace(valid=valid)).square().sum().backward()
    for parameter in (encoder.weight_genes, encoder.weight_hidden, encoder.bias_genes, encoder.pathway):
        moved = parameter.grad.flatten(1).abs().sum(dim=1) > 0
        assert moved.tolist() == [True, True, True, False, True, True]


def test_padding_of_short_pathways_is_no_gene() -> None:
    encoder, given = TokenEncoder(MEMBERS), pathways()
    encoder(given).square().sum().backward()
    for row, genes in enumerate(MEMBERS):
        assert bool((encoder.weight_genes[row, len(genes) :] == 0).all())
        assert bool((encoder.weight_genes.grad[row, len(genes) :] == 0).all())


def test_tokens_are_one_small_network_a_pathway() -> None:
    encoder, given = TokenEncoder(MEMBERS).eval(), pathways()
    found = encoder.tokens(given.genes, given.measured).detach().numpy()
    state = {name: value.numpy() for name, value in encoder.state_dict().items()}

    def selu(x: np.ndarray) -> np.ndarray:
        return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1))

    for spot in range(B):
        for row, genes in enumerate(MEMBERS):
            x = np.array([given.genes[spot, gene].item() if given.measured[spot, gene] else 0.0 for gene in genes])
            hidden = selu(x @ state["weight_genes"][row, : len(genes)] + state["bias_genes"][row])
            expected = selu(hidden @ state["weight_hidden"][row] + state["bias_hidden"][row]) + state["pathway"][row]
            np.testing.assert_allclose(found[spot, row], expected, atol=1e-4)


def test_the_networks_keep_mean_and_variance() -> None:
    x = Pathways(torch.randn(4000, 60), torch.rand(4000, 60) > 0.5, torch.randn(4000))
    hidden = ScoreEncoder(60).layers(torch.randn(4000, 121))
    assert abs(hidden.mean().item()) < 0.1
    assert abs(hidden.var().item() - 1) < 0.15
    assert ScoreEncoder(60)(x).shape == (4000, 256)


def test_sizes_are_those_of_the_method() -> None:
    # 50 sets: 101 inputs, two layers of 256, then 256.
    score = sum(p.numel() for p in ScoreEncoder(50).parameters())
    assert score == (101 + 1) * 256 + 257 * 256 + 257 * 256
    members = [list(range(200)) for _ in range(50)]
    token = {name: p.numel() for name, p in TokenEncoder(members).named_parameters()}
    assert token["weight_genes"] == 50 * 200 * 256
    assert token["weight_hidden"] == 50 * 256 * 256
    layer = 4 * 256 * 257 + 257 * 512 + 513 * 256 + 4 * 256
    assert sum(size for name, size in token.items() if name.startswith("transformer")) == 2 * layer


def test_a_spot_without_any_pathway_is_still_a_number() -> None:
    given = pathways()
    for encoder in encoders():
        found = encoder(given._replace(valid=torch.zeros(B, P, dtype=torch.bool)))
        assert bool(torch.isfinite(found).all())


def test_the_token_encoder_says_what_it_lacks() -> None:
    with pytest.raises(UsageError, match="reads genes"):
        TokenEncoder(MEMBERS)(pathways()._replace(genes=None))
    with pytest.raises(UsageError, match="without genes"):
        TokenEncoder([[0], []])


def test_log_cp10k_is_scanpys() -> None:
    counts = np.random.default_rng(2).poisson(2.0, (20, 30)).astype(np.float32)
    expected = AnnData(counts.copy())
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(log_cp10k(torch.from_numpy(counts).int()).numpy(), expected.X, rtol=1e-5)
    assert log_cp10k(torch.zeros(1, 3)).tolist() == [[0, 0, 0]]
    assert math.isclose(log_cp10k(torch.tensor([[1, 1]])).sum().item(), 2 * math.log1p(5000), rel_tol=1e-6)
