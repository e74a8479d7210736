"""Optimisers, the training loop and its history."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbtheory import population
from scbtheory._arguments import Array, integer, matrix, real, stochastic_columns
from scbtheory._memory import scratch
from scbtheory._onehot import Positions
from scbtheory._progress import progress_bar
from scbtheory.scb import Batch, SparseContextualBigram
from scbtheory.transformer import LinearTransformer

MARGIN = 2  # how many times further than the noise an entry must reach to stand out of it
BLOCK = 2**16  # entries of A worked on at once
LONG = 2000  # columns from this length on are not sorted for their median
LARGEST_ENTRY = 1e6  # probabilities are below one: far beyond it, a run has diverged


# --------------------------------------------------------------------------- the ingredients


def precondition(gradient: Array, mu: Array) -> Array:
    r"""Divide column k by :math:`\mu_k`: the gradient in the geometry of the mu-norm.

    Equation :eq:`eq-preconditioner`.

    Parameters
    ----------
    gradient : ndarray, shape (any, N)
        A gradient in V or in A.
    mu : ndarray, shape (N,)
        The stationary law.

    Examples
    --------
    >>> import numpy as np
    >>> precondition(np.ones((1, 2)), np.array([0.25, 0.75])).round(3).tolist()
    [[4.0, 1.333]]
    """
    return gradient / mu


def project_V(direction: Array, mu: Array, weights: Array | None = None) -> Array:
    r"""Remove from a direction of V what would change :math:`V\mu` or :math:`1^\top V`.

    The projection is orthogonal in the inner product :math:`\sum_k w_k \langle M_k, K_k\rangle`;
    for :math:`w = \mu` it is :math:`M \mapsto (I - 11^\top/N)\,M\,(I - \mu 1^\top)`. Equation
    :eq:`eq-project-V`.

    Parameters
    ----------
    direction : ndarray, shape (N, N)
        A gradient or a step.
    mu : ndarray, shape (N,)
        The stationary law.
    weights : ndarray, shape (N,), optional
        The column weights w of the inner product; mu unless given.

    Examples
    --------
    >>> import numpy as np
    >>> mu = np.array([0.25, 0.75])
    >>> M = project_V(np.array([[1.0, 2.0], [3.0, 5.0]]), mu)
    >>> bool(np.allclose(M @ mu, 0) and np.allclose(M.sum(axis=0), 0))
    True
    """
    normal = mu / (mu if weights is None else weights)
    direction = direction - np.outer(direction @ mu, normal) / (mu @ normal)
    return direction - direction.mean(axis=0)


def project_A(direction: Array) -> Array:
    r"""Remove from a direction of A what would change its column sums: subtract column means.

    Equation :eq:`eq-project-A`.

    Examples
    --------
    >>> import numpy as np
    >>> project_A(np.array([[1.0], [2.0], [6.0]])).ravel().tolist()
    [-2.0, -1.0, 3.0]
    """
    return direction - direction.mean(axis=0)


def soft_threshold(values: ArrayLike, level: ArrayLike) -> Array:
    r"""Move each value towards zero by ``level``, and no further than zero.

    It is the proximal map of the :math:`\ell_1` norm:

    .. math::

        \mathcal S_\lambda(x) = \operatorname{sign}(x) \max(|x| - \lambda,\ 0)
        = \arg\min_z \Big[ \tfrac12 (z - x)^2 + \lambda |z| \Big]

    Equation :eq:`eq-soft-threshold`.

    Parameters
    ----------
    values : array_like
        The values x.
    level : array_like
        The level :math:`\lambda \ge 0`, broadcast against the values.

    Raises
    ------
    ValueError
        If a level is negative or not a number.

    Examples
    --------
    >>> soft_threshold([-3.0, 0.5, 2.0], 1.0).tolist()
    [-2.0, 0.0, 1.0]
    """
    values, level = np.asarray(values, dtype=float), np.asarray(level, dtype=float)
    if not (level >= 0).all():
        raise ValueError(f"level: expected numbers of at least 0, came {level}")
    return np.sign(values) * np.maximum(np.abs(values) - level, 0)


def robust_spread(values: Array) -> Array:
    """Standard deviation of each column as the median absolute deviation tells it.

    A few large entries, here the signal, do not move it. For a Gaussian column it is the standard
    deviation.

    Examples
    --------
    >>> import numpy as np
    >>> normal = np.random.default_rng(0).standard_normal((100_000, 1))
    >>> normal[:100] = 50.0
    >>> robust_spread(normal).round(1).tolist()
    [1.0]
    """
    spread = np.empty(values.shape[1])
    for part in _column_blocks(values):
        rows = values.T[part]
        centred = scratch("centred", rows.shape)
        np.subtract(rows, _medians(rows)[:, None], out=centred)
        spread[part] = _medians(np.abs(centred, out=centred)) / 0.674489750196
    return spread


def _column_blocks(matrix: Array) -> Iterator[slice]:
    """Columns of a matrix, as many at a time as the cache holds, and at least one."""
    step = max(1, BLOCK // len(matrix))
    for start in range(0, matrix.shape[1], step):
        yield slice(start, start + step)


def _medians(rows: Array) -> Array:
    """The median of each row."""
    if rows.shape[1] < LONG:
        return np.asarray(np.median(rows, axis=1))
    return np.array([_median(np.ascontiguousarray(row)) for row in rows])


def _median(values: Array) -> float:
    """The median of many values: most are only counted, those around it are sorted."""
    n = len(values)
    half = n // 2  # the place of the median, or of the upper of the middle two
    sample = np.sort(values[:: max(8, n // 2**12)])
    # The share of a sample of m that lies below the median is 1/2 within 1/(2 sqrt m), one
    # standard deviation: four of them miss once in 16,000 columns, and then all are sorted.
    middle, reach = len(sample) // 2, 2 * math.isqrt(len(sample)) + 1
    low, high = sample[middle - reach], sample[middle + reach]
    below = np.count_nonzero(values < low)
    near = values.compress((values >= low) & (values <= high))
    # Not so either if a value is not a number.
    if not below < half < below + len(near) or math.isnan(values.max()):
        return float(np.median(values))
    if low == high:
        return float(low)
    near.partition(half - below)
    above = near[half - below]
    return float(above if n % 2 else (near[: half - below].max() + above) / 2)


def standing_out(A: Array) -> NDArray[np.bool_]:
    """Entries of A that noise of the size seen in their column does not explain.

    Noise falls to both sides of a column's median alike, but attention is never negative: how far
    the *lowest* entry lies below the median shows how far noise reaches. An entry stands out when
    it lies more than twice as far above. Equation :eq:`eq-stand-out`.

    Parameters
    ----------
    A : ndarray, shape (T, N)
        Attention.

    Returns
    -------
    ndarray of bool, shape (T, N)

    Examples
    --------
    >>> import numpy as np
    >>> A = np.array([[0.01], [-0.02], [0.02], [0.0], [0.5], [-0.01], [0.4]])
    >>> standing_out(A).ravel().astype(int).tolist()
    [0, 0, 0, 0, 1, 0, 1]
    """
    centred = A - np.median(A, axis=0)
    return np.asarray(centred > -MARGIN * centred.min(axis=0))


# ----------------------------------------------------------------------------- the optimisers


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands. An optimiser that remembers more derives its own.

    Attributes
    ----------
    model : LinearTransformer
        The model.
    settled : ndarray of bool, shape (N,)
        The last tokens whose attention is in its second stage; all False where there is none.
    steps : int
        Steps taken.
    """

    model: LinearTransformer
    settled: NDArray[np.bool_]
    steps: int = 0


S = TypeVar("S", bound=State)


class Optimiser(Protocol[S]):
    """What `train` asks of an optimiser.

    ``update`` raises `Diverged` when the run has gone astray; `next_model` does so for it.
    """

    @property
    def batch_size(self) -> int:
        """Fresh samples for each step."""
        ...

    def start(self, model: LinearTransformer) -> S:
        """The state before the first step."""
        ...

    def update(self, state: S, batch: Batch, mu: Array) -> S:
        """The state after one step on this batch."""
        ...


class Diverged(ArithmeticError):
    """A step led to entries that are not numbers, or far beyond any probability."""


def next_model(V: Array, A: Array) -> LinearTransformer:
    """The model with these matrices, unless they show that the run has diverged.

    Raises
    ------
    Diverged
        If an entry is not a number or beyond a million.

    Examples
    --------
    >>> import numpy as np
    >>> next_model(np.eye(2), np.full((3, 2), 1e9))
    Traceback (most recent call last):
    scbtheory.training.Diverged: an entry of V or A reached 1e+09
    """
    _check(V, A)
    return LinearTransformer(V, A)


def _adopted(V: Array, A: Array) -> LinearTransformer:
    """`next_model` of matrices that nobody else holds: they need not be copied."""
    _check(V, A)
    return LinearTransformer._of(V, A)


def _check(V: Array, A: Array) -> None:
    """Raise `Diverged` where `next_model` does."""
    extremes = [float(x) for M in (V, A) for x in (M.max(), M.min())]
    if not all(abs(x) <= LARGEST_ENTRY for x in extremes):  # nor if one is not a number
        raise Diverged(f"an entry of V or A reached {np.max(np.abs(extremes)):.3g}")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with constant steps: the baseline.

    It moves V and the free parameters of attention: A, or the logits of a `SoftmaxTransformer`.

    Parameters
    ----------
    step_V, step_A : float
        Step sizes, at least zero.
    batch_size : int
        Fresh samples for each step.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram, train
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> start = LinearTransformer.initial(task)
    >>> run = train(start, task, SGD(0.3, 0.1), samples=64_000, rng=np.random.default_rng(1))
    >>> bool(run.history["loss"][-1] < run.history["loss"][0])
    True
    """

    step_V: float
    step_A: float
    batch_size: int = 64

    def __post_init__(self) -> None:
        real("step_V", self.step_V, least=0)
        real("step_A", self.step_A, least=0)
        integer("batch_size", self.batch_size, least=1)

    def start(self, model: LinearTransformer) -> State:
        """The state before the first step."""
        return State(model, np.zeros(model.vocab_size, bool))

    def update(self, state: State, batch: Batch, mu: Array) -> State:
        """Both matrices one step down the gradient of the batch."""
        model = state.model
        grad_V, grad_A = model.gradient(batch)
        V = model.V - self.step_V * grad_V
        free = model._free - self.step_A * grad_A
        _check(V, free)
        return replace(state, model=type(model)(V, free), steps=state.steps + 1)


@dataclass(frozen=True, eq=False)
class ProximalState(State):
    """Where a run of `ProximalGradient` stands.

    Attributes
    ----------
    support : ndarray of bool, shape (T, N)
        The entries of A that stood out when last looked at; where settled, those that A may use.
    unchanged_since : ndarray of int, shape (N,)
        The step since which a column of ``support`` has been the same.
    next_look : int
        The step at which to look again.
    curvature_V : float
        The curvature of the loss in V, summed over the steps taken.
    curvature_A : float
        The curvature of the loss in A, likewise.
    """

    support: NDArray[np.bool_] = field(kw_only=True)
    unchanged_since: NDArray[np.int_] = field(kw_only=True)
    next_look: int = 10
    curvature_V: float = 0.0
    curvature_A: float = 0.0


@dataclass(frozen=True)
class ProximalGradient:
    r"""The two-stage trainer: preconditioned, projected, soft-thresholded gradient steps.

    *Stage one* moves attention from uniform until its support can be seen. Both gradients are
    preconditioned and projected, :eq:`eq-step-V`; the step of A is followed by the proximal map of
    :math:`\lambda_n \sum_k \mu_k \|a^{(k)} - 1/T\|_1` and by the projection once more,
    :eq:`eq-step-A`. The level :math:`\lambda_n` is a multiple of the noise that the batch shows in
    one coordinate, over :math:`\sqrt n` at step n: summed over steps it keeps pace with noise,
    which adds up like :math:`\sqrt n`, and not with a signal, which adds up like n.

    *The stage change* comes for each last token on its own, and is detected: when the entries of
    its column that stand out of the noise (`standing_out`) have stayed the same while the number
    of samples tripled, all others are set to zero and the column is rescaled to sum one.

    *Stage two* refines: a settled column moves on its support only.

    A column can settle only if less than half of its positions carry attention, and what it has
    left out by then stays out: a position whose weight is far smaller than the others'.

    The steps decay like :math:`1/(1/\eta + \tfrac12 \sum m)`, :eq:`eq-step-size`, where
    :math:`\sum m` adds up the curvature of the loss over the steps taken. Before the transition
    the curvature is of order 1/T, so that the decay begins in earnest when there is a signal to
    refine.

    Each ingredient can be switched off to see what it does.

    Parameters
    ----------
    step_V, step_A : float
        First step sizes, at least zero.
    batch_size : int
        Fresh samples for each step. A letter k that is rare needs a batch that holds several of
        it: ``step_V`` over ``batch_size * mu[k]`` well below one.
    l1 : float
        Soft-threshold level of the first step, in units of the noise of one coordinate of the
        gradient, :eq:`eq-level`; 0 is off.
    precondition, project, stage_change, decay : bool
        The other ingredients.
    patience : float
        By which factor the number of steps must grow, with the outstanding entries unchanged,
        before a column settles; at least one.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram, train
    >>> task = SparseContextualBigram.random(3, 50, 2, np.random.default_rng(0))
    >>> start = LinearTransformer.initial(task)
    >>> run = train(
    ...     start, task, ProximalGradient(), samples=100_000, rng=np.random.default_rng(1)
    ... )
    >>> bool(((run.model.A != 0) == (task.Q > 0)).all())
    True
    """

    step_V: float = 0.2
    step_A: float = 0.05
    batch_size: int = 256
    l1: float = 0.5
    precondition: bool = True
    project: bool = True
    stage_change: bool = True
    decay: bool = True
    patience: float = 3.0

    def __post_init__(self) -> None:
        for name in ("step_V", "step_A", "l1"):
            real(name, getattr(self, name), least=0)
        integer("batch_size", self.batch_size, least=1)
        real("patience", self.patience, least=1)
        for name in ("precondition", "project", "stage_change", "decay"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: expected True or False, came {getattr(self, name)!r}")

    def start(self, model: LinearTransformer) -> ProximalState:
        """The state before the first step."""
        N = model.vocab_size
        return ProximalState(
            model,
            np.zeros(N, bool),
            support=np.zeros_like(model.A, bool),
            unchanged_since=np.zeros(N, int),
        )

    def update(self, state: ProximalState, batch: Batch, mu: Array) -> ProximalState:
        """One step; each column of A takes that of its stage."""
        V, A = state.model.V, state.model.A
        # Matrices of the size of A are changed in place: in long contexts fresh ones take longer.
        grad_V, grad_A = state.model._gradient(batch, state.settled, state.support)
        # Without preconditioning, column k learns mu_k times as fast and feels mu_k of the l1 term.
        geometry, scale = (mu, np.ones_like(mu)) if self.precondition else (np.ones_like(mu), mu)
        if self.precondition:
            grad_V, grad_A = grad_V / mu, np.divide(grad_A, mu, out=grad_A)
        if self.project:
            grad_V = project_V(grad_V, mu, geometry)
        free = ~state.settled
        if self.project and free.any():
            grad_A -= grad_A.mean(axis=0)
        if state.settled.any():
            _restrict(grad_A, state.settled, state.support, self.project)

        step_V, step_A = self.step_V, self.step_A
        if self.decay:
            step_V = step_V / (1 + step_V * state.curvature_V / 2)
            step_A = step_A / (1 + step_A * state.curvature_A / 2)
        steps = state.steps + 1
        level = None
        if self.l1 > 0 and free.any():
            # One level for all columns: settled ones count as silent, so that it fades while the
            # rare letters, the noisiest, are still on their way.
            spread = robust_spread(grad_A if free.all() else grad_A[:, free])
            noise = mu[free] @ (spread / scale[free])
            level = step_A * self.l1 / math.sqrt(steps) * noise * scale[free]
        grad_A *= step_A
        stepped = np.subtract(A, grad_A, out=grad_A)
        if level is not None:
            if free.all():
                self._shrink(stepped, level)
            else:
                stepped[:, free] = self._shrink(stepped[:, free], level)
        state = replace(
            state,
            model=_adopted(V - step_V * grad_V, stepped),
            steps=steps,
            curvature_V=state.curvature_V + scale.max() * float(np.vecdot(A.T, A.T) @ mu),
            curvature_A=state.curvature_A
            + scale.max() * float(np.sum((V - mu[:, None]) ** 2 @ mu)),
        )
        if self.stage_change and free.any() and steps >= state.next_look:
            return self._look(state)
        return state

    def _shrink(self, A: Array, level: Array) -> Array:
        """Soft threshold, in place, towards attention that is uniform but for a few entries."""
        if not np.isfinite(level).all():
            raise Diverged(f"the soft threshold reached {level.max():.3g}")
        A -= 1 / len(A)
        for part in _column_blocks(A):
            rows, most = A.T[part], level[part, None]
            cut = scratch("cut", rows.shape)
            rows -= np.maximum(np.minimum(rows, most, out=cut), -most, out=cut)
        if self.project:
            A -= A.mean(axis=0)
        A += 1 / len(A)
        return A

    def _look(self, state: ProximalState) -> ProximalState:
        """Settle the columns whose outstanding entries have stayed the same for long enough."""
        A = state.model.A
        found = np.where(state.settled, state.support, standing_out(A))
        changed = (found != state.support).any(axis=0)
        unchanged_since = np.where(changed, state.steps, state.unchanged_since)
        kept = np.where(found, A, 0)
        sums = kept.sum(axis=0)
        ready = (sums > 0) & (state.steps >= self.patience * unchanged_since)
        new = ready & ~state.settled
        if new.any():
            A = np.where(new, kept / np.where(new, sums, 1), A)
        return replace(
            state,
            model=next_model(state.model.V, A),
            settled=state.settled | new,
            support=found,
            unchanged_since=unchanged_since,
            # Looks that follow each other more closely show nothing new.
            next_look=-(-11 * state.steps // 10),
        )


def _restrict(
    direction: Array, settled: NDArray[np.bool_], support: NDArray[np.bool_], project: bool
) -> None:
    """Settled columns: zero outside their support, and with sum zero if they are projected."""
    within = Positions(support & settled)
    values = within.of(direction)
    if project:
        counts = np.bincount(within.column, minlength=len(settled))
        sums = np.bincount(within.column, values, minlength=len(settled))
        values -= (sums / np.maximum(counts, 1))[within.column]
    direction[:, settled] = 0
    direction.T.ravel()[within.entries] = values


@dataclass(frozen=True, eq=False)
class ExponentiatedState(State):
    """Where a run of `ExponentiatedGradient` stands.

    Attributes
    ----------
    curvature_V, curvature_A : float
        The curvatures of the loss, summed over the steps taken.
    """

    curvature_V: float = 0.0
    curvature_A: Array = field(kw_only=True)


@dataclass(frozen=True)
class ExponentiatedGradient:
    r"""Mirror descent: attention moves by factors, and stays a probability.

    The step of V is that of `ProximalGradient`, :eq:`eq-step-V`. Column k of A, with centred
    logarithms :math:`Z_k` and the preconditioned and projected gradient :math:`G_k`, moves by

    .. math::

        Z_k \leftarrow Z_k - \zeta_k\, G_k

    and is rescaled to sum one, equation :eq:`eq-mirror-step`: each entry of A is multiplied by a
    factor. The step size, equation :eq:`eq-mirror-size`, is

    .. math::

        \zeta_k = \frac{T \eta_A}{1 + \frac12\, T \eta_A \sum_{i=1}^{n} c_{ik}}

    with :math:`c_{ik} = \|V - \mu 1^\top\|_\mu^2\, \|a^{(k)}\|^2` at step i, the curvature of the
    loss in this geometry. No entry changes its sign, and those without signal fade by themselves:
    there is no threshold, no second stage, and no rule that settles a column.

    If the weights of the truth differ, attention goes to the largest first, and steps that have
    decayed may leave too much of it there.

    Parameters
    ----------
    step_V, step_A : float
        First step sizes, at least zero.
    batch_size : int
        Fresh samples for each step.
    decay : bool
        Let the steps decay.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram, train
    >>> task = SparseContextualBigram.random(3, 50, 2, np.random.default_rng(0))
    >>> start = LinearTransformer.initial(task)
    >>> run = train(
    ...     start, task, ExponentiatedGradient(), samples=50_000, rng=np.random.default_rng(1)
    ... )
    >>> bool(run.history["distance_A"][-1] < 0.1)
    True
    """

    step_V: float = 0.2
    step_A: float = 0.2
    batch_size: int = 256
    decay: bool = True

    def __post_init__(self) -> None:
        for name in ("step_V", "step_A"):
            real(name, getattr(self, name), least=0)
        integer("batch_size", self.batch_size, least=1)
        if not isinstance(self.decay, bool):
            raise ValueError(f"decay: expected True or False, came {self.decay!r}")

    def start(self, model: LinearTransformer) -> ExponentiatedState:
        """The state before the first step.

        Raises
        ------
        ValueError
            If the columns of A are not probabilities.
        """
        stochastic_columns("model.A", model.A)
        N = model.vocab_size
        return ExponentiatedState(model, np.zeros(N, bool), curvature_A=np.zeros(N))

    def update(self, state: ExponentiatedState, batch: Batch, mu: Array) -> ExponentiatedState:
        """One step of V along its gradient, and one of A by factors."""
        V, A = state.model.V, state.model.A
        grad_V, grad_A = state.model._gradient(batch)
        direction = project_V(precondition(grad_V, mu), mu)
        step_V = self.step_V
        if self.decay:
            step_V = step_V / (1 + step_V * state.curvature_V / 2)
        squares = np.vecdot(A.T, A.T)
        scale = float(np.sum((V - mu[:, None]) ** 2 @ mu))
        curvature_A = state.curvature_A + scale * squares
        first = self.step_A * len(A)
        step_A = first / (1 + first * curvature_A / 2) if self.decay else first
        exponents = -step_A * precondition(grad_A, mu)
        # The largest exponent of an entry that is not zero drops out: the sum below is not zero.
        exponents -= np.max(exponents, axis=0, where=A > 0, initial=-np.inf)
        weights = A * np.exp(np.minimum(exponents, 0))
        return replace(
            state,
            model=next_model(V - step_V * direction, weights / weights.sum(axis=0)),
            steps=state.steps + 1,
            curvature_V=state.curvature_V + float(squares @ mu),
            curvature_A=curvature_A,
        )


# -------------------------------------------------------------------------------- the loop


@dataclass(frozen=True)
class Run:
    """What `train` returns.

    Attributes
    ----------
    model : LinearTransformer
        The last model with finite entries.
    history : dict of str to ndarray
        One entry for each record: ``samples``, ``loss`` (the exact expected loss), ``distance_V``
        and ``distance_A`` (to P and Q, in the mu-norm), ``alpha_V``, ``alpha_A``.
    transition : ndarray, shape (N,)
        For each last token, the samples seen when its stage changed; NaN if it did not: too few
        samples, a run that went to attention of the wrong sign, or attention on half of the
        positions or more.
    diverged : str or None
        What went wrong, if something did; None for a run that used all its samples.
    """

    model: LinearTransformer
    history: dict[str, Array]
    transition: Array
    diverged: str | None = None


def alphas(model: LinearTransformer, task: SparseContextualBigram) -> tuple[float, float]:
    r"""The coordinates of a model along the two signals.

    .. math::

        \alpha_V = \frac{\langle V - \mu 1^\top, P - \mu 1^\top\rangle_\mu}{K_P}, \qquad
        \alpha_A = \frac{\langle A - 11^\top/T, Q - 11^\top/T\rangle_\mu}{K_Q}

    Both are 0 at the start and 1 at the truth. Equation :eq:`eq-alphas`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> [round(alpha, 9) for alpha in alphas(LinearTransformer.truth(task), task)]
    [1.0, 1.0]
    """
    return (
        task.inner(model.V - task.mu[:, None], task.signal_V) / task.K_P,
        task.inner(model.A - 1 / task.length, task.signal_A) / task.K_Q,
    )


def train(
    model: LinearTransformer,
    task: SparseContextualBigram,
    optimiser: Optimiser[S],
    samples: int,
    rng: np.random.Generator,
    *,
    records: int = 200,
    progress: bool = False,
) -> Run:
    """Train a model on fresh samples of a task.

    Two runs whose generators are in the same state see the same samples in the same order, even
    if their optimisers cut them into batches of different size.

    Parameters
    ----------
    model : LinearTransformer
        Where to start, usually ``LinearTransformer.initial(task)``.
    task : SparseContextualBigram
        Where the samples come from, and the truth that the history measures distances to. The
        optimiser sees its stationary law only.
    optimiser : Optimiser
        `SGD`, `ProximalGradient`, or any other object with their three members.
    samples : int
        How many samples to use, at least one batch; a last incomplete batch is not drawn.
    rng : numpy.random.Generator
        The source of randomness.
    records : int
        Number of entries of the history after the first, at most one a step.
    progress : bool
        Show a progress bar (needs tqdm).

    Returns
    -------
    Run
        The model, its history, the stage change, and whether the run diverged: then it stops, says
        so in ``diverged``, and returns the last finite model with the history up to there.

    Raises
    ------
    ValueError
        If an argument is out of range, the model does not fit the task, or the task holds nothing
        to learn (``K_P`` or ``K_Q`` is zero).

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> start = LinearTransformer.initial(task)
    >>> run = train(start, task, SGD(1e6, 1e6), samples=6400, rng=np.random.default_rng(1))
    >>> run.diverged is not None and bool(np.isfinite(run.model.V).all())
    True
    """
    batch_size = integer("optimiser.batch_size", optimiser.batch_size, least=1)
    samples = integer("samples", samples, least=batch_size)
    records = integer("records", records, least=1)
    matrix("model.V", model.V, task.P.shape)
    matrix("model.A", model.A, task.Q.shape)
    for name, strength in (("K_P", task.K_P), ("K_Q", task.K_Q)):
        if strength < 1e-12:
            raise ValueError(f"task: expected something to learn, came {name} = {strength:.1g}")

    steps = samples // batch_size
    if not max(np.abs(model.V).max(), np.abs(model.A).max()) <= LARGEST_ENTRY:
        raise ValueError(f"model: expected entries of at most {LARGEST_ENTRY:g} in size")
    stream = task.stream(rng)
    record_steps = set(np.linspace(0, steps, min(records, steps) + 1).round().astype(int).tolist())
    history = _History(task)
    history.record(0, model)
    state, diverged = optimiser.start(model), None
    transition = np.full(task.vocab_size, np.nan)
    total = steps * batch_size
    with progress_bar(total, progress, unit="samples", scaled=True) as advance:
        for step in range(1, steps + 1):
            try:
                # An overflow here is not an accident to warn of: it is reported as divergence.
                with np.errstate(over="ignore", invalid="ignore"):
                    update = optimiser.update(state, stream.draw(batch_size), task.mu)
            except Diverged as reason:
                diverged = f"diverged after {step * batch_size} samples: {reason}"
                break
            transition[update.settled & ~state.settled] = step * batch_size
            state = update
            if step in record_steps:
                history.record(step * batch_size, state.model)
            advance(batch_size)
    return Run(state.model, history.arrays(), transition, diverged)


@dataclass
class _History:
    """The quantities that a run records."""

    task: SparseContextualBigram
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def record(self, samples: int, model: LinearTransformer) -> None:
        task = self.task
        self.rows.append(
            (
                samples,
                population.loss(model, task),
                task.norm(model.V - task.P),
                task.norm(model.A - task.Q),
                *alphas(model, task),
            )
        )

    def arrays(self) -> dict[str, Array]:
        names = ("samples", "loss", "distance_V", "distance_A", "alpha_V", "alpha_A")
        return dict(zip(names, np.array(self.rows).T, strict=True))
