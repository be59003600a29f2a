"""What a run stands on: one record that its checkpoints, its adapter and every table of it carry."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from humanst.errors import UsageError
from humanst.files import canonical_json, sha256_file
from humanst.load.manifest import MANIFEST
from stamp_train import __version__

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.config import AlignConfig

SCHEMA = "stamp_train.run/1"
PACKAGES = ("torch", "timm", "peft", "numpy", "safetensors")
# What a run may be resumed with another value of: where it is, how it runs, how often it writes.
NOT_THE_RUN = frozenset(
    {"release", "run", "workers", "save_every_steps", "keep_checkpoints", "log_every_steps", "device", "log"}
)


def facts_of_run(
    config: AlignConfig,
    release: Release,
    base_sha256: str,
    *,
    leakage: str | None = None,
    targets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a run, plain data.

    Parameters
    ----------
    base_sha256
        Digest of the base's weights (:attr:`stamp_train.encoder.Encoder.base_sha256`).
    leakage
        The note of :class:`stamp_train.guard.Leakage`, or ``None``.
    targets
        Of targets that no part of the release is: what ``targets`` shall say of them.

    Returns
    -------
    dict
        ``release`` (version, sha256 of its manifest), ``targets`` (set, sha256 of its gene sets, scorer, normalisation,
        options), ``base`` (encoder, weights, sha256), ``config`` (every setting), ``config_sha256``
        (:func:`config_sha256`), ``versions``, ``leakage``.

    Raises
    ------
    UsageError
        ``unknown-targets`` when the release has no such target set.
    """
    return {
        "schema": SCHEMA,
        "release": {"version": release.version, "sha256": release_sha256(release)},
        "targets": _targets(config, release) if targets is None else dict(targets),
        "base": {"encoder": config.encoder, "weights": config.weights, "sha256": base_sha256},
        "config": config.to_dict(),
        "config_sha256": config_sha256(config),
        "versions": _versions(),
        "leakage": leakage,
    }


def release_sha256(release: Release) -> str:
    """Hex digest of a release's manifest, which holds those of everything else."""
    return sha256_file(release.path / MANIFEST)


def config_sha256(config: AlignConfig) -> str:
    """Hex digest of the settings that the numbers of a run depend on: a resumed run has the same."""
    kept = {name: value for name, value in config.to_dict().items() if name not in NOT_THE_RUN}
    return hashlib.sha256(canonical_json(kept)).hexdigest()


def differing_facts(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a saved run and one that would resume it do not share, by name; empty when it may go on."""
    places = (("release", "sha256"), ("targets", "gene_sets_sha256"), ("base", "sha256"), ("config_sha256",))
    names = [".".join(place) for place in places if _at(saved, place) != _at(now, place)]
    if "config_sha256" not in names:
        return names
    before, after = saved.get("config") or {}, now.get("config") or {}
    settings = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    told = [name for name in names if name != "config_sha256"]
    return [*told, *(name for name in settings if name not in NOT_THE_RUN)] or names


def _targets(config: AlignConfig, release: Release) -> dict[str, Any]:
    if config.target_set is None:
        scored: Mapping[str, Any] = release.manifest.get("pathways", {})
        name, sha256 = scored.get("set"), scored.get("sha256")
    else:
        name, known = config.target_set, release.manifest.get("targets", {})
        if name not in known:
            raise UsageError(
                "This release has no such target set",
                code="unknown-targets",
                field="target_set",
                expected=", ".join(sorted(known)) or "none: it has pathways alone",
                found=name,
                todo="`humanst add-targets` adds one to a release of one's own",
            )
        scored = known[name].get("parameters", {})
        sha256 = scored.get("gene_sets_sha256")
    return {
        "set": name,
        "gene_sets_sha256": sha256 or "",
        **{key: scored.get(key) for key in ("scorer", "normalisation", "options")},
    }


def _versions() -> dict[str, str]:
    found = {"humanst": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _at(facts: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = facts
    for part in place:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
