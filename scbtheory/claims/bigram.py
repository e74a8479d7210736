r"""The sparse contextual bigram with a symbol for each number, small enough to enumerate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import sympy as sp

from scbtheory._arguments import integer
from scbtheory.claims.values import Case

__all__ = ["Bigram"]


@dataclass(frozen=True)
class Bigram:
    r"""Every task, and every model, with ``N`` symbols and ``T`` positions.

    :math:`\mu`, :math:`P` and :math:`Q` satisfy their constraints identically: the entries are
    polynomials in free symbols. What is checked for them holds for every task of this size.

    Parameters
    ----------
    N : int
        Number of symbols, at least two. Enumeration takes its time beyond three.
    T : int
        Number of positions.
    constrained : bool
        Let :math:`V\mu = \mu`, :math:`1^\top V = 1^\top`, :math:`1^\top A = 1^\top`, as training
        keeps them; else every entry of :math:`V` and :math:`A` is a symbol of its own.

    Raises
    ------
    ValueError
        If a size is no positive integer.

    Examples
    --------
    >>> task = Bigram(2, 3)
    >>> (task.P * task.mu - task.mu).expand().T
    Matrix([[0, 0]])
    >>> len(task.samples), sum(weight for weight, *_ in task.samples).expand()
    (96, 1)
    """

    N: int
    T: int
    constrained: bool = False

    def __post_init__(self) -> None:
        integer("N", self.N, least=2)
        integer("T", self.T, least=1)

    @cached_property
    def mu(self) -> sp.Matrix:
        """A law with positive entries."""
        head = sp.symbols(f"mu1:{self.N}", positive=True)
        return sp.Matrix([*head, 1 - sum(head)])

    @cached_property
    def P(self) -> sp.Matrix:
        """Every matrix with column sums one that keeps the law."""
        return self._near_uninformed("p")

    @cached_property
    def Q(self) -> sp.Matrix:
        """Every matrix with column sums one."""
        return self._columns_of_sum_one("q")

    @cached_property
    def V(self) -> sp.Matrix:
        if self.constrained:
            return self._near_uninformed("w")  # not the symbols of the free V
        return sp.Matrix(self.N, self.N, sp.symbols(f"v1:{self.N**2 + 1}", real=True))

    @cached_property
    def A(self) -> sp.Matrix:
        if self.constrained:
            return self._columns_of_sum_one("b")
        return sp.Matrix(self.T, self.N, sp.symbols(f"a1:{self.T * self.N + 1}", real=True))

    def _near_uninformed(self, name: str) -> sp.Matrix:
        # What may be added to mu 1' has column sums zero and takes mu to zero.
        size = self.N - 1
        free = sp.Matrix(size, size, sp.symbols(f"{name}1:{size**2 + 1}", real=True))
        inner = sp.zeros(self.N, self.N)
        inner[:-1, :-1] = free
        inner[-1, :-1] = -sp.ones(1, size) * free
        return self.start_V + inner * (sp.eye(self.N) - self.start_V)

    def _columns_of_sum_one(self, name: str) -> sp.Matrix:
        size = (self.T - 1) * self.N
        free = sp.Matrix(self.T - 1, self.N, sp.symbols(f"{name}1:{size + 1}", real=True))
        last = sp.ones(1, self.N) - sp.ones(1, self.T - 1) * free
        return free.col_join(last)

    @property
    def start_V(self) -> sp.Matrix:
        r""":math:`\mu 1^\top`."""
        return self.mu * sp.ones(1, self.N)

    @property
    def start_A(self) -> sp.Matrix:
        r""":math:`11^\top/T`."""
        return sp.ones(self.T, self.N) / self.T

    def inner(self, M: sp.Matrix, W: sp.Matrix) -> sp.Expr:
        r""":math:`\sum_k \mu_k \langle M_k, W_k\rangle`."""
        return sum((self.mu[k] * M[:, k].dot(W[:, k]) for k in range(self.N)), sp.Integer(0))

    @cached_property
    def K_P(self) -> sp.Expr:
        signal = self.P - self.start_V
        return self.inner(signal, signal)

    @cached_property
    def K_Q(self) -> sp.Expr:
        signal = self.Q - self.start_A
        return self.inner(signal, signal)

    @cached_property
    def S(self) -> sp.Matrix:
        r""":math:`\operatorname{diag}\mu - \mu\mu^\top`."""
        return sp.diag(*self.mu) - self.mu * self.mu.T

    # ------------------------------------------------------------------------------ sampling

    @cached_property
    def samples(self) -> list[tuple[sp.Expr, tuple[int, ...], int, int]]:
        """Every sample with its probability: context, last token, output, all from zero."""
        found = []
        for *context, last, position, output in product(
            *[range(self.N)] * (self.T + 1), range(self.T), range(self.N)
        ):
            weight = sp.prod([self.mu[token] for token in (*context, last)])
            weight *= self.Q[position, last] * self.P[output, context[position]]
            found.append((weight, tuple(context), last, output))
        return found

    def one_hot(self, *tokens: int) -> sp.Matrix:
        """The matrix whose columns are the unit vectors of these tokens."""
        return sp.Matrix(self.N, len(tokens), lambda i, j: int(i == tokens[j]))

    def mean(self, value: Callable[[sp.Matrix, int, sp.Matrix], Any]) -> sp.Expr:
        """The expectation of a function of X, the last token and the output, over all samples."""
        terms = [
            weight * value(self.one_hot(*context), last, self.one_hot(output))
            for weight, context, last, output in self.samples
        ]
        # A polynomial ring multiplies out far faster than expressions do.
        symbols = sorted(set().union(*(term.free_symbols for term in terms)), key=str)
        ring = sp.QQ[symbols]
        return ring.to_sympy(sum((ring.from_sympy(term) for term in terms), ring.zero))

    def case(self, *, random: bool = False) -> Case:
        r"""The notation of the book, with the values of this task and model.

        Parameters
        ----------
        random : bool
            Give a law to what a sample consists of, so that expectations can be read.
        """
        names = {
            "N": self.N, "T": self.T, r"\mu": self.mu, r"\mu_#": self.mu, "P": self.P,
            "P_#": self.P, "Q": self.Q, "q^{(#)}": self.Q, "V": self.V, "V_#": self.V,
            "A": self.A, "a^{(#)}": self.A, "S": self.S, "e_#": sp.eye(self.N),
            "K_P": self.K_P, "K_Q": self.K_Q, r"\sigma_#": (sp.ones(1, self.T) * self.A).T,
        }  # fmt: skip
        title = f"N = {self.N}, T = {self.T}"
        law = self.law(lambda X, k: {"X": X}) if random else ()
        return Case(names, {"k": self.N, "t": self.T}, law, title)

    def law(
        self, also: Callable[[sp.Matrix, int], dict[str, Any]] | None = None
    ) -> tuple[tuple[Any, dict[str, Any]], ...]:
        """Every sample with its probability and names; `also` gives more that it determines."""
        found = []
        for weight, context, last, output in self.samples:
            names = {"x_#": self.one_hot(*context, last), "x_o": self.one_hot(output)}
            if also is not None:
                names |= also(self.one_hot(*context), last)
            found.append((weight, names))
        return tuple(found)
