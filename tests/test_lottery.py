"""The stored table of the chapter on noise is whole, and a point of it can be repeated."""

import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture
def lottery(monkeypatch):
    monkeypatch.syspath_prepend(BOOK)
    from results import lottery

    yield lottery
    sys.modules.pop("results", None)
    sys.modules.pop("results.lottery", None)


def test_the_table_holds_the_grid(lottery):
    table = lottery.read()
    wanted = [(*point.values(), seed) for point in lottery.GRID for seed in range(lottery.RUNS)]
    assert [tuple(row[n] for n in (*table.parameters, "seed")) for row in table.rows] == wanted
    assert not table.failed
    assert table.provenance["root_seed"] == lottery.ROOT_SEED and not table.provenance["paired"]


@pytest.mark.parametrize("attention", ["free", "quiet", "euclidean", "entropic"])
def test_a_row_of_each_kind_can_be_repeated(lottery, attention):
    table = lottery.read()
    number = next(
        i
        for i, row in enumerate(table.rows)
        if row["attention"] == attention and row["batch_size"] == 16
    )
    repeated = table.repeat(lottery.run, number + 3)
    assert repeated == {name: table.rows[number + 3][name] for name in table.columns}


def test_interval_covers_as_often_as_it_says(lottery):
    """Exactly, by summing the binomial: close to 95 % for a share that is not extreme."""
    from math import comb

    runs, share = 200, 0.2
    covered = sum(
        comb(runs, k) * share**k * (1 - share) ** (runs - k)
        for k in range(runs + 1)
        if lottery.wilson(k, runs)[0] <= share <= lottery.wilson(k, runs)[1]
    )
    assert 0.93 < covered < 0.97
    assert lottery.wilson(0, 10)[0] == 0.0 and lottery.wilson(10, 10)[1] == pytest.approx(1.0)
