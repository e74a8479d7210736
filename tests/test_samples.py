"""The tables of the chapter on sample complexity hold the runs that their script names."""

import sys
from pathlib import Path

import numpy as np
import pytest

from scbtheory import noise
from scbtheory.sweeps import Table

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture
def samples(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    from results import samples

    yield samples
    sys.modules.pop("results.samples", None)


def test_the_tables_hold_the_grids(samples):
    for path, (_, grid, runs) in samples.SWEEPS.items():
        table = Table.load(path)
        wanted = [(setting, seed) for setting in grid for seed in range(runs)]
        found = [
            ({name: row[name] for name in table.parameters}, row["seed"]) for row in table.rows
        ]
        assert found == wanted
        assert not table.failed
        assert table.provenance["root_seed"] == samples.ROOT_SEED


@pytest.mark.parametrize(
    ("path", "number"), [("CONSTANT", 205), ("TABLE", 45), ("TABLE", 265), ("TABLE", 365)]
)
def test_a_row_of_each_kind_can_be_repeated(samples, path, number):
    path = getattr(samples, path)
    table, function = Table.load(path), samples.SWEEPS[path][0]
    again = table.repeat(function, number)
    for name in table.columns:
        assert again[name] == pytest.approx(table.rows[number][name], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(("N", "T", "s"), [(2, 100, 1), (3, 400, 2), (5, 200, 4)])
def test_the_rule_is_that_of_the_module(samples, N, T, s):
    """The script has closed forms of its own for its chain; the module has general ones."""
    task = samples.task_of(N, T, s, np.random.default_rng(0))
    K_P, K_Q, omega, noise_2 = samples.strengths(N, T, s)
    assert pytest.approx(task.K_P) == K_P and pytest.approx(task.K_Q) == K_Q
    assert noise_2 == pytest.approx(noise.signal_noise(task))
    assert omega == pytest.approx(np.sqrt(task.K_P * task.K_Q))
    for risk in samples.RISKS:
        exact = noise.batch_against(task, samples.STEP, float(risk))
        assert abs(samples.batch_by_rule(N, T, s, risk) - exact) <= 0.5 + 1e-6
