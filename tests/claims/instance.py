"""One instance of everything, with the numbers that floating point holds as fractions."""

from fractions import Fraction

import numpy as np
import sympy as sp
from conftest import skewed_task

from scbtheory import LinearTransformer, population
from scbtheory.claims import Case

ROUNDING = 1e-12  # entries are of order one, and sums have at most some hundred terms


def exactly(value):
    """The very numbers that floating point holds, as SymPy's fractions."""
    array = np.asarray(value, float)
    if array.ndim == 0:
        return sp.Rational(Fraction(float(array)))
    array = array.reshape(len(array), -1)
    return sp.Matrix(*array.shape, [sp.Rational(Fraction(x)) for x in array.flat])


def exact_names(names):
    numbers = (int, float, np.floating, np.ndarray)
    return {
        name: exactly(value) if isinstance(value, numbers) else value
        for name, value in names.items()
    }


def one_hot(size, tokens):
    return np.eye(size)[:, np.atleast_1d(tokens)]


class Instance:
    """A skewed task, a model that satisfies no constraint, and a small batch."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.task = task = skewed_task()
        N, T = task.vocab_size, task.length
        self.model = LinearTransformer(rng.standard_normal((N, N)), rng.standard_normal((T, N)))
        self.batch = task.sample(5, rng)
        self.direction_V, self.direction_A = (
            rng.standard_normal((N, N)),
            rng.standard_normal((T, N)),
        )
        V, A = self.model.V, self.model.A
        self.names = {
            "N": N, "T": T, r"\mu": task.mu, r"\mu_#": task.mu, "P": task.P, "Q": task.Q,
            "q^{(#)}": task.Q, "V": V, "A": A, "a^{(#)}": A, r"\sigma_#": A.sum(axis=0),
            "S": population.covariance(task), "K_P": task.K_P, "K_Q": task.K_Q,
        }  # fmt: skip

    def case(self, more, **fields):
        indices = {"k": self.task.vocab_size, "t": self.task.length}
        names = exact_names(self.names | more)
        return Case(names, indices, tolerance=ROUNDING, **fields)

    def law(self, also=lambda n: {}):
        """The batch as a law: each of its samples is equally likely."""
        N, batch = self.task.vocab_size, self.batch
        for n in range(len(batch)):
            X, x = one_hot(N, batch.context[n]), one_hot(N, batch.last[n])
            names = {"X": X, "x_#": np.hstack([X, x]), "x_o": one_hot(N, batch.output[n])}
            yield sp.Rational(1, len(batch)), exact_names(names | also(n))
