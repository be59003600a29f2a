"""Small sections with faults in their vendor files, each in a folder of its own, built by one ``humanst build``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from humanst.demo import DemoAtlas, write_atlas
from humanst.demo.layout import Kind
from tests.cli.test_scale_faults import plan
from tests.faults.board import Message, Seen, messages_of, unfinished
from tests.helpers import run_humanst

Spoil = Callable[[Path], None]
# Case -> what spoils the folder, exit codes that would do, codes of refusals or warnings that would do.
Cases = Mapping[str, tuple[Spoil | None, tuple[int, ...], tuple[str, ...]]]


@dataclass(frozen=True)
class Built:
    """What one command said of all folders, by case."""

    exit_code: int
    messages: dict[str, Message]
    findings: dict[str, list[dict[str, Any]]]
    stores: dict[str, Path]
    left: list[str]

    def seen(self, cases: Cases) -> list[Seen]:
        """One case a folder; one that was built must have been warned where the case may end well."""
        found = []
        for case, (_, wanted, codes) in cases.items():
            message = self.messages.get(case)
            if message is not None:
                found.append(Seen(case, wanted, message.exit_code, message, self.left, codes=codes))
            elif case not in self.stores:
                found.append(Seen(case, wanted, self.exit_code, None, self.left, wrong="neither built nor refused"))
            else:
                told = {finding["code"] for finding in self.findings[case]}
                wrong = "" if told & set(codes) else "built without a word"
                found.append(Seen(case, wanted, 0, None, self.left, wrong=wrong))
        return found


def one_section(kind: Kind, folder: Path) -> DemoAtlas:
    """A clean section of a platform whose tissue looks different every other way round."""
    return write_atlas(folder, studies=(plan(kind),))


def recipe_of(atlas: DemoAtlas, study: str = "lab", **changes: Any) -> Path:
    """The recipe of a study, with entries changed."""
    path = atlas.curation / study / "recipe.yaml"
    if not changes:
        return path
    target = path.with_name(f"recipe{len(list(path.parent.iterdir()))}.yaml")
    target.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return target


def build_spoiled(
    source: Path | None, recipe: Path, cases: Cases, folder: Path, *, env: dict[str, str] | None = None, first: str = ""
) -> Built:
    """Spoil a copy of ``source`` a case (or a new folder), and build all of them in one command."""
    names = {}
    for number, (case, (spoil, _, _)) in enumerate(cases.items()):
        names[case] = f"f{number:02d}"
        if source is None:
            (folder / names[case]).mkdir(parents=True)
        else:
            shutil.copytree(source, folder / names[case], copy_function=shutil.copyfile)
        if spoil is not None:
            spoil(folder / names[case])
    return build_folders({case: folder / name for case, name in names.items()}, recipe, folder, env=env, first=first)


def build_folders(
    folders: Mapping[str, Path], recipe: Path, folder: Path, *, env: dict[str, str] | None = None, first: str = ""
) -> Built:
    """``humanst build FOLDER... --recipe RECIPE --json``, one section a folder."""
    store = folder / "store"
    arguments = ["build", *map(str, folders.values()), "--recipe", str(recipe), "-o", str(store), "--json"]
    result = run_humanst(*arguments, env=env, first=first, cache=folder / "cache")
    said = json.loads(result.stdout) if result.stdout.strip() else {}
    case_of = {path.name: case for case, path in folders.items()}
    messages = {
        case_of[item.split("_")[0]] if item else "": message for item, message in messages_of(result.stdout).items()
    }
    rows = {case_of[row["sample_id"].split("_")[0]]: row for row in said.get("sections", ())}
    named = {f"{row['sample_id']}.zarr" for row in rows.values()}
    there = [path.name for path in (store / "sections").glob("*.zarr")] if store.exists() else []
    left = unfinished(store) + sorted(set(there) - named) if store.exists() else []
    return Built(
        result.returncode,
        messages,
        {case: row["findings"] for case, row in rows.items()},
        {case: Path(row["path"]) for case, row in rows.items()},
        left,
    )
