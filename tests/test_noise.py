"""The formulas of the chapter on noise, held against samples, enumeration and simulation."""

import math
from itertools import product

import numpy as np
import pytest

from scbtheory import (
    SGD,
    LinearTransformer,
    SparseContextualBigram,
    circulant,
    noise,
    precondition,
    project_A,
    project_V,
    sparse_attention,
    train,
)


def task_of(length, seed=0, chain=None):
    chain = (
        np.array([[0.9, 0.3, 0.2], [0.05, 0.6, 0.1], [0.05, 0.1, 0.7]]) if chain is None else chain
    )
    return SparseContextualBigram(
        chain, sparse_attention(length, 3, 2, np.random.default_rng(seed))
    )


@pytest.fixture
def tiny():
    """Two symbols, three positions, unequal frequencies."""
    return SparseContextualBigram([[0.9, 0.3], [0.1, 0.7]], [[1, 0.2], [0, 0.3], [0, 0.5]])


def samples_of(task):
    """Every sample with its probability, and both gradients at the start as training uses them."""
    N, T, mu = task.vocab_size, task.length, task.mu
    start = LinearTransformer.initial(task)
    for *context, last, place, output in product(*[range(N)] * (T + 1), range(T), range(N)):
        weight = np.prod(mu[[*context, last]]) * task.Q[place, last]
        weight *= task.P[output, context[place]]
        X = np.eye(N)[:, context]
        r = start.V @ X @ start.A[:, last] - np.eye(N)[output]
        grad_A = np.zeros((T, N))
        grad_A[:, last] = X.T @ start.V.T @ r
        grad_V = np.outer(r, X @ start.A[:, last])
        yield (
            weight,
            project_V(precondition(grad_V, mu), mu),
            project_A(precondition(grad_A, mu)),
        )


def test_noise_at_the_start_by_enumeration(tiny):
    square = first = second = 0.0
    for weight, G_V, G_A in samples_of(tiny):
        push = -tiny.inner(G_V, tiny.signal_V) / tiny.K_P
        square += weight * tiny.inner(G_V, G_V)
        first, second = first + weight * push, second + weight * push**2
        assert np.abs(G_A).max() < 1e-14
    assert noise.sample_noise_V(tiny) == pytest.approx(square, rel=1e-12)
    assert first == pytest.approx(1 / 3, rel=1e-12)
    assert noise.variance_along_signal(tiny) == pytest.approx(second - first**2, rel=1e-12)


def test_strength_is_the_mean_square_of_independent_tokens(tiny):
    mu, D = tiny.mu, tiny.signal_V
    total = sum(
        mu[i] * mu[j] * ((np.eye(2)[i] - mu) @ D[:, j]) ** 2 for i in range(2) for j in range(2)
    )
    assert noise.signal_noise(tiny) == pytest.approx(total / tiny.K_P**2, rel=1e-12)


@pytest.mark.parametrize(
    ("step_V", "step_A", "steps"), [(0.3, 0.3, 7), (0.4, 0.1, 3), (1.0, 0.2, 1)]
)
def test_snr_is_what_the_linear_recursion_gives(step_V, step_A, steps):
    task = task_of(50)
    step = np.array([[1, step_V * task.K_Q], [step_A * task.K_P, 1]])
    values, vectors = np.linalg.eig(step.T)
    mode = vectors[:, values.argmax()]
    mean, covariance = np.zeros(2), np.zeros((2, 2))
    for _ in range(steps):
        mean = step @ mean + [step_V / task.length, 0]
        covariance = step @ covariance @ step.T
        covariance[0, 0] += step_V**2 * noise.variance_along_signal(task) / 8
    expected = (mode @ mean) ** 2 / (mode @ covariance @ mode)
    assert noise.snr(task, step_V, step_A, 8, steps) == pytest.approx(expected, rel=1e-10)


def test_snr_has_its_limits():
    task = task_of(100)
    assert noise.snr(task, 0.1, 0.1, 8, 0) == 0
    late, ever = noise.snr(task, 0.1, 0.1, 8, 1e5), noise.snr(task, 0.1, 0.1, 8)
    assert late == pytest.approx(ever, rel=1e-12)
    omega = math.sqrt(task.K_P * task.K_Q)
    small = task_of(10_000)
    exact = noise.snr(small, 1e-4, 1e-4, 8)
    limit = 2 * 8 / (1e-4 * 10_000 * math.sqrt(small.K_P * small.K_Q) * noise.signal_noise(small))
    assert exact == pytest.approx(limit, rel=1e-3) and omega > 0


def test_wrong_twin_is_the_share_of_negative_gaussians():
    draws = np.random.default_rng(0).standard_normal(100_000) + 1.2
    p = noise.wrong_twin(1.44)
    assert abs(np.mean(draws < 0) - p) < 4 * math.sqrt(p * (1 - p) / draws.size)


def test_batch_against_brings_the_risk_down():
    task = task_of(20_000)
    batch = noise.batch_against(task, 1e-3, 0.05)
    ratio = (
        2 * batch / (1e-3 * task.length * math.sqrt(task.K_P * task.K_Q) * noise.signal_noise(task))
    )
    assert noise.wrong_twin(ratio) == pytest.approx(0.05, rel=1e-9)
    assert noise.batch_against(task, 1e-3, 0.5) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_mean_square_stands_still_at_the_bound(batch):
    task = task_of(40)
    shrink = noise.stable_step(task, batch) * task.length * task.mu @ task.mu
    squares = [
        sum(
            math.comb(batch, n)
            * share**n
            * (1 - share) ** (batch - n)
            * (1 - shrink * n / batch) ** 2
            for n in range(batch + 1)
        )
        for share in task.mu
    ]
    assert max(squares) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("relative", "stays"), [(0.9, True), (1.1, False)])
def test_single_samples_are_stable_up_to_the_bound(relative, stays):
    """With one sample a step the factor is one number: no average is needed to see it."""
    task = task_of(30, chain=circulant([0.8, 0.1, 0.1]))
    start = LinearTransformer.initial(task)
    disturbed = LinearTransformer(start.V, start.A * 1.01)
    step = relative * noise.stable_step(task, 1)
    run = train(disturbed, task, SGD(0, step, 1), 200, np.random.default_rng(1), records=1)
    error = np.abs(run.model.A.sum(axis=0) - 1).max()
    assert (error < 0.01) == stays


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda task: noise.snr(task, 0, 0.1, 8), "step_V: expected a number above 0"),
        (lambda task: noise.snr(task, 0.1, -1, 8), "step_A: expected"),
        (lambda task: noise.snr(task, 0.1, 0.1, 0), "batch_size: expected"),
        (lambda task: noise.snr(task, 0.1, 0.1, 1, -1), "steps: expected"),
        (lambda task: noise.snr(task, 0.1, 0.1, 1, math.nan), "steps: expected"),
        (lambda task: noise.wrong_twin(-1), "ratio: expected"),
        (lambda task: noise.batch_against(task, 0.1, 0), "risk: expected"),
        (lambda task: noise.batch_against(task, 0.1, 0.6), "risk: expected"),
        (lambda task: noise.batch_against(task, -0.1, 0.1), "step: expected"),
        (lambda task: noise.stable_step(task, 0), "batch_size: expected"),
    ],
)
def test_bad_arguments_are_named(tiny, call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(tiny)


def test_nothing_to_learn_is_said():
    silent = SparseContextualBigram([[0.5, 0.5], [0.5, 0.5]], np.eye(2))
    with pytest.raises(ValueError, match="task: expected something to learn"):
        noise.snr(silent, 0.1, 0.1, 8)
