"""How every page is rendered: what comes from a file is escaped and printable, what may run is known by its hash."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files as package_files
from typing import TYPE_CHECKING, Any

from humanst.errors import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def environment() -> Environment:
    """The templates of this package: what they and this package wrote is markup, other text may be a stranger's."""
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=PackageLoader("humanst.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )


def template_text(name: str) -> Markup:
    """A style sheet or script of this package, to stand in a page as it is."""
    from markupsafe import Markup

    return Markup((package_files("humanst.report") / "templates" / name).read_text("utf-8"))  # noqa: S704


def script_hash(script: str) -> str:
    """What the policy of a page says of an inline script that may run: ``sha256-...``, of its text between the tags."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
