"""The rules of `make claims`: each fires where it should and nowhere else; the book obeys them."""

import json
from dataclasses import asdict, replace

import build
import claims
import ledger
import pytest

from scbtheory.claims import Page, Record

DEFINITION = Record(
    "eq-square", "definition", "identity", "N = 2", provides=("S",), misprints=3, refuted=3
)
VERIFIED = Record(
    "eq-sum", "verified", "identity", "N = 2", uses=("S",), misprints=9, refuted=7, unreadable=2
)
TEXT = """\
# A page

```{math}
:label: eq-square
S = x^2
```

and, in a solution,

:::{note}
```{math}
:label: eq-sum
\\begin{aligned}
S + x &= x \\\\
      &\\quad \\cdot (x + 1), \\quad \\text{for all } x .
\\end{aligned}
```
:::

```{code-cell} ipython3
"$$ is no display here"
```
"""
GOOD = ledger.chapter("page", TEXT, [DEFINITION, VERIFIED])
# Nineteen more, so that one exemption is one in twenty.
MANY = ledger.Chapter(
    "many",
    {f"eq-{n}": "x = x" for n in range(19)},
    tuple(replace(VERIFIED, label=f"eq-{n}", uses=("x",)) for n in range(19)),
)
DOC = ledger.Docstring(
    "scbtheory.scb.total",
    """The sum.

.. math::

    S + x = x
    \\cdot (x + 1),

equation :eq:`eq-sum`. It rests on :eq:`eq-square`.
""",
)


def with_records(*records):
    return replace(GOOD, records=records)


def page(text):
    return ledger.chapter("page", text, GOOD.records)


def test_a_good_book_has_no_problem():
    assert ledger.problems([GOOD, MANY], [DOC]) == []


def test_totals():
    exempt = Record("eq-square", "exempt", note="left to the reader")
    quoting = replace(DOC, text=".. math:: S = x^2\n\n:eq:`eq-square`")
    docs = [DOC, quoting]
    for records, expected in (
        ([DEFINITION, VERIFIED], (4, 1, 1, 2, 0, 12, 10, 2, 0)),
        # What is quoted from an equation that nobody checked is not checked either.
        ([exempt, VERIFIED], (4, 1, 0, 1, 2, 9, 7, 2, 0)),
    ):
        chapters = [with_records(*records)]
        totals = ledger.Totals.of(chapters, ledger.quotations(docs, chapters))
        assert totals == ledger.Totals(*expected)
    assert totals.exempt_share == 0.5


BREACHES = {
    "no record": (
        replace(GOOD, equations={**GOOD.equations, "eq-new": "x = 1"}),
        "eq-new: displayed, but no cell",
    ),
    "no label": (page(TEXT + "\n```{math}\ny = 1\n```\n"), "unlabelled-1: needs a label: y = 1"),
    "not displayed": (with_records(*GOOD.records, replace(VERIFIED, label="eq-x")), "eq-x: a cell"),
    "raised": (replace(GOOD, trouble="Failed: eq-sum is not what was derived"), "page: Failed"),
    "two records": (with_records(*GOOD.records, VERIFIED), "eq-sum: 2 cells"),
    "nothing refuted": (with_records(DEFINITION, replace(VERIFIED, refuted=0)), "eq-sum: the che"),
    "a definition refutes nothing": (
        with_records(replace(DEFINITION, refuted=0), VERIFIED),
        "eq-square: the check",
    ),
    "undecided": (
        with_records(DEFINITION, replace(VERIFIED, undecided=("sign: + -> -",))),
        "eq-sum: undecided: sign: + -> -",
    ),
    "unused": (with_records(DEFINITION, replace(VERIFIED, uses=("x",))), "eq-square: no verified"),
    "used by a definition only": (
        with_records(replace(DEFINITION, uses=("S", "eq-square")), replace(VERIFIED, uses=())),
        "eq-square: no verified",
    ),
    "unknown label": (
        with_records(DEFINITION, replace(VERIFIED, uses=("S", "eq-lost"))),
        "eq-sum: uses eq-lost",
    ),
    "dollars": (page(TEXT + "\n$$ y = 1 $$\n"), "page: displays 2 formulas"),
    "an environment": (
        page(TEXT + "\n\\begin{align*}\ny = 1\n\\end{align*}\n"),
        "page: displays 1 formulas",
    ),
    "indented": (
        page(TEXT + "\n- item\n\n  ```{math}\n  :label: eq-y\n  y = 1\n  ```\n"),
        "page: displays 1 formulas",
    ),
}


@pytest.mark.parametrize(
    "source",
    [
        "names = {'S': parse(page.text['eq-sum'])}",
        "from scbtheory.claims import displayed",
        "statement, = read(tex, names)",
        "tex = Path('page.md').read_text()",
        "tex = open('page.md')",
    ],
)
def test_a_check_may_not_look_at_what_it_checks(source):
    (line,) = ledger.problems_of(replace(GOOD, sources=("page = Page('page')", source)))
    assert line.startswith("page: a check looks at the text") and line.endswith(source)


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_named(breach):
    chapter, line = BREACHES[breach]
    (found,) = ledger.problems([chapter, MANY], [])
    assert found.startswith("page") and line in found


def test_a_label_given_twice_on_a_page_is_a_problem():
    (problem,) = ledger.problems([page(TEXT + TEXT), MANY], [])[:1]
    assert problem.startswith("page: ") and "eq-square twice" in problem


def test_a_definition_may_be_used_by_its_label_and_from_another_page():
    one = with_records(replace(DEFINITION, provides=()), replace(VERIFIED, uses=()))
    other = replace(MANY, records=(replace(MANY.records[0], uses=("eq-square",)),))
    assert not list(ledger.unused_definitions([one, other]))
    assert list(ledger.unused_definitions([one, MANY]))


def test_where_a_page_stopped_what_it_did_not_reach_is_not_reported():
    stopped = replace(GOOD, records=(DEFINITION,), trouble="Failed: eq-sum")
    assert ledger.problems([stopped, MANY], []) == ["page: Failed: eq-sum"]


def test_an_equation_is_displayed_once_in_the_book():
    again = replace(GOOD, name="again")
    assert [*ledger.displayed_twice([GOOD, again])] == [
        f"again, {label}: displayed in page, too" for label in ("eq-square", "eq-sum")
    ]


def test_exemptions_are_below_five_percent():
    exempt = replace(MANY.records[0], status="exempt")
    nineteen, eighteen = MANY, replace(MANY, equations=dict(list(MANY.equations.items())[1:]))
    for many, allowed in ((nineteen, True), (eighteen, False)):
        totals = ledger.Totals.of([GOOD, replace(many, records=(exempt,))])
        assert totals.equations == (21 if allowed else 20) and totals.exempt == 1
        assert (not list(ledger.too_many_exemptions(totals))) == allowed


# ------------------------------------------------------------------------------------ docstrings

DOC_BREACHES = {
    "no label": (".. math:: S = x^2", "names no equation"),
    "another equation's label": (".. math:: S = x^2\n\n:eq:`eq-sum`", "names eq-sum, and displays"),
    "other formula": (".. math:: S = x^3\n\n:eq:`eq-square`", "something else: S = x^3"),
    "not in one piece": (".. math:: S = x + 1\n\n:eq:`eq-sum`", "something else"),
    "nothing": (".. math:: .\n\n:eq:`eq-sum`", "something else"),
    "second display": (
        ".. math:: S = x^2\n\nand\n\n.. math::\n\n    S = y\n\n:eq:`eq-square`",
        "something else: S = y",
    ),
    "unknown label": ("See :eq:`eq-lost`.", "names eq-lost, which does not exist"),
}


@pytest.mark.parametrize("breach", DOC_BREACHES)
def test_a_docstring_that_does_not_quote_is_named(breach):
    text, line = DOC_BREACHES[breach]
    (found,) = ledger.problems([GOOD, MANY], [ledger.Docstring("scbtheory.scb.f", text)])
    assert found.startswith("scbtheory.scb.f: ") and line in found


def test_displays_of_a_docstring():
    text = "A\n\n.. math:: a = b\n\n.. math::\n\n    c\n    = d\n\n    e\n\n"
    text += "and\n\n  .. math::\n\n     f\n"
    found = [display.split() for display in ledger.Docstring("", text).displays]
    assert found == [["a", "=", "b"], ["c", "=", "d", "e"], ["f"]]


def test_docstrings_are_those_of_public_names_outside_claims():
    names = [doc.where for doc in ledger.docstrings()]
    for name in (
        "scbtheory.population",
        "scbtheory.population.gradient",
        "scbtheory.scb.SparseContextualBigram",
        "scbtheory.scb.SparseContextualBigram.inner",
        "scbtheory.scb.SparseContextualBigram.bayes_loss",  # a cached property
        "scbtheory.transformer.LinearTransformer.initial",  # a class method
    ):
        assert names.count(name) == 1
    assert not [name for name in names if "claims" in name or "._" in name or "numpy" in name]


def test_functions_are_listed_by_the_equations_they_name():
    assert ledger.implemented_by([DOC, DOC])["eq-sum"] == ["scb.total"] * 2
    functions = ledger.implemented_by(ledger.docstrings())
    assert functions["eq-bayes"] == ["scb.SparseContextualBigram.bayes"]


# --------------------------------------------------------------------------------------- the run

CELLS = """\
# Page

```{math}
:label: eq-square
(x + 1)^2 = x^2 + 2x + 1
```

```{code-cell} ipython3
raise RuntimeError("this cell checks nothing, and is not run")
```

```{code-cell} ipython3
:tags: [claims, hide-input]

import sympy as sp
from scbtheory.claims import Case, Page

page = same = Page("one", [Case({"x": sp.Symbol("x")})])
```

```{code-cell} ipython3
:tags: [claims]

page.verify("eq-square")
```
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A book whose page may be run here: what a check changes in this process is put back."""
    (tmp_path / "md").mkdir()
    monkeypatch.setattr(build, "BOOK", tmp_path)
    monkeypatch.setenv("SCBTHEORY_PAGES", "nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tagged_cells_are_run_without_a_kernel_and_in_silence(house, capsys):
    (house / "md/one.md").write_text(CELLS)
    chapter = claims.check("one")
    assert capsys.readouterr().out == ""
    assert [record.label for record in chapter.records] == ["eq-square"]
    assert ledger.problems([chapter], []) == []


def test_a_check_that_raises_is_reported_with_its_message(house):
    (house / "md/one.md").write_text(CELLS.replace("2x + 1", "3x + 1"))
    (problem,) = ledger.problems([claims.check("one")], [])
    assert problem.startswith("one: claims cell 2: Failed: eq-square is not what was derived")
    assert "3x + 1" in problem


def test_a_check_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(claims, "SECONDS_PER_CELL", 1)
    _, trouble = claims.run("one", ["1", "while True: pass"])
    assert trouble == "claims cell 2: TimeoutError: not done after 1 s"


def test_each_page_starts_with_an_empty_namespace():
    claims.run("one", ["x = 1"])
    _, trouble = claims.run("two", ["print(x)"])
    assert trouble.startswith("claims cell 1: NameError")


@pytest.fixture
def printed(monkeypatch, capsys):
    """Run `make claims` with the findings given; return what it prints and how it ends."""

    def printed(*chapters):
        monkeypatch.setattr(claims, "check_all", lambda names: [*chapters])
        monkeypatch.setattr(ledger, "docstrings", lambda: iter([DOC]))
        try:
            claims.main()
            end = None
        except SystemExit as stop:
            end = stop.code
        return capsys.readouterr().out, end

    return printed


def test_table(printed):
    text, end = printed(GOOD, MANY)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert " ".join(lines["eq-sum"][1:]) == "verified identity 9 7 2 0 N = 2 scb.total"
    assert lines["scb.total"][1:] == ["quoted", "from", "eq-sum"]
    assert "22 displayed equations: 20 verified, 1 definitions, 1 quotations, 0 exempt" in text
    assert end is None


def test_a_problem_is_the_exit_status(printed):
    text, end = printed(with_records(DEFINITION), MANY)
    assert "no record" in text
    assert "page, eq-sum: displayed, but no cell" in end


# -------------------------------------------------------------------------------------- the book


def notebook(name):
    return (build.BOOK / f"{name}.ipynb").read_text("utf-8")


@pytest.mark.parametrize("name", build.names())
def test_committed_notebook_says_what_is_known_of_each_equation(name):
    assert ledger.problems_of(ledger.chapter_in_notebook(name, notebook(name))) == []


def test_committed_book_obeys_the_rules():
    chapters = [ledger.chapter_in_notebook(name, notebook(name)) for name in build.pages_in_toc()]
    assert ledger.problems(chapters, list(ledger.docstrings())) == []


@pytest.mark.parametrize("name", build.names())
def test_no_output_displays_a_formula(name):
    """Nobody would check it."""
    outputs = [o for cell in json.loads(notebook(name))["cells"] for o in cell.get("outputs", ())]
    assert not [o for o in outputs if "text/latex" in o.get("data", {})]


def test_records_survive_a_notebook():
    page = Page("example", text={"eq-x": "x = x"}, quiet=True)
    page.exempt("eq-x", "there is nothing here to check")
    also_true = replace(VERIFIED, equivalent=("order: x y -> y x",))
    for record in (*page.records.values(), VERIFIED, also_true):
        assert ledger.record_from(json.loads(json.dumps(asdict(record)))) == record


WHOLE = r"m = a + b, \qquad n = a \quad \text{independently}"


@pytest.mark.parametrize("part", ["m = a + b", "a + b", WHOLE, "m"])
def test_a_quotation_is_whole(part):
    assert ledger.quotes(part, WHOLE)


@pytest.mark.parametrize(
    "part", ["m = a", "+ b", "b", "n = a", r"n = a \quad \text{all equal}", ""]
)
def test_a_fragment_is_no_quotation(part):
    assert not ledger.quotes(part, WHOLE)


def test_a_page_can_be_checked_alone(capsys):
    claims.main(["bibliography"])
    assert "0 displayed equations" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        claims.main(["bibliographie"])
    assert "page: expected some of preface, scb" in capsys.readouterr().err
