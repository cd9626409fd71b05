"""Settings of the site: ``make docs`` builds it into ``site/``."""

from __future__ import annotations

import lesionedge

project = "lesionedge"
author = "The lesionedge authors"
copyright = "The lesionedge authors. The code: Apache-2.0. The models: CC BY-NC 4.0"  # noqa: A001
release = version = lesionedge.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["images/*"]

# Every link within a page and between pages is checked; `make docs` turns warnings into errors.
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"lesionedge {release}"
html_favicon = "../lesionedge/web/static/icon.svg"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
# Nothing comes from elsewhere: the theme has no web fonts, and the search runs in the browser.
html_theme_options = {
    "footer_icons": [],
    "source_repository": "",
}
copybutton_exclude = ".linenos, .gp, .go"
