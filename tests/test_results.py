"""The stored tables hold the runs that their scripts name; the rivals are what they are called."""

import sys
from pathlib import Path

import numpy as np
import pytest

from scbtheory.sweeps import Table, generator

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture
def trainers(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    from results import trainers

    yield trainers
    sys.modules.pop("results", None)


def test_the_table_is_complete(trainers):
    found = {
        (row["instance"], row["seed"], row["method"], row["step_V"], row["step_A"])
        for row in trainers.read()
    }
    wanted = set()
    for instance, (_, _, settings) in trainers.INSTANCES.items():
        ours = trainers.ProximalGradient(**settings)
        for seed in trainers.SEEDS:
            wanted.add((instance, seed, "ProximalGradient", ours.step_V, ours.step_A))
    first = next(iter(trainers.INSTANCES))
    for seed in trainers.SEEDS:
        wanted |= {(first, seed, "SGD", step_V, step_A) for step_V, step_A, _ in trainers.STEPS}
    assert found == wanted


def test_a_row_of_the_baseline_can_be_repeated(trainers, monkeypatch):
    """An eighth of the samples of one stored run of SGD end at its first checkpoint."""
    first = next(iter(trainers.INSTANCES))
    make, samples, settings = trainers.INSTANCES[first]
    monkeypatch.setitem(trainers.INSTANCES, first, (make, samples // 8, settings))
    monkeypatch.setattr(trainers, "CHECKPOINTS", 1)
    seed, steps = trainers.SEEDS[4], (0.3, 0.01, 64)
    end = trainers.run(first, seed, steps)[-1]
    stored = [
        row
        for row in trainers.read()
        if (row["instance"], row["seed"], row["method"]) == (first, seed, "SGD")
        and (row["step_V"], row["step_A"], row["batch_size"]) == steps
    ]
    nearest = min(stored, key=lambda row: abs(row["samples"] - end["samples"]))
    assert nearest["samples"] == end["samples"]
    for name in ("distance_V", "distance_A"):
        assert float(end[name]) == pytest.approx(nearest[name], abs=2e-5)


# ------------------------------------------------------------------------------------- rivals


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    from results import rivals

    yield rivals
    for name in ("results", "results.rivals"):
        sys.modules.pop(name, None)


def stepped(optimiser, batches, model, mu):
    """The models along a few steps."""
    state = optimiser.start(model)
    for batch in batches:
        state = optimiser.update(state, batch, mu)
        yield state.model


@pytest.fixture
def few(rivals):
    """A start, three batches, and the law."""
    rng = np.random.default_rng(0)
    task = rivals.SparseContextualBigram.random(3, 12, 2, rng)
    return (
        [task.sample(32, rng) for _ in range(3)],
        rivals.LinearTransformer.initial(task),
        task.mu,
    )


def test_every_try_and_every_choice_is_stored(rivals):
    tuning, table = Table.load(rivals.TUNING), Table.load(rivals.TABLE)
    tried = [{name: row[name] for name in tuning.parameters} for row in tuning.rows]
    assert tried == rivals.points()
    kept = [{name: row[name] for name in table.parameters} for row in table.rows]
    assert kept == [point for point in rivals.chosen(tuning) for _ in range(rivals.SEEDS)]
    assert [row["seed"] for row in table.rows] == [*range(rivals.SEEDS)] * (
        len(kept) // rivals.SEEDS
    )


def test_a_stored_run_can_be_repeated(rivals):
    table = Table.load(rivals.TABLE)
    row = next(
        number
        for number, row in enumerate(table.rows)
        if (row["setting"], row["method"]) == ((10, 200, 2, 256), "SGD on the simplex")
    )
    again, stored = table.repeat(rivals.learn, row), table.rows[row]
    for name in ("V5", "A5", f"V{rivals.CHECKPOINTS}", f"A{rivals.CHECKPOINTS}"):
        assert again[name] == pytest.approx(stored[name], rel=1e-3)


def test_tuning_and_reporting_share_no_samples(rivals):
    tuned = generator(rivals.TUNING_ROOT, 0).spawn(rivals.TUNING_SEEDS)
    reported = [generator(rivals.ROOT, seed) for seed in range(rivals.SEEDS)]
    first = [rng.random() for rng in (*tuned, *reported)]
    assert len(set(first)) == rivals.TUNING_SEEDS + rivals.SEEDS


def test_descent_without_additions_is_sgd(rivals, few):
    batches, model, mu = few
    plain = stepped(rivals.SGD(0.3, 0.1, 32), batches, model, mu)
    ours = stepped(rivals.Descent(0.3, 0.1, 32), batches, model, mu)
    for one, other in zip(plain, ours, strict=True):
        assert np.allclose(one.A, other.A, rtol=0, atol=1e-15)
        assert np.allclose(one.V, other.V, rtol=0, atol=1e-15)


def test_average_weighs_iterate_n_like_n_cubed(rivals, few):
    batches, model, mu = few
    iterates = [x.A for x in stepped(rivals.Descent(0.3, 0.1, 32), batches, model, mu)]
    *_, shown = stepped(rivals.Descent(0.3, 0.1, 32, average=True), batches, model, mu)
    weights = np.array([1 * 2 * 3, 2 * 3 * 4, 3 * 4 * 5])
    expected = np.tensordot(weights / weights.sum(), iterates, axes=1)
    assert np.allclose(shown.A, expected, rtol=0, atol=1e-14)


def test_decay_halves_the_step_when_it_should(rivals, few):
    batches, model, mu = few
    [constant] = stepped(rivals.Descent(0.3, 0.1, 32), batches[:1], model, mu)
    decaying = rivals.Descent(0.3, 0.1, 32, decay_after=5)
    state = rivals.replace(decaying.start(model), steps=5)
    halved = decaying.update(state, batches[0], mu).model
    assert np.allclose(model.A - halved.A, (model.A - constant.A) / 2, rtol=0, atol=1e-15)


def test_projection_and_preconditioner_keep_the_constraints(rivals, few):
    batches, model, mu = few
    optimiser = rivals.Descent(0.3, 0.1, 32, precondition=True, project=True)
    for model_after in stepped(optimiser, batches, model, mu):
        assert np.allclose(model_after.V @ mu, mu) and np.allclose(model_after.A.sum(axis=0), 1)


def test_simplex_holds_the_nearest_probabilities(rivals):
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((20, 4))
    nearest = rivals.onto_simplex(columns)
    assert (nearest >= 0).all() and np.allclose(nearest.sum(axis=0), 1)
    # The projection on a convex set: no direction into it makes an acute angle with what is left.
    for others in rng.dirichlet(np.full(20, 0.2), size=(200, 4)):
        products = ((columns - nearest) * (others.T - nearest)).sum(axis=0)
        assert (products <= 1e-12).all()
    assert np.allclose(rivals.onto_simplex(nearest), nearest)


def test_first_step_of_adam_has_one_size(rivals, few):
    batches, model, mu = few
    [after] = stepped(rivals.Adam(0.01, 0.002, 32), batches[:1], model, mu)
    moved = np.abs(after.A - model.A)
    _, gradient = model.gradient(batches[0])
    big = np.abs(gradient) > 1e-4
    assert big.any() and np.allclose(moved[big], 0.002, rtol=1e-3)


def test_adam_stops_at_its_end(rivals, few):
    batches, model, mu = few
    optimiser = rivals.Adam(0.01, 0.002, 32, total=2)
    steps = [model, *stepped(optimiser, batches, model, mu)]
    assert not np.allclose(steps[1].A, steps[2].A)
    assert np.array_equal(steps[2].A, steps[3].A)
