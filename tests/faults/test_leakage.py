"""F28: one tissue on two sides, however its kinship is hidden; ``humanst plan`` and ``humanst build-shards``."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

from tests.cli.test_bad_input import files_of
from tests.faults.board import WHOLE, Seen, judge, listing, seen_of
from tests.helpers import run_humanst
from tests.shards.test_newcomers import amend, named_for
from tests.studies import ST_RECIPE, World, write_world

Files = dict[str, Path]
LEAK = ("leakage",)
N_CATALOGS = 20 if WHOLE else 5


class Worlds:
    """Worlds of one-section studies, and the commands over them."""

    def __init__(self, folder: Path, atlas: Path) -> None:
        self.folder, self.atlas, self.n = folder, atlas, 0
        self.sets = next((atlas / "mirror" / "gene_sets").glob("*.gmt"))

    def world(self, studies: dict[str, dict[str, Files]]) -> World:
        self.n += 1
        recipes = dict.fromkeys(studies, ST_RECIPE)
        return write_world(self.folder / f"world{self.n}", studies, recipes, gene_sets=self.sets)

    def plan(self, world: World, *more: str) -> tuple[int, str, dict[str, str]]:
        """Exit code, output, and section -> split of the plan."""
        path = world.folder / "plan.json"
        path.unlink(missing_ok=True)
        result = run_humanst("plan", "-o", str(path), "--json", *more, atlas=world.folder)
        rows = json.loads(path.read_text())["sections"] if path.exists() else []
        return result.returncode, result.stdout, {row["sample_id"]: row["split"] for row in rows}

    def assign(self, **splits: str) -> str:
        path = self.folder / f"assign{self.n}.csv"
        path.write_text("sample_id,split\n" + "".join(f"{name},{split}\n" for name, split in splits.items()))
        return str(path)


def refused_plan(worlds: Worlds, world: World, case: str, **splits: str) -> Seen:
    code, out, planned = worlds.plan(world, "--assign", worlds.assign(**splits))
    return seen_of(case, code, out, 5, LEAK, left=["plan.json"] if planned else [])


def copy_of(original: Files, folder: Path) -> Files:
    """The section once more: its image coded anew and turned by nobody, its files under other names."""
    folder.mkdir()
    copy = {role: folder / f"other_{path.name}" for role, path in original.items()}
    for role, path in original.items():
        copy[role].write_bytes(path.read_bytes())
    Image.open(original["image"]).save(copy["image"], quality=93, subsampling=0)
    return copy


def test_f28_leakage(little_atlas: Path, tmp_path: Path) -> None:
    worlds = Worlds(tmp_path, little_atlas)
    a1, b1 = files_of(little_atlas, "A1"), files_of(little_atlas, "B1")
    donors = worlds.world({"one": {"S1": a1, "S2": b1}})
    amend(donors, "one", donor_id="d1")
    seen = [refused_plan(worlds, donors, "a donor on two sides", one_S1="train", one_S2="test")]
    amend(donors, "one", donor_id="unknown")
    seen.append(refused_plan(worlds, donors, "no donor: the study is one unit", one_S1="train", one_S2="val"))

    one, two = named_for("one", "train"), named_for("two", "test")
    studies = {"one": {one: a1}, "two": {two: copy_of(a1, tmp_path / "copy")}}
    copies, release = worlds.world(studies), tmp_path / "release"
    arguments = ["build-shards", "-o", str(release), "--json"]
    result = run_humanst(*arguments, atlas=copies.folder, cache=tmp_path / "cache")
    left = sorted(listing(release)) if release.exists() else []
    seen.append(seen_of("a copy under another name", result.returncode, result.stdout, 5, LEAK, left=left))
    seen.append(added(worlds, {"one": {one: a1}}, {"more": {"S9": b1}}))
    moved = sum(bool(random_catalog(worlds, a1, seed)) for seed in range(N_CATALOGS))
    assert moved == 0
    judge(
        "F28", seen, [f"{N_CATALOGS} random catalogues, each with studies added: no donor on two sides, nobody moved"]
    )


def added(worlds: Worlds, before: dict[str, dict[str, Files]], more: dict[str, dict[str, Files]]) -> Seen:
    """A study added moves nobody."""
    code, _, first = worlds.plan(worlds.world(before))
    assert code == 0
    code, out, second = worlds.plan(worlds.world({**before, **more}))
    wrong = "a section moved" if {name: second.get(name) for name in first} != first else ""
    return seen_of("a study added", code, out, 0, wrong=wrong)


def random_catalog(worlds: Worlds, files: Files, seed: int) -> str:
    """What is wrong with the plans of a random catalogue and of the same with two studies more; empty for nothing."""
    rng = random.Random(seed)
    tiny = {"counts": files["counts"], "spots": files["spots"]}
    studies = {f"s{n}": {f"x{k}": tiny for k in range(rng.randint(1, 3))} for n in range(5)}
    donor = {name: rng.choice(["unknown", *(f"d{n}" for n in range(4))]) for name in studies}
    sides: list[dict[str, str]] = []
    for names in (list(studies)[:3], list(studies)):
        world = worlds.world({name: studies[name] for name in names})
        for number, name in enumerate(names):
            release = "0.1.0" if number < 3 else "0.2.0"
            amend(world, name, donor_id=donor[name], release_added=release)
        code, out, planned = worlds.plan(world)
        if code not in (0, 4):
            return out
        sides.append(planned)
        donors: dict[str, set[str]] = {}
        for sample, split in planned.items():
            study = sample.split("_")[0]
            donors.setdefault(study if donor[study] == "unknown" else donor[study], set()).add(split)
        if any(len(found) > 1 for found in donors.values()):
            return f"a donor on two sides: {donors}"
    moved: Any = {name: side for name, side in sides[0].items() if sides[1].get(name, side) != side}
    return f"moved: {moved}" if moved else ""
