"""The arithmetics in which a formula is evaluated.

Fractions refute: one point at which two sides differ is enough. Polynomials and their quotients
prove: to be equal is decidable for them. SymPy expressions take what is left: roots, absolute
values, exponentials.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import isqrt
from typing import Any

import sympy as sp

from scbtheory.claims.reader import Unreadable

__all__ = ["Exact", "NotRational", "Polynomial", "Ratio", "Rational", "Symbolic"]


class NotRational(ArithmeticError):
    """A root, an absolute value or an exponential: not a matter of rational functions."""


# ------------------------------------------------------------------------------ the arithmetics


class Symbolic:
    """SymPy expressions."""

    def number(self, value: Any) -> Any:
        return sp.sympify(value)

    def root(self, x: Any) -> Any:
        return sp.sqrt(sp.factor(x))

    def absolute(self, x: Any) -> Any:
        return sp.Abs(sp.factor(x))

    def sign(self, x: Any) -> Any:
        return sp.sign(sp.factor(x))

    def largest(self, values: Iterable[Any]) -> Any:
        return sp.Max(*map(sp.factor, values))

    def smallest(self, values: Iterable[Any]) -> Any:
        return sp.Min(*map(sp.factor, values))

    def exp(self, x: Any) -> Any:
        return sp.exp(x)

    def log(self, x: Any) -> Any:
        return sp.log(x)

    def power(self, x: Any, exponent: Any) -> Any:
        if exponent.is_negative and self.vanishes(x):
            raise Unreadable("a division by zero")
        return x**exponent

    def reciprocal(self, x: Any) -> Any:
        if self.vanishes(x):
            raise Unreadable("a division by zero")
        return 1 / x

    def vanishes(self, x: Any) -> bool:
        """Is it zero, even if it does not look like it?"""
        return bool(x == 0 or (x.equals(0) if x.is_number else sp.expand(x) == 0))

    def expression(self, value: Any) -> Any:
        return value


class Exact(Symbolic):
    """Fractions, at a point."""

    def number(self, value: Any) -> Any:
        value = sp.sympify(value)
        if value.is_Rational:
            return Fraction(int(value.p), int(value.q))
        raise NotRational(f"{value} is not a rational number")

    def root(self, x: Any) -> Any:
        if x < 0:
            raise Unreadable(f"the root of {x}")
        above, below = isqrt(x.numerator), isqrt(x.denominator)
        if above**2 != x.numerator or below**2 != x.denominator:
            raise NotRational("an irrational root")
        return Fraction(above, below)

    def vanishes(self, x: Any) -> bool:
        return bool(x == 0)

    def absolute(self, x: Any) -> Any:
        return abs(x)

    def sign(self, x: Any) -> Any:
        return Fraction((x > 0) - (x < 0))

    def largest(self, values: Iterable[Any]) -> Any:
        return max(values)

    def smallest(self, values: Iterable[Any]) -> Any:
        return min(values)

    def exp(self, x: Any) -> Any:
        if x == 0:
            return Fraction(1)
        raise NotRational("an exponential")

    def log(self, x: Any) -> Any:
        if x == 1:
            return Fraction(0)
        raise NotRational("a logarithm")

    def power(self, x: Any, exponent: Any) -> Any:
        if exponent.denominator != 1:
            raise NotRational("a broken exponent")
        if x == 0 and exponent < 0:
            raise Unreadable("a division by zero")
        return x ** int(exponent)


class Polynomial(Symbolic):
    """Polynomials in symbols; nothing but numbers is divided by."""

    def __init__(self, symbols: Iterable[sp.Symbol]) -> None:
        names = sorted(symbols, key=str)
        self.domain = sp.QQ[names] if names else sp.QQ

    def number(self, value: Any) -> Any:
        try:
            return self.domain.from_sympy(sp.sympify(value))
        except (sp.CoercionFailed, ValueError, TypeError) as error:
            raise NotRational("not a polynomial") from error

    def expression(self, value: Any) -> Any:
        return self.domain.to_sympy(value)

    def root(self, x: Any) -> Any:
        raise NotRational("not a rational function")

    def largest(self, values: Iterable[Any]) -> Any:
        raise NotRational("not a rational function")

    absolute = sign = exp = log = root
    smallest = largest

    def vanishes(self, x: Any) -> bool:
        return bool(x == 0)

    def reciprocal(self, x: Any) -> Any:
        number = self.expression(x)
        if not number.is_Rational:
            raise NotRational("a quotient of polynomials")
        return self.number(1 / number)

    def power(self, x: Any, exponent: Any) -> Any:
        number = self.expression(exponent)
        if not number.is_Integer:
            raise NotRational("an exponent that is not an integer")
        if number < 0:
            return self.reciprocal(x) ** -int(number)
        return x ** int(number)


class Rational(Polynomial):
    """Quotients of polynomials, never reduced: equality needs no common factors."""

    def number(self, value: Any) -> Any:
        one = self.domain.one

        def build(expression: Any) -> Ratio:
            if expression.is_Add or expression.is_Mul:
                first, *others = map(build, expression.args)
                for other in others:
                    first = first + other if expression.is_Add else first * other
                return first
            if expression.is_Pow and expression.exp.is_Integer:
                base = build(expression.base)
                power = base if expression.exp > 0 else base.reciprocal()
                return power ** abs(int(expression.exp))
            return Ratio(super(Rational, self).number(expression), one)

        return build(sp.sympify(value))

    def expression(self, value: Any) -> Any:
        above, below = (self.domain.to_sympy(part) for part in (value.above, value.below))
        return above / below

    def reciprocal(self, x: Any) -> Any:
        return x.reciprocal()


class Ratio:
    """One polynomial over another."""

    def __init__(self, above: Any, below: Any) -> None:
        self.above, self.below = above, below

    def __add__(self, other: Ratio) -> Ratio:
        if self.below == other.below:
            return Ratio(self.above + other.above, self.below)
        if not hasattr(self.below, "cofactors"):  # numbers, where there are no symbols
            mine, theirs = self.below, other.below
        else:
            _, mine, theirs = self.below.cofactors(other.below)
        return Ratio(self.above * theirs + other.above * mine, self.below * theirs)

    def __neg__(self) -> Ratio:
        return Ratio(-self.above, self.below)

    def __sub__(self, other: Ratio) -> Ratio:
        return self + -other

    def __mul__(self, other: Ratio) -> Ratio:
        return Ratio(self.above * other.above, self.below * other.below)

    def __pow__(self, exponent: int) -> Ratio:
        return Ratio(self.above**exponent, self.below**exponent)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ratio):
            return bool(self.above * other.below == other.above * self.below)
        return bool(self.above == self.below * other)

    def __hash__(self) -> int:
        return 0  # equal ones may look different: leave it to __eq__

    def reciprocal(self) -> Ratio:
        if self.above == 0:
            raise Unreadable("a division by zero")
        return Ratio(self.below, self.above)
