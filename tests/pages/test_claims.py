"""What is displayed is what was checked, and each mark leads to its check."""

from collections import Counter

import build
import ledger
import pytest
from bs4 import BeautifulSoup
from docutils.nodes import make_id
from test_site import CHAPTERS, SITE, every_chapter, soup

from scbtheory.claims.reader import tokens

API, CHECKED = SITE / "book" / "api.html", SITE / "book" / "checked.html"
every_text = pytest.mark.parametrize(
    "page", [page for page in CHAPTERS if page != API], ids=lambda page: page.stem
)


def source(name):
    """The notebook from which the page was built."""
    return (SITE / "_sources" / "book" / f"{name}.ipynb").read_text("utf-8")


def chapters():
    return [ledger.chapter_in_notebook(name, source(name)) for name in build.pages_in_toc()]


def place_of(label):
    return make_id(f"equation-{label}")


def words(tex):
    return [token.text for token in tokens(tex)]


def shown(html):
    """The displayed formulas of a page by their place, as tokens."""
    found = {}
    for place in html.select("div.math"):
        texts = "".join(place.find_all(string=True, recursive=False)).strip()
        formula = words(texts.removeprefix(r"\[").removesuffix(r"\]"))
        # Sphinx puts this around a formula of several lines.
        if formula[0] == r"\begin{split}" and formula[-1] == r"\end{split}":
            formula = formula[1:-1]
        found[place.get("id", f"unlabelled-{len(found)}")] = formula
    return found


def test_a_formula_that_was_changed_on_its_way_would_be_seen():
    html = r"""<div class="math" id="equation-eq-a"><span class="eqno">(1)</span>\[\begin{split}
    \begin{aligned} x &amp;= 1 \\ &lt; 2 \end{aligned}\end{split}\]</div>"""
    displayed = {place_of("eq-a"): words(r"\begin{aligned} x &= 1 \\ < 2 \end{aligned}")}
    assert shown(BeautifulSoup(html, "html.parser")) == displayed
    assert shown(BeautifulSoup(html.replace("2", "3"), "html.parser")) != displayed


@every_text
def test_page_displays_what_its_text_says(page):
    equations = ledger.chapter_in_notebook(page.stem, source(page.stem)).equations
    assert shown(soup(page)) == {place_of(x): words(equations[x]) for x in equations}


@every_chapter
def test_no_output_displays_a_formula(page):
    assert soup(page).select(".cell_output div.math") == []


def test_api_page_displays_quotations_only():
    quoted = [q for q in ledger.quotations(ledger.docstrings(), chapters()) if q.label]
    known = {tuple(words(quotation.tex)) for quotation in quoted}
    displayed = {tuple(formula) for formula in shown(soup(API)).values()}
    assert displayed <= known


@every_text
def test_each_equation_has_a_mark_that_leads_to_its_check(page):
    html, records = soup(page), ledger.chapter_in_notebook(page.stem, source(page.stem)).records
    for record in records:
        mark = html.find(id=place_of(record.label)).find_next_sibling()
        assert "claim" in mark["class"], record.label
        if record.status == "verified":
            assert f"verified · {record.refuted} misprint" in mark.get_text()
        link = mark.find("a")
        assert link["title"]
        output = html.find(id=link["href"].removeprefix("#"))
        assert output.find_parent(class_="cell_output"), record.label
        assert output.get_text().startswith(f"{record.label} ")
    assert len(html.select(".claim")) == len(records)


def test_checked_page_lists_every_equation_once():
    html = soup(CHECKED)
    rows = [row for row in html.select("table.claims tbody tr") if len(row.find_all("td")) == 4]
    found = Counter(row.find("td").find("code").get_text() for row in rows)
    assert found == Counter(label for chapter in chapters() for label in chapter.equations)
    pages = {}
    for row in rows:
        label = row.find("td").find("code").get_text()
        links = [tag["href"] for tag in row.find_all("td")[0].find_all("a")]
        links += [tag["href"] for tag in row.find_all("td")[1].find_all("a")]
        assert [link.partition("#")[2] for link in links] == [place_of(label), f"check-{label}"]
        for link in links:
            name, _, target = link.partition("#")
            html = pages.setdefault(name, soup(CHECKED.parent / name))
            assert html.find(id=target), link


def test_checked_page_lists_every_quotation():
    found = Counter(
        row.find("td").get_text().strip()
        for row in soup(CHECKED).select("table.claims tbody tr")
        if len(row.find_all("td")) == 2
    )
    quoted = ledger.quotations(ledger.docstrings(), chapters())
    assert found == Counter(q.where.removeprefix("scbtheory.") for q in quoted)


def test_checked_page_counts_as_the_table_does():
    text = " ".join(soup(CHECKED).find("article").get_text().split())
    found = chapters()
    totals = ledger.Totals.of(found, ledger.quotations(ledger.docstrings(), found))
    for number, what in (
        (totals.equations, "displayed equations"),
        (totals.verified, "verified"),
        (totals.exempt, "exempt"),
        (totals.misprints, "misprints"),
        (totals.refuted, "refuted"),
    ):
        assert f"{number} {what}" in text
