"""Directives for what is made from the code: ``schema-fields``, ``exit-codes``; and links by the titles of pages.

Each directive writes Markdown, which the page that asks for it takes in.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import made_errors
import made_fields
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

_FILE = re.compile(r"([a-z_]+)\.md")


class Made(Directive):
    """Markdown made by a function, in the place of the directive."""

    has_content = False

    def text(self) -> str:
        """The Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown as a part of the page."""
        holder = nodes.container()
        lines = self.text().splitlines()
        self.state.nested_parse(StringList(lines, source=self.name), self.content_offset, holder)
        return list(holder.children)


class SchemaFields(Made):
    """``schema-fields`` NAME: the fields of ``schemas/NAME.yaml``."""

    required_arguments: ClassVar[int] = 1

    def text(self) -> str:
        """A table."""
        return made_fields.fields_of(self.arguments[0])


class ExitCodes(Made):
    """``exit-codes``: a row a class of error."""

    def text(self) -> str:
        """A table."""
        return made_errors.exit_codes()


def titles_for_names(app: Any, doctree: nodes.document, docname: str) -> None:
    """Links that show the name of a file, which is what they are where there is no site, show the page's title here."""
    for link in doctree.findall(nodes.reference):
        found = _FILE.fullmatch(link.astext())
        if found and link.get("internal") and found[1] in app.env.titles:
            link.children = [nodes.inline("", app.env.titles[found[1]].astext())]


def setup(app: Any) -> dict[str, Any]:
    """Make the directives known to Sphinx."""
    app.add_directive("schema-fields", SchemaFields)
    app.add_directive("exit-codes", ExitCodes)
    app.connect("doctree-resolved", titles_for_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
