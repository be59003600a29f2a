"""Python, and the packages that humanst says it needs: there, and new enough."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from humanst import __version__
from humanst.doctor.checks import Check
from humanst.errors import UsageError

_OLDEST = (3, 11)
# Told by name; of the others only what is wrong.
_TOLD = frozenset(
    {"anndata", "huggingface_hub", "numpy", "pyarrow", "pyvips", "scanpy", "simplejpeg", "spatialdata", "webdataset"}
    | {"zarr"}
)
_EXTRAS = {
    "archives": "7z archives, zip with AES",
    "slides": "slides of vendors (svs, ndpi, mrxs) and tiles in JPEG 2000",
    "train": "stamp-train, and humanst.load into PyTorch",
    "publish": "publishing to the Hub",
}


def python_checks() -> list[Check]:
    """The interpreter and where it runs."""
    found = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    new = sys.version_info[:2] >= _OLDEST
    todo = None if new else f"Install Python {_OLDEST[0]}.{_OLDEST[1]} or later"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    linux = platform.system() == "Linux"
    elsewhere = None if linux else "humanst is tested on Linux alone"
    return [
        Check("python", "version", "ok" if new else "fail", found, todo, UsageError),
        Check("python", "system", "ok" if linux else "warn", system, elsewhere),
        Check("python", "humanst", "ok", __version__),
    ]


def package_checks() -> list[Check]:
    """What humanst needs is there and new enough; of each extra, whether all of it is."""
    try:
        wanted = metadata.requires("humanst") or []
    except metadata.PackageNotFoundError:
        todo = "Install it: pip install humanst, or pip install -e . in a checkout"
        return [Check("packages", "humanst", "warn", "runs from a folder that is not installed", todo)]
    checks = []
    for name, fault in _faults(wanted, None):
        if fault is None and name in _TOLD:
            checks.append(Check("packages", name, "ok", metadata.version(name)))
        elif fault is not None:
            checks.append(Check("packages", name, "fail", fault, f"pip install --upgrade {name}", UsageError))
    known = metadata.metadata("humanst").get_all("Provides-Extra") or []
    for extra, purpose in _EXTRAS.items():
        if extra not in known:
            continue
        faults = [f"{name}: {fault}" for name, fault in _faults(wanted, extra) if fault is not None]
        found = f"not whole ({'; '.join(faults)})" if faults else "installed"
        install = f"For {purpose}: pip install 'humanst[{extra}]'" if faults else None
        checks.append(Check("packages", f"extra {extra}", "ok", found, install))
    return checks


def _faults(wanted: list[str], extra: str | None) -> Iterator[tuple[str, str | None]]:
    """Each package of an extra, or of none, and what is wrong with it."""
    from packaging.requirements import Requirement

    for line in sorted(wanted, key=str.lower):
        need = Requirement(line)
        alone = need.marker is None or need.marker.evaluate({"extra": ""})
        if alone if extra is None else not alone and need.marker and need.marker.evaluate({"extra": extra}):
            yield need.name, _fault(need.name, need.specifier)


def _fault(name: str, specifier: object) -> str | None:
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
    allowed = SpecifierSet(str(specifier))
    return None if allowed.contains(version, prereleases=True) else f"{version}, not {allowed}"
