"""Panels that scores are compared on: those of most sections, and those of files, with what stands for no gene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from humanst.errors import DataError, UsageError
from humanst.harmonize.gene_table import load_gene_table
from humanst.report.panels import own_panels, read_panel, read_panels


@dataclass(frozen=True)
class Section:
    """As an audit knows a section before it is read."""

    sample_id: str
    genes: str | None

    def panel(self) -> frozenset[str] | None:
        if self.genes == "broken":
            raise DataError("not whole")
        return None if self.genes is None else frozenset(self.genes)


def test_panels_of_most_sections_are_compared_and_how_many_there_are_is_known() -> None:
    sections = [Section(f"s{number}", genes) for number, genes in enumerate(["ab", "c", None, "cd", "c", "cd", "e"])]
    sections.append(Section("s9", "broken"))
    panels, n_panels = own_panels(sections, 2)
    assert n_panels == 4
    assert [(panel.name, panel.n_sections) for panel in panels] == [("panel of s1", 2), ("panel of s3", 2)]
    panels, n_panels = own_panels(sections, 3)
    assert [panel.name for panel in panels] == ["panel of s0", "panel of s1", "panel of s3"]
    assert [sorted(panel.genes) for panel in own_panels(sections)[0]] == [["a", "b"], ["c"], ["c", "d"], ["e"]]


def test_names_of_a_file_that_stand_for_no_gene_are_kept_and_a_heading_is_none(tmp_path: Path) -> None:
    path = tmp_path / "panel.csv"
    path.write_text('Gene,probes\n# by hand\n"TP53",3\nENSG00000146648,2\nNegControl_1,9\nTP53,1\nNegControl_1,9\n')
    panel = read_panel(f"mine={path}", load_gene_table())
    assert panel.genes == {"ENSG00000141510", "ENSG00000146648"}
    assert panel.unknown == ("NegControl_1",)


def test_a_file_of_nothing_but_strangers_says_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("".join(f"Probe{number}\n" for number in range(8)))
    with pytest.raises(UsageError, match=r"Probe0, Probe1, Probe2, Probe3, Probe4 and 3 more"):
        read_panel(f"mine={path}", load_gene_table())


def test_a_name_stands_for_one_panel(tmp_path: Path) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("TP53\n")
    table = load_gene_table()
    assert [panel.name for panel in read_panels([f"a={path}", f"b={path}"], table)] == ["a", "b"]
    for texts, taken in (([f"a={path}", f" a ={path}"], []), ([f"panel of s1={path}"], ["panel of s1"])):
        with pytest.raises(UsageError) as caught:
            read_panels(texts, table, taken)
        assert caught.value.facts.code == "panel-repeated"
