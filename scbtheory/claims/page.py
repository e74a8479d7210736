r"""What a chapter displays, and what it says about it.

A chapter makes one `Page`. Of each equation that it displays it says one of three things: it is
*verified* (derived, and held against what is displayed), a *definition* (held against what the
derivations use), or *exempt*, with the reason. Each is printed below the cell and recorded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import sympy as sp

from scbtheory.claims.decide import Counterexample, Judge
from scbtheory.claims.misprints import Misprint, misprints
from scbtheory.claims.reader import Node, Statement, Unreadable, read
from scbtheory.claims.values import Case

__all__ = ["KINDS", "Failed", "Page", "Record", "displayed"]

KINDS = {
    "identity": "the two sides are the same function of every symbol",
    "enumeration": "the expectation is summed over every sample of a small instance",
    "derivative": "SymPy differentiates an expression built from the definitions, or solves for it",
    "cases": "proved case by case",
    "solution set": "it holds where it should, and fails in each of the cases where it should not",
    "differential equation": "the solution satisfies the equation and its initial condition",
    "limit": "by the limit; what is neglected has the stated order, and no smaller one",
    "inequality": "by a proof of the sign of the difference",
    "code": "what the code does, on instances with given numbers",
}
# Where SymPy solves or simplifies, its answer may well look like the one displayed.
SOLVED = {"cases", "differential equation", "solution set"}
LONGEST = 300  # characters of an expression that a message shows
BLOCK = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{math\}[ \t]*\n(?P<options>(?::[a-z]+:[^\n]*\n)*)"
    r"(?P<tex>.*?)^(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


class Failed(AssertionError):
    """A displayed equation that does not say what was derived, or a check that is none."""


@dataclass(frozen=True)
class Record:
    """What is known of one displayed equation."""

    label: str
    status: str
    kind: str = ""
    sizes: str = ""
    note: str = ""
    provides: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    misprints: int = 0
    refuted: int = 0
    unreadable: int = 0
    equivalent: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.status == "exempt":
            return f"{self.label} is not checked: {self.note}"
        what = {"verified": "is true as displayed", "definition": "is what the derivations use"}
        how = "; ".join(filter(None, (self.kind, self.sizes)))
        parts = [f"{self.refuted} refuted"]
        if self.unreadable:
            parts.append(f"{self.unreadable} unreadable")
        if self.equivalent:
            parts.append(f"{len(self.equivalent)} true as well")
        count = f"{self.misprints} misprints: {', '.join(parts)}"
        return f"{self.label} {what[self.status]} ({how})\n  {count}"


def displayed(text: str) -> dict[str, str]:
    r"""The displayed equations of a text in MyST Markdown, by label.

    An equation without a label is found under ``unlabelled-1``, ``unlabelled-2``, ...

    Examples
    --------
    >>> displayed("```{math}\n:label: eq-one\n1 + 1 = 2\n```")
    {'eq-one': '1 + 1 = 2'}
    """
    found: dict[str, str] = {}
    for block in BLOCK.finditer(text):
        label = re.search(r"^:label:[ \t]*(\S+)", block["options"], re.MULTILINE)
        name = label[1] if label else f"unlabelled-{1 + sum(x[:3] == 'unl' for x in found)}"
        if name in found:
            raise ValueError(f"text: expected each label once, came {name} twice")
        found[name] = block["tex"].strip()
    return found


def _text_of(notebook: str) -> str:
    cells = json.loads(notebook)["cells"]
    markdown = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return "\n\n".join(markdown)


def find(name: str) -> tuple[dict[str, str], str]:
    """What a chapter displays, and where that was read.

    The text is that of the build if one is running (`SCBTHEORY_PAGES` names its folder), else the
    notebook in the working directory, under its own name or another; else the one that came with
    the package.
    """
    if folder := os.environ.get("SCBTHEORY_PAGES"):
        path = Path(folder) / f"{name}.md"
        if not path.exists():
            raise ValueError(f"name: expected a chapter of {folder}, came {name!r}")
        return displayed(path.read_text("utf-8")), str(path)
    own = Path(f"{name}.ipynb")
    others = sorted(Path().glob("*.ipynb"))
    for path in [own, *others] if own.exists() else others:
        notebook = path.read_text("utf-8")
        if path == own or re.search(rf'Page\(\\*["\']{re.escape(name)}\\*["\']', notebook):
            return displayed(_text_of(notebook)), str(path)
    book = json.loads((files("scbtheory.claims") / "displayed.json").read_text("utf-8"))
    if name not in book:
        raise ValueError(f"name: expected one of {', '.join(book)}, came {name!r}")
    return book[name], "the package"


@dataclass
class Page:
    r"""The displayed equations of a chapter, and what is known of each.

    Parameters
    ----------
    name : str
        The chapter, as its file is called.
    cases : sequence of Case
        Where equations are checked unless a check brings cases of its own.
    quiet : bool
        Do not print.

    Raises
    ------
    ValueError
        If there is no such chapter.

    Examples
    --------
    >>> import sympy as sp
    >>> x = sp.Symbol("x")
    >>> page = Page("example", [Case({"x": x})], text={"eq-square": "(x + 1)^2 = x^2 + 2x + 1"})
    >>> page.verify("eq-square")
    eq-square is true as displayed (identity)
      26 misprints: 26 refuted
    """

    name: str
    cases: Sequence[Case] = ()
    text: Mapping[str, str] | None = None
    quiet: bool = False
    records: dict[str, Record] = field(default_factory=dict)
    source: str = "the text given"
    _judges: dict[int, Judge] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.text is None:
            self.text, self.source = find(self.name)

    def __repr__(self) -> str:
        return f"Page({self.name!r}: {len(self.text or ())} displayed equations)"

    # ------------------------------------------------------------------------ the three words

    def verify(
        self,
        label: str,
        derive: Callable[[Case], Mapping[str, Any]] | Mapping[str, Any] | None = None,
        *,
        kind: str = "identity",
        cases: Iterable[Case] | None = None,
        uses: Sequence[str] = (),
        note: str = "",
    ) -> None:
        """Hold a displayed equation against what was derived.

        Parameters
        ----------
        label : str
            The label of the equation.
        derive : function or mapping, optional
            From a case to values for further names, typically for the left side.
        kind : str
            How it is checked: a key of `KINDS`.
        cases : iterable of Case, optional
            Where; those of the page unless given.
        uses : sequence of str
            Labels of the definitions that the derivation rests on and the formula does not name.
        note : str
            What a reader of the table should know besides.

        Raises
        ------
        Failed
            If it is false, cannot be proved, cannot be read, or could not fail: if one of its
            misprints passes, or its two sides are the same before anything was computed.
        """
        self._check("verified", label, derive, kind, cases, uses, note)

    def define(
        self,
        label: str,
        derive: Callable[[Case], Mapping[str, Any]] | Mapping[str, Any] | None = None,
        *,
        kind: str = "identity",
        cases: Iterable[Case] | None = None,
        uses: Sequence[str] = (),
        note: str = "",
    ) -> None:
        """Hold a displayed definition against the one that the derivations use; see `verify`."""
        self._check("definition", label, derive, kind, cases, uses, note)

    def exempt(self, label: str, reason: str) -> None:
        """Say why a displayed equation is not checked."""
        if label not in (self.text or {}):
            raise Failed(f"{label} is not displayed in {self.source}")
        if len(reason.split()) < 5:
            raise ValueError(f"reason: expected a sentence, came {reason!r}")
        self._keep(Record(label, "exempt", note=reason))

    # --------------------------------------------------------------------------- the checking

    def _check(
        self,
        status: str,
        label: str,
        derive: Callable[[Case], Mapping[str, Any]] | Mapping[str, Any] | None,
        kind: str,
        cases: Iterable[Case] | None,
        uses: Sequence[str],
        note: str,
    ) -> None:
        tex = (self.text or {}).get(label)
        if tex is None:
            raise Failed(f"{label} is not displayed in {self.source}")
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, came {kind!r}")
        ready = [self._derived(case, derive) for case in (self.cases if cases is None else cases)]
        if not ready:
            raise ValueError("cases: expected at least one, came none")
        # What was evaluated in a case for one equation serves the next.
        judges = [self._judges.setdefault(id(case), Judge(case)) for case in ready]
        check = Check(label, tex, judges)
        check.must_hold()
        if kind == "identity" and not any(case.symbols for case in ready):
            raise Failed(f"{label}: no symbol in any case, and numbers prove no identity")
        if status == "verified" and kind not in SOLVED:
            check.must_say_something()
        found = check.misprints()
        sizes = list(dict.fromkeys(case.title for case in ready if case.title))
        self._keep(
            Record(
                label,
                status,
                kind,
                "; ".join(sizes),
                note,
                tuple(sorted(check.provides)),
                tuple(sorted({*check.used, *uses})),
                len(found),
                sum(fate == "refuted" for _, fate in found),
                sum(fate == "unreadable" for _, fate in found),
                tuple(str(misprint) for misprint, fate in found if fate == "true"),
                tuple(str(misprint) for misprint, fate in found if fate == "undecided"),
            )
        )

    @staticmethod
    def _derived(case: Case, derive: Any) -> Case:
        if derive is None:
            return case
        return case | (derive(case) if callable(derive) else derive)

    def _keep(self, record: Record) -> None:
        if record.label in self.records:
            raise Failed(f"{record.label} was checked before on this page")
        self.records[record.label] = record
        if not self.quiet:
            _show(record)
        if record.undecided:
            raise Failed(f"{record.label}: misprints that pass: {'; '.join(record.undecided)}")


class Check:
    """One displayed formula and the cases in which it must be true (or, beyond a bound, false)."""

    def __init__(self, label: str, tex: str, judges: Sequence[Judge]) -> None:
        self.label, self.tex, self.judges = label, tex, judges
        self.cases = [judge.case for judge in judges]
        self.provides: set[str] = set()
        self.used: set[str] = set()

    def names(self, sides: Iterable[Node]) -> set[str]:
        """The declared names in these expressions; an inner product with mu counts as one."""
        found = set()
        for node in (node for side in sides for node in side.walk()):
            if node.kind in ("norm", "inner") and node.name:
                found.add(r"\langle,\rangle_\mu")
            elif node.name in self.cases[0].declared:
                found.add(node.name)
        return found

    def read(self, tex: str) -> tuple[Statement, ...]:
        return read(tex, self.cases[0].declared, self.cases[0].indices)

    def must_hold(self) -> None:
        """Raise unless the formula is proved wherever it should be."""
        try:
            statements = self.read(self.tex)
            for judge in self.judges:
                self._must_hold_in(judge, statements)
            self.provides = self.names(s.sides[0] for s in statements)
            self.used = self.names(side for s in statements for side in s.sides)
        except Unreadable as error:
            raise Failed(f"{self.label} cannot be read: {error}") from None

    def must_say_something(self) -> None:
        """Raise if both sides are the same before anything is computed: no claim, a definition."""
        statements = self.read(self.tex)
        if all(judge.says_nothing(statements) for judge in self.judges):
            raise Failed(
                f"{self.label}: both sides are the same before anything is computed; "
                "is it a definition?"
            )

    def _must_hold_in(self, judge: Judge, statements: Sequence[Statement]) -> None:
        if not judge.case.truth:
            if not judge.never_true(statements):
                raise Failed(
                    f"{self.label} is true where it should be false ({judge.case.title})\n"
                    f"  displayed: {self.tex}"
                )
            return
        verdict = judge.decide(statements)
        if verdict is None:
            raise Failed(
                f"{self.label} could be neither proved nor refuted ({judge.case.title})\n"
                f"  displayed: {self.tex}"
            )
        if isinstance(verdict, Counterexample):
            raise Failed(
                f"{self.label} is not what was derived\n"
                f"  displayed:  {self.tex}\n"
                f"{self._derived(judge.case, statements)}"
                f"  left side:  {verdict.left}\n"
                f"  right side: {verdict.right}\n"
                f"  difference: {verdict.difference}\n"
                f"  where:      {verdict.place}"
            )

    def _derived(self, case: Case, statements: Sequence[Statement]) -> str:
        """What the names on the left side stand for, where that fits a line."""
        lines = (
            f"  derived:    {name} = {case.names[name]}\n"
            for name in sorted(self.names(s.sides[0] for s in statements) & set(case.names))
            if not callable(case.names[name]) or isinstance(case.names[name], sp.Basic)
        )
        return "".join(line for line in lines if len(line) < LONGEST)

    def misprints(self) -> list[tuple[Misprint, str]]:
        """Every misprint, with what becomes of it."""
        fates = []
        # With numbers alone, a misprint that is true may be so by chance.
        by_chance = not any(judge.case.symbols for judge in self.judges if judge.case.truth)
        for misprint in misprints(self.tex, self.read(self.tex), self.cases[0]):
            fate = self.fate(misprint.tex)
            if fate == "true" and by_chance and misprint.kind != "order":
                fate = "undecided"
            fates.append((misprint, fate))
        return fates

    def fate(self, tex: str) -> str:
        """What becomes of a formula: refuted, unreadable, true as well, or undecided."""
        try:
            statements = self.read(tex)
            good = [judge for judge in self.judges if judge.case.truth]
            if any(judge.refute(statements) for judge in good):
                return "refuted"
            if not all(j.never_true(statements) for j in self.judges if j not in good):
                return "refuted"
            undecided = any(judge.decide(statements) is not True for judge in good)
        except Unreadable:
            return "unreadable"
        return "true" if not undecided and self._same(statements) else "undecided"

    def _same(self, statements: Sequence[Statement]) -> bool:
        """Does a formula that is true say what the displayed one says?"""
        original = self.read(self.tex)
        # What is true of anything says nothing, unless the formula itself is that general.
        if all(j.of_anything(statements) and not j.of_anything(original) for j in self.judges):
            return False
        relations = [statement.relations for statement in statements]
        if {"="}.union(*relations) == {"="}:
            return True  # a true equation about values that are fixed by other means
        # An inequality may be true and weaker: then its sides are others.
        if relations != [statement.relations for statement in original]:
            return False
        pairs = [
            Statement(sides, ("=",), ours.free | theirs.free)
            for ours, theirs in zip(original, statements, strict=True)
            for sides in zip(ours.sides, theirs.sides, strict=True)
        ]
        return all(judge.decide(pairs) is True for judge in self.judges if judge.case.truth)


def _show(record: Record) -> None:
    """Print; in a notebook, keep the record with the output, where the book finds it."""
    try:
        from IPython import get_ipython
    except ImportError:
        get_ipython = lambda: None  # noqa: E731
    if get_ipython() is None:
        print(record)
        return
    from IPython.display import display

    display(  # type: ignore[no-untyped-call]
        {"text/plain": str(record)}, raw=True, metadata={"claim": asdict(record)}
    )
