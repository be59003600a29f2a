"""A small release to align to: its images show a number, and what a target set of it says follows from that number."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from stamp_train.config import AlignConfig
from tests.load.conftest import PATHWAYS, Written, write_release
from tests.load.test_load_targets import seal

SIZES = {"train": [40, 24], "val": [48], "test": [16]}
N_GENES, N_PLANTED = 12, 6
GENES = [f"ENSG{number:04d}" for number in range(N_GENES)]
SYMBOLS = [f"GENE{number}" for number in range(N_GENES)]
WEIGHTS = [0.9, 0.5, None, 0.2, 0.7]
UNMEASURED = {"train_s1": (2, 7)}
GMT = "".join(f"{name}\tnote\t" + "\t".join(SYMBOLS[p : p + 4]) + "\n" for p, name in enumerate(PATHWAYS))


def write_small_release(folder: Path, *, test_donors: str = "test") -> Written:
    """Sections ``<split>_s0`` to ``s3``, each of a donor of its own.

    Target sets: ``counts``; ``planted``, six waves of the number that the blue of an image shows, z within sections;
    ``hvg-2``, raw. ``test_donors="train"`` gives the test sections the donors of the training sections.
    """
    release = write_release(folder, SIZES)
    manifest, rng = release.manifest, np.random.default_rng(5)
    counts_folder = release.path / "targets/counts"
    sections, measured = [], {}
    for split, sizes in SIZES.items():
        index = release.path / f"index/{split}.parquet"
        table = pq.read_table(index)
        names = [f"{split}_{name}" for name in table["sample_id"].to_pylist()]
        of = test_donors if split == "test" else split
        donors = [f"donor_{of}_{name[-1]}" for name in names]
        for column, values in (("sample_id", names), ("donor_group", donors)):
            table = table.set_column(table.column_names.index(column), column, pa.array(values))
        pq.write_table(table, index)
        manifest["splits"][split]["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
        for name, donor in sorted(set(zip(names, donors, strict=True))):
            groups = {"metadata": {"exclusion_groups": "kept_apart" if name == "train_s3" else ""}}
            row = {"sample_id": name, "split": split, "group": donor, "donor_id": donor, "study_id": "demo"}
            sections.append(row | {"targeted": False, "pairs": names.count(name)} | groups)
            measured[name] = [gene not in UNMEASURED.get(name, ()) for gene in range(N_GENES)]
        _write_sets(release.path, split, sizes, np.array(names), rng, measured)
    manifest["sections"] = sections
    manifest["pathways"]["sha256"] = hashlib.sha256(GMT.encode()).hexdigest()
    manifest["reliability"] = {"weights": WEIGHTS}
    release.set_manifest(manifest)
    pq.write_table(pa.table({"ensembl_id": GENES, "symbol": SYMBOLS}), counts_folder / "genes.parquet")
    table = pa.table({"sample_id": list(measured), "measured": list(measured.values())})
    pq.write_table(table, counts_folder / "measured.parquet")
    for name, n in (("planted", N_PLANTED), ("hvg-2", 2)):
        columns = pa.table({"name": [f"{name}_{number}" for number in range(n)]})
        pq.write_table(columns, release.path / f"targets/{name}/columns.parquet")
    seal(release, {name: described(name) for name in ("counts", "planted", "hvg-2")})
    return release


def described(name: str) -> dict[str, Any]:
    if name == "counts":
        return {"kind": "counts", "n_columns": N_GENES, "columns": "targets/counts/genes.parquet"}
    kind, n = ("hvg", 2) if name == "hvg-2" else ("gene-sets", N_PLANTED)
    columns = {"kind": kind, "n_columns": n, "columns": f"targets/{name}/columns.parquet"}
    return columns | {"parameters": {"gene_sets_sha256": "c" * 64} if kind == "gene-sets" else {}}


def _write_sets(
    folder: Path, split: str, sizes: list[int], names: np.ndarray, rng: np.random.Generator, measured: dict
) -> None:
    begin = 0
    for number, size in enumerate(sizes):
        # What the blue of the images is: see the writer of the release.
        shown = np.arange(size) + sum(sizes[: number + 1])
        mine = names[begin : begin + size]
        waves = np.sin(np.outer(shown, 2 * np.pi / np.array([128, 96, 72, 60, 48, 40])) + np.arange(N_PLANTED))
        rates = np.exp(np.outer(np.sin(shown / 9), np.linspace(-1, 1, N_GENES))) * np.linspace(5, 60, N_GENES)
        counts = rng.poisson(rates) * np.array([measured[name] for name in mine])
        stem = f"{split}-0000{number}"
        for name, values in (("planted", waves), ("hvg-2", 3 + 2 * waves[:, :2])):
            (folder / "targets" / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / f"targets/{name}/{stem}.npy", values.astype(np.float32))
        (folder / "targets/counts").mkdir(parents=True, exist_ok=True)
        sp.save_npz(folder / f"targets/counts/{stem}.npz", sp.csr_matrix(counts.astype(np.int32)))
        begin += size


def settings(release: Path, run: Path, **changes: Any) -> AlignConfig:
    """Of a run that takes a second: a tiny encoder that sees 32 px, few and small batches."""
    usual: dict[str, Any] = {
        "release": str(release),
        "run": str(run),
        "encoder": "test_vit",
        "weights": "random",
        "image_px": 32,
        "target_set": "planted",
        "hidden_dim": 32,
        "projection_dim": 16,
        "batch_size": 8,
        "sections_per_batch": 2,
        "near_um": 0.5,
        "epochs": 1000,
        "max_steps": 6,
        "log_every_steps": 1,
        "save_every_steps": 2,
        "validate_every_steps": 3,
        "workers": 0,
        "device": "cpu",
        "learning_rate_lora": 1e-3,
        "learning_rate_heads": 3e-3,
    }
    return AlignConfig.from_mapping(usual | changes)


def written(folder: Path, config: AlignConfig) -> Path:
    path = folder / "align.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    return path


def facts(run: Path, name: str = "run.json") -> dict[str, Any]:
    return json.loads((run / name).read_bytes())
