"""The code blocks of README.md, CONTRIBUTING.md and docs/: what they are, and what an invisible comment says of them.

A comment in the line before a block, ``<!-- KEY: VALUE -->``, is one of

- ``files: NAME, ...``: what :mod:`tests.docs.worlds` puts into the folder first; it stays for the page's later blocks;
- ``saved as: NAME``: the block is that file;
- ``done by: PATH``: that file does what the block does, and it is not done twice;
- ``not run: REASON``: it cannot run here.

A block that does not run is parsed all the same, and ``test_blocks.py`` counts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.helpers import ROOT

RUN = ("sh", "python")
READ = ("yaml", "json")
# What a program printed, trees of folders, and files of other tools.
SHOWN = ("text", "bibtex")
COMMENT = re.compile(r"<!-- ([a-z ]+): (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    page, line
        Where it begins.
    language, text
        The word after the fence, and what is in it.
    said
        Key to value of the comments before it.
    """

    page: str
    line: int
    language: str
    text: str
    said: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def elsewhere(self) -> str | None:
        """The file that does what it does."""
        return self.said.get("done by")

    @property
    def reason(self) -> str | None:
        """Why it is not run."""
        return self.said.get("not run")

    @property
    def files(self) -> list[str]:
        """What it needs in the folder."""
        return [name.strip() for name in self.said.get("files", "").split(",") if name.strip()]


def page_names() -> list[str]:
    docs = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *docs]


def tokens_of(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8"))


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order; directives of the documentation's builder are none."""
    return list(_blocks(page))


def _blocks(page: str) -> Iterator[Block]:
    said: dict[str, str] = {}
    for token in tokens_of(page):
        if token.type == "html_block":
            said |= dict(COMMENT.findall(token.content))
        elif token.type in ("fence", "code_block"):
            assert token.map is not None
            language = token.info.strip() if token.type == "fence" else "indented"
            if not language.startswith("{"):
                yield Block(page, token.map[0] + 1, language, token.content, said)
            said = {}


def lines_of(text: str) -> list[str]:
    """Commands of a shell block: continued lines joined, empty ones and comments left out."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def inline_code(page: str) -> list[str]:
    """Code within the text of a page."""
    found = [
        child.content for token in tokens_of(page) for child in token.children or [] if child.type == "code_inline"
    ]
    return [" ".join(code.split()) for code in found]
