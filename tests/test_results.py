"""The stored table holds the runs that its script names, all of them and no others."""

import sys
from pathlib import Path

import pytest

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
