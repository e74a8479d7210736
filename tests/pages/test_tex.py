"""No page of the built book shows TeX that MathJax cannot typeset.

Sphinx passes TeX on unread: a misspelt macro or a lost brace builds without a warning, and only the
reader sees it.  So each page is typeset here by the MathJax it loads, with the settings it carries.

`BOOK_HTML` names the folder that holds `index.html`.
"""

from __future__ import annotations

import functools
import html
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from mathjax import MathJax, Outcome, released

BOOK = Path(__file__).parents[2] / os.environ.get("BOOK_HTML", "_build/test-html")
PAGES = sorted(BOOK.rglob("*.html"))

Start = Callable[[Path, str], MathJax]
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Start a MathJax; pages with the same settings share one."""
    with ExitStack() as stack:
        yield functools.cache(lambda *page: stack.enter_context(closing(MathJax(*page))))


def loaded(page: Path) -> tuple[Path, str] | None:
    """Return the MathJax file that a page loads, and the scripts with its settings."""
    text = page.read_text(encoding="utf-8")
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", text, re.DOTALL)
    settings = "\n".join(text for _, text in scripts if re.search(r"\bMathJax\s*=", text))
    for attributes, _ in scripts:
        if source := re.search(r'\bsrc="([^"]*mathjax[^"]*/(?:tex|mml)[^"]*)"', attributes):
            address = urlsplit(html.unescape(source[1]))
            if address.netloc:  # what a CDN delivers is the released file
                return released() / PurePosixPath(address.path).name, settings
            return (page.parent / unquote(address.path)).resolve(), settings
    return None


def read(page: Path, start: Start) -> Outcome:
    """Typeset a page as the browser would."""
    # MathJax looks at none of these, and an interactive figure or a listing is much to read.
    skipped = r"<(script|style|svg|pre)\b.*?</\1>"
    text = re.sub(skipped, "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    soup = BeautifulSoup(text, "html.parser")
    places = [place.get_text().strip() for place in soup.select(".math")]
    setup = loaded(page)
    if setup is None:
        return Outcome([], [(place, "The page loads no MathJax") for place in places], len(places))
    outcome = start(*setup).typeset(str(soup))
    assert outcome.places == len(places), f"{page.name} is not read as a browser reads it"
    return outcome


def messages(formula: str, mathjax: MathJax) -> list[str]:
    """Typeset one formula; return what MathJax has against it."""
    outcome = mathjax.typeset(f'<p><span class="math">{html.escape(formula)}</span></p>')
    assert outcome.places == 1
    return [message for _, message in outcome.errors]


# --- the book ---------------------------------------------------------------------------------


def test_the_book_has_formulas(start: Start) -> None:
    assert PAGES, f"no page in {BOOK}: build the book first, or set BOOK_HTML"
    assert any(read(page, start).formulas for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(BOOK).as_posix())
def test_every_formula_is_typeset(page: Path, start: Start) -> None:
    errors = [f"{formula} -> {message}" for formula, message in read(page, start).errors]
    if errors:
        report = [f"{page.relative_to(BOOK)}:", *(" ".join(error.split()) for error in errors)]
        pytest.fail("\n  ".join(report), pytrace=False)


def test_every_macro_of_the_book_is_typeset(start: Start) -> None:
    """A macro that no page uses yet is right, too."""
    for setup in {setup for page in PAGES if (setup := loaded(page))}:
        for name, definition in start(*setup).macros.items():
            arguments = definition[1] if isinstance(definition, list) else 0
            formula = rf"\(\left. \{name}{'{x}' * arguments} \right.\)"
            assert not messages(formula, start(*setup)), formula


# --- the check itself --------------------------------------------------------------------------

SETTINGS = r"""
window.MathJax = {
  "tex": {"macros": {"E": "\\mathbb{E}", "inner": ["\\left\\langle #1, #2 \\right\\rangle", 2]}},
  "options": {"processHtmlClass": "tex2jax_process|mathjax_process|math|output_area"}
}
"""

GOOD = [
    r"\(x\)",
    r"\[\begin{aligned} a &= b \\ c &< d \end{aligned}\]",
    r"\[\begin{split} a &= b \\ &= c \end{split}\]",
    r"\[\begin{align}\begin{aligned} a &= b \\ c &= d \end{aligned}\end{align}\]",
    r"\[\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}\]",
    r"\[\begin{cases} 1 & \text{if $x > 0$,} \\ 0 & \text{else} \end{cases}\]",
    r"\begin{equation} a = b \end{equation}",
    r"\[a = b \tag{3.1}\]",
    r"\(\operatorname{tr} A + \operatorname*{arg\,min}_x f\)",
    r"\(\boldsymbol{\alpha} + \cancel{x} + \bbox[yellow]{y}\)",  # autoloaded
    r"\(\require{physics} \qty(x)\)",
    r"\(\newcommand{\half}{\tfrac12} \half\)",
    r"\(\left. \frac{a}{b} \right|_{c}\)",
    r"\(\E[x] = \inner{a}{b}\)",
    r"\(\textcolor{red}{\text{red, and meant to be}}\)",
    r"\(\{a\} \backslash b\)",
]

BAD = {
    r"\(\misspelt{x}\)": "Undefined control sequence \\misspelt",
    r"\(\text{if $\misspelt$}\)": "Undefined control sequence \\misspelt",
    r"\(\bm{x}\)": "Undefined control sequence \\bm",  # in no extension
    r"\(\qty(x)\)": "Undefined control sequence \\qty",  # in an extension nobody loads
    r"\(\inner{a}\)": "Missing argument",
    r"\(\frac{a}\)": "Missing argument",
    r"\(a}\)": "Extra close brace",
    r"\(a{b\)": "its end is not found",
    r"\[\text{a{b\]": "its end is not found",
    r"\[\begin{nowhere} a \end{nowhere}\]": "Unknown environment 'nowhere'",
    r"\[\begin{aligned} a \end{split}\]": "ended with",
    r"\[\begin{aligned} a\]": r"Missing \end{aligned}",
    r"\begin{equation} a": "its end is not found",
    r"\(\left( a\)": r"missing \right",
    r"\(a \right)\)": r"Missing \left",
    r"\(\left a \right)\)": "Missing or unrecognized delimiter",
    r"\(x^2^3\)": "Double exponent",
    r"\(x_2_3\)": "Double subscripts",
    r"\(a & b\)": "Misplaced &",
    r"\(\hline\)": "Misplaced",
    r"\[\label{a} \label{b}\]": r"Multiple \label",
    r"\[\tag{1} \tag{2}\]": r"Multiple \tag",
    r"\[\begin{split} a \tag{1} \end{split}\]": r"\tag not allowed",
    r"\(\sqrt[3{x}\)": "Could not find closing ']'",
    r"\(\def\loop{\loop}\loop\)": "maximum macro substitution count",
    r"\(\require{nowhere}\)": "no file",
    r"\(\text{batch\_size}\)": "Shown with its backslash",
}


@pytest.fixture(scope="session")
def mathjax(start: Start) -> MathJax:
    return start(released() / "tex-mml-chtml.js", SETTINGS)


@pytest.mark.parametrize("formula", GOOD)
def test_good_tex_passes(formula: str, mathjax: MathJax) -> None:
    assert not messages(formula, mathjax)


@pytest.mark.parametrize("formula", BAD)
def test_bad_tex_is_reported(formula: str, mathjax: MathJax) -> None:
    (message,) = messages(formula, mathjax)
    assert BAD[formula] in message


def test_labels_and_macros_live_as_long_as_a_page(mathjax: MathJax) -> None:
    define, use = r"\[\label{a} \def\half{0.5}\]", r"\(\half\)"
    assert not messages(define, mathjax)
    assert messages(use, mathjax)
    assert not mathjax.typeset(f"<p>{define}</p><p>{use}</p>").errors
    (error,) = mathjax.typeset(f"<p>{define}</p><p>{define}</p>").errors
    assert error == (define, "Label 'a' multiply defined")


BODY = r"""
<section class="tex2jax_ignore mathjax_ignore">
<h1>Of <span class="math">\(\heading\)</span></h1>
<p>Not read: \(\prose\) <code>\(\code\)</code>
<div class="math" id="equation-a"><span class="eqno">(1)</span>\[\E &lt; \display\]</div>
<table><tr><td><span class="math">\(\cell\)</span></table>
<div class="output_area">\(\output\)</div>
</section>
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a page that loads MathJax from an address; beside it stands one without extensions."""
    (tmp_path / "mathjax").mkdir()
    shutil.copy(released() / "tex-chtml.js", tmp_path / "mathjax")

    def write(address: str, body: str = BODY) -> Path:
        page = tmp_path / "page.html"
        scripts = f'<script>{SETTINGS}</script><script defer src="{address}"></script>'
        text = f"<html><head>{scripts}</head><body>{body}</body></html>"
        page.write_text(text, encoding="utf-8")
        return page

    return write


CDN, LOCAL = "https://cdn.example/mathjax@3/es5/tex-mml-chtml.js", "mathjax/tex-chtml.js?v=1"


@pytest.mark.parametrize("address", [CDN, LOCAL])
def test_a_page_is_read_as_a_browser_reads_it(address: str, write: Write, start: Start) -> None:
    outcome = read(write(address), start)
    found = [r"\(\heading\)", r"\[\E < \display\]", r"\(\cell\)", r"\(\output\)"]
    assert outcome.formulas == found
    unknown = [message.rpartition("\\")[2] for _, message in outcome.errors]
    assert unknown == ["heading", "display", "cell", "output"]


def test_an_extension_must_be_where_the_page_seeks_it(write: Write, start: Start) -> None:
    cancelled = r'<p class="math">\(\cancel{x}\)</p>'
    assert not read(write(CDN, cancelled), start).errors
    ((_, message),) = read(write(LOCAL, cancelled), start).errors
    assert "no file" in message


def test_a_page_without_mathjax_is_reported(write: Write, start: Start) -> None:
    outcome = read(write("other.js"), start)
    assert {message for _, message in outcome.errors} == {"The page loads no MathJax"}
