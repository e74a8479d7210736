"""The linear transformer: prediction, loss and gradient, against definition and expectation."""

import numpy as np
import pytest
from conftest import circulant_task, skewed_task
from test_scb import all_batches, tiny_task

from scbtheory import Batch, LinearTransformer, SparseContextualBigram, population


def random_model(task, seed=0):
    """No constraint holds for it: columns of V and A have any sum."""
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((task.vocab_size, task.vocab_size))
    return LinearTransformer(V, rng.standard_normal((task.length, task.vocab_size)))


def test_prediction_is_the_matrix_product(task):
    model, batch = random_model(task), task.sample(40, np.random.default_rng(1))
    for n, prediction in enumerate(model.predict(batch)):
        X = np.eye(task.vocab_size)[:, batch.context[n]]
        x = np.eye(task.vocab_size)[:, batch.last[n]]
        np.testing.assert_allclose(prediction, model.V @ X @ model.A @ x, atol=1e-12)


def test_loss_is_half_the_mean_squared_error(task):
    model, batch = random_model(task), task.sample(40, np.random.default_rng(1))
    target = np.eye(task.vocab_size)[batch.output]
    expected = np.mean(np.sum((target - model.predict(batch)) ** 2, axis=1)) / 2
    assert model.loss(batch) == pytest.approx(expected)


def test_truth_is_the_bayes_predictor(task):
    batch = task.sample(40, np.random.default_rng(1))
    predicted = LinearTransformer.truth(task).predict(batch)
    np.testing.assert_allclose(predicted, task.bayes(batch), atol=1e-14)


def test_start_predicts_the_stationary_law(task):
    batch = task.sample(40, np.random.default_rng(1))
    predicted = LinearTransformer.initial(task).predict(batch)
    np.testing.assert_allclose(predicted, np.tile(task.mu, (40, 1)), atol=1e-14)
    assert population.loss(LinearTransformer.initial(task), task) == pytest.approx(
        task.unigram_loss
    )


def test_gradient_agrees_with_central_differences(task):
    """The loss is a quartic polynomial: Richardson's step removes all but rounding."""
    model, batch = random_model(task), task.sample(30, np.random.default_rng(2))
    rng = np.random.default_rng(3)
    grad_V, grad_A = model.gradient(batch)
    for _ in range(20):
        U, W = rng.standard_normal(model.V.shape), rng.standard_normal(model.A.shape)

        def difference(h, U=U, W=W):
            ahead = LinearTransformer(model.V + h * U, model.A + h * W).loss(batch)
            behind = LinearTransformer(model.V - h * U, model.A - h * W).loss(batch)
            return (ahead - behind) / (2 * h)

        numeric = (4 * difference(1e-3) - difference(2e-3)) / 3
        assert np.sum(grad_V * U) + np.sum(grad_A * W) == pytest.approx(numeric, rel=1e-6)


def test_gradient_is_the_same_however_blocks_fall(task):
    """One sample at a time, or all at once."""
    model, batch = random_model(task), task.sample(70, np.random.default_rng(2))
    singles = [model.gradient(batch[n : n + 1]) for n in range(len(batch))]
    for whole, parts in zip(model.gradient(batch), zip(*singles, strict=True), strict=True):
        np.testing.assert_allclose(whole, np.mean(parts, axis=0), atol=1e-12)


def test_expectations_by_enumeration():
    """Loss and both gradients of an arbitrary model, summed over every sample of a tiny task."""
    task = tiny_task()
    model = random_model(task)
    loss, grad_V, grad_A = 0.0, 0.0, 0.0
    for batch, probability in all_batches(task):
        loss += probability * model.loss(batch)
        sample_V, sample_A = model.gradient(batch)
        grad_V, grad_A = grad_V + probability * sample_V, grad_A + probability * sample_A
    assert population.loss(model, task) == pytest.approx(loss, rel=1e-12)
    exact_V, exact_A = population.gradient(model, task)
    np.testing.assert_allclose(exact_V, grad_V, atol=1e-12)
    np.testing.assert_allclose(exact_A, grad_A, atol=1e-12)


@pytest.mark.parametrize("make", [lambda: circulant_task(6), skewed_task])
def test_mean_gradient_over_fresh_batches_is_the_population_gradient(make):
    """Within 4 standard errors, the standard errors taken from the batches themselves."""
    task = make()
    model = random_model(task)
    stream = task.stream(np.random.default_rng(4))
    gradients = [model.gradient(stream.draw(500)) for _ in range(400)]
    for exact, sampled in zip(
        population.gradient(model, task), zip(*gradients, strict=True), strict=True
    ):
        error = np.std(sampled, axis=0, ddof=1) / np.sqrt(len(sampled))
        assert (np.abs(np.mean(sampled, axis=0) - exact) < 4 * error).all()


@pytest.mark.parametrize(
    ("V", "A", "message"),
    [
        (np.ones((2, 3)), np.ones((4, 2)), r"V: expected shape \(2, 2\), came \(2, 3\)"),
        (
            np.eye(2),
            np.ones((4, 3)),
            r"A: expected shape \(4, 2\), came \(4, 3\)",
        ),
        (np.full((2, 2), np.nan), np.ones((4, 2)), "V: expected finite entries"),
        (np.eye(2), np.full((4, 2), -np.inf), "A: expected finite entries"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(V, A, message):
    with pytest.raises(ValueError, match=message):
        LinearTransformer(V, A)


def test_a_batch_that_does_not_fit_is_refused():
    task = circulant_task(6)
    model = LinearTransformer.initial(task)
    other = circulant_task(7).sample(3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="batch: expected contexts of length 6, came 7"):
        model.predict(other)
    with pytest.raises(ValueError, match=r"^batch: expected at least one sample, came none$"):
        model.loss(task.sample(3, np.random.default_rng(0))[:0])
    larger = SparseContextualBigram.random(5, 6, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="batch: expected tokens from 0 to 2, came 0 to 4"):
        model.gradient(larger.sample(50, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="batch: expected tokens from 0 to 2, came -1 to"):
        model.gradient(Batch(np.full((1, 6), -1), np.array([0]), np.array([0])))
