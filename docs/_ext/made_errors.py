"""The table of exit codes, from the classes of errors and the help of the command."""

from __future__ import annotations

import re

from humanst.cli import EXIT_CODES
from humanst.errors import HumanstError

_LINE = re.compile(r"^ +(\d+) +(.+)$", re.MULTILINE)


def exit_codes() -> str:
    """A row a code: what ``humanst --help`` says of it, and the error that ends with it."""
    family = {kind.exit_code: kind for kind in (HumanstError, *HumanstError.__subclasses__())}
    rows = ["| code | what | error | its usual `code` |", "|---|---|---|---|"]
    for code, what in _LINE.findall(EXIT_CODES):
        kind = family.get(int(code))
        named = f"`{kind.__name__}` | `{kind.default_code}`" if kind else " | "
        rows.append(f"| {code} | {what} | {named} |")
    return "\n".join(rows)
