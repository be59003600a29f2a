"""The audit of a whole release: it finds planted signal and none where there is none, in bounded memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from humanst.errors import UsageError
from humanst.pathways import ResolvedSets
from humanst.pathways.audit import features, mutual, survey
from humanst.pathways.audit.inputs import AuditOptions, AuditSection
from humanst.pathways.audit.pca import SpotProducts
from humanst.pathways.audit.release import audit_release
from humanst.pathways.options import Scoring
from tests.pathways.audit.release_world import N_GENES, N_SETS, section_of, sets_of

TABLES = ("information", "mutual", "retrieval", "variance")
OPTIONS = AuditOptions(n_draws=2)
DONORS = "aabbcc"

Tables = dict[str, pd.DataFrame]


def audit(sections: list[AuditSection], options: AuditOptions = OPTIONS, k: int = 6) -> Tables:
    return audit_release(sections, sets_of(), options, k=k)


def share(tables: Tables, target: str = "log1p(CP10k)") -> pd.Series:
    rows = tables["information"]
    return rows[rows["target"] == target].set_index("features")["share_of_ceiling"]


def r_at(tables: Tables, at: int = 1) -> pd.Series:
    return tables["retrieval"].set_index("features")[f"r_at_{at}"]


@pytest.fixture(scope="module", autouse=True)
def _brief_cross_check() -> Iterator[None]:
    """Two sections and one shuffle of the slow estimator: it has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutual, "KSG_SECTIONS", 2)
        patch.setattr(mutual, "KSG_SHUFFLES", 1)
        yield


@pytest.fixture(scope="module")
def painted() -> Tables:
    """Three donors, half of the sets painted; depth varies."""
    return audit([section_of(i, d, strength=0.8, painted=3, n_side=12) for i, d in enumerate(DONORS)])


@pytest.fixture(scope="module")
def silent() -> Tables:
    """Genes of one rate everywhere, spots of one depth: only noise."""
    return audit([section_of(i, d, depth_sd=0.0, n_side=12) for i, d in enumerate(DONORS)])


@pytest.fixture(scope="module")
def depth_only() -> Tables:
    """Depth varies and nothing else."""
    return audit([section_of(i, d, depth_sd=0.8, n_side=12) for i, d in enumerate(DONORS)])


def test_pathways_that_carry_signal_keep_more_than_random_sets_and_library_size(painted: Tables) -> None:
    kept = share(painted)
    assert kept["pathways"] > kept["random_sets"] + 0.3
    assert kept["pathways"] > kept["library_size"]
    assert kept["pca"] > kept["random_sets"] + 0.3
    # Nothing that is fitted on other donors passes the ceiling by more than chance.
    assert (kept < 1.1).all()
    assert (painted["information"][["n_sections", "n_folds"]] == [6, 3]).all(axis=None)
    found = r_at(painted)
    assert found["pathways"] > 5 * max(found["random_sets"], 1 / 512)
    assert found["hvg_pca_6"] > 5 * found["random_sets"]


def test_painted_pathways_share_information_and_the_others_what_shuffled_spots_do(painted: Tables) -> None:
    table = painted["mutual"]
    assert table["above_shuffled"].tolist()[:3] == [True] * 3
    assert table["gaussian_bits"][:3].min() > 0.3
    assert table["ksg_bits"][:3].min() > 0.3
    assert table["gaussian_bits"][3:].max() < 0.03
    assert table["ksg_bits"][3:].max() < 0.1


def test_without_signal_nothing_is_kept_found_or_shared(silent: Tables) -> None:
    for target in ("log1p(CP10k)", "log1p(raw)"):
        assert share(silent, target).abs().max() < 0.2
    assert r_at(silent, 5).to_numpy() == pytest.approx(5 / 512, abs=0.012)
    assert silent["mutual"]["above_shuffled"].sum() <= 1
    assert silent["mutual"]["gaussian_bits"].max() < 0.02


def test_where_depth_alone_varies_library_size_keeps_it_and_pathways_do_not(depth_only: Tables) -> None:
    kept = share(depth_only, "log1p(raw)")
    assert kept["library_size"] > 0.8
    assert abs(kept["pathways"]) < 0.1
    plain = audit(
        [section_of(i, d, depth_sd=0.8, n_side=10) for i, d in enumerate(DONORS[::2])],
        replace(OPTIONS, scoring=Scoring(scorer="mean")),
    )
    assert share(plain, "log1p(raw)")["pathways"] > 0.5
    assert share(plain, "log1p(raw)")["random_sets"] > 0.5


def test_components_are_never_of_the_donor_they_are_judged_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, list[int]]] = []
    axes = SpotProducts.axes

    def watched(self: SpotProducts, sections: np.ndarray, k: int) -> np.ndarray:
        taken.append((self.logs.shape[1], sections.tolist()))
        return axes(self, sections, k)

    monkeypatch.setattr(SpotProducts, "axes", watched)
    audit([section_of(i, d, n_side=6, strength=0.8) for i, d in enumerate("abac")])
    of_all_genes = sorted(sections for n_genes, sections in taken[:3] if n_genes == N_GENES)
    assert of_all_genes == [[0, 1, 2], [0, 2, 3], [1, 3]]


def test_a_shift_between_donors_is_in_the_raw_scores_and_not_in_z() -> None:
    """The plain mean is looked at: the control of the default follows the genes of a section where they go."""
    shifts = {"a": -1.0, "b": 0.0, "c": 1.0}
    sections = [section_of(i, d, strength=0.2, shift=shifts[d], painted=1, n_side=10) for i, d in enumerate(DONORS)]
    table = audit(sections, replace(OPTIONS, scoring=Scoring(scorer="mean")))["variance"]
    raw = table[table["stage"] == "raw"].set_index("pathway")
    assert raw.loc["S0", "between_donor"] > 0.5
    assert raw.loc["S0", "between_section"] >= raw.loc["S0", "between_donor"]
    assert raw.loc["S1", "between_donor"] < 0.2
    z = table[table["stage"] == "z"]
    assert z[["between_section", "between_donor"]].max(axis=None) < 1e-9
    assert z["reason"].str.contains("by construction").all()


def test_the_same_seed_gives_the_same_tables_and_another_gives_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sections = [section_of(i, d, strength=0.5, n_side=8) for i, d in enumerate("ab")]
    first = audit(sections)
    # Whether all sets are scored in one go or four at a time, a draw in two parts.
    monkeypatch.setattr(features, "SCORES_AT_A_TIME", 4 * 64)
    again = audit_release((partial(section_of, i, d, strength=0.5, n_side=8) for i, d in enumerate("ab")), sets_of(),
                          OPTIONS, k=6)  # fmt: skip
    other = audit(sections, replace(OPTIONS, seed=1))
    assert tuple(first) == TABLES
    for name in TABLES:
        pd.testing.assert_frame_equal(first[name], again[name], check_exact=True)
    assert not first["mutual"].equals(other["mutual"])


def test_gene_order_and_genes_not_measured_change_nothing() -> None:
    measured = np.arange(N_GENES) % 10 != 0
    sections = [section_of(i, d, strength=0.5, n_side=8, measured=measured) for i, d in enumerate("ab")]
    kept = np.flatnonzero(measured)[::-1]
    turned = [
        replace(
            one,
            counts=one.counts[:, kept],
            ensembl_ids=one.ensembl_ids[kept],
            measured=np.ones(len(kept), dtype=bool),
        )
        for one in sections
    ]
    a, b = audit(sections), audit(turned)
    for name in TABLES:
        pd.testing.assert_frame_equal(a[name], b[name], check_exact=True)


def test_a_panel_in_one_section_masks_its_pathways_there_alone() -> None:
    small = np.isin(section_of(0, "a").ensembl_ids, [g for genes in sets_of().ensembl_ids[:3] for g in genes])
    small[::7] = True
    sections = [section_of(i, d, strength=0.8, n_side=10) for i, d in enumerate("abc")]
    sections.append(section_of(3, "d", strength=0.8, n_side=10, measured=small))
    tables = audit(sections)
    assert tables["mutual"]["n_sections"].tolist() == [4] * 3 + [3] * 3
    assert tables["retrieval"].set_index("features").loc["pathways", "n_features"] == 3
    assert tables["information"].set_index("features").loc["pathways", "n_features"].tolist() == [N_SETS] * 2
    raw = tables["variance"].query("stage == 'raw'")
    assert raw["n_spots"].tolist() == [400] * 3 + [300] * 3
    assert tables["information"]["r"].notna().all()


def test_too_few_sections_donors_or_spots_are_said_and_no_fault() -> None:
    tiny = section_of(9, "z", n_side=4)
    one = audit([section_of(0, "a", strength=0.8, n_side=10), tiny])
    assert one["information"]["r"].isna().all()
    assert one["information"]["ceiling"].notna().all()
    assert one["information"]["reason"].str.contains("too few sections").all()
    assert one["mutual"]["n_sections"].tolist() == [1] * N_SETS
    assert one["retrieval"]["batch"].tolist() == [100] * 4
    assert one["variance"]["reason"].eq("too few sections").all()
    donor = audit([section_of(i, "a", strength=0.8, n_side=10) for i in range(3)])
    assert donor["information"]["left_out"].eq("section").all()
    assert donor["information"]["reason"].eq("too few donors").all()
    assert share(donor)["pathways"] > 0.3
    assert donor["variance"]["between_donor"].isna().all()
    for nothing in (audit([]), audit([tiny])):
        assert [len(nothing[name]) for name in TABLES] == [10, N_SETS, 4, 2 * N_SETS]
        assert all(nothing[name]["reason"].notna().all() for name in TABLES)


def test_no_genes_or_one_that_all_sections_share_and_no_sets_are_no_fault() -> None:
    """Panels of different chemistries may share next to nothing; 450 spots are more than are decomposed whole."""
    even = np.arange(N_GENES) % 2 == 0
    one_more = ~even
    one_more[0] = True
    first = section_of(0, "a", measured=even)
    for other, n_genes in ((~even, 0), (one_more, 1)):
        tables = audit([first, section_of(1, "b", measured=other)])
        assert tables["information"]["n_genes"].tolist() == [n_genes] * 10
        assert (tables["information"]["r"].isna() == tables["information"]["reason"].notna()).all()
        assert tables["mutual"]["gaussian_bits"].notna().any()
    none = audit_release([first, section_of(1, "b")], ResolvedSets("none", (), (), (), (), "0" * 64), OPTIONS, k=6)
    assert [len(none[name]) for name in TABLES] == [10, 0, 4, 0]
    assert none["retrieval"].set_index("features").loc["pathways", "reason"] is not None


def test_no_component_at_all_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        audit([], k=0)
    assert (caught.value.facts.code, caught.value.facts.field) == ("audit-options", "k")


def test_one_section_is_in_memory_at_a_time_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "KEPT_SPOTS", 300)
    monkeypatch.setattr(survey, "AXES_SPOTS", 60)
    alive: list[weakref.ref[csr_matrix]] = []

    def source(number: int) -> AuditSection:
        assert not [one for one in alive if one() is not None]
        section = section_of(number, f"d{number}", strength=0.8, n_side=15)
        alive.append(weakref.ref(section.counts))
        return section

    tables = audit_release([partial(source, number) for number in range(4)], sets_of(), OPTIONS, k=6)
    assert len(alive) == 8
    assert tables["mutual"]["n_spots"].tolist() == [300] * N_SETS
    # The variance is of all spots: its sums need none of them kept.
    assert tables["variance"]["n_spots"].tolist() == [900] * (2 * N_SETS)
    assert share(tables)["pathways"] > share(tables)["random_sets"]
    monkeypatch.setattr(features, "RANDOM_SETS", N_SETS)
    fewer = audit([section_of(i, d, n_side=6) for i, d in enumerate("ab")])["information"]
    assert fewer.set_index("features").loc["random_sets", "n_draws"].tolist() == [1, 1]


def test_of_more_sections_than_there_is_room_for_some_are_taken_and_the_tables_say_so(
    painted: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "KEPT_SPOTS", 100)
    monkeypatch.setattr(features, "MIN_SECTIONS", 1)
    sections = [section_of(i, d, strength=0.8, painted=3, n_side=12) for i, d in enumerate(DONORS)]
    found = audit(sections)
    assert found["retrieval"]["n_sections"].tolist() == [2] * 4
    assert set(found["mutual"]["n_spots"]) == {100}
    assert set(found["information"]["n_sections"]) == {2}
    assert share(found)["pathways"] > share(found)["random_sets"] + 0.2, "those that are taken still tell"
    pd.testing.assert_frame_equal(found["variance"], painted["variance"])
    for name, table in audit(sections).items():
        pd.testing.assert_frame_equal(table, found[name])


def test_where_those_that_are_taken_are_of_one_donor_nothing_is_left_out_and_the_table_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "KEPT_SPOTS", 100)
    monkeypatch.setattr(features, "MIN_SECTIONS", 1)
    found = audit([section_of(i, d, n_side=8) for i, d in enumerate("abab")])
    assert found["retrieval"]["n_sections"].tolist() == [2] * 4
    information = found["information"]
    assert information[["r", "share_of_ceiling"]].isna().all(axis=None)
    assert set(information["reason"]) == {"too few donors among the sections that there is room for"}
    assert set(information["n_folds"]) == {0}
    assert information["left_out"].isna().all()
    assert found["variance"]["between_donor"].notna().all()
