"""How the documentation is built: ``make docs``, without a connection.

The pages are the Markdown files of this folder. Tables of fields come from ``schemas/``, the command line from click
and the Python interface from docstrings, each time anew: nothing that is made is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The tree that these pages lie in, before any that is installed.
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from sphinx.ext.autodoc import mock  # noqa: E402

from humanst import __version__, load  # noqa: E402

project = "humanst"
author = "The humanst founders"
version = release = __version__
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton", "made"]
exclude_patterns = ["_build", "_ext"]
# What is built where is the builder's choice: nothing of it depends on the day.
html_last_updated_fmt = None

# Two hyphens are those of an option.
smartquotes = False

myst_heading_anchors = 3
# Dollars are those of the shell.
myst_disable_syntax = ["math_inline", "math_block"]

autodoc_mock_imports = ["torch"]
# This class is made on first use, another one where torch is not installed: described is the one with torch.
with mock(autodoc_mock_imports):
    assert load.PairStream.__name__ == "PairStream"  # noqa: S101
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
# The types of other libraries have no page here, and none is looked up over the network.
nitpick_ignore_regex = [("py:.*", r"(?!humanst).*")]

html_theme = "sphinx_book_theme"
html_title = f"humanst {__version__}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
# Light or dark as the reader's system is: without it the theme complains in the console of each page.
html_context = {"default_mode": "auto"}
html_theme_options = {
    # One search is enough, that of the side bar.
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
copybutton_exclude = ".linenos, .gp"
