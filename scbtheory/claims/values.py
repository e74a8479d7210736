"""What a formula says of given values: a tree from the reader, evaluated exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np
import sympy as sp
from sympy.polys.domains.domainelement import DomainElement

from scbtheory.claims.arithmetic import Exact, NotRational, Symbolic
from scbtheory.claims.reader import Node, Statement, Unreadable

__all__ = ["Case", "Evaluator", "Order", "Remainder", "entries", "put", "together"]

Draw = tuple[Any, Mapping[str, Any]]  # a probability, and the names that the draw gives a value
MOST = 10_000  # of what is counted, or multiplied with itself: more would take for ever


# ------------------------------------------------------------------------------------ the values


@dataclass(frozen=True)
class Case:
    r"""Values for the names of a formula.

    Parameters
    ----------
    names : mapping
        From a name in TeX to its value: a number or SymPy expression, a SymPy matrix, or, for a
        name with places ``#`` or one that ends in ``()``, a function or a matrix. Of a matrix the
        places are indices that count from one: of a vector an entry, of a matrix a column, two
        places an entry.
    indices : mapping
        From a letter to the number it counts to.
    law : sequence of (probability, names)
        What is random, for expectations: every outcome, with the names it gives a value.
    title : str
        How the page names this case: ``N = 2, T = 3``.
    truth : bool
        Whether the formula is meant to hold here; False for a case just beyond a bound.
    sharp : bool
        Whether an inequality is meant to hold with equality here.
    after : mapping
        The names that a step gives new values: what stands on the left of an arrow.
    tolerance : float
        How far numbers may differ that are equal: for what floating-point code returns.
    """

    names: Mapping[str, Any]
    indices: Mapping[str, int] = field(default_factory=dict)
    law: tuple[Draw, ...] = ()
    title: str = ""
    truth: bool = True
    sharp: bool = False
    after: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    point: Mapping[sp.Symbol, Any] = field(default_factory=dict)
    whole: Case | None = None

    def __or__(self, more: Mapping[str, Any]) -> Case:
        """The same case with more names; one that it has keeps its value, see `changed`."""
        for name in more:
            if name in self.names and self.names[name] != more[name]:
                raise ValueError(f"more: expected new names, came another value of {name}")
        return self.changed(more)

    def changed(self, more: Mapping[str, Any]) -> Case:
        """The same case with other values for some names."""
        return replace(self, names={**self.names, **more})

    def false_with(self, more: Mapping[str, Any]) -> Case:
        """The same case with more names, with which the formula is meant to be false."""
        return replace(self.changed(more), truth=not self.truth)

    @property
    def declared(self) -> list[str]:
        """All names, those of the law included."""
        return list({**self.names, **(self.law[0][1] if self.law else {})})

    @cached_property
    def symbols(self) -> list[sp.Symbol]:
        """The symbols in the values, sorted by name."""
        found: set[sp.Symbol] = set()
        values = [*self.names.values()]
        for probability, drawn in self.law:
            values += [probability, *drawn.values()]
        for value in values:
            if isinstance(value, (sp.MatrixBase, sp.Basic)):
                found |= value.free_symbols
        return sorted(found, key=str)

    def at(self, point: Mapping[sp.Symbol, Any]) -> Case:
        """The case with numbers for its symbols."""

        return replace(
            self,
            names={name: put(value, point) for name, value in self.names.items()},
            law=tuple(
                (put(weight, point), {name: put(value, point) for name, value in drawn.items()})
                for weight, drawn in self.law
            ),
            point=point,
            whole=self,
        )


def put(value: Any, point: Mapping[sp.Symbol, Any]) -> Any:
    """The value with numbers for its symbols."""
    if isinstance(value, sp.MatrixBase):
        return value.applyfunc(lambda entry: entry.xreplace(point))
    return value.xreplace(point) if isinstance(value, sp.Basic) else value


class Free:
    """A matrix of ones, or an identity, whose size its neighbours will tell."""

    def __init__(
        self, rows: int | None, columns: int | None, make: Callable[[int, int], Any], square: bool
    ) -> None:
        if square:
            rows = columns = rows if columns is None else columns
        self.rows, self.columns, self.make, self.square = rows, columns, make, square

    def fit(self, rows: int | None, columns: int | None) -> Any:
        """The same with this shape, as far as it is known: a matrix when it is."""
        for mine, wanted in ((self.rows, rows), (self.columns, columns)):
            if mine is not None and wanted is not None and mine != wanted:
                raise Unreadable("a vector of ones or an identity that does not fit its neighbours")
        rows = self.rows if rows is None else rows
        columns = self.columns if columns is None else columns
        if self.square:
            rows = columns = rows if columns is None else columns
        if rows is not None and columns is not None:
            return self.make(rows, columns)
        return Free(rows, columns, self.make, self.square)

    def map(self, function: Callable[[Any], Any]) -> Free:
        return Free(self.rows, self.columns, lambda r, c: function(self.make(r, c)), self.square)

    @property
    def T(self) -> Free:
        return Free(self.columns, self.rows, lambda r, c: self.make(c, r).T, self.square)


class Order:
    """O(g): everything at least as small as g."""

    def __init__(self, scale: Any) -> None:
        self.scale = scale


def shape(value: Any) -> tuple[int | None, int | None]:
    if isinstance(value, Free):
        return value.rows, value.columns
    return value.shape if isinstance(value, np.ndarray) else (1, 1)


def entries(value: Any) -> list[Any]:
    """The numbers that a value holds."""
    return list(value.ravel()) if isinstance(value, np.ndarray) else [value]


def is_matrix(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Free))


# ---------------------------------------------------------------------------------- the evaluator


class Evaluator:
    """Values of trees in one case and one arithmetic."""

    def __init__(self, case: Case, arithmetic: Symbolic) -> None:
        self.case, self.arithmetic = case, arithmetic
        self.values: dict[str, Any] = {}
        self.law = [
            (arithmetic.number(weight), {name: self.convert(v) for name, v in drawn.items()})
            for weight, drawn in case.law
        ]
        if self.law and isinstance(arithmetic, Exact):
            total = sum(weight for weight, _ in self.law)
            if total != 1:
                raise ValueError(f"law: expected weights of sum one, came {total}")
        self.drawn: Mapping[str, Any] = {}
        self.random = set(case.law[0][1]) if case.law else set()
        self.index: dict[str, int] = {}
        self.free: frozenset[str] = frozenset()

    def convert(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return _each(self.convert, value)
        value = put(value, self.case.point) if self.case.point else value
        if isinstance(value, sp.MatrixBase):
            return _each(self.arithmetic.number, value)
        if _is_function(value):
            return value
        return self.arithmetic.number(value)

    # -------------------------------------------------------------------------- statements

    def situations(self, statement: Statement) -> Iterator[str]:
        """Every value of the free indices and of what is random outside an expectation."""
        for letter in statement.free:
            if letter not in self.case.indices:
                raise Unreadable(f"how far does {letter} count?")
        letters = sorted(statement.free)
        self.free = statement.free
        outside = set().union(*(self._outside(side) for side in statement.sides))
        # One outcome for each value that these names can take.
        outcomes: dict[Any, Mapping[str, Any]] = {(): {}}
        if outside:
            outcomes = {}
            for _, drawn in self.law:
                key = tuple(_hashable(drawn[name]) for name in sorted(outside))
                outcomes.setdefault(key, drawn)
        for numbers in itertools.product(*(range(1, self.case.indices[x] + 1) for x in letters)):
            for self.drawn in outcomes.values():
                self.index = dict(zip(letters, numbers, strict=True))
                where = [f"{letter} = {number}" for letter, number in self.index.items()]
                yield ", ".join(where)
        self.drawn, self.index = {}, {}

    def _outside(self, node: Node) -> set[str]:
        """The random names that stand outside of every expectation, or are given in one."""
        if node.kind == "expectation":
            given = [part for part in node.parts[1:] if part.kind != "equals"]
            return set().union(set(), *(self._outside(part) for part in given))
        here = {node.name} if node.name in self.random else set()
        return here.union(*(self._outside(part) for part in node.parts))

    def sides(self, statement: Statement) -> Iterator[tuple[str, list[Any]]]:
        """For each situation, the values of all sides, brought to one shape."""
        for where in self.situations(statement):
            values = [self(side) for side in statement.sides]
            if statement.relations == (
                r"\leftarrow",
            ):  # the left side has its value after the step
                values[0] = self.stepped()(statement.sides[0])
            for _ in values:  # what is known of one side may settle another
                for i, value in enumerate(values):
                    if isinstance(value, Free):
                        for other in values:
                            if is_matrix(other):
                                values[i] = value = (
                                    value.fit(*shape(other)) if isinstance(value, Free) else value
                                )
            for i, value in enumerate(values):
                if isinstance(value, Order):
                    values[i] = value = Remainder(self.arithmetic.number(0), value.scale)
                ends = 0 < i == len(values) - 1 and statement.relations[-1] == "="
                if isinstance(value, Remainder) and not ends:
                    raise Unreadable("O(...) ends an equation")
            shapes = {shape(value) for value in values}
            if any(isinstance(value, Free) for value in values):
                raise Unreadable("nothing tells the length of a vector of ones")
            if len(shapes) > 1:
                sizes = " and ".join(f"{r} by {c}" for r, c in sorted(shapes))
                raise Unreadable(f"the sides differ in shape: {sizes}")
            yield where, values

    def stepped(self) -> Evaluator:
        """The same with the values that names have after the step."""
        later = Evaluator(self.case.changed(self.case.after), self.arithmetic)
        later.index, later.drawn = self.index, self.drawn
        return later

    def law_of(self, statements: Sequence[Statement]) -> list[Draw]:
        r"""The law that draws describe, one after the other: x_1, ..., x_n \sim p, t \sim q."""
        law: list[tuple[Any, dict[str, Any]]] = [(self.arithmetic.number(1), {})]
        for statement in statements:
            if statement.relations != (r"\sim",):
                raise Unreadable("a draw among other statements, or the other way round")
            left, right = statement.sides
            longer: list[tuple[Any, dict[str, Any]]] = []
            for weight, names in law:
                self.drawn = names
                self.index = {x: n for x, n in names.items() if x in self.case.indices}
                probabilities = self.matrix(right)
                if probabilities.shape[1] != 1:
                    raise Unreadable("what is drawn from must be a vector of probabilities")
                count = self._draws(left)
                if len(probabilities) ** count > MOST:
                    raise Unreadable(f"{count} draws have too many outcomes")
                for choice in itertools.product(range(len(probabilities)), repeat=count):
                    probability = weight
                    for i in choice:
                        probability = probability * probabilities[i, 0]
                    drawn = dict(names)
                    if left.kind == "index":
                        drawn[left.name] = choice[0] + 1
                    else:
                        unit = self._identity(left).fit(len(probabilities), len(probabilities))
                        drawn[left.name] = unit[:, list(choice)]
                    longer.append((probability, drawn))
            law = longer
        self.drawn, self.index = {}, {}
        return law  # type: ignore[return-value]

    def _draws(self, left: Node) -> int:
        """How many things are drawn: x_1, ..., x_n, or one without a number."""
        if left.kind == "index" or (left.kind == "name" and not left.parts):
            return 1
        if left.kind != "list" or any(len(part.parts) != 1 for part in left.parts):
            raise Unreadable("what is drawn is a name, or a list from the first to the last")
        low, high = (self._place(part.parts[0]) for part in left.parts)
        if low != 1 or not isinstance(high, int) or high < 1:
            raise Unreadable(f"draws from number {low} to number {high}")
        return high

    # ------------------------------------------------------------------------- expressions

    def __call__(self, node: Node) -> Any:
        return getattr(self, f"_{node.kind}")(node)

    def plain(self, node: Node) -> Any:
        """A number or a matrix."""
        value = self(node)
        if isinstance(value, (Order, Remainder)):
            raise Unreadable("O(...) stands last in a sum of numbers")
        return value

    def scalar(self, node: Node) -> Any:
        value = self.plain(node)
        if is_matrix(value):
            if isinstance(value, np.ndarray) and value.shape == (1, 1):
                return value[0, 0]
            raise Unreadable(f"a number is expected where a matrix stands ({node.kind})")
        return value

    def matrix(self, node: Node) -> Any:
        value = self(node)
        if not isinstance(value, np.ndarray):
            raise Unreadable(f"a matrix of known size is expected ({node.kind})")
        return value

    def _number(self, node: Node) -> Any:
        return self.arithmetic.number(sp.Rational(node.name))

    def _index(self, node: Node) -> Any:
        if node.name not in self.index:
            raise Unreadable(f"the index {node.name} has no value here")
        return self.arithmetic.number(self.index[node.name])

    def _ones(self, node: Node) -> Any:
        def make(rows: int, columns: int) -> Any:
            return np.full((rows, columns), self.arithmetic.number(1), dtype=object)

        return Free(None, 1, make, square=False)

    def _identity(self, node: Node) -> Any:
        def make(rows: int, columns: int) -> Any:
            array = np.full((rows, columns), self.arithmetic.number(0), dtype=object)
            array[np.diag_indices(rows)] = self.arithmetic.number(1)
            return array

        return Free(None, None, make, square=True)

    def _name(self, node: Node) -> Any:
        name = node.name
        if name in self.drawn:
            value = self.drawn[name]
        elif name in self.random:
            raise Unreadable(f"{name} is random, and stands outside of an expectation")
        elif name in self.case.names:
            if name not in self.values:
                self.values[name] = self.convert(self.case.names[name])
            value = self.values[name]
        else:
            raise Unreadable(f"{name} has no value")
        places = [self._place(part) for part in node.parts]
        self._counts_to_the_end(node, value)
        if _is_function(value):
            if not places:
                raise Unreadable(f"{name} is a function, and no argument follows")
            return self._ask(name, value, places)
        return self._entry(name, value, places) if places else value

    def _counts_to_the_end(self, node: Node, value: Any) -> None:
        """Refuse `for all k` where k stops before the last entry or column."""
        if not isinstance(value, np.ndarray) or node.name in self.random:
            return
        rows, columns = value.shape
        sizes = (rows, columns) if len(node.parts) == 2 else (rows if columns == 1 else columns,)
        for part, size in zip(node.parts, sizes, strict=False):
            free = part.kind == "index" and part.name in self.free
            if free and self.case.indices[part.name] < size:
                raise Unreadable(f"{part.name} does not count to {size}, as {node.name} does")

    def _place(self, node: Node) -> Any:
        """An index as an integer, a one-hot vector as the index it stands for, else the value."""
        value = self(node)
        if isinstance(value, np.ndarray) and value.shape[1] == 1:
            ones = [i for i, entry in enumerate(value[:, 0]) if entry != 0]
            if len(ones) == 1 and value[ones[0], 0] == 1:
                return ones[0] + 1
        number = self._integer(value)
        return value if number is None else number

    def _integer(self, value: Any) -> int | None:
        if is_matrix(value):
            return None
        if isinstance(value, Fraction):
            return int(value) if value.denominator == 1 else None
        value = self.arithmetic.expression(value)
        return int(value) if getattr(value, "is_Integer", False) else None

    def _entry(self, name: str, value: Any, places: list[Any]) -> Any:
        if not isinstance(value, np.ndarray):
            raise Unreadable(f"{name}: a number has no entries")
        rows, columns = value.shape
        if columns == 1 and len(places) == 1:
            where, bounds = (places[0], 1), ((rows, "entry"), (1, ""))
        elif len(places) == 2:
            where, bounds = (places[0], places[1]), ((rows, "row"), (columns, "column"))
        else:
            where, bounds = (1, places[0]), ((1, ""), (columns, "column"))
        for place, (most, what) in zip(where, bounds, strict=True):
            if not isinstance(place, int) or not 1 <= place <= most:
                raise Unreadable(f"{name}: there is no {what} {place}")
        if columns != 1 and len(places) == 1:
            return value[:, [where[1] - 1]]
        return value[where[0] - 1, where[1] - 1]

    def _call(self, node: Node) -> Any:
        return self._ask(
            node.name, self.case.names.get(node.name), [self.plain(part) for part in node.parts]
        )

    def _ask(self, name: str, function: Any, arguments: Sequence[Any]) -> Any:
        """What a function that came with the case says of fractions or SymPy expressions."""
        if not _is_function(function):
            raise Unreadable(f"{name} is not a function")
        if any(isinstance(value, Free) for value in arguments):
            raise Unreadable(f"{name}: an argument of unknown size")

        def given(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return _each(given, value)
            return value if isinstance(value, int) else self.arithmetic.expression(value)

        try:
            result = function(*map(given, arguments))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Unreadable(f"{name}: {error}") from error
        if isinstance(result, (sp.Basic, sp.MatrixBase, Number)):
            return self.convert(result)
        if isinstance(result, np.ndarray) and result.ndim == 2:
            return _each(self.arithmetic.number, result)
        raise Unreadable(f"{name}: expected a number or a matrix, came {result!r}")

    def _parenthesis(self, node: Node) -> Any:
        return self(node.parts[0])

    def _plus(self, node: Node) -> Any:
        return self(node.parts[0])

    def _minus(self, node: Node) -> Any:
        value = self(node.parts[0])
        if isinstance(value, Order):  # of either sign
            return value
        return self._scale(self.arithmetic.number(-1), value)

    def _scale(self, factor: Any, value: Any) -> Any:
        if isinstance(value, (Order, Remainder)):
            raise Unreadable("O(...) stands last in a sum of numbers")
        if isinstance(value, Free):
            return value.map(lambda array: array * factor)
        return value * factor

    def _sum(self, node: Node) -> Any:
        total = self(node.parts[0])
        for part in node.parts[1:]:
            total = self._add(total, self(part))
        return total

    def _add(self, a: Any, b: Any) -> Any:
        if isinstance(a, Order) or isinstance(b, Order):
            if isinstance(a, (Order, Remainder)) or is_matrix(a):
                raise Unreadable("O(...) stands last in a sum of numbers")
            return Remainder(a, b.scale)
        if isinstance(a, Remainder) or isinstance(b, Remainder):
            raise Unreadable("O(...) stands last in a sum of numbers")
        if isinstance(a, Free) and is_matrix(b):
            a = a.fit(*shape(b))
        if isinstance(b, Free) and is_matrix(a):
            b = b.fit(*shape(a))
        if isinstance(a, Free) and isinstance(b, Free):
            a, b = a.fit(*shape(b)), b.fit(*shape(a))
            if not (isinstance(a, Free) and isinstance(b, Free)):
                return self._add(a, b)
            left, right = a.make, b.make
            return Free(
                a.rows, a.columns, lambda r, c: left(r, c) + right(r, c), a.square or b.square
            )
        if is_matrix(a) != is_matrix(b):
            raise Unreadable("a number and a matrix are added")
        if shape(a) != shape(b):
            raise Unreadable(f"shapes {shape(a)} and {shape(b)} are added")
        return a + b

    def _product(self, node: Node) -> Any:
        total = self(node.parts[0])
        for part in node.parts[1:]:
            total = self._multiply(total, self(part))
        return total

    def _multiply(self, a: Any, b: Any) -> Any:
        if isinstance(a, (Order, Remainder)) or isinstance(b, (Order, Remainder)):
            raise Unreadable("O(...) within a product")
        if not is_matrix(a):
            return self._scale(a, b)
        if not is_matrix(b):
            return self._scale(b, a)
        if isinstance(a, Free) and shape(b)[0] is not None and a.columns is None:
            a = a.fit(None, shape(b)[0])
        if isinstance(b, Free) and shape(a)[1] is not None and b.rows is None:
            b = b.fit(shape(a)[1], None)
        inner = shape(a)[1]
        if inner is None or inner != shape(b)[0]:
            if inner is None or shape(b)[0] is None:
                raise Unreadable("nothing tells the length of a vector of ones")
            raise Unreadable(f"shapes {shape(a)} and {shape(b)} are multiplied")
        if isinstance(a, Free) or isinstance(b, Free):
            left = a.make if isinstance(a, Free) else lambda r, c: a
            right = b.make if isinstance(b, Free) else lambda r, c: b
            return Free(
                shape(a)[0], shape(b)[1], lambda r, c: left(r, inner) @ right(inner, c), False
            )
        product = a @ b
        return product[0, 0] if product.shape == (1, 1) else product

    def _quotient(self, node: Node) -> Any:
        above, below = self.plain(node.parts[0]), self.scalar(node.parts[1])
        if self.arithmetic.vanishes(below):
            raise Unreadable("a division by zero")
        return self._scale(self.arithmetic.reciprocal(below), above)

    def _power(self, node: Node) -> Any:
        if node.parts[0].kind == "norm" and node.name != r"\top":
            # The square of a norm has no root in it.
            exponent = self._integer(self.scalar(node.parts[1]))
            if exponent is not None and exponent % 2 == 0:
                norm = node.parts[0]
                value = self(norm.parts[0])
                square = self._dot_product(value, value, norm.name)
                return self.arithmetic.power(square, self.arithmetic.number(exponent // 2))
        base = self.plain(node.parts[0])
        if node.name == r"\top":
            if not is_matrix(base):
                raise Unreadable("a number is transposed")
            return base.T
        exponent = self.scalar(node.parts[1])
        number = self._integer(exponent)
        if number is not None and abs(number) > MOST:
            raise Unreadable(f"the exponent {number} is too large")
        if not is_matrix(base):
            return self.arithmetic.power(base, exponent)
        if (node.parts[1].kind, node.parts[1].name) == ("name", "T"):
            raise Unreadable(r"a power of a matrix, or its transpose? Then \top is its sign")
        if number is None or isinstance(base, Free) or base.shape[0] != base.shape[1]:
            raise Unreadable("a power of something that is not a square matrix, or a broken one")
        if number < 0:
            base, number = self._inverse(base), -number
        power = base
        for _ in range(number - 1):
            power = power @ base
        return power if number else self._identity(node).fit(*base.shape)

    def _inverse(self, matrix: Any) -> Any:
        """By Gauss and Jordan, in the arithmetic of the entries."""
        size = len(matrix)
        both = np.concatenate([matrix, self._identity(Node("")).fit(size, size)], axis=1)
        zero = self.arithmetic.vanishes
        for j in range(size):
            pivot = next((i for i in range(j, size) if not zero(both[i, j])), None)
            if pivot is None:
                raise Unreadable("a matrix without inverse is inverted")
            both[[j, pivot]] = both[[pivot, j]]
            both[j] = both[j] * self.arithmetic.reciprocal(both[j, j])
            for i in range(size):
                if i != j:
                    both[i] = both[i] - both[j] * both[i, j]
        return both[:, size:]

    def _inner(self, node: Node) -> Any:
        return self._dot_product(self(node.parts[0]), self(node.parts[1]), node.name)

    def _dot_product(self, a: Any, b: Any, weighted: str) -> Any:
        if isinstance(a, Free) and is_matrix(b):
            a = a.fit(*shape(b))
        if isinstance(b, Free) and is_matrix(a):
            b = b.fit(*shape(a))
        if isinstance(a, (Order, Remainder)) or isinstance(b, (Order, Remainder)):
            raise Unreadable("O(...) stands last in a sum of numbers")
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)) or a.shape != b.shape:
            raise Unreadable(f"an inner product of shapes {shape(a)} and {shape(b)}")
        products = a * b
        if not weighted:
            return products.sum()
        weights = self._name(Node("name", (), r"\mu"))
        if products.shape[1] != len(weights):
            raise Unreadable("an inner product weighted by mu needs a column for each symbol")
        return (products @ weights).sum()

    def _norm(self, node: Node) -> Any:
        value = self(node.parts[0])
        return self.arithmetic.root(self._dot_product(value, value, node.name))

    def _absolute(self, node: Node) -> Any:
        return self.arithmetic.absolute(self.scalar(node.parts[0]))

    def _root(self, node: Node) -> Any:
        return self.arithmetic.root(self.scalar(node.parts[0]))

    def _apply(self, node: Node) -> Any:
        name = node.name.removesuffix("()")
        if name == r"\operatorname{tr}":
            matrix = self.matrix(node.parts[0])
            if matrix.shape[0] != matrix.shape[1]:
                raise Unreadable(f"the trace of shape {matrix.shape}")
            return np.trace(matrix)
        if name == r"\operatorname{diag}":
            vector = self.matrix(node.parts[0])
            if vector.shape[1] != 1:
                raise Unreadable(f"a diagonal matrix of shape {vector.shape}")
            array = np.full((len(vector), len(vector)), self.arithmetic.number(0), dtype=object)
            array[np.diag_indices(len(vector))] = vector[:, 0]
            return array
        numbers = [self.scalar(part) for part in node.parts]
        if name in (r"\max", r"\min"):
            return self._extreme(name, numbers)
        function = {r"\operatorname{sign}": "sign", r"\exp": "exp", r"\log": "log"}[name]
        return getattr(self.arithmetic, function)(*numbers)

    def _extreme(self, name: str, numbers: list[Any]) -> Any:
        if not numbers:
            raise Unreadable(f"{name} of nothing")
        return (self.arithmetic.largest if name == r"\max" else self.arithmetic.smallest)(numbers)

    def _counted(self, letter: str, low: int, high: int, body: Node) -> list[Any]:
        values = []
        if high - low > MOST:
            raise Unreadable(f"{letter} counts from {low} to {high}: too far")
        for number in range(low, high + 1):
            self.index[letter] = number
            values.append(self(body))
        self.index.pop(letter, None)
        return values

    def _reduce(self, node: Node) -> Any:
        letter, body = node.parts[0].name, node.parts[1]
        if letter not in self.case.indices:
            raise Unreadable(f"how far does {letter} count?")
        values = self._counted(letter, 1, self.case.indices[letter], body)
        if any(is_matrix(value) for value in values):
            raise Unreadable(f"{node.name} of matrices")
        if node.name in (r"\max", r"\min"):
            return self._extreme(node.name, values)
        name = node.name + "()"
        if name not in self.case.names:
            raise Unreadable(f"{node.name} has no value")
        # Of numbers, as a median compares them: elements of a field have another order.
        function = self.case.names[name]
        return self._ask(name, lambda *of: function(list(of)), values)

    def _big(self, node: Node) -> Any:
        letter, body = node.parts[0].name, node.parts[1]
        symbol, kind = node.name.split()
        bounds = []
        for part in node.parts[2:]:
            bound = self._integer(self.scalar(part))
            if bound is None:
                raise Unreadable(f"{symbol}: the bounds are not integers")
            bounds.append(bound)
        if kind == "all":
            if letter not in self.case.indices:
                raise Unreadable(f"how far does {letter} count?")
            low, high = 1, self.case.indices[letter]
        elif kind == "range":
            low, high = bounds
        else:
            low, high = 1, bounds[0] - (kind == "below")
        values = self._counted(letter, low, high, body)
        if symbol == r"\prod":
            total = self.arithmetic.number(1)
            for value in values:
                total = self._multiply(total, value)
            return total
        if not values:
            return self.arithmetic.number(0)
        total = values[0]
        for value in values[1:]:
            total = self._add(total, value)
        return total

    def _expectation(self, node: Node) -> Any:
        if not self.law:
            raise Unreadable("an expectation, and nothing is random")
        body, conditions = node.parts[0], node.parts[1:]
        outer = self.drawn
        given = [part for part in conditions if part.kind != "equals"]
        known = [_hashable(self.plain(part)) for part in given]
        total, mass = None, self.arithmetic.number(0)
        for weight, drawn in self.law:
            self.drawn = drawn
            if [_hashable(self.plain(part)) for part in given] != known:
                continue
            if all(self._met(part) for part in conditions if part.kind == "equals"):
                part = self._scale(weight, self(body))
                total = part if total is None else self._add(total, part)
                mass = mass + weight
        self.drawn = outer
        if total is None or mass == 0:
            raise Unreadable("a condition that nothing meets")
        return self._scale(self.arithmetic.reciprocal(mass), total) if conditions else total

    def _met(self, node: Node) -> bool:
        left, right = (self.plain(part) for part in node.parts)
        if shape(left) != shape(right):
            raise Unreadable("a condition on things that differ in shape")
        return entries(left) == entries(right)

    def _minimiser(self, node: Node) -> Any:
        """Of a convex function made of parabolas that meet where an absolute value vanishes."""
        variable, body = node.parts
        objective, z = self._keeping(variable)
        return self.convert(minimise(objective.scalar(body), z))

    def _keeping(self, variable: Node) -> tuple[Evaluator, sp.Symbol]:
        """SymPy's arithmetic, in which the variable of a limit or a minimum stays a symbol."""
        case = self.case.whole or self.case
        symbol = case.names.get(variable.name)
        if variable.kind != "name" or not isinstance(symbol, sp.Symbol):
            raise Unreadable(f"the variable {variable.name} must be a symbol, came {symbol!r}")
        others = {x: number for x, number in self.case.point.items() if x != symbol}
        kept = Evaluator(case.at(others), Symbolic())
        kept.index = dict(self.index)
        return kept, symbol

    def _dot(self, node: Node) -> Any:
        return self._by(node.parts[0], Node("name", (), "t"))

    def _derivative(self, node: Node) -> Any:
        return self._by(*node.parts)

    def _by(self, what: Node, by: Node) -> Any:
        """A derivative is taken before numbers are put in for the symbols."""
        if self.case.whole is not None:
            symbolic = Evaluator(self.case.whole, Symbolic())
            symbolic.index, symbolic.drawn = self.index, {}
            return self.convert(symbolic._by(what, by))
        if type(self.arithmetic) is not Symbolic:
            raise NotRational("a derivative")
        variable = self(by)
        if not isinstance(variable, sp.Symbol):
            raise Unreadable(f"a derivative by {variable}, which is not a symbol")
        value = self.plain(what)
        if isinstance(value, Free):
            raise Unreadable("a derivative of something of unknown size")
        if isinstance(value, np.ndarray):
            return np.vectorize(lambda entry: sp.diff(entry, variable), otypes=[object])(value)
        return sp.diff(value, variable)

    def _limit(self, node: Node) -> Any:
        body, variable, target = node.parts
        kept, symbol = self._keeping(variable)
        to = sp.oo if target.kind == "infinity" else kept.scalar(target)
        side = "+-"  # SymPy's own choice would be a limit from above
        if to == 0 and (symbol.is_nonnegative or symbol.is_nonpositive):
            side = "+" if symbol.is_nonnegative else "-"
        try:
            value = sp.limit(kept.scalar(body), symbol, to, "-" if to == sp.oo else side)
        except (ArithmeticError, NotImplementedError, TypeError, ValueError, sp.PoleError) as error:
            raise Unreadable(f"no limit: {error}") from error
        if value.has(sp.Limit, sp.AccumBounds, sp.nan, sp.oo, sp.zoo):
            raise Unreadable(f"no limit, but {value}")
        return self.convert(value)

    def _order(self, node: Node) -> Any:
        if type(self.arithmetic) is not Symbolic:
            raise NotRational("O(...)")
        return Order(self.scalar(node.parts[0]))

    def _matrix(self, node: Node) -> Any:
        rows = [[self.scalar(cell) for cell in row.parts] for row in node.parts]
        array = np.empty((len(rows), len(rows[0])), dtype=object)
        for position in np.ndindex(array.shape):
            array[position] = rows[position[0]][position[1]]
        return array

    def _list(self, node: Node) -> Any:
        raise Unreadable("dots belong on the left of a draw")


def _each(function: Callable[[Any], Any], matrix: Any) -> Any:
    """The array of what a function makes of the entries."""
    array = np.empty(matrix.shape, dtype=object)
    for position in np.ndindex(matrix.shape):
        array[position] = function(matrix[position])
    return array


def _is_function(value: Any) -> bool:
    # Elements of SymPy's fields can be called, too.
    return callable(value) and not isinstance(value, (sp.Basic, sp.MatrixBase, DomainElement))


class Remainder:
    """A number up to something of the order of another one."""

    def __init__(self, value: Any, scale: Any) -> None:
        self.value, self.scale = value, scale


def _hashable(value: Any) -> Any:
    return tuple(value.ravel()) if isinstance(value, np.ndarray) else value


def together(law: Sequence[Draw], names: Sequence[str]) -> dict[Any, Any]:
    """The probability of each value of these names together."""
    found: dict[Any, Any] = {}
    for weight, drawn in law:
        key = tuple(_hashable(drawn[name]) for name in names)
        found[key] = found[key] + weight if key in found else weight
    return {key: weight for key, weight in found.items() if weight != 0}


def minimise(objective: sp.Expr, z: sp.Symbol) -> sp.Expr:
    """Where a strictly convex function, a parabola on either side of z = 0, is least.

    The parabola of a side is meant on that side only. Convexity puts the minimum at the vertex of
    the side on which the vertex lies, or at zero if neither has it.
    """
    objective = sp.sympify(objective)
    w = sp.Symbol("w", positive=True)
    vertices, ends = [], []
    for sign in (1, -1):
        piece = sp.expand(objective.subs(z, sign * w))
        curvature = sp.simplify(piece.diff(w, 2))
        if curvature.has(w) or not curvature.is_positive:
            raise Unreadable("what is minimised is not convex")
        vertices.append(sp.factor(w - piece.diff(w) / curvature))
        ends.append(piece.subs(w, 0))
    if sp.simplify(ends[0] - ends[1]) != 0:
        raise Unreadable("what is minimised jumps at zero")
    right, left = vertices  # both as distances from zero, each to its own side
    if right.is_positive and left.is_nonpositive:
        return right
    if left.is_positive and right.is_nonpositive:
        return -left
    if right.is_nonpositive and left.is_nonpositive:
        return sp.Integer(0)
    raise Unreadable(f"on which side of zero is the minimum? {right}, {left}")
