r"""The stages of training in closed form: growth, transition, drift.

Each function takes the signal strengths and the length from a task, or from a `SignalFlow`.
Times are those of the population flow: the number of steps times their size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scbtheory._arguments import Array
from scbtheory.flow import SignalFlow, Signals


def growth_rate(signals: Signals) -> float:
    r"""The rate :math:`\omega = \sqrt{K_P K_Q}` at which both signals grow at first.

    Examples
    --------
    >>> round(growth_rate(SignalFlow(0.32, 0.5, 1000)), 6)
    0.4
    """
    flow = SignalFlow.of(signals)
    return float(np.sqrt(flow.K_P * flow.K_Q))


def linear_stage(signals: Signals, times: ArrayLike) -> Array:
    r"""The coordinates while they are small.

    .. math::

        \alpha_V(t) = \frac{\sinh(\omega t)}{T \omega}, \qquad
        \alpha_A(t) = \frac{\cosh(\omega t) - 1}{T K_Q}

    Equation :eq:`eq-linear-stage`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.
    times : array_like
        Times of the flow.

    Returns
    -------
    ndarray, shape (2, ...)
        :math:`\alpha_V` and :math:`\alpha_A`.

    Examples
    --------
    >>> linear_stage(SignalFlow(0.32, 0.5, 1000), [0, 5]).round(4).tolist()
    [[0.0, 0.0091], [0.0, 0.0055]]
    """
    flow, omega = SignalFlow.of(signals), growth_rate(signals)
    x = omega * np.asarray(times, dtype=float)
    return np.array(
        [np.sinh(x) / (flow.length * omega), (np.cosh(x) - 1) / (flow.length * flow.K_Q)]
    )


def product(signals: Signals, times: ArrayLike) -> Array:
    r"""The product of the coordinates, from the growth to the end of the transition.

    .. math::

        u(t) = \frac{1}{1 + 4 T^2 \omega K_Q\, e^{-2 \omega t}}

    Equation :eq:`eq-matched`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.
    times : array_like
        Times of the flow.

    Examples
    --------
    >>> flow = SignalFlow(0.32, 0.5, 1000)
    >>> product(flow, half_time(flow) + np.array([-5, 0, 5])).round(3).tolist()
    [0.018, 0.5, 0.982]
    """
    # The other way round, so that no exponential overflows.
    x = 2 * growth_rate(signals) * (np.asarray(times, dtype=float) - half_time(signals))
    return (1 + np.tanh(x / 2)) / 2


def half_time(signals: Signals) -> float:
    r"""When the product of the coordinates is one half.

    .. math::

        t_{1/2} = \frac1\omega \Big( \ln T + \tfrac12 \ln (4 \omega K_Q) \Big)

    Equation :eq:`eq-half-time`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.

    Examples
    --------
    >>> flow = SignalFlow(0.3, 0.5, 5000)
    >>> round(half_time(flow), 2), round(flow.time_to(0.5), 2)
    (21.66, 21.67)
    """
    flow, omega = SignalFlow.of(signals), growth_rate(signals)
    return float((np.log(flow.length) + np.log(4 * omega * flow.K_Q) / 2) / omega)


def landing(signals: Signals) -> tuple[float, float]:
    r"""The coordinates at which the fast phase ends.

    .. math::

        \alpha_V = \Big( \frac{K_Q}{K_P} \Big)^{1/4}, \qquad \alpha_A = \frac{1}{\alpha_V}

    Equation :eq:`eq-end-fast`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.

    Examples
    --------
    >>> [round(alpha, 6) for alpha in landing(SignalFlow(0.05, 0.8, 1000))]
    [2.0, 0.5]
    """
    flow = SignalFlow.of(signals)
    alpha_V = float((flow.K_Q / flow.K_P) ** 0.25)
    return alpha_V, 1 / alpha_V


def foot(signals: Signals, alpha_V: ArrayLike, alpha_A: ArrayLike) -> Array:
    r"""Where the fast flow would take a point, if the drift were switched off meanwhile.

    The fast flow conserves :math:`c = K_P \alpha_V^2 - K_Q \alpha_A^2` and ends at

    .. math::

        \alpha_V^2 = \frac{c + \sqrt{c^2 + 4 \omega^2}}{2 K_P}

    Equation :eq:`eq-foot`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.
    alpha_V, alpha_A : array_like
        Coordinates with :math:`\alpha_V > 0`, broadcast against each other.

    Returns
    -------
    ndarray
        The positive :math:`\alpha_V` at the end.

    Examples
    --------
    >>> foot(SignalFlow(0.05, 0.8, 1000), [0.2, 2.0], [0.05, 0.5]).round(6).tolist()
    [2.0, 2.0]
    """
    flow = SignalFlow.of(signals)
    v, a = np.asarray(alpha_V, dtype=float), np.asarray(alpha_A, dtype=float)
    c = flow.K_P * v**2 - flow.K_Q * a**2
    return np.sqrt((c + np.sqrt(c**2 + 4 * flow.K_P * flow.K_Q)) / (2 * flow.K_P))


def drift_velocity(signals: Signals, alpha_V: ArrayLike) -> Array:
    r"""The velocity of :math:`\alpha_V` along the valley :math:`\alpha_V \alpha_A = 1`.

    .. math::

        \dot \alpha_V = \frac{K_P\, \alpha_V^4\, (1 - \alpha_V)}{T (K_P\, \alpha_V^4 + K_Q)}

    Equation :eq:`eq-valley-flow`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.
    alpha_V : array_like
        Where; the negative side is the valley of the twin.

    Examples
    --------
    >>> drift_velocity(SignalFlow(0.3, 0.6, 1000), [0.5, 1.0]).round(7).tolist()
    [1.52e-05, 0.0]
    """
    flow, v = SignalFlow.of(signals), np.asarray(alpha_V, dtype=float)
    push = flow.K_P * v**4
    return push * (1 - v) / (flow.length * (push + flow.K_Q))


def drift_rate(signals: Signals) -> float:
    r"""The rate of the last approach to the truth, for long contexts: minus the eigenvalue

    .. math::

        \nu = -\frac{K_P}{T (K_P + K_Q)} + O(T^{-2})

    without what is left of it in :math:`O`.

    Equation :eq:`eq-drift`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.

    Examples
    --------
    >>> round(drift_rate(SignalFlow(0.3, 0.6, 1000)), 7)
    0.0003333
    """
    flow = SignalFlow.of(signals)
    return flow.K_P / (flow.length * (flow.K_P + flow.K_Q))


def drift_time(signals: Signals, begin: float, end: float) -> float:
    r"""How long the drift along the valley takes from one :math:`\alpha_V` to another.

    It is :math:`\tau(\text{end}) - \tau(\text{begin})` with :math:`\gamma = K_Q/K_P` and

    .. math::

        \tau(\alpha_V) = T \Big[ \gamma \Big( \ln \alpha_V - \frac{1}{\alpha_V}
        - \frac{1}{2 \alpha_V^2} - \frac{1}{3 \alpha_V^3} \Big)
        - (1 + \gamma) \ln |1 - \alpha_V| \Big]

    Equation :eq:`eq-drift-time`.

    Parameters
    ----------
    signals : SparseContextualBigram or SignalFlow
        Whatever has ``K_P``, ``K_Q`` and ``length``.
    begin, end : float
        Values of :math:`\alpha_V` above zero, on the same side of one, the end nearer to it.

    Raises
    ------
    ValueError
        If the drift does not lead from the one to the other.

    Examples
    --------
    >>> flow = SignalFlow(0.3, 0.6, 1000)
    >>> round(drift_time(flow, landing(flow)[0], 1.01))
    7672
    """
    if not (0 < begin <= end < 1 or 1 < end <= begin):
        raise ValueError(
            f"end: expected a number between begin = {begin} and 1, which excluded, came {end}"
        )
    flow = SignalFlow.of(signals)
    ratio = flow.K_Q / flow.K_P

    def tau(x: float) -> float:
        powers = np.log(x) - 1 / x - 1 / (2 * x**2) - 1 / (3 * x**3)
        return float(ratio * powers - (1 + ratio) * np.log(abs(1 - x)))

    return flow.length * (tau(end) - tau(begin))
