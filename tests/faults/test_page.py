"""The board itself: it sees what is silent, left or badly said, and the page holds every fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from humanst.errors import DataError
from tests.faults.board import PAGE, Message, Result, Seen
from tests.faults.page import headline, page
from tests.faults.rows import FAULTS

GOOD = Message.of(
    DataError("It is wrong", study="s", section="x", expected="one", found="two", todo="Mend it").to_dict()
)
SEEN = Seen("a case", (5,), 5, GOOD)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (SEEN, "caught"),
        (Seen("no message is needed", (0,), 0), "caught"),
        (replace(SEEN, exit_code=0), "silent"),
        (replace(SEEN, wrong="other bytes"), "silent"),
        (replace(SEEN, left=["x.partial"]), "leftover"),
        (replace(SEEN, exit_code=6), "wrong"),
        (replace(SEEN, message=None), "wrong"),
        (replace(SEEN, codes=("another",)), "wrong"),
        (replace(SEEN, message=replace(GOOD, text="It is wrong")), "wrong"),
        *(
            (replace(SEEN, message=replace(GOOD, **{name: ""})), "wrong")
            for name in ("place", "expected", "found", "todo")
        ),
    ],
)
def test_the_verdict_of_a_case(seen: Seen, verdict: str) -> None:
    assert seen.verdict == verdict
    assert Result(FAULTS["F01"], [SEEN, seen]).verdict == verdict


def test_a_fault_that_nobody_injected_is_not_caught() -> None:
    assert Result(FAULTS["F01"], []).verdict != "caught"
    assert "27 did not run" in headline({"F01": Result(FAULTS["F01"], [SEEN]).to_dict()})


def test_the_page_depends_on_no_time_place_or_port() -> None:
    texts = [
        f"at http://127.0.0.1:{port}/x: /tmp/{name}/a.h5 has {9 * port:,} bytes free"
        for port, name in ((5, "b"), (66, "c"))
    ]
    pages = [
        page({"F01": Result(FAULTS["F01"], [replace(SEEN, message=replace(GOOD, text=text))]).to_dict()})
        for text in texts
    ]
    assert pages[0] == pages[1]


def test_the_page_holds_every_fault_and_says_that_all_are_caught() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| F")]
    assert [row.split()[1] for row in rows] == list(FAULTS)
    assert "**28 / 28 caught, 0 silent, 0 with leftovers, 0 false alarms**" in text
