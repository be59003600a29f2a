"""What every platform says of its genes before the counts are read is what stands over the counts afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from humanst.catalog import Recipe
from humanst.errors import DataError, UsageError
from humanst.fetch import LocalFiles
from humanst.platforms import GeneColumns, RawSection, platform_names, read_genes, reader_for
from tests.platforms import bundles, hd_folders, st_slides, visium_outs

Made = tuple[LocalFiles, Recipe]


def st_symbols(folder: Path) -> Made:
    return st_slides.Slide(folder).write(), st_slides.recipe()


def st_ids_on_its_side(folder: Path) -> Made:
    slide = st_slides.Slide(folder, genes=["ENSG00000141510.18", "ENSG00000146648"])
    local, how = st_slides.transposed(slide)
    return local, replace(how, gene_id_type="ensembl")


def visium_h5(folder: Path) -> Made:
    return visium_outs.Outs(folder).write(), visium_outs.RECIPE


def visium_genome_group(folder: Path) -> Made:
    return visium_outs.Outs(folder, matrix="h5-genome").write(), visium_outs.RECIPE


def visium_mex(folder: Path) -> Made:
    return visium_outs.Outs(folder, matrix="mex").write(), visium_outs.RECIPE


def visium_old_mex_by_symbol(folder: Path) -> Made:
    return visium_outs.Outs(folder, matrix="mex-genes").write(), replace(visium_outs.RECIPE, gene_id_type="symbol")


def visium_hd_h5(folder: Path) -> Made:
    return hd_folders.Binned(folder).write(), hd_folders.recipe()


def visium_hd_mex(folder: Path) -> Made:
    return hd_folders.Binned(folder).write(mex=True), hd_folders.recipe()


def xenium_panel(folder: Path) -> Made:
    # Neither sorted, nor all with an id: the last one is a custom gene of a free name.
    names = sorted(bundles.GENES, reverse=True)
    panel = {name: f"ENSG0000000000{number}" for number, name in enumerate(names)} | {"zzMyGene": "custom-1"}
    return bundles.Bundle(folder, bundles.spread(), panel=panel).write(), bundles.recipe()


SECTIONS: dict[str, tuple[str, Callable[[Path], Made]]] = {
    made.__name__: (made.__name__.split("_")[0] if "hd" not in made.__name__ else "visium_hd", made)
    for made in (
        *(st_symbols, st_ids_on_its_side, visium_h5, visium_genome_group, visium_mex, visium_old_mex_by_symbol),
        *(visium_hd_h5, visium_hd_mex, xenium_panel),
    )
}


def test_every_platform_is_asked() -> None:
    assert {platform for platform, _ in SECTIONS.values()} == set(platform_names())


def texts(values: np.ndarray | None) -> list[str] | None:
    return None if values is None else values.tolist()


def facts(columns: GeneColumns | RawSection) -> tuple[list[str] | None, ...]:
    if isinstance(columns, GeneColumns):
        return texts(columns.names), texts(columns.ids), texts(columns.types)
    return texts(columns.gene_names), texts(columns.gene_ids), texts(columns.feature_types)


@pytest.mark.parametrize("section", SECTIONS)
def test_genes_read_alone_are_those_of_the_section(tmp_path: Path, section: str) -> None:
    platform, make = SECTIONS[section]
    local, how = make(tmp_path / "section")
    whole = facts(reader_for(platform)(local, how))
    roles = [role for role in ("counts", "features", "panel") if role in local.paths]
    table_alone = LocalFiles("study", "s1", {role: local.paths[role] for role in roles}, local.sha256, local.names)
    alone = facts(read_genes(platform, table_alone, how))
    assert alone == whole
    assert alone[0]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_table_that_is_cut_or_missing_tells_no_genes(tmp_path: Path, section: str) -> None:
    platform, make = SECTIONS[section]
    local, how = make(tmp_path / "section")
    role = next(role for role in ("features", "counts", "panel") if role in local.paths)
    whole = local.paths[role].read_bytes()
    local.paths[role].write_bytes(whole[:20])
    with pytest.raises(DataError):
        read_genes(platform, local, how)
    if platform != "xenium":  # a bundle without a panel is read: its transcripts tell
        paths = {known: path for known, path in local.paths.items() if known not in ("counts", "features")}
        with pytest.raises(DataError):
            read_genes(platform, LocalFiles("study", "s1", paths, local.sha256, local.names), how)


def test_a_platform_that_is_unknown_is_a_usage_error(tmp_path: Path) -> None:
    local, how = visium_h5(tmp_path)
    with pytest.raises(UsageError):
        read_genes("slideseq", local, how)
