"""One-layer transformers on sparse contextual bigrams: predict, loss, gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbtheory._arguments import Array, matrix, read_only
from scbtheory.scb import Batch, SparseContextualBigram

# Up to this vocabulary, N - 1 indicator matrices and a matrix product are faster than a gather.
MASKS_UP_TO = 8
BLOCK_TOKENS = 2**17  # one block of indicators then fits the cache, and long batches the memory


@dataclass(frozen=True, eq=False)
class LinearTransformer:
    r"""The one-layer linear transformer :math:`f(X, x_{T+1}) = V X A\, x_{T+1}`.

    Equation :eq:`eq-model`. Here :math:`x_{T+1}` is one-hot, so that the last token
    :math:`k` selects column :math:`a^{(k)}` of :math:`A`.

    Parameters
    ----------
    V : array_like, shape (N, N)
        Value matrix; the truth is :math:`P`.
    A : array_like, shape (T, N)
        Attention matrix; the truth is :math:`Q`.

    Raises
    ------
    ValueError
        If the shapes do not fit or an entry is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> model = LinearTransformer.initial(task)
    >>> batch = task.sample(100, np.random.default_rng(1))
    >>> bool(np.allclose(model.predict(batch), task.mu))
    True
    """

    V: Array
    A: Array

    def __post_init__(self) -> None:
        V, A = matrix("V", self.V), matrix("A", self.A)
        for name, array, shape in (("V", V, (len(V),) * 2), ("A", A, (len(A), len(V)))):
            if array.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, came {array.shape}")
            object.__setattr__(self, name, read_only(array))

    @classmethod
    def initial(cls, task: SparseContextualBigram) -> LinearTransformer:
        r"""The start :math:`V_0 = \mu 1^\top`, :math:`A_0 = 11^\top/T`. Equation :eq:`eq-start`."""
        N, T = task.vocab_size, task.length
        return cls(np.tile(task.mu[:, None], (1, N)), np.full((T, N), 1 / T))

    @classmethod
    def truth(cls, task: SparseContextualBigram) -> LinearTransformer:
        """The transformer that is the Bayes predictor: V = P, A = Q."""
        return cls(task.P, task.Q)

    @property
    def vocab_size(self) -> int:
        """The number N of symbols."""
        return self.V.shape[0]

    @property
    def length(self) -> int:
        """The number T of positions."""
        return self.A.shape[0]

    def predict(self, batch: Batch) -> Array:
        r"""Predictions :math:`V X a^{(x_{T+1})}`, shape (B, N). Equation :eq:`eq-model`."""
        predictions = np.empty((len(batch), self.vocab_size))
        for last, rows, block in self._blocks(batch):
            predictions[rows] = block.read(self.A[:, last]) @ self.V.T
        return predictions

    def loss(self, batch: Batch) -> float:
        r"""Mean of :math:`\tfrac12\|x_o - f\|^2` over the batch. Equation :eq:`eq-loss`."""
        residual = self.predict(batch)
        residual[np.arange(len(batch)), batch.output] -= 1
        return float(np.einsum("bi,bi->", residual, residual)) / (2 * len(batch))

    def gradient(self, batch: Batch) -> tuple[Array, Array]:
        r"""Gradients of `loss` in V, shape (N, N), and in A, shape (T, N).

        With the residual :math:`r = f - x_o`, a sample adds :math:`r\,(X a^{(k)})^\top` to the
        first and :math:`X^\top V^\top r` to column :math:`k = x_{T+1}` of the second. Equation
        :eq:`eq-sample-gradients`.
        """
        grad_V, grad_A = np.zeros_like(self.V), np.zeros_like(self.A)
        for last, rows, block in self._blocks(batch):
            read = block.read(self.A[:, last])
            residual = read @ self.V.T
            residual[np.arange(len(rows)), batch.output[rows]] -= 1
            grad_V += residual.T @ read
            grad_A[:, last] += block.spread(residual @ self.V)
        return grad_V / len(batch), grad_A / len(batch)

    def _blocks(self, batch: Batch) -> Iterator[tuple[int, NDArray[np.integer], _OneHot]]:
        """The batch in blocks of samples with one last token."""
        batch.check(self.length, self.vocab_size)
        size = max(1, BLOCK_TOKENS // max(self.length, self.vocab_size))
        for last, rows in batch.groups():
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                yield last, part, _OneHot(batch.context[part], self.vocab_size)


class _OneHot:
    """The one-hot matrices X of a block of samples, never formed: only their two products."""

    def __init__(self, tokens: NDArray[np.integer], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.masks: list[Array] | None = None
        if vocab_size <= MASKS_UP_TO:
            self.masks = [(tokens == n).astype(float) for n in range(1, vocab_size)]
        else:
            self.cells = tokens + vocab_size * np.arange(len(tokens))[:, None]

    def read(self, a: Array) -> Array:
        """Rows X a: how much of the attention a falls on each symbol; shape (block, N)."""
        if self.masks is None:
            block = len(self.cells)
            weights = np.tile(a, block)
            sums = np.bincount(self.cells.ravel(), weights, minlength=block * self.vocab_size)
            return np.asarray(sums, dtype=float).reshape(block, self.vocab_size)
        shares = np.stack([mask @ a for mask in self.masks], axis=1)
        return np.column_stack([a.sum() - shares.sum(axis=1), shares])

    def spread(self, w: Array) -> Array:
        """The sum of X' w over the block: w's entry for the token found at each position."""
        if self.masks is None:
            return w.take(self.cells).sum(axis=0)
        total = np.full(self.masks[0].shape[1], w[:, 0].sum())
        for n, mask in enumerate(self.masks, start=1):
            total += (w[:, n] - w[:, 0]) @ mask
        return total
