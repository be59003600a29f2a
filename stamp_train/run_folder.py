"""The folder of a run: what is in it, and whether it is the run that somebody wants to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, IntegrityError, UsageError

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.config import AlignConfig

CONFIG, FACTS, RESULT = "config.yaml", "run.json", "result.json"
CHECKPOINTS, HEADS, VALIDATION = "checkpoints", "heads.safetensors", "validation.csv"


def require_same_run(run: Path, saved: Mapping[str, Any], config: AlignConfig, release: Release) -> None:
    """Refuse to go on with a run of other settings, or of another release.

    Raises
    ------
    UsageError
        ``other-run`` with the settings that differ.
    DataError
        ``other-release``.
    IntegrityError
        ``run-torn`` when what is on record of it is not as a run writes it.
    """
    from stamp_train.run_facts import SCHEMA, differing_facts, facts_of_run

    parts = ("base", "targets", "config", "release")
    if saved.get("schema") != SCHEMA or not all(isinstance(saved.get(name), Mapping) for name in parts):
        raise IntegrityError(
            "What is on record of the run in this folder cannot be used",
            code="run-torn",
            file=run,
            expected=f"{SCHEMA} with {', '.join(parts)}",
            found=f"{saved.get('schema')} with {', '.join(sorted(saved))}",
            done="Nothing was changed",
            todo="Give the run another folder",
        )
    now = facts_of_run(config, release, str(saved["base"].get("sha256")), targets=saved["targets"])
    differing = differing_facts(saved, now)
    settings = [name for name in differing if "." not in name]
    if settings:
        before, after = saved["config"], now["config"]
        raise UsageError(
            "The run in this folder has other settings",
            code="other-run",
            file=run,
            field=", ".join(settings),
            expected=", ".join(f"{name} {before.get(name)}" for name in settings),
            found=", ".join(f"{name} {after.get(name)}" for name in settings),
            done="Nothing was changed",
            todo="Give the run another folder, or the settings it began with (config.yaml)",
        )
    if differing:
        raise DataError(
            "The run in this folder is of another release",
            code="other-release",
            file=run,
            field=", ".join(differing),
            expected=f"{saved['release'].get('version')}, manifest {str(saved['release'].get('sha256'))[:16]}",
            found=f"{now['release']['version']}, manifest {now['release']['sha256'][:16]}",
            done="Nothing was changed",
            todo="Give the run another folder, or the release it began with",
        )


def require_same_base(run: Path, saved: Mapping[str, Any], base_sha256: str) -> None:
    """Refuse to go on from another base.

    Raises
    ------
    IntegrityError
        ``other-base``.
    """
    if saved["base"]["sha256"] != base_sha256:
        raise IntegrityError(
            "The weights of the base are not those that the run began with",
            code="other-base",
            file=run,
            expected=f"sha256 {saved['base']['sha256']}",
            found=base_sha256,
            done="Nothing was changed",
        )


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object of the run; ``None`` where there is none.

    Raises
    ------
    IntegrityError
        When it is none of ours.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise IntegrityError("A file of the run cannot be read", code="run-torn", file=path, found=error) from error
    if not isinstance(content, dict):
        raise IntegrityError("A file of the run cannot be read", code="run-torn", file=path, found=type(content))
    return content
