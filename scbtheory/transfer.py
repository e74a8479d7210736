r"""Starting from a value matrix that was learned elsewhere: what it saves, and what it risks.

The start is `LinearTransformer.pretrained`. Along the signal it is ahead by :math:`\theta\rho`;
whatever else it brings is an error.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from scbtheory import population
from scbtheory._arguments import Array, integer, matrix, real
from scbtheory.flow import Signals
from scbtheory.scb import SparseContextualBigram
from scbtheory.transformer import LinearTransformer


def correlation(task: SparseContextualBigram, chain: ArrayLike) -> float:
    r"""How much of the chain of a task another matrix contains; 1 for the chain itself.

    .. math::

        \rho = \frac{\langle \hat P, P \rangle_\mu - \mu^\top \hat P \mu}{K_P}

    Equation :eq:`eq-transfer-other-law`.

    Parameters
    ----------
    task : SparseContextualBigram
        The downstream task.
    chain : array_like, shape (N, N)
        The matrix :math:`\hat P`: a chain, or a value matrix.

    Examples
    --------
    >>> import numpy as np
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> round(correlation(task, task.P), 9)
    1.0
    """
    chain = matrix("chain", chain, task.P.shape)
    return task.inner(chain - (chain @ task.mu)[:, None], task.signal_V) / task.K_P


def blend(task: SparseContextualBigram, other: ArrayLike, rho: float) -> Array:
    r"""A mixture of the chain of a task with another one that has a given correlation.

    .. math:: \hat P = R + \frac{\rho - \rho_R}{1 - \rho_R} (P - R)

    Equation :eq:`eq-transfer-blend`.

    Parameters
    ----------
    task : SparseContextualBigram
        The downstream task, with the chain P.
    other : array_like, shape (N, N)
        The chain R, with the same stationary law.
    rho : float
        The correlation wanted.

    Returns
    -------
    ndarray, shape (N, N)

    Raises
    ------
    ValueError
        If R has another law or the correlation one, or if an entry would be negative.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(9)[:, :3])
    >>> mixed = blend(task, circulant([0, 1, 0]), 0.3)
    >>> round(correlation(task, mixed), 9)
    0.3
    """
    other = matrix("other", other, task.P.shape)
    if not np.allclose(other @ task.mu, task.mu, atol=1e-9):
        raise ValueError(f"other: expected the stationary law {task.mu}, came {other @ task.mu}")
    start = correlation(task, other)
    if abs(1 - start) < 1e-9:
        raise ValueError("other: expected a correlation other than 1 with the task, came 1")
    mixed = other + (rho - start) / (1 - start) * (task.P - other)
    if mixed.min() < -1e-12:
        raise ValueError(
            f"rho: expected a value that leaves no entry negative, came {rho!r}, which makes one "
            f"{mixed.min():.3g}"
        )
    return np.maximum(mixed, 0)


def time_to(flow: Signals, head_start: float, product: float = 0.5) -> float:
    r"""When the product of the coordinates reaches u, from a head start far above 1/T.

    .. math::

        t = \frac1b \log\left( \frac{c^2 + 4 \omega^2 u + b r}{c\, (c + b) (1 - u)} \right)

    with :math:`c = K_P v_0^2`, :math:`b^2 = c^2 + 4\omega^2` and
    :math:`r^2 = c^2 + 4\omega^2 u^2`. Equation :eq:`eq-transfer-time`.

    Parameters
    ----------
    flow : Signals
        A task, or a `SignalFlow`.
    head_start : float
        The coordinate :math:`v_0` of V at the start, above zero.
    product : float
        The value u, between zero and one.

    Raises
    ------
    ValueError
        If the head start is not above zero, or the product not between zero and one.

    Examples
    --------
    >>> from scbtheory.flow import SignalFlow
    >>> flow = SignalFlow(0.3, 0.5, 10**6)
    >>> abs(time_to(flow, 0.3) - flow.time_to(0.5, (0.3, 0.0))) < 0.001
    True
    """
    if not real("head_start", head_start, least=0) > 0:
        raise ValueError("head_start: expected a number above 0, came 0")
    u = real("product", product, least=0)
    if not 0 < u < 1:
        raise ValueError(f"product: expected a number between 0 and 1, came {product!r}")
    c, square = flow.K_P * head_start**2, 4 * flow.K_P * flow.K_Q
    b, r = math.sqrt(c**2 + square), math.sqrt(c**2 + square * u**2)
    return math.log((c**2 + square * u + b * r) / (c * (c + b) * (1 - u))) / b


def tipping_point(flow: Signals) -> float:
    r"""The head start below which the population flow goes to the wrong twin; negative.

    .. math:: \theta \rho < -\frac{1}{T \lambda}

    Equation :eq:`eq-transfer-tipping`, where :math:`\lambda` is the rate :eq:`eq-growth`.

    Examples
    --------
    >>> from scbtheory.flow import SignalFlow
    >>> round(tipping_point(SignalFlow(0.3, 0.5, 1000)), 5)
    -0.00259
    """
    T = flow.length
    damping = 1 / T + 1 / (flow.K_Q * T**2)
    rate = math.sqrt(flow.K_P * flow.K_Q + damping**2 / 4) - damping / 2
    return -1 / (T * rate)


def error_noise(
    task: SparseContextualBigram, error: ArrayLike, step: float, batch_size: int
) -> float:
    r"""What an error in the value matrix adds to the variance of a push, for theta = 1.

    .. math::

        \beta^2 = \frac{K_Q}{K_P} \zeta^2
        + \frac{\eta\, \nu^2 g_A^2}{B\, \omega\, (2 + \eta\, \omega)}

    Equation :eq:`eq-transfer-beta`: the push of one sample along the signal of A,
    :eq:`eq-transfer-noise-A`, and the noise of V that grows with the noise in attention,
    :eq:`eq-transfer-walk`.

    Parameters
    ----------
    task : SparseContextualBigram
        The downstream task.
    error : array_like, shape (N, N)
        The error M, with :math:`M\mu = 0`.
    step : float
        The constant step of both matrices, above zero.
    batch_size : int
        Fresh samples for each step.

    Raises
    ------
    ValueError
        If the step is not above zero, or the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(9)[:, :3])
    >>> error_noise(task, np.zeros((3, 3)), 0.1, 8)
    0.0
    """
    if real("step", step, least=0) == 0:
        raise ValueError("step: expected a number above 0, came 0")
    batch_size = integer("batch_size", batch_size, least=1)
    M, N, T = matrix("error", error, task.P.shape), task.vocab_size, task.length
    unread, read = _pushes(task, M)
    weight = float(np.sum(task.Q * (task.Q - 1 / T) ** 2, axis=0) @ task.mu)
    zeta2 = unread / task.K_Q + weight / task.K_Q**2 * (read - unread)
    walk = N * (1 - 1 / T) * ((T - 1) * unread + read)
    nu2 = _pushes(task, task.signal_V)[0] / task.K_P**2
    omega = math.sqrt(task.K_P * task.K_Q)
    return task.K_Q / task.K_P * zeta2 + step * nu2 * walk / (
        batch_size * omega * (2 + step * omega)
    )


def wrong_twin(
    task: SparseContextualBigram, start: LinearTransformer, step: float, batch_size: int
) -> float:
    r"""Probability that a run from a pretrained start ends with attention of the wrong sign.

    .. math:: p = \Phi\left( -\frac{v_0 + 1/(T \omega)}{\Sigma} \right)

    Equation :eq:`eq-transfer-odds`, with the noise :eq:`eq-transfer-spread`.

    Parameters
    ----------
    task : SparseContextualBigram
        The downstream task.
    start : LinearTransformer
        A start with uniform attention.
    step : float
        The constant step of both matrices, above zero.
    batch_size : int
        Fresh samples for each step.

    Raises
    ------
    ValueError
        If the step is not above zero, or the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(100)[:, :3])
    >>> starts = [LinearTransformer.pretrained(task, task.P, theta) for theta in (0, 0.05)]
    >>> [round(wrong_twin(task, start, 0.1, 2), 3) for start in starts]
    [0.2, 0.001]
    """
    M, D, T = start.V - task.mu[:, None], task.signal_V, task.length
    ahead = task.inner(M, D) / task.K_P
    error = error_noise(task, M - ahead * D, step, batch_size)
    unread, read = (square / task.K_P**2 for square in _pushes(task, D))
    tau2 = ((T - 1) * unread + read - 1) / T**2
    omega = math.sqrt(task.K_P * task.K_Q)
    spread = math.sqrt(step * (tau2 + error) / (batch_size * omega * (2 + step * omega)))
    return NormalDist().cdf(-(ahead + 1 / (T * omega)) / spread)


def _pushes(task: SparseContextualBigram, M: Array) -> tuple[float, float]:
    """Mean squares of (x_o - mu)' M x: for a token x that is not read, and for the one that is."""
    S, mu = population.covariance(task), task.mu
    read = float(np.sum(task.P * ((np.eye(len(mu)) - mu) @ M) ** 2, axis=0) @ mu)
    return float(np.sum((S @ M) * (M @ S))), read
