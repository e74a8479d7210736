"""A page takes nothing for granted: neither what it displays nor that its checks can fail."""

import json
import re
from dataclasses import replace

import pytest
import sympy as sp

from scbtheory.claims.page import Failed, Page, displayed, find
from scbtheory.claims.values import Case

x, y, t = sp.symbols("x y t", real=True)
p = sp.Symbol("p", positive=True)
V = sp.Matrix(2, 2, sp.symbols("v1:5", real=True))


def page(tex, case=None, **also):
    case = case or Case({"x": x, "y": y, "p": p}, title="all of them")
    return Page("example", [case], text={"eq-one": tex, **also}, quiet=True)


def record_of(tex, *arguments, case=None, **options):
    made = page(tex, case)
    made.verify("eq-one", *arguments, **options)
    return made.records["eq-one"]


# ---------------------------------------------------------------------------------------- verify


def test_a_true_equation_is_recorded():
    record = record_of("(x + y)^2 = x^2 + 2 x y + y^2", uses=["eq-zero"], note="by hand")
    assert (record.label, record.status, record.kind) == ("eq-one", "verified", "identity")
    assert (record.sizes, record.note) == ("all of them", "by hand")
    assert {"x", "y", "eq-zero"} <= set(record.uses)
    assert record.misprints > 20 and record.refuted == record.misprints - 1
    assert not record.undecided and record.equivalent == ("order: x y -> y x",)
    assert "true as displayed" in str(record) and "all of them" in str(record)
    assert f"{record.misprints} misprints: {record.refuted} refuted, 1 true as well" in str(record)


def test_a_false_equation_shows_what_was_displayed_derived_and_where():
    with pytest.raises(Failed) as failure:
        page("f = x^2 + 1").verify("eq-one", {"f": x**2 - 1})
    text = str(failure.value)
    assert "eq-one is not what was derived" in text and "displayed:  f = x^2 + 1" in text
    point = sp.Rational(re.search(r"x = (-?[\d/]+)", text)[1])
    assert "all of them" in text
    left, right = (re.search(rf"{side} side: +(-?[\d/]+)", text)[1] for side in ("left", "right"))
    assert sp.Rational(left) == point**2 - 1 and sp.Rational(right) == point**2 + 1


@pytest.mark.parametrize(
    ("tex", "word"),
    [
        ("x = z", "z is not declared"), ("x = 1/2y", "after a slash"), ("x = 1/(y - y)", "by zero"),
        ("x", "relation"), (r"\log(-p) = x", "not a real number"), (r"1^\top 1 = x", "length"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_fails(tex, word):
    with pytest.raises(Failed, match=f"eq-one cannot be read.*{word}"):
        page(tex).verify("eq-one")


def test_what_cannot_be_proved_fails():
    with pytest.raises(Failed, match="neither proved nor refuted"):
        page(r"x^4 - x^2 y + y^2 \ge 0").verify("eq-one", kind="inequality")


@pytest.mark.parametrize("tex", ["x = x", "f = x^2", "x^2 = f, f = x^2"])
def test_a_circular_check_fails(tex):
    """The derivation is what is displayed, or the displayed sides are the same."""
    with pytest.raises(Failed, match="before anything is computed"):
        page(tex).verify("eq-one", {"f": x**2})


def test_a_definition_may_be_what_it_is():
    made = page("f = x^2")
    made.define("eq-one", {"f": x**2})
    record = made.records["eq-one"]
    assert record.status == "definition" and record.provides == ("f",)
    assert "is what the derivations use" in str(record)


def test_a_definition_that_is_displayed_otherwise_fails():
    with pytest.raises(Failed, match="not what was derived"):
        page("f = 2 x^2").define("eq-one", {"f": x**2})


def test_a_check_that_survives_its_misprints_fails():
    with pytest.raises(Failed, match=r"misprints that pass: .*2 -> 3"):
        page(r"f \le 2 p").verify("eq-one", {"f": p}, kind="inequality")


def test_numbers_that_tell_little_are_not_enough():
    """With x = 1 nothing tells x from its square; with x = 3 something does."""
    little = page("f = x^2", Case({"x": sp.Integer(1), "f": sp.Integer(1)}))
    with pytest.raises(Failed, match=r"misprints that pass: .*exponent"):
        little.verify("eq-one", kind="code")
    page("f = x^2", Case({"x": sp.Integer(3), "f": sp.Integer(9)})).verify("eq-one", kind="code")


def test_a_sharp_case_shows_that_a_bound_is_the_best():
    made = page(r"f \le 2 p", Case({"p": p}))
    cases = [Case({"p": p, "f": p}), Case({"p": p, "f": 2 * p}, sharp=True)]
    made.verify("eq-one", kind="inequality", cases=cases)
    assert made.records["eq-one"].undecided == ()


def test_misprints_that_are_true_as_well_are_named():
    record = record_of(
        "f = (x + 1) V y x", {"f": (x**2 + x) * y * V}, case=Case({"V": V, "x": x, "y": y})
    )
    assert record.equivalent == ("order: V y -> y V", "order: y x -> x y")


def test_misprints_that_cannot_be_read_are_counted():
    record = record_of(r"f = x^\top (V + V) / 2", {"f": sp.Matrix([[x, y]]) * V}, kind="cases",
                       case=Case({"V": V, "x": sp.Matrix([x, y])}))  # fmt: skip
    assert record.unreadable > 0 and f"{record.unreadable} unreadable" in str(record)


def test_a_label_is_checked_once():
    made = page("x^2 - 1 = (x + 1) (x - 1)")
    made.verify("eq-one")
    with pytest.raises(Failed, match="checked before"):
        made.verify("eq-one")
    with pytest.raises(Failed, match="checked before"):
        made.exempt("eq-one", "because it was checked one line ago")


def test_what_is_not_displayed_cannot_be_checked():
    for check in (page("x = y").verify, page("x = y").define):
        with pytest.raises(Failed, match="eq-two is not displayed in the text given"):
            check("eq-two")
    with pytest.raises(Failed, match="not displayed"):
        page("x = y").exempt("eq-two", "a reason of more than five words")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="kind: expected one of identity"):
        page("x = x").verify("eq-one", kind="magic")
    with pytest.raises(ValueError, match="cases: expected at least one"):
        page("x = x").verify("eq-one", cases=[])
    with pytest.raises(ValueError, match="reason: expected a sentence"):
        page("x = x").exempt("eq-one", "no idea")


def test_an_exemption_says_why():
    made = page("x = y")
    made.exempt("eq-one", "it is a step of an algorithm that a later one repeats")
    assert "eq-one is not checked: it is a step" in str(made.records["eq-one"])


def test_a_derivation_is_asked_in_every_case():
    cases = [Case({"x": x, "n": n}, title=f"n = {n}") for n in (1, 2, 3)]
    made = page("f = n x (x + 1)")
    made.verify("eq-one", lambda case: {"f": case.names["n"] * (x**2 + x)}, cases=cases)
    assert made.records["eq-one"].sizes == "n = 1; n = 2; n = 3"
    wrong = page("f = n x (x + 1)")
    with pytest.raises(Failed, match="n = 2"):
        wrong.verify("eq-one", {"f": x**2 + x}, cases=cases)


def test_nothing_is_printed_when_quiet(capsys):
    page("x^2 - 1 = (x + 1) (x - 1)").verify("eq-one")
    assert capsys.readouterr().out == ""
    Page("example", [Case({"x": x})], text={"eq-one": "x^2 - 1 = (x + 1) (x - 1)"}).verify("eq-one")
    assert "eq-one is true as displayed" in capsys.readouterr().out


# -------------------------------------------------------------------------- what should not hold


def test_a_case_beyond_the_bound_must_be_false():
    law = sp.Matrix([p, 1 - p])
    good, bad = Case({r"\mu": law}), Case({r"\mu": 2 * law}, truth=False)
    page(r"1^\top \mu = 1").define("eq-one", kind="solution set", cases=[good, bad])
    with pytest.raises(Failed, match="true where it should be false"):
        page(r"1^\top \mu = 1").define(
            "eq-one", kind="solution set", cases=[good, replace(good, truth=False)]
        )


def test_false_with_turns_the_meaning_round():
    good = Case({"f": 2 * p, "p": p})
    made = page("f = 2 p")
    made.define("eq-one", kind="solution set", cases=[good, good.false_with({"f": p})])
    assert made.records["eq-one"].misprints == made.records["eq-one"].refuted


def test_an_inequality_must_be_false_everywhere_beyond_its_bound():
    cases = [Case({"f": p, "p": p}, sharp=True), Case({"f": x, "p": p}, truth=False)]
    with pytest.raises(Failed, match="true where it should be false"):
        page(r"f \le p").verify("eq-one", kind="inequality", cases=cases)
    above = Case({"f": 2 * p, "p": p}, truth=False)
    page(r"f \le p").verify("eq-one", kind="inequality", cases=[cases[0], above])


# ------------------------------------------------------------------------ differential equations

RATE = r"\dot u = 2 u (1 - u), \qquad u(0) = p/(1 + p)"
LOGISTIC = p * sp.exp(2 * t) / (1 + p * sp.exp(2 * t))


def solution(u):
    return Case({"u": u, "t": t, "p": p, "u(0)": u.subs(t, 0)})


def test_a_solution_is_verified():
    made = page(RATE)
    made.verify("eq-one", kind="differential equation", cases=[solution(LOGISTIC)])
    record = made.records["eq-one"]
    assert record.kind == "differential equation" and record.refuted > 10


@pytest.mark.parametrize(
    "wrong",
    [
        LOGISTIC.subs(t, 2 * t), LOGISTIC.subs(t, -t), p * sp.exp(2 * t), LOGISTIC.subs(p, 2 * p),
        LOGISTIC.subs(t, t + 1),
    ],
)  # fmt: skip
def test_a_wrong_solution_is_refuted(wrong):
    with pytest.raises(Failed, match="not what was derived"):
        page(RATE).verify("eq-one", kind="differential equation", cases=[solution(wrong)])


def test_a_solution_that_is_a_function():
    def u(time):
        return sp.exp(-time)

    case = Case({"u": u(t), "u()": u, "t": t})
    made = page(r"\dot u = -u, \qquad u(0) = 1, \qquad u(t) = u")
    made.verify("eq-one", kind="differential equation", cases=[case])
    with pytest.raises(Failed, match="u times this, or u of this"):
        page(r"\dot u = u (u - 2)").verify("eq-one", cases=[case])


# --------------------------------------------------------------------------- what is displayed


def test_displayed_equations_by_label():
    text = """
Words and $x = 1$.

```{math}
:label: eq-a
x = y
```

:::{math}
x = 2
:::

````{math}
:label: eq-b
:class: wide

\\begin{aligned}
x &= y \\\\
\\end{aligned}
````

```{code-cell} ipython3
:label: eq-c
```

```{math}
y = 1
```
"""
    found = displayed(text)
    assert list(found) == ["eq-a", "unlabelled-1", "eq-b", "unlabelled-2"]
    assert found["eq-a"] == "x = y" and found["unlabelled-2"] == "y = 1"
    assert found["eq-b"].startswith(r"\begin{aligned}")


def test_a_label_twice():
    block = "```{math}\n:label: eq-a\nx = y\n```\n"
    with pytest.raises(ValueError, match="eq-a twice"):
        displayed(block + block)


BLOCK = "```{{math}}\n:label: eq-a\nx = {}\n```\n"


def notebook(number, code=""):
    cells = [
        {"cell_type": "markdown", "source": ["# A\n", "\n", BLOCK.format(number)]},
        {"cell_type": "code", "source": [code, "\n", BLOCK.format("in the code")]},
    ]
    return json.dumps({"cells": cells})


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty working directory, and no build under way."""
    monkeypatch.delenv("SCBTHEORY_PAGES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_finds_the_build_first(desk, monkeypatch):
    (desk / "pages").mkdir()
    (desk / "pages" / "chapter.md").write_text(BLOCK.format(1), "utf-8")
    (desk / "chapter.ipynb").write_text(notebook(2), "utf-8")
    assert find("chapter") == ({"eq-a": "x = 2"}, "chapter.ipynb")
    monkeypatch.setenv("SCBTHEORY_PAGES", str(desk / "pages"))
    text, source = find("chapter")
    assert text == {"eq-a": "x = 1"} and source.endswith("chapter.md")
    with pytest.raises(ValueError, match="name: expected a chapter"):
        find("another")


@pytest.mark.parametrize("code", ["page = Page('chapter', cases)", 'p = Page("chapter")'])
def test_finds_a_notebook_under_another_name(desk, code):
    (desk / "a.ipynb").write_text(notebook(3, 'Page("chapters")'), "utf-8")
    (desk / "Copy of it.ipynb").write_text(notebook(4, code), "utf-8")
    assert find("chapter") == ({"eq-a": "x = 4"}, "Copy of it.ipynb")
    (desk / "chapter.ipynb").write_text(notebook(5), "utf-8")
    assert find("chapter") == ({"eq-a": "x = 5"}, "chapter.ipynb")


def test_finds_what_came_with_the_package(desk, monkeypatch):
    (desk / "displayed.json").write_text('{"chapter": {"eq-a": "x = 6"}}', "utf-8")
    monkeypatch.setattr("scbtheory.claims.page.files", lambda package: desk)
    assert find("chapter") == ({"eq-a": "x = 6"}, "the package")
    with pytest.raises(ValueError, match="name: expected one of chapter, came 'another'"):
        Page("another")
    made = Page("chapter", [Case({"x": sp.Integer(6)})], quiet=True)
    assert "1 displayed" in repr(made) and made.source == "the package"


def test_what_is_displayed_is_what_is_checked(desk):
    """The notebook is changed, and the check with it."""
    (desk / "chapter.ipynb").write_text(notebook("y (y + 1)"), "utf-8")
    Page("chapter", [Case({"x": y**2 + y, "y": y})], quiet=True).verify("eq-a")
    (desk / "chapter.ipynb").write_text(notebook("y (y - 1)"), "utf-8")
    with pytest.raises(Failed, match=r"displayed:  x = y \(y - 1\)"):
        Page("chapter", [Case({"x": y**2 + y, "y": y})], quiet=True).verify("eq-a")


# --------------------------------------------------------------- a careless author is stopped


def test_a_name_keeps_its_value_unless_a_change_is_meant():
    case = Case({"T": 3, "Q": sp.eye(2)})
    assert (case | {"T": 3, "K": 1}).names["K"] == 1
    with pytest.raises(ValueError, match="more: expected new names, came another value of T"):
        case | {"T": 2}
    assert case.changed({"T": 2}).names["T"] == 2


def test_for_all_means_all():
    three = Case({"x_#": sp.Matrix([2, 3, 4])}, {"k": 1})
    with pytest.raises(Failed, match="k does not count to 3, as x_# does"):
        page(r"x_k = 2 \quad \text{for all } k", three).verify("eq-one", kind="cases")


def test_a_law_has_mass_one():
    half = Case({}, law=((sp.Rational(1, 2), {"x": sp.Integer(1)}),))
    with pytest.raises(ValueError, match="law: expected weights of sum one, came 1/2"):
        page(r"\mathbb E[x] = \tfrac12", half).verify("eq-one", kind="enumeration")


def test_numbers_prove_no_identity():
    numbers = Case({"x": sp.Integer(2), "y": sp.Integer(4)})
    with pytest.raises(Failed, match="no symbol in any case"):
        page("y = x^2 - x + 2", numbers).verify("eq-one")
