"""Names that others chose cannot steer the terminal of whoever reads them: they are spelled out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from humanst.cli.output import configure_logging, echo, echo_json, say, table

STEERING = ("\x1b[31m", "\x9b31m", "\x85", "\u202edcba", "\u2066a\u2069", "\u200f", "\u200e", "\r")
WAYS: dict[str, Callable[[str], None]] = {
    "a result": echo,
    "a message": say,
    "a table": lambda name: table([("name", "n"), (name, "1")]),
    "JSON": lambda name: echo_json("humanst.test/1", {"name": name}),
    "the log": lambda name: logging.getLogger("humanst.test").warning("%s: not as it was", name),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steering", STEERING, ids=ascii)
def test_what_steers_a_terminal_is_spelled_out(way: str, steering: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("humanst")
    before = logger.handlers[:], logger.propagate, logger.level
    configure_logging(0, None)
    try:
        WAYS[way](f"SET{steering}é")
    finally:
        logger.handlers[:], logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
    said = capsys.readouterr()
    text = said.out + said.err
    assert "SET" in text
    assert not any(letter in text for letter in steering if not letter.isprintable())
    if way == "JSON":
        assert json.loads(text)["name"] == f"SET{steering}é"
    else:
        assert "é" in text, "what is printable stays"
