"""Build the frozen human gene table from dated public lists: the same folder gives the same bytes.

    python curation/gene_table/build.py --source FOLDER -o humanst/harmonize/human_genes.tsv.gz

Nothing is asked of a live service. How a name finds its gene is told in NOTES.md beside this script; the short form is
"newest dated list first, then HGNC's previous symbols, then aliases; never choose between two genes without a reason".
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from humanst.files import write_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FROZEN = "2026-11-26"
SCHEMA = "1"
COLUMNS = ("ensembl_id", "symbol", "is_holder", "biotype", "chromosome", "previous", "aliases")
LICENCES = {
    "10x_GRCh38-3.0.0_features.tsv.gz": "10x Genomics reference, from Ensembl 93 (Ensembl: no restrictions)",
    "cellxgene_genes_homo_sapiens.csv.gz": "GENCODE open access, as shipped by single-cell-curation (MIT)",
    "gencode_v43_basic_genes.tsv.gz": "GENCODE open access",
    "hgnc_exploded_omicverse.csv.gz": "HGNC CC0-1.0",
    "mapping_HUGO_2_Ensemble.txt": "HGNC CC0-1.0",
    "orgHsEg_3.16_alias.tsv.gz": "NCBI Gene public domain, as shipped by org.Hs.eg.db (Artistic-2.0)",
    "orgHsEg_3.16_entrez_symbol_ensembl.tsv.gz": "NCBI Gene public domain, as shipped by org.Hs.eg.db (Artistic-2.0)",
}
_HUMAN_ID = re.compile(r"^ENSG\d{11}$")
_VERSION = re.compile(r"\.\d+(_PAR_Y)?$")
_UNSAFE = re.compile(r"[|\t\r\n]")

Names = dict[str, set[str]]


@dataclass(slots=True)
class Sources:
    """The lists as read. Every ``Names`` maps a name to the Ensembl ids it stands for in that list.

    Attributes
    ----------
    dated
        ``(list name, names)``, newest list first.
    hgnc_id
        Approved symbol -> the one Ensembl id HGNC gives for it.
    previous, ncbi, aliases
        HGNC previous symbols; NCBI symbols; HGNC and NCBI aliases.
    without_gene
        Symbols that are approved for a record without an Ensembl gene.
    biotype, chromosome
        By Ensembl id.
    current_ids, known_ids
        Ids of the two GENCODE releases; ids of any list that the table keeps.
    """

    dated: list[tuple[str, Names]] = field(default_factory=list)
    hgnc_id: dict[str, str] = field(default_factory=dict)
    previous: Names = field(default_factory=dict)
    ncbi: Names = field(default_factory=dict)
    aliases: Names = field(default_factory=dict)
    without_gene: set[str] = field(default_factory=set)
    biotype: dict[str, str] = field(default_factory=dict)
    chromosome: dict[str, str] = field(default_factory=dict)
    current_ids: set[str] = field(default_factory=set)
    known_ids: set[str] = field(default_factory=set)


def _rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    if delimiter == "\t":
        yield from (line.split("\t") for line in text.removesuffix("\n").split("\n"))
    else:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _records(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    rows = _rows(path, delimiter)
    header = next(rows)
    for row in rows:
        yield dict(zip(header, row, strict=True))


def _add(names: Names, name: str, ensembl_id: str) -> None:
    # GENCODE names an unnamed gene by its id. A bare number is no name: the HGNC copy holds aliases such as MAR1 and
    # OCT4 that a spreadsheet had turned into day numbers (43891, 44108).
    if not name or not ensembl_id or name.isdigit() or _HUMAN_ID.match(_VERSION.sub("", name)):
        return
    if _UNSAFE.search(name):
        message = f"the name {name!r} holds a separator of the table"
        raise ValueError(message)
    names.setdefault(name, set()).add(ensembl_id)


def _read_gencode(folder: Path, out: Sources) -> None:
    newest: Names = {}
    for ensembl_id, name, _, _, biotype in _rows(folder / "cellxgene_genes_homo_sapiens.csv.gz", ","):
        out.current_ids.add(ensembl_id)
        out.biotype[ensembl_id] = biotype
        _add(newest, name, ensembl_id)
    older: Names = {}
    for row in _records(folder / "gencode_v43_basic_genes.tsv.gz", "\t"):
        ensembl_id = _VERSION.sub("", row["gene_id"])
        out.known_ids.add(ensembl_id)
        out.biotype.setdefault(ensembl_id, row["gene_type"])
        # PAR_Y twins carry the id of the X copy, which comes first: the X copy's chromosome stands.
        out.chromosome.setdefault(ensembl_id, row["chrom"].removeprefix("chr").replace("M", "MT"))
        _add(older, row["gene_name"], ensembl_id)
    out.known_ids |= out.current_ids
    out.dated += [("gencode-newest", newest), ("gencode-v43", older)]


def _read_hgnc(folder: Path, out: Sources) -> None:
    approved: Names = {}
    by_hgnc: dict[str, str] = {}
    for row in _records(folder / "mapping_HUGO_2_Ensemble.txt", "\t"):
        if row["Ensembl gene ID"]:
            by_hgnc[row["HGNC ID"]] = row["Ensembl gene ID"]
            out.hgnc_id[row["Approved symbol"]] = row["Ensembl gene ID"]
            _add(approved, row["Approved symbol"], row["Ensembl gene ID"])
    in_2020: Names = {}
    approved_2020: set[str] = set()
    for row in _records(folder / "hgnc_exploded_omicverse.csv.gz", ","):
        if row["Status"] != "Approved":
            continue
        ensembl_id = by_hgnc.get(row["HGNC ID"]) or row["Ensembl gene ID"]
        approved_2020.add(row["Approved symbol"])
        _add(in_2020, row["Approved symbol"], ensembl_id)
        _add(out.previous, row["Previous symbol"], ensembl_id)
        _add(out.aliases, row["Alias symbol"], ensembl_id)
        if _HUMAN_ID.match(ensembl_id) and row["Chromosome"] and " " not in row["Chromosome"]:
            out.chromosome.setdefault(ensembl_id, row["Chromosome"].replace("mitochondria", "MT"))
    out.known_ids.update(by_hgnc.values(), *in_2020.values())
    out.without_gene = approved_2020 - in_2020.keys() - approved.keys()
    out.dated.insert(1, ("hgnc", approved))
    out.dated.append(("hgnc-2020", in_2020))


def _read_ncbi(folder: Path, out: Sources) -> None:
    official: Names = {}
    by_entrez: dict[str, set[str]] = {}
    for row in _records(folder / "orgHsEg_3.16_entrez_symbol_ensembl.tsv.gz", "\t"):
        # One NCBI gene often lists its copies on alternative haplotypes too; those are not ids of the table.
        if row["ensembl_id"] in out.known_ids:
            by_entrez.setdefault(row["entrez_id"], set()).add(row["ensembl_id"])
            _add(official, row["symbol"], row["ensembl_id"])
    for row in _records(folder / "orgHsEg_3.16_alias.tsv.gz", "\t"):
        for ensembl_id in by_entrez.get(row["entrez_id"], ()):
            _add(out.aliases, row["alias_symbol"], ensembl_id)
    out.ncbi = official


def _read_10x(folder: Path, out: Sources) -> None:
    names: Names = {}
    for ensembl_id, name, _ in _rows(folder / "10x_GRCh38-3.0.0_features.tsv.gz", "\t"):
        out.known_ids.add(ensembl_id)
        _add(names, name, ensembl_id)
    out.dated.append(("ensembl-93", names))


def read_sources(folder: Path) -> Sources:
    """Read every list of ``folder``, newest dated list first."""
    out = Sources()
    _read_gencode(folder, out)
    _read_hgnc(folder, out)
    _read_ncbi(folder, out)
    _read_10x(folder, out)
    return out


def choose(name: str, candidates: set[str], sources: Sources, *, may_prefer_coding: bool) -> str | None:
    """Choose the one gene a name stands for: HGNC's own id, else the only coding one, else None."""
    if len(candidates) == 1:
        return next(iter(candidates))
    if sources.hgnc_id.get(name) in candidates:
        return sources.hgnc_id[name]
    coding = {ensembl_id for ensembl_id in candidates if sources.biotype.get(ensembl_id) == "protein_coding"}
    return next(iter(coding)) if may_prefer_coding and len(coding) == 1 else None


def settle(sources: Sources, heir: Mapping[str, str | None]) -> tuple[dict[str, tuple[str, str]], Names]:
    """Decide every name once, newest list first.

    Parameters
    ----------
    sources
        The lists.
    heir
        What a retired id counts as: its heir, or None to leave the id out.

    Returns
    -------
    name -> (Ensembl id, ``"name"`` or ``"alias"``) for names that stand for one gene; name -> ids for ambiguous ones.
    """
    levels = [("name", True, names) for _, names in sources.dated]
    # NCBI links a gene to Ensembl by overlap on the genome, so its symbols come after HGNC's.
    levels += [("name", False, sources.previous), ("alias", False, sources.ncbi), ("alias", False, sources.aliases)]
    settled: dict[str, tuple[str, str]] = {}
    ambiguous: Names = {}
    for level, is_dated, names in levels:
        for name in sorted(names.keys() - settled.keys() - ambiguous.keys()):
            candidates = {to for ensembl_id in names[name] if (to := heir.get(ensembl_id, ensembl_id))}
            if not candidates or (name in sources.without_gene and not is_dated):
                continue
            found = choose(name, candidates, sources, may_prefer_coding=level == "name")
            if found is None:
                ambiguous[name] = candidates
            else:
                settled[name] = (found, level)
    return settled, ambiguous


def find_heirs(sources: Sources) -> dict[str, str]:
    """Retired id -> the one gene of today that bears its names.

    An id is retired when neither the newest GENCODE list nor HGNC has it. Its names are looked up among the living
    ids; when they all lead to one gene, Ensembl gave that gene a new id, or merged the two. HGNC's own ids can lag
    behind: see :func:`renumbered`.
    """
    retired = sources.known_ids - sources.current_ids - set(sources.hgnc_id.values())
    settled, _ = settle(sources, dict.fromkeys(retired))
    found: dict[str, set[str]] = {}
    for _, names in sources.dated:
        for name, ids in names.items():
            for ensembl_id in ids & retired:
                if name in settled and settled[name][1] == "name":
                    found.setdefault(ensembl_id, set()).add(settled[name][0])
    heirs = {old: next(iter(new)) for old, new in found.items() if len(new) == 1}
    return dict(sorted({**heirs, **renumbered(sources)}.items()))


def renumbered(sources: Sources) -> dict[str, str]:
    """Ids that HGNC still gives for a symbol, and the new id that the newest GENCODE list has for that same symbol.

    Left out is a new id that HGNC gives for another symbol: those are two genes (CCL3L1 and CCL3L3).
    """
    newest = sources.dated[0][1]
    of_hgnc = set(sources.hgnc_id.values())
    found: dict[str, str] = {}
    for symbol, old in sources.hgnc_id.items():
        new = newest.get(symbol, set())
        if old not in sources.current_ids and len(new) == 1 and not new & of_hgnc:
            found[old] = next(iter(new))
    return found


def _symbols(sources: Sources) -> dict[str, str]:
    """Find the newest name of each id; an id without a name is left out."""
    symbols: dict[str, str] = {}
    for names in [*(names for _, names in sources.dated), sources.ncbi]:
        # Within one list an id has one name, except in NCBI's; there the first in order stands.
        listed: dict[str, str] = {}
        for name in sorted(names):
            for ensembl_id in names[name]:
                listed.setdefault(ensembl_id, name)
        symbols = {**listed, **symbols}
    return symbols


def table_lines(sources: Sources) -> Iterator[str]:
    """Yield the table's lines: column names, genes by id, then retired ids and ambiguous names as marked lines."""
    heirs = find_heirs(sources)
    settled, ambiguous = settle(sources, heirs)
    symbols = _symbols(sources)
    other: dict[tuple[str, str], list[str]] = {}
    for name, (ensembl_id, level) in sorted(settled.items()):
        if symbols.get(ensembl_id) != name:
            other.setdefault((ensembl_id, level), []).append(name)
    yield "\t".join(COLUMNS)
    for gene in sorted(sources.known_ids - heirs.keys()):
        symbol = symbols.get(gene, "")
        holds = "1" if settled.get(symbol, ("", ""))[0] == gene else "0"
        names = ["|".join(other.get((gene, level), [])) for level in ("name", "alias")]
        where = sources.chromosome.get(gene, "")
        yield "\t".join([gene, symbol, holds, sources.biotype.get(gene, "unknown"), where, *names])
    yield from (f"#retired\t{old}\t{new}" for old, new in heirs.items())
    yield from (f"#ambiguous\t{name}\t{'|'.join(sorted(ids))}" for name, ids in sorted(ambiguous.items()))


def header_lines(folder: Path) -> Iterator[str]:
    """Yield name, date, schema and the hash and licence of every source."""
    yield "# humanst human gene table"
    yield f"# frozen: {FROZEN}"
    yield f"# schema: {SCHEMA}"
    for name, licence in sorted(LICENCES.items()):
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        yield f"# source: {name} sha256={digest} licence={licence}"


def table_bytes(folder: Path) -> bytes:
    """Make the whole table, gzipped without a time or a name."""
    lines: Iterable[str] = [*header_lines(folder), *table_lines(read_sources(folder))]
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=9, mtime=0)


@click.command()
@click.option("--source", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(source: Path, output: Path) -> None:
    """Write the table of the lists in SOURCE to OUTPUT."""
    with write_aside(output) as handle:
        handle.write(table_bytes(source))


if __name__ == "__main__":
    main()
