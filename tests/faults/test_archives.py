"""F15, F16, F18 and F19: archives, bombs, HDF5 and names of strangers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import pyvips

from humanst.demo import DemoAtlas
from tests.cli.test_scale_faults import a_file
from tests.faults.board import WHOLE, Seen, judge, seen_of
from tests.faults.sections import Cases, build_spoiled, one_section, recipe_of
from tests.fetch import test_hostile_command as hostile
from tests.fetch.packing import tar_of
from tests.fetch.test_bombs import BOMBS
from tests.helpers import run_humanst
from tests.platforms import test_h5_guard as guard

# What is made once for these tests would be made again by a second worker.
pytestmark = pytest.mark.xdist_group("faults-archives")

# 512 MiB more than the process has, and so many seconds of a processor, are all that a command gets.
_BOUNDED = """
import resource
data = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (data + (512 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, ({seconds},) * 2)
"""
FETCH_S, BUILD_S = 2, 6


def fetched(folder: Path, body: bytes, case: str, wanted: tuple[int, ...], code: Any, **asked: Any) -> Seen:
    """``humanst fetch`` of a member of an archive, and all that is new on disk."""
    first = asked.pop("first", "")
    folder.mkdir()
    world = hostile.world_of(folder, body, **asked)
    before = hostile.snapshot(folder)
    cache, work = folder / "cache", folder / "work"
    result = run_humanst("fetch", "tiny", "--json", atlas=world.folder, cache=cache, cwd=work, first=first)
    left = hostile.strange(before, hostile.snapshot(folder))
    return seen_of(case, result.returncode, result.stdout, wanted, code, left=left)


def test_f15_zip_slip(tmp_path: Path) -> None:
    seen = []
    for number, (case, (make, member, exit_code, code)) in enumerate(hostile.BY_MEMBER.items()):
        if "bomb" not in case and "huge" not in case:
            body = make(tmp_path)
            seen.append(fetched(tmp_path / str(number), body, case, (exit_code,), code, member=member))
    for case in ("parent", "absolute", "drive", "backslashes", "device"):
        name = hostile.in_archive(hostile.UNSAFE[case], tmp_path)
        pattern = "/".join("*" for _ in name.split("/"))
        body = tar_of((name, b"x"))
        seen.append(fetched(tmp_path / case, body, f"name: {case}", (8,), "hostile", pattern=pattern))
    assert len(seen) >= 20
    judge("F15", seen)


def png_bomb(folder: Path) -> None:
    """30,000 x 30,000 px of nothing: 2.7 GB in 2.6 MB."""
    out = a_file(folder, "*.jpg")
    blank = pyvips.Image.black(30_000, 30_000, bands=3).copy(interpretation="srgb")
    out.write_bytes(blank.pngsave_buffer(compression=9))


def h5_bomb(folder: Path) -> None:
    """80 GB that nobody ever wrote."""
    with h5py.File(a_file(folder, "*.h5"), "r+") as handle:
        guard.never_written(handle, folder)


def test_f16_bombs(tmp_path: Path) -> None:
    seen, fetch = [], _BOUNDED.format(seconds=FETCH_S)
    for kind in ("zip", "gz in a tar", "tar.gz"):
        make, _, member, code = BOMBS[kind]
        seen.append(fetched(tmp_path / kind, make(), f"{kind} of 4 GiB", (8,), code, member=member, first=fetch))
    for kind, platform, bomb, code in (("png", "st", png_bomb, "image-bomb"), ("h5", "visium", h5_bomb, "h5-bomb")):
        atlas = one_section(platform, tmp_path / kind / "atlas")  # type: ignore[arg-type]
        cases: Cases = {f"{kind} in a section": (bomb, (8,), (code,))}
        first = _BOUNDED.format(seconds=BUILD_S)
        built = build_spoiled(atlas.mirror / "lab", recipe_of(atlas), cases, tmp_path / f"{kind} built", first=first)
        seen += built.seen(cases)
    judge(
        "F16",
        seen,
        [f"each within {FETCH_S} s of a processor (a build {BUILD_S} s) and 512 MiB, or the system ends it"],
    )


@pytest.fixture(scope="module")
def visium(tmp_path_factory: pytest.TempPathFactory) -> DemoAtlas:
    return one_section("visium", tmp_path_factory.mktemp("visium") / "atlas")


def trap(fault: Callable[[h5py.File, Path], None], secret: Path, folder: Path) -> None:
    with h5py.File(a_file(folder, "*.h5"), "r+") as handle:
        fault(handle, secret)


def test_f18_h5_reaches_out(visium: DemoAtlas, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(guard.SECRET * 100)
    with h5py.File(secret.with_suffix(".h5"), "w") as handle:
        handle["data"] = np.full(5000, 7, dtype=np.int32)
    cases: Cases = {
        fault.__name__.replace("_", " "): (partial(trap, fault, secret), (8,), (code,))
        for fault, code in guard.FAULTS.items()
    }
    assert len(cases) >= 6
    judge("F18", build_spoiled(visium.mirror / "lab", recipe_of(visium), cases, tmp_path / "built").seen(cases))


def test_f19_bad_names(tmp_path: Path) -> None:
    """The name in the catalog, as a path and as a member, and in the archive itself."""
    seen, body = [], hostile.make_tar()
    names = hostile.UNSAFE if WHOLE else dict(list(hostile.UNSAFE.items())[::2])
    for number, (case, name) in enumerate(names.items()):
        for field in ("path", "member"):
            asked = {"member": "wanted", field: name}
            seen.append(fetched(tmp_path / f"{number}{field}", body, f"{field}: {case}", (5, 8), (), **asked))
        shown = hostile.in_archive(name, tmp_path)
        pattern = "/".join("*" for _ in shown.split("/"))
        folder = tmp_path / f"{number}archive"
        seen.append(fetched(folder, tar_of((shown, b"x")), f"in a tar: {case}", (8,), "hostile", pattern=pattern))
    assert len(names) >= 11
    judge("F19", seen)
