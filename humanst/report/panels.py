"""The panels that scores are compared on: those that a user names, and those of the targeted sections of an audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from humanst.errors import HumanstError, UsageError

if TYPE_CHECKING:
    from humanst.harmonize.gene_table import GeneTable
    from humanst.report.sources import AuditSource

# Every panel is scored on every section of the whole transcriptome.
MOST_OWN_PANELS = 6
_HEADINGS = frozenset({"gene", "genes", "symbol", "name", "gene_name", "gene_symbol", "gene_id", "ensembl_id"})


@dataclass(frozen=True, slots=True)
class Panel:
    """The genes of a panel.

    Attributes
    ----------
    name
        As the user gave it, or ``panel of`` the first section that measured it.
    genes
        Ensembl ids.
    unknown
        Names of the user's file that stand for no gene, each once, in its order; they are in no comparison.
    n_sections
        Targeted sections that measured it; 0 of one out of a file.
    """

    name: str
    genes: frozenset[str]
    unknown: tuple[str, ...] = ()
    n_sections: int = 0


def own_panels(sources: Iterable[AuditSource], most: int = MOST_OWN_PANELS) -> tuple[tuple[Panel, ...], int]:
    """The panels of targeted sections among some: their measured genes, each panel once, under its first section.

    Returns
    -------
    panels
        At most ``most``: those of the most sections, of as many the one that came first; in the order of the sections.
    n_panels
        How many there are.
    """
    first: dict[frozenset[str], str] = {}
    times: dict[frozenset[str], int] = {}
    for source in sources:
        try:
            genes = source.panel()
        except HumanstError:  # The audit of this very section tells of it.
            continue
        if genes is not None:
            first.setdefault(genes, source.sample_id)
            times[genes] = times.get(genes, 0) + 1
    order = list(first)
    chosen = set(sorted(order, key=lambda genes: (-times[genes], order.index(genes)))[:most])
    panels = tuple(Panel(f"panel of {first[one]}", one, n_sections=times[one]) for one in order if one in chosen)
    return panels, len(order)


def read_panels(texts: Sequence[str], table: GeneTable, taken: Iterable[str] = ()) -> tuple[Panel, ...]:
    """The panels that a user named.

    Parameters
    ----------
    texts
        Of the form ``NAME=FILE``.
    table
        The frozen gene table.
    taken
        Names that panels have already.

    Raises
    ------
    UsageError
        ``panel-repeated`` for a name given twice; else as :func:`read_panel`.
    """
    found = dict.fromkeys(taken)
    panels = []
    for text in texts:
        panel = read_panel(text, table)
        if panel.name in found:
            raise UsageError(
                "Two panels have one name",
                code="panel-repeated",
                field="--panel",
                expected="a name of its own for every panel",
                found=f"{panel.name} again",
                done="Nothing was written",
            )
        found[panel.name] = None
        panels.append(panel)
    return tuple(panels)


def read_panel(text: str, table: GeneTable) -> Panel:
    """A panel that a user named, as ``NAME=FILE``: a gene a line, as symbol or Ensembl id.

    Raises
    ------
    UsageError
        ``panel-malformed`` for text without a name or file, or a file without a single human gene.
    """
    name, _, file = text.partition("=")
    if not name.strip() or not file.strip() or not _is_unicode(name):
        raise UsageError(
            "A panel has a name and a file", code="panel-malformed", field="--panel", expected="NAME=FILE", found=text
        )
    found = {line: table.resolve(line) for line in iter_panel_lines(Path(file))}
    unknown = tuple(line for line, gene in found.items() if gene is None)
    genes = frozenset(gene for gene in found.values() if gene is not None)
    if not genes:
        raise UsageError(
            "A panel names no human gene",
            code="panel-malformed",
            field="--panel",
            file=Path(file).name,
            expected="a gene a line, by symbol or Ensembl id",
            found=f"{', '.join(unknown[:5])} and {len(unknown) - 5} more" if len(unknown) > 5 else
            ", ".join(unknown) or "none",
            done="Nothing was written",
        )  # fmt: skip
    return Panel(name.strip(), genes, unknown)


def iter_panel_lines(path: Path) -> Iterator[str]:
    """The gene names of a panel: the first field of every line, without a heading and comments.

    Raises
    ------
    UsageError
        ``panel-malformed`` for a file that cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "A panel cannot be read", code="panel-malformed", field="--panel", file=path.name, found=str(error)
        ) from error
    names = (line.replace(",", "\t").split("\t")[0].strip().strip('"') for line in text.splitlines())
    named = [name for name in names if name and not name.startswith("#")]
    yield from named[1:] if named and named[0].lower() in _HEADINGS else named


def _is_unicode(text: str) -> bool:
    """Whether text can be written down: what the shell hands over may not be."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
