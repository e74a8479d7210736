"""Optimisers, the training loop and its history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbtheory import population
from scbtheory._arguments import Array, integer, matrix, real
from scbtheory.scb import Batch, SparseContextualBigram
from scbtheory.transformer import LinearTransformer

MARGIN = 2  # how many times further than the noise an entry must reach to stand out of it
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

        \arg\min_z \tfrac12 (z - x)^2 + \lambda |z| = \operatorname{sign}(x)\max(|x| - \lambda, 0)

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
    centred = np.abs(values - np.median(values, axis=0))
    return np.asarray(np.median(centred, axis=0) / 0.674489750196)


def standing_out(A: Array) -> NDArray[np.bool_]:
    """Entries of A that no noise of this column can explain.

    Noise falls to both sides of a column's median alike, but attention is never negative: how far
    the *lowest* entry lies below the median shows how far noise reaches. An entry stands out when
    it lies more than twice as far above.

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
    return centred > np.maximum(-MARGIN * centred.min(axis=0), 0)


# ----------------------------------------------------------------------------- the optimisers


@dataclass(frozen=True)
class State:
    r"""Where a run stands: its model and what its optimiser remembers.

    Attributes
    ----------
    model : LinearTransformer
    settled : ndarray of bool, shape (N,)
        The last tokens whose attention has been thresholded: stage two, for them.
    support : ndarray of bool, shape (T, N)
        The entries of A that stood out when last looked at; where settled, those that A may use.
    unchanged_since : ndarray of int, shape (N,)
        The step since which a column of ``support`` has been the same.
    steps : int
        Steps taken.
    curvature_V, curvature_A : float
        The curvatures of the loss in V and in A, summed over the steps taken.
    """

    model: LinearTransformer
    settled: NDArray[np.bool_]
    support: NDArray[np.bool_]
    unchanged_since: NDArray[np.int_]
    steps: int = 0
    curvature_V: float = 0.0
    curvature_A: float = 0.0

    @classmethod
    def initial(cls, model: LinearTransformer) -> State:
        """The state before the first step."""
        N = model.vocab_size
        return cls(model, np.zeros(N, bool), np.zeros_like(model.A, bool), np.zeros(N, int))


class Optimiser(Protocol):
    """What `train` asks of an optimiser."""

    @property
    def batch_size(self) -> int:
        """Fresh samples for each step."""
        ...

    def update(self, state: State, batch: Batch, mu: Array) -> State:
        """The state after one step on this batch."""
        ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with constant steps: the baseline.

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

    def update(self, state: State, batch: Batch, mu: Array) -> State:
        """Both matrices one step down the gradient of the batch."""
        grad_V, grad_A = state.model.gradient(batch)
        V = state.model.V - self.step_V * grad_V
        return replace(state, model=_model(V, state.model.A - self.step_A * grad_A))


@dataclass(frozen=True)
class ProximalGradient:
    r"""The two-stage trainer: preconditioned, projected, soft-thresholded gradient steps.

    *Stage one* boosts the correlation with the truth from zero. Both gradients are preconditioned
    and projected; the step of A is followed by the proximal map of
    :math:`\lambda \sum_k \mu_k \|a^{(k)} - 1/T\|_1`, with :math:`\lambda` a multiple of the noise
    that the batch shows in one coordinate.

    *The stage change* comes for each last token on its own, and is detected: when the entries of
    its column that stand out of the noise (`standing_out`) have stayed the same while the number
    of samples tripled, all others are set to zero and the column is rescaled to sum one.

    *Stage two* refines: a settled column moves on its support only.

    The steps decay like :math:`1/(1/\eta + \tfrac12 \sum m)`, where :math:`\sum m` adds up the
    curvature of the loss over the steps taken. It is next to nothing before the transition, so
    that the decay begins by itself when there is a signal to refine.

    Each ingredient can be switched off to see what it does.

    Parameters
    ----------
    step_V, step_A : float
        First step sizes, at least zero.
    batch_size : int
        Fresh samples for each step. A letter k that is rare needs a batch that holds several of
        it: ``step_V`` over ``batch_size * mu[k]`` well below one.
    l1 : float
        Soft-threshold level in units of the noise of one coordinate of the gradient; 0 is off.
    precondition, project, stage_change, decay : bool
        The other ingredients.
    check_every : int
        Steps between two looks at which entries stand out.
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
    check_every: int = 10
    patience: float = 3.0

    def __post_init__(self) -> None:
        for name in ("step_V", "step_A", "l1"):
            real(name, getattr(self, name), least=0)
        integer("batch_size", self.batch_size, least=1)
        integer("check_every", self.check_every, least=1)
        real("patience", self.patience, least=1)

    def update(self, state: State, batch: Batch, mu: Array) -> State:
        """One step; each column of A takes that of its stage."""
        V, A = state.model.V, state.model.A
        grad_V, grad_A = state.model.gradient(batch)
        weights = np.ones_like(mu)
        if self.precondition:
            weights = mu
            grad_V, grad_A = precondition(grad_V, mu), precondition(grad_A, mu)
        if self.project:
            grad_V = project_V(grad_V, mu, weights)
            grad_A = np.where(state.settled, _project_on(state.support, grad_A), project_A(grad_A))
        elif state.settled.any():
            grad_A = np.where(state.settled & ~state.support, 0, grad_A)

        step_V, step_A = self.step_V, self.step_A
        if self.decay:
            step_V = step_V / (1 + step_V * state.curvature_V / 2)
            step_A = step_A / (1 + step_A * state.curvature_A / 2)
        free = ~state.settled
        A = A - step_A * grad_A
        if self.l1 > 0 and free.any():
            level = step_A * self.l1 * float(mu @ robust_spread(grad_A))
            A[:, free] = self._shrink(A[:, free], level)
        state = replace(
            state,
            model=_model(V - step_V * grad_V, A),
            steps=state.steps + 1,
            curvature_V=state.curvature_V + float(np.sum(A**2 @ mu)),
            curvature_A=state.curvature_A + float(np.sum((V - mu[:, None]) ** 2 @ mu)),
        )
        if self.stage_change and free.any() and state.steps % self.check_every == 0:
            return self._look(state)
        return state

    def _shrink(self, A: Array, level: float) -> Array:
        """The proximal step, towards attention that is uniform but for a few entries."""
        shrunk = soft_threshold(A - 1 / len(A), level)
        return 1 / len(A) + (project_A(shrunk) if self.project else shrunk)

    def _look(self, state: State) -> State:
        """Settle the columns whose outstanding entries have stayed the same for long enough."""
        found = np.where(state.settled, state.support, standing_out(state.model.A))
        changed = (found != state.support).any(axis=0)
        unchanged_since = np.where(changed, state.steps, state.unchanged_since)
        settled = found.any(axis=0) & (state.steps >= self.patience * unchanged_since)
        new = settled & ~state.settled
        A = state.model.A
        if new.any():
            kept = np.where(found, A, 0)
            A = np.where(new, kept / np.where(new, kept.sum(axis=0), 1), A)
        return replace(
            state,
            model=_model(state.model.V, A),
            settled=state.settled | settled,
            support=found,
            unchanged_since=unchanged_since,
        )


def _project_on(support: NDArray[np.bool_], direction: Array) -> Array:
    """`project_A` within the support: zero outside it, and column sums zero."""
    means = np.sum(direction, axis=0, where=support) / np.maximum(support.sum(axis=0), 1)
    return np.where(support, direction - means, 0)


class Diverged(ArithmeticError):
    """A step led to entries that are not numbers, or far beyond any probability."""


def _model(V: Array, A: Array) -> LinearTransformer:
    largest = max(np.abs(V).max(), np.abs(A).max())
    if not largest <= LARGEST_ENTRY:  # also false for NaN
        raise Diverged(f"an entry of V or A reached {largest:.3g}")
    return LinearTransformer(V, A)


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
        For each last token, the samples seen when its stage changed; NaN if it did not.
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
    optimiser: Optimiser,
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
        `SGD`, `ProximalGradient`, or any other object with their two members.
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
    record_steps = set(np.linspace(0, steps, min(records, steps) + 1).round().astype(int).tolist())
    history = _History(task)
    history.record(0, model)
    state, diverged = State.initial(model), None
    transition = np.full(task.vocab_size, np.nan)
    stream = task.stream(rng)
    with _progress_bar(steps * batch_size, progress) as advance:
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


class _progress_bar:
    """A tqdm bar over samples, or nothing at all."""

    def __init__(self, total: int, shown: bool) -> None:
        self.bar = None
        if shown:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError("progress=True needs tqdm: pip install tqdm") from error
            self.bar = tqdm(total=total, unit="samples", unit_scale=True)

    def __enter__(self) -> Callable[[int], object]:
        return (lambda count: None) if self.bar is None else self.bar.update

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
