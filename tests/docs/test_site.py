"""The documentation builds without a warning and without a connection, and is made from the code it describes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
import yaml

import humanst
import humanst.load
from humanst.cli import humanst as humanst_command
from humanst.errors import HumanstError
from humanst.schemas import TABLES
from humanst.settings import Settings
from stamp_train.cli import stamp_train as stamp_train_command
from tests.helpers import ROOT

# The site is built once.
pytestmark = pytest.mark.xdist_group("site")
# Sphinx where nothing of the extra `train` is installed, as in an environment that `make docs` makes.
WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ("accelerate", "peft", "timm", "torch") else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as ``make docs`` builds it; a proxy that is not there is all the network it has."""
    folder = tmp_path_factory.mktemp("site")
    recipe = (ROOT / "Makefile").read_text().split("\ndocs:")[1]
    options = re.findall(r"--[a-z-]+", recipe.split("\n\n")[0])
    assert {"--fail-on-warning", "--nitpicky"} <= set(options)
    nowhere = dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"], "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *options, "-d", str(folder / "trees"), "docs", str(folder / "html")],
        cwd=ROOT,
        env=os.environ | nowhere | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


class Page(HTMLParser):
    """What a page loads, where it leads, the ids it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") not in ("next", "prev", "search", "index", "author", "canonical"):
            self.loads.append(found["href"])
        if tag in LOADED and LOADED[tag] in found:
            self.loads.append(found[LOADED[tag]])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.glob("*.html"))}


def text_of(path: Path) -> str:
    """A page as it is read."""
    body = path.read_text(encoding="utf-8").split("<article", 1)[1].split("</article>", 1)[0]
    return unescape(re.sub(r"<[^>]+>", "", body))


def test_there_is_a_page_for_every_markdown_file(pages: dict[Path, Page]) -> None:
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= {path.stem for path in pages}


def test_nothing_comes_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert page.loads, path
        for address in page.loads:
            parts = urlsplit(address)
            assert parts.scheme + parts.netloc == "", f"{path.name}: {address}"
            assert (site / unquote(parts.path)).is_file(), f"{path.name}: {address}"
    for style in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", style.read_text(encoding="utf-8"))
        assert found == [], style


def test_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = site / unquote(parts.path) if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path.name}: {link}"


def test_links_between_pages_show_their_titles(site: Path) -> None:
    """In the files they show names, which is where they lead without a site."""
    assert "[quickstart.md](quickstart.md)" in (ROOT / "docs/index.md").read_text()
    link = re.compile(r"<a [^>]*>(?:<span[^>]*>)?([a-z_]+\.md)<")
    shown = {path.name: link.findall(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}
    assert {name: names for name, names in shown.items() if names} == {}
    assert "Quick start" in text_of(site / "index.html")


def test_every_setting_is_on_the_page_of_installing() -> None:
    """Those of a user: the one for test servers is none."""
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    names = {f"HUMANST_{name.upper()}" for name in Settings.model_fields} - {"HUMANST_ALLOW_LOOPBACK_HTTP"}
    assert [name for name in sorted(names) if f"| `{name}` |" not in page] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name in extras if f"| `{name}` |" not in page] == []


def leaves(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    context = click.Context(command)
    children = [(one, command.get_command(context, one)) for one in command.list_commands(context)]
    return [leaf for one, child in children if child for leaf in leaves(child, f"{name} {one}")]


@pytest.mark.parametrize(
    ("page", "command", "name"),
    [("cli", humanst_command, "humanst"), ("stamp_train_cli", stamp_train_command, "stamp-train")],
)
def test_every_option_of_every_command_is_in_the_reference(
    site: Path, page: str, command: click.Command, name: str
) -> None:
    shown = text_of(site / f"{page}.html")
    found = leaves(command, name)
    assert len(found) > 5
    for title, leaf in found:
        assert re.search(rf"^{re.escape(title)} ", shown, re.MULTILINE), title
        for parameter in leaf.params:
            for option in parameter.opts + parameter.secondary_opts:
                if isinstance(parameter, click.Option) and not parameter.hidden:
                    assert option in shown, f"{title} {option}"


def test_every_public_name_has_its_docstring_on_the_page(site: Path) -> None:
    html = (site / "api.html").read_text(encoding="utf-8")
    names = {f"humanst.load.{name}" for name in humanst.load.__all__}
    names |= {f"humanst.{name}" for name in humanst.__all__ if name not in humanst.load.__all__ and name[0] != "_"}
    assert [name for name in sorted(names) if f'id="{name}"' not in html] == []
    assert "alias of" not in html, "what is made on first use is described as what it is"


def names_in(schema: object) -> set[str]:
    """Names of all properties of a JSON Schema."""
    if isinstance(schema, list):
        return set().union(*(names_in(part) for part in schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", {})) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*(names_in(part) for part in schema.values()))


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "schemas").glob("*.yaml") if path.stem != "terms")
)
def test_every_field_of_every_schema_is_in_the_dictionary(site: Path, name: str) -> None:
    schema = yaml.safe_load((ROOT / "schemas" / f"{name}.yaml").read_text())
    shown = set(re.findall(r"<span class=\"pre\">([^<]+)</span>", (site / "fields.html").read_text()))
    last = {unescape(cell).split(".")[-1].removesuffix("[]") for cell in shown}
    wanted = {column.replace(".*", "…") for column in schema["columns"]} if name in TABLES else names_in(schema)
    assert wanted
    assert wanted - last == set()


def test_exit_codes_are_those_of_the_classes(site: Path) -> None:
    shown = text_of(site / "errors.html")
    for kind in (HumanstError, *HumanstError.__subclasses__()):
        assert re.search(rf"^{kind.exit_code}\n.*\n{kind.__name__}\n{kind.default_code}$", shown, re.MULTILINE), kind
