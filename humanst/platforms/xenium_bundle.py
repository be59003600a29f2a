"""The small files of a Xenium bundle: ``experiment.xenium``, and the panel from the feature matrix or its own file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanst.fetch import LocalFiles
from humanst.files import read_json
from humanst.findings import Findings
from humanst.platforms.h5_guard import open_h5
from humanst.platforms.registration import INSTRUMENT_UM_PER_PIXEL
from humanst.platforms.tables import first_duplicates
from humanst.platforms.tenx import DAMAGED, read_names

AGREE_WITHIN, REFUSE_BEYOND = 0.02, 0.05
HUMAN = frozenset({"human", "homo sapiens"})
# What is kept of experiment.xenium; names of runs, people and folders are not.
KEPT_FACTS = (
    "analysis_sw_version",
    "chemistry_version",
    "panel_design_id",
    "panel_name",
    "panel_num_targets_custom",
    "panel_num_targets_predesigned",
    "panel_organism",
    "panel_predesigned_id",
    "panel_tissue_type",
    "panel_type",
    "pixel_size",
    "preservation_method",
)
_LONGEST = 200
_GENE = "Gene Expression"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What ``experiment.xenium`` tells.

    Attributes
    ----------
    pixel_size_um
        um per DAPI pixel; the instrument's own without the file.
    facts
        Panel, versions and scale as written there.
    """

    pixel_size_um: float = INSTRUMENT_UM_PER_PIXEL
    facts: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Panel:
    """The genes a panel measures.

    Attributes
    ----------
    names, ids
        ``(n,)`` names as in the transcript table, and the ids the file gives them (Ensembl, or the lab's own).
    source
        Role of the file; ``transcripts`` where no file lists the panel, and only observed genes are known.
    """

    names: NDArray[np.str_]
    ids: NDArray[np.str_]
    source: str

    @property
    def identified(self) -> frozenset[str]:
        """Names that have a human Ensembl id."""
        pairs = zip(self.names.tolist(), self.ids.tolist(), strict=True)
        return frozenset(name for name, ident in pairs if ident.startswith("ENSG"))

    @property
    def unidentified(self) -> frozenset[str]:
        """Names that have none, where others have one; empty for a file that gives no Ensembl ids at all."""
        known = self.identified
        return frozenset(self.names.tolist()) - known if known else frozenset()


def read_experiment(files: LocalFiles, findings: Findings) -> Experiment:
    """Read role ``experiment``; without it (crops and exports) the instrument's pixel size holds.

    Findings: ``experiment-unreadable``, ``not-human`` (by the panel's organism), ``pixel-size``.
    """
    if "experiment" not in files.paths:
        return Experiment()
    name = files.names["experiment"]
    content = _json(files, "experiment", findings)
    if content is None:
        return Experiment()
    facts = {key: _short(content[key]) for key in KEPT_FACTS if isinstance(content.get(key), str | int | float)}
    organism = str(content.get("panel_organism") or "")
    if organism and organism.strip().lower() not in HUMAN:
        findings.refuse(
            "not-human",
            "The panel is not for human tissue",
            file=name,
            field="panel_organism",
            expected="Human",
            found=f"{organism} ({facts.get('panel_name', 'panel without a name')})",
            done="The transcripts were not read",
            todo="humanst holds human sections only",
        )
    return Experiment(_pixel_size(content.get("pixel_size"), name, findings), facts)


def _short(value: Any) -> Any:
    return value[:_LONGEST] if isinstance(value, str) else value


def _json(files: LocalFiles, role: str, findings: Findings) -> dict[str, Any] | None:
    try:
        content = read_json(files.paths[role])
    except (ValueError, OSError) as error:
        content = error
    if isinstance(content, dict):
        return content
    findings.refuse(
        f"{role}-unreadable",
        "The file is not a JSON object",
        file=files.names[role],
        expected="a JSON object as the instrument writes it",
        found=str(content)[:_LONGEST],
        todo="Fetch the file again",
    )
    return None


def _pixel_size(value: Any, name: str, findings: Findings) -> float:
    """The header's um per pixel, held against the instrument's: two readings of one number."""
    if value is None:
        return INSTRUMENT_UM_PER_PIXEL
    try:
        size = float(value)
    except (TypeError, ValueError):
        size = float("nan")
    difference = abs(size / INSTRUMENT_UM_PER_PIXEL - 1)
    if not difference <= AGREE_WITHIN:
        tell = findings.warn if difference <= REFUSE_BEYOND else findings.refuse
        tell(
            "pixel-size",
            "The pixel size is not the instrument's",
            file=name,
            field="pixel_size",
            expected=f"{INSTRUMENT_UM_PER_PIXEL} um within {AGREE_WITHIN:.0%}",
            found=repr(value),
            todo="Take experiment.xenium as the instrument wrote it",
        )
    return size if np.isfinite(size) and size > 0 else INSTRUMENT_UM_PER_PIXEL


def read_panel(files: LocalFiles, findings: Findings) -> Panel:
    """The panel's genes from role ``counts`` (cell_feature_matrix.h5), else ``panel`` (gene_panel.json), else none.

    Findings: ``matrix-unreadable``, ``panel-unreadable``, ``panel-duplicate``.
    """
    source = next((role for role in ("counts", "panel") if role in files.paths), "transcripts")
    pairs: list[tuple[str, str]] = []
    if source == "counts":
        pairs = _matrix_features(files, findings)
    elif source == "panel":
        pairs = _panel_targets(files, findings)
    names = np.array([name for name, _ in pairs], dtype=str)
    twice = first_duplicates(names)
    if twice:
        findings.refuse(
            "panel-duplicate",
            "Two genes of the panel have one name",
            file=files.names[source],
            field="features",
            expected="each name once, for transcripts know their gene by name only",
            found=", ".join(twice),
        )
    return Panel(names, np.array([ident for _, ident in pairs], dtype=str), source)


def _matrix_features(files: LocalFiles, findings: Findings) -> list[tuple[str, str]]:
    """(name, id) of the genes of a 10x matrix; its counts are not read."""
    try:
        with open_h5(files.paths["counts"], files.names["counts"]) as handle:
            features = handle["matrix/features"]
            columns = [read_names(features[key]).tolist() for key in ("name", "id", "feature_type")]
            rows = list(zip(*columns, strict=True))
    except DAMAGED as error:
        findings.refuse(
            "matrix-unreadable",
            "The feature matrix cannot be read",
            file=files.names["counts"],
            expected="cell_feature_matrix.h5 with matrix/features",
            found=str(error),
            todo="Fetch the file again",
        )
        return []
    return [(name, ident) for name, ident, kind in rows if kind == _GENE]


def _panel_targets(files: LocalFiles, findings: Findings) -> list[tuple[str, str]]:
    content = _json(files, "panel", findings)
    if content is None:
        return []
    try:
        kinds = [target["type"] for target in content["payload"]["targets"]]
        genes = [kind["data"] for kind in kinds if kind["descriptor"] == "gene"]
        return [(str(gene["name"]), str(gene.get("id", ""))) for gene in genes]
    except (KeyError, TypeError, AttributeError) as error:
        findings.refuse(
            "panel-unreadable",
            "The panel file lists no targets",
            file=files.names["panel"],
            field="payload.targets",
            expected="gene_panel.json as the instrument writes it",
            found=repr(error),
        )
        return []
