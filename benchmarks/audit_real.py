"""Audit the real sections at hand, and write what it found as docs/audit_real.md.

Six sections of her2st, one Visium section of breast (Block A) and one of cortex (DLPFC), built from the test data
(``HUMANST_TEST_DATA``) by the commands a user has, and the genes of two Xenium panels as far as cut-outs show them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

COMMAND = "python -m benchmarks.audit_real -o docs/audit_real.md"
HER2ST = ("A1", "B1", "B4", "C1", "C2", "C3")
FOLDERS = ("visium_10x_breast_blockA_s1", "visium_dlpfc_151673")
# Donors are written in the studies' own names: the letter of a section of her2st; the other two are one donor each.
DONORS = {f"her2st_{name}": f"her2st_{name[0]}" for name in HER2ST}
PANELS = {
    "xenium_breast": "xenium_breast_crop_bidcell/transcripts_small.csv.gz",
    "xenium_lung": "xenium_lung_10k_transcripts/transcripts.parquet",
}
NO_GENES = r"^(?:BLANK|NegControl|antisense|Unassigned|Deprecated)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the page")
    parser.add_argument("--tables", type=Path, default=None, help="where the audit goes [a temporary folder]")
    options = parser.parse_args()
    data = Path(os.environ["HUMANST_TEST_DATA"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        tables = options.tables or Path(folder) / "audit"
        asked = audit(data, Path(folder), tables)
        options.out.write_text(page({path.stem: pd.read_parquet(path) for path in tables.glob("*.parquet")}, asked))


def audit(data: Path, folder: Path, out: Path) -> list[str]:
    """Build and audit; returns the words of the audit's command."""
    humanst(data, folder, "build", "her2st", "--sections", ",".join(HER2ST), "-o", "her2st")
    for name in FOLDERS:
        humanst(data, folder, "curate", "propose", str(data / name), "-o", f"{name}.yaml")
        humanst(data, folder, "build", str(data / name), "--recipe", f"{name}.yaml", "-o", name)
    stores = sorted(path.stem for name in FOLDERS for path in (folder / name / "sections").glob("*.zarr"))
    rows = [*DONORS.items(), *((store, store) for store in stores)]
    pd.DataFrame(rows, columns=["sample_id", "donor_id"]).to_csv(folder / "donors.csv", index=False)
    panels = []
    for name, path in PANELS.items():
        (folder / f"{name}.txt").write_text("\n".join(genes_seen(data / path)) + "\n")
        panels += ["--panel", f"{name}={name}.txt"]
    asked = ["audit", "her2st", *FOLDERS, "--groups", "donors.csv", *panels, "--draws", "20"]
    humanst(data, folder, *asked, "-o", str(out.resolve()))
    return ["humanst", *asked]


def humanst(data: Path, folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", "from humanst.cli import main; main()", *arguments]
    settings = {"HUMANST_OFFLINE": "1", "HUMANST_MIRROR": str(data), "HUMANST_CACHE_DIR": str(folder / "cache")}
    environment = os.environ | settings | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def genes_seen(path: Path) -> list[str]:
    """Names of the genes of a table of transcripts."""
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    names = read(path)["feature_name"]
    text = pd.Series([name.decode() if isinstance(name, bytes) else str(name) for name in names.unique()])
    return sorted(text[~text.str.contains(NO_GENES)])


PAGE = """# The audit of eight real sections

Made by `{command}`, which builds the sections and runs

<!-- done by: benchmarks/audit_real.py -->
```sh
{asked}
```

What the figures mean: [audit.md](audit.md). Nothing here is corrected by hand. Hallmark, bin-control, z within each
section; three thinnings, 20 draws of matched random sets. Verdicts: {verdicts}.

## Sections: medians over the pathways

{sections}

`passes`: pathways whose halves agree at r >= .15 and above the 95th percentile of random sets.

## Pathways: medians over the sections

{pathways}

## Information kept

How well features of one half of the counts predict the 50 most variable genes of the other half, donors left out; the
ceiling is what the noise of the target allows.

{information}

## Finding oneself again

{retrieval}

## Mutual information of halves

Median over pathways {gaussian:.3f} bits (Gaussian), {ksg:.3f} (KSG); {above} of {n_mutual} above the 99th percentile of
shuffled spots.

## Panels

Agreement (r within section) of scores from the genes of a panel with those of all genes, by the number of genes of the
pathway that the panel has; below .5 is weak. The panels are the genes that a cut-out of a section shows, which may be
fewer than the panel has; sections lack some of them.

{panels}
"""
OF_PATHWAYS = [
    "pathway",
    "n_passes",
    "half_r",
    "half_r_null_p95",
    "ceiling",
    "moran_residual",
    "moran_residual_null_p95",
    "abs_r_library",
    "between_donor",
    "verdict",
]


def page(tables: dict[str, Any], asked: Iterable[str]) -> str:
    bits, verdicts = tables["mutual"], tables["pathways"]["verdict"].value_counts()
    return PAGE.format(
        command=COMMAND,
        asked=" ".join(asked),
        verdicts=", ".join(f"{number} {verdict}" for verdict, number in verdicts.items()),
        sections=table(by_section(tables["sections"])),
        pathways=table(tables["pathways"][OF_PATHWAYS]),
        information=table(tables["information"][["features", "target", "r", "ceiling", "share_of_ceiling", "n_folds"]]),
        retrieval=table(tables["retrieval"][["features", "batch", "r_at_1", "r_at_5", "chance_at_1", "chance_at_5"]]),
        gaussian=bits["gaussian_bits"].median(),
        ksg=bits["ksg_bits"].median(),
        above=int(bits["above_shuffled"].sum()),
        n_mutual=len(bits),
        panels=table(by_panel_size(tables["panels"])),
    )


def by_section(sections: Any) -> Any:
    sections = sections.assign(abs_r_library=sections["r_library"].abs())
    figures = ["half_r", "half_r_null_median", "ceiling", "moran", "moran_null_median", "moran_residual"]
    found = sections.groupby("sample_id")[[*figures, "abs_r_library"]].median()
    return found.assign(passes=sections.groupby("sample_id")["passes"].sum().astype(int)).reset_index()


def by_panel_size(panels: Any) -> Any:
    valid = panels[panels["r"].notna()].copy()
    valid["genes measured"] = pd.cut(valid["n_measured"], [0, 14, 19, 49], labels=["10-14", "15-19", "20-49"])
    grouped = valid.groupby(["panel", "genes measured"], observed=True)
    named = {"panel_genes": ("n_panel_genes", "max"), "pathways": ("pathway", "nunique"), "scores": ("r", "size")}
    return grouped.agg(**named, median_r=("r", "median"), weak=("weak", "sum")).reset_index()


def table(frame: Any) -> str:
    def cell(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    head = "| " + " | ".join(map(str, frame.columns)) + " |\n|" + "---|" * len(frame.columns)
    rows = ("| " + " | ".join(map(cell, row)) + " |" for row in frame.itertuples(index=False))
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
