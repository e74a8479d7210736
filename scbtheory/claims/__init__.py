"""Equations checked as they are displayed, and checks shown to be able to fail.

`Page` holds what a chapter displays; `Case` gives its names values. Needs SymPy:
``pip install "scbtheory[claims]"``.
"""

from scbtheory.claims.bigram import Bigram
from scbtheory.claims.decide import Counterexample, Judge, nonnegative
from scbtheory.claims.misprints import Misprint, misprints
from scbtheory.claims.page import KINDS, Failed, Page, Record, displayed
from scbtheory.claims.reader import Unreadable, read
from scbtheory.claims.values import Case

__all__ = [
    "KINDS",
    "Bigram",
    "Case",
    "Counterexample",
    "Failed",
    "Judge",
    "Misprint",
    "Page",
    "Record",
    "Unreadable",
    "displayed",
    "misprints",
    "nonnegative",
    "read",
]
