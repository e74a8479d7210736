"""Values of formulas: one evaluation in four arithmetics, shapes, laws, minima."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scbtheory.claims.arithmetic import Exact, NotRational, Polynomial, Rational, Symbolic
from scbtheory.claims.decide import points
from scbtheory.claims.reader import Unreadable, read
from scbtheory.claims.values import Case, Evaluator, entries, minimise, together

x, y = sp.symbols("x y", real=True)
p = sp.Symbol("p", positive=True)
V = sp.Matrix(2, 2, sp.symbols("v1:5", real=True))
W = sp.Matrix(2, 2, sp.symbols("w1:5", real=True))
mu = sp.Matrix([p, 1 - p])
CASE = Case(
    {
        "x": x, "y": y, "p": p, "V": V, "W": W, r"\mu": mu, r"\mu_#": mu, "V_#": V, "N": 2,
        "square()": lambda value: value**2, "scaled()": lambda matrix: 2 * matrix,
        "larger()": lambda a, b: a if a > b else b, "table()": lambda k: {1: 5}[k],
        "word()": lambda value: "word", "half()": lambda value: Fraction(1, 2) * value,
        r"\operatorname{median}()": lambda values: sorted(values)[len(values) // 2],
    },
    {"k": 2, "i": 3},
)  # fmt: skip
steady = settings(derandomize=True, deadline=None, database=None, max_examples=60)


def evaluate(tex, arithmetic, case=CASE):
    (statement,) = read(f"x = {tex}", case.declared, case.indices)
    return Evaluator(case, arithmetic)(statement.sides[1])


def as_sympy(value, arithmetic):
    if isinstance(value, np.ndarray):
        return sp.Matrix(*value.shape, [as_sympy(entry, arithmetic) for entry in value.ravel()])
    return sp.sympify(arithmetic.expression(value))


def is_zero(difference):
    flat = difference if isinstance(difference, sp.MatrixBase) else [difference]
    return all(sp.simplify(entry) == 0 for entry in flat)


RATIONAL = [
    "x^2 - 2 x y", "(x + y)^3/p", r"\frac{x}{y} - \frac1p", "x^{-2}", "V W - W V", r"V^{-1} W",
    r"\operatorname{tr}(V W^\top)", r"\|V\|_\mu^2", r"\langle V, W \rangle", r"V - \mu 1^\top",
    r"\sum_k \mu_k V_k", r"\prod_{i=1}^{3} (x + i)", r"\operatorname{diag}(\mu)^{-1}", "V^3",
    r"\begin{pmatrix} x & 1/y \\ 0 & p \end{pmatrix}", "square(x + 1)", "scaled(V)", "x/(y/p)",
    r"\sum_{i<1} x", "half(x)", "(x - y)^0", r"\|V\|_\mu^{-2}",
]  # fmt: skip


@pytest.mark.parametrize("tex", RATIONAL)
def test_the_arithmetics_agree(tex):
    """A proof in rational functions and a refutation in fractions speak of the same thing."""
    symbolic = as_sympy(evaluate(tex, Symbolic()), Symbolic())
    ours = as_sympy(evaluate(tex, Rational(CASE.symbols)), Rational(CASE.symbols))
    assert is_zero(ours - symbolic)
    for point in points(CASE, 2, tex):
        exact = as_sympy(evaluate(tex, Exact(), CASE.at(point)), Symbolic())
        assert is_zero(exact - symbolic.xreplace(point))
    try:
        polynomial = Polynomial(CASE.symbols)
        assert is_zero(as_sympy(evaluate(tex, polynomial), polynomial) - symbolic)
    except NotRational:
        pass


@pytest.mark.parametrize("tex", [r"\sqrt x", "|x|", r"\exp(x)", r"\max(x, y)", r"x^{1/2}", "x^y"])
def test_what_is_not_rational_is_left_to_sympy(tex):
    for arithmetic in (Polynomial(CASE.symbols), Rational(CASE.symbols)):
        with pytest.raises(NotRational):
            evaluate(tex, arithmetic)
    assert evaluate(tex, Symbolic()) is not None


def test_polynomials_do_not_divide():
    with pytest.raises(NotRational):
        evaluate("x/y", Polynomial(CASE.symbols))
    assert evaluate("x/2", Polynomial(CASE.symbols)) is not None


def test_fractions_know_the_roots_that_are_fractions():
    case = Case({"x": sp.Rational(9, 4), "y": -2})
    assert evaluate(r"\sqrt x + |y|", Exact(), case) == Fraction(7, 2)
    assert evaluate(r"\max(x, y) - \min(x, y)", Exact(), case) == Fraction(17, 4)
    with pytest.raises(NotRational):
        evaluate(r"\sqrt{x + 1}", Exact(), case)
    with pytest.raises(Unreadable, match="root of -2"):
        evaluate(r"\sqrt y", Exact(), case)


@pytest.mark.parametrize("kind", [Exact, Polynomial, Rational, Symbolic])
@pytest.mark.parametrize("tex", ["1/(y - y)", r"\frac{x}{y - y}", "(y - y)^{-1}", "(V - V)^{-1}"])
def test_nothing_is_divided_by_zero(tex, kind):
    case = CASE.at(next(points(CASE, 1, "zero"))) if kind is Exact else CASE
    with pytest.raises((Unreadable, NotRational)) as refusal:
        evaluate(tex, kind(CASE.symbols) if issubclass(kind, Polynomial) else kind(), case)
    assert kind is Polynomial or refusal.type is Unreadable


def test_a_hidden_zero_is_a_zero():
    case = Case({"x": sp.sqrt(2)})
    with pytest.raises(Unreadable, match="division by zero"):
        evaluate(r"\frac{1}{(1 + x)^2 - 3 - 2 x}", Symbolic(), case)


@steady
@given(st.lists(st.integers(-4, 4), min_size=9, max_size=9))
def test_inverse_by_any_arithmetic(numbers):
    matrix = sp.Matrix(3, 3, numbers)
    case = Case({"M": matrix, "x": 1})
    for arithmetic in (Exact(), Rational([]), Symbolic()):
        if matrix.det() == 0:
            with pytest.raises(Unreadable, match="without inverse"):
                evaluate("M^{-1}", arithmetic, case)
        else:
            assert as_sympy(evaluate("M^{-1}", arithmetic, case), arithmetic) == matrix.inv()


@pytest.mark.parametrize(
    ("tex", "word"),
    [
        (r"\operatorname{median}_k V_k", "of matrices"), ("larger(x, y)", "larger()"),
        ("table(x)", "table()"), ("word(x)", "expected a number"), ("square(1, 2)", "square()"),
        ("square(I)", "unknown size"), (r"\operatorname{median}_k \mu_k", "median"),
    ],
)  # fmt: skip
def test_what_a_function_cannot_say_is_refused(tex, word):
    with pytest.raises(Unreadable, match=word.replace("(", r"\(").replace(")", r"\)")):
        evaluate(tex, Symbolic())


def test_a_comparison_of_numbers_is_no_proof_for_symbols():
    """Elements of a field can be compared, in an order that means nothing."""
    for arithmetic in (Polynomial(CASE.symbols), Rational(CASE.symbols)):
        with pytest.raises((Unreadable, NotRational)):
            evaluate(r"\operatorname{median}_i (x i)", arithmetic)
        with pytest.raises((Unreadable, NotRational)):
            evaluate("larger(x, y)", arithmetic)
    assert evaluate(r"\operatorname{median}_i (3 - i)", Exact()) == 1


# ------------------------------------------------------------------- vectors of ones, identities


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"V (I - \mu 1^\top) V", V * (sp.eye(2) - mu * sp.ones(1, 2)) * V),
        (r"(I - \frac1N 11^\top) V", (sp.eye(2) - sp.ones(2, 2) / 2) * V),
        (r"(11^\top - I) V - V", (sp.ones(2, 2) - 2 * sp.eye(2)) * V),
        (r"1^\top V 1 + x", sum(V) + x),
        (r"(1 \mu^\top + \mu 1^\top) V", (sp.ones(2, 1) * mu.T + mu * sp.ones(1, 2)) * V),
        (r"V + x I", V + x * sp.eye(2)),
        (r"1^\top V^\top", sp.ones(1, 2) * V.T),
    ],
)
def test_sizes_follow_from_neighbours(tex, expected):
    assert is_zero(as_sympy(evaluate(tex, Symbolic()), Symbolic()) - expected)


def test_sizes_that_contradict_each_other():
    case = Case({"a": sp.ones(1, 3), "b": sp.ones(2, 1), "M": sp.ones(4, 3), "x": x})
    # 1 a has three columns and b 1' two rows: together they are 2 by 3, and nothing else.
    assert evaluate(r"1 a + b 1^\top", Symbolic(), case).shape == (2, 3)
    with pytest.raises(Unreadable, match="shapes"):
        evaluate(r"1 a + b 1^\top + M", Symbolic(), case)
    with pytest.raises(Unreadable, match="shapes"):
        evaluate(r"M + I", Symbolic(), case)


def test_a_one_by_one_product_is_a_number():
    assert evaluate(r"(\mu^\top \mu) V", Symbolic()).shape == (2, 2)
    assert sp.expand(evaluate(r"\mu^\top V \mu + x", Symbolic()) - (mu.T * V * mu)[0] - x) == 0
    with pytest.raises(Unreadable, match="multiplied"):
        evaluate(r"V \mu^\top \mu", Symbolic())  # not (V mu') mu, and not V (mu' mu) either


# ------------------------------------------------------------------------------------------- laws

THIRD = sp.Rational(1, 3)
DICE = Case(
    {"c": x, "u": sp.Matrix([THIRD, 1 - THIRD]), "U": sp.Matrix([[THIRD, 1], [1 - THIRD, 0]]),
     "U_#": sp.Matrix([[THIRD, 1], [1 - THIRD, 0]]), "T": 2},
    {"t": 2},
    (
        (sp.Rational(1, 6), {"a": sp.Integer(-1), "b": sp.Integer(2)}),
        (sp.Rational(1, 3), {"a": sp.Integer(1), "b": sp.Integer(2)}),
        (sp.Rational(1, 2), {"a": sp.Integer(1), "b": sp.Integer(5)}),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\mathbb E\, a", sp.Rational(2, 3)), (r"\mathbb E\, a b", sp.Rational(17, 6)),
        (r"\mathbb E[a \mid b = 2]", THIRD), (r"\mathbb E[b \mid a^2 = 1]", sp.Rational(7, 2)),
        (r"\mathbb E[ \mathbb E[b \mid a] ]", sp.Rational(7, 2)),
        (r"\mathbb E[ \mathbb E[b \mid a]^2 ]", sp.Rational(127, 10)),
        (r"\mathbb E[ \mathbb E[b \mid |a|]^2 ]", sp.Rational(49, 4)),
        (r"\mathbb E[ \mathbb E[b \mid a, b] a ]", sp.Rational(17, 6)),
        (r"\mathbb E[ \mathbb E[a \mid b + c] b ]", 2 * THIRD / 2 + sp.Rational(5, 2)),
        (r"\mathbb E[ (a - \mathbb E[a])^2 ]", 1 - sp.Rational(4, 9)),
    ],
)  # fmt: skip
def test_expectations_by_hand(tex, expected):
    (statement,) = read(f"c = {tex}", DICE.declared, DICE.indices)
    found = Evaluator(DICE, Symbolic())(statement.sides[1])
    assert sp.simplify(found - expected) == 0


def test_what_is_random_outside_of_an_expectation_takes_every_value():
    (statement,) = read(r"a^2 + b = \mathbb E[b \mid a] + c", DICE.declared, DICE.indices)
    found = [tuple(values) for _, values in Evaluator(DICE, Symbolic()).sides(statement)]
    assert found == [(3, 2 + x), (3, x + sp.Rational(19, 5)), (6, x + sp.Rational(19, 5))]


def law_of(tex, case=DICE):
    return Evaluator(case, Symbolic()).law_of(read(tex, [*case.declared, "d_#", "d"], case.indices))


def test_draws_multiply():
    law = law_of(r"d_1, \dots, d_T \sim u \text{independently}, t \sim U_{d_1}, d \sim U_t")
    assert len(law) == 16 and sum(weight for weight, _ in law) == 1
    table = together(law, ["t"])
    assert table == {(1,): THIRD * THIRD + (1 - THIRD), (2,): THIRD * (1 - THIRD)}


@pytest.mark.parametrize(
    ("tex", "word"),
    [
        (r"d_2, \dots, d_3 \sim u \text{independently}", "number 2"),
        (r"d_1, \dots, d_0 \sim u \text{independently}", "to number 0"),
        (r"d_1, \dots, d_c \sim u \text{independently}", "to number c|to number x"),
        (r"d, \dots, d \sim u \text{independently}", "a list from"),
        (r"d_1, \dots, d_{40} \sim u \text{independently}", "too many"),
        (r"d_1 \sim u", "is a name"), (r"2 \sim u", "is a name"), (r"d^2 \sim u", "is a name"),
        (r"d \sim U", "a vector"), (r"d \sim c", "known size"), (r"d \sim 1", "known size"),
        (r"d \sim u, c = 1", "among other"),
    ],
)  # fmt: skip
def test_draws_that_are_none(tex, word):
    with pytest.raises(Unreadable, match=word):
        law_of(tex)


# ----------------------------------------------------------------------------------------- points


def test_points_are_what_their_symbols_may_be():
    symbols = {
        sp.Symbol("a", positive=True), sp.Symbol("b", negative=True), sp.Symbol("c", real=True),
        sp.Symbol("d", integer=True), sp.Symbol("e", nonpositive=True), sp.Symbol("f", even=True),
        sp.Symbol("g", nonzero=True), sp.Symbol("h", integer=True, negative=True), sp.Symbol("i"),
        sp.Symbol("j", prime=True), sp.Symbol("k", rational=True, integer=False),
    }  # fmt: skip
    case = Case({symbol.name: symbol for symbol in symbols})
    for point in points(case, 60, "seed"):
        assert point.keys() == symbols
        for symbol, number in point.items():
            assert number.is_Rational and number != 0
            for fact, wanted in symbol.assumptions0.items():
                assert getattr(number, f"is_{fact}") in (None, wanted), (symbol, number)
    assert list(points(case, 3, "seed")) == list(points(case, 3, "seed"))
    assert list(points(case, 3, "seed")) != list(points(case, 3, "another"))


def test_no_point_for_what_is_not_rational():
    with pytest.raises(Unreadable, match="no rational number"):
        list(points(Case({"i": sp.Symbol("i", imaginary=True)}), 1, "seed"))


def test_a_law_of_symbols_is_put_in_too():
    case = Case({"x": x}, {}, ((p, {"a": y}), (1 - p, {"a": x})))
    (statement,) = read(r"x = \mathbb E\, a", case.declared, [])
    point = {x: sp.Integer(2), y: sp.Rational(1, 2), p: THIRD}
    assert Evaluator(case.at(point), Exact())(statement.sides[1]) == Fraction(3, 2)
    assert case.symbols == [p, x, y]


def test_an_index_is_a_place_or_a_number_but_counts_from_one():
    case = Case({"x": x, "e_#": sp.eye(2), "V_#": V, "V_{##}": V}, {"k": 2})
    assert list(evaluate("V_{e_2}", Symbolic(), case)) == list(V[:, 1])
    assert evaluate("V_{21}", Symbolic(), case) == V[1, 0]
    assert entries(evaluate(r"\sum_k k V_k", Symbolic(), case)) == list(V[:, 0] + 2 * V[:, 1])


# ---------------------------------------------------------------------------------------- minima


def least(objective, z):
    """Where it is least, by trying."""
    value = sp.lambdify(z, objective, "math")
    return min((i / 60 for i in range(-900, 901)), key=value)


def test_minima_by_brute_force():
    source, z = random.Random(0), sp.Symbol("z", real=True)
    for _ in range(25):
        a = sp.Rational(source.randint(1, 4))
        b, c = (sp.Rational(source.randint(-12, 12), source.choice([1, 2, 3])) for _ in "bc")
        objective = a * (z - b) ** 2 / 2 + abs(c) * sp.Abs(z) + c
        found = minimise(objective, z)
        assert abs(found - least(objective, z)) <= 1 / 60
        assert all(
            objective.subs(z, found) <= objective.subs(z, found + step)
            for step in (sp.Rational(1, 10**6), -sp.Rational(1, 10**6))
        )


def test_the_side_of_the_minimum_must_be_known():
    z, level = sp.symbols("z lambda", positive=True)
    z = sp.Symbol("z", real=True)
    objective = (z - x) ** 2 / 2 + level * sp.Abs(z)
    with pytest.raises(Unreadable, match="on which side"):
        minimise(objective, z)
    above = sp.Symbol("d", positive=True)
    for sign in (1, -1):
        assert minimise(objective.subs(x, sign * (level + above)), z) == sign * above
    assert minimise(objective.subs(x, level / 2), z) == 0


@pytest.mark.parametrize(
    "objective", ["-z**2", "z**4", "Abs(z)", "z", "z**2 + sign(z)", "Abs(z - 1) + z**2", "exp(z)"]
)
def test_what_has_no_such_minimum(objective):
    z = sp.Symbol("z", real=True)
    with pytest.raises(Unreadable):
        minimise(sp.sympify(objective, {"z": z}), z)


def test_minimum_of_a_formula_at_symbols_and_at_points():
    z = sp.Symbol("z", real=True)
    case = Case({"z": z, "q": p, "x": 1})
    tex = r"\arg\min_z \big[ \tfrac12 (z - 3 q)^2 + q |z| \big]"
    assert evaluate(tex, Symbolic(), case) == 2 * p
    assert evaluate(tex, Exact(), case.at({z: sp.Integer(7), p: THIRD})) == Fraction(2, 3)


def test_limits_at_symbols_and_at_points():
    n = sp.Symbol("n", integer=True, positive=True)
    case = Case({"n": n, "y": y, "x": 1})
    tex = r"\lim_{n \to \infty} \frac{n y + 1}{n}"
    assert evaluate(tex, Symbolic(), case) == y
    assert evaluate(tex, Exact(), case.at({n: sp.Integer(7), y: THIRD})) == Fraction(1, 3)


def test_situations_are_all_of_them():
    (statement,) = read(r"\mu_k = i", CASE.declared, CASE.indices)
    where = [place for place, _ in Evaluator(CASE, Symbolic()).sides(statement)]
    pairs = itertools.product((1, 2, 3), (1, 2))
    assert where == [f"i = {i}, k = {k}" for i, k in pairs]
