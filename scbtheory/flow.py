r"""The flow of training: what infinitely many samples and infinitely small steps do.

`descend` follows V and A themselves, `SignalFlow` the two coordinates along the signals. From the
start both tell the same story: the plane of the signals is invariant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from scbtheory import population
from scbtheory._arguments import Array, integer, matrix, real
from scbtheory.scb import SparseContextualBigram
from scbtheory.training import precondition, project_A, project_V
from scbtheory.transformer import LinearTransformer

MOST_STEPS = 1_000_000  # half a minute on the plane


class Signals(Protocol):
    """All that the flow on the plane knows of a task: a task, and a `SignalFlow`, has it."""

    @property
    def K_P(self) -> float:
        """Signal strength of P."""
        ...

    @property
    def K_Q(self) -> float:
        """Signal strength of Q."""
        ...

    @property
    def length(self) -> int:
        """The number T of positions."""
        ...


# --------------------------------------------------------------------------- the matrices


def force(model: LinearTransformer, task: SparseContextualBigram) -> tuple[Array, Array]:
    r"""The velocities of V and A under the population flow.

    .. math::

        \dot V = -\Pi_V\big(\nabla^\mu_V L\big), \qquad
        \dot A = -\Pi_A\big(\nabla^\mu_A L\big)

    Equation :eq:`eq-matrix-flow`.

    Returns
    -------
    ndarray, shape (N, N)
        The velocity of V.
    ndarray, shape (T, N)
        The velocity of A.

    Examples
    --------
    >>> import numpy as np
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> of_V, of_A = force(LinearTransformer.initial(task), task)
    >>> bool(np.allclose(of_V, task.signal_V / 20) and np.allclose(of_A, 0))
    True
    """
    grad_V, grad_A = population.gradient(model, task)
    of_V = -project_V(precondition(grad_V, task.mu), task.mu)
    return of_V, -project_A(precondition(grad_A, task.mu))


def descend(
    model: LinearTransformer,
    task: SparseContextualBigram,
    times: ArrayLike,
    tolerance: float = 1e-8,
) -> list[LinearTransformer]:
    """Follow the population flow of V and A from a model, at time zero.

    Parameters
    ----------
    model : LinearTransformer
        Where to start.
    task : SparseContextualBigram
        The task.
    times : array_like, shape (n,)
        When to look, from zero on and not decreasing.
    tolerance : float
        Error allowed in a step, relative to 1/T plus the largest entry that differs from the
        uninformed start.

    Returns
    -------
    list of LinearTransformer
        The model at these times.

    Raises
    ------
    ValueError
        If the model does not fit the task, or the times are not in order.
    ArithmeticError
        If the solution leaves all bounds, or takes more than a million steps.

    Examples
    --------
    >>> import numpy as np
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> start = LinearTransformer.initial(task)
    >>> now, later = descend(start, task, [0, 10])
    >>> population.loss(later, task) < population.loss(now, task)
    True
    """
    N, T = task.vocab_size, task.length
    matrix("model.V", model.V, (N, N))
    matrix("model.A", model.A, (T, N))
    origin = np.concatenate([np.repeat(task.mu, N), np.full(T * N, 1 / T)])

    def unpacked(y: Array) -> LinearTransformer:
        V, A = np.split(origin + y, [N * N])
        return LinearTransformer(V.reshape(N, N), A.reshape(T, N))

    def velocity(y: Array) -> Array:
        return np.concatenate([part.ravel() for part in force(unpacked(y), task)])

    start = np.concatenate([model.V.ravel(), model.A.ravel()]) - origin
    path = _Path(velocity, start, real("tolerance", tolerance, least=1e-13), 1 / T)
    return [unpacked(path.at(time)) for time in _in_order(times)]


# ------------------------------------------------------------------------------ the plane


@dataclass(frozen=True)
class SignalFlow:
    r"""The flow of :math:`(\alpha_V, \alpha_A)`, of two signal strengths and a length.

    .. math::

        \dot \alpha_V &= K_Q\, \alpha_A\, ( 1 - \alpha_V \alpha_A ) + \tfrac1T (1 - \alpha_V), \\
        \dot \alpha_A &= K_P\, \alpha_V\, ( 1 - \alpha_V \alpha_A )

    Equation :eq:`eq-flow`.

    Parameters
    ----------
    K_P, K_Q : float
        Signal strengths, above zero.
    length : int
        The number T of positions.

    Raises
    ------
    ValueError
        If a strength is not above zero, or the length is no positive integer.

    Examples
    --------
    >>> flow = SignalFlow(K_P=0.3, K_Q=0.5, length=100)
    >>> flow.solve([0, 3000])[:, 1].round(3).tolist()
    [1.0, 1.0]
    """

    K_P: float
    K_Q: float
    length: int

    def __post_init__(self) -> None:
        for name in ("K_P", "K_Q"):
            strength = real(name, getattr(self, name), least=0)
            if strength == 0:
                raise ValueError(f"{name}: expected a number above 0, came 0")
            object.__setattr__(self, name, strength)
        object.__setattr__(self, "length", integer("length", self.length, least=1))

    @classmethod
    def of(cls, signals: Signals) -> SignalFlow:
        """The flow of a task, or of anything else with ``K_P``, ``K_Q`` and ``length``."""
        return cls(signals.K_P, signals.K_Q, signals.length)

    def velocity(self, alpha_V: ArrayLike, alpha_A: ArrayLike) -> Array:
        r"""The velocities of :math:`\alpha_V` and :math:`\alpha_A`, :eq:`eq-flow`.

        Parameters
        ----------
        alpha_V, alpha_A : array_like
            Coordinates, broadcast against each other.

        Returns
        -------
        ndarray, shape (2, ...)

        Examples
        --------
        >>> SignalFlow(0.3, 0.5, 10).velocity(0, 0).tolist()
        [0.1, 0.0]
        """
        v, a = np.asarray(alpha_V, dtype=float), np.asarray(alpha_A, dtype=float)
        short = 1 - v * a
        return np.array([self.K_Q * a * short + (1 - v) / self.length, self.K_P * v * short])

    def jacobian(self, alpha_V: float, alpha_A: float) -> Array:
        r"""The derivative of the velocities by the coordinates, shape (2, 2).

        .. math::

            J = \begin{pmatrix}
            -K_Q \alpha_A^2 - \tfrac1T & K_Q (1 - 2 \alpha_V \alpha_A) \\
            K_P (1 - 2 \alpha_V \alpha_A) & -K_P \alpha_V^2
            \end{pmatrix}

        Equation :eq:`eq-jacobian`.

        Examples
        --------
        >>> np.linalg.eigvals(SignalFlow(0.3, 0.5, 1000).jacobian(1, 1)).round(6).tolist()
        [-0.800625, -0.000375]
        """
        across = 1 - 2 * alpha_V * alpha_A
        return np.array(
            [
                [-self.K_Q * alpha_A**2 - 1 / self.length, self.K_Q * across],
                [self.K_P * across, -self.K_P * alpha_V**2],
            ]
        )

    def solve(
        self, times: ArrayLike, start: tuple[float, float] = (0.0, 0.0), tolerance: float = 1e-10
    ) -> Array:
        r"""Follow the flow from a point of the plane, at time zero.

        Parameters
        ----------
        times : array_like, shape (n,)
            When to look, from zero on and not decreasing; or from zero back and not increasing.
        start : pair of float
            :math:`\alpha_V` and :math:`\alpha_A` at time zero.
        tolerance : float
            Error allowed in a step, relative to 1/T plus the larger coordinate.

        Returns
        -------
        ndarray, shape (2, n)
            :math:`\alpha_V` and :math:`\alpha_A` at these times.

        Raises
        ------
        ValueError
            If the times are not in order.
        ArithmeticError
            If the solution leaves all bounds, or takes more than a million steps.

        Examples
        --------
        >>> SignalFlow(0.3, 0.5, 100).solve([0, 20, 40]).round(3).tolist()
        [[0.0, 1.137, 1.125], [0.0, 0.877, 0.887]]
        """
        back = np.ndim(times) == 1 and len(np.asarray(times)) > 0 and np.asarray(times)[-1] < 0
        sign = -1 if back else 1
        path = self._path(start, tolerance, sign)
        when = _in_order(sign * np.asarray(times, dtype=float))
        return np.array([path.at(time) for time in when]).T.reshape(2, -1)

    def time_to(
        self, product: float, start: tuple[float, float] = (0.0, 0.0), tolerance: float = 1e-10
    ) -> float:
        r"""When :math:`u = \alpha_V \alpha_A` first rises to a value below one.

        Raises
        ------
        ValueError
            If the value is not above that at the start, and below one.
        ArithmeticError
            If the solution leaves all bounds, or takes more than a million steps.

        Examples
        --------
        >>> round(SignalFlow(0.3, 0.5, 5000).time_to(0.5), 2)
        21.67
        """
        least = float(start[0] * start[1])
        if not least < product < 1:
            raise ValueError(
                f"product: expected a number above {least:g} and below 1, came {product!r}"
            )
        return self._path(start, tolerance).first(lambda y: y[0] * y[1] - product)

    def _path(self, start: tuple[float, float], tolerance: float, sign: int = 1) -> _Path:
        tolerance = real("tolerance", tolerance, least=1e-13)
        at = matrix("start", [list(start)], (1, 2))[0]
        return _Path(lambda y: sign * self.velocity(y[0], y[1]), at, tolerance, 1 / self.length)


# -------------------------------------------------------------------------- the integrator

# The pair of orders five and four of Dormand and Prince: the last stage is the next first one.
STAGES = [
    np.array(row)
    for row in (
        [1 / 5],
        [3 / 40, 9 / 40],
        [44 / 45, -56 / 15, 32 / 9],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
    )
]
ERROR = np.array([71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])


class _Path:
    """The solution of y' = velocity(y), stepped forward as far as somebody looks.

    The error of a step is held below ``tolerance`` times ``floor`` plus the largest entry.
    """

    def __init__(
        self, velocity: Callable[[Array], Array], start: Array, tolerance: float, floor: float
    ) -> None:
        self.velocity, self.tolerance, self.floor = velocity, tolerance, floor
        self.time, self.y, self.slope = 0.0, start, velocity(start)
        self.size = 1e-3  # of the next step: the error control soon knows better
        self.steps = 0

    def at(self, time: float) -> Array:
        """The solution at a time that is not before the last one."""
        while self.time < time:
            self._step(time)
        return self.y

    def first(self, event: Callable[[Array], float]) -> float:
        """When a function of the solution, negative now, first reaches zero."""
        while True:
            time, y, slope = self.time, self.y, self.slope
            self._step(np.inf)
            if event(self.y) >= 0:
                break
        # Within this step, by halving it: fifty times leave nothing of it.
        low, high = 0.0, self.time - time
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (
                (low, middle) if event(self._trial(y, slope, middle)[0]) >= 0 else (middle, high)
            )
        return time + high

    def _trial(self, y: Array, slope: Array, size: float) -> tuple[Array, Array]:
        """The solution one step later, and the slopes at all stages."""
        slopes = np.empty((7, len(y)))
        slopes[0] = slope
        for stage, weights in enumerate(STAGES, start=1):
            later = y + size * (weights @ slopes[:stage])
            slopes[stage] = self.velocity(later)
        return later, slopes

    def _step(self, end: float) -> None:
        """One step, not beyond the end, whose error is small enough."""
        while True:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise ArithmeticError(f"more than {MOST_STEPS} steps, at time {self.time:.6g}")
            size = min(self.size, end - self.time)
            if self.time + size == self.time:
                raise ArithmeticError(f"the solution leaves all bounds at time {self.time:.6g}")
            # A step too far may overflow: it is not accepted, and a smaller one follows.
            with np.errstate(over="ignore", invalid="ignore"):
                y, slopes = self._trial(self.y, self.slope, size)
                allowed = self.tolerance * (self.floor + np.abs(y).max())
                excess = float(size * np.abs(ERROR @ slopes).max() / allowed)
            # An error that is not a number asks for a smaller step, too.
            factor = min(5.0, 0.9 * max(excess, 1e-10) ** -0.2) if excess < np.inf else 0.2
            if excess <= 1:
                break
            self.size = size * max(0.2, factor)
        self.time = end if size == end - self.time else self.time + size
        self.y, self.slope = y, slopes[-1]
        # A step that was cut short at a time somebody asked for says little of the next.
        self.size = max(self.size, size * factor) if size < self.size else size * factor


def _in_order(times: ArrayLike) -> list[float]:
    """The times, or a ValueError if they go back or begin before zero."""
    array = np.asarray(times, dtype=float)
    if array.ndim != 1 or not np.isfinite(array).all() or (np.diff(array, prepend=0) < 0).any():
        came = np.array2string(array, threshold=6)
        raise ValueError(f"times: expected finite numbers from 0 on, not decreasing, came {came}")
    return array.tolist()
