"""Check every displayed equation: run the cells tagged `claims`, and print what they found.

python book/claims.py                  every page, and the rules of the book as a whole
python book/claims.py scb training     these pages, and the rules of a page
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace

import build
import jupytext
import ledger

from scbtheory.claims import Page

HEAD = ("", "status", "kind", "misprints", "refuted", "unreadable", "true as well", "sizes", "code")
NUMBERS = range(3, 7)
SECONDS_PER_CELL = 120  # several times what the slowest needs


def cells(name: str) -> list[str]:
    """The cells of a page that check its equations."""
    notebook = jupytext.read(build.BOOK / "md" / f"{name}.md", fmt="md:myst")
    return [
        cell.source
        for cell in notebook.cells
        if build.is_code(cell) and "claims" in cell.metadata.get("tags", [])
    ]


def run(name: str, sources: list[str]) -> tuple[dict, str]:
    """Run cells in one fresh namespace; return it, and what went wrong (or "")."""
    namespace = {"__name__": "__main__"}
    for number, source in enumerate(sources, start=1):
        try:
            with contextlib.redirect_stdout(io.StringIO()), at_most(SECONDS_PER_CELL):
                exec(compile(source, f"{name}, claims cell {number}", "exec"), namespace)
        except Exception as error:
            return namespace, f"claims cell {number}: {type(error).__name__}: {error}"
    return namespace, ""


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Stop what takes longer: a formula that cannot be decided may keep SymPy busy for ever.

    Seconds of work, not of waiting: other programs may keep the processor for as long.
    """

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def check(name: str) -> ledger.Chapter:
    """A page with the records that its cells make now, run where the notebook runs."""
    os.environ["SCBTHEORY_PAGES"] = str(build.BOOK / "md")
    os.chdir(build.BOOK)
    sources = cells(name)
    namespace, trouble = run(name, sources)
    # Each page once, however many names it has.
    pages = {id(value): value for value in namespace.values() if isinstance(value, Page)}
    records = [record for page in pages.values() for record in page.records.values()]
    text = (build.BOOK / "md" / f"{name}.md").read_text("utf-8")
    return replace(ledger.chapter(name, text, records, trouble), sources=tuple(sources))


def timed(name: str) -> tuple[ledger.Chapter, float]:
    start = time.perf_counter()
    return check(name), time.perf_counter() - start


def check_all(names: list[str]) -> list[ledger.Chapter]:
    """All pages, in their order; each is named when it is done."""
    with ProcessPoolExecutor(2) as pool:
        running = {pool.submit(timed, name): name for name in names}
        found = {}
        for future in as_completed(running):
            chapter, seconds = future.result()
            found[running[future]] = chapter
            if chapter.equations:
                print(f"  {chapter.name:<16}{seconds:6.1f} s", flush=True)
    return [found[name] for name in names]


def table(chapters: Iterable[ledger.Chapter], docs: list[ledger.Docstring]) -> str:
    """What is known of each equation, a line for each."""
    chapters, functions = list(chapters), ledger.implemented_by(docs)
    lines = [HEAD]
    for chapter in chapters:
        if chapter.equations:
            lines += [(chapter.name,), *rows(chapter, functions)]
    if quoted := ledger.quotations(docs, chapters):
        lines.append(("API reference",))
        lines += [(f"  {q.where.removeprefix('scbtheory.')}", quotation(q)) for q in quoted]
    columns = [[line[i] for line in lines if len(line) == len(HEAD)] for i in range(len(HEAD))]
    columns[0] = [line[0] for line in lines]
    widths = [max(map(len, column)) for column in columns]
    text = [
        "  ".join(
            cell.rjust(width) if i in NUMBERS else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in lines
    ]
    return "\n".join(text)


def rows(chapter: ledger.Chapter, functions: dict[str, list[str]]) -> list[tuple[str, ...]]:
    found = []
    for label in chapter.equations:
        r = chapter.record_of.get(label)
        code = ", ".join(functions.get(label, ()))
        if r is None:
            found.append((f"  {label}", "no record", "", "", "", "", "", "", code))
        elif r.status == "exempt":
            found.append((f"  {label}", r.status, "", "", "", "", "", r.note, code))
        else:
            counts = (r.misprints, r.refuted, r.unreadable, len(r.equivalent))
            found.append((f"  {label}", r.status, r.kind, *map(str, counts), r.sizes, code))
    return found


def quotation(quoted: ledger.Quotation) -> str:
    return f"quoted from {quoted.label}" if quoted.label else "quotes nothing"


def main(arguments: Sequence[str] = ()) -> None:
    pages = build.pages_in_toc()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="*", help="check these pages alone")
    chosen = parser.parse_args(arguments).page
    if unknown := sorted({*chosen} - {*pages}):
        parser.error(f"page: expected some of {', '.join(pages)}, came {', '.join(unknown)}")

    start = time.perf_counter()
    # What docstrings quote, and what definitions are for, only the whole book can tell.
    docs = [] if chosen else list(ledger.docstrings())
    chapters = check_all(chosen or pages)
    print(f"\n{table(chapters, docs)}")
    print(f"\n{ledger.Totals.of(chapters, ledger.quotations(docs, chapters))}")
    print(f"{time.perf_counter() - start:.1f} s")
    if chosen:
        found = [line for chapter in chapters for line in ledger.problems_of(chapter)]
    else:
        found = ledger.problems(chapters, docs)
    if found:
        sys.exit("\n".join(["", *found]))


if __name__ == "__main__":
    main(sys.argv[1:])
