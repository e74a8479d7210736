r"""What sampling adds to the expected gradients, and the sign lottery that it starts.

Everything here is about a run from the start :eq:`eq-start` with preconditioned and projected
gradients, constant steps and fresh batches, except for `stable_step`, which is about plain SGD.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from scbtheory import population
from scbtheory._arguments import Array, integer, real
from scbtheory.scb import SparseContextualBigram


def sample_noise_V(task: SparseContextualBigram) -> float:
    r"""Mean square of the V-gradient of one sample at the start, in the mu-norm.

    .. math::

        \mathbb E\, \|G_V\|_\mu^2 = \frac{N - 1}{T} \big( 1 - \|\mu\|^2 \big)
        - \frac{2}{T^2} \big( \mu^\top P 1 - N \|\mu\|^2 \big)

    Equation :eq:`eq-noise-V`. The expected gradient has the square :math:`K_P/T^2`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(100)[:, :3])
    >>> round(sample_noise_V(task), 6)
    0.013333
    """
    mu, N, T = task.mu, task.vocab_size, task.length
    correction = float(mu @ task.P.sum(axis=1)) - N * float(mu @ mu)
    return (N - 1) * (1 - float(mu @ mu)) / T - 2 * correction / T**2


def signal_noise(task: SparseContextualBigram) -> float:
    r"""Strength of the noise along the signal: what a token that is not read adds.

    .. math:: \nu^2 = \frac{\operatorname{tr}(S D S D^\top)}{K_P^2}

    with :math:`D = P - \mu 1^\top`. Equation :eq:`eq-sigma-one`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(9)[:, :3])
    >>> round(signal_noise(task) * 0.7**2, 6)
    0.5
    """
    S, D = population.covariance(task), task.signal_V
    return float(np.sum((S @ D) * (D @ S))) / task.K_P**2


def variance_along_signal(task: SparseContextualBigram) -> float:
    r"""Variance of the push of one sample along the signal of V at the start.

    .. math::

        \mathbb E\, \xi = \frac1T, \qquad
        \mathbb E\, \xi^2 = \frac{(T - 1)\, \nu^2 + \nu_q^2}{T^2}

    Equation :eq:`eq-push-moments`; this is :math:`\tau^2`, the second minus the square of the
    first. For long contexts it is :math:`\nu^2/T`, :eq:`eq-push-variance`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(500)[:, :3])
    >>> bool(abs(variance_along_signal(task) / (signal_noise(task) / 500) - 1) < 0.01)
    True
    """
    T = task.length
    # Entry (i, j): the push of a token j that was read, with output i, without 1/T.
    pushes = (np.eye(task.vocab_size) - task.mu) @ task.signal_V / task.K_P
    read = float(np.sum(task.P * pushes**2, axis=0) @ task.mu)
    return ((T - 1) * signal_noise(task) + read - 1) / T**2


def snr(
    task: SparseContextualBigram,
    step_V: float,
    step_A: float,
    batch_size: int,
    steps: float = math.inf,
) -> float:
    r"""Signal squared over noise variance of the growing mode, as the linear recursion has it.

    .. math::

        \operatorname{SNR}_n = \frac{B\, (2 + \eta\, \omega)}{\eta\, \omega\, T^2 \tau^2} \cdot
        \frac{\gamma^n - 1}{\gamma^n + 1}

    with :math:`\gamma = 1 + \eta\omega`. Equation :eq:`eq-snr`; for unequal steps
    :math:`\eta = \sqrt{\eta_V \eta_A}`, :eq:`eq-unequal`.

    Parameters
    ----------
    task : SparseContextualBigram
    step_V, step_A : float
        Constant steps, above zero.
    batch_size : int
        Fresh samples for each step.
    steps : float
        After how many steps; the limit unless given.

    Returns
    -------
    float
        The ratio; its root is how many standard deviations the mode lies above zero.

    Raises
    ------
    ValueError
        If a step is not above zero, the batch is empty, or there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(100)[:, :3])
    >>> wide, narrow = (snr(task, 0.1, 0.1, batch) for batch in (64, 16))
    >>> round(wide / narrow, 9)
    4.0
    """
    for name, step in (("step_V", step_V), ("step_A", step_A)):
        if real(name, step, least=0) == 0:
            raise ValueError(f"{name}: expected a number above 0, came 0")
    batch_size = integer("batch_size", batch_size, least=1)
    if not steps >= 0:
        raise ValueError(f"steps: expected a number of at least 0, came {steps!r}")
    growth = math.sqrt(step_V * step_A) * _omega(task)
    ratio = batch_size * (2 + growth) / (growth * task.length**2 * variance_along_signal(task))
    return ratio * math.tanh(steps * math.log1p(growth) / 2)


def wrong_twin(ratio: float) -> float:
    r"""Probability that Gaussian noise turns the growing mode to the wrong twin.

    .. math:: p = \Phi\big( -\sqrt{\operatorname{SNR}} \big)

    Equation :eq:`eq-wrong-twin`.

    Examples
    --------
    >>> wrong_twin(0.0), round(wrong_twin(1.0), 4)
    (0.5, 0.1587)
    """
    return NormalDist().cdf(-math.sqrt(real("ratio", ratio, least=0)))


def batch_against(task: SparseContextualBigram, step: float, risk: float) -> float:
    r"""The batch size at which a small step goes wrong with a given probability.

    .. math:: B = \tfrac12\, z^2\, \eta\, T\, \omega\, \nu^2

    with :math:`\Phi(-z) = \delta`. Equation :eq:`eq-batch-size`.

    Parameters
    ----------
    task : SparseContextualBigram
    step : float
        The step size of both matrices.
    risk : float
        The probability :math:`\delta`, above zero and at most a half.

    Raises
    ------
    ValueError
        If an argument is out of range, or there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(500)[:, :3])
    >>> round(batch_against(task, 0.1, 0.01))
    79
    """
    if not 0 < real("risk", risk, least=0) <= 0.5:
        raise ValueError(f"risk: expected a number above 0 and at most 0.5, came {risk!r}")
    z = NormalDist().inv_cdf(1 - risk)
    step = real("step", step, least=0)
    return 0.5 * z**2 * step * task.length * _omega(task) * signal_noise(task)


def stable_step(task: SparseContextualBigram, batch_size: int) -> float:
    r"""The largest step of A for which plain SGD keeps its all-ones error bounded.

    .. math:: \eta < \frac{2}{T\, \|\mu\|^2 \max_k \big( \mu_k + (1 - \mu_k)/B \big)}

    Equation :eq:`eq-batch-bound`: in mean square, with V at its start.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram, circulant
    >>> task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), np.eye(100)[:, :3])
    >>> [round(stable_step(task, batch), 3) for batch in (1, 10**9)]
    [0.06, 0.18]
    """
    batch_size = integer("batch_size", batch_size, least=1)
    most: Array = task.mu + (1 - task.mu) / batch_size
    return 2 / (task.length * float(task.mu @ task.mu) * float(most.max()))


def _omega(task: SparseContextualBigram) -> float:
    """The rate of the growing mode, or a ValueError if nothing grows."""
    if min(task.K_P, task.K_Q) < 1e-12:
        raise ValueError(
            f"task: expected something to learn, came K_P = {task.K_P:.1g}, K_Q = {task.K_Q:.1g}"
        )
    return math.sqrt(task.K_P * task.K_Q)
