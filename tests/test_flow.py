"""The flow does what its equations say, at the accuracy it promises; the stages are its limits."""

import math

import numpy as np
import pytest
from conftest import circulant_task

from scbtheory import (
    LinearTransformer,
    alphas,
    population,
    precondition,
    project_A,
    project_V,
    stages,
)
from scbtheory.flow import SignalFlow, descend, force

G = np.random.default_rng
PAIRS = [(0.3, 0.5), (0.08, 0.5), (0.3, 0.1)]


def on_plane(task, alpha_V, alpha_A):
    return LinearTransformer(
        task.mu[:, None] + alpha_V * task.signal_V, 1 / task.length + alpha_A * task.signal_A
    )


def feasible(task, size, rng):
    """A model off the plane that satisfies the constraints."""
    start = LinearTransformer.initial(task)
    V = project_V(rng.standard_normal(start.V.shape), task.mu)
    return LinearTransformer(
        start.V + size * V, start.A + size * project_A(rng.standard_normal(start.A.shape))
    )


# ------------------------------------------------------------------------------ velocities


def test_force_is_the_projected_and_preconditioned_gradient(task):
    model = feasible(task, 0.3, G(0))
    grad_V, grad_A = population.gradient(model, task)
    of_V, of_A = force(model, task)
    np.testing.assert_allclose(of_V, -project_V(grad_V / task.mu, task.mu), atol=1e-13)
    np.testing.assert_allclose(of_A, -project_A(precondition(grad_A, task.mu)), atol=1e-13)


@pytest.mark.parametrize("where", [(0, 0), (0.4, 0.7), (-0.8, 1.3), (1, 1)])
def test_velocity_is_the_force_along_the_signals(task, where):
    of_V, of_A = force(on_plane(task, *where), task)
    pace_V, pace_A = SignalFlow.of(task).velocity(*where)
    np.testing.assert_allclose(of_V, pace_V * task.signal_V, atol=1e-13)
    np.testing.assert_allclose(of_A, pace_A * task.signal_A, atol=1e-13)


def test_velocity_takes_arrays():
    flow = SignalFlow(0.3, 0.5, 10)
    v, a = G(1).standard_normal((2, 4, 3))
    found = flow.velocity(v, a)
    assert found.shape == (2, 4, 3)
    np.testing.assert_allclose(found[:, 2, 1], flow.velocity(v[2, 1], a[2, 1]), rtol=1e-15)
    assert flow.velocity(v, 0.0).shape == (2, 4, 3)


def test_jacobian_is_the_derivative_of_the_velocity():
    flow, v, a, h = SignalFlow(0.3, 0.5, 7), 0.7, -0.4, 1e-5
    columns = [
        (flow.velocity(v + h, a) - flow.velocity(v - h, a)) / (2 * h),
        (flow.velocity(v, a + h) - flow.velocity(v, a - h)) / (2 * h),
    ]
    # The velocity is cubic: what a central difference misses is h^2 times a third derivative.
    np.testing.assert_allclose(flow.jacobian(v, a), np.transpose(columns), atol=1e-9)


def test_both_points_of_rest_are_at_rest_and_the_twin_is_not():
    flow = SignalFlow(0.3, 0.5, 7)
    assert np.abs(flow.velocity(1, 1)).max() == 0
    assert np.abs(flow.velocity(0, -1 / (0.5 * 7))).max() < 1e-16
    np.testing.assert_allclose(flow.velocity(-1, -1), [2 / 7, 0], atol=1e-16)


# ------------------------------------------------------------------------------ solutions


def test_matrices_stay_on_the_plane_and_move_as_the_coordinates_do(task):
    times = [0, 3, 10, 40]
    plane = SignalFlow.of(task).solve(times)
    for model, (v, a) in zip(
        descend(LinearTransformer.initial(task), task, times), plane.T, strict=True
    ):
        expected = on_plane(task, v, a)
        np.testing.assert_allclose(model.V, expected.V, atol=1e-6)
        np.testing.assert_allclose(model.A, expected.A, atol=1e-6)


def test_errors_keep_their_direction_and_slow_the_signals_down(task):
    model = feasible(task, 0.1, G(2))
    *_, after = descend(model, task, [0, 1])

    def error(M, start, signal):
        return M - start - task.inner(M - start, signal) / task.inner(signal, signal) * signal

    for letter, start, signal in (
        ("V", task.mu[:, None], task.signal_V),
        ("A", 1 / task.length, task.signal_A),
    ):
        before, later = (error(getattr(m, letter), start, signal) for m in (model, after))
        cosine = task.inner(before, later) / task.norm(before) / task.norm(later)
        assert cosine == pytest.approx(1, abs=1e-6)
        assert task.norm(later) < task.norm(before)
        # The friction of the equations with errors.
    delta_V = task.norm(error(model.V, task.mu[:, None], task.signal_V)) ** 2
    delta_A = task.norm(error(model.A, 1 / task.length, task.signal_A)) ** 2
    v, a = alphas(model, task)
    of_V, of_A = force(model, task)
    pace = [
        task.inner(of_V, task.signal_V) / task.K_P,
        task.inner(of_A, task.signal_A) / task.K_Q,
    ]
    plane = SignalFlow.of(task).velocity(v, a)
    np.testing.assert_allclose(pace, plane - [delta_A * v, delta_V * a], atol=1e-12)


def test_a_tenth_of_the_tolerance_is_about_a_tenth_of_the_error():
    flow, times = SignalFlow(0.3, 0.5, 500), [0, 20]
    exact = flow.solve(times, tolerance=1e-13)[:, 1]
    errors = [
        np.abs(flow.solve(times, tolerance=tolerance)[:, 1] - exact).max()
        for tolerance in (1e-5, 1e-7, 1e-9)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-7


def test_the_order_of_the_integrator_is_five():
    """On y' = -y, one step of size h leaves an error of order h^6."""
    from scbtheory.flow import _Path

    def one_step(size):
        path = _Path(lambda y: -y, np.array([1.0]), 1.0, 1.0)
        return abs(path._trial(path.y, path.slope, size)[0][0] - math.exp(-size))

    ratio = one_step(0.2) / one_step(0.1)
    assert 2**5.7 < ratio < 2**6.3


def test_looking_more_often_changes_nothing():
    flow = SignalFlow(0.3, 0.5, 50)
    often = flow.solve(np.linspace(0, 30, 301))
    np.testing.assert_allclose(often[:, -1], flow.solve([30])[:, 0], atol=1e-8)
    assert flow.solve([]).shape == (2, 0)
    np.testing.assert_array_equal(flow.solve([0, 0]), np.zeros((2, 2)))


def test_back_and_forth_ends_where_it_began():
    flow = SignalFlow(0.3, 0.5, 20)
    back = flow.solve([0, -4], (0.5, 0.6))[:, 1]
    np.testing.assert_allclose(flow.solve([0, 4], tuple(back))[:, 1], [0.5, 0.6], atol=1e-7)


def test_loss_falls_along_the_flow():
    task = circulant_task(30)
    path = descend(LinearTransformer.initial(task), task, np.linspace(0, 40, 20))
    losses = [population.loss(model, task) for model in path]
    assert (np.diff(losses) < 0).all()


def test_runaway_is_reported_and_not_returned():
    with pytest.raises(ArithmeticError, match="leaves all bounds at time"):
        SignalFlow(0.3, 0.5, 20).solve([0, -100], (2.0, 2.0))


def test_time_to_is_when_the_product_is_there():
    flow = SignalFlow(0.3, 0.5, 300)
    time = flow.time_to(0.37)
    assert flow.solve([0, time])[:, 1].prod() == pytest.approx(0.37, abs=1e-8)
    assert flow.time_to(0.37, start=tuple(flow.solve([0, 5])[:, 1])) == pytest.approx(
        time - 5, abs=1e-6
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SignalFlow(0, 0.5, 10), "K_P: expected a number above 0, came 0"),
        (lambda: SignalFlow(0.3, -1, 10), "K_Q: expected a number of at least 0"),
        (lambda: SignalFlow(0.3, 0.5, 0), "length: expected an integer of at least 1"),
        (lambda: SignalFlow(0.3, 0.5, 9).solve([2, 1]), "times: expected finite"),
        (lambda: SignalFlow(0.3, 0.5, 9).solve([0, np.nan]), "times: expected finite"),
        (lambda: SignalFlow(0.3, 0.5, 9).solve([1, -1]), "times: expected finite"),
        (lambda: SignalFlow(0.3, 0.5, 9).solve(3.0), "times: expected finite"),
        (lambda: SignalFlow(0.3, 0.5, 9).solve([1], (1.0,)), "start: expected a matrix"),
        (lambda: SignalFlow(0.3, 0.5, 9).solve([1], tolerance=0), "tolerance: expected"),
        (lambda: SignalFlow(0.3, 0.5, 9).time_to(1), "product: expected a number above 0"),
        (lambda: SignalFlow(0.3, 0.5, 9).time_to(0.2, (1, 1)), "product: expected a number"),
        (lambda: stages.drift_time(SignalFlow(0.3, 0.5, 9), 1.2, 0.9), "end: expected"),
        (lambda: stages.drift_time(SignalFlow(0.3, 0.5, 9), 0.9, 0.8), "end: expected"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_a_model_must_fit_the_task():
    task = circulant_task(6)
    with pytest.raises(ValueError, match=r"^model.A: expected a matrix of shape \(6, 3\)"):
        descend(LinearTransformer(np.eye(3), np.ones((5, 3))), task, [1])


# --------------------------------------------------------------------------------- stages


@pytest.mark.parametrize("pair", PAIRS)
def test_half_time_comes_nearer_with_the_length(pair):
    errors = []
    for length in (10**3, 10**4, 10**5):
        flow = SignalFlow(*pair, length)
        errors.append(abs(stages.half_time(flow) / flow.time_to(0.5) - 1))
    assert errors[0] < 0.005
    # Like ln T / T: a tenth, up to the logarithm.
    assert errors[1] < errors[0] / 6 and errors[2] < errors[1] / 6


@pytest.mark.parametrize("pair", PAIRS)
def test_linear_stage_and_product_hold_where_they_should(pair):
    flow = SignalFlow(*pair, 10**6)
    early = np.linspace(0.1, flow.time_to(1e-3), 20)
    np.testing.assert_allclose(stages.linear_stage(flow, early), flow.solve(early), rtol=2e-3)
    whole = stages.half_time(flow) + np.linspace(-10, 10, 41) / stages.growth_rate(flow)
    np.testing.assert_allclose(
        stages.product(flow, whole), flow.solve(whole).prod(axis=0), atol=1e-4
    )


def test_product_is_the_formula_and_does_not_overflow():
    flow = SignalFlow(0.3, 0.5, 1000)
    omega = stages.growth_rate(flow)
    times = np.array([0.0, 5, 15, 30])
    formula = 1 / (1 + 4 * 1000**2 * omega * 0.5 * np.exp(-2 * omega * times))
    np.testing.assert_allclose(stages.product(flow, times), formula, rtol=1e-9)
    assert stages.product(flow, [-1e6, 1e6]).tolist() == [0, 1]


@pytest.mark.parametrize("pair", PAIRS)
def test_fast_phase_ends_at_the_landing(pair):
    flow = SignalFlow(*pair, 10**5)
    v, a = flow.solve([0, flow.time_to(1 - 1e-3)])[:, 1]
    landing = stages.landing(flow)
    assert landing[0] * landing[1] == pytest.approx(1)
    assert float(stages.foot(flow, v, a)) == pytest.approx(landing[0], rel=1e-3)
    assert v == pytest.approx(landing[0], rel=2e-3)


def test_foot_is_where_the_flow_without_leak_ends():
    flow = SignalFlow(0.3, 0.5, 10**12)
    end = flow.solve([0, 60], (0.2, 0.7))[:, 1]
    assert float(stages.foot(flow, 0.2, 0.7)) == pytest.approx(end[0], rel=1e-8)


@pytest.mark.parametrize("pair", PAIRS)
def test_drift_follows_its_clock(pair):
    flow = SignalFlow(*pair, 500)
    begin = stages.landing(flow)
    for part in (0.5, 0.1):
        target = 1 + part * (begin[0] - 1)
        time = stages.drift_time(flow, begin[0], target)
        reached = flow.solve([0, time], begin)[0, 1]
        assert (reached - 1) / (target - 1) == pytest.approx(1, abs=0.02)


def test_drift_rate_is_the_slope_of_the_drift_and_the_slow_eigenvalue():
    flow = SignalFlow(0.3, 0.1, 10**5)
    h = 1e-6
    slope = (stages.drift_velocity(flow, 1 - h) - stages.drift_velocity(flow, 1 + h)) / (2 * h)
    assert slope == pytest.approx(stages.drift_rate(flow), rel=1e-6)
    slow = -np.linalg.eigvals(flow.jacobian(1, 1)).max()
    assert slow == pytest.approx(stages.drift_rate(flow), rel=1e-4)
    first = stages.drift_velocity(flow, stages.landing(flow)[0])
    assert first == pytest.approx((1 - stages.landing(flow)[0]) / (2 * 10**5), rel=1e-9)


def test_stages_take_a_task():
    task = circulant_task(50)
    flow = SignalFlow(task.K_P, task.K_Q, 50)
    assert stages.half_time(task) == stages.half_time(flow)
    assert stages.drift_rate(task) == stages.drift_rate(flow)
    assert SignalFlow.of(task) == flow
