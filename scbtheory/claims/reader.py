r"""From displayed TeX to a tree, with a declared table of names.

The reader refuses what it does not know: a name that nobody declared, a product that could be read
in two ways, a delimiter without partner. It never guesses, because a formula that is read wrongly
can be "verified" wrongly.

What it reads, beside sums, differences, products, quotients, powers and declared names:
norms :math:`\|x\|`, inner products :math:`\langle x, y\rangle`, both with or without an index
:math:`\mu`; :math:`x^\top`, :math:`M^{-1}`, traces, diagonals; sums, products, maxima and minima
over an index; expectations; derivatives; limits; matrices; :math:`1` for a vector of ones and
:math:`I` for the identity, whose sizes follow from what stands beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

__all__ = ["RELATIONS", "Node", "Statement", "Token", "Unreadable", "read", "tokens"]

RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\leftarrow", r"\sim"}
# What only moves things about on the page.
SPACE = {r"\,", r"\;", r"\:", r"\!", r"\ ", "~", r"\quad", r"\qquad", "&"}
SIZE = re.compile(r"\\(?:[bB]igg?[lrm]?|left|right|middle|displaystyle|textstyle)$")
SYNONYMS = {
    r"\leq": r"\le", r"\geq": r"\ge", r"\neq": r"\ne", r"\gets": r"\leftarrow",
    r"\lVert": r"\|", r"\rVert": r"\|", r"\Vert": r"\|", r"\lvert": "|", r"\rvert": "|",
    r"\vert": "|", r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\ldots": r"\dots",
    r"\cdots": r"\dots", r"\times": r"\cdot", r"\T": r"\top", r"\ln": r"\log",
}  # fmt: skip
OPENING = {"(": ")", "[": "]"}
# Functions that every reader of mathematics knows; the value is the number of their arguments.
FUNCTIONS = {
    r"\operatorname{tr}": 1, r"\operatorname{diag}": 1, r"\operatorname{sign}": 1,
    r"\exp": 1, r"\log": 1, r"\max": 2, r"\min": 2,
}  # fmt: skip
OVER_INDEX = {r"\max", r"\min"}
PIECE = re.compile(
    r"\\(?:text|operatorname\*?|mathrm)\s*\{[^{}]*\}"
    r"|\\(?:mathbb|mathcal|mathbf)(?:\s*\{[A-Za-z]\}|\s+[A-Za-z])"
    r"|\\(?:begin|end)\s*\{[a-z]+\*?\}"
    r"|\\(?:left|right|middle|[bB]igg?[lrm]?)\s*\."
    r"|\\\\\s*(?:\*|\[[^\]]*\]?)"
    r"|\\[A-Za-z]+|\\[^A-Za-z]|\\|[^\\]"
)
LENGTH = re.compile(r"\\\\\[-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\]$")  # how far apart two lines are
DIRECTED = re.compile(r"\\(?:left|right|[bB]igg?[lr]|[lr][vV]ert)(?![A-Za-z])")
DEPTH = 50  # of brackets and functions in each other: more is no formula for readers


class Unreadable(ValueError):
    """TeX that the reader does not know how to read, with the place and the reason."""


@dataclass(frozen=True)
class Token:
    """A piece of TeX: its text without spaces, and where it stands."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Node:
    """A part of a formula: what it is, what it is made of, and the tokens it spans."""

    kind: str
    parts: tuple[Node, ...] = ()
    name: str = ""
    span: tuple[int, int] = (0, 0)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Statement:
    """Sides, and the relations between them; `free` are the indices that no sum binds."""

    sides: tuple[Node, ...]
    relations: tuple[str, ...]
    free: frozenset[str]

    @property
    def span(self) -> tuple[int, int]:
        """The tokens from the first side to the last."""
        return self.sides[0].span[0], self.sides[-1].span[1]


def tokens(tex: str) -> list[Token]:
    """The tokens of a formula; what only moves things about on the page is left out.

    Examples
    --------
    >>> [token.text for token in tokens(r"\\tfrac12 \\, \\big\\| x \\big\\|^2")]
    ['\\\\frac', '1', '2', '\\\\|', 'x', '\\\\|', '^', '2']
    """
    found = []
    for piece in PIECE.finditer(tex):
        text = piece[0]
        if text.isspace() or text in SPACE or SIZE.match(text):
            continue
        if text[0] == "\\" and "{" in text:
            command, _, content = text.partition("{")
            text = command.strip() + "{" + content
        elif re.match(r"\\(mathbb|mathcal|mathbf)\s", text):
            text = f"{text[:-1].strip()}{{{text[-1]}}}"
        elif LENGTH.match(text):
            text = r"\\"
        text = SYNONYMS.get(text, text)
        no_bracket = len(text) > 1 and text[0] == "\\" and text[-1] == "."
        if no_bracket or text in ("$", "%", r"\label", r"\tag", "\\"):
            refuse(tex, piece.start(), f"{text!r} does not belong into a formula")
        if text.startswith(r"\\") and text != r"\\":
            refuse(tex, piece.start(), "is what follows the line break a length?")
        found.append(Token(text, piece.start(), piece.end()))
    return found


def refuse(tex: str, place: int, reason: str) -> NoReturn:
    """Raise, with an arrow at the place."""
    before, after = tex[:place].split(), tex[place:].split()
    raise Unreadable(f"{reason}: {' '.join([*before, '>>>', *after])}")


def digit(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _numerical(node: Node) -> bool:
    return node.kind == "quotient" and all(part.kind == "number" for part in node.parts)


def _raised(name: str) -> bool:
    """Does the last letter of a name have an exponent already?"""
    pattern = [token.text for token in tokens(name)]
    while len(pattern) > 2:
        at = len(pattern) - 1
        if pattern[at] == "}":
            at -= 1 + [*reversed(pattern[:at])].index("{")
        if pattern[at - 1] not in ("^", "_"):
            return False
        if pattern[at - 1] == "^":
            return True
        pattern = pattern[: at - 1]
    return False


def read(tex: str, names: Iterable[str], indices: Iterable[str] = ()) -> tuple[Statement, ...]:
    r"""Read a displayed formula as one or more statements.

    Parameters
    ----------
    tex : str
        What is displayed, without its label.
    names : iterable of str
        The declared names, in TeX. ``#`` stands for an index or an argument: ``\mu_#``,
        ``a^{(#)}``. A name that ends in ``()`` is a function, to be followed by its arguments in
        parentheses.
    indices : iterable of str
        The letters that count: ``k``, ``t``.

    Raises
    ------
    Unreadable
        With the place and the reason.

    Examples
    --------
    >>> statement, = read(r"\sum_{k=1}^{N} \mu_k = 1", ["N", r"\mu_#"], ["k"])
    >>> statement.relations, sorted(statement.free)
    (('=',), [])
    >>> read("x y = 2", ["x"])
    Traceback (most recent call last):
    scbtheory.claims.reader.Unreadable: y is not declared: x >>> y = 2
    """
    return _Parser(tex, names, indices).statements()


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, tex: str, names: Iterable[str], indices: Iterable[str]) -> None:
        self.tex, self.all = tex, tokens(tex)
        self._unwrap()
        self.at = self.first
        self.indices = set(indices)
        self.functions: set[str] = set()
        self.patterns: list[tuple[list[str], str]] = []
        for name in names:
            if name.endswith("()"):
                self.functions.add(name)
            pattern = [token.text for token in tokens(name.removesuffix("()"))]
            if not pattern:
                raise ValueError(f"names: expected TeX, came {name!r}")
            self.patterns.append((pattern, name))
        self.patterns.sort(
            key=lambda pair: (-len(pair[0]), pair[0].count("#"), pair[1].endswith("()"))
        )
        self.depth = 0
        self.bound: list[str] = []
        self.was_bound: set[str] = set()
        self.free: set[str] = set()
        self.bars: list[str] = []  # the norms and absolute values that are open
        self.shut: set[str] = set()  # the bars that closed one, or opened one: who knows?

    def _unwrap(self) -> None:
        """Take off an `aligned` around everything, and the full stop at the end."""
        self.first, self.last = 0, len(self.all)
        environments = (r"\begin{aligned}", r"\begin{split}")
        self.aligned = bool(self.all) and self.all[0].text in environments
        if self.aligned:
            end = self.all[0].text.replace("begin", "end")
            if self.all[-1].text != end:
                self.fail(f"{self.all[0].text} is not closed at the end", 0)
            self.first, self.last = 1, self.last - 1
            if self.all[1].text == "[":
                self.fail("TeX takes a bracket here as an option", 1)
        while self.last > self.first and self.all[self.last - 1].text in (".", ",", ";", r"\\"):
            self.last -= 1
        self._tabs()

    def _tabs(self) -> None:
        """The second & of a line begins another equation: only a comma may stand before it."""
        count = matrices = 0
        for at in range(len(self.all)):
            tabs = 0 if matrices else self.gap(at).count("&")
            count += tabs
            if tabs and not self.aligned:
                self.fail(r"& outside of \begin{aligned}", at)
            if tabs and count > 1 and self.all[at - 1].text != ",":
                self.fail("a second & in a line: does another equation begin here?", at)
            text = self.all[at].text
            matrices += {r"\begin{pmatrix}": 1, r"\end{pmatrix}": -1}.get(text, 0)
            if text == r"\\" and not matrices:
                count = 0

    # ------------------------------------------------------------------------- the tokens

    def peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.all[at].text if at < self.last else ""

    def take(self, wanted: str | None = None) -> str:
        text = self.peek()
        if not text:
            self.fail(f"the formula ends where {wanted or 'something'} is expected")
        if wanted is not None and text != wanted:
            self.fail(f"expected {wanted}, came {text}")
        self.at += 1
        return text

    def fail(self, reason: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        refuse(self.tex, self.all[at].start if at < len(self.all) else len(self.tex), reason)

    def gap(self, at: int) -> str:
        """What only moves things about, before a token."""
        before = self.all[at - 1].end if at else 0
        return self.tex[before : self.all[at].start] if at < len(self.all) else ""

    def adjacent(self) -> bool:
        """Is here a digit directly behind a digit? TeX then may have taken the first one alone."""
        here, before = self.all[self.at : self.at + 1], self.all[self.at - 1]
        return bool(
            here and digit(here[0].text) and digit(before.text) and here[0].start == before.end
        )

    def transposed(self, ahead: int) -> bool:
        r"""Does `^\top` stand there?"""
        if self.peek(ahead) != "^":
            return False
        return self.peek(ahead + 1) == r"\top" or (
            self.peek(ahead + 1) == "{" and self.peek(ahead + 2) == r"\top"
        )

    @contextmanager
    def enclosed(self) -> Iterator[None]:
        """Within brackets, the bars outside of them mean nothing."""
        before = self.bars, self.shut
        self.bars, self.shut = [], set()
        yield
        self.bars, self.shut = before

    def node(self, kind: str, start: int, *parts: Node, name: str = "") -> Node:
        return Node(kind, parts, name, (start, self.at))

    # --------------------------------------------------------------------- the statements

    def statements(self) -> tuple[Statement, ...]:
        found: list[Statement] = []
        while True:
            self.line_breaks()
            found.append(self.statement())
            self.line_breaks()
            if not self.peek():
                return tuple(found)
            self.take(",")
            self.line_breaks()
            while self.peek().startswith(r"\text{"):
                found[-1] = self.qualifier(found[-1])
                if not self.peek():
                    return tuple(found)
                self.take(",")

    def statement(self) -> Statement:
        self.free, self.was_bound = set(), set()
        sides, relations = [self.side()], []
        while self.peek() in RELATIONS:
            relations.append(self.take())
            sides.append(self.side())
        if not relations:
            self.fail(f"expected a relation, came {self.peek() or 'the end'}")
        if len({relation for relation in relations if relation in "<>"}) > 1 or (
            len(relations) > 1 and not set(relations) <= {"=", "<", r"\le"}
            and not set(relations) <= {"=", ">", r"\ge"}
        ):  # fmt: skip
            self.fail(f"the relations {' '.join(relations)} do not chain")
        if both := self.free & self.was_bound:
            self.fail(f"the index {min(both)} is bound by a sum and used outside of it")
        statement = Statement(tuple(sides), tuple(relations), frozenset(self.free))
        if sides[0].kind == "list" and self.peek()[6:-1].strip() != "independently":
            self.fail("several draws, and nothing says that they are independent")
        if self.peek().startswith(r"\text{"):
            statement = self.qualifier(statement)
        return statement

    def qualifier(self, statement: Statement) -> Statement:
        """`for all k`: says what is meant anyway, but must say it of an index that occurs."""
        text = self.take()[6:-1].strip()
        if text == "independently" and statement.relations == (r"\sim",):
            return statement
        if text != "for all":
            self.fail(f"the words {text!r} mean nothing to the reader", self.at - 1)
        letter = self.take()
        if letter not in statement.free:
            self.fail(f"nothing said before depends on {letter}", self.at - 1)
        return statement

    def side(self) -> Node:
        """One side of a relation, or the list on the left of a draw: x_1, ..., x_n."""
        self.line_breaks()
        start, self.shut = self.at, set()
        first = self.sum()
        if self.peek() == "," and self.peek(1) == r"\dots" and self.peek(2) == ",":
            self.at += 3
            last = self.sum()
            if not first.kind == last.kind == "name" or first.name != last.name:
                self.fail("the dots stand between different things", start)
            return self.node("list", start, first, last, name=first.name)
        return first

    def line_breaks(self) -> None:
        while self.peek() == r"\\":
            if not self.aligned:
                self.fail(r"a line ends outside of \begin{aligned}")
            self.at += 1

    # -------------------------------------------------------------------- the expressions

    def sum(self) -> Node:
        start = self.at
        sign = self.take() if self.peek() in ("-", "+") else ""
        first = self.product()
        if sign:
            first = self.node("minus" if sign == "-" else "plus", start, first)
        terms = [first]
        while True:
            here = self.at
            self.line_breaks()
            if self.peek() not in ("+", "-"):
                if here != self.at and self.starts_factor():
                    self.fail("this line could continue the product of the last one, or not")
                return self.sum_of(terms, start)
            if here == self.at and "quad" in self.gap(self.at):
                self.fail("a wide space: does the sum go on?")
            at, sign = self.at, self.take()
            term = self.product()
            terms.append(self.node("minus" if sign == "-" else "plus", at, term))

    def sum_of(self, terms: list[Node], start: int) -> Node:
        return terms[0] if len(terms) == 1 else Node("sum", tuple(terms), "", (start, self.at))

    def product(self) -> Node:
        start = self.at
        factors: list[Node] = []
        closed = ""  # why nothing may follow
        while True:
            text = self.peek()
            if text == r"\cdot":
                if not factors:
                    self.fail("a product begins with a dot")
                self.take()
                if not self.starts_factor():
                    self.fail(f"expected a factor after the dot, came {self.peek() or 'the end'}")
                if closed:
                    self.fail(closed)
                factors.append(self.factor())
            elif text == "/":
                if not factors:
                    self.fail("a quotient without numerator")
                if closed:
                    self.fail(closed)
                above = self.product_of(factors, start)
                self.take()
                if not self.starts_factor():
                    self.fail(f"expected a denominator, came {self.peek() or 'the end'}")
                below = self.ends_clearly(self.factor())
                factors = [self.node("quotient", start, above, below, name="/")]
                closed = "after a slash this could belong to the denominator, or not"
            elif self.starts_factor():
                if closed:
                    self.fail(closed)
                if factors and (digit(text) or text == "."):
                    again = self.adjacent() and factors[-1].kind != "ones"  # x^11, but 11^\top
                    if again or not self.at_ones():
                        self.fail(
                            "a number behind a factor: is it an index, an exponent, a factor?"
                        )
                if factors and "quad" in self.gap(self.at):
                    self.fail("a wide space: does the product go on?")
                if factors and text in self.shut and not self.directed(self.at):
                    self.fail(f"which of these {text} open, and which of them close?")
                before = self.at
                factors.append(self.factor())
                if len(factors) > 1 and _numerical(factors[-1]) and factors[-2].kind == "number":
                    self.fail("a mixed number, or a product?", before)
                if self.open_ended(factors[-1]):
                    # A function without parentheses takes one factor; a second is doubtful.
                    closed = f"{self.all[before].text} could apply to this, too, or not"
            else:
                break
        if not factors:
            self.fail(f"expected a term, came {text or 'the end'}")
        return self.product_of(factors, start)

    def open_ended(self, node: Node) -> bool:
        if node.kind == "apply":
            return not node.name.endswith(")")
        return node.kind == "reduce" or (node.kind, node.name) == ("derivative", "operator")

    def ends_clearly(self, node: Node, *letters: str) -> Node:
        """Where it matters what a sum sums, its last factor must depend on its index."""
        last = node
        while True:
            if last.kind == "product" or (last.kind, last.name) == ("quotient", "/"):
                last = last.parts[-1]
            elif last.kind == "big":
                letters = (*letters, last.parts[0].name)
                last = last.parts[1]
            else:
                break
        used = {part.name for part in last.walk() if part.kind == "index"}
        endless = last.kind in ("limit", "expectation") and last.name == "product"
        if not used.issuperset(letters) or endless:
            self.fail("where does this end?", last.span[0])
        return node

    def product_of(self, factors: list[Node], start: int) -> Node:
        if len(factors) == 1:
            return factors[0]
        # Nobody writes the number one as a factor: there, 1 is the vector of ones.
        vectors = tuple(
            Node("ones", (), "", f.span) if f.kind == "number" and f.name == "1" else f
            for f in factors
        )
        return Node("product", vectors, "", (start, self.at))

    def at_ones(self) -> bool:
        """Is the number here the vector of ones: `1`, or `11^\\top`?"""
        if self.peek() != "1" or self.peek(1) == ".":
            return False
        if self.peek(1) == "^":
            return self.transposed(1)
        return not digit(self.peek(1)) or (self.peek(1) == "1" and self.transposed(2))

    def starts_factor(self) -> bool:
        text = self.peek()
        if text in ("(", "[", r"\langle", r"\frac", r"\sqrt", r"\sum", r"\prod", r"\lim"):
            return True
        if text in (r"\|", "|"):
            return not (self.bars and self.bars[-1] == text)
        if text in (r"\arg", r"\dot", r"\begin{pmatrix}", r"\mathbb{E}"):
            return True
        stop = {"", ",", ";", ")", "]", "}", r"\rangle", r"\mid", "+", "-", "/", r"\cdot", r"\\"}
        return not (text in stop or text in RELATIONS or text.startswith((r"\text{", r"\end{")))

    def factor(self) -> Node:
        start = self.at
        if self.peek() == "1" and (
            self.transposed(1) or (self.peek(1) == "1" and self.transposed(2))
        ):
            self.take()  # 1^\top, and the first one of 11^\top
            base = self.node("ones", start)
        else:
            base = self.base()
        if self.peek() == "^" and (base.kind == "apply" and self.open_ended(base)):
            self.fail(f"is this the power of {base.name}, or of its argument?")
        if self.peek() == "^" and base.kind in ("quotient", "derivative"):
            self.fail("the power of a fraction without parentheses")
        if self.peek() == "^" and base.kind == "name" and _raised(base.name):
            self.fail("a second exponent")
        while self.peek() in ("^", "_", "'"):
            if self.peek() != "^":
                self.fail(f"{self.peek()} behind something that is not a declared name with it")
            if base.kind == "power":
                self.fail("a second exponent")
            self.take()
            base = self.power(base, start)
        return base

    def power(self, base: Node, start: int) -> Node:
        at = self.at
        if self.peek() == r"\top" or (self.peek() == "{" and self.peek(1) == r"\top"):
            braced = self.peek() == "{"
            self.at += 2 if braced else 1
            if braced:
                self.take("}")
            if base.kind == "number":
                self.fail("a number cannot be transposed", at)
            return self.node("power", start, base, name=r"\top")
        if self.peek() == "{":
            exponent = self.group()
            if exponent.kind == "parenthesis":
                self.fail("in parentheses: an exponent, or an index?", at)
        elif digit(self.peek()) or self.peek().isalpha():
            exponent = self.base(one_token=True)
        else:
            self.fail(f"expected an exponent, came {self.peek() or 'the end'}")
        return self.node("power", start, base, exponent)

    def group(self) -> Node:
        """An expression in braces; or the single token that TeX takes without them."""
        if self.peek() != "{":
            return self.base(one_token=True)
        self.depth += 1
        at = self.at
        self.take("{")
        if self.peek() == "}":
            self.fail("nothing between braces")
        with self.enclosed():
            inner = self.sum()
        if self.peek() != "}":
            self.fail("a brace is not closed" if not self.peek() else f"{self.peek()} in braces",
                      at if not self.peek() else None)  # fmt: skip
        self.take("}")
        self.depth -= 1
        return inner

    # ---------------------------------------------------------------------- what is named

    def base(self, one_token: bool = False) -> Node:
        self.depth += 1
        if self.depth > DEPTH:
            self.fail("nested too deeply")
        base = self.atom(one_token)
        self.depth -= 1
        return base

    def atom(self, one_token: bool) -> Node:
        start, text = self.at, self.peek()
        if not text:
            self.fail("the formula ends where a factor is expected")
        if digit(text) or (text == "." and digit(self.peek(1)) and not one_token):
            return self.number(one_token)
        if named := self.named(one_token):
            return named
        if text in self.indices:
            self.take()
            if text not in self.bound:
                self.free.add(text)
            return self.node("index", start, name=text)
        if one_token and text != "I":
            self.fail(f"{text} is not declared")
        if text in OPENING:
            return self.parenthesis()
        if text in (r"\|", "|"):
            return self.norm()
        if text in FUNCTIONS:
            return self.known_function()
        if self.is_reducer():
            return self.over_index(text)
        readers: dict[str, Callable[[], Node]] = {
            r"\langle": self.inner, r"\frac": self.fraction, r"\sqrt": self.root,
            r"\sum": self.big, r"\prod": self.big, r"\mathbb{E}": self.expectation,
            r"\arg": self.minimiser, r"\dot": self.dot, r"\lim": self.limit,
            r"\begin{pmatrix}": self.matrix, "I": self.identity, "O": self.order,
        }  # fmt: skip
        if text in readers and not (text == "O" and self.peek(1) != "("):
            return readers[text]()
        if text in ("}", ")", "]", r"\rangle"):
            self.fail(f"{text} closes nothing")
        self.fail(f"{text} is not declared")

    def named(self, one_token: bool) -> Node | None:
        """The longest declared name that stands here."""
        start = self.at
        for pattern, name in self.patterns:
            if one_token and len(pattern) > 1:
                continue
            matched = self.match(pattern)
            if matched is None:
                continue
            end, spans = matched
            following = self.all[end].text if end < self.last else ""
            if following == "_" and name in self.functions and name.startswith(r"\operatorname"):
                continue  # over an index: see `over_index`
            if name in self.functions and one_token:
                self.fail(f"{name} without its argument")
            if f"{name}()" in self.functions and following in OPENING:
                # Both a value and a function: u(0) is clear, u(1 - u) is not.
                closing = self.all[end + 2].text if end + 2 < self.last else ""
                if closing != OPENING[following]:
                    self.fail(f"{name} times this, or {name} of this?", end)
                continue
            arguments = []
            for low, high in spans:
                self.at = low
                arguments.append(self.within(high))
            self.at = end
            if name not in self.functions:
                return self.node("name", start, *arguments, name=name)
            if self.peek() not in OPENING:
                self.fail(f"{name} is a function, and no argument follows")
            arguments += self.arguments()
            return self.node("call", start, *arguments, name=name)
        return None

    def match(self, pattern: list[str]) -> tuple[int, list[tuple[int, int]]] | None:
        """Where a pattern ends, and where its places # lie, if the tokens here fit it."""
        at, spans = self.at, []
        for position, wanted in enumerate(pattern):
            if at >= self.last:
                return None
            if wanted != "#":
                if self.all[at].text != wanted:
                    return None
                at += 1
                continue
            following = pattern[position + 1] if position + 1 < len(pattern) else ""
            one_of_many = position > 0 and pattern[position - 1] == "#"  # A_{tk}: a token for each
            if following and following != "#" and not one_of_many:
                end, depth = at, 0
                while end < self.last and (depth or self.all[end].text != following):
                    depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(self.all[end].text, 0)
                    end += 1
                if end >= self.last or end == at:
                    return None
                spans.append((at, end))
                at = end
            elif self.all[at].text == "{":  # a group in braces
                end, depth = at + 1, 1
                while end < self.last and depth:
                    depth += {"{": 1, "}": -1}.get(self.all[end].text, 0)
                    end += 1
                if depth:
                    self.fail("a brace is not closed", at)
                spans.append((at + 1, end - 1))
                at = end
            else:
                spans.append((at, at + 1))
                at += 1
        return at, spans

    def within(self, end: int) -> Node:
        """Read an expression that must end exactly there."""
        last, self.last = self.last, end
        with self.enclosed():
            inner = self.sum()
        if self.at != end:
            self.fail(f"{self.peek()} is not expected here")
        self.last = last
        return inner

    def number(self, one_token: bool) -> Node:
        start = self.at
        digits = self.take()
        while not one_token and (digit(self.peek()) or self.peek() == "."):
            if self.all[self.at].start != self.all[self.at - 1].end:
                if self.peek() == ".":
                    break
                self.fail("two numbers side by side")
            if self.peek() == "1" and self.transposed(1):
                if digits == "1":
                    break
                self.fail("a number beside a vector of ones")
            if self.peek() == "." and not digit(self.peek(1)):
                break
            digits += self.take()
        if digits.count(".") > 1:
            self.fail(f"{digits} is not a number", start)
        return self.node("number", start, name=digits)

    # ---------------------------------------------------------------------- what is built

    def close(self, closing: str, opened: int) -> None:
        if not self.peek():
            self.fail(f"{self.all[opened].text} is not closed", opened)
        if self.peek() != closing:
            self.fail(f"expected {closing}, came {self.peek()}")
        self.take()

    def parenthesis(self) -> Node:
        start, closing = self.at, OPENING[self.take()]
        with self.enclosed():
            self.line_breaks()
            inner = self.sum()
            self.line_breaks()
            self.close(closing, start)
        return self.node("parenthesis", start, inner)

    def arguments(self) -> list[Node]:
        start, closing = self.at, OPENING[self.take()]
        with self.enclosed():
            found = [self.sum()]
            while self.peek() == ",":
                self.take()
                found.append(self.sum())
            self.close(closing, start)
        return found

    def weighted(self) -> str:
        """The index mu of a norm or an inner product, if there is one."""
        if self.peek() != "_":
            return ""
        self.take()
        self.take(r"\mu")
        return r"\mu"

    def norm(self) -> Node:
        start, bar = self.at, self.take()
        if bar in self.bars:
            self.fail(f"{bar} within {bar}", start)
        self.bars.append(bar)
        inner = self.sum()
        if self.peek() != bar:
            self.fail(f"{bar} is not closed", start)
        self.take()
        self.bars.pop()
        unclear = self.peek() not in ("_", "^", bar) and self.starts_factor()
        if unclear and not self.directed(start):
            self.shut.add(bar)  # |a|b could be the beginning of |a|b|c|
        if bar == "|":
            return self.node("absolute", start, inner)
        return self.node("norm", start, inner, name=self.weighted())

    def directed(self, at: int) -> bool:
        """Is it said of this bar that it opens?"""
        text = self.gap(at) + self.tex[self.all[at].start : self.all[at].end]
        return bool(DIRECTED.search(text))

    def inner(self) -> Node:
        start = self.at
        self.take()
        with self.enclosed():
            left = self.sum()
            self.take(",")
            right = self.sum()
            self.close(r"\rangle", start)
        return self.node("inner", start, left, right, name=self.weighted())

    def fraction(self) -> Node:
        start = self.at
        self.take()
        if derivative := self.derivative(start):
            return derivative
        numerator = self.at
        above = self.group()
        beginnings = self.all[numerator : numerator + 2] + self.all[self.at : self.at + 2]
        if [token.text for token in beginnings] == ["{", "d"] * 2:
            self.fail(r"a derivative, or a quotient? \mathrm{d} would tell", start)
        return self.node("quotient", start, above, self.group())

    def derivative(self, start: int) -> Node | None:
        r"""\frac{\partial f}{\partial x}, \frac{d f}{d t}, \frac{d}{d t} f."""
        d = self.peek(1)
        if self.peek() != "{" or d not in (r"\partial", r"\mathrm{d}"):
            return None
        self.at += 2
        what = None if self.peek() == "}" else self.product()
        self.take("}")
        self.take("{")
        self.take(d)
        by = self.product()
        self.take("}")
        if what is not None:
            return self.node("derivative", start, what, by)
        what = self.ends_clearly(self.factor())
        return self.node("derivative", start, what, by, name="operator")

    def root(self) -> Node:
        start = self.at
        self.take()
        if self.peek() == "[":
            self.fail("only square roots are read")
        return self.node("root", start, self.group())

    def known_function(self) -> Node:
        start, name = self.at, self.peek()
        if name in OVER_INDEX and self.peek(1) == "_":
            return self.over_index(name)
        self.take()
        if self.peek() == "(":
            arguments = self.arguments()
            if FUNCTIONS[name] != len(arguments):
                self.fail(f"{name} takes {FUNCTIONS[name]} argument(s), came {len(arguments)}")
            return self.node("apply", start, *arguments, name=f"{name}()")
        if FUNCTIONS[name] > 1 or not self.starts_factor():
            self.fail(f"{name} without argument")
        return self.node("apply", start, self.ends_clearly(self.base()), name=name)

    def is_reducer(self) -> bool:
        return self.peek().startswith(r"\operatorname{") and self.peek(1) == "_"

    def bind(self, letter: str) -> None:
        if letter not in self.indices:
            self.fail(f"{letter} is not declared as an index", self.at - 1)
        if letter in self.bound:
            self.fail(f"the index {letter} is bound twice", self.at - 1)
        if any(pattern == [letter] for pattern, _ in self.patterns):
            self.fail(f"{letter} is a name, and an index that is bound", self.at - 1)
        self.bound.append(letter)
        self.was_bound.add(letter)

    def unbind(self) -> None:
        self.bound.pop()

    def over_index(self, name: str) -> Node:
        r"""\max_k x_k, \operatorname{median}_t A_{tk}: of one factor."""
        start = self.at
        self.take()
        if name not in OVER_INDEX and f"{name}()" not in self.functions:
            self.fail(f"{name} is not declared", start)
        self.take("_")
        letter = self.take()
        self.bind(letter)
        if not self.starts_factor():
            self.fail(f"{name} without argument")
        body = self.ends_clearly(self.factor())
        self.unbind()
        index = Node("index", (), letter, (start, start))
        return self.node("reduce", start, index, body, name=name)

    def big(self) -> Node:
        r"""\sum_{k=1}^{N}, \sum_k, \sum_{i<n}: to the end of the product."""
        start, name = self.at, self.take()
        if self.peek() != "_":
            self.fail(f"{name} over what?")
        self.take()
        low = high = None
        strict = ""
        if self.peek() == "{":
            self.take()
            letter = self.take()
            if letter not in self.indices:
                self.fail(f"{letter} is not declared as an index", self.at - 1)
            if self.peek() == "=":
                self.take()
                low = self.sum()
            elif self.peek() in ("<", r"\le"):
                strict = self.take()
                high = self.sum()
            self.take("}")
        else:
            letter = self.take()
        if low is not None:
            if self.peek() != "^":
                self.fail(f"{name} from {letter} = ... to where?")
            self.take()
            high = self.group()
            if self.adjacent():
                self.fail("TeX takes only the first digit")
        elif self.peek() == "^":
            self.fail(f"{name} to here, but from where?")
        self.bind(letter)
        body = self.product()
        if name == r"\prod":
            self.ends_clearly(body, letter)
        self.unbind()
        index = Node("index", (), letter, (start, start))
        kind = {"": "all", "<": "below", r"\le": "upto"}[strict] if low is None else "range"
        bounds = [part for part in (low, high) if part is not None]
        return self.node("big", start, index, body, *bounds, name=f"{name} {kind}")

    def expectation(self) -> Node:
        start = self.at
        self.take()
        if self.peek() != "[":
            parenthesis, body = self.peek() == "(", self.product()
            if (parenthesis and body.kind != "parenthesis") or body.name == "/":
                self.fail("of what is this the expectation? Brackets would tell", start)
            return self.node("expectation", start, body, name="product")
        opened = self.at
        self.take()
        conditions: list[Node] = []
        with self.enclosed():
            body = self.sum()
            if self.peek() == r"\mid":
                self.take()
                conditions.append(self.condition())
                while self.peek() == ",":
                    self.take()
                    conditions.append(self.condition())
            self.close("]", opened)
        return self.node("expectation", start, body, *conditions)

    def condition(self) -> Node:
        start = self.at
        left = self.sum()
        if self.peek() != "=":
            return left
        self.take()
        return self.node("equals", start, left, self.sum())

    def minimiser(self) -> Node:
        r"""\arg\min_z [ ... ]."""
        start = self.at
        self.take()
        self.take(r"\min")
        self.take("_")
        variable = self.base(one_token=True)
        if self.peek() not in OPENING:
            self.fail("what is minimised stands in brackets")
        return self.node("minimiser", start, variable, self.parenthesis())

    def dot(self) -> Node:
        start = self.at
        self.take()
        what = self.group() if self.peek() == "{" else self.base()
        if what.kind not in ("name", "call"):
            self.fail("a dot over something that is not a name", start)
        return self.node("dot", start, what)

    def limit(self) -> Node:
        r"""\lim_{T \to \infty} of what follows in the product."""
        start = self.at
        self.take()
        self.take("_")
        self.take("{")
        variable = self.base()
        self.take(r"\to")
        if self.peek() == r"\infty":
            self.take()
            target = Node("infinity", (), "", (self.at - 1, self.at))
        else:
            target = self.sum()
        self.take("}")
        return self.node("limit", start, self.product(), variable, target, name="product")

    def matrix(self) -> Node:
        start = self.at
        self.take()
        rows: list[Node] = []
        cells = self._cells(start)
        for row in cells:
            rows.append(Node("row", tuple(row), "", (start, self.at)))
        if len({len(row.parts) for row in rows}) != 1:
            self.fail("the rows of the matrix differ in length", start)
        return self.node("matrix", start, *rows)

    def _cells(self, start: int) -> list[list[Node]]:
        # Cells are told apart by &, which is space elsewhere: look at the text between tokens.
        rows: list[list[Node]] = [[]]
        aligned, self.aligned = self.aligned, False
        while True:
            end = self.at
            while end < self.last and self.all[end].text not in (r"\\", r"\end{pmatrix}"):
                if end > self.at and "&" in self.gap(end):
                    break
                end += 1
            if end >= self.last:
                self.fail("the matrix is not closed", start)
            last_cell = self.all[end].text in (r"\\", r"\end{pmatrix}")
            if self.gap(end).count("&") != (not last_cell) or (
                self.all[self.at - 1].text in (r"\\", r"\begin{pmatrix}")
                and "&" in self.gap(self.at)
            ):
                self.fail("an empty cell in the matrix", end)
            rows[-1].append(self.within(end))
            if self.peek() == r"\\":
                self.take()
                rows.append([])
            elif self.peek() == r"\end{pmatrix}":
                self.take()
                self.aligned = aligned
                return rows

    def identity(self) -> Node:
        start = self.at
        self.take()
        return self.node("identity", start)

    def order(self) -> Node:
        r"""O(n^{-2}): everything at least as small."""
        start = self.at
        self.take()
        inside, *more = self.arguments()
        if more:
            self.fail("O takes 1 argument", start)
        return self.node("order", start, inside)
