"""A release with everything that a stranger may put into names, and the command that shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tests.shards.conftest import Made

# Markup, an attribute that ends, and what turns the direction of text.
SCRIPT = "<script>window.hacked = 1</script>\"><img src=x onerror='window.hacked = 2'>\u202e"
LONG = "L" * 300


def report(*arguments: str | Path) -> Result:
    """``humanst report`` in this process."""
    from humanst.cli import humanst

    return CliRunner().invoke(humanst, ["report", *map(str, arguments), "--workers", "1"], standalone_mode=False)


def copy_release(made: Made, folder: Path) -> Path:
    """The release alone, without the work folder beside it."""
    release = folder / "release"
    shutil.copytree(made.release, release)
    return release


def change_manifest(release: Path, change: Any) -> dict[str, Any]:
    """Let ``change(manifest)`` write into the manifest of a release."""
    path = release / "MANIFEST.json"
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return manifest


def hostile(manifest: dict[str, Any]) -> None:
    """A script in every title, a section with a long name, one of an organ of its own, one without its store."""
    for study in manifest["studies"]:
        study["title"] = f"Study {SCRIPT}"
    long, scripted, bare = manifest["sections"]
    long["section_id"] = LONG
    scripted["organ"] = f"organ {SCRIPT}"
    scripted["findings"] = [
        {"severity": "warn", "code": "told", "what": f"Told {SCRIPT}", "found": LONG, "todo": None, "section": None}
    ]
    bare.pop("store")
