"""The task: its geometry, its law, its sampler and its reference losses."""

import itertools

import numpy as np
import pytest
from conftest import circulant_task, english_task, skewed_task

from scbtheory import (
    Batch,
    SparseContextualBigram,
    circulant,
    letters,
    sparse_attention,
    stationary_distribution,
)
from scbtheory.scb import _choose, cumulative


def chi_square_excess(counts, probabilities):
    """Pearson's chi-square in standard deviations above its mean; cells of probability 0 empty."""
    expected = counts.sum() * probabilities
    assert (counts[probabilities == 0] == 0).all()
    cells = probabilities > 0
    statistic = ((counts - expected)[cells] ** 2 / expected[cells]).sum()
    freedom = cells.sum() - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


def all_batches(task):
    """Every context, last token and output of a tiny task, with its exact probability."""
    N, T = task.vocab_size, task.length
    for tokens in itertools.product(range(N), repeat=T):
        for last, output in itertools.product(range(N), repeat=2):
            X = np.eye(N)[:, tokens]
            probability = task.mu[list(tokens)].prod() * task.mu[last]
            probability *= (task.P @ X @ task.Q[:, last])[output]
            yield Batch(np.array([tokens]), np.array([last]), np.array([output])), probability


def tiny_task():
    return SparseContextualBigram([[0.9, 0.3], [0.1, 0.7]], [[0.2, 0.0], [0.8, 0.5], [0.0, 0.5]])


def test_stationary_law_is_stationary(task):
    np.testing.assert_allclose(task.P @ task.mu, task.mu, atol=1e-14)
    assert task.mu.sum() == pytest.approx(1, abs=1e-14)


def test_signal_strengths_are_the_signals_norms_and_the_difference_of_norms(task):
    assert pytest.approx(task.norm(task.P) ** 2 - task.mu @ task.mu) == task.K_P
    assert pytest.approx(task.norm(task.Q) ** 2 - 1 / task.length) == task.K_Q


def test_norm_weights_columns_by_the_stationary_law():
    task = skewed_task()
    M = np.diag([1.0, 2.0, 3.0])
    assert task.norm(M) ** 2 == pytest.approx(task.mu @ [1, 4, 9])


def test_reference_losses_by_enumeration():
    task = tiny_task()
    bayes = unigram = total = 0.0
    for batch, probability in all_batches(task):
        target = np.eye(2)[batch.output[0]]
        bayes += probability * np.sum((target - task.bayes(batch)[0]) ** 2) / 2
        unigram += probability * np.sum((target - task.mu) ** 2) / 2
        total += probability
    assert total == pytest.approx(1)
    assert task.bayes_loss == pytest.approx(bayes)
    assert task.unigram_loss == pytest.approx(unigram)


def test_bayes_predictor_is_the_conditional_law(task):
    batch = task.sample(50, np.random.default_rng(0))
    for n, prediction in enumerate(task.bayes(batch)):
        X = np.eye(task.vocab_size)[:, batch.context[n]]
        np.testing.assert_allclose(prediction, task.P @ X @ task.Q[:, batch.last[n]], atol=1e-15)


@pytest.mark.parametrize("make", [lambda: circulant_task(6), skewed_task, english_task])
def test_sampler_has_the_exact_law(make):
    """Chi-square of tokens, last tokens and outputs, each within 4 standard deviations."""
    task = make()
    batch = task.sample(100_000, np.random.default_rng(1))
    N = task.vocab_size
    assert abs(chi_square_excess(np.bincount(batch.context.ravel(), minlength=N), task.mu)) < 4
    assert abs(chi_square_excess(np.bincount(batch.last, minlength=N), task.mu)) < 4
    for position in (0, task.length - 1):
        assert (
            abs(chi_square_excess(np.bincount(batch.context[:, position], minlength=N), task.mu))
            < 4
        )
    # Given the last token k and the tokens at the support of q^(k), the output follows Bayes.
    k = int(task.mu.argmax())
    rows = batch.last == k
    support = np.flatnonzero(task.Q[:, k])
    first = batch.context[rows][:, support[0]]
    symbol = int(np.bincount(first).argmax())
    outputs = batch.output[rows][first == symbol]
    weight = task.Q[support[0], k]
    law = weight * task.P[:, symbol] + (1 - weight) * task.mu
    assert abs(chi_square_excess(np.bincount(outputs, minlength=N), law)) < 4


def test_sampler_draws_every_position_of_the_support_in_its_share():
    """With P the identity up to a little, the output is the token at the chosen position."""
    q = np.array([0.5, 0.0, 0.3, 0.2])
    task = SparseContextualBigram(circulant([1 - 1e-9, 1e-9]), np.tile(q[:, None], (1, 2)))
    batch = task.sample(200_000, np.random.default_rng(2))
    agree = batch.context == batch.output[:, None]
    # P(agree at t) = q_t + (1 - q_t)/2.
    expected = q + (1 - q) / 2
    error = np.sqrt(expected * (1 - expected) / len(batch))
    assert (np.abs(agree.mean(axis=0) - expected) < 4 * error).all()


def test_tokens_are_exact_beyond_sixteen_bits():
    """A symbol of probability 1e-6, far less than one sixteen-bit cell, still gets its share."""
    rare = 1e-6
    P = np.array([[1 - rare, 1 - rare], [rare, rare]])
    task = SparseContextualBigram(P, np.full((5000, 2), 1 / 5000))
    count = np.count_nonzero(task.sample(10_000, np.random.default_rng(3)).context)
    expected = 5e7 * rare
    assert abs(count - expected) < 4 * np.sqrt(expected)


def test_tokens_at_different_positions_are_independent():
    task = skewed_task()
    context = task.sample(100_000, np.random.default_rng(4)).context
    for t, u in [(0, 1), (2, 6), (3, 4)]:
        pairs = np.bincount(3 * context[:, t].astype(int) + context[:, u], minlength=9)
        assert abs(chi_square_excess(pairs, np.outer(task.mu, task.mu).ravel())) < 4


@pytest.mark.parametrize("make", [lambda: circulant_task(6), english_task])
def test_stream_does_not_depend_on_how_it_is_cut(make):
    task = make()
    whole = task.stream(np.random.default_rng(7)).draw(300)
    stream = task.stream(np.random.default_rng(7))
    parts = [stream.draw(size) for size in (1, 63, 200, 36)]
    for name in ("context", "last", "output"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_samples_follow_the_generator():
    task = circulant_task(50)
    rng = np.random.default_rng(0)
    first, second = task.sample(20, rng), task.sample(20, rng)
    assert (first.context != second.context).any()
    again = task.sample(20, np.random.default_rng(0))
    np.testing.assert_array_equal(first.context, again.context)


def test_random_instance_is_what_was_asked_for():
    task = SparseContextualBigram.random(5, 40, 3, np.random.default_rng(0))
    assert (task.vocab_size, task.length, task.sparsity) == (5, 40, 3)
    assert ((task.Q > 0).sum(axis=0) == 3).all()


def test_matrices_cannot_be_changed_behind_the_stationary_law():
    task = circulant_task(6)
    with pytest.raises(ValueError, match="read-only"):
        task.P[0, 0] = 0.5


def test_letter_counts_are_stationary_and_recounted():
    """Reading in a circle makes the letter frequencies exactly stationary."""
    counts = letters.english_counts()
    np.testing.assert_array_equal(counts.sum(axis=0), counts.sum(axis=1))
    task = english_task()
    np.testing.assert_allclose(task.mu, counts.sum(axis=0) / counts.sum(), atol=1e-12)
    # Other Python versions ship other help topics; English they stay.
    from pydoc_data.topics import topics

    recounted = letters.count_bigrams(" ".join(topics[name] for name in sorted(topics)))
    assert np.corrcoef(recounted.ravel(), counts.ravel())[0, 1] > 0.999


def test_each_letter_is_counted_once():
    """In a circle through the alphabet, each symbol follows the one before it."""
    counts = letters.count_bigrams(letters.SYMBOLS.upper())
    np.testing.assert_array_equal(counts, circulant(np.eye(27)[1]))
    assert np.issubdtype(counts.dtype, np.integer)


def test_two_symbols_are_enough_to_count():
    counts = letters.count_bigrams("-- A!")
    np.testing.assert_array_equal(np.argwhere(counts), [[0, 1], [1, 0]])


def test_a_task_names_its_sizes():
    expected = "SparseContextualBigram(vocab_size=3, length=7, sparsity=3)"
    assert repr(skewed_task()) == expected


STOCHASTIC = [[0.9, 0.2], [0.1, 0.8]]


@pytest.mark.parametrize(
    ("P", "Q", "message"),
    [
        (
            [[0.9, 0.1], [0.2, 0.8]],
            np.eye(2),
            r"came sum 1.1 in column 0 \(the rows do: transpose it\)$",
        ),
        (
            [[0.9, 0.2], [0.2, 0.8]],
            np.eye(2),
            "P: expected columns with sum one, came sum 1.1 in column 0$",
        ),
        ([[1.1, 0.2], [-0.1, 0.8]], np.eye(2), "P: expected entries of at least 0, came -0.1"),
        ([[np.nan, 0.2], [0.1, 0.8]], np.eye(2), "P: expected finite entries, came nan at row 0"),
        ([0.5, 0.5], np.eye(2), r"P: expected a non-empty matrix, came shape \(2,\)"),
        ([["a", "b"]], np.eye(2), "P: expected a matrix of numbers"),
        ([[0.5, 0.5]] * 2 + [[0, 0]], np.eye(2), r"P: expected a square matrix, came shape"),
        (np.eye(2), np.eye(2), "^P: expected one stationary law, came a chain with several"),
        ([[1.0, 0.5], [0.0, 0.5]], np.eye(2), "P: expected a positive stationary law.*symbol 1"),
        ([[1.0]], [[1.0]], "P: expected 2 to 65535 symbols, came 1"),
        (STOCHASTIC, np.full((4, 3), 0.25), r"Q: expected 2 columns.*came shape \(4, 3\)"),
        (STOCHASTIC, np.full((4, 2), 0.2), "Q: expected columns with sum one, came sum 0.8"),
        (
            STOCHASTIC,
            [[0.0, 2.0], [1.0, -1.0]],
            "Q: expected entries .*, came -1 at row 1, column 1$",
        ),
        (STOCHASTIC, [[np.inf, 1.0], [0.0, 0.0]], "Q: expected finite entries, came inf"),
        (STOCHASTIC, np.ones((0, 2)), "Q: expected a non-empty matrix"),
    ],
)
def test_a_task_that_is_none_is_refused(P, Q, message):
    with pytest.raises(ValueError, match=message):
        SparseContextualBigram(P, Q)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 10, 11), "sparsity: expected an integer of at least 1 and at most 10, came 11"),
        ((3, 10, 0), "sparsity: expected an integer of at least 1"),
        ((3, 0, 1), "length: expected an integer of at least 1, came 0"),
        ((1, 10, 2), "vocab_size: expected an integer of at least 2, came 1"),
        ((3.5, 10, 2), "vocab_size: expected an integer of at least 2, came 3.5"),
        ((3, 10, True), "sparsity: expected an integer"),
    ],
)
def test_a_random_instance_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SparseContextualBigram.random(*arguments, np.random.default_rng(0))


@pytest.mark.parametrize("size", [0, -3, 2.5, "ten", None])
def test_an_empty_batch_is_refused(size):
    with pytest.raises(ValueError, match="size: expected an integer of at least 1, came"):
        circulant_task(6).sample(size, np.random.default_rng(0))


def test_a_batch_of_unequal_parts_is_refused():
    with pytest.raises(ValueError, match=r"context, last, output: expected shapes"):
        Batch(np.zeros((2, 3), int), np.zeros(2, int), np.zeros(3, int))


def test_stationary_distribution_needs_a_stochastic_matrix():
    with pytest.raises(ValueError, match="P: expected columns with sum one"):
        stationary_distribution([[0.5, 0.5], [0.4, 0.5]])


@pytest.mark.parametrize("vocab_size", [1, 2])
def test_attention_that_is_all_of_the_context(vocab_size):
    Q = sparse_attention(4, vocab_size, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(Q, np.full((4, vocab_size), 0.25))


@pytest.mark.parametrize("first", [[1], [3, 1, 0, 2]])
def test_a_circulant_moves_its_first_column_down(first):
    """Row i of column k is the first column at i - k; whole numbers become floats."""
    C = circulant(first)
    n = np.arange(len(first))
    np.testing.assert_array_equal(C, np.array(first)[n[:, None] - n])
    assert C.dtype == float


def test_groups_are_the_rows_of_each_last_token_in_order():
    last = np.random.default_rng(0).integers(0, 3, 500)
    batch = Batch(np.zeros((500, 1), int), last, last)
    groups = dict(batch.groups())
    assert list(groups) == [0, 1, 2]
    for token, rows in groups.items():
        np.testing.assert_array_equal(rows, np.flatnonzero(last == token))


def test_an_outcome_of_probability_zero_is_never_drawn():
    """Not even where a uniform number meets the boundary between two shares."""
    columns = cumulative(np.array([[0.0, 0.5], [1.0, 0.0], [0.0, 0.5]]))
    chosen = _choose(columns, np.array([0, 1, 1]), np.array([0.0, 0.0, 0.5]))
    np.testing.assert_array_equal(chosen, [1, 0, 2])
