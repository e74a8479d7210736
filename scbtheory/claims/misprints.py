r"""The misprints of a formula: what typesetters, authors and their errata get wrong.

Each is one edit of the displayed TeX, of the kinds that the errata of good books are full of: a
lost term, a lost or gained factor, a sign, an index, a symbol, an exponent, an inverse, a
transpose, a bound, a relation, a function. A check that cannot tell a formula from its misprints
checks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sympy as sp

from scbtheory.claims.reader import Node, Statement, tokens
from scbtheory.claims.values import Case

__all__ = ["Misprint", "misprints"]

RIVALS = 3  # how many other names are tried in the place of one
SIZED = re.compile(r"\\(?:[bB]igg?[lrm]?|left)\s*$")
OTHER_RELATION = {
    "<": (r"\le", ">"), ">": (r"\ge", "<"), r"\le": ("<", r"\ge"), r"\ge": (">", r"\le"),
    "=": ("<",), r"\ne": ("=",),
}  # fmt: skip
OTHER_FUNCTION = {
    r"\max": r"\min", r"\min": r"\max", r"\exp": r"\log", r"\log": r"\exp", r"\sum": r"\prod",
    r"\prod": r"\sum", r"\operatorname{sign}": "",
}  # fmt: skip


@dataclass(frozen=True)
class Misprint:
    """A formula with one mistake: its kind, its TeX, and what was put for what."""

    kind: str
    tex: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.was or 'nothing'} -> {self.now or 'nothing'}"


def misprints(tex: str, statements: Sequence[Statement], case: Case) -> list[Misprint]:
    r"""All misprints of a formula that was read as these statements, each once.

    Examples
    --------
    >>> import sympy as sp
    >>> from scbtheory.claims.reader import read
    >>> x, y = sp.symbols("x y")
    >>> statements = read("y = x^2", ["x", "y"])
    >>> found = misprints("y = x^2", statements, Case({"x": x, "y": y}))
    >>> [str(misprint) for misprint in found]  # doctest: +ELLIPSIS
    ['sign: nothing -> -', 'factor: nothing -> 2', 'symbol: y -> x', ..., 'relation: = -> <']
    """
    found: dict[str, Misprint] = {}
    editor = _Editor(tex, case)
    for statement in statements:
        for misprint in editor.of_statement(statement):
            key = " ".join(token.text for token in tokens(misprint.tex))
            found.setdefault(key, misprint)
    found.pop(" ".join(token.text for token in tokens(tex)), None)
    return list(found.values())


class _Editor:
    """Edits of one text."""

    def __init__(self, tex: str, case: Case) -> None:
        self.tex, self.case, self.tokens = tex, case, tokens(tex)
        self.shapes = {name: _kind_of(case, name) for name in case.declared}

    def source(self, span: tuple[int, int]) -> str:
        return self.tex[self.tokens[span[0]].start : self.tokens[span[1] - 1].end]

    def put(self, kind: str, span: tuple[int, int], now: str) -> Misprint:
        """The text with other TeX in the place of these tokens; an empty span inserts."""
        low, high = span
        start = self.tokens[low].start if low < len(self.tokens) else len(self.tex)
        end = self.tokens[high - 1].end if high > low else start
        before = self.tex[:start]
        if high > low:  # what goes takes the size of its delimiter along
            before = SIZED.sub("", before)
        text = f"{before} {now} {self.tex[end:]}"
        return Misprint(kind, text, self.tex[start:end], now)

    # -------------------------------------------------------------------------------- what

    def of_statement(self, statement: Statement) -> Iterator[Misprint]:
        for side in statement.sides:
            yield from self.of_term(side)
            yield from self.of(side)
        for left, right in zip(statement.sides, statement.sides[1:], strict=False):
            for at in range(left.span[1], right.span[0]):
                for other in OTHER_RELATION.get(self.tokens[at].text, ()):
                    yield self.put("relation", (at, at + 1), other)

    def of_term(self, node: Node) -> Iterator[Misprint]:
        """A sign and a factor before a term."""
        if node.kind in ("list", "sum", "minus", "plus", "order"):
            return
        low = node.span[0]
        yield self.put("sign", (low, low), "-")
        if not self.tokens[low].text.isdigit():
            yield self.put("factor", (low, low), "2")

    def of(self, node: Node) -> Iterator[Misprint]:
        """The misprints of a node and of all below it."""
        method = getattr(self, f"of_{node.kind}", None)
        if method is not None:
            yield from method(node)
        if node.kind != "list":
            for part in node.parts:
                if part.span[1] > part.span[0]:
                    yield from self.of(part)

    def of_sum(self, node: Node) -> Iterator[Misprint]:
        first, second, *_ = node.parts
        begin = second.span[0] + (second.kind == "plus")  # a minus stays
        yield self.put("term", (first.span[0], begin), "")
        for part in node.parts[1:]:
            yield self.put("term", part.span, "")
        for part in node.parts:
            if part.kind not in ("plus", "minus"):
                yield from self.of_term(part)

    def of_plus(self, node: Node) -> Iterator[Misprint]:
        low = node.span[0]
        yield self.put("sign", (low, low + 1), "-")
        if not self.tokens[low + 1].text.isdigit():
            yield self.put("factor", (low + 1, low + 1), "2")

    def of_minus(self, node: Node) -> Iterator[Misprint]:
        low = node.span[0]
        yield self.put("sign", (low, low + 1), "+")
        if not self.tokens[low + 1].text.isdigit():
            yield self.put("factor", (low + 1, low + 1), "2")

    def of_product(self, node: Node) -> Iterator[Misprint]:
        for part in node.parts:
            if part.kind not in ("big", "expectation"):
                yield self.put("factor", part.span, "")
        for left, right in zip(node.parts, node.parts[1:], strict=False):
            if left.kind in ("name", "power") and right.kind in ("name", "power"):
                swapped = f"{self.source(right.span)} {self.source(left.span)}"
                yield self.put("order", (left.span[0], right.span[1]), swapped)

    def of_number(self, node: Node) -> Iterator[Misprint]:
        if "." not in node.name:
            yield self.put("factor", node.span, f"{{{int(node.name) + 1}}}"
                           if len(node.name) == 1 and self._tight(node) else
                           str(int(node.name) + 1))  # fmt: skip
        else:
            yield self.put("factor", node.span, node.name + "1")

    def _tight(self, node: Node) -> bool:
        """Does TeX take this digit as the argument of what stands before it?"""
        before = self.tokens[node.span[0] - 1].text if node.span[0] else ""
        if before in ("^", "_", r"\frac", r"\sqrt"):
            return True
        two_before = self.tokens[node.span[0] - 2].text if node.span[0] > 1 else ""
        return two_before == r"\frac" and before != "{"

    def of_quotient(self, node: Node) -> Iterator[Misprint]:
        above, below = (self.source(part.span) for part in node.parts)
        yield self.put("inverse", node.span, rf"\frac{{{below}}}{{{above}}}")
        yield self.put("factor", node.span, rf"\big( {above} \big)")

    def of_power(self, node: Node) -> Iterator[Misprint]:
        base = node.parts[0]
        kind = "transpose" if node.name == r"\top" else "exponent"
        if kind == "exponent" and self.source(node.parts[1].span).startswith("-"):
            kind = "inverse"
        yield self.put(kind, (base.span[1], node.span[1]), "")
        if kind != "transpose":
            exponent = self.source(node.parts[1].span)
            yield self.put("exponent", (base.span[1], node.span[1]), f"^{{{exponent} + 1}}")

    def of_norm(self, node: Node) -> Iterator[Misprint]:
        if self.tokens[node.span[1] :] and self.tokens[node.span[1]].text == "^":
            pass
        else:
            yield self.put("exponent", (node.span[1], node.span[1]), "^2")
        yield from self._weight(node)

    def of_inner(self, node: Node) -> Iterator[Misprint]:
        yield from self._weight(node)

    def _weight(self, node: Node) -> Iterator[Misprint]:
        if node.name:
            yield self.put("index", (node.span[1] - 2, node.span[1]), "")
        else:
            yield self.put("index", (node.span[1], node.span[1]), r"_\mu")

    def of_big(self, node: Node) -> Iterator[Misprint]:
        low = node.span[0]
        yield self.put("function", (low, low + 1), OTHER_FUNCTION[self.tokens[low].text])
        bounds = node.parts[2:]
        if len(bounds) == 2:
            high = self.source(bounds[1].span)
            yield self.put("bound", bounds[0].span, f"{self.source(bounds[0].span)} + 1")
            yield self.put("bound", self._braced(bounds[1].span), f"{{{high} - 1}}")
        elif bounds:
            at = bounds[0].span[0] - 1
            other = {"<": r"\le", r"\le": "<"}[self.tokens[at].text]
            yield self.put("bound", (at, at + 1), other)

    def _braced(self, span: tuple[int, int]) -> tuple[int, int]:
        low, high = span
        if self.tokens[low - 1].text == "{":
            return low - 1, high + 1
        return low, high

    def of_reduce(self, node: Node) -> Iterator[Misprint]:
        low = node.span[0]
        if self.tokens[low].text in OTHER_FUNCTION:
            yield self.put("function", (low, low + 1), OTHER_FUNCTION[self.tokens[low].text])

    def of_apply(self, node: Node) -> Iterator[Misprint]:
        yield from self.of_reduce(node)

    def of_minimiser(self, node: Node) -> Iterator[Misprint]:
        return iter(())

    def of_index(self, node: Node) -> Iterator[Misprint]:
        for other in sorted(self.case.indices):
            if other != node.name:
                yield self.put("index", node.span, other)
        yield self.put("index", self._braced(node.span), "{1}")

    def of_ones(self, node: Node) -> Iterator[Misprint]:
        yield self.put("symbol", node.span, r"\mu" if r"\mu" in self.shapes else "2")

    def of_call(self, node: Node) -> Iterator[Misprint]:
        yield from self.of_name(node)

    def of_name(self, node: Node) -> Iterator[Misprint]:
        mine = self.shapes.get(node.name)
        here = {token.text for token in self.tokens}
        rivals = sorted(
            (name for name, kind in self.shapes.items() if kind == mine and name != node.name),
            key=lambda name: (tokens(name.removesuffix("()"))[0].text not in here, name),
        )
        inside = [self.source(part.span) for part in node.parts]
        for rival in rivals[:RIVALS]:
            now = rival.removesuffix("()")
            for text in inside[: rival.count("#")]:
                now = now.replace("#", text, 1)
            end = node.span[1]
            if node.kind == "call":  # the arguments stay
                end = node.parts[rival.count("#")].span[0] - 1
            yield self.put("symbol", (node.span[0], end), now)
        if mine in ("square", "matrix"):
            yield self.put("transpose", (node.span[1], node.span[1]), r"^\top")


def _kind_of(case: Case, name: str) -> str:
    """What may stand in the place of what: the kind of a value and its number of places."""
    value = case.names.get(name)
    if value is None and case.law:
        value = case.law[0][1].get(name)
    places = name.count("#")
    if name.endswith("()"):
        return f"function {places}"
    if isinstance(value, sp.MatrixBase):
        if places == 0:
            if value.shape[0] == value.shape[1]:
                return "square"
            return "vector" if value.shape[1] == 1 else "matrix"
        entry = value.shape[1] == 1 or places == 2
        return f"{'entry' if entry else 'column'} {places}"
    return f"scalar {places}" if value is not None else "?"
