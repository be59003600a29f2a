"""What it costs to score pathways: seconds and peak memory, beside scanpy and decoupler on the same matrix.

A synthetic section of 50,000 spots x 18,000 genes, 8 % of the entries above 0 (Poisson counts; log-normal gene means of
sd 2 and depths of sd 0.6, so that few genes have most of the counts). Gene sets are those of ``HUMANST_TEST_DATA``
(Hallmark, Reactome), on the ids of the shipped gene table; without it random sets of about their sizes. Every
measurement runs in a process of its own, which loads the matrix, scores it several times and tells the median and the
high-water mark of its memory. Everything is on one thread but for what decoupler does with numba.

scanpy is given three sets and decoupler two numbers of sets; what a collection costs is extrapolated: for scanpy
normalisation + sets x cost a set, for decoupler a line through both. decoupler turns spots dense and ranks all genes,
so it is given the first spots alone (``--decoupler-spots``), and 50,000 are extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, load_npz, save_npz, vstack

from benchmarks.memory import high_water_mib

HALLMARK = "msigdb_h.all.v2025.1.Hs.symbols.gmt"
REACTOME = "reactome_ReactomePathways.gmt"
ATLAS_SPOTS = 1_800_000
BATCH_SPOTS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=18_000)
    parser.add_argument("--density", type=float, default=0.08)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--decoupler-spots", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="4,000 spots, one repeat")
    parser.add_argument("--folder", type=Path, default=None, help="where the matrix goes [a temporary folder]")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "SPOTS", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.spots, options.repeats, options.decoupler_spots = 4_000, 1, 400
    if options.child:
        what, spots, folder = options.child
        print(json.dumps(measured(what, int(spots), Path(folder), options.repeats)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        told = measure(options, Path(folder))
    print(json.dumps(told, indent=2) if options.json else table(told))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the world, and measure every way in turn."""
    from humanst.pathways import SCORERS

    told = write_world(folder, options.spots, options.genes, options.density)
    runs: dict[str, dict[str, Any]] = {}

    def run(what: str, spots: int) -> None:
        command = [sys.executable, "-m", "benchmarks.scoring", "--child", what, str(spots), str(folder)]
        done = subprocess.run(
            [*command, "--repeats", str(options.repeats)], check=True, stdout=subprocess.PIPE, text=True
        )
        runs[f"{what} {spots}"] = {"what": what, "spots": spots, **json.loads(done.stdout.splitlines()[-1])}

    for spots in (options.spots // 4, options.spots // 2, options.spots):
        run("humanst bincontrol hallmark", spots)
    run("scanpy score_genes", options.spots)
    for scorer in SCORERS[1:]:
        run(f"humanst {scorer} hallmark", options.spots)
    run("humanst bincontrol reactome", options.spots)
    for method in ("ulm", "aucell"):
        run(f"decoupler {method}", min(options.decoupler_spots, options.spots))
    return {**told, "runs": list(runs.values()), "summary": summary(runs, options.spots, told)}


def write_world(folder: Path, n_spots: int, n_genes: int, density: float) -> dict[str, Any]:
    """Write counts, gene ids and both collections; tell what they are."""
    rng = np.random.default_rng(0)
    shares = np.exp(rng.normal(0, 2, n_genes))
    shares /= shares.sum()
    depth = np.exp(rng.normal(0, 0.6, n_spots))
    low, high = 1.0, 1e7
    while high / low > 1.001:
        middle = float(np.sqrt(low * high))
        above_0 = float(np.mean(1 - np.exp(-middle * depth[:200, None] * shares)))
        low, high = (middle, high) if above_0 < density else (low, middle)
    blocks = [
        csr_matrix(rng.poisson(low * depth[start : start + 1000, None] * shares).astype(np.int32))
        for start in range(0, n_spots, 1000)
    ]
    counts = vstack(blocks, format="csr")
    save_npz(folder / "counts.npz", counts, compressed=False)
    ids, sets, where_from = gene_sets(n_genes, rng)
    np.save(folder / "ids.npy", ids)
    (folder / "sets.json").write_text(json.dumps(sets))
    return {
        "spots": n_spots,
        "genes": n_genes,
        "density": counts.nnz / (n_spots * n_genes),
        "counts": int(counts.sum()),
        "matrix_mib": (counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / 2**20,
        "share_of_top_100_genes": float(np.sort(shares)[-100:].sum()),
        "sets": where_from,
        "n_sets": {name: len(members) for name, members in sets.items()},
    }


def gene_sets(n_genes: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, list[list[str]]], str]:
    """Gene ids of the columns, and the members of every set of both collections."""
    from benchmarks.memory import gene_names

    table = [gene for _, gene in gene_names(n_genes)]
    folder = Path(os.environ.get("HUMANST_TEST_DATA", "nowhere")) / "gene_sets"
    if not (folder / REACTOME).exists():
        sizes = {
            "hallmark": rng.integers(32, 201, 50),
            "reactome": np.clip(np.exp(rng.normal(np.log(14), 1.3, 2_700)), 1, 1_500).astype(int),
        }
        sets = {
            name: [sorted(rng.choice(table, size, replace=False).tolist()) for size in of_name]
            for name, of_name in sizes.items()
        }
        return np.array(sorted(table)), sets, "random sets, of about the sizes of Hallmark and Reactome"
    from humanst.harmonize.gene_table import load_gene_table
    from humanst.pathways import read_gmt, resolve

    resolved = {
        name: resolve(read_gmt(folder / file, name=name), load_gene_table()).ensembl_ids
        for name, file in (("hallmark", HALLMARK), ("reactome", REACTOME))
    }
    needed = sorted({gene for members in resolved.values() for genes in members for gene in genes})
    others = [gene for gene in table if gene not in set(needed)]
    ids = np.array(sorted((needed + others)[:n_genes]))
    return rng.permutation(ids), {name: [list(genes) for genes in members] for name, members in resolved.items()}, (
        "Hallmark v2025.1 and Reactome"
    )  # fmt: skip


def measured(what: str, n_spots: int, folder: Path, repeats: int) -> dict[str, Any]:
    """Measure one way in this process."""
    warnings.simplefilter("ignore")
    counts = load_npz(folder / "counts.npz")[:n_spots]
    ids = np.load(folder / "ids.npy")
    # The columns of a section are in the order of their ids, as its store has them.
    ids = np.sort(ids)
    sets: dict[str, list[list[str]]] = json.loads((folder / "sets.json").read_text())
    tool, method, *collection = what.split()
    if tool == "humanst":
        return of_humanst(counts, ids, method, sets[collection[0]], repeats)
    return (of_scanpy if tool == "scanpy" else of_decoupler)(counts, ids, method, sets["hallmark"], repeats)


def timed(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median wall and CPU seconds, and the spread of the wall ones."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {
        "seconds": statistics.median(walls),
        "fastest": min(walls),
        "slowest": max(walls),
        "cpu_seconds": statistics.median(cpus),
    }


def of_humanst(
    counts: csr_matrix, ids: np.ndarray, scorer: Any, members: list[list[str]], repeats: int
) -> dict[str, Any]:
    from humanst.pathways import ResolvedSets, Scoring, score_section

    sets = ResolvedSets(
        "sets",
        tuple(f"S{place}" for place in range(len(members))),
        tuple(tuple(genes) for genes in members),
        ((),) * len(members),
        tuple(len(genes) for genes in members),
        "0" * 64,
    )
    every_spot, every_gene = np.ones(counts.shape[0], dtype=bool), np.ones(len(ids), dtype=bool)

    def work() -> Any:
        return score_section(
            counts, ids, every_gene, sets, in_fit=every_spot, targeted=False, scoring=Scoring(scorer=scorer)
        )

    few = score_section(
        counts[:50], ids, every_gene, sets, in_fit=every_spot[:50], targeted=False, scoring=Scoring(scorer=scorer)
    )
    before = high_water_mib()
    result = timed(work, repeats)
    return {**result, "peak_mib": high_water_mib(), "before_mib": before, "sets_scored": int(few.is_valid.sum())}


def of_scanpy(
    counts: csr_matrix, ids: np.ndarray, method: str, members: list[list[str]], repeats: int
) -> dict[str, Any]:
    import anndata as ad
    import scanpy as sc

    data = ad.AnnData(counts.astype(np.float32))
    data.var_names = ids
    few = data[:50].copy()
    sc.pp.normalize_total(few, target_sum=1e4)
    sc.pp.log1p(few)
    sc.tl.score_genes(few, members[0])  # what is compiled and imported at the first call is not counted
    before = high_water_mib()
    prepared = timed(lambda: (sc.pp.normalize_total(data, target_sum=1e4), sc.pp.log1p(data)), 1)
    each = [timed(lambda s=s: getattr(sc.tl, method)(data, s, ctrl_size=50), repeats) for s in members[:3]]
    a_set = {key: statistics.mean(one[key] for one in each) for key in ("seconds", "cpu_seconds")}
    return {
        "normalise": prepared,
        "a_set": a_set,
        "seconds": prepared["seconds"] + len(members) * a_set["seconds"],
        "cpu_seconds": prepared["cpu_seconds"] + len(members) * a_set["cpu_seconds"],
        "peak_mib": high_water_mib(),
        "before_mib": before,
        "sets_scored": len(members),
    }


def of_decoupler(
    counts: csr_matrix, ids: np.ndarray, method: str, members: list[list[str]], repeats: int
) -> dict[str, Any]:
    try:
        import decoupler as dc
    except ImportError:
        return {"seconds": None, "why": "decoupler is not installed"}
    import anndata as ad
    import pandas as pd
    import scanpy as sc

    data = ad.AnnData(counts.astype(np.float32))
    data.var_names = ids
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)

    def score(n_sets: int, given: Any) -> None:
        rows = [(f"S{place}", gene, 1.0) for place, genes in enumerate(members[:n_sets]) for gene in genes]
        net = pd.DataFrame(rows, columns=["source", "target", "weight"])
        getattr(dc.mt, method)(given, net, bsize=BATCH_SPOTS)

    score(2, data[:50].copy())
    before = high_water_mib()
    few, more = (timed(lambda n=n: score(n, data), min(repeats, 2)) for n in (5, 15))
    a_set = max(more["seconds"] - few["seconds"], 0.0) / 10
    return {
        "a_set": {"seconds": a_set},
        "seconds": few["seconds"] + (len(members) - 5) * a_set,
        "cpu_seconds": None,
        "peak_mib": high_water_mib(),
        "before_mib": before,
        "sets_scored": len(members),
    }


def summary(runs: dict[str, dict[str, Any]], n_spots: int, told: dict[str, Any]) -> dict[str, Any]:
    """Ratios and extrapolations."""
    ours = [runs[f"humanst bincontrol hallmark {n}"] for n in (n_spots // 4, n_spots // 2, n_spots)]
    theirs = runs[f"scanpy score_genes {n_spots}"]
    reactome = runs[f"humanst bincontrol reactome {n_spots}"]
    alone = told["n_sets"]["hallmark"] * theirs["a_set"]["seconds"]
    up = ATLAS_SPOTS / n_spots
    found = {
        "times_score_genes": alone / ours[-1]["seconds"],
        "times_score_genes_with_normalisation": theirs["seconds"] / ours[-1]["seconds"],
        "times_score_genes_cpu": theirs["cpu_seconds"] / ours[-1]["cpu_seconds"],
        "microseconds_a_spot": [1e6 * run["seconds"] / run["spots"] for run in ours],
        "minutes_of_1_8_million_spots": {
            "humanst hallmark": up * ours[-1]["seconds"] / 60,
            "humanst reactome": up * reactome["seconds"] / 60,
            "scanpy score_genes hallmark": up * theirs["seconds"] / 60,
        },
    }
    for run in runs.values():
        if run["what"].startswith("decoupler") and run["seconds"] is not None:
            a_spot = run["seconds"] / run["spots"]
            found[f"times_{run['what']}"] = a_spot / (ours[-1]["seconds"] / n_spots)
            found["minutes_of_1_8_million_spots"][f"{run['what']} hallmark"] = ATLAS_SPOTS * a_spot / 60
    return found


def table(told: dict[str, Any]) -> str:
    """Tell the figures as a person reads them."""
    lines = [
        f"{told['spots']:,} spots x {told['genes']:,} genes, {told['density']:.1%} above 0, {told['counts']:,} counts",
        f"matrix {told['matrix_mib']:,.0f} MiB; 100 genes have {told['share_of_top_100_genes']:.0%}; {told['sets']}",
        f"{'what':32s} {'spots':>7s} {'sets':>6s} {'seconds':>9s} {'cpu s':>8s} {'peak MiB':>9s} {'added MiB':>10s}",
    ]
    for run in told["runs"]:
        if run["seconds"] is None:
            lines.append(f"{run['what']:32s} {run['why']}")
            continue
        cpu = "" if run["cpu_seconds"] is None else f"{run['cpu_seconds']:.2f}"
        lines.append(
            f"{run['what']:32s} {run['spots']:7,d} {run['sets_scored']:6,d} {run['seconds']:9.2f} {cpu:>8s} "
            f"{run['peak_mib']:9,.0f} {run['peak_mib'] - run['before_mib']:10,.0f}"
        )
    return "\n".join([*lines, json.dumps(told["summary"], indent=2)])


if __name__ == "__main__":
    main()
