"""The loops for a compiler say what the packed products say: as they stand, and compiled."""

import sys

import numpy as np
import pytest
from conftest import circulant_task, english_task, skewed_task

from scbtheory import (
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    _loops,
    train,
    transformer,
)

G = np.random.default_rng
PLAIN = _loops.Kernels(_loops.read, _loops.read_few, _loops.spread, _loops.spread_few)
TASKS = {
    "three symbols": lambda: circulant_task(101),
    "long": lambda: circulant_task(2 * _loops.NEAR + 7),
    "skewed": skewed_task,
    "English": lambda: english_task(50),
    "two bytes": lambda: SparseContextualBigram.random(300, 18, 2, G(5)),
}


@pytest.fixture(params=["plain", "compiled"])
def kernels(request, monkeypatch):
    """Makes the transformer use the loops: as they stand, or compiled."""
    found = PLAIN
    if request.param == "compiled":
        found = _loops.compiled.__wrapped__()
    return lambda: monkeypatch.setattr(transformer, "compiled", lambda: found)


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_predictions_and_gradients_are_the_same(make, kernels, monkeypatch):
    task = make()
    N, T = task.vocab_size, task.length
    model = LinearTransformer(G(0).standard_normal((N, N)), G(1).standard_normal((T, N)))
    drawn = task.sample(70, G(2))
    for batch in (drawn, drawn[::-2]):
        expected = (model.predict(batch), *model.gradient(batch))
        kernels()
        for block in (1, 2**17):
            monkeypatch.setattr(transformer, "BLOCK_TOKENS", block)
            found = (model.predict(batch), *model.gradient(batch))
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())
        monkeypatch.setattr(transformer, "compiled", lambda: None)


def test_a_run_through_both_stages_is_the_same(kernels):
    task = circulant_task(20)
    start = LinearTransformer.initial(task)
    runs = []
    for prepare in (lambda: None, kernels):
        prepare()
        runs.append(train(start, task, ProximalGradient(batch_size=64), 64 * 60, G(0)))
    np.testing.assert_allclose(runs[0].model.A, runs[1].model.A, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(runs[0].transition, runs[1].transition)


def test_products_are_added_to_what_is_there(kernels):
    kernels()
    context, w = G(0).integers(0, 3, (4, 11)).astype(np.uint8), G(1).random((4, 3))
    samples, last, columns = np.arange(4), np.array([0, 2, 2, 1]), G(2).random((3, 11))
    loops = transformer.compiled()
    for add, right, shape in (
        (loops.read, columns, (4, 3)),
        (loops.read_few, columns, (4, 3)),
        (loops.spread, w, (3, 11)),
        (loops.spread_few, w, (3, 11)),
    ):
        once, on_top = np.zeros(shape), np.ones(shape)
        add(context, samples, last, right, once)
        add(context, samples, last, right, on_top)
        np.testing.assert_allclose(on_top, 1 + once, rtol=0, atol=1e-14)


def test_where_there_are_loops_nothing_is_packed(kernels, monkeypatch):
    task = circulant_task(20)
    model, batch = LinearTransformer.truth(task), task.sample(30, G(0))
    expected = model.predict(batch)
    kernels()
    monkeypatch.setattr(transformer, "packs", None)
    np.testing.assert_allclose(model.predict(batch), expected, rtol=0, atol=1e-12)


def test_without_a_compiler_there_are_no_loops(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert _loops.compiled.__wrapped__() is None


@pytest.mark.parametrize(
    ("N", "expected"),
    [
        (_loops.FEW_SYMBOLS, ["read_few", "spread_few"]),
        (_loops.FEW_SYMBOLS + 1, ["read", "spread"]),
    ],
)
def test_few_symbols_have_loops_of_their_own(N, expected):
    called = []
    kernels = _loops.Kernels(
        *(lambda *_, name=name: called.append(name) for name in _loops.Kernels._fields)
    )
    samples = _loops.Looped(np.zeros((1, 5), int), np.zeros(1, int), N, np.arange(1), kernels)
    samples.read(np.zeros((5, N)))
    samples.spread(np.zeros((1, N)), np.zeros((5, N)))
    assert called == expected


def test_with_a_compiler_all_are_compiled():
    assert all(hasattr(kernel, "py_func") for kernel in _loops.compiled.__wrapped__())
