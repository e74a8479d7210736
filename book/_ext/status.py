"""The roles {verified}, {measured} and {quoted}: how a statement of the book is known.

Their text is parsed as usual; to put a role inside, use more backticks outside:
``{measured}`` ``the error is {glue:text}`error` `` `` .
"""

from docutils import nodes
from sphinx.util.docutils import SphinxRole

MEANING = {
    "verified": "checked symbolically or by exact enumeration in this book",
    "measured": "found by a seeded experiment in this book",
    "quoted": "stated by the source, not checked in this book",
}


class Status(SphinxRole):
    """A badge with the role's name, then the statement."""

    def run(self):
        badge = nodes.abbreviation(
            self.name, self.name, classes=["status", self.name], explanation=MEANING[self.name]
        )
        statement, messages = self.inliner.parse(self.text, self.lineno, self.inliner, badge)
        return [badge, nodes.Text(" "), *statement], messages


def setup(app):
    for name in MEANING:
        app.add_role(name, Status())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
