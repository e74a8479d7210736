"""One-layer transformers on sparse contextual bigrams: predict, loss, gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbtheory._arguments import Array, matrix, read_only, real
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
    def pretrained(
        cls, task: SparseContextualBigram, V: ArrayLike, theta: float = 1.0
    ) -> LinearTransformer:
        r"""A start from a value matrix that was learned elsewhere, with uniform attention.

        .. math::

            V_0 = \theta\, \hat P + (1 - \theta)\, \mu 1^\top, \qquad A_0 = \frac1T 11^\top

        Equation :eq:`eq-transfer-start`, where :math:`\hat P` is ``V``, recentred so that it keeps
        the law of the task, :eq:`eq-transfer-recentred`: projected steps would never do that.

        Parameters
        ----------
        task : SparseContextualBigram
            The task to come, of which only mu and the length are used.
        V : array_like, shape (N, N)
            A matrix whose columns sum to one, such as the value matrix of another run.
        theta : float
            How much of it to take, at least zero.

        Raises
        ------
        ValueError
            If the shape is another, a column does not sum to one, or theta is negative.

        Examples
        --------
        >>> import numpy as np
        >>> from scbtheory import SparseContextualBigram
        >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
        >>> model = LinearTransformer.pretrained(task, np.eye(3), 0.5)
        >>> bool(np.allclose(model.V @ task.mu, task.mu))
        True
        """
        N, T = task.vocab_size, task.length
        V, theta = matrix("V", V, (N, N)), real("theta", theta, least=0)
        sums = V.sum(axis=0)
        if not np.allclose(sums, 1, atol=1e-6):
            raise ValueError(f"V: expected columns that sum to 1, came sums {sums}")
        centre = np.tile(task.mu[:, None], (1, N))
        return cls(centre + theta * (V - (V @ task.mu)[:, None]), np.full((T, N), 1 / T))

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

    @property
    def _free(self) -> Array:
        """The parameters of the attention: what the second gradient is taken in."""
        return self.A

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


def softmax(logits: Array) -> Array:
    r"""Each column of logits as probabilities.

    .. math::

        a_t = \frac{e^{z_t}}{\sum_{u=1}^{T} e^{z_u}}

    Equation :eq:`eq-softmax`.

    Parameters
    ----------
    logits : ndarray, shape (T, N)
        The logits z, a column for each last token.

    Returns
    -------
    ndarray, shape (T, N)
        Attention: entries above zero (zero where they underflow), columns of sum one.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.log([[1.0, 1.0], [3.0, 1.0]])).round(3).tolist()
    [[0.25, 0.5], [0.75, 0.5]]
    """
    weights = np.exp(logits - logits.max(axis=0))  # the shift drops out, and nothing overflows
    return np.asarray(weights / weights.sum(axis=0))


@dataclass(frozen=True, eq=False, init=False)
class SoftmaxTransformer(LinearTransformer):
    r"""The one-layer transformer whose attention is a softmax of free logits.

    Column :math:`k` of A is the softmax of column :math:`k` of Z, :eq:`eq-softmax`. It predicts,
    and is judged, like the linear transformer with that A; what differs is which parameters move.
    `SGD` moves the logits; a trainer that moves A itself goes on with a `LinearTransformer`.

    Parameters
    ----------
    V : array_like, shape (N, N)
        Value matrix.
    Z : array_like, shape (T, N)
        Logits; what is added to a whole column changes nothing.

    Attributes
    ----------
    A : ndarray, shape (T, N)
        The attention: softmax of each column of Z.

    Raises
    ------
    ValueError
        If the shapes do not fit or an entry is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> model = SoftmaxTransformer.initial(task)
    >>> bool(np.allclose(model.A, 1 / 20))
    True
    >>> batch = task.sample(100, np.random.default_rng(1))
    >>> _, grad_Z = model.gradient(batch)
    >>> bool(np.allclose(grad_Z.sum(axis=0), 0))  # along the ones nothing changes
    True
    """

    Z: Array

    def __init__(self, V: ArrayLike, Z: ArrayLike) -> None:
        logits = np.asfortranarray(matrix("Z", Z))
        value = matrix("V", V)
        if logits.shape != (len(logits), len(value)):
            expected = (len(logits), len(value))
            raise ValueError(f"Z: expected shape {expected}, came {logits.shape}")
        super().__init__(value, softmax(logits))
        object.__setattr__(self, "Z", read_only(logits))

    @classmethod
    def initial(cls, task: SparseContextualBigram) -> SoftmaxTransformer:
        r"""The start :math:`V_0 = \mu 1^\top`, Z = 0: attention is uniform, :eq:`eq-start`."""
        N, T = task.vocab_size, task.length
        return cls(np.tile(task.mu[:, None], (1, N)), np.zeros((T, N)))

    @classmethod
    def truth(cls, task: SparseContextualBigram) -> SoftmaxTransformer:
        """Not finite: where Q is zero, the logits of the truth are minus infinity.

        Raises
        ------
        ValueError
            Unless every entry of Q is above zero.
        """
        if not (task.Q > 0).all():
            raise ValueError("task: expected attention above zero everywhere, came zeros in Q")
        return cls(task.P, np.log(task.Q))

    @property
    def _free(self) -> Array:
        return self.Z

    def gradient(self, batch: Batch) -> tuple[Array, Array]:
        r"""Gradients of `loss` in V, shape (N, N), and in Z, shape (T, N).

        The second is that in A, column by column times the Jacobian
        :math:`J = \operatorname{diag}(a) - a a^\top` of softmax. Equations
        :eq:`eq-softmax-gradient`, :eq:`eq-softmax-jacobian`.
        """
        grad_V, grad_A = self._gradient(batch)
        return grad_V, through_softmax(grad_A, self.A)


def through_softmax(gradient: Array, A: Array) -> Array:
    r"""A gradient in attention as one in its logits: times the Jacobian of softmax.

    .. math::

        J = \operatorname{diag}(a) - a\, a^\top

    Equation :eq:`eq-softmax-jacobian`, for each column.

    Parameters
    ----------
    gradient : ndarray, shape (T, N)
        A gradient in A.
    A : ndarray, shape (T, N)
        Attention, with columns of sum one.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.array([[0.25], [0.75]])
    >>> through_softmax(np.array([[1.0], [0.0]]), A).ravel().tolist()
    [0.1875, -0.1875]
    """
    return A * (gradient - np.sum(A * gradient, axis=0))
