"""Version and date for the foot of each page (book/_templates/colophon.html)."""

import os
import time
from importlib.metadata import version


def add_version_and_date(app, pagename, templatename, context, doctree):
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    context["book_version"] = version("scbtheory")
    context["book_date"] = time.strftime("%Y-%m-%d", time.gmtime(seconds))


def setup(app):
    app.connect("html-page-context", add_version_and_date)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
