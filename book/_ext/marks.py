"""Beside each equation, what is known of it; and the page that collects this for the whole book.

Both come from the records that executed cells left in the notebooks being built: what a page says
was checked is what was checked when its notebook ran.
"""

import json
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parents[1]))

import ledger

from scbtheory.claims import KINDS

WORD = {"verified": "verified", "definition": "definition", "exempt": "not checked"}
MEANING = {
    "verified": "derived anew and compared with the formula as it is displayed: see the check",
    "definition": "the formula as displayed is the one that the derivations use: see the check",
    "exempt": "no cell checks this formula: see the reason",
}
logger = logging.getLogger(__name__)


def cells_of(env, docname):
    """The cells of the notebook that a page is made from; none if it is made otherwise."""
    path = Path(env.doc2path(docname))
    return json.loads(path.read_text("utf-8"))["cells"] if path.suffix == ".ipynb" else []


def anchor(label):
    return f"check-{label}"


# ---------------------------------------------------------------------------------------- marks


def mark_equations(app, doctree):
    """Put a mark below each equation that a cell speaks of, and an anchor where the cell speaks."""
    records = {}
    for index, record, text in ledger.claims_in(cells_of(app.env, app.env.docname)):
        records[record.label] = record
        if not set_anchor(doctree, index, record.label, text):
            logger.warning("%s: its check shows no output", record.label, location=doctree)
    for equation in list(doctree.findall(nodes.math_block)):
        if record := records.get(equation.get("label")):
            equation.parent.insert(equation.parent.index(equation) + 1, mark(record))


def set_anchor(doctree, index, label, text):
    cells = [cell for cell in doctree.findall(nodes.container) if cell.get("cell_index") == index]
    for cell in cells:
        for output in cell.findall(nodes.literal_block):
            if output.astext().strip() == text.strip():
                output["ids"].append(anchor(label))
                return True
    return False


def mark(record):
    text = WORD[record.status]
    if record.status == "verified":
        plural = "" if record.refuted == 1 else "s"
        text += f" · {record.refuted} misprint{plural} refuted"
    link = nodes.reference(
        "", text, internal=True, refid=anchor(record.label), reftitle=MEANING[record.status]
    )
    line = nodes.paragraph("", "", link)
    return nodes.container("", line, classes=["claim", f"claim-{record.status}"])


# -------------------------------------------------------------------------- what has been checked


class Claims(SphinxDirective):
    """One part of the page: `totals`, `kinds`, `equations`, `quotations` or `equivalent`."""

    required_arguments = 1

    def run(self):
        docnames = [name for name in self.env.external_site_map if name in self.env.found_docs]
        self.pages = {name: self.read(name) for name in docnames}
        self.chapters = [chapter for chapter in self.pages.values() if chapter.equations]
        self.quoted = ledger.quotations(ledger.docstrings(), self.chapters)
        return getattr(self, self.arguments[0])()

    def read(self, docname):
        cells = cells_of(self.env, docname)
        records = [record for _, record, _ in ledger.claims_in(cells)]
        return ledger.chapter(docname.rpartition("/")[2], ledger.markdown(cells), records)

    # ------------------------------------------------------------------------------- the parts

    def totals(self):
        t = ledger.Totals.of(self.chapters, self.quoted)
        equations = (
            f"{t.equations} displayed equations: {t.verified} verified, {t.definitions} "
            f"definitions, {t.quotations} quotations, {t.exempt} exempt ({t.exempt_share:.1%})."
        )
        misprints = (
            f"{t.misprints} misprints: {t.refuted} refuted, {t.unreadable} unreadable, "
            f"{t.equivalent} true as well."
        )
        return [nodes.bullet_list("", *(item(nodes.Text(x)) for x in (equations, misprints)))]

    def kinds(self):
        used = {r.kind for chapter in self.chapters for r in chapter.records}
        terms = [
            nodes.definition_list_item(
                "",
                nodes.term("", kind),
                nodes.definition("", nodes.paragraph("", f"{meaning[0].upper()}{meaning[1:]}.")),
            )
            for kind, meaning in KINDS.items()
            if kind in used
        ]
        return [nodes.definition_list("", *terms)] if terms else []

    def equations(self):
        return [
            self.section(docname, chapter)
            for docname, chapter in self.pages.items()
            if chapter.equations
        ]

    def section(self, docname, chapter):
        title = self.title(docname)
        section = nodes.section("", nodes.title("", title), ids=[f"checked-{chapter.name}"])
        head = [nodes.Text(text) for text in ("Equation", "Status", "How, and for which sizes")]
        head.append(nodes.Text("Misprints refuted"))
        rows = [self.row(docname, chapter, label) for label in chapter.equations]
        section += table(head, rows)
        return section

    def title(self, docname):
        heading = re.search(r"^# (.*)", ledger.markdown(cells_of(self.env, docname)), re.MULTILINE)
        return heading[1] if heading else docname

    def row(self, docname, chapter, label):
        equation = [self.equation(label), nodes.Text(" "), nodes.literal("", label)]
        record = chapter.record_of.get(label)
        if record is None:
            return [equation, [nodes.Text("no record")], [], []]
        status = self.check(docname, record)
        if record.status == "exempt":
            return [equation, [status], self.inline(record.note), []]
        sizes = record.sizes.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
        how = [nodes.Text("; ".join(filter(None, (record.kind, sizes))))]
        if record.note:
            how += [nodes.Text(". "), *self.inline(record.note)]
        counts = [nodes.Text(f"{record.refuted} of {record.misprints}")]
        rest = [
            f"{number} {what}"
            for number, what in (
                (record.unreadable, "unreadable"),
                (len(record.equivalent), "true as well"),
            )
            if number
        ]
        if rest:
            counts.append(nodes.Text(f" ({', '.join(rest)})"))
        return [equation, [status], how, counts]

    def quotations(self):
        if not self.quoted:
            return []
        rows = [[[self.name_in_code(q.where)], [self.equation(q.label)]] for q in self.quoted]
        return [table([nodes.Text("Documentation of"), nodes.Text("quotes")], rows)]

    def equivalent(self):
        items = []
        for chapter in self.chapters:
            for record in chapter.records:
                if record.equivalent:
                    changes = nodes.bullet_list("", *(item(*change(x)) for x in record.equivalent))
                    of = [self.equation(record.label), nodes.Text(" ")]
                    items.append(
                        nodes.list_item(
                            "",
                            nodes.paragraph("", "", *of, nodes.literal("", record.label)),
                            changes,
                        )
                    )
        return [nodes.bullet_list("", *items)] if items else [nodes.paragraph("", "None.")]

    # ----------------------------------------------------------------------------------- links

    def equation(self, label):
        """The number of an equation, as a link to it."""
        if not label:
            return nodes.Text("nothing")
        shown = nodes.literal("", label, classes=["xref", "eq"])
        return addnodes.pending_xref(
            "", shown, refdomain="math", reftype="eq", reftarget=label, refdoc=self.env.docname
        )

    def check(self, docname, record):
        """The status, as a link to the output of the cell that found it."""
        page = self.env.app.builder.get_relative_uri(self.env.docname, docname)
        return nodes.reference(
            "",
            WORD[record.status],
            internal=True,
            refuri=f"{page}#{anchor(record.label)}",
            reftitle=MEANING[record.status],
        )

    def name_in_code(self, where):
        short = nodes.literal("", where.removeprefix("scbtheory."))
        return addnodes.pending_xref(
            "",
            short,
            refdomain="py",
            reftype="obj",
            reftarget=where,
            refdoc=self.env.docname,
            refwarn=True,
        )

    def inline(self, text):
        """A sentence of a record: it may hold formulas and roles, as the chapter's text does."""
        found, messages = self.state.inline_text(text, self.lineno)
        return [*found, *messages]


def item(*inline):
    return nodes.list_item("", nodes.paragraph("", "", *inline))


def change(misprint):
    """A misprint as it is recorded, "kind: was -> now", with its TeX set as code."""
    kind, _, rest = misprint.partition(": ")
    was, _, now = rest.partition(" -> ")
    found = [nodes.Text(f"{kind}: ")]
    for text, then in ((was, " becomes "), (now, "")):
        found += [nodes.Text(text) if text == "nothing" else nodes.literal("", text)]
        found += [nodes.Text(then)]
    return found


def table(head, rows):
    """A table of inline nodes."""
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", line([[cell] for cell in head]))
    group += nodes.tbody("", *map(line, rows))
    return nodes.table("", group, classes=["claims", "colwidths-auto"])


def line(cells):
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def setup(app):
    app.connect("doctree-read", mark_equations)
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
