"""What is known of each displayed equation, and the rules that a book with checks obeys.

Nothing here runs a check: `claims.py` does, and the committed notebooks hold what was found.
"""

import ast
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import scbtheory
from scbtheory.claims import Record, displayed
from scbtheory.claims.reader import RELATIONS, tokens

# What gives a cell the text that it checks, or a way to read it.
TEXT = {"displayed", "find", "open", "read", "read_text", "text", "tokens"}
MOST_EXEMPT = 0.05  # of the displayed equations; below, not at
CHECKED = ("verified", "definition")


@dataclass(frozen=True)
class Chapter:
    """A page: what it displays, and what its cells recorded."""

    name: str
    equations: dict[str, str]  # label: TeX
    records: tuple[Record, ...] = ()
    trouble: str = ""  # the message of the check at which the page stopped
    overlooked: int = 0  # displays written in a way that no check can name
    sources: tuple[str, ...] = ()  # the cells that check

    @property
    def record_of(self) -> dict[str, Record]:
        return {record.label: record for record in self.records}


@dataclass(frozen=True)
class Quotation:
    """An equation that a docstring displays, and the label of the one it repeats ("" if none)."""

    where: str
    tex: str
    label: str


@dataclass(frozen=True)
class Docstring:
    """The documentation of a public name."""

    where: str
    text: str

    @property
    def labels(self) -> list[str]:
        return re.findall(r":eq:`([^`]+)`", self.text)

    @property
    def displays(self) -> list[str]:
        found = DISPLAY_IN_DOCSTRING.finditer(self.text + "\n")
        return [inspect.cleandoc(block["first"] + "\n" + block["rest"]) for block in found]


# --------------------------------------------------------------------------------------- reading

DISPLAY_IN_DOCSTRING = re.compile(
    r"^(?P<indent> *)\.\. math::(?P<first>[^\n]*)\n"
    r"(?P<rest>(?:(?P=indent) +[^\n]*\n|[ \t]*\n)*)",
    re.MULTILINE,
)
# Every way to display a formula in MyST, be it indented or within dollars.
MATH_BLOCK = re.compile(r"^[ >*-]*(?:`{3,}|:{3,}|~{3,})\{math\}", re.MULTILINE)
OTHER_DISPLAY = re.compile(
    r"\$\$|^[ >*-]*\\begin\{(?:align|alignat|eqnarray|equation|flalign|gather|multline)\*?\}",
    re.MULTILINE,
)
CODE_CELL = re.compile(r"^(?P<fence>`{3,})\{code-cell\}.*?^(?P=fence)$", re.MULTILINE | re.DOTALL)


def chapter(name: str, text: str, records: Iterable[Record] = (), trouble: str = "") -> Chapter:
    """What a page of this text and these records is."""
    text = CODE_CELL.sub("", text)
    try:
        equations = displayed(text)
    except ValueError as error:
        return Chapter(name, {}, tuple(records), trouble or str(error))
    blocks = len(MATH_BLOCK.findall(text)) - len(equations)
    return Chapter(
        name, equations, tuple(records), trouble, blocks + len(OTHER_DISPLAY.findall(text))
    )


def chapter_in_notebook(name: str, notebook: str) -> Chapter:
    """The page as its executed notebook has it, from the notebook's JSON."""
    cells = json.loads(notebook)["cells"]
    records = [record for _, record, _ in claims_in(cells)]
    sources = tuple(
        "".join(cell["source"])
        for cell in cells
        if "claims" in cell.get("metadata", {}).get("tags", ())
    )
    return replace(chapter(name, markdown(cells), records), sources=sources)


def markdown(cells: list[dict]) -> str:
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def claims_in(cells: list[dict]) -> Iterator[tuple[int, Record, str]]:
    """Where a notebook keeps its records: the number of the cell, the record, the text shown."""
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", ()):
            if claim := output.get("metadata", {}).get("claim"):
                yield index, record_from(claim), "".join(output["data"]["text/plain"])


def record_from(claim: dict) -> Record:
    """The record that JSON stored: what it calls a list was a tuple."""
    return Record(**{k: tuple(v) if isinstance(v, list) else v for k, v in claim.items()})


def docstrings() -> Iterator[Docstring]:
    """The docstrings that the API page may show: those of public names outside `claims`."""
    for info in pkgutil.iter_modules(scbtheory.__path__):
        if info.name.startswith("_") or info.name == "claims":
            continue
        module = importlib.import_module(f"scbtheory.{info.name}")
        yield Docstring(module.__name__, inspect.getdoc(module) or "")
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__:
                yield from _documented(f"{module.__name__}.{name}", value)


def _documented(where: str, value: object) -> Iterator[Docstring]:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return
    yield Docstring(where, inspect.cleandoc(value.__doc__ or ""))
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        has_own = inspect.isroutine(member) or hasattr(member, "__get__")
        if has_own and not name.startswith("_"):
            yield Docstring(f"{where}.{name}", inspect.cleandoc(member.__doc__ or ""))


# ------------------------------------------------------------------------------------- quotations

LAYOUT = re.compile(r"\\(?:begin|end)\{(?:aligned|split)\}$|\\\\$")


def substance(tex: str) -> list[str]:
    """The tokens of a formula, without layout and its full stop."""
    found = [token.text for token in tokens(tex) if not LAYOUT.match(token.text)]
    while found and found[-1] in (".", ",", ";"):
        found.pop()
    return found


def quotes(part: str, whole: str) -> bool:
    r"""Is a formula another one as a whole, or a whole side, or whole statements of it?

    Examples
    --------
    >>> quotes(r"x + y.", r"\begin{aligned} z &= x \\ &\quad + y, \\ u &= v \end{aligned}")
    True
    >>> quotes("x", "z = x + y"), quotes("u = v", "z = x + y, u = v")
    (False, True)
    """
    short, long = substance(part), substance(whole)
    statements = split(long, {","})
    ends = [",".join(" ".join(x) for x in statements[i:j])
            for i in range(len(statements)) for j in range(i + 1, len(statements) + 1)]  # fmt: skip
    sides = [" ".join(side) for statement in statements for side in split(statement, RELATIONS)]
    # An equation without its left side: what a function returns.
    rest = [" ".join(x[x.index("=") + 1 :]) for x in statements if "=" in x]
    wanted = ",".join(" ".join(x) for x in split(short, {","}))
    return bool(short) and wanted in {*ends, *sides, *rest}


def split(tokens: list[str], separators: set[str]) -> list[list[str]]:
    """The parts between separators that stand in no parenthesis."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, "[": 1, "{": 1, r"\langle": 1}.get(token, 0)
        depth -= {")": 1, "]": 1, "}": 1, r"\rangle": 1}.get(token, 0)
        if token in separators and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def quotations(docs: Iterable[Docstring], chapters: Iterable[Chapter]) -> list[Quotation]:
    """Every display of a docstring, with the equation that it repeats."""
    equations = {label: tex for chapter in chapters for label, tex in chapter.equations.items()}
    found = []
    for doc in docs:
        for tex in doc.displays:
            sources = [x for x in doc.labels if x in equations and quotes(tex, equations[x])]
            found.append(Quotation(doc.where, tex, sources[0] if sources else ""))
    return found


def implemented_by(docs: Iterable[Docstring]) -> dict[str, list[str]]:
    """The names whose docstrings name an equation, by its label."""
    found: dict[str, list[str]] = {}
    for doc in docs:
        for label in dict.fromkeys(doc.labels):
            found.setdefault(label, []).append(doc.where.removeprefix("scbtheory."))
    return found


# --------------------------------------------------------------------------------- rules of a page
# Each gives one line for each breach: the page, the label, what is wrong.


def stopped(chapter: Chapter) -> Iterator[str]:
    if chapter.trouble:
        yield f"{chapter.name}: {chapter.trouble}"


def overlooked(chapter: Chapter) -> Iterator[str]:
    if chapter.overlooked:
        yield (
            f"{chapter.name}: displays {chapter.overlooked} formulas that cannot be checked; "
            "write each as a {math} block at the beginning of a line"
        )


def without_label(chapter: Chapter) -> Iterator[str]:
    for label, tex in chapter.equations.items():
        if label.startswith("unlabelled-"):
            yield f"{chapter.name}, {label}: needs a label: {' '.join(tex.split())}"


def without_record(chapter: Chapter) -> Iterator[str]:
    if chapter.trouble:
        return  # where the page stopped is the news
    for label in chapter.equations:
        if label not in chapter.record_of and not label.startswith("unlabelled-"):
            yield f"{chapter.name}, {label}: displayed, but no cell says what is known of it"


def without_equation(chapter: Chapter) -> Iterator[str]:
    for record in chapter.records:
        if record.label not in chapter.equations:
            yield f"{chapter.name}, {record.label}: a cell speaks of it, but it is not displayed"


def recorded_twice(chapter: Chapter) -> Iterator[str]:
    labels = [record.label for record in chapter.records]
    for label in dict.fromkeys(labels):
        if labels.count(label) > 1:
            yield f"{chapter.name}, {label}: {labels.count(label)} cells speak of it"


def refuting_nothing(chapter: Chapter) -> Iterator[str]:
    for record in chapter.records:
        if record.status in CHECKED and not record.refuted:
            yield f"{chapter.name}, {record.label}: the check refutes no misprint, so it is none"


def undecided(chapter: Chapter) -> Iterator[str]:
    for record in chapter.records:
        if record.undecided:
            yield f"{chapter.name}, {record.label}: undecided: {'; '.join(record.undecided)}"


def peeking(chapter: Chapter) -> Iterator[str]:
    """What is derived comes from definitions, never from the formula that it is held against."""
    for source in chapter.sources:
        for node in ast.walk(ast.parse(source)):
            used = {getattr(node, "id", None), getattr(node, "attr", None)}
            if isinstance(node, ast.ImportFrom):
                used = {alias.name for alias in node.names}
            if found := used & TEXT:
                line = source.splitlines()[node.lineno - 1].strip()
                yield f"{chapter.name}: a check looks at the text it checks ({min(found)}): {line}"


RULES_OF_A_PAGE = (
    peeking,
    stopped,
    overlooked,
    without_label,
    without_record,
    without_equation,
    recorded_twice,
    refuting_nothing,
    undecided,
)


def problems_of(chapter: Chapter) -> list[str]:
    return [line for rule in RULES_OF_A_PAGE for line in rule(chapter)]


# ------------------------------------------------------------------------------ rules of the book


def displayed_twice(chapters: list[Chapter]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for chapter in chapters:
        for label in chapter.equations:
            if label in seen and not label.startswith("unlabelled-"):
                yield f"{chapter.name}, {label}: displayed in {seen[label]}, too"
            seen[label] = chapter.name


def unused_definitions(chapters: list[Chapter]) -> Iterator[str]:
    """A definition is held against what derivations use: one that none uses, against nothing.

    One that is held against the code describes the code, and needs no derivation.
    """
    if any(chapter.trouble for chapter in chapters):
        return
    records = [record for chapter in chapters for record in chapter.records]
    used = {name for record in records if record.status == "verified" for name in record.uses}
    for chapter in chapters:
        for record in chapter.records:
            if record.status != "definition" or record.kind == "code":
                continue
            if not used & {record.label, *record.provides}:
                yield f"{chapter.name}, {record.label}: no verified equation uses this definition"


def unknown_labels(chapters: list[Chapter]) -> Iterator[str]:
    known = {label for chapter in chapters for label in chapter.equations}
    for chapter in chapters:
        for record in chapter.records:
            for name in record.uses:
                if name.startswith("eq-") and name not in known:
                    yield f"{chapter.name}, {record.label}: uses {name}, which does not exist"


RULES_OF_THE_BOOK = (displayed_twice, unused_definitions, unknown_labels)


def unknown_labels_in(docs: Iterable[Docstring], chapters: Iterable[Chapter]) -> Iterator[str]:
    known = {label for chapter in chapters for label in chapter.equations}
    for doc in docs:
        for label in doc.labels:
            if label not in known:
                yield f"{doc.where}: names {label}, which does not exist"


def quoting_nothing(docs: Iterable[Docstring], chapters: list[Chapter]) -> Iterator[str]:
    docs = list(docs)
    labels = {doc.where: doc.labels for doc in docs}
    for quotation in quotations(docs, chapters):
        if not quotation.label:
            named = ", ".join(labels[quotation.where]) or "no equation (with :eq:)"
            shown = " ".join(quotation.tex.split())
            yield f"{quotation.where}: names {named}, and displays something else: {shown}"


def problems(chapters: list[Chapter], docs: list[Docstring]) -> list[str]:
    """Every breach of a rule, in the order of the book."""
    found = [line for chapter in chapters for line in problems_of(chapter)]
    found += [line for rule in RULES_OF_THE_BOOK for line in rule(chapters)]
    found += unknown_labels_in(docs, chapters)
    found += quoting_nothing(docs, chapters)
    found += too_many_exemptions(Totals.of(chapters, quotations(docs, chapters)))
    return found


# ----------------------------------------------------------------------------------------- totals


@dataclass(frozen=True)
class Totals:
    """How many equations are displayed, what is known of them, and what became of misprints."""

    equations: int
    verified: int
    definitions: int
    quotations: int
    exempt: int  # with what is quoted from an exempt equation
    misprints: int
    refuted: int
    unreadable: int
    equivalent: int

    @classmethod
    def of(cls, chapters: Iterable[Chapter], quoted: Iterable[Quotation] = ()) -> "Totals":
        chapters, quoted = list(chapters), list(quoted)
        records = [record for chapter in chapters for record in chapter.records]
        status = [record.status for record in records]
        not_checked = {record.label for record in records if record.status == "exempt"}
        blind = sum(quotation.label in not_checked for quotation in quoted)
        return cls(
            equations=sum(len(chapter.equations) for chapter in chapters) + len(quoted),
            verified=status.count("verified"),
            definitions=status.count("definition"),
            quotations=sum(bool(quotation.label) for quotation in quoted) - blind,
            exempt=status.count("exempt") + blind,
            misprints=sum(record.misprints for record in records),
            refuted=sum(record.refuted for record in records),
            unreadable=sum(record.unreadable for record in records),
            equivalent=sum(len(record.equivalent) for record in records),
        )

    @property
    def exempt_share(self) -> float:
        return self.exempt / self.equations if self.equations else 0.0

    def __str__(self) -> str:
        return (
            f"{self.equations} displayed equations: {self.verified} verified, "
            f"{self.definitions} definitions, {self.quotations} quotations, "
            f"{self.exempt} exempt ({self.exempt_share:.1%})\n"
            f"{self.misprints} misprints: {self.refuted} refuted, "
            f"{self.unreadable} unreadable, {self.equivalent} true as well"
        )


def too_many_exemptions(totals: Totals) -> Iterator[str]:
    if totals.exempt_share >= MOST_EXEMPT:
        yield (
            f"{totals.exempt} of {totals.equations} displayed equations are exempt, "
            f"{totals.exempt_share:.1%}; less than {MOST_EXEMPT:.0%} may be"
        )
