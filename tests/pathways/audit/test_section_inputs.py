"""What an audit refuses to start from."""

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from humanst.errors import DataError, UsageError
from humanst.pathways.audit.inputs import AuditOptions, AuditSection


def section(**changes):
    counts = csr_matrix(np.arange(12).reshape(4, 3))
    given = {
        "sample_id": "s1",
        "donor_group": "d1",
        "split": None,
        "platform": "visium",
        "targeted": False,
        "counts": counts,
        "ensembl_ids": np.array(["ENSG1", "ENSG2", "ENSG3"]),
        "measured": np.ones(3, bool),
        "in_fit": np.ones(4, bool),
        "row": np.array([0, 0, 1, 1]),
        "col": np.array([0, 2, 1, 3]),
        "lattice": "hex",
        "target_shape": "circle",
        "target_side_um": 55.0,
    }
    return AuditSection(**{**given, **changes})


@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (7, 4)])
def test_a_lattice_may_start_anywhere(shift):
    given = section()
    moved = dataclasses.replace(given, row=given.row + shift[0], col=given.col + shift[1])
    assert moved.lattice == "hex"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"measured": np.ones(4, bool)}, "audit-shape", "measured"),
        ({"ensembl_ids": np.array(["ENSG1"])}, "audit-shape", "ensembl_ids"),
        ({"in_fit": np.ones((4, 1), bool)}, "audit-shape", "in_fit"),
        ({"row": np.arange(3)}, "audit-shape", "row"),
        ({"col": np.arange(5)}, "audit-shape", "col"),
        ({"counts": np.zeros((4, 3), int)}, "audit-counts", "counts"),
        ({"counts": csc_matrix((4, 3), dtype=int)}, "audit-counts", "counts"),
        ({"counts": csr_matrix((4, 3), dtype=float)}, "audit-counts", "counts"),
        ({"counts": csr_matrix(np.full((4, 3), -1))}, "audit-counts", "counts"),
        ({"lattice": "triangle"}, "audit-lattice", "lattice"),
        ({"row": np.array([0.0, 0.0, 1.0, 1.0])}, "audit-lattice", "row"),
        ({"col": np.array([0, 0, 1, 3])}, "audit-lattice", "row, col"),
        ({"col": np.array([0, 1, 1, 3])}, "audit-lattice", "row, col"),
    ],
)
def test_a_section_that_does_not_fit_is_refused_with_its_name_and_field(changes, code, field):
    with pytest.raises(DataError) as caught:
        section(**changes)
    assert (caught.value.facts.code, caught.value.facts.section, caught.value.facts.field) == (code, "s1", field)


def test_columns_one_apart_are_fine_on_a_square_lattice():
    assert section(lattice="square", col=np.array([0, 1, 1, 3])).counts.shape == (4, 3)


@pytest.mark.parametrize(("name", "value"), [("n_seeds", 0), ("n_draws", 0), ("seed", -1)])
def test_options_below_their_least_are_refused(name, value):
    with pytest.raises(UsageError) as caught:
        AuditOptions(**{name: value})
    assert caught.value.facts.field == name
