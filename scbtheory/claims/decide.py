"""Is a statement true? Proved, refuted at a point, or neither: nothing is taken on trust."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from scbtheory.claims.arithmetic import Exact, NotRational, Polynomial, Rational, Symbolic
from scbtheory.claims.reader import Statement, Unreadable
from scbtheory.claims.values import Case, Evaluator, Remainder, entries, put, together

__all__ = ["Counterexample", "Judge", "nonnegative", "points"]

OPPOSITE = {"<": r"\ge", ">": r"\le", r"\le": ">", r"\ge": "<"}
DIGITS = 40  # of the numbers that refute where fractions cannot: far beyond any rounding


@dataclass(frozen=True)
class Counterexample:
    """Where a statement is false: the values of two of its sides."""

    left: str
    relation: str
    right: str
    place: str
    difference: str = ""

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right} is false ({self.place})"


def points(case: Case, count: int, seed: str) -> Iterator[dict[sp.Symbol, sp.Rational]]:
    """Random rational values for the symbols of a case, as their assumptions allow."""
    source = random.Random(seed)
    for _ in range(count):
        yield {symbol: _number_for(symbol, source) for symbol in case.symbols}


def _number_for(symbol: sp.Symbol, source: random.Random) -> sp.Rational:
    """A random number that the symbol may stand for; not zero, where differences get lost."""
    for _ in range(100):
        if symbol.is_integer:
            number = sp.Integer(source.randint(1, 9))
        elif symbol.is_nonnegative:  # small, so that a few of them leave room for one minus all
            number = sp.Rational(source.randint(1, 30), 97)
        else:
            number = sp.Rational(source.randint(1, 40), source.choice([7, 11, 13]))
        if not symbol.is_nonnegative and (symbol.is_nonpositive or source.random() < 0.5):
            number = -number
        facts = symbol.assumptions0.items()
        if all(getattr(number, f"is_{fact}") in (None, wanted) for fact, wanted in facts):
            return number
    raise Unreadable(f"no rational number found for {symbol} as it is assumed to be")


class Judge:
    """Decides statements in one case; what it has evaluated it keeps for the next statement."""

    def __init__(self, case: Case, seed: str = "points", count: int = 3) -> None:
        self.case = case
        self.count = count if case.symbols else 1
        # Of max(p, q) a few points may show one side only: then all of these are tried.
        self.points = list(points(case, self.count if self.count == 1 else 8 * count, seed))
        self._evaluators: dict[object, Evaluator] = {}

    def _evaluator(self, at: int | None, arithmetic: type[Symbolic]) -> Evaluator:
        key = at, arithmetic
        if key not in self._evaluators:
            case = self.case if at is None else self.case.at(self.points[at])
            made = arithmetic(case.symbols) if issubclass(arithmetic, Polynomial) else arithmetic()
            self._evaluators[key] = Evaluator(case, made)
        return self._evaluators[key]

    def refute(self, statements: Sequence[Statement]) -> Counterexample | None:
        """A point at which a statement is false, if one is found among a few random ones."""
        if any(r"\sim" in statement.relations for statement in statements):
            try:
                return self._other_law(statements)
            except NotRational as error:
                raise Unreadable(f"a law with {error}") from error
        for at in range(len(self.points) if any(map(_has_corners, statements)) else self.count):
            if found := self._refute_at(statements, at):
                return found
        for statement in filter(_has_order, statements):
            if found := self._other_order(statement):
                return found
        return None

    def _refute_at(self, statements: Sequence[Statement], at: int) -> Counterexample | None:
        for statement in statements:
            try:
                found = self._false(statement, at, Exact)
            except NotRational:
                found = self._false(statement, at, Symbolic)
            if found:
                return found
        return None

    def never_true(self, statements: Sequence[Statement]) -> bool:
        """Are the statements false together: at every point, and an inequality by proof?

        An equation that is false at one point is no identity; an inequality could still be true
        elsewhere, so its opposite is proved.
        """
        if any(r"\sim" in statement.relations for statement in statements):
            return self.refute(statements) is not None
        if not all(self._refute_at(statements, at) for at in range(self.count)):
            return False
        if len(statements) > 1 or not set(statements[0].relations) <= set(OPPOSITE):
            return True
        (statement,) = statements
        opposite = tuple(OPPOSITE[relation] for relation in statement.relations)
        return len(opposite) == 1 and self._proved(replace(statement, relations=opposite))

    def _other_order(self, statement: Statement) -> Counterexample | None:
        """Where all but the large symbol are numbers: is O(...) not the size of the difference?"""
        for where, values in self._evaluator(None, Symbolic).sides(statement):
            *_, left, right = values
            point = {x: y for x, y in self.points[0].items() if x != _large(right.scale)}
            difference, scale = (put(x, point) for x in (left - right.value, right.scale))
            growth = _growth(difference, scale)
            if growth.is_infinite or growth.is_zero:
                place = [self.case.title, where, self._shown(statement, 0)]
                shown = f"{right.value} + O({right.scale})"
                return Counterexample(str(left), "=", shown, "; ".join(filter(None, place)))
        return None

    def _false(
        self, statement: Statement, at: int, arithmetic: type[Symbolic]
    ) -> Counterexample | None:
        evaluator = self._evaluator(at, arithmetic)
        for where, values in evaluator.sides(statement):
            for i, relation in enumerate(map(self._meant, statement.relations)):
                left, right = values[i], values[i + 1]
                if isinstance(right, Remainder):
                    continue  # of no meaning at a point
                for a, b in zip(entries(left), entries(right), strict=True):
                    if not _compare(a, relation, b, self.case.tolerance):
                        place = [self.case.title, where, self._shown(statement, at)]
                        where = "; ".join(filter(None, place))
                        return Counterexample(_show(a), relation, _show(b), where, _show(a - b))
        return None

    def _meant(self, relation: str) -> str:
        """Where a case is sharp, `at most` is meant as `equal`."""
        return "=" if self.case.sharp and relation in (r"\le", r"\ge") else relation

    def _other_law(self, statements: Sequence[Statement]) -> Counterexample | None:
        """An outcome that the draws make more or less likely than the law of the case does."""
        for at in range(self.count):
            evaluator = self._evaluator(at, Exact)
            ours, displayed = self._laws(evaluator, statements)
            for outcome in ours | displayed:
                a, b = ours.get(outcome, 0), displayed.get(outcome, 0)
                if a != b:
                    shown = "an outcome has probability " + _show(b)
                    return Counterexample(shown, "instead of", _show(a), self.case.title)
        return None

    def _shown(self, statement: Statement, at: int) -> str:
        """The point, as far as the statement names what depends on it."""
        names = {node.name for side in statement.sides for node in side.walk()}
        part = Case({name: v for name, v in self.case.names.items() if name in names})
        return ", ".join(f"{symbol} = {self.points[at][symbol]}" for symbol in part.symbols)

    def decide(self, statements: Sequence[Statement]) -> bool | Counterexample | None:
        """True if every statement is proved, a counterexample if one is found, None if neither."""
        if found := self.refute(statements):
            return found
        if any(r"\sim" in statement.relations for statement in statements):
            return True if self._same_law(statements) else None
        if not self.case.symbols and not any(map(_has_order, statements)):
            return True
        return True if all(map(self._proved, statements)) else None

    def _same_law(self, statements: Sequence[Statement]) -> bool:
        """For draws: has every outcome the same probability, as a function of the symbols?"""
        if not self.case.symbols:
            return True
        for arithmetic in (Polynomial, Rational):
            try:
                ours, displayed = self._laws(self._evaluator(None, arithmetic), statements)
                return bool(ours == displayed)
            except NotRational:
                continue
        return False

    @staticmethod
    def _laws(evaluator: Evaluator, statements: Sequence[Statement]) -> tuple[Any, Any]:
        ours, displayed = evaluator.law, evaluator.law_of(statements)
        names = sorted(ours[0][1])
        if missing := set(names) - set(displayed[0][1]):
            raise Unreadable(f"nothing draws {min(missing)}")
        return together(ours, names), together(displayed, names)

    def _proved(self, statement: Statement) -> bool:
        for arithmetic in (Polynomial, Rational, Symbolic):
            try:
                return self._proved_in(statement, self._evaluator(None, arithmetic))
            except NotRational:
                continue
        return False

    def _proved_in(self, statement: Statement, evaluator: Evaluator) -> bool:
        for _, values in evaluator.sides(statement):
            for i, relation in enumerate(map(self._meant, statement.relations)):
                left, right = values[i], values[i + 1]
                if isinstance(right, Remainder):
                    if relation != "=" or not _of_order(left - right.value, right.scale):
                        return False
                    continue
                pairs = zip(entries(left), entries(right), strict=True)
                if not all(_holds(a, relation, b, evaluator.arithmetic) for a, b in pairs):
                    return False
        return True

    def of_anything(self, statements: Sequence[Statement]) -> bool:
        """Does it stay true when every name gets another value, unrelated to the others?"""
        source = random.Random("anything")

        def another(value: Any) -> Any:
            if isinstance(value, sp.MatrixBase):
                return value.applyfunc(lambda _: sp.Rational(source.randint(1, 99), 10))
            if isinstance(value, sp.Expr) and not value.is_number:
                return sp.Rational(source.randint(1, 99), 10)
            return value

        names = {name: another(value) for name, value in self.case.names.items()}
        try:
            return Judge(replace(self.case, names=names), "", 1).refute(statements) is None
        except Unreadable:
            return False

    def says_nothing(self, statements: Sequence[Statement]) -> bool:
        """Are the two sides the same before anything is computed?

        Two numbers are not: SymPy has computed them.
        """
        if not self.case.symbols:
            return False
        for statement in statements:
            if r"\sim" in statement.relations:
                return False
            evaluator = self._evaluator(None, Symbolic)
            for _, values in evaluator.sides(statement):
                for left, right in itertools.pairwise(values):
                    if isinstance(right, Remainder):
                        return False
                    if any(a != b for a, b in zip(entries(left), entries(right), strict=True)):
                        return False
        return True


def _compare(a: Any, relation: str, b: Any, tolerance: float = 0.0) -> bool:
    difference = a - b
    if not isinstance(difference, Fraction):
        number = sp.sympify(difference)
        number = number if number.is_Rational else sp.N(number, DIGITS)
        if not number.is_number or not number.is_real:
            raise Unreadable(f"{number} is not a real number")
        if not number.is_Rational and abs(number) < sp.Float(10) ** (10 - DIGITS):
            number = sp.Integer(0)
        difference = number
    if tolerance and abs(difference) <= tolerance:
        difference = 0  # rounding alone makes no number smaller than another
    return {
        "=": difference == 0, r"\leftarrow": difference == 0, r"\ne": difference != 0,
        "<": difference < 0, r"\le": difference <= 0,
        ">": difference > 0, r"\ge": difference >= 0,
    }[relation]  # fmt: skip


def _show(value: Any) -> str:
    text = str(value)
    try:
        return text if len(text) < 25 else f"{float(value):.12g}"
    except OverflowError:
        return f"{text[:20]}..."


def _holds(a: Any, relation: str, b: Any, arithmetic: Symbolic) -> bool:
    if relation in ("=", r"\leftarrow"):
        if isinstance(arithmetic, Polynomial):
            return bool(a == b)
        return _is_zero(a - b)
    if isinstance(arithmetic, Polynomial):
        a, b = (arithmetic.expression(value) for value in (a, b))
    difference = sp.factor(sp.together(b - a if relation in ("<", r"\le") else a - b))
    if relation == r"\ne":
        return nonnegative(difference, strictly=True) or nonnegative(-difference, strictly=True)
    return nonnegative(difference, strictly=relation in "<>")


def _is_zero(difference: sp.Expr) -> bool:
    difference = sp.sympify(difference)
    if sp.expand(sp.fraction(sp.together(difference))[0]) == 0:
        return True
    return sp.simplify(difference) == 0


def nonnegative(expression: sp.Expr, strictly: bool = False) -> bool:
    """Is an expression proved to be at least zero (or above zero) wherever its symbols may be?

    By the assumptions on its symbols, factor by factor, where a factor may be a sum of terms that
    are each known to have the sign, or a sum of squares.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> nonnegative(x**2 - 2 * x * y + y**2), nonnegative(x**2 - y**2)
    (True, False)
    """
    factored = sp.factor(sp.together(expression))
    if (factored.is_positive if strictly else factored.is_nonnegative) is True:
        return True
    sign = 1
    for factor in sp.Mul.make_args(factored):
        base, exponent = factor.as_base_exp()
        expanded = sp.expand(base)
        if exponent.is_integer and exponent.is_even and not strictly:
            continue
        if _one_sign(expanded, strictly):
            continue
        if _one_sign(-expanded, strictly) and (exponent.is_odd or exponent.is_even):
            sign *= -1 if exponent.is_odd else 1
            continue
        return False
    return sign > 0


def _one_sign(expression: sp.Expr, strictly: bool) -> bool:
    terms = sp.Add.make_args(expression)
    if not all(term.is_nonnegative for term in terms):
        return bool(not strictly and _sum_of_squares(expression))
    return not strictly or any(term.is_positive for term in terms)


def _sum_of_squares(expression: sp.Expr) -> bool:
    """A quadratic form in the symbols (and one) with a positive semidefinite matrix."""
    symbols = sorted(expression.free_symbols, key=str)
    if not symbols or not expression.is_polynomial(*symbols):
        return False
    polynomial = sp.Poly(expression, *symbols)
    if polynomial.total_degree() > 2:
        return False
    basis = [sp.Integer(1), *symbols]
    hessian = sp.zeros(len(basis), len(basis))
    for i, a in enumerate(basis):
        for j, b in enumerate(basis):
            coefficient = polynomial.coeff_monomial(a * b)
            hessian[i, j] = coefficient if i == j else coefficient / 2
    return bool(hessian.is_positive_semidefinite)


def _has_corners(statement: Statement) -> bool:
    """Is there a maximum, an absolute value, a sign: another function on either side of a line?"""
    nodes = (node for side in statement.sides for node in side.walk())
    return any(
        node.kind in ("absolute", "reduce", "minimiser")
        or node.name.removesuffix("()") in (r"\max", r"\min", r"\operatorname{sign}")
        for node in nodes
    )


def _has_order(statement: Statement) -> bool:
    return any(node.kind == "order" for side in statement.sides for node in side.walk())


def _large(scale: Any) -> sp.Symbol:
    large = [symbol for symbol in sp.sympify(scale).free_symbols if symbol.is_integer]
    if len(large) != 1:
        raise Unreadable("O(...) of what? One symbol in it must be an integer, and it grows")
    return large[0]


def _growth(difference: Any, scale: Any) -> Any:
    """The limit of the ratio where the large symbol grows."""
    large = _large(scale)
    try:
        return sp.limit(sp.simplify(difference / scale), large, sp.oo)
    except (ArithmeticError, NotImplementedError, TypeError, ValueError, sp.PoleError) as error:
        raise Unreadable(f"no limit: {error}") from error


def _of_order(difference: Any, scale: Any) -> bool:
    """Is the difference of the size of the scale? A larger scale would be true, but say less."""
    growth = _growth(difference, scale)
    return bool(growth.is_finite and sp.simplify(growth) != 0)
