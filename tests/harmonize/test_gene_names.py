"""Spellings: which names are a spreadsheet's dates or control probes, and which real symbols only look odd."""

from __future__ import annotations

import pytest

from humanst.harmonize.gene_names import is_control_probe, is_spreadsheet_date

MANGLED = ["1-Mar", "Mar-01", "2-Sep", "7-Sep", "Sep-07", "1-Dec", "01-Dec", "2023-03-01", "2020-09-02 00:00:00",
           "3/1/2023", "1-Mar-23", "10-Sept", "2.31E+13", "1-Mar.1"]  # fmt: skip
ODD_BUT_REAL = ["C1orf112", "NKX2-1", "7SK", "1-8D", "MARCH5", "SEPT7", "DEC1", "SEPTIN2", "5S_rRNA", "MT-CO1", "OCT4",
                "HLA-A", "AC009014.3", "RP11-34P13.7", "6-16", "14-3-3", "E2F1", "NOV", "MARCO", "DECR1",
                "4E-BP1"]  # fmt: skip


@pytest.mark.parametrize("name", MANGLED)
def test_spreadsheet_dates_are_seen(name: str) -> None:
    assert is_spreadsheet_date(name)


@pytest.mark.parametrize("name", ODD_BUT_REAL)
def test_odd_but_real_symbols_are_not_taken_for_dates_or_controls(name: str) -> None:
    assert not is_spreadsheet_date(name)
    assert not is_control_probe(name)
