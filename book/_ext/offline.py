"""Formulas and search without a network, or a server.

MathJax is copied from its pip package into the built site: of 24 MB a page needs the combined
component, its fonts, and the TeX extensions that MathJax loads when a formula asks for them.
"""

from importlib.metadata import distribution
from pathlib import Path
from shutil import copy, copytree

WANTED = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")


def copy_mathjax(app, exception):
    if exception or app.builder.format != "html":
        return
    package = distribution("sphinx-mathjax-offline")
    source = Path(package.locate_file("sphinx-mathjax-offline/static/mathjax"))
    target = Path(app.outdir) / "_static" / "mathjax"
    for name in WANTED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (copytree if (source / name).is_dir() else copy)(source / name, target / name)


# A page read from disk may not fetch others: there, what a search finds comes without excerpts.
NO_EXCERPTS = "DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY &&= location.protocol !== 'file:';"


def setup(app):
    app.add_js_file(None, body=NO_EXCERPTS)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
