"""HDF5 matrices that read other files or grow to gigabytes are refused before a byte of theirs is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from humanst.errors import HostileError
from humanst.findings import Findings
from humanst.platforms.h5_guard import open_h5
from humanst.platforms.tenx import read_features, read_matrix
from humanst.platforms.tenx_blocks import open_matrix
from humanst.platforms.xenium_bundle import read_panel
from tests.platforms.visium_outs import Outs, local_files

SECRET = b"\x07\x00\x00\x00" * 64


def external_link(handle: h5py.File, secret: Path) -> None:
    del handle["matrix/data"]
    handle["matrix/data"] = h5py.ExternalLink(secret.with_suffix(".h5"), "/data")


def link_in_the_middle(handle: h5py.File, secret: Path) -> None:
    handle.move("matrix", "real")
    handle["matrix"] = h5py.ExternalLink(secret.with_suffix(".h5"), "/")


def soft_link(handle: h5py.File, _: Path) -> None:
    handle["elsewhere"] = h5py.SoftLink("/matrix/data")


def external_storage(handle: h5py.File, secret: Path) -> None:
    n = handle["matrix/data"].shape[0]
    del handle["matrix/data"]
    handle["matrix"].create_dataset("data", (n,), dtype=np.int32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(handle: h5py.File, secret: Path) -> None:
    n = handle["matrix/data"].shape[0]
    del handle["matrix/data"]
    layout = h5py.VirtualLayout((n,), dtype=np.int32)
    layout[:] = h5py.VirtualSource(secret.with_suffix(".h5"), "data", shape=(n,))
    handle.create_virtual_dataset("matrix/data", layout)


def never_written(handle: h5py.File, _: Path) -> None:
    del handle["matrix/data"]
    handle["matrix"].create_dataset("data", (20 << 30,), dtype=np.int32, chunks=(1 << 20,))


def shrunk(handle: h5py.File, _: Path) -> None:
    handle["matrix"].create_dataset(
        "zeros", data=np.zeros(20 << 20, dtype=np.int64), compression="gzip", compression_opts=9, chunks=(1 << 20,)
    )


FAULTS: dict[Callable[[h5py.File, Path], None], str] = {
    external_link: "h5-reaches-out",
    link_in_the_middle: "h5-reaches-out",
    soft_link: "h5-reaches-out",
    external_storage: "h5-reaches-out",
    virtual: "h5-reaches-out",
    never_written: "h5-bomb",
    shrunk: "h5-bomb",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_matrix_that_is_a_trap_is_refused(tmp_path: Path, fault: Callable[[h5py.File, Path], None]) -> None:
    local = Outs(tmp_path / "outs").write()
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET * 100)
    with h5py.File(secret.with_suffix(".h5"), "w") as handle:
        handle["data"] = np.full(5000, 7, dtype=np.int32)
    with h5py.File(local.paths["counts"], "r+") as handle:
        fault(handle, secret)
    attempts = (
        read_features,
        lambda files: read_matrix(files, Findings()),
        lambda files: open_matrix(files, Findings()),
        lambda files: read_panel(files, Findings()),
    )
    for attempt in attempts:
        with pytest.raises(HostileError) as caught:
            attempt(local)
        assert (caught.value.facts.code, caught.value.exit_code) == (FAULTS[fault], 8)
        assert caught.value.facts.file == "filtered_feature_bc_matrix.h5"


def test_a_loop_of_hard_links_ends(tmp_path: Path) -> None:
    local = Outs(tmp_path / "outs").write()
    with h5py.File(local.paths["counts"], "r+") as handle:
        handle["matrix/again"] = handle["matrix"]
        handle["matrix/root"] = handle["/"]
    read_matrix(local, Findings())


@pytest.mark.real
def test_real_matrices_pass_in_no_time(real_data: Path) -> None:
    paths = sorted(real_data.glob("**/*.h5"))
    assert len(paths) >= 4
    for path in paths:
        start = time.process_time()
        with open_h5(path, path.name) as handle:
            assert list(handle)
        assert time.process_time() - start < 0.5
    block_a = real_data / "visium_10x_breast_blockA_s1/outs/filtered_feature_bc_matrix.h5"
    assert read_matrix(local_files({"counts": block_a}), Findings()).counts.sum() > 0
