"""Write the whole mini atlas, or some of its sections, into a folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from humanst import files
from humanst.demo.catalog import WrittenFile, WrittenSection, write_catalog
from humanst.demo.genes import demo_gmt, load_genes
from humanst.demo.layout import SectionPlan, StudyPlan, assign_splits, atlas_layout
from humanst.demo.st import write_st
from humanst.demo.tissue import make_tissue
from humanst.demo.truth import write_truth
from humanst.demo.visium import write_visium
from humanst.demo.visium_hd import write_visium_hd
from humanst.demo.xenium import write_xenium

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

GENE_SETS_PATH = "demo.gmt"


@dataclass(frozen=True, slots=True)
class DemoAtlas:
    """A written atlas.

    Attributes
    ----------
    folder
        Where it lies.
    catalog
        Its ``catalog.yaml``; ``HUMANST_CATALOG`` takes it.
    mirror
        The folder of vendor files; ``HUMANST_MIRROR`` takes it.
    curation
        Recipes and sample tables, one folder a study.
    assign
        ``assign.csv``: a split for every donor.
    gene_sets
        The GMT of the painted programmes and two control sets.
    sample_ids
        The sections written, in the order of the layout.
    donors
        Their donors, each once, in the same order.
    """

    folder: Path
    catalog: Path
    mirror: Path
    curation: Path
    assign: Path
    gene_sets: Path
    sample_ids: tuple[str, ...]
    donors: tuple[str, ...]


def write_atlas(
    folder: Path,
    *,
    seed: int = 0,
    sections: Collection[str] | None = None,
    studies: tuple[StudyPlan, ...] | None = None,
    workers: int = 2,
) -> DemoAtlas:
    """Write the mini atlas below ``folder``: vendor files, catalog, curation, split assignment and truth.

    The same seed and sections give the same bytes in any folder and with any number of workers. The catalog is
    written last; an older one is removed first, so that a catalog never lists files that are not there.

    Parameters
    ----------
    sections
        Sample ids to write (``demo_visium_V1``); all when None. A section's bytes do not depend on this.
    studies
        Other studies than those of :func:`humanst.demo.atlas_layout`, written whole; ``sections`` is not looked at.
    workers
        Sections painted at a time, in threads.

    Raises
    ------
    UsageError
        When ``sections`` names one that is not in the atlas.
    """
    studies = atlas_layout(sections) if studies is None else studies
    mirror = folder / "mirror"
    files.remove(folder / "catalog.yaml")
    tasks = [(study, plan) for study in studies for plan in study.sections]
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        written = list(pool.map(lambda task: _write_section(folder, *task, seed=seed), tasks))
    gene_sets = mirror / "gene_sets" / GENE_SETS_PATH
    files.write_bytes(gene_sets, demo_gmt(load_genes()))
    splits = assign_splits(studies)
    lines = ["donor_id,split", *(f"{donor},{split}" for donor, split in splits.items())]
    files.write_bytes(folder / "assign.csv", ("\n".join(lines) + "\n").encode())
    catalog = write_catalog(folder, studies, written, gene_sets=_written_file("gene_sets", gene_sets, GENE_SETS_PATH))
    return DemoAtlas(
        folder=folder,
        catalog=catalog,
        mirror=mirror,
        curation=folder / "curation",
        assign=folder / "assign.csv",
        gene_sets=gene_sets,
        sample_ids=tuple(plan.sample_id for _, plan in tasks),
        donors=tuple(splits),
    )


def _write_section(folder: Path, study: StudyPlan, plan: SectionPlan, *, seed: int) -> WrittenSection:
    base = folder / "mirror" / study.study_id
    tissue = make_tissue(plan, seed=seed)
    if study.kind == "st":
        roles, spots = write_st(base, plan, tissue, seed=seed)
    elif study.kind == "xenium":
        roles, spots = write_xenium(base, plan, tissue, seed=seed)
    elif study.kind == "visium_hd":
        roles, spots = write_visium_hd(base, plan, tissue, seed=seed)
    else:
        roles, spots = write_visium(base, plan, tissue, seed=seed, v1=study.kind == "visium_v1")
    write_truth(folder, plan, tissue=tissue, spots=spots)
    written = tuple(_written_file(role, base / path, path) for role, path in sorted(roles.items()))
    return WrittenSection(plan, written, n_spots=int(spots.has_counts.sum()))


def _written_file(role: str, path: Path, name: str) -> WrittenFile:
    return WrittenFile(role, name, path.stat().st_size, files.sha256_file(path))
