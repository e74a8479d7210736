"""Products with the one-hot matrices of a batch, which are never formed.

Samples with one last token share their attention vector. So their tokens at a position are read
together, as the digits of one number: a single addition to a histogram, or a single look-up, then
serves them all. With N = 3 and six samples the numbers are below 729, and the work a sixth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scbtheory._arguments import Array
from scbtheory._memory import scratch

# The numbers stay below: histograms and tables of this size are in the cache.
NUMBERS = 2**12
# What packing costs, in nanoseconds: for each position of a pack, each token of it, and each digit
# value of each number.
PER_POSITION, PER_TOKEN, PER_VALUE = 2.8, 0.1, 0.2
# Groups of packs with fewer numbers than this are added up all at once.
FEW = 1000


def packs(
    context: NDArray[np.integer],
    last: NDArray[np.integer],
    vocab_size: int,
    samples: NDArray[np.intp],
    block: int,
) -> Iterator[Packs]:
    """The samples in packs, as many at a time as a block of this many numbers holds."""
    counts = np.bincount(last[samples], minlength=vocab_size)
    digits = cheapest_digits(counts, context.shape[1])
    of_token = -(-counts // digits)  # packs for each last token
    samples = samples[np.argsort(last[samples], kind="stable")]
    # The last pack of a token may have places left: those of the next begin behind them.
    left = np.cumsum(of_token * digits - counts) - (of_token * digits - counts)
    rows = np.full((of_token.sum(), digits), -1)
    rows.ravel()[np.arange(len(samples)) + np.repeat(left, counts)] = samples
    tokens = np.repeat(np.arange(vocab_size), of_token)
    step = max(1, block // max(context.shape[1], vocab_size**digits))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        yield Packs(context, vocab_size, rows[part], tokens[part], block)


def cheapest_digits(counts: NDArray[np.intp], length: int) -> int:
    """How many samples to pack into a number, given how many there are of each last token."""
    digits, cost = cost_of_a_pack(len(counts), length)
    of_token = -(-counts // digits)
    return int(digits[(of_token.sum(axis=1) * cost).argmin(), 0])


@lru_cache(maxsize=8)
def cost_of_a_pack(base: int, length: int) -> tuple[NDArray[np.intp], Array]:
    """The numbers of digits that come into question, as a column, and what a pack of each costs."""
    most = max(1, int(math.log(NUMBERS, max(base, 2))))
    digits = np.arange(1, most + 1)
    table = np.where(digits > 1, PER_VALUE * digits * base * float(base) ** digits, 0.0)
    cost = length * (PER_POSITION + PER_TOKEN * digits) + table
    return digits[:, None], np.asarray(cost, dtype=np.float64)


@lru_cache(maxsize=8)
def digit_is(base: int, digits: int) -> Array:
    """Which digits a number has: entry (n, base * d + i) is 1 where digit d of n is i."""
    place = base ** np.arange(digits - 1, -1, -1)
    found = np.arange(base**digits)[:, None] // place % base
    return (found[:, :, None] == np.arange(base)).reshape(len(found), base * digits).astype(float)


class Packs:
    """Some packs of samples, ordered by their last token.

    Attributes
    ----------
    rows : ndarray of int, shape (packs, digits)
        The samples; -1 where a place is left.
    last : ndarray of int, shape (packs,)
        The last token of each pack.
    """

    def __init__(
        self,
        context: NDArray[np.integer],
        vocab_size: int,
        rows: NDArray[np.intp],
        last: NDArray[np.intp],
        block: int,
    ) -> None:
        self.vocab_size, self.rows, self.last = vocab_size, rows, last
        packs, digits = rows.shape
        length = context.shape[1]
        self.size = vocab_size**digits
        self.cells = self._numbers(context)
        # Several packs are one long histogram. A single one may be longer than a block, and is
        # worked on in parts.
        if packs > 1:
            self.parts = [slice(None)]
            cells = scratch("cells", (packs, length), np.intp)
            cells[:] = self.cells
            cells += self.size * np.arange(packs)[:, None]
            self.cells = cells
        else:
            self.parts = [slice(start, start + block) for start in range(0, length, block)]

    def _numbers(self, context: NDArray[np.integer]) -> NDArray[np.integer]:
        """The tokens of each pack, read as digits: the first of its samples is the first digit."""
        packs, digits = self.rows.shape
        shape = (packs, context.shape[1])
        numbers = scratch("numbers", shape, context.dtype)
        context.take(self.rows[:, 0], axis=0, out=numbers, mode="clip")
        tokens = scratch("tokens", shape, context.dtype)
        for digit in range(1, digits):
            if np.iinfo(numbers.dtype).max < self.vocab_size ** (digit + 1) - 1:
                wide = scratch("wide numbers", shape, np.uint16)
                wide[:] = numbers
                numbers = wide
            numbers *= self.vocab_size
            context.take(self.rows[:, digit], axis=0, out=tokens, mode="clip")
            np.add(numbers, tokens, out=numbers, casting="unsafe")
        return numbers

    def read(self, A: Array) -> Array:
        """X a for each sample, shape (packs, digits, N): what attention falls on the symbols.

        Zero for a place that is left.
        """
        packs, digits = self.rows.shape
        if packs > 1:
            weights = scratch("weights", self.cells.shape)
            np.take(A.T, self.last, axis=0, out=weights, mode="clip")
        else:
            weights = A.T[self.last]
        sums = np.zeros(packs * self.size)
        for part in self.parts:
            cells, shares = self.cells[:, part].ravel(), weights[:, part].ravel()
            sums += np.bincount(cells, shares, minlength=len(sums))
        if digits > 1:
            sums = sums.reshape(packs, self.size) @ digit_is(self.vocab_size, digits)
        read = sums.reshape(packs, digits, self.vocab_size)
        read[self.rows < 0] = 0
        return read

    def spread(self, w: Array, out: Array) -> None:
        """Add X' w of each sample to the column of its last token: w's entry for every token."""
        packs, digits = self.rows.shape
        table = w.reshape(packs, digits * self.vocab_size)
        if digits > 1:
            table = table @ digit_is(self.vocab_size, digits).T
        cuts = [0, *(np.flatnonzero(self.last[1:] != self.last[:-1]) + 1).tolist(), packs]
        for part in self.parts:
            cells = self.cells[:, part]
            found = scratch("found", cells.shape)
            table.take(cells, out=found, mode="clip")
            if len(cuts) * FEW > found.size and packs > 1:
                length = len(out)
                places = length * self.last[:, None] + np.arange(length)
                sums = np.bincount(places.ravel(), found.ravel(), minlength=out.size)
                out += sums.reshape(out.T.shape).T
                continue
            for start, stop in pairwise(cuts):
                total = found[start] if stop == start + 1 else found[start:stop].sum(axis=0)
                out.T[self.last[start], part] += total


class Sparse:
    """Samples of which only some positions matter, the same for each with one last token.

    Attributes
    ----------
    rows : ndarray of int, shape (samples, 1)
        The samples.
    """

    def __init__(
        self,
        context: NDArray[np.integer],
        last: NDArray[np.integer],
        vocab_size: int,
        samples: NDArray[np.intp],
        positions: Positions,
    ) -> None:
        self.rows, self.last, self.positions = samples[:, None], last[samples], positions
        self.vocab_size = vocab_size
        tokens = context[self.rows, positions.table[self.last]]
        self.cells = tokens + vocab_size * np.arange(len(samples))[:, None]

    def read(self, A: Array) -> Array:
        """X a for each sample, shape (samples, 1, N), if a is zero at all other positions."""
        table = np.zeros(self.positions.table.shape)
        table[self.positions.column, self.positions.place] = self.positions.of(A)
        size = self.vocab_size * len(self.rows)
        read = np.bincount(self.cells.ravel(), table[self.last].ravel(), minlength=size)
        return np.asarray(read, dtype=np.float64).reshape(len(self.rows), 1, self.vocab_size)

    def spread(self, w: Array, out: Array) -> None:
        """Add X' w of each sample to the column of its last token, at these positions."""
        columns, places = self.positions.table.shape
        cells = places * self.last[:, None] + np.arange(places)
        found = w.take(self.cells)
        sums = np.bincount(cells.ravel(), found.ravel(), minlength=columns * places)
        entries = self.positions.entries
        out.T.ravel()[entries] += sums.reshape(columns, places)[
            self.positions.column, self.positions.place
        ]


class Positions:
    """The places of the true entries of a mask of shape (T, N), column by column.

    Attributes
    ----------
    table : ndarray of int, shape (N, most)
        The positions in each column, filled up with zeros.
    column, place : ndarray of int
        Where the table holds a true entry.
    entries : ndarray of int
        The true entries, counted down the columns.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        length, columns = mask.shape
        self.entries = np.flatnonzero(mask.T)
        self.column, position = np.divmod(self.entries, length)
        counts = np.bincount(self.column, minlength=columns)
        self.most = int(counts.max())
        self.place = np.arange(len(self.entries)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.table = np.zeros((columns, self.most), np.intp)
        self.table[self.column, self.place] = position

    def of(self, matrix: Array) -> Array:
        """The entries of a matrix at these places."""
        return matrix.T.ravel()[self.entries]
