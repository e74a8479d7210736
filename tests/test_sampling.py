"""The sampler in the large: exact laws, and how fast code and short memory leave no trace."""

import tracemalloc

import numpy as np
import pytest
from conftest import circulant_task, english_task, skewed_task

from scbtheory import LinearTransformer, ProximalGradient, SparseContextualBigram, scb
from scbtheory import sparse_attention as attention

RARE = 2**-16 / 40  # far less than the sixteen bits with which a token begins
G = np.random.default_rng


def independent_task(mu, length, seed=0):
    """A task whose stationary law is this one: each symbol follows every other alike."""
    return SparseContextualBigram(
        np.tile(np.asarray(mu)[:, None], (1, len(mu))), attention(length, len(mu), 2, G(seed))
    )


def skewed_law(N, rare=RARE):
    """Shares like 1, 1/2, 1/3, ..., and a last one that is rare."""
    weights = 1 / np.arange(1, N)
    return np.append(weights / weights.sum() * (1 - rare), rare)


def uniform_law(N, rare=None):
    return np.full(N, 1 / N)


def deviation(counts, law):
    """Pearson's chi-square of counts, in its standard deviations from its mean.

    Of n draws from k cells of probabilities p it has the mean k - 1 and the variance
    2 (k - 1) (n - 1) / n + (sum 1/p - k^2) / n. Cells that expect fewer than ten are one.
    """
    n, many = counts.sum(), law * counts.sum() >= 10
    assert (counts[law == 0] == 0).all()
    observed = np.append(counts[many], counts[~many].sum())
    p = np.append(law[many], law[~many].sum())
    if n * p[-1] < 10:
        observed, p = observed[:-1], p[:-1] / p[:-1].sum()
        n = observed.sum()
    k = len(p)
    variance = 2 * (k - 1) * (n - 1) / n + (np.sum(1 / p) - k**2) / n
    return (np.sum((observed - n * p) ** 2 / (n * p)) - (k - 1)) / np.sqrt(variance)


def test_the_mean_and_the_variance_of_the_chi_square_are_what_is_said():
    """Over 4000 repetitions, within five standard errors of a mean and of a variance."""
    law = np.array([0.5, 0.3, 0.15, 0.05])
    found = [deviation(counts, law) for counts in G(0).multinomial(300, law, size=4000)]
    assert abs(np.mean(found)) < 5 / 4000**0.5
    fourth = np.mean((found - np.mean(found)) ** 4)
    assert abs(np.var(found) - 1) < 5 * ((fourth - 1) / 4000) ** 0.5


@pytest.mark.parametrize("law", [uniform_law, skewed_law])
@pytest.mark.parametrize("N", [2, 27, 300, 1000])
def test_tokens_have_the_exact_law(N, law):
    """Within five standard deviations, the rare symbol too: over 40 million tokens, some 15."""
    task = independent_task(law(N), 4001)
    stream = task.stream(G(1))
    counts = np.zeros(N, int)
    for _ in range(10):
        counts += np.bincount(stream.draw(1000).context.ravel(), minlength=N)
    assert abs(deviation(counts, task.mu)) < 5
    expected = counts.sum() * task.mu[-1]
    assert abs(counts[-1] - expected) < 5 * expected**0.5


@pytest.mark.parametrize("law", [uniform_law, skewed_law])
@pytest.mark.parametrize("N", [2, 27, 300, 1000])
def test_last_tokens_positions_and_outputs_have_the_exact_law(N, law, monkeypatch):
    """Pairs of last token and position, and of source and output, within five deviations."""
    drawn = []

    def choose(columns, column, u, choose=scb._choose):
        drawn.append((column, choose(columns, column, u)))
        return drawn[-1][1]

    monkeypatch.setattr(scb, "_choose", choose)
    rng = G(2)
    mu = law(N, 1e-4)
    # Symbols keep their place with probability one half: mu stays stationary.
    P = (np.eye(N) + np.tile(mu[:, None], (1, N))) / 2
    Q = np.zeros((9, N))
    Q[:4] = rng.dirichlet([1, 2, 3, 4], size=N).T
    Q = rng.permuted(Q, axis=0)
    task = SparseContextualBigram(P, Q)
    batch = task.sample(400_000, G(3))
    (last, position), (source, output) = drawn
    np.testing.assert_array_equal(last, batch.last)
    np.testing.assert_array_equal(output, batch.output)
    np.testing.assert_array_equal(source, batch.context[np.arange(len(batch)), position])
    assert abs(deviation(np.bincount(last, minlength=N), task.mu)) < 5
    assert abs(deviation(np.bincount(output, minlength=N), task.mu)) < 5
    pairs = np.bincount(9 * last + position, minlength=9 * N)
    assert abs(deviation(pairs, (task.mu[:, None] * task.Q.T).ravel())) < 5
    pairs = np.bincount(N * source + output, minlength=N * N)
    assert abs(deviation(pairs, (task.mu[:, None] * task.P.T).ravel())) < 5


# --------------------------------------------------------------------------- no trace is left


def drawn(task, sizes=(5, 40)):
    stream = task.stream(G(4))
    return [
        array
        for size in sizes
        for batch in [stream.draw(size)]
        for array in (batch.context, batch.last, batch.output)
    ]


TASKS = {
    "two symbols": lambda: independent_task(skewed_law(2), 300),
    "three symbols": lambda: circulant_task(299),
    "English": lambda: english_task(302),
    "two bytes": lambda: independent_task(skewed_law(300), 301),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("block", [4, 100, 304, 3000])
def test_blocks_leave_no_trace_in_the_stream(make, block, monkeypatch):
    """Parts of a sample, or one, or several: the same bits, the straddling ones too."""
    task = make()
    whole = drawn(task)
    monkeypatch.setattr(scb, "BLOCK_TOKENS", block)
    for one, other in zip(whole, drawn(task), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make", [skewed_task, *list(TASKS.values())[:3]])
def test_comparisons_and_the_table_say_the_same(make, monkeypatch):
    task = make()
    found = []
    for most in (0, 100):
        monkeypatch.setattr(scb, "COMPARISONS", most)
        found.append(drawn(task, (3000,)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_cell_of_sixteen_bits_means_its_share_of_mu():
    """All 65,536 of them, both ways: the symbol whose share holds the cell, or a boundary."""
    for mu in (skewed_law(2), skewed_law(5), [0.25, 0.5, 0.25], skewed_law(7)[::-1]):
        stream = independent_task(mu, 4).stream(G(0))
        bounds = stream._cumulative_mu * 2**16
        cells = np.arange(2**16, dtype=np.uint16)
        first = np.searchsorted(bounds, cells, side="right")
        beyond = np.searchsorted(bounds, cells + 1.0, side="left")
        found = np.empty(2**16, np.uint8)
        straddling = stream._compare(cells, found)
        np.testing.assert_array_equal(straddling, first != beyond)
        np.testing.assert_array_equal(found[~straddling], first[~straddling])
        np.testing.assert_array_equal(stream._table[~straddling], first[~straddling])
        assert (stream._table[straddling] == stream._straddling).all()


def test_what_is_drawn_and_worked_out_is_not_overwritten_by_the_next():
    """The memory that steps share holds nothing that they give away."""
    task = circulant_task(50)
    stream, model = task.stream(G(0)), LinearTransformer.initial(task)
    batch = stream.draw(30)
    kept = (batch.context, model.predict(batch), *model.gradient(batch))
    copies = [array.copy() for array in kept]
    for _ in range(3):
        other = stream.draw(30)
        model.predict(other)
        model.gradient(other)
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(("length", "size"), [(400_000, 40), (2000, 8000)])
def test_a_step_takes_memory_for_its_batch_and_little_more(length, size):
    """16 million tokens of one byte: a quarter more in all, besides a gradient and a new A."""
    task = circulant_task(length)
    optimiser = ProximalGradient(batch_size=size)
    state = optimiser.start(LinearTransformer.initial(task))
    stream = task.stream(G(0))
    stream.draw(1)
    tracemalloc.start()
    batch = stream.draw(size)
    state = optimiser.update(state, batch, task.mu)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.25 * batch.context.nbytes + 2 * state.model.A.nbytes + 2**23
