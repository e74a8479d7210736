"""The stored tables of the softmax chapter: complete, and what their script computes."""

import itertools
import math
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture
def softmax(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    from results import softmax

    yield softmax
    sys.modules.pop("results", None)


def test_the_tables_hold_all_runs_and_none_failed(softmax):
    tuning, table, batches = softmax.read()
    runs = len(softmax.SETTINGS) * len(softmax.METHODS) * len(softmax.STEPS) * len(softmax.RATIOS)
    assert len(tuning) == runs * softmax.TUNING_SEEDS
    assert not tuning.failed and not table.failed and not batches.failed
    for setting, method, error in itertools.product(
        softmax.SETTINGS, softmax.METHODS, softmax.ERRORS
    ):
        steps = softmax.chosen(tuning, setting, method, error)
        found = [
            row["seed"]
            for row in table.rows
            if (row["setting"], row["method"], row["step_V"], row["ratio"])
            == (setting, method, *steps)
        ]
        assert found == list(range(softmax.SEEDS))


def test_tuning_and_reporting_do_not_share_seeds(softmax):
    tuning, table, _ = softmax.read()
    assert tuning.provenance["root_seed"] != table.provenance["root_seed"]


def test_a_row_can_be_repeated(softmax):
    _, table, _ = softmax.read()
    row = next(n for n, held in enumerate(table.rows) if held["setting"][1] == 100)
    repeated = table.repeat(softmax.learn, row)
    for name in ("distance_V", "distance_A"):
        assert math.isclose(repeated[name], table.rows[row][name], abs_tol=2e-4)
