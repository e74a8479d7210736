"""Marks and the page of what has been checked, on a small book that is built strictly."""

import json
import subprocess
import sys
from dataclasses import asdict

import build
import nbformat
import pytest
from bs4 import BeautifulSoup

from scbtheory.claims import Record

CONF = f"""
import sys
sys.path.append({str(build.BOOK / "_ext")!r})
extensions = ["myst_nb", "sphinx_external_toc", "marks"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
external_toc_path = "toc.yml"
html_theme = "basic"
"""
TOC = "{root: first, entries: [{file: second}, {file: checked}]}"
CHECKED = "# Checked\n\n" + "\n\n".join(
    f"```{{claims}} {part}\n```" for part in ("totals", "kinds", "equations", "equivalent")
)
FIRST = """\
# First

```{math}
:label: eq-one
x \\cdot y = 1
```

```{math}
:label: eq-Two
\\begin{aligned} x &= 2 \\\\ &< 3 \\end{aligned}
```
"""
SECOND = "# Second\n\n```{math}\n:label: eq-three\nz = 3\n```\n"
ONE = Record(
    "eq-one",
    "verified",
    "identity",
    "N = 2, T = 3",
    note="with $x$ at most {eq}`eq-Two`",
    misprints=5,
    refuted=1,
    unreadable=2,
    equivalent=(r"order: x \cdot y -> y x", "factor: nothing -> 1"),
)
TWO = Record("eq-Two", "definition", "limit", misprints=2, refuted=2)
THREE = Record("eq-three", "exempt", note="a result of {eq}`eq-one` that nobody can check here")


def notebook(text, *records, shown=True):
    """A page whose one cell, after the text, speaks of these equations."""
    outputs = [
        nbformat.v4.new_output(
            "display_data", {"text/plain": str(record)}, metadata={"claim": asdict(record)}
        )
        for record in records
    ]
    tags = ["hide-input"] if shown else ["remove-output"]
    cell = nbformat.v4.new_code_cell("check()", metadata={"tags": tags}, outputs=outputs)
    cells = [nbformat.v4.new_markdown_cell(text), *([cell] if records else [])]
    return json.dumps(nbformat.v4.new_notebook(cells=cells, metadata=build.METADATA))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a small book; return Sphinx's complaints and its pages."""

    def built(**pages):
        source = tmp_path_factory.mktemp("book")
        (source / "conf.py").write_text(CONF)
        (source / "toc.yml").write_text(TOC)
        for name, text in pages.items():
            (source / f"{name}.ipynb").write_text(text)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "--keep-going"]
        result = subprocess.run([*command, source, source / "out"], capture_output=True, text=True)
        found = {page.stem: page.read_text("utf-8") for page in (source / "out").glob("*.html")}
        return result.stderr, {n: BeautifulSoup(text, "html.parser") for n, text in found.items()}

    return built


@pytest.fixture(scope="module")
def book(built):
    complaints, pages = built(
        first=notebook(FIRST, ONE, TWO), second=notebook(SECOND, THREE), checked=notebook(CHECKED)
    )
    assert complaints == ""
    return pages


def test_each_equation_has_its_mark(book):
    marks = [
        (mark.find_previous_sibling()["id"], mark.get_text().strip(), mark.find("a")["href"])
        for name in ("first", "second")
        for mark in book[name].select(".claim")
    ]
    assert marks == [
        ("equation-eq-one", "verified · 1 misprint refuted", "#check-eq-one"),
        ("equation-eq-two", "definition", "#check-eq-Two"),
        ("equation-eq-three", "not checked", "#check-eq-three"),
    ]


def test_marks_lead_to_outputs(book):
    for name, record in (("first", ONE), ("first", TWO), ("second", THREE)):
        output = book[name].find(id=f"check-{record.label}")
        assert output.get_text().strip() == str(record)


def test_checked_page(book):
    page = book["checked"]
    rows = [[cell.get_text().strip() for cell in row.find_all("td")] for row in page("tr")]
    no_break = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
    assert [row for row in rows if row] == [
        [
            "(1) eq-one",
            "verified",
            f"identity; N{no_break}2, T{no_break}3. with \\(x\\) at most (2)",
            "1 of 5 (2 unreadable, 2 true as well)",
        ],
        ["(2) eq-Two", "definition", "limit", "2 of 2"],
        ["(1) eq-three", "not checked", "a result of (1) that nobody can check here", ""],
    ]
    assert [h.get_text().rstrip("¶") for h in page("h2")] == ["First", "Second"]
    assert [term.get_text() for term in page("dt")] == ["identity", "limit"]
    links = [a["href"] for a in page.select("td a.internal")]
    assert links[:2] == ["first.html#equation-eq-one", "first.html#check-eq-one"]
    items = [item.get_text().strip() for item in page.select("section li li")]
    assert items == [r"order: x \cdot y becomes y x", "factor: nothing becomes 1"]
    assert "displayed equations: 1 verified, 1 definitions, 0 quotations, 1 exempt" in " ".join(
        page.get_text().split()
    )


def test_a_mark_without_an_output_fails_the_build(built):
    complaints, _ = built(
        first=notebook(FIRST, ONE, TWO, shown=False),
        second=notebook(SECOND),
        checked=notebook("# Checked"),
    )
    assert "eq-one: its check shows no output" in complaints
