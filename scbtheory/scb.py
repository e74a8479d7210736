"""The sparse contextual bigram: the task, its sampler and its exact Bayes predictor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbtheory._arguments import Array, integer, read_only, stochastic_columns
from scbtheory._memory import scratch

BLOCK_TOKENS = 2**17  # tokens drawn at once, a multiple of four: their bits stay in the cache
COMPARISONS = 6  # up to so many symbols beyond the first are compared with, not looked up


@dataclass(frozen=True, eq=False)
class Batch:
    r"""A batch of :math:`B` samples, as symbols :math:`0, \dots, N-1`.

    Attributes
    ----------
    context : ndarray of int, shape (B, T)
        The tokens :math:`x_1, \dots, x_T`. A sampler gives them in the smallest unsigned type that
        holds them: cast before doing arithmetic with them.
    last : ndarray of int, shape (B,)
        The last token :math:`x_{T+1}`, which selects the attention vector.
    output : ndarray of int, shape (B,)
        The token :math:`x_o` to be predicted.

    Examples
    --------
    >>> import numpy as np
    >>> batch = Batch(np.array([[0, 1, 1], [2, 0, 1]]), np.array([1, 0]), np.array([2, 2]))
    >>> len(batch), batch[:1].context.tolist()
    (2, [[0, 1, 1]])
    """

    context: NDArray[np.integer]
    last: NDArray[np.integer]
    output: NDArray[np.integer]

    def __post_init__(self) -> None:
        for name in ("context", "last", "output"):
            tokens = np.asarray(getattr(self, name))
            if not np.issubdtype(tokens.dtype, np.integer):
                raise ValueError(f"{name}: expected integer tokens, came {tokens.dtype}")
            object.__setattr__(self, name, tokens)
        size = self.context.shape[:1]
        if self.context.ndim != 2 or self.last.shape != size or self.output.shape != size:
            raise ValueError(
                "context, last, output: expected shapes (B, T), (B,), (B,), came "
                f"{self.context.shape}, {self.last.shape}, {self.output.shape}"
            )

    def __len__(self) -> int:
        return len(self.last)

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Batch:
        return Batch(self.context[rows], self.last[rows], self.output[rows])

    def check(self, length: int, vocab_size: int) -> None:
        """Raise a ValueError unless these are samples of this length and vocabulary."""
        if self.context.shape[1] != length:
            raise ValueError(
                f"batch: expected contexts of length {length}, came {self.context.shape[1]}"
            )
        if len(self) == 0:
            raise ValueError("batch: expected at least one sample, came none")
        for tokens in (self.context, self.last, self.output):
            if tokens.min() < 0 or tokens.max() >= vocab_size:
                raise ValueError(
                    f"batch: expected tokens from 0 to {vocab_size - 1}, came "
                    f"{tokens.min()} to {tokens.max()}"
                )

    def groups(self) -> Iterator[tuple[int, NDArray[np.integer]]]:
        """Pairs of a last token and the rows that end in it: they share one attention vector."""
        order = np.argsort(self.last, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self.last[order])) + 1):
            yield int(self.last[rows[0]]), rows


class SparseContextualBigram:
    r"""The task: a sparse contextual bigram with transition ``P`` and attention ``Q``.

    A sample is drawn in three steps (:math:`\mu` is the stationary law of :math:`P`):

    .. math::

        x_1, \dots, x_{T+1} \sim \mu \quad \text{independently}, \qquad
        t \sim q^{(x_{T+1})}, \qquad x_o \sim P x_t .

    Equation :eq:`eq-scb`.

    Parameters
    ----------
    P : array_like, shape (N, N)
        Column-stochastic: ``P[i, j]`` is the probability that :math:`i` follows :math:`j`.
        Its stationary law must be unique and positive.
    Q : array_like, shape (T, N)
        Column :math:`k` is the probability vector :math:`q^{(k)}` over positions that the last
        token :math:`k` selects.

    Attributes
    ----------
    P : ndarray, shape (N, N)
        The transition matrix, read-only.
    Q : ndarray, shape (T, N)
        The attention matrix, read-only.
    vocab_size : int
        The number :math:`N` of symbols.
    length : int
        The number :math:`T` of positions in the context.
    sparsity : int
        The largest number :math:`s` of positive entries in a column of :math:`Q`.
    mu : ndarray, shape (N,)
        The stationary law :math:`P\mu = \mu`.

    Raises
    ------
    ValueError
        If a matrix is not column-stochastic, the shapes do not fit, or the stationary law is not
        unique and positive.

    Examples
    --------
    >>> import numpy as np
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(3))
    >>> task.mu.round(3).tolist(), round(task.K_P, 4), round(task.K_Q, 4)
    ([0.333, 0.333, 0.333], 0.3267, 0.6667)
    >>> task.sample(4, np.random.default_rng(0)).context.shape
    (4, 3)
    """

    def __init__(self, P: ArrayLike, Q: ArrayLike) -> None:
        self.mu = stationary_distribution(P)
        self.P = stochastic_columns("P", P)
        self.Q = stochastic_columns("Q", Q)
        if not 2 <= self.P.shape[0] < 2**16:
            raise ValueError(f"P: expected 2 to 65535 symbols, came {self.P.shape[0]}")
        if self.Q.shape[1] != self.P.shape[1]:
            raise ValueError(
                f"Q: expected {self.P.shape[1]} columns, one for each symbol of P, "
                f"came shape {self.Q.shape}"
            )
        self.length, self.vocab_size = self.Q.shape
        self.sparsity = int((self.Q > 0).sum(axis=0).max())

    @classmethod
    def random(
        cls,
        vocab_size: int,
        length: int,
        sparsity: int,
        rng: np.random.Generator,
    ) -> SparseContextualBigram:
        """A random instance: columns of P uniform on the simplex, of Q by `sparse_attention`.

        Parameters
        ----------
        vocab_size, length, sparsity : int
            N, T and s, with ``1 <= sparsity <= length`` and ``vocab_size >= 2``.
        rng : numpy.random.Generator
            The source of randomness.

        Examples
        --------
        >>> import numpy as np
        >>> SparseContextualBigram.random(3, 50, 2, np.random.default_rng(0))
        SparseContextualBigram(vocab_size=3, length=50, sparsity=2)
        """
        vocab_size = integer("vocab_size", vocab_size, least=2)
        P = rng.dirichlet(np.ones(vocab_size), size=vocab_size).T
        return cls(P, sparse_attention(length, vocab_size, sparsity, rng))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, length={self.length}, "
            f"sparsity={self.sparsity})"
        )

    # ----------------------------------------------------------------- geometry

    def inner(self, M: Array, W: Array) -> float:
        r"""The inner product weighted by the stationary law.

        .. math::

            \langle M, W\rangle_\mu = \sum_{k=1}^{N} \mu_k \langle M_k, W_k\rangle

        Equation :eq:`eq-mu-inner`.

        Parameters
        ----------
        M, W : ndarray, shape (any, N)
            Matrices with one column for each symbol.

        Examples
        --------
        >>> import numpy as np
        >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(3))
        >>> round(task.inner(task.P, task.P), 4)
        0.66
        """
        return float(np.einsum("ik,ik,k->", M, W, self.mu))

    def norm(self, M: Array) -> float:
        r"""The norm :math:`\|M\|_\mu = \langle M, M\rangle_\mu^{1/2}` (see `inner`)."""
        return float(np.sqrt(self.inner(M, M)))

    @cached_property
    def signal_V(self) -> Array:
        r"""What there is to learn in V: :math:`P - \mu 1^\top`."""
        return read_only(self.P - self.mu[:, None])

    @cached_property
    def signal_A(self) -> Array:
        r"""What there is to learn in A: :math:`Q - 11^\top/T`."""
        return read_only(self.Q - 1 / self.length)

    @cached_property
    def K_P(self) -> float:
        r"""Signal strength :math:`K_P = \|P - \mu 1^\top\|_\mu^2`. Equation :eq:`eq-signal`."""
        return self.inner(self.signal_V, self.signal_V)

    @cached_property
    def K_Q(self) -> float:
        r"""Signal strength :math:`K_Q = \|Q - 11^\top/T\|_\mu^2`. Equation :eq:`eq-signal`."""
        return self.inner(self.signal_A, self.signal_A)

    # ----------------------------------------------------- reference predictors

    @cached_property
    def bayes_loss(self) -> float:
        r"""Squared loss of the Bayes predictor, the least that any predictor can reach.

        .. math::

            \tfrac12 \left[1 - \|\mu\|^2 - K_P \left(K_Q + \tfrac1T\right)\right]

        Equation :eq:`eq-bayes-loss`.
        """
        return self.unigram_loss - self.K_P * (self.K_Q + 1 / self.length) / 2

    @cached_property
    def unigram_loss(self) -> float:
        r"""Squared loss :math:`\tfrac12(1 - \|\mu\|^2)` of the answer :math:`\mu`, context unread.

        It is also the loss at the start :math:`V = \mu 1^\top, A = 11^\top/T`, which predicts
        :math:`\mu` whatever it reads. Equation :eq:`eq-unigram-loss`.
        """
        return (1 - float(self.mu @ self.mu)) / 2

    def bayes(self, batch: Batch) -> Array:
        r"""The exact Bayes predictor :math:`P X q^{(x_{T+1})}`, shape (B, N).

        Equation :eq:`eq-bayes`.

        Examples
        --------
        >>> import numpy as np
        >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(3))
        >>> task.bayes(Batch(np.array([[2, 1, 0]]), np.array([0]), np.array([0]))).round(3).tolist()
        [[0.1, 0.1, 0.8]]
        """
        batch.check(self.length, self.vocab_size)
        read = np.empty((len(batch), self.vocab_size))
        for last, rows in batch.groups():
            support = np.flatnonzero(self.Q[:, last])
            tokens = batch.context[np.ix_(rows, support)]
            read[rows] = (tokens[:, :, None] == np.arange(self.vocab_size)).swapaxes(1, 2) @ (
                self.Q[support, last]
            )
        return read @ self.P.T

    # ----------------------------------------------------------------- sampling

    def sample(self, size: int, rng: np.random.Generator) -> Batch:
        """Draw a batch of ``size`` fresh samples: the first ``size`` of a new `stream`.

        Equation :eq:`eq-scb`.

        Examples
        --------
        >>> import numpy as np
        >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(3))
        >>> len(task.sample(5, np.random.default_rng(1)))
        5
        """
        return self.stream(rng).draw(size)

    def stream(self, rng: np.random.Generator) -> SampleStream:
        """An endless sequence of samples, the same however it is cut into batches.

        Examples
        --------
        >>> import numpy as np
        >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(3))
        >>> whole = task.stream(np.random.default_rng(0)).draw(6)
        >>> cut = task.stream(np.random.default_rng(0))
        >>> parts = [cut.draw(2), cut.draw(4)]
        >>> bool((whole.context[2:] == parts[1].context).all())
        True
        """
        return SampleStream(self, rng)


class SampleStream:
    """Samples of a task, one after the other; see `SparseContextualBigram.stream`.

    Two trainers with different batch sizes that read streams of equal seed see the same samples in
    the same order: that is what makes "on the same samples" a fair sentence.
    """

    def __init__(self, task: SparseContextualBigram, rng: np.random.Generator) -> None:
        self.task = task
        # Three sources, each read in the order of the samples: batch boundaries leave no trace.
        if not isinstance(rng, np.random.Generator):
            raise ValueError(f"rng: expected a numpy.random.Generator, came {rng!r}")
        root = np.random.SeedSequence(rng.integers(0, 2**32, size=4, dtype=np.uint32).tolist())
        self._words, self._fractions, self._choices = (
            np.random.Generator(np.random.PCG64(seed)) for seed in root.spawn(3)
        )
        self._cumulative_mu = cumulative(task.mu)
        # Columns are searched: each lies in one piece.
        self._cumulative_P = np.asfortranarray(cumulative(task.P))
        self._cumulative_Q = np.asfortranarray(cumulative(task.Q))
        # Sixteen random bits select a cell of [0, 1). Where the cell lies within one symbol's
        # share, that symbol is the answer; where it straddles a boundary, more bits decide.
        edges = np.searchsorted(self._cumulative_mu, np.arange(2**16 + 1) / 2**16, side="right")
        self._straddling = task.vocab_size
        dtype = np.uint8 if task.vocab_size < 2**8 else np.uint16
        left, right = (
            edges[:-1],
            np.searchsorted(self._cumulative_mu, np.arange(1, 2**16 + 1) / 2**16, side="left"),
        )
        self._table = np.where(left == right, left, self._straddling).astype(dtype)
        # The same by comparisons, for few symbols: where the next one begins, and what straddles.
        begins = np.searchsorted(edges[:-1], np.arange(1, task.vocab_size))
        self._begins = begins[begins < 2**16].tolist()
        self._straddling_cells = np.flatnonzero(self._table == self._straddling).tolist()

    def draw(self, size: int) -> Batch:
        """The next ``size`` samples.

        Raises
        ------
        ValueError
            If ``size`` is not a positive integer.
        """
        size = integer("size", size, least=1)
        length = self.task.length
        context = np.empty((size, length), self._table.dtype)
        rows = max(1, BLOCK_TOKENS // length)
        for top in range(0, size, rows):
            for left in range(0, length, BLOCK_TOKENS):
                self._fill(context[top : top + rows, left : left + BLOCK_TOKENS])

        u_last, u_position, u_output = self._choices.random((size, 3)).T
        last = np.searchsorted(self._cumulative_mu, u_last, side="right")
        position = _choose(self._cumulative_Q, last, u_position)
        source = context[np.arange(size), position].astype(np.intp)
        return Batch(context, last, _choose(self._cumulative_P, source, u_output))

    def _fill(self, tokens: NDArray[np.unsignedinteger]) -> None:
        """Draw tokens: some samples, or one or a part of one."""
        rows, length = tokens.shape
        padded = -(-length // 4)  # a sample takes whole 64-bit words
        words = self._words.bit_generator.random_raw(rows * padded)
        cells = words.astype("<u8", copy=False).view("<u2")
        found = tokens.ravel() if length % 4 == 0 else np.empty(len(cells), tokens.dtype)
        if len(self._begins) <= COMPARISONS:
            straddling = self._compare(cells, found)
        else:
            self._table.take(cells, out=found, mode="clip")
            straddling = np.equal(found, self._straddling, out=scratch("mask", found.shape, bool))
        at = np.flatnonzero(straddling)
        if length % 4:
            at = at[at % (4 * padded) < length]
        if len(at):
            u = (cells[at] + self._fractions.random(len(at))) / 2**16  # may round up to one
            found[at] = np.searchsorted(self._cumulative_mu[:-1], u, side="right")
        if length % 4:
            tokens[:] = found.reshape(rows, 4 * padded)[:, :length]

    def _compare(
        self, cells: NDArray[np.uint16], found: NDArray[np.unsignedinteger]
    ) -> NDArray[np.bool_]:
        """What the table holds for these cells; returned, where they straddle."""
        beyond, straddling = (scratch(name, cells.shape, bool) for name in ("beyond", "straddling"))
        found[:] = 0
        for begin in self._begins:
            np.greater_equal(cells, begin, out=beyond)
            np.add(found, beyond.view(np.uint8), out=found)
        straddling[:] = False
        for cell in self._straddling_cells:
            straddling |= np.equal(cells, cell, out=beyond)
        return straddling


def _choose(cumulative_columns: Array, column: NDArray[np.intp], u: Array) -> NDArray[np.intp]:
    """Row drawn from the given column of probabilities by inversion of ``u``."""
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    cuts = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(u)]
    chosen = np.empty(len(u), dtype=np.intp)
    for start, stop in pairwise(cuts):
        rows = order[start:stop]
        shares = cumulative_columns[:, ordered[start]]
        chosen[rows] = shares.searchsorted(u[rows], side="right")
    return chosen


def cumulative(probabilities: Array) -> Array:
    """Cumulative sums down the columns, ending at one exactly, so that inversion never overruns.

    Examples
    --------
    >>> import numpy as np
    >>> cumulative(np.array([0.25, 0.5, 0.25])).tolist()
    [0.25, 0.75, 1.0]
    """
    sums = np.cumsum(probabilities, axis=0)
    return sums / sums[-1]


def stationary_distribution(P: ArrayLike) -> Array:
    r"""The stationary law :math:`\mu = P \mu` of a column-stochastic matrix.

    Equation :eq:`eq-stationary`.

    Parameters
    ----------
    P : array_like, shape (N, N)
        Column-stochastic.

    Returns
    -------
    ndarray, shape (N,)
        Positive, with sum one; read-only.

    Raises
    ------
    ValueError
        If there is more than one stationary law (or nearly so: classes that are left with
        probability below 1e-10), or a symbol that is never visited: it would not occur in the
        context, and nothing about it could be learned.

    Examples
    --------
    >>> stationary_distribution([[0.9, 0.2], [0.1, 0.8]]).round(4).tolist()
    [0.6667, 0.3333]
    """
    P = stochastic_columns("P", P)
    if P.shape[0] != P.shape[1]:
        raise ValueError(f"P: expected a square matrix, came shape {P.shape}")
    _, singular, rows = np.linalg.svd(P - np.eye(len(P)))
    if len(P) > 1 and singular[-2] < 1e-10:
        raise ValueError("P: expected one stationary law, came a chain with several closed classes")
    mu = rows[-1] / rows[-1].sum()
    if mu.min() < 1e-12:
        raise ValueError(
            "P: expected a positive stationary law, came one that never visits symbol "
            f"{int(mu.argmin())}"
        )
    return read_only(mu)


def circulant(first_column: ArrayLike) -> Array:
    """The circulant matrix with this first column: each column is the one before, moved down.

    Examples
    --------
    >>> circulant([0.8, 0.2, 0.0]).tolist()
    [[0.8, 0.0, 0.2], [0.2, 0.8, 0.0], [0.0, 0.2, 0.8]]
    """
    column = np.asarray(first_column, dtype=float)
    if column.ndim != 1 or len(column) == 0 or not np.isfinite(column).all():
        raise ValueError(
            f"first_column: expected a vector of finite numbers, came {first_column!r}"
        )
    return np.stack([np.roll(column, k) for k in range(len(column))], axis=1)


def sparse_attention(
    length: int, vocab_size: int, sparsity: int, rng: np.random.Generator
) -> Array:
    """Random attention: each column uniform over ``sparsity`` positions drawn without repetition.

    Parameters
    ----------
    length, vocab_size, sparsity : int
        T, N and s, with ``1 <= sparsity <= length``.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    ndarray, shape (T, N)
        Entries ``1 / sparsity`` and zero.

    Examples
    --------
    >>> import numpy as np
    >>> Q = sparse_attention(10, 3, 2, np.random.default_rng(0))
    >>> Q.sum(axis=0).tolist(), int((Q > 0).sum())
    ([1.0, 1.0, 1.0], 6)
    """
    length = integer("length", length, least=1)
    vocab_size = integer("vocab_size", vocab_size, least=1)
    sparsity = integer("sparsity", sparsity, least=1, most=length)
    Q = np.zeros((length, vocab_size))
    for k in range(vocab_size):
        Q[rng.choice(length, size=sparsity, replace=False), k] = 1 / sparsity
    return Q
