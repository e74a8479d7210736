"""True is proved, false is refuted at a point where it is false, and the rest is left open."""

import itertools
import random

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scbtheory.claims.arithmetic import Symbolic
from scbtheory.claims.decide import Counterexample, Judge, nonnegative
from scbtheory.claims.reader import Unreadable, read
from scbtheory.claims.values import Case, Evaluator

x, y = sp.symbols("x y", real=True)
p, q = sp.symbols("p q", positive=True)
n = sp.Symbol("n", integer=True, positive=True)
t = sp.Symbol("t", real=True)
mu = sp.Matrix([p, 1 - p])
V = sp.Matrix(2, 2, sp.symbols("v1:5", real=True))
P = sp.Matrix(2, 2, sp.symbols("w1:5", real=True))
CASE = Case(
    {
        "x": x, "y": y, "p": p, "q": q, "n": n, "N": 2, r"\mu": mu, r"\mu_#": mu, "V": V, "P": P,
        "V_#": V, "t": t, "u": sp.exp(2 * t) + 1, "u()": lambda s: sp.exp(2 * s) + 1,
        "h": (n + 1) / n + 3 / n**2, "A": sp.Matrix([[p, 1], [0, q]]),
    },
    {"k": 2, "i": 3},
    title="two by two",
)  # fmt: skip
steady = settings(derandomize=True, deadline=None, database=None)


def decide(tex, case=CASE):
    return Judge(case, "seed").decide(read(tex, case.declared, case.indices))


TRUE = [
    "(x + y)^2 = x^2 + 2 x y + y^2", r"\frac{1}{p} - \frac{1}{q} = \frac{q - p}{p q}",
    r"\operatorname{tr}(V P) = \operatorname{tr}(P V)", r"(V P)^\top = P^\top V^\top",
    "V^{-1} V = I", r"(V P)^{-1} = P^{-1} V^{-1}",
    r"\|V + P\|^2 = \|V\|^2 + 2 \langle V, P \rangle + \|P\|^2",
    r"\sum_{i=1}^{N} i x^i = x + 2 x^2", r"1^\top \mu = 1", r"\sum_k \mu_k V_k = V \mu",
    r"\|V\|_\mu^2 = \sum_k \mu_k \|V_k\|^2", r"\sqrt{x^2} = |x|", r"|x|^2 = x^2",
    r"\exp(x + y) = \exp(x) \exp(y)",
    r"\sqrt{p} \sqrt{q} = \sqrt{p q}", r"\log(\exp(x)) = x",
    r"\max(p, -q) = p",
    "x = y + x - y = x", r"\mu_k = \mu_k + 0",
    # inequalities
    "x^2 + y^2 \\ge 2 x y", "p + q > 0", r"(x - y)^2 \ge 0", "p < p + q",
    r"-x^2 \le 0", "p q > 0", r"\frac{1}{p + q} > 0", "0 < p < p + q", r"p + \frac{1}{p} \ge 2",
    r"\|\mu\|^2 \ge 0", "p \\ne -q", r"2 |x| \ge 0", r"x^2 y^2 \ge 0", r"p^2 - p q + q^2 \ge 0",
    "n > 0",
    # derivatives, limits, orders
    r"\frac{\partial x^2 y}{\partial x} = 2 x y", r"\dot u = 2 u - 2, \quad u(0) = 2",
    r"\frac{\partial x^2 V}{\partial x} = 2 x V", r"\dot V = 0 V",
    r"\lim_{n \to \infty} h = 1", r"\lim_{n \to \infty} \frac{n x + 1}{n} = x",
    "h = 1 + O(n^{-1})", r"h = 1 + \frac1n + O(n^{-2})", "x h = x + O(1/n)",
    "n h = O(n)",
]  # fmt: skip
FALSE = [
    "(x + y)^2 = x^2 + x y + y^2", "x = y", "x = -x", "x = 2 x", "x^2 = x^3", "V P = P V",
    r"V^\top = V",
    r"\operatorname{tr}(V P) = \operatorname{tr} V", r"(V P)^\top = V^\top P^\top",
    "(V P)^{-1} = V^{-1} P^{-1}",
    r"1^\top \mu = 2", r"\mu_k = \mu_1", r"\|V\|_\mu^2 = \|V\|^2", r"\sqrt{x^2} = x", "|x| = x",
    r"\exp(x y) = \exp(x) \exp(y)", r"\sqrt{p + q} = \sqrt{p} + \sqrt q", "x = y + x = x + y",
    "x = x + 0.0000000001", r"\sqrt2 = 1.41421356237309504880168872", "x^2 < 0",
    r"x^2 + y^2 < 2 x y",
    r"p \le 0", r"p + q \le p", "0 < p < 0", r"x \ne x", r"x + y \ne y + x",
    r"\frac{\partial x^2 y}{\partial x} = x y", r"\dot u = 2 u",
    r"\dot u = 2 u - 2, \quad u(0) = 1",
    r"\lim_{n \to \infty} h = 2", "h = 2 + O(n^{-1})", "h = 1 + O(n^{-2})",
    r"h = 1 + \frac2n + O(n^{-2})", "n h = O(n^2)", "h = h + O(n^{-9})",
    "x h = y + O(1/n)", "h = O(n^{-1})",
]  # fmt: skip
# True for some values of the symbols, false for others.
OPEN = [r"x^2 > 0", r"x^4 - x^2 y + y^2 \ge 0", r"p^3 + q^3 \ge p^2 q"]


@pytest.mark.parametrize("tex", TRUE)
def test_true_is_proved(tex):
    assert decide(tex) is True


@pytest.mark.parametrize("tex", FALSE)
def test_false_is_refuted(tex):
    found = decide(tex)
    assert isinstance(found, Counterexample)
    assert "is false" in str(found) and "two by two" in str(found)


@pytest.mark.parametrize("tex", OPEN)
def test_neither_is_admitted(tex):
    """True, or true but for a point that no one will meet by chance, and beyond the proofs."""
    assert decide(tex) is None


@pytest.mark.parametrize("tex", [tex for tex in FALSE if "O(" not in tex and "," not in tex])
def test_a_counterexample_is_one(tex):
    """At the place that is given the sides have the values that are given, and they differ."""
    found = decide(tex)
    point = {}
    for part in found.place.split("; ")[-1].split(", "):
        name, _, number = part.partition(" = ")
        symbol = next((s for s in CASE.symbols if s.name == name), None)
        if symbol is not None:
            point[symbol] = sp.Rational(number)
    (statement,) = read(tex, CASE.declared, CASE.indices)
    evaluator = Evaluator(CASE, Symbolic())
    pairs = []
    for _, values in evaluator.sides(statement):
        for left, right in itertools.pairwise(values):
            left, right = (getattr(v, "ravel", lambda v=v: [v])() for v in (left, right))
            pairs += zip(left, right, strict=True)
    numbers = [tuple(float(sp.N(v.subs(point))) for v in pair) for pair in pairs]
    wanted = tuple(float(sp.sympify(side)) for side in (found.left, found.right))
    assert any(pair == pytest.approx(wanted, rel=1e-9) for pair in numbers)


def test_conjunctions_are_false_if_one_of_them_is():
    assert decide("x = x, y = y") is True
    assert isinstance(decide("x = x, x = y"), Counterexample)
    assert decide(r"x = x, x^4 - x^2 y + y^2 \ge 0") is None


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [("=", True), (r"\le", True), (r"\ge", True), ("<", False), (">", False)],
)
def test_ties(relation, verdict):
    for tex in (f"x + y {relation} y + x", f"2 {relation} 2", rf"\sqrt 8 {relation} 2 \sqrt 2"):
        found = decide(tex)
        assert found is True if verdict else isinstance(found, Counterexample)
    assert isinstance(decide(r"\sqrt 8 \ne 2 \sqrt 2"), Counterexample)


def test_sharp_means_equal():
    sharp = Case({"x": x}, sharp=True)
    assert decide(r"x \le x", sharp) is True
    assert isinstance(decide(r"x \le x + 1", sharp), Counterexample)
    assert decide(r"x < x + 1", sharp) is True


def test_numbers_without_symbols():
    case = Case({"a": sp.Rational(1, 3), "b": sp.sqrt(2), "n": 5})
    assert decide("3 a = 1", case) is True
    assert decide("b^2 = 2, b > 1.4", case) is True
    assert isinstance(decide("b = 1.414", case), Counterexample)
    with pytest.raises(Unreadable, match=r"O\(...\) of what"):
        decide("n = 2 + O(n)", case)


def test_what_grows_must_be_said():
    with pytest.raises(Unreadable, match=r"O\(...\) of what"):
        decide("h = O(1)")
    with pytest.raises(Unreadable, match=r"O\(...\) of what"):
        decide("x = O(y)")


def test_a_symbol_that_hides_in_a_function_is_no_number():
    case = Case({"f()": lambda value: value + x, "a": sp.Integer(1)})
    with pytest.raises(Unreadable, match="not a real number"):
        decide("f(a) = 1", case)


@pytest.mark.parametrize("tex", [r"\sqrt{-p} = x", r"\log(-p) = x", r"(-8)^{1/3} = -2"])
def test_what_is_not_real_is_refused(tex):
    with pytest.raises(Unreadable):
        decide(tex)


# ---------------------------------------------------------------------------------------- signs

MONOMIALS = [1, x, y, p, x * y, x**2, y**2, p * x, p**2, p * x**2, x**2 * y**2, x**4, p * q, q / p]


@settings(steady, max_examples=250)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(MONOMIALS)), min_size=1, max_size=4),
    st.booleans(),
)
def test_nonnegative_is_never_wrong(terms, strictly):
    expression = sum(coefficient * monomial for coefficient, monomial in terms)
    if nonnegative(expression, strictly):
        holds_everywhere(expression, strictly)


def holds_everywhere(expression, strictly):
    source = random.Random(str(expression))
    corners = [sp.Integer(0), sp.Integer(1), sp.Integer(-1), sp.Rational(1, 9), sp.Integer(7)]
    for _ in range(40):
        point = {
            s: source.choice([*corners, sp.Rational(source.randint(-30, 30), 7)]) for s in (x, y)
        }
        point |= {s: abs(source.choice(corners[1:])) for s in (p, q)}
        number = sp.sympify(expression).subs(point)
        assert number > 0 if strictly else number >= 0, (expression, point)


@settings(steady, max_examples=150)
@given(st.lists(st.integers(-3, 3), min_size=6, max_size=6), st.booleans(), st.integers(1, 3))
def test_nonnegative_knows_quadratic_forms(numbers, strictly, power):
    a, b, c, d, e, f = numbers
    form = a * x**2 + b * x * y + c * y**2 + d * x + e * y + f
    if nonnegative(form**power / p, strictly):
        holds_everywhere(form**power / p, strictly)


@settings(steady, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=6, max_size=6))
def test_sums_of_squares_are_known(numbers):
    a, b, c, d, e, f = numbers
    square = (a * x + b * y + c) ** 2 + (d * x + e * y + f) ** 2
    assert nonnegative(sp.expand(square))
    assert not nonnegative(sp.expand(-square) - 1)


@pytest.mark.parametrize(
    "expression",
    [
        x, -p, x * y, x**3, p - q, x**2 - 1, x**2 - 2 * x * y, -(x**2), x**2 - y**2, -sp.Abs(x),
        (-p) ** n, -sp.sqrt(p), x / p, p * x - p, 1 - p, sp.exp(x) - 1, x**2 + 2 * x,
    ],
)  # fmt: skip
def test_what_has_no_sign(expression):
    assert not nonnegative(expression) and not nonnegative(expression, strictly=True)


def test_zero_is_not_positive():
    for expression in (sp.Integer(0), x**2, sp.Abs(x), (x - y) ** 2, x**2 + y**2, p * x**2):
        assert nonnegative(expression) and not nonnegative(expression, strictly=True)


# ---------------------------------------------------------------------------------------- draws

W = sp.Matrix([p, 1 - p])
LAW = tuple(
    (W[i] * W[j], {"x_#": sp.eye(2).extract([0, 1], [i, j])}) for i in range(2) for j in range(2)
)
DRAWS = Case({"w": W, "v": sp.Matrix([p**2, 1 - p**2]), "r": sp.ones(2, 1) / 2}, {"k": 2}, LAW)


def test_draws_have_the_law_or_another():
    assert decide(r"x_1, \dots, x_2 \sim w \text{independently}", DRAWS) is True
    for other in ("v", "r", "w + 0 v - v"):
        found = decide(rf"x_1, \dots, x_2 \sim {other} \text{{independently}}", DRAWS)
        assert isinstance(found, Counterexample) and "instead of" in str(found)
    with pytest.raises(Unreadable, match="nothing draws"):
        decide(r"k \sim w", DRAWS)


def test_draws_by_a_quotient_are_proved():
    odds = sp.Matrix([p / (p + q), q / (p + q)])
    law = tuple((odds[i], {"a": sp.eye(2)[:, i]}) for i in range(2))
    assert decide(r"a \sim w", Case({"w": odds}, {}, law)) is True
    swapped = Case({"w": odds.extract([1, 0], [0])}, {}, law)
    assert isinstance(decide(r"a \sim w", swapped), Counterexample)


def test_draws_by_roots_are_refused():
    law = ((sp.sqrt(p), {"a": sp.eye(2)[:, 0]}), (1 - sp.sqrt(p), {"a": sp.eye(2)[:, 1]}))
    with pytest.raises(Unreadable, match="a law with"):
        decide(r"a \sim w", Case({"w": sp.Matrix([sp.sqrt(p), 1 - sp.sqrt(p)])}, {}, law))


# ---------------------------------------------------------------------- what is meant to be false


def test_never_true():
    def never(tex):
        return Judge(CASE, "seed").never_true(read(tex, CASE.declared, CASE.indices))

    assert never("x = x + 1") and never("p < -q") and never(r"p \le 0") and never("x = 1, x = 2")
    assert not never("x = x") and not never("p > 0")
    assert not never("x < y")  # here and there it is true


def test_never_true_of_draws():
    statements = read(r"x_1, \dots, x_2 \sim r \text{independently}", DRAWS.declared, DRAWS.indices)
    assert Judge(DRAWS, "seed").never_true(statements)
    statements = read(r"x_1, \dots, x_2 \sim w \text{independently}", DRAWS.declared, DRAWS.indices)
    assert not Judge(DRAWS, "seed").never_true(statements)


def test_says_nothing_before_anything_is_computed():
    def empty(tex):
        return Judge(CASE, "seed").says_nothing(read(tex, CASE.declared, CASE.indices))

    assert empty("x = x") and empty(r"V \mu = V \mu, x = x") and empty(r"\mu_k = \mu_k")
    assert not empty("(x + y)^2 = x^2 + 2 x y + y^2") and not empty("x = x, x = y")
    assert not empty(r"h = 1 + \frac1n + O(n^{-2})")


def test_of_anything():
    def anything(tex):
        return Judge(CASE, "seed").of_anything(read(tex, CASE.declared, CASE.indices))

    assert anything("x + y = y + x") and anything(r"(V P)^\top = P^\top V^\top")
    assert not anything(r"1^\top \mu = 1") and not anything("x = y")


def test_rounding_makes_no_number_smaller_than_another():
    third = sp.Rational(1, 3)
    case = Case({"x": third, "y": third + sp.Rational(1, 10**15)}, tolerance=1e-12)
    for true in ("x = y", r"x \le y", r"x \ge y", "x < 1", r"x \ne 1"):
        assert Judge(case, "seed").refute(read(true, case.declared, {})) is None, true
    for false in ("x < y", "x > y", r"x \ne y", "x = 1"):
        assert Judge(case, "seed").refute(read(false, case.declared, {})) is not None, false
