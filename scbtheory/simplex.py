r"""Training with attention kept on the simplex: no entry below zero, columns of sum one.

Two geometries: the Euclidean one, in which a step is followed by the nearest point of the simplex,
and the entropic one, in which each entry is multiplied and the column rescaled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scbtheory._arguments import Array, integer, real
from scbtheory.scb import Batch
from scbtheory.training import State, next_model, precondition, project_A, project_V
from scbtheory.transformer import LinearTransformer

GEOMETRIES = ("euclidean", "entropic")


def nearest_on_simplex(A: Array) -> Array:
    r"""The nearest matrix whose columns are probability vectors.

    Each column loses one number everywhere, is cut off at zero, and the number is such that the
    rest has sum one.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_on_simplex(np.array([[0.9], [0.5], [-0.2]])).round(3).ravel().tolist()
    [0.7, 0.3, 0.0]
    """
    falling = -np.sort(-A, axis=0)
    counts = np.arange(1, len(A) + 1)[:, None]
    shifts = (np.cumsum(falling, axis=0) - 1) / counts
    kept = np.count_nonzero(falling > shifts, axis=0)  # these are the first ones of each column
    return np.maximum(A - np.take_along_axis(shifts, kept[None] - 1, axis=0), 0)


def multiplied(A: Array, gradient: Array, step: float) -> Array:
    r"""A step of exponentiated gradient on each column.

    .. math::

        a^{+}_t = \frac{a_t\, e^{-\eta T g_t}}{\sum_{u=1}^{T} a_u\, e^{-\eta T g_u}}

    Equation :eq:`eq-exponentiated`. At uniform attention it is, to first order, the projected step.

    Examples
    --------
    >>> import numpy as np
    >>> multiplied(np.array([[0.5], [0.5]]), np.array([[-1.0], [1.0]]), 0.1).round(3).tolist()
    [[0.599], [0.401]]
    """
    exponents = -step * len(A) * gradient
    weights = A * np.exp(exponents - exponents.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


@dataclass(frozen=True)
class SimplexGradient:
    r"""Constant steps with attention on the simplex.

    The value matrix takes the step :eq:`eq-step-V`. Attention takes the preconditioned step and is
    then moved to the nearest point of the simplex (``"euclidean"``), or is multiplied entry by
    entry (``"entropic"``), :eq:`eq-exponentiated`.

    Parameters
    ----------
    step_V, step_A : float
        Step sizes, at least zero.
    batch_size : int
        Fresh samples for each step.
    geometry : {"euclidean", "entropic"}
        How attention is kept on the simplex.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram, train
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> start = LinearTransformer.initial(task)
    >>> run = train(start, task, SimplexGradient(), samples=64_000, rng=np.random.default_rng(1))
    >>> bool(run.model.A.min() >= 0 and run.history["loss"][-1] < run.history["loss"][0])
    True
    """

    step_V: float = 0.1
    step_A: float = 0.1
    batch_size: int = 64
    geometry: str = "euclidean"

    def __post_init__(self) -> None:
        real("step_V", self.step_V, least=0)
        real("step_A", self.step_A, least=0)
        integer("batch_size", self.batch_size, least=1)
        if self.geometry not in GEOMETRIES:
            raise ValueError(
                f"geometry: expected one of {', '.join(GEOMETRIES)}, came {self.geometry!r}"
            )

    def start(self, model: LinearTransformer) -> State:
        """The state before the first step."""
        return State(model, np.zeros(model.vocab_size, bool))

    def update(self, state: State, batch: Batch, mu: Array) -> State:
        """Both matrices one step; attention ends on the simplex."""
        V, A = state.model.V, state.model.A
        grad_V, grad_A = state.model.gradient(batch)
        direction = project_A(precondition(grad_A, mu))
        if self.geometry == "euclidean":
            stepped = nearest_on_simplex(A - self.step_A * direction)
        else:
            stepped = multiplied(A, direction, self.step_A)
        V = V - self.step_V * project_V(precondition(grad_V, mu), mu)
        return replace(state, model=next_model(V, stepped), steps=state.steps + 1)
