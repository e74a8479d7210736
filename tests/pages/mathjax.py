"""MathJax without a browser: the very files a page loads, run in an embedded V8."""

from __future__ import annotations

import importlib.util
import json
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from py_mini_racer import JSEvalException, MiniRacer


def released() -> Path:
    """Return the folder of the MathJax that `sphinx-mathjax-offline` carries."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("sphinx-mathjax-offline is not installed")
    return Path(package.submodule_search_locations[0]) / "static" / "mathjax"


class Outcome(NamedTuple):
    """What became of a page: its formulas, the failures, the number of its `.math` elements."""

    formulas: list[str]
    errors: list[tuple[str, str]]  # formula, message
    places: int


# Without a window MathJax looks for Node.  Its speech engine, part of the combined files but never
# started here, asks Node for two modules while it is read, and is content with empty ones.
NODE = """
var process = {env: {}};
var require = () => ({
  DOMImplementation: function () { this.createDocument = () => ({}); },
  install() {},
});
"""

# Extensions are loaded when a formula needs them: a request waits until Python has read the file.
# An unknown control sequence is shown in red; a colour no page uses tells it from red text.
SETTINGS = """
var wanted = [], failure = '', unknown = 'unknown control sequence', outcome;
var MathJax = globalThis.MathJax || {};
MathJax.loader = {...MathJax.loader, paths: {...MathJax.loader?.paths, mathjax: ''}};
MathJax.loader.load = ['adaptors/liteDOM', ...(MathJax.loader.load || [])];
MathJax.loader.require = (file) =>
  new Promise((found, missing) => wanted.push({file, found, missing}));
MathJax.loader.failed = (error) => { failure = error.message; };
MathJax.startup = {...MathJax.startup, typeset: false};
MathJax.tex = {...MathJax.tex, noundefined: {color: unknown}};
"""

TYPESET = r"""
// \toggle and \mathtip listen to the reader's mouse.
MathJax._.adaptors.lite.Element.LiteElement.prototype.addEventListener = () => {};

function typeset(html) {
  // Macros, labels and equation numbers live as long as a page does: so does a parser.
  const startup = MathJax.startup;
  startup.input = startup.getInputJax();
  startup.output = startup.getOutputJax();
  const page = startup.getDocument(html);
  const places = page.adaptor.getElements(['.math'], page.document)
    .map((place) => ({place, text: ownText(page.adaptor, place)}));
  outcome = null;
  MathJax._.mathjax.mathjax.handleRetriesFor(() => page.render()).then(
    () => { outcome = report(page, places); },
    // The rest of the page stays untouched, in a browser too.
    (error) => {
      const errors = [['all formulas', error.message]];
      outcome = {formulas: [], errors, places: places.length};
    });
}

function ownText(dom, element) {
  const texts = dom.childNodes(element).filter((node) => dom.kind(node) === '#text');
  return texts.map((node) => dom.value(node)).join('').trim();
}

function report(page, places) {
  const formulas = [], errors = [];
  for (const item of page.math) {
    if (item.isEscaped) continue;
    const formula = item.start.delim + item.math + item.end.delim;
    formulas.push(formula);
    const visit = (node) => {
      if (node.isKind('merror')) {
        errors.push([formula, node.attributes.get('data-mjx-error')]);
        return;
      }
      if (node.isKind('mtext')) {
        const text = node.childNodes.map((child) => child.getText?.() ?? '').join('');
        if (node.attributes.get('mathcolor') === unknown)
          errors.push([formula, `Undefined control sequence ${text}`]);
        else if (text.includes('\\'))  // \text{batch\_size}: in text a backslash is a backslash
          errors.push([formula, `Shown with its backslash: ${text}`]);
      }
      (node.childNodes || []).forEach(visit);
    };
    visit(item.root);
    if (item.outputData.error) errors.push([formula, item.outputData.error.message]);
  }
  // A formula whose end is hidden by a brace is no formula to MathJax: its TeX stays on the page.
  for (const {place, text} of places)
    if (ownText(page.adaptor, place)) errors.push([text, 'Shown as it is: its end is not found']);
  return {formulas, errors, places: places.length};
}
"""


class MathJax:
    """One MathJax with the settings of a page: a script that assigns `window.MathJax`."""

    def __init__(self, component: Path, settings: str = "") -> None:
        self._folder = component.parent
        self._v8 = MiniRacer()
        # V8's thread must end before Python does, or both wait forever; so even after a failure.
        self.close = weakref.finalize(self, self._v8.close)
        self._run(NODE)
        # The settings are written for a window; MathJax must not find one.
        self._run(f"var window = globalThis; {settings}\n; window = undefined;")
        self._run(SETTINGS)
        self._run(component.read_text(encoding="utf-8"))
        self._load_extensions()
        if failure := self._v8.eval("failure"):
            raise RuntimeError(f"MathJax does not start: {failure}")
        self._run(TYPESET)

    @property
    def macros(self) -> dict[str, Any]:
        """The macros of the settings: a definition, or [definition, number of arguments, ...]."""
        return dict(self._v8.execute("MathJax.config.tex.macros || {}"))

    def typeset(self, html: str) -> Outcome:
        """Find and typeset the formulas of a page as the browser would."""
        self._run(f"typeset({json.dumps(html)})")
        self._load_extensions()
        outcome = self._v8.execute("outcome")
        outcome["errors"] = [(formula, message) for formula, message in outcome["errors"]]
        return Outcome(**outcome)

    def _run(self, code: str) -> None:
        try:
            self._v8.eval(f"{code}\n;0", timeout_sec=60)
        except JSEvalException as error:
            # V8 quotes the line, and a line here can be a megabyte long.
            raise RuntimeError(str(error)[:200]) from None

    def _load_extensions(self) -> None:
        while file := self._v8.eval("wanted.length ? wanted[0].file : ''"):
            path = self._folder / str(file).lstrip("/")
            if str(file).endswith("adaptors/liteDOM.js"):
                # A page has a DOM of its own, and no need of this file.
                path = released() / "adaptors" / "liteDOM.js"
            if path.is_file():
                self._run(path.read_text(encoding="utf-8"))
                self._run("wanted.shift().found()")
            else:
                self._run("wanted[0].missing(new Error(`no file ${wanted.shift().file}`))")
