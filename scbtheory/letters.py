"""Letter bigrams of English: a real transition matrix to learn."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"


def count_bigrams(text: str) -> NDArray[np.int64]:
    """Count which symbol follows which, reading the text as a circle.

    Upper case becomes lower case, and every run of anything but the letters a to z one blank.
    Reading in a circle (the first symbol follows the last) makes the frequencies of the symbols
    exactly stationary under the transition matrix.

    Parameters
    ----------
    text : str
        At least two symbols long.

    Returns
    -------
    ndarray of int, shape (27, 27)
        Entry ``[i, j]``: how often ``SYMBOLS[i]`` follows ``SYMBOLS[j]``.

    Examples
    --------
    >>> counts = count_bigrams("Banana!")
    >>> int(counts[SYMBOLS.index("n"), SYMBOLS.index("a")]), int(counts.sum())
    (2, 7)
    """
    letters = "".join(c if "a" <= c <= "z" else " " for c in text.lower())
    symbols = np.array([SYMBOLS.index(c) for c in " ".join(letters.split()) + " "])
    if len(symbols) < 2:
        raise ValueError(f"text: expected at least two symbols, came {text!r}")
    counts = np.zeros((len(SYMBOLS), len(SYMBOLS)), dtype=np.int64)
    np.add.at(counts, (np.roll(symbols, -1), symbols), 1)
    return counts


def english_counts() -> NDArray[np.int64]:
    """The bigram counts of the Python language reference, shape (27, 27).

    They are what `count_bigrams` gives for the help topics that ship with CPython 3.11.7 (module
    ``pydoc_data.topics``), joined by blanks in the order of their names.

    Examples
    --------
    >>> counts = english_counts()
    >>> P = counts / counts.sum(axis=0)
    >>> SYMBOLS[P[:, SYMBOLS.index("q")].argmax()]
    'u'
    """
    table = files("scbtheory").joinpath("english_bigrams.csv").read_text(encoding="ascii")
    rows = [line for line in table.splitlines() if not line.startswith("#")]
    return np.array([[int(entry) for entry in row.split(",")] for row in rows])
