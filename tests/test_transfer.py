"""Pretrained starts are where they should be, and what is said of them is what happens."""

import math

import numpy as np
import pytest

from scbtheory import LinearTransformer, SparseContextualBigram, alphas, circulant, transfer
from scbtheory.flow import SignalFlow
from scbtheory.training import precondition, project_A, project_V

G = np.random.default_rng
SKEWED = np.array([[0.9, 0.3, 0.2], [0.05, 0.6, 0.1], [0.05, 0.1, 0.7]])


def task_of(chain=SKEWED, length=40, seed=0):
    attention = np.eye(length)[:, :3] * 0.75 + np.eye(length)[:, 3:6] * 0.25
    return SparseContextualBigram(chain, attention)


def random_chain(rng):
    return rng.dirichlet(np.ones(3), size=3).T


def orthogonal(task, rng):
    """A direction that V may take, without overlap with the signal."""
    M = project_V(rng.standard_normal((3, 3)), task.mu)
    return M - task.inner(M, task.signal_V) / task.K_P * task.signal_V


def test_the_start_is_ahead_by_theta_rho_and_keeps_the_law():
    task, rng = task_of(), G(1)
    for theta in (0.0, 0.3, 1.0, 2.5):
        chain = random_chain(rng)
        model = LinearTransformer.pretrained(task, chain, theta)
        rho = transfer.correlation(task, chain)
        assert alphas(model, task) == pytest.approx((theta * rho, 0), abs=1e-12)
        np.testing.assert_allclose(model.V @ task.mu, task.mu, atol=1e-14)
        np.testing.assert_allclose(model.V.sum(axis=0), 1, atol=1e-14)
        # What was removed is the same in every column.
        gap = task.mu[:, None] + theta * (chain - task.mu[:, None]) - model.V
        np.testing.assert_allclose(gap, gap[:, :1] * np.ones(3), atol=1e-14)


def test_nothing_of_the_chain_is_the_usual_start_and_all_of_the_truth_is_the_truth():
    task = task_of()
    start, scratch = LinearTransformer.pretrained(task, SKEWED, 0), LinearTransformer.initial(task)
    np.testing.assert_allclose(start.V, scratch.V, atol=1e-15)
    np.testing.assert_allclose(start.A, scratch.A, atol=1e-15)
    np.testing.assert_allclose(LinearTransformer.pretrained(task, task.P).V, task.P, atol=1e-14)


@pytest.mark.parametrize(
    ("V", "theta", "said"),
    [
        (np.eye(2), 1.0, "V: expected a matrix of shape"),
        (np.full((3, 3), 0.5), 1.0, "V: expected columns that sum to 1"),
        (np.eye(3), -0.1, "theta: expected a number of at least 0"),
        (np.eye(3), math.nan, "theta: expected a number of at least 0"),
    ],
)
def test_a_start_says_what_is_wrong(V, theta, said):
    with pytest.raises(ValueError, match=said):
        LinearTransformer.pretrained(task_of(), V, theta)


def test_a_blend_has_the_correlation_asked_for():
    task = task_of(circulant([0.8, 0.1, 0.1]))
    for rho in (-0.4, 0.0, 0.6, 1.0):
        chain = transfer.blend(task, circulant([0, 0.5, 0.5]), rho)
        assert transfer.correlation(task, chain) == pytest.approx(rho, abs=1e-12)
        assert chain.min() >= 0
        np.testing.assert_allclose(chain.sum(axis=0), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("other", "rho", "said"),
    [
        (SKEWED, 0.5, "other: expected the stationary law"),
        (circulant([0.8, 0.1, 0.1]), 0.5, "other: expected a correlation other than 1"),
        (np.full((3, 3), 1 / 3), 1.5, "rho: expected a value that leaves no entry negative"),
    ],
)
def test_a_blend_says_what_is_wrong(other, rho, said):
    with pytest.raises(ValueError, match=said):
        transfer.blend(task_of(circulant([0.8, 0.1, 0.1])), other, rho)


@pytest.mark.parametrize("strengths", [(0.3, 0.5), (0.08, 0.5), (0.3, 0.1)])
def test_the_closed_form_is_the_flow_in_long_contexts(strengths):
    flow = SignalFlow(*strengths, 10**7)
    for head_start, product in ((0.02, 0.5), (0.5, 0.1), (1.5, 0.9)):
        found = flow.time_to(product, (head_start, 0.0))
        # What is left out is the leak: of order 1/T over the head start.
        assert transfer.time_to(flow, head_start, product) == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize(("head_start", "product"), [(0, 0.5), (-1, 0.5), (1, 0), (1, 1), (1, 2)])
def test_no_time_without_a_head_start_or_beyond_one(head_start, product):
    with pytest.raises(ValueError, match=r"head_start|product"):
        transfer.time_to(SignalFlow(0.3, 0.5, 100), head_start, product)


def test_the_tipping_point_divides_the_flow():
    flow = SignalFlow(0.3, 0.5, 200)
    edge = transfer.tipping_point(flow)
    for start, sign in ((1.01 * edge, -1), (0.99 * edge, 1)):
        assert np.sign(flow.solve([0, 60], (start, 0.0))[0, 1]) == sign


def test_the_noise_of_an_error_is_that_of_samples():
    """Both terms, from the gradients of single samples: their pushes and their sizes."""
    task, rng, small = task_of(length=12), G(3), 1e-4
    M = orthogonal(task, rng)
    model = LinearTransformer(task.mu[:, None] + small * M, LinearTransformer.initial(task).A)
    pushes, sizes = [], []
    for _ in range(2500):
        grad_A = project_A(precondition(model.gradient(task.sample(1, rng))[1], task.mu))
        pushes.append(task.inner(grad_A, task.signal_A) / task.K_Q / small)
        sizes.append(task.norm(grad_A) ** 2 / small**2)
    pushes = np.array(pushes)
    step, batch = 0.1, 4
    omega = math.sqrt(task.K_P * task.K_Q)
    nu2 = np.trace(S_D(task)) / task.K_P**2
    first = task.K_Q / task.K_P * np.mean(pushes**2)
    second = step * nu2 * np.mean(sizes) / (batch * omega * (2 + step * omega))
    spread = task.K_Q / task.K_P * np.std(pushes**2) + second * np.std(sizes) / np.mean(sizes)
    found = transfer.error_noise(task, M, step, batch)
    assert abs(found - first - second) < 4 * spread / math.sqrt(2500)
    # In huge batches the first term is left alone.
    alone = transfer.error_noise(task, M, step, 10**15)
    assert alone < found
    deviation = task.K_Q / task.K_P * np.std(pushes**2)
    assert abs(alone - first) < 4 * deviation / math.sqrt(2500)


def S_D(task):
    S, D = np.diag(task.mu) - np.outer(task.mu, task.mu), task.signal_V
    return S @ D @ S @ D.T


def test_the_risk_is_that_of_the_linear_recursion():
    task, rng, step, batch, runs = task_of(length=60), G(4), 0.1, 5, 40_000
    omega = math.sqrt(task.K_P * task.K_Q)
    batch_of_one = task.sample(40_000, rng)
    tokens = np.stack([(batch_of_one.context == i).sum(axis=1) for i in range(3)], axis=1)
    pushed = tokens @ task.signal_V.T
    pushed = pushed[np.arange(len(pushed)), batch_of_one.output] - pushed @ task.mu
    tau = (pushed / task.length / task.K_P).std()
    for units in (-2.0, 0.0, 1.5):
        ahead = units / (task.length * omega)
        y = np.full(runs, ahead)
        for _ in range(150):
            noise = tau / math.sqrt(batch) * rng.standard_normal(runs)
            y = (1 + step * omega) * y + step * (1 / task.length + noise)
        start = LinearTransformer(
            task.mu[:, None] + ahead * task.signal_V, LinearTransformer.initial(task).A
        )
        p = transfer.wrong_twin(task, start, step, batch)
        assert abs(np.mean(y < 0) - p) < 4 * math.sqrt(0.25 / runs) + 0.005


def test_the_risk_says_what_is_wrong():
    task = task_of()
    start = LinearTransformer.initial(task)
    with pytest.raises(ValueError, match="step: expected a number above 0"):
        transfer.wrong_twin(task, start, 0, 4)
    with pytest.raises(ValueError, match="batch_size"):
        transfer.wrong_twin(task, start, 0.1, 0)
