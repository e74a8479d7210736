"""Instances that several tests look at: uniform and skewed laws, small and large vocabularies."""

import numpy as np
import pytest

from scbtheory import SparseContextualBigram, circulant, letters, sparse_attention, transformer


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch):
    """What everybody has is what the tests look at, whether or not numba is installed."""
    monkeypatch.setattr(transformer, "compiled", lambda: None)


def circulant_task(length, seed=0):
    """The book's small instance: P circulant .8/.1/.1, two positions for each last token."""
    attention = sparse_attention(length, 3, 2, np.random.default_rng(seed))
    return SparseContextualBigram(circulant([0.8, 0.1, 0.1]), attention)


def skewed_task():
    """Three symbols with mu far from uniform, and attention weights that differ."""
    P = [[0.9, 0.6, 0.7], [0.08, 0.3, 0.1], [0.02, 0.1, 0.2]]
    Q = np.zeros((7, 3))
    Q[[0, 3], 0] = 0.25, 0.75
    Q[[6], 1] = 1.0
    Q[[1, 2, 5], 2] = 0.2, 0.3, 0.5
    return SparseContextualBigram(P, Q)


def english_task(length=200, seed=0):
    counts = letters.english_counts()
    attention = sparse_attention(length, 27, 2, np.random.default_rng(seed))
    return SparseContextualBigram(counts / counts.sum(axis=0), attention)


TASKS = {
    "uniform": lambda: circulant_task(6),
    "skewed": skewed_task,
    "twelve symbols": lambda: SparseContextualBigram.random(12, 9, 3, np.random.default_rng(5)),
}


@pytest.fixture(params=TASKS, ids=lambda name: name.replace(" ", "-"))
def task(request):
    return TASKS[request.param]()
