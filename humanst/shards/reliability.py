"""Reliability weights of a release's pathways: measured on its training sections alone, and frozen into it.

A task a section, from the store that the release was built from. A pathway's weight is the median over the training
sections in which it is valid of its split-half reliability, at least ``FLOOR``; sections to validate and to test on
have no say, so that nothing of them enters a loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from humanst import files
from humanst.builder import store_path
from humanst.errors import DataError
from humanst.pathways import PathwayChoice
from humanst.pathways.audit.inputs import AuditOptions
from humanst.shards.scoring import audit_section_of, sets_of_file
from humanst.shards.sidecars import read_table, write_table
from humanst.shards.target_layout import SectionRows, read_layout
from humanst.shards.target_sources import CARD, check_stores, is_committed
from humanst.store import open_section, read_card

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from humanst.shards.target_writing import Means

RELIABILITY = "targets/reliability.parquet"
FLOOR = 0.1
N_SEEDS = 3
# Raised whenever the same sections would give other weights.
RELIABILITY_VERSION = 2
_TABLE = "audit.parquet"


@dataclass(frozen=True, slots=True)
class ReliabilityTask:
    """One training section; picklable.

    Attributes
    ----------
    folder
        Where ``<sample_id>-reliability-<hash>/`` is made.
    """

    section: SectionRows
    donor_group: str
    store: Path
    folder: Path
    gene_sets: Path
    choice: PathwayChoice


def measure_section(task: ReliabilityTask) -> Path:
    """Audit a section as far as the weights need it, or find that it is done; returns the folder.

    Raises
    ------
    DataError
        When the gene sets or the store cannot be used.
    """
    from humanst.pathways.audit.section import audit_section

    inputs = _inputs(task)
    path = task.folder / f"{task.section.sample_id}-reliability-{inputs[:16]}"
    if is_committed(path, inputs):
        return path
    sets = sets_of_file(task.gene_sets, task.gene_sets.name, task.choice)
    # Draws say how much of it is chance; a weight needs none, and the audit at least one.
    options = AuditOptions(task.choice.scoring, n_seeds=N_SEEDS, n_draws=1)
    try:
        section = audit_section_of(open_section(task.store), donor_group=task.donor_group, split="train")
        found = audit_section(section, sets, options)
    except DataError as error:
        raise error.located(section=task.section.sample_id) from error.__cause__
    with files.folder_aside(path) as partial:
        columns = ["pathway", "half_r", "reliability"]
        files.write_with(partial / _TABLE, lambda target: found[columns].to_parquet(target, index=False))
        size = (partial / _TABLE).stat().st_size
        files.write_json(partial / CARD, {"inputs": inputs, "bytes": {_TABLE: size}})
    return path


def _inputs(task: ReliabilityTask) -> str:
    card = read_card(task.store)
    facts = {
        "version": RELIABILITY_VERSION,
        "n_seeds": N_SEEDS,
        "store": None if card is None else card["tree_sha256"],
        "extract": task.section.extract_inputs,
        "gene_sets": files.sha256_file(task.gene_sets),
        "choice": asdict(task.choice),
    }
    return hashlib.sha256(files.canonical_json(facts)).hexdigest()


def write_reliability(folder: Path, manifest: Mapping[str, Any], gene_sets: Path, means: Means) -> dict[str, Any]:
    """Write ``targets/reliability.parquet``; returns the entry of the manifest.

    Parameters
    ----------
    folder
        Where a release is put together; its ``index/`` is there.
    manifest
        Of that release.
    gene_sets
        The file that its pathways were scored with.

    Raises
    ------
    DataError
        When a section store is not the one the release was built from; ``no-training-pairs`` without any.
    NoRoomError
        When the disk fills up.
    """
    layout = read_layout(folder, manifest)
    check_stores(layout.sections, manifest, means.work)
    rows = {str(row["sample_id"]): row for row in manifest["sections"]}
    choice = PathwayChoice.of_record(manifest["pathways"].get("options", {}))
    tasks = [
        ReliabilityTask(
            section,
            str(rows[section.sample_id]["group"]),
            store_path(means.work, section.sample_id),
            means.work / "targets",
            gene_sets,
            choice,
        )
        for section in layout.sections
        if rows[section.sample_id]["split"] == "train"
    ]
    if not tasks:
        raise DataError(
            "There is nothing to measure the reliability of pathways on",
            code="no-training-pairs",
            expected="sections in the train split",
            found="none",
            done="The weights were not made",
        )
    measured = means.results("reliability: sections", tasks, measure_section)
    table = weights_of(manifest["pathways"]["names"], [read_table(path / _TABLE).to_pandas() for path in measured])
    _write(folder / RELIABILITY, table)
    return {
        "path": RELIABILITY,
        "version": RELIABILITY_VERSION,
        "floor": FLOOR,
        "n_seeds": N_SEEDS,
        "weights": [None if np.isnan(weight) else float(weight) for weight in table["weight"]],
        "fitted_on": [task.section.sample_id for task in tasks],
    }


def weights_of(names: Sequence[str], sections: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The weights of pathways from the audits of sections.

    Parameters
    ----------
    names
        The P pathways, in order.
    sections
        Tables with ``pathway``, ``half_r``, ``reliability``; NaN where a pathway is not valid.

    Returns
    -------
    P rows: ``pathway``; ``weight``, the median reliability between ``FLOOR`` and 1, NaN where no section has it valid;
    ``reliability`` and ``half_r``, the medians as they are; ``n_sections`` that these are over.
    """
    import pandas as pd

    figures: dict[str, NDArray[np.float64]] = {}
    for name in ("half_r", "reliability"):
        by_section = [table.set_index("pathway")[name].reindex(list(names)).to_numpy(np.float64) for table in sections]
        figures[name] = np.stack([np.full(len(names), np.nan), *by_section])
    valid = np.isfinite(figures["reliability"])
    some = valid.any(axis=0)
    medians = {}
    for name, values in figures.items():
        medians[name] = np.full(len(names), np.nan)
        medians[name][some] = np.nanmedian(np.where(valid, values, np.nan)[:, some], axis=0)
    return pd.DataFrame(
        {
            "pathway": list(names),
            "weight": np.clip(medians["reliability"], FLOOR, 1.0),
            "reliability": medians["reliability"],
            "half_r": medians["half_r"],
            "n_sections": valid.sum(axis=0).astype(np.int32),
        }
    )


def _write(path: Path, table: pd.DataFrame) -> None:
    import pyarrow as pa

    columns = {name: pa.array(table[name].to_numpy(), from_pandas=False) for name in table.columns if name != "pathway"}
    write_table(path, pa.table({"pathway": table["pathway"].tolist(), **columns}))
