"""What images are aligned to: each row is the pair's, made as said, masked where unmeasured; controls are controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.decomposition import PCA

from humanst.errors import DataError, UsageError
from humanst.load import PairDataset, open_release
from stamp_train.align_targets import Source, open_targets
from stamp_train.config import AlignConfig
from stamp_train.pair_targets import Targets, others_of, z_within
from tests.load.conftest import PATHWAYS, Written
from tests.stamp_train.small_release import GENES, GMT, SYMBOLS, WEIGHTS, write_small_release

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_small_release(tmp_path_factory.mktemp("targets") / "humanst-1")


def source_of(release: Written, target_set: str | None, **changes) -> Source:
    config = AlignConfig(target_set=target_set, **changes)
    return open_targets(open_release(release.path), config, PairDataset(release.path, "train"))


def read(release: Written, target_set: str | None, split: str = "train", **how) -> Targets:
    return source_of(release, target_set).read(PairDataset(release.path, split), **how)


def counts_of(release: Written, split: str = "train") -> np.ndarray:
    files = sorted((release.path / "targets/counts").glob(f"{split}-*.npz"))
    return np.vstack([sp.load_npz(file).toarray() for file in files])


def sections_of(release: Written, split: str = "train") -> np.ndarray:
    return np.array(PairDataset(release.path, split).table["sample_id"].to_pylist())


def logs_of(release: Written, split: str = "train") -> np.ndarray:
    counts = counts_of(release, split)
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def test_pathways_are_those_of_the_shards_with_their_weights(release: Written) -> None:
    source, targets = source_of(release, None), read(release, None)
    assert source.columns == PATHWAYS
    expected = [np.nan if weight is None else weight for weight in WEIGHTS]
    assert np.array_equal(source.reliability, np.array(expected, dtype=np.float32), equal_nan=True)
    truth = np.array([release.vectors[key] for key in release.keys["train"]])
    assert np.array_equal(targets.values, truth, equal_nan=True)
    rows = np.array([5, 0, 63])
    pathways = targets.pathways(rows, CPU)
    assert np.array_equal(pathways.valid, ~np.isnan(truth[rows]))
    assert np.array_equal(pathways.scores, np.nan_to_num(truth[rows]))
    table = PairDataset(release.path, "train").table
    assert np.array_equal(pathways.library, table["log10_counts_z"].to_numpy()[rows])
    assert np.array_equal(targets.xy_um[:, 0], table["x_um"].to_numpy())
    assert [targets.sections[number] for number in targets.section] == table["sample_id"].to_pylist()
    assert targets.donors == tuple(f"donor_train_{number}" for number in range(4))


def test_a_target_set_by_name_and_other_weights_are_their_mean(release: Written) -> None:
    source = source_of(release, "planted")
    files = sorted((release.path / "targets/planted").glob("val-*.npy"))
    assert np.array_equal(read(release, "planted", "val").values, np.vstack([np.load(file) for file in files]))
    assert np.allclose(source.reliability, np.mean([0.9, 0.5, 0.2, 0.7]))
    assert not source.measured


def test_raw_sets_are_made_z_within_sections(release: Written) -> None:
    found, sections = read(release, "hvg-2").values, sections_of(release)
    raw = np.vstack([np.load(file) for file in sorted((release.path / "targets/hvg-2").glob("train-*.npy"))])
    for section in np.unique(sections):
        mine = raw[sections == section].astype(np.float64)
        assert np.allclose(found[sections == section], (mine - mine.mean(axis=0)) / mine.std(axis=0), atol=1e-4)


def test_the_library_size_alone(release: Written) -> None:
    targets = read(release, "library")
    assert targets.values.shape == (64, 1)
    assert np.array_equal(targets.values[:, 0], targets.library)


def test_variable_genes_are_those_of_the_training_sections(release: Written) -> None:
    logs, sections = logs_of(release), sections_of(release)
    squares, n = np.zeros(len(GENES)), np.zeros(len(GENES))
    for gene in range(len(GENES)):
        for section in np.unique(sections):
            if not (section == "train_s1" and gene in (2, 7)):
                mine = logs[sections == section, gene]
                squares[gene] += ((mine - mine.mean()) ** 2).sum()
                n[gene] += len(mine)
    order = np.argsort(-squares / n)
    source = source_of(release, "hvg:7")
    assert source.columns == tuple(GENES[gene] for gene in order[:7])
    for split in ("train", "val"):
        found, logs, sections = (
            read(release, "hvg:7", split).values,
            logs_of(release, split),
            sections_of(release, split),
        )
        for column, gene in enumerate(order[:7]):
            for section in np.unique(sections):
                mine = logs[sections == section, gene]
                is_measured = not (section == "train_s1" and gene in (2, 7))
                wanted = (mine - mine.mean()) / mine.std() if is_measured else np.full(len(mine), np.nan)
                assert np.allclose(found[sections == section, column], wanted, atol=1e-4, equal_nan=True)
    with pytest.raises(DataError, match="fewer genes"):
        source_of(release, "hvg:13")


def test_components_are_those_of_the_sections_that_measured_enough(release: Written) -> None:
    logs, sections = logs_of(release), sections_of(release)
    fitted = sections != "train_s1"
    reference = PCA(3, svd_solver="full").fit(logs[fitted])
    found = read(release, "pca:3").values
    assert np.isnan(found[~fitted]).all()
    wanted = reference.transform(logs[fitted])
    for column in range(3):
        theirs = np.concatenate(
            [
                (wanted[sections[fitted] == name, column] - wanted[sections[fitted] == name, column].mean())
                / wanted[sections[fitted] == name, column].std()
                for name in np.unique(sections[fitted])
            ]
        )
        ours = np.concatenate([found[sections == name, column] for name in np.unique(sections[fitted])])
        assert np.allclose(np.abs(theirs), np.abs(ours), atol=1e-3)
        assert abs(np.corrcoef(theirs, ours)[0, 1]) > 0.9999
    assert source_of(release, "pca:3").columns == ("PC1", "PC2", "PC3")


def test_shuffled_pairs_get_whole_rows_of_others_of_their_section(release: Written) -> None:
    own, targets = read(release, None), read(release, None, shuffle_seed=3)
    rows, partner = np.arange(64), targets.partner
    assert partner is not None
    assert sorted(partner) == rows.tolist()
    assert (partner != rows).all()
    assert (targets.section[partner] == targets.section).all()
    mine, theirs = targets.pathways(rows, CPU), own.pathways(partner, CPU)
    assert all(torch.equal(getattr(mine, name), getattr(theirs, name)) for name in ("scores", "valid", "library"))
    # Where the image is does not move.
    assert np.array_equal(targets.xy_um, own.xy_um)
    assert np.array_equal(targets.section, own.section)
    assert np.array_equal(read(release, None, shuffle_seed=3).partner, partner)
    assert not np.array_equal(read(release, None, shuffle_seed=4).partner, partner)
    assert others_of(np.array(["a", "b", "b"]), 0).tolist() == [0, 2, 1]


@pytest.mark.parametrize("wanted", ["random:7", "shuffle:1", "hvg:0", "hvg:many", "pca", "counts", "plantet"])
def test_what_is_not_there_is_told_with_what_is(release: Written, wanted: str) -> None:
    with pytest.raises(UsageError) as refused:
        source_of(release, wanted)
    assert refused.value.facts.found == wanted
    assert "planted" in str(refused.value)
    assert "hvg:N" in str(refused.value)


def test_the_token_encoder_reads_the_genes_of_the_file_on_record(release: Written, tmp_path: Path) -> None:
    file = tmp_path / "sets.gmt"
    file.write_text(GMT, encoding="utf-8")
    source = source_of(release, None, pathway_encoder="token", gene_sets=str(file))
    members = [[source.gene_ids[gene] for gene in genes] for genes in source.members]
    lines = [line.split("\t")[2:] for line in GMT.splitlines()]
    assert members == [[GENES[SYMBOLS.index(name)] for name in line] for line in lines]
    targets = source.read(PairDataset(release.path, "train"), shuffle_seed=0)
    rows = np.array([4, 9])
    pathways = targets.pathways(rows, CPU)
    columns = [GENES.index(gene) for gene in source.gene_ids]
    assert targets.partner is not None
    assert np.allclose(pathways.genes, logs_of(release)[targets.partner[rows]][:, columns], atol=1e-5)
    is_s1 = sections_of(release)[rows] == "train_s1"
    unmeasured = [gene in ("ENSG0002", "ENSG0007") for gene in source.gene_ids]
    assert pathways.measured is not None
    assert np.array_equal(~pathways.measured.numpy(), np.outer(is_s1, unmeasured))
    file.write_text(GMT.replace("GENE1\t", "GENE2\t"), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        source_of(release, None, pathway_encoder="token", gene_sets=str(file))
    assert (refused.value.facts.code, refused.value.exit_code) == ("gene-sets-mismatch", 5)
    with pytest.raises(UsageError, match="genes of each pathway"):
        source_of(release, "library", pathway_encoder="token", gene_sets=str(file))


def test_what_does_not_vary_has_no_z() -> None:
    values = np.array([[1, 2, 0.1], [3, 2, 0.1], [np.nan, 2, 0.1], [9, np.nan, 4]], dtype=np.float32)
    found = z_within(values, np.array([0, 0, 0, 1]))
    wanted = [[-1, np.nan, np.nan], [1, np.nan, np.nan], [np.nan] * 3, [np.nan] * 3]
    assert np.array_equal(found, np.array(wanted, dtype=np.float32), equal_nan=True)
