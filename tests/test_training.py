"""The trainer: its ingredients, what it reaches, and what it does when a run goes wrong."""

import re
import sys

import numpy as np
import pytest
from conftest import circulant_task, english_task, skewed_task

from scbtheory import (
    SGD,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    alphas,
    circulant,
    population,
    precondition,
    project_A,
    project_V,
    soft_threshold,
    train,
)
from scbtheory.training import _column_blocks, _median, robust_spread, standing_out


def trained(task, optimiser, samples, seed=0, **options):
    start = LinearTransformer.initial(task)
    return train(start, task, optimiser, samples, np.random.default_rng(seed), **options)


# ---------------------------------------------------------------------------- the ingredients


def test_soft_threshold_is_the_proximal_map_of_the_absolute_value():
    """No point of a fine grid beats it."""
    x = np.linspace(-3, 3, 41)
    grid = np.linspace(-4, 4, 8001)
    objective = (grid[:, None] - x) ** 2 / 2 + 0.7 * np.abs(grid[:, None])
    z = soft_threshold(x, 0.7)
    assert ((z - x) ** 2 / 2 + 0.7 * np.abs(z) <= objective.min(axis=0) + 1e-12).all()


def test_soft_threshold_and_the_clip_add_up():
    """Moreau: x is its proximal point plus its projection on the dual ball."""
    x = np.random.default_rng(0).standard_normal(1000)
    np.testing.assert_allclose(soft_threshold(x, 0.4) + np.clip(x, -0.4, 0.4), x, atol=1e-15)


def test_a_level_of_zero_moves_nothing():
    values = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_array_equal(soft_threshold(values, [0.0, 0.0, 0.0]), values)


@pytest.mark.parametrize("level", [-0.1, np.nan, [0.1, -0.1]])
def test_a_negative_level_is_refused(level):
    with pytest.raises(ValueError, match="level: expected numbers of at least 0"):
        soft_threshold([1.0, 2.0], level)


@pytest.mark.parametrize("uniform_weights", [False, True])
def test_projection_of_V_keeps_the_constraints_and_is_orthogonal(uniform_weights):
    task = skewed_task()
    weights = np.ones(3) if uniform_weights else task.mu
    M = np.random.default_rng(0).standard_normal((3, 3))
    projected = project_V(M, task.mu, weights)
    np.testing.assert_allclose(projected @ task.mu, 0, atol=1e-15)
    np.testing.assert_allclose(projected.sum(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(project_V(projected, task.mu, weights), projected, atol=1e-15)
    assert abs(np.sum((M - projected) * projected * weights)) < 1e-14


def test_projection_of_A_keeps_column_sums():
    M = np.random.default_rng(0).standard_normal((6, 3))
    np.testing.assert_allclose(project_A(M).sum(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(project_A(project_A(M)), project_A(M), atol=1e-15)


def test_projected_population_gradients_have_the_printed_form():
    """On the constraint set, preconditioned and projected: two terms each (skewed mu)."""
    task = skewed_task()
    rng = np.random.default_rng(0)
    V = task.P + project_V(rng.standard_normal((3, 3)), task.mu)
    A = task.Q + project_A(rng.standard_normal((7, 3)))
    grad_V, grad_A = population.gradient(LinearTransformer(V, A), task)
    norm_A, overlap_A = task.norm(A) ** 2, task.inner(task.Q, A)
    np.testing.assert_allclose(
        project_V(precondition(grad_V, task.mu), task.mu),
        norm_A * (V - task.mu[:, None]) - overlap_A * task.signal_V,
        atol=1e-13,
    )
    mu_squared = task.mu @ task.mu
    np.testing.assert_allclose(
        project_A(precondition(grad_A, task.mu)),
        (task.norm(V) ** 2 - mu_squared) * (A - 1 / 7)
        - (task.inner(V, task.P) - mu_squared) * task.signal_A,
        atol=1e-13,
    )


def test_robust_spread_ignores_a_few_large_entries():
    noise = np.random.default_rng(0).standard_normal((2000, 2)) * [1.0, 3.0]
    noise[:20] += 100
    # The spread of a median absolute deviation of n Gaussians is 1.17 / sqrt(n), relative.
    np.testing.assert_allclose(robust_spread(noise), [1.0, 3.0], rtol=4 * 1.17 / 2000**0.5)


def test_robust_spread_scales_with_a_column_and_does_not_see_where_it_lies():
    noise = np.random.default_rng(0).standard_normal((9, 3))
    scale, shift = np.array([1.0, -2.0, 5.0]), np.array([0.0, 30.0, -7.0])
    np.testing.assert_allclose(
        robust_spread(scale * noise + shift), np.abs(scale) * robust_spread(noise), rtol=1e-12
    )


def _half_of_the_unsampled(n):
    """True at n // 2 of n places, and at none that `_median` samples."""
    chosen = np.zeros(n, bool)
    unsampled = np.flatnonzero(np.arange(n) % max(8, n // 2**12))
    chosen[unsampled[: n // 2]] = True
    return chosen


@pytest.mark.parametrize("n", [2000, 2001, 9999, 70_000])
@pytest.mark.parametrize(
    "make",
    [
        lambda rng, n: rng.standard_normal(n),
        lambda rng, n: rng.standard_cauchy(n),
        lambda rng, n: rng.integers(0, 4, n) / 3,
        lambda rng, n: np.where(np.arange(n) % 8, 1.0, -rng.random(n)),  # a sample misleads
        lambda rng, n: np.where(np.arange(n) % 2, -1.0, 1.0),
        lambda rng, n: 1.0 * _half_of_the_unsampled(n),  # a sample sees the smaller half only
        lambda rng, n: 1.0 - _half_of_the_unsampled(n),  # and here the larger half
        lambda rng, n: np.sort(rng.standard_normal(n)),
        lambda rng, n: np.zeros(n),
        lambda rng, n: np.where(np.arange(n) == 77, np.nan, rng.standard_normal(n)),
        lambda rng, n: np.where(rng.random(n) < 0.6, np.inf, rng.standard_normal(n)),
    ],
)
def test_the_median_of_a_long_column_is_the_median(n, make):
    values = make(np.random.default_rng(0), n)
    before = values.copy()
    np.testing.assert_equal(_median(values), np.median(values))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("n", [2000, 2001, 9999, 70_000])
def test_the_median_of_a_long_column_is_found_without_sorting_all_of_it(n, monkeypatch):
    """A Gaussian column, and one of two values: a way around NumPy's median, not back to it."""
    rng = np.random.default_rng(0)
    columns = [rng.standard_normal(n), np.where(rng.random(n) < 0.6, 1.0, 2.0)]
    expected = [np.median(column) for column in columns]
    monkeypatch.setattr(np, "median", None)
    assert [_median(column) for column in columns] == expected


@pytest.mark.parametrize(("length", "step"), [(2**14, 4), (2**17, 1)])
def test_blocks_hold_as_many_columns_as_fit_and_at_least_one(length, step):
    found = list(_column_blocks(np.zeros((length, 9))))
    assert found == [slice(start, start + step) for start in range(0, 9, step)]


def test_robust_spread_is_that_of_each_column_in_any_layout():
    for n in (9, 70_001):
        values = np.random.default_rng(0).standard_normal((n, 3)) * [1.0, 0.0, 7.0]
        centred = np.abs(values - np.median(values, axis=0))
        expected = np.median(centred, axis=0) / 0.674489750196
        for order in "CF":
            found = robust_spread(np.array(values, order=order))
            np.testing.assert_array_equal(found, expected)


def test_noise_alone_does_not_stand_out():
    """Gaussian columns of length 1000: the maximum beats twice the minimum's depth very rarely."""
    A = np.random.default_rng(0).standard_normal((1000, 500))
    assert standing_out(A).sum() == 0


def test_attention_of_the_wrong_sign_does_not_stand_out():
    A = np.random.default_rng(0).standard_normal((1000, 3)) * 0.01
    A[5] = -0.5
    assert standing_out(A).sum() == 0


def test_each_column_is_held_against_its_own_noise():
    """What stands out of a quiet column would drown in a loud one."""
    A = np.random.default_rng(0).standard_normal((1000, 2)) * [0.001, 1.0]
    A[5] = 0.1
    np.testing.assert_array_equal(np.argwhere(standing_out(A)), [[5, 0]])


# ------------------------------------------------------------------------------- what it reaches


def test_alphas_are_the_coordinates_on_the_signal_plane():
    task = skewed_task()
    V = task.mu[:, None] + 0.3 * task.signal_V
    A = 1 / task.length - 0.7 * task.signal_A
    assert alphas(LinearTransformer(V, A), task) == pytest.approx((0.3, -0.7))


@pytest.mark.parametrize("seed", range(3))
def test_circulant_instance_is_recovered(seed):
    task = circulant_task(1000, seed)
    run = trained(task, ProximalGradient(), 100_000, seed)
    np.testing.assert_array_equal(run.model.A != 0, task.Q > 0)
    assert run.history["distance_V"][-1] < 0.015
    assert run.history["distance_A"][-1] < 0.015
    assert run.diverged is None
    assert (run.transition < 100_000).all()


def test_english_instance_is_recovered_in_all_columns():
    task = english_task()
    run = trained(task, ProximalGradient(step_A=0.2, batch_size=2048), 2_500_000)
    np.testing.assert_array_equal(run.model.A != 0, task.Q > 0)
    assert run.history["distance_V"][-1] < 0.04
    # Rare letters are found last.
    ranks = np.argsort(np.argsort(run.transition)), np.argsort(np.argsort(-task.mu))
    assert np.corrcoef(*ranks)[0, 1] > 0.5


def test_constraints_hold_along_the_run():
    task = skewed_task()
    run = trained(task, ProximalGradient(batch_size=64), 6400)
    np.testing.assert_allclose(run.model.A.sum(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(run.model.V.sum(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(run.model.V @ task.mu, task.mu, atol=1e-12)


def test_large_batches_follow_the_population_gradient():
    """One step from a point of the signal plane, within 4 standard errors over repetitions."""
    task = circulant_task(6)
    start = LinearTransformer(task.mu[:, None] + 0.5 * task.signal_V, 1 / 6 + 0.5 * task.signal_A)
    optimiser = ProximalGradient(l1=0, stage_change=False, decay=False, batch_size=500)
    ends = [
        train(start, task, optimiser, 500, np.random.default_rng(seed)).model for seed in range(200)
    ]
    grad_V, grad_A = population.gradient(start, task)
    exact_V = start.V - 0.2 * project_V(precondition(grad_V, task.mu), task.mu)
    exact_A = start.A - 0.05 * project_A(precondition(grad_A, task.mu))
    for exact, sampled in (
        (exact_V, [end.V for end in ends]),
        (exact_A, [end.A for end in ends]),
    ):
        error = np.std(sampled, axis=0, ddof=1) / np.sqrt(len(sampled))
        assert (np.abs(np.mean(sampled, axis=0) - exact) < 4 * error).all()


def test_sgd_is_the_plain_gradient_step():
    task = skewed_task()
    start = LinearTransformer.truth(task)
    end = train(start, task, SGD(0.3, 0.1, batch_size=10), 10, np.random.default_rng(0)).model
    batch = task.stream(np.random.default_rng(0)).draw(10)
    grad_V, grad_A = start.gradient(batch)
    np.testing.assert_allclose(end.V, start.V - 0.3 * grad_V, atol=1e-15)
    np.testing.assert_allclose(end.A, start.A - 0.1 * grad_A, atol=1e-15)


@pytest.mark.parametrize(
    "switched_off",
    [
        {"precondition": False},
        {"project": False},
        {"l1": 0},
        {"stage_change": False},
        {"decay": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_ingredient_can_be_switched_off_and_changes_the_run(switched_off):
    task = circulant_task(60)  # long enough for its columns to settle
    plain = trained(task, ProximalGradient(batch_size=64), 19_200)
    assert np.isfinite(plain.transition).all()
    other = trained(task, ProximalGradient(batch_size=64, **switched_off), 19_200)
    assert other.diverged is None
    assert np.abs(plain.model.A - other.model.A).max() > 1e-6
    if "stage_change" in switched_off:
        assert np.isnan(other.transition).all()
    if "project" in switched_off:
        assert np.abs(other.model.V @ task.mu - task.mu).max() > 1e-6
    else:
        np.testing.assert_allclose(other.model.V @ task.mu, task.mu, atol=1e-12)


# --------------------------------------------------------------------------- history and failure


def test_history_records_start_end_and_exact_quantities():
    task = skewed_task()
    run = trained(task, SGD(0.1, 0.01), 6400, records=10)
    assert set(run.history) == {
        "samples", "loss", "distance_V", "distance_A", "alpha_V", "alpha_A",
    }  # fmt: skip
    np.testing.assert_array_equal(run.history["samples"], np.arange(0, 6401, 640))
    assert run.history["loss"][0] == pytest.approx(task.unigram_loss)
    assert run.history["distance_V"][0] == pytest.approx(task.K_P**0.5)
    assert run.history["distance_A"][0] == pytest.approx(task.K_Q**0.5)
    assert run.history["loss"][-1] == pytest.approx(population.loss(run.model, task))
    assert run.history["distance_V"][-1] == task.norm(run.model.V - task.P)
    assert run.history["distance_A"][-1] == task.norm(run.model.A - task.Q)
    assert (run.history["alpha_V"][-1], run.history["alpha_A"][-1]) == alphas(run.model, task)


def test_equal_seeds_give_equal_runs():
    task = circulant_task(50)
    runs = [trained(task, ProximalGradient(batch_size=64), 6400, seed=3) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].model.A, runs[1].model.A)
    np.testing.assert_array_equal(runs[0].history["loss"], runs[1].history["loss"])


@pytest.mark.parametrize("step", [3.0, 1e9, 1e300])
def test_a_diverging_run_stops_and_says_so(step):
    task = circulant_task(100)
    run = trained(task, SGD(step, step), 64_000)
    assert "diverged after" in run.diverged
    assert np.isfinite(run.model.V).all()
    assert np.isfinite(run.model.A).all()
    assert all(np.isfinite(values).all() for values in run.history.values())
    assert run.history["samples"][0] == 0


def test_progress_bar_counts_samples(capsys):
    trained(skewed_task(), SGD(0.1, 0.01), 6400, progress=True)
    bar = capsys.readouterr().err
    assert "6.40k/6.40k" in bar
    assert re.search(r"[0-9][kM]?samples/s", bar)
    trained(skewed_task(), SGD(0.1, 0.01), 640)
    assert capsys.readouterr().err == ""


def test_progress_bar_names_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"^progress=True needs tqdm: pip install tqdm$"):
        trained(skewed_task(), SGD(0.1, 0.01), 640, progress=True)


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        (lambda: SGD(-0.1, 0.1), "step_V: expected a number of at least 0, came -0.1"),
        (lambda: SGD(0.1, np.nan), "step_A: expected a number of at least 0, came nan"),
        (lambda: SGD(0.1, "fast"), "step_A: expected a number of at least 0, came 'fast'"),
        (lambda: SGD(0.1, 0.1, batch_size=0), "batch_size: expected an integer of at least 1"),
        (lambda: ProximalGradient(step_A=np.inf), "step_A: expected a number"),
        (lambda: ProximalGradient(l1=-1), "l1: expected a number of at least 0, came -1"),
        (lambda: ProximalGradient(batch_size=2.5), "batch_size: expected an integer"),
        (lambda: ProximalGradient(patience=0.5), "patience: expected a number of at least 1"),
        (lambda: ProximalGradient(project="no"), "project: expected True or False, came 'no'"),
    ],
)
def test_settings_out_of_range_are_refused(optimiser, message):
    with pytest.raises(ValueError, match=message):
        optimiser()


def test_a_run_that_cannot_be_is_refused():
    task = skewed_task()
    start = LinearTransformer.initial(task)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="samples: expected an integer of at least 64, came 63"):
        train(start, task, SGD(0.1, 0.1), 63, rng)
    with pytest.raises(ValueError, match="records: expected an integer of at least 1, came 0"):
        train(start, task, SGD(0.1, 0.1), 640, rng, records=0)
    other = circulant_task(8)
    with pytest.raises(ValueError, match=r"model.A: expected a matrix of shape \(8, 3\)"):
        train(start, other, SGD(0.1, 0.1), 640, rng)


@pytest.mark.parametrize(
    ("P", "Q", "name"),
    [
        (np.full((2, 2), 0.5), np.eye(2), "K_P"),
        (circulant([0.9, 0.1]), np.full((4, 2), 0.25), "K_Q"),
    ],
)
def test_a_task_with_nothing_to_learn_is_refused(P, Q, name):
    task = SparseContextualBigram(P, Q)
    with pytest.raises(ValueError, match=f"task: expected something to learn, came {name} = "):
        trained(task, SGD(0.1, 0.1), 640)
