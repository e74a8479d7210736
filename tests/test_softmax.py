"""Softmax attention, and the trainer that moves attention by factors."""

import numpy as np
import pytest
from conftest import circulant_task, skewed_task

from scbtheory import (
    SGD,
    ExponentiatedGradient,
    LinearTransformer,
    SoftmaxTransformer,
    precondition,
    project_A,
    project_V,
    softmax,
    through_softmax,
    train,
)

G = np.random.default_rng


def random_model(task, seed=0):
    rng = G(seed)
    V = rng.standard_normal((task.vocab_size, task.vocab_size))
    return SoftmaxTransformer(V, rng.standard_normal((task.length, task.vocab_size)))


def test_softmax_is_what_it_is_called():
    logits = G(0).standard_normal((7, 3))
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-14)


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_softmax_of_large_logits_does_not_overflow(shift):
    logits = G(0).standard_normal((7, 3))
    # The shift costs digits of the logits: they are rounded to 1e4 times the machine precision.
    np.testing.assert_allclose(softmax(logits + shift), softmax(logits), rtol=1e-11)


def test_it_predicts_like_the_linear_transformer_with_its_attention():
    task = skewed_task()
    model, batch = random_model(task), task.sample(40, G(1))
    same = LinearTransformer(model.V, model.A)
    np.testing.assert_array_equal(model.predict(batch), same.predict(batch))
    assert model.loss(batch) == same.loss(batch)
    np.testing.assert_allclose(model.A.sum(axis=0), 1, rtol=1e-14)
    assert (model.A > 0).all()


@pytest.mark.parametrize("make", [lambda: circulant_task(6), skewed_task])
def test_gradient_agrees_with_central_differences(make):
    """Differences of order four; their error is of order h^4 = 1e-12 times a sixth derivative."""
    task = make()
    model, batch = random_model(task), task.sample(30, G(2))
    rng = G(3)
    grad_V, grad_Z = model.gradient(batch)
    for _ in range(20):
        U, W = rng.standard_normal(model.V.shape), rng.standard_normal(model.Z.shape)

        def loss(h, U=U, W=W):
            return SoftmaxTransformer(model.V + h * U, model.Z + h * W).loss(batch)

        h = 1e-3
        numeric = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
        analytic = np.sum(grad_V * U) + np.sum(grad_Z * W)
        assert analytic == pytest.approx(numeric, rel=1e-7, abs=1e-9)


def test_jacobian_at_the_start_is_the_projection():
    gradient = G(0).standard_normal((9, 3))
    at_start = through_softmax(gradient, np.full((9, 3), 1 / 9))
    np.testing.assert_allclose(at_start, project_A(gradient) / 9, atol=1e-15)


def test_jacobian_is_diagonal_minus_outer_product():
    A, gradient = softmax(G(0).standard_normal((5, 2))), G(1).standard_normal((5, 2))
    for k, a in enumerate(A.T):
        expected = (np.diag(a) - np.outer(a, a)) @ gradient[:, k]
        np.testing.assert_allclose(through_softmax(gradient, A)[:, k], expected, atol=1e-15)


def test_start_and_truth():
    task = skewed_task()
    start = SoftmaxTransformer.initial(task)
    np.testing.assert_allclose(start.A, LinearTransformer.initial(task).A, rtol=1e-14)
    np.testing.assert_array_equal(start.V, LinearTransformer.initial(task).V)
    with pytest.raises(ValueError, match="task: expected attention above zero everywhere"):
        SoftmaxTransformer.truth(task)


def test_truth_where_attention_is_nowhere_zero():
    task = circulant_task(6)
    everywhere = type(task)(task.P, (task.Q + 0.1) / 1.6)
    np.testing.assert_allclose(SoftmaxTransformer.truth(everywhere).A, everywhere.Q, rtol=1e-14)


def test_it_owns_its_logits():
    Z = np.zeros((4, 2))
    model = SoftmaxTransformer(np.eye(2), Z)
    Z[0, 0] = 7
    assert model.Z[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        model.Z[0, 0] = 1
    with pytest.raises(AttributeError):
        model.Z = Z


@pytest.mark.parametrize(
    ("V", "Z", "message"),
    [
        (np.eye(2), np.ones((4, 3)), r"Z: expected shape \(4, 2\), came \(4, 3\)"),
        (np.ones((2, 3)), np.ones((4, 2)), r"V: expected shape \(2, 2\), came \(2, 3\)"),
        (np.eye(2), np.full((4, 2), np.inf), "Z: expected finite entries"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(V, Z, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxTransformer(V, Z)


def test_sgd_moves_the_logits():
    task = circulant_task(6)
    model, batch = random_model(task), task.sample(50, G(1))
    stepped = SGD(0.3, 0.7).update(SGD(0.3, 0.7).start(model), batch, task.mu).model
    grad_V, grad_Z = model.gradient(batch)
    assert isinstance(stepped, SoftmaxTransformer)
    np.testing.assert_allclose(stepped.V, model.V - 0.3 * grad_V, atol=1e-15)
    np.testing.assert_allclose(stepped.Z, model.Z - 0.7 * grad_Z, atol=1e-15)


def test_softmax_learns_and_a_run_that_diverges_says_so():
    task = circulant_task(20)
    start = SoftmaxTransformer.initial(task)
    run = train(start, task, SGD(0.5, 5.0), 60_000, G(2))
    assert run.history["distance_A"][-1] < 0.3 < run.history["distance_A"][0]
    assert train(start, task, SGD(1e7, 1.0), 60_000, G(2)).diverged is not None


# ------------------------------------------------------------------------ exponentiated gradient


def test_first_step_is_that_of_the_projected_gradient_to_first_order():
    task = circulant_task(50)
    model, batch = LinearTransformer.initial(task), task.sample(50, G(1))
    model = LinearTransformer(task.P, model.A)  # with V at its start, A feels nothing
    step = 1e-5
    trainer = ExponentiatedGradient(0.1, step, decay=False)
    moved = trainer.update(trainer.start(model), batch, task.mu).model.A - model.A
    linear = -step * project_A(precondition(model.gradient(batch)[1], task.mu))
    # What is left out is of the order of the square of T times the step times the gradient.
    scale = (50 * np.abs(linear).max()) ** 2 / 50
    np.testing.assert_allclose(moved, linear, atol=scale)
    assert np.abs(linear).max() > 20 * scale


def test_step_of_V_is_preconditioned_and_projected():
    task = skewed_task()
    model, batch = LinearTransformer.truth(task), task.sample(50, G(1))
    trainer = ExponentiatedGradient(0.3, 0.1, decay=False)
    moved = trainer.update(trainer.start(model), batch, task.mu).model.V - model.V
    direction = project_V(precondition(model.gradient(batch)[0], task.mu), task.mu)
    np.testing.assert_allclose(moved, -0.3 * direction, atol=1e-15)


@pytest.mark.parametrize("decay", [True, False])
def test_attention_stays_a_probability_and_zeros_stay(decay):
    task = circulant_task(6)
    A = np.full((6, 3), 0.2)
    A[2] = 0
    trainer = ExponentiatedGradient(1.0, 50.0, 20, decay)  # far too large
    state = trainer.start(LinearTransformer(task.P, A))
    for seed in range(20):
        state = trainer.update(state, task.sample(20, G(seed)), task.mu)
        assert (state.model.A >= 0).all() and (state.model.A[2] == 0).all()
        np.testing.assert_allclose(state.model.A.sum(axis=0), 1, rtol=1e-12)


def test_steps_decay_with_the_curvature_met():
    """With V = P and fixed, the curvature of a column is K_P times its squared size."""
    task = circulant_task(6)
    trainer = ExponentiatedGradient(0.0, 0.1)
    state = trainer.start(LinearTransformer(task.P, np.full((6, 3), 1 / 6)))
    met = np.zeros(3)
    for seed in range(3):
        before, batch = state.model.A, task.sample(30, G(seed))
        met = met + task.K_P * (before**2).sum(axis=0)
        gradient = project_A(precondition(state.model.gradient(batch)[1], task.mu))
        state = trainer.update(state, batch, task.mu)
        moved = project_A(np.log(before) - np.log(state.model.A))
        np.testing.assert_allclose(moved, gradient * 0.6 / (1 + 0.3 * met), atol=1e-12)


def test_the_small_instance_is_learned_without_a_stage_change():
    task = circulant_task(100)
    start = LinearTransformer.initial(task)
    run = train(start, task, ExponentiatedGradient(0.4, 1.6, 128), 60_000, G(1))
    assert run.history["distance_V"][-1] < 0.05
    assert run.history["distance_A"][-1] < 0.05
    assert np.isnan(run.transition).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_V": -1}, "step_V: expected a number of at least 0, came -1"),
        ({"step_A": np.nan}, "step_A: expected a number of at least 0, came nan"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, came 0"),
        ({"decay": 1}, "decay: expected True or False, came 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExponentiatedGradient(**settings)


def test_attention_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"model\.A: expected entries of at least 0"):
        ExponentiatedGradient().start(LinearTransformer(np.eye(2), [[1.5, 0.5], [-0.5, 0.5]]))


def test_exponentiated_gradient_that_diverges_says_so():
    task = circulant_task(20)
    start = LinearTransformer.initial(task)
    assert train(start, task, ExponentiatedGradient(1e9), 6000, G(1)).diverged is not None
