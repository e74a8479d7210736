r"""Exact expectations over the task: the loss and the gradients of the linear transformer.

Everything here rests on one identity: for fixed :math:`a, b \in \mathbb R^T`,

.. math::

    \mathbb E[(Xa)(Xb)^\top] = \langle a, b\rangle\,(\operatorname{diag}\mu - \mu\mu^\top)
    + (1^\top a)(1^\top b)\,\mu\mu^\top,

equation :eq:`eq-second-moment`. No sum constraint on V or A is assumed, so the functions
hold along any trajectory, that of plain SGD included.
"""

from __future__ import annotations

import numpy as np

from scbtheory._arguments import Array
from scbtheory.scb import SparseContextualBigram
from scbtheory.transformer import LinearTransformer


def covariance(task: SparseContextualBigram) -> Array:
    r"""Covariance of one token: :math:`\operatorname{diag}\mu - \mu\mu^\top`, shape (N, N).

    Equation :eq:`eq-covariance`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import SparseContextualBigram
    >>> task = SparseContextualBigram([[0.7, 0.3], [0.3, 0.7]], np.eye(2))
    >>> covariance(task).round(6).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    return np.diag(task.mu) - np.outer(task.mu, task.mu)


def loss(model: LinearTransformer, task: SparseContextualBigram) -> float:
    r"""The expected loss of a linear transformer, for any V and A.

    With :math:`S = \operatorname{diag}\mu - \mu\mu^\top` and column sums
    :math:`\sigma_k = 1^\top a^{(k)}`,

    .. math::

        \tfrac12 + \sum_{k=1}^{N} \mu_k \Big[\tfrac12 \|a^{(k)}\|^2 \operatorname{tr}(VSV^\top)
        + \tfrac12 \sigma_k^2 \|V\mu\|^2
        - \langle a^{(k)}, q^{(k)}\rangle \operatorname{tr}(VSP^\top)
        - \sigma_k \langle V\mu, \mu\rangle\Big].

    Equation :eq:`eq-population-loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> bool(np.isclose(loss(LinearTransformer.truth(task), task), task.bayes_loss))
    True
    """
    S, V_mu, sums = covariance(task), model.V @ task.mu, model.A.sum(axis=0)
    quadratic = np.sum(model.V @ S * model.V) * task.inner(model.A, model.A)
    quadratic += (V_mu @ V_mu) * (task.mu @ sums**2)
    linear = np.sum(model.V @ S * task.P) * task.inner(model.A, task.Q)
    linear += (V_mu @ task.mu) * (task.mu @ sums)
    return float(0.5 + quadratic / 2 - linear)


def gradient(model: LinearTransformer, task: SparseContextualBigram) -> tuple[Array, Array]:
    r"""The expected gradients of a linear transformer in V and in A, for any V and A.

    .. math::

        \sum_{k=1}^{N} \mu_k \big[(\|a^{(k)}\|^2 V - \langle a^{(k)}, q^{(k)}\rangle P) S
        + (\sigma_k^2 V\mu - \sigma_k \mu) \mu^\top\big]

    in V, and in column :math:`k` of A

    .. math::

        \mu_k \big[\operatorname{tr}(VSV^\top)\, a^{(k)} - \operatorname{tr}(VSP^\top)\, q^{(k)}
        + (\sigma_k \|V\mu\|^2 - \langle V\mu, \mu\rangle)\, 1\big].

    Equations :eq:`eq-population-gradient-V`, :eq:`eq-population-gradient-A`.

    Examples
    --------
    >>> import numpy as np
    >>> from scbtheory import LinearTransformer, SparseContextualBigram
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> grad_V, grad_A = gradient(LinearTransformer.truth(task), task)
    >>> bool(np.abs(grad_V).max() < 1e-12 and np.abs(grad_A).max() < 1e-12)
    True
    """
    S, V_mu, sums = covariance(task), model.V @ task.mu, model.A.sum(axis=0)
    grad_V = (task.inner(model.A, model.A) * model.V - task.inner(model.A, task.Q) * task.P) @ S
    grad_V += np.outer((task.mu @ sums**2) * V_mu - (task.mu @ sums) * task.mu, task.mu)
    grad_A = np.sum(model.V @ S * model.V) * model.A - np.sum(model.V @ S * task.P) * task.Q
    grad_A += (V_mu @ V_mu) * sums - V_mu @ task.mu
    return grad_V, grad_A * task.mu
