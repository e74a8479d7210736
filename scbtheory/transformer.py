"""One-layer transformers on sparse contextual bigrams: predict, loss, gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scbtheory._arguments import Array, matrix, read_only
from scbtheory._loops import Looped, compiled
from scbtheory._onehot import Packs, Positions, Sparse, packs
from scbtheory.scb import Batch, SparseContextualBigram

BLOCK_TOKENS = 2**17  # positions worked on at once: what they need stays in the cache
DENSE = 32  # attention on more than one position in 32 is read as a whole


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
        # Columns of A are what is read: each lies in one piece.
        V, A = matrix("V", self.V), np.asfortranarray(matrix("A", self.A))
        for name, array, shape in (("V", V, (len(V),) * 2), ("A", A, (len(A), len(V)))):
            if array.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, came {array.shape}")
            object.__setattr__(self, name, read_only(array))

    @classmethod
    def _of(cls, V: Array, A: Array) -> LinearTransformer:
        """The transformer with these very matrices: finite, and held by nobody else."""
        model = object.__new__(cls)
        object.__setattr__(model, "V", read_only(V))
        object.__setattr__(model, "A", read_only(A))
        return model

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
        batch.check(self.length, self.vocab_size)
        predictions = np.empty((len(batch), self.vocab_size))
        for part in self._parts(batch):
            there = part.rows >= 0
            predictions[part.rows[there]] = part.read(self.A)[there] @ self.V.T
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
        return self._gradient(batch)

    def _gradient(
        self,
        batch: Batch,
        settled: NDArray[np.bool_] | None = None,
        support: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, Array]:
        """`gradient`, for a trainer that moves settled columns of A on their support only.

        Outside it the second may be zero there. If a settled column attends to few positions, the
        tokens at the others are then not read at all.
        """
        batch.check(self.length, self.vocab_size)
        grad_V, grad_A = np.zeros_like(self.V), np.zeros_like(self.A)
        for part in self._parts(batch, settled, support):
            read = part.read(self.A)
            residual = read @ self.V.T
            there = np.nonzero(part.rows >= 0)
            residual[*there, batch.output[part.rows[there]]] -= 1
            read, residual = (x.reshape(part.rows.size, self.vocab_size) for x in (read, residual))
            residual /= len(batch)
            grad_V += residual.T @ read
            part.spread(residual @ self.V, grad_A)
        return grad_V, grad_A

    def _parts(
        self,
        batch: Batch,
        settled: NDArray[np.bool_] | None = None,
        support: NDArray[np.bool_] | None = None,
    ) -> Iterator[Packs | Sparse | Looped]:
        """The batch in blocks, apart those whose attention is known to be sparse."""
        samples = np.arange(len(batch))
        whole = batch.context, batch.last, self.vocab_size
        if settled is not None and support is not None and settled.any():
            positions = Positions((support | (self.A != 0)) & settled)
            if positions.most * DENSE < self.length:
                sparse = settled[batch.last]
                known, samples = samples[sparse], samples[~sparse]
                step = max(1, BLOCK_TOKENS // max(positions.most, self.vocab_size))
                for start in range(0, len(known), step):
                    yield Sparse(*whole, known[start : start + step], positions)
        if not len(samples):
            return
        kernels = compiled()
        if kernels is None:
            yield from packs(*whole, samples, BLOCK_TOKENS)
        else:
            yield Looped(*whole, samples, kernels)
