"""The products of `scbtheory._onehot` as plain loops, for a compiler.

With numba installed (``pip install scbtheory[fast]``) they are compiled when first needed, kept on
disk, and used instead: the same results to rounding, in a half to a quarter of the time. Without
it nothing is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbtheory._arguments import Array

FEW_SYMBOLS = 4  # up to so many are counted one after the other, many positions at once


def read(
    context: NDArray[np.integer], samples: NDArray[np.intp], last: Any, columns: Array, sums: Array
) -> None:
    """Add to row b of ``sums`` the attention that falls on each symbol in sample b."""
    for b in range(len(samples)):
        tokens, a = context[samples[b]], columns[last[b]]
        # Four sums, so that an addition need not wait for the one before it.
        parts = np.zeros((4, sums.shape[1]))
        whole = len(tokens) // 4 * 4
        for t in range(0, whole, 4):
            parts[0, tokens[t]] += a[t]
            parts[1, tokens[t + 1]] += a[t + 1]
            parts[2, tokens[t + 2]] += a[t + 2]
            parts[3, tokens[t + 3]] += a[t + 3]
        for t in range(whole, len(tokens)):
            parts[0, tokens[t]] += a[t]
        for n in range(sums.shape[1]):
            sums[b, n] += (parts[0, n] + parts[1, n]) + (parts[2, n] + parts[3, n])


def read_few(
    context: NDArray[np.integer], samples: NDArray[np.intp], last: Any, columns: Array, sums: Array
) -> None:
    """The same for few symbols: a compiler that may reorder sums takes many positions at once."""
    for b in range(len(samples)):
        tokens, a = context[samples[b]], columns[last[b]]
        for n in range(sums.shape[1]):
            total = 0.0
            for t in range(len(tokens)):
                total += a[t] if tokens[t] == n else 0.0
            sums[b, n] += total


def spread(
    context: NDArray[np.integer], samples: NDArray[np.intp], last: Any, w: Array, columns: Array
) -> None:
    """Add to the column of each sample's last token w's entry for each of its tokens."""
    for b in range(len(samples)):
        tokens, column, values = context[samples[b]], columns[last[b]], w[b]
        for t in range(len(tokens)):
            column[t] += values[tokens[t]]


class Kernels(NamedTuple):
    """The three loops, compiled or not."""

    read: Callable[..., None]
    read_few: Callable[..., None]
    spread: Callable[..., None]


@lru_cache(maxsize=1)
def compiled() -> Kernels | None:
    """The loops compiled, if there is a compiler."""
    try:
        from numba import njit
    except ImportError:
        return None
    options: dict[str, Any] = {"nogil": True, "cache": True}
    return Kernels(
        njit(**options)(read),
        njit(**options, fastmath={"reassoc", "nsz"})(read_few),
        njit(**options)(spread),
    )


class Looped:
    """Some samples, with the products of `scbtheory._onehot.Packs`."""

    def __init__(
        self,
        context: NDArray[np.integer],
        last: NDArray[np.integer],
        vocab_size: int,
        samples: NDArray[np.intp],
        kernels: Kernels,
    ) -> None:
        self.rows, self.last = samples[:, None], last[samples].astype(np.intp)
        self.context, self.samples = np.ascontiguousarray(context), samples
        self.vocab_size, self.kernels = vocab_size, kernels

    def read(self, A: Array) -> Array:
        """X a for each sample, shape (samples, 1, N)."""
        sums = np.zeros((len(self.samples), self.vocab_size))
        few = self.vocab_size <= FEW_SYMBOLS
        kernel = self.kernels.read_few if few else self.kernels.read
        kernel(self.context, self.samples, self.last, A.T, sums)
        return sums[:, None]

    def spread(self, w: Array, out: Array) -> None:
        """Add X' w of each sample to the column of its last token."""
        self.kernels.spread(self.context, self.samples, self.last, w, out.T)
