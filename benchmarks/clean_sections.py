"""How many clean sections are refused or warned of: random demo sections of every platform, through every gate.

Writes N small sections of each study kind with ``humanst.demo`` (another tissue, size, cover, scale and turn each),
runs all checks of ``humanst validate`` over their vendor files and prints a table. Nothing is timed.

    python benchmarks/clean_sections.py             # 20 a kind, about 4 minutes of one core; --json for one document
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from humanst.catalog import load_recipe
from humanst.curate.checking import validate_paths
from humanst.demo import random_study, write_atlas
from humanst.demo.layout import Kind


def judge(kind: Kind, n_sections: int, *, seed: int, folder: Path) -> dict[str, Any]:
    """Write and validate the sections of one kind; counts of verdicts and of warnings and refusals by code."""
    study = random_study(kind, n_sections, seed=seed)
    atlas = write_atlas(folder, studies=(study,))
    recipe = load_recipe(atlas.curation / study.study_id / "recipe.yaml")
    (result,) = validate_paths([str(atlas.mirror / study.study_id)], recipe)
    codes = Counter(
        (finding.severity, finding.facts.code)
        for report in result.reports
        for finding in dict.fromkeys(report.findings)
        if finding.severity != "note"
    )
    return {
        "kind": kind,
        "sections": len(result.reports),
        "refused": sum(report.refused for report in result.reports),
        "findings": {f"{severity} {code}": n for (severity, code), n in sorted(codes.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", type=int, default=20, help="sections of each kind (default 20)")
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=get_args(Kind))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="clean_sections_") as folder:
            rows.append(judge(kind, options.sections, seed=options.seed, folder=Path(folder)))
        if not options.json:
            row = rows[-1]
            told = ", ".join(f"{name} x {n}" for name, n in row["findings"].items()) or "nothing"
            print(f"{row['kind']:10}  {row['sections']:3} sections  {row['refused']} refused  told: {told}", flush=True)
    if options.json:
        print(
            json.dumps({"schema": "humanst.benchmark.clean_sections/1", "seed": options.seed, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
