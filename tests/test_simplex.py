"""Attention that stays on the simplex."""

import numpy as np
import pytest

from scbtheory import (
    LinearTransformer,
    SparseContextualBigram,
    alphas,
    circulant,
    precondition,
    project_A,
    sparse_attention,
    train,
)
from scbtheory.simplex import GEOMETRIES, SimplexGradient, multiplied, nearest_on_simplex


@pytest.fixture
def task():
    attention = sparse_attention(40, 3, 2, np.random.default_rng(1))
    return SparseContextualBigram(circulant([0.8, 0.1, 0.1]), attention)


def test_nearest_point_is_on_the_simplex_and_no_feasible_direction_is_downhill():
    """Optimality: what was taken away is equal on the support, and largest there."""
    points = np.random.default_rng(0).standard_normal((9, 50))
    nearest = nearest_on_simplex(points)
    assert nearest.min() >= 0
    assert np.allclose(nearest.sum(axis=0), 1, atol=1e-12)
    residue = points - nearest
    for column, left in zip(nearest.T, residue.T, strict=True):
        level = left[column > 0]
        assert np.ptp(level) < 1e-12 and (left[column == 0] <= level.max() + 1e-12).all()


def test_points_of_the_simplex_stay():
    points = np.random.default_rng(0).dirichlet(np.ones(6), 20).T
    assert np.allclose(nearest_on_simplex(points), points, atol=1e-14)
    assert np.array_equal(nearest_on_simplex(np.eye(3)), np.eye(3))


def test_multiplied_step_is_the_mirror_step():
    """It minimises <g, a> + KL(a, a0)/(eta T): the slope is the same in all coordinates."""
    rng = np.random.default_rng(2)
    A, gradient = rng.dirichlet(np.ones(5), 4).T, rng.standard_normal((5, 4))
    stepped = multiplied(A, gradient, 0.3)
    slope = gradient + np.log(stepped / A) / (0.3 * 5)
    assert np.ptp(slope, axis=0).max() < 1e-12
    assert np.allclose(stepped.sum(axis=0), 1, atol=1e-12)


def test_multiplied_step_does_not_overflow():
    stepped = multiplied(np.full((2, 1), 0.5), np.array([[1e6], [-1e6]]), 1.0)
    assert stepped.ravel().tolist() == [0.0, 1.0]


def test_both_geometries_begin_like_the_projected_step(task):
    """From uniform attention, away from the boundary, up to second order in the step."""
    start = LinearTransformer(task.P, np.full((40, 3), 1 / 40))
    batch, step = task.sample(50, np.random.default_rng(3)), 1e-6
    direction = project_A(precondition(start.gradient(batch)[1], task.mu))
    for geometry in GEOMETRIES:
        optimiser = SimplexGradient(0.0, step, 50, geometry)
        state = optimiser.update(optimiser.start(start), batch, task.mu)
        moved = (state.model.A - start.A) / step
        assert np.allclose(moved, -direction, atol=1e-3 * np.abs(direction).max())
        assert np.array_equal(state.model.V, start.V)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_runs_stay_on_the_simplex_and_learn(task, geometry):
    run = train(
        LinearTransformer.initial(task),
        task,
        SimplexGradient(0.1, 0.1, 64, geometry),
        64 * 300,
        np.random.default_rng(4),
    )
    assert run.model.A.min() >= 0
    assert np.allclose(run.model.A.sum(axis=0), 1, atol=1e-9)
    assert np.allclose(run.model.V @ task.mu, task.mu, atol=1e-9)
    alpha_V, alpha_A = alphas(run.model, task)
    assert alpha_V * alpha_A > 0.7 and alpha_A > 0.5  # in the valley, on the right side


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"step_V": -1}, "step_V: expected"),
        ({"step_A": float("nan")}, "step_A: expected"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"geometry": "flat"}, "geometry: expected one of euclidean, entropic, came 'flat'"),
    ],
)
def test_bad_settings_are_named(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        SimplexGradient(**settings)
