"""Small promises: of a batch, of a sampler, of a step, of a stage change, of a loop."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from conftest import circulant_task, english_task, skewed_task
from test_scb import chi_square_excess

from scbtheory import (
    SGD,
    Batch,
    Diverged,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    State,
    _memory,
    _onehot,
    circulant,
    letters,
    next_model,
    precondition,
    project_A,
    project_V,
    robust_spread,
    scb,
    soft_threshold,
    sparse_attention,
    standing_out,
    stationary_distribution,
    train,
    transformer,
)
from scbtheory._memory import scratch
from scbtheory._progress import progress_bar

G = np.random.default_rng


# ------------------------------------------------------------------------------------ the task


def test_sparsity_is_that_of_the_fullest_column():
    assert skewed_task().sparsity == 3


@pytest.mark.parametrize("vocab_size", [255, 256, 300])
def test_every_symbol_of_a_large_vocabulary_has_its_share(vocab_size):
    task = SparseContextualBigram.random(vocab_size, 8, 2, G(0))
    context = task.sample(20_000, G(1)).context
    assert context.dtype == (np.uint8 if vocab_size < 256 else np.uint16)
    counts = np.bincount(context.ravel(), minlength=vocab_size)
    assert abs(chi_square_excess(counts, task.mu)) < 4
    batch = task.sample(20, G(2))
    np.testing.assert_allclose(
        LinearTransformer.truth(task).predict(batch), task.bayes(batch), atol=1e-14
    )


def test_the_three_sources_of_a_stream_differ():
    stream = circulant_task(6).stream(G(0))
    sources = (stream._words, stream._fractions, stream._choices)
    assert len({source.bit_generator.state["state"]["state"] for source in sources}) == 3


def test_a_stream_is_seeded_with_four_words_of_all_their_bits():
    task = circulant_task(6)
    sources = [task.stream(G(seed))._words.bit_generator for seed in range(50)]
    words = np.array([source.seed_seq.entropy for source in sources])
    assert words.shape == (50, 4)
    assert (np.bitwise_or.reduce(words) == 2**32 - 1).all()
    assert (np.bitwise_and.reduce(words) == 0).all()


@pytest.mark.parametrize(("mu", "cells"), [([0.25, 0.5, 0.25], 0), ([0.7, 0.2, 0.1], 2)])
def test_sixteen_bits_are_enough_but_at_a_boundary(mu, cells):
    """A boundary between two shares lies in one cell of the table, or between two."""
    task = circulant_task(6)
    task.mu = np.array(mu)
    stream = task.stream(G(0))
    assert np.count_nonzero(stream._table == stream._straddling) == cells


def test_a_vocabulary_fits_sixteen_bits_with_one_value_to_spare(monkeypatch):
    """Views of one number take no memory; what would read all of it is put aside."""
    monkeypatch.setattr(scb, "stationary_distribution", lambda P: P[0])
    monkeypatch.setattr(scb, "stochastic_columns", lambda name, value: value)

    def task(N):
        return SparseContextualBigram(np.broadcast_to(1 / N, (N, N)), np.broadcast_to(1.0, (1, N)))

    assert task(2**16 - 1).vocab_size == 2**16 - 1
    with pytest.raises(ValueError, match=r"^P: expected 2 to 65535 symbols, came 65536$"):
        task(2**16)


@pytest.mark.parametrize("name", ["mu", "Q", "signal_V", "signal_A"])
def test_what_a_task_has_worked_out_is_read_only(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(skewed_task(), name)[0] = 1


def test_a_model_owns_its_matrices():
    V = np.array([[0.9, 0.2], [0.1, 0.8]])
    model = LinearTransformer(V, np.eye(2))
    V[0, 0] = 7
    assert model.V[0, 0] == 0.9
    with pytest.raises(ValueError, match="read-only"):
        model.A[0, 0] = np.nan


def test_what_holds_arrays_cannot_be_changed_and_equals_itself_only():
    """Equality entry by entry would be an array, and no truth value."""
    task = skewed_task()
    batch, model = task.sample(3, G(0)), LinearTransformer.truth(task)
    state = SGD(0.1, 0.1).start(model)
    for one, name in ((batch, "last"), (model, "V"), (state, "model"), (SGD(0.1, 0.1), "step_V")):
        with pytest.raises(AttributeError):
            setattr(one, name, getattr(one, name))
    assert batch != batch[:]
    assert model != LinearTransformer.truth(task)
    assert state != replace(state)
    assert len({batch, model, state}) == 3


def test_columns_are_normalised_to_the_last_digit():
    P = np.array([[0.9, 0.2], [0.1, 0.8]]) * (1 + 5e-10)
    task = SparseContextualBigram(P, np.eye(2))
    np.testing.assert_allclose(task.P.sum(axis=0), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stationary_distribution([[0.9, 0.2], [0.1, 0.801]]), "P: expected columns"),
        (lambda: stationary_distribution([[0.5, 0.5]] * 2 + [[0, 0]]), "P: expected a square"),
        (lambda: circulant(3), "first_column: expected a vector"),
        (lambda: circulant([]), "first_column: expected a vector"),
        (lambda: circulant([0.5, np.nan]), "first_column: expected a vector"),
        (
            lambda: sparse_attention(4, 0, 1, G(0)),
            "^vocab_size: expected an integer of at least 1, came 0$",
        ),
        (lambda: letters.count_bigrams("!"), "text: expected at least two symbols"),
        (lambda: circulant_task(6).sample(3, 0), "rng: expected a numpy.random.Generator, came 0"),
        (lambda: LinearTransformer(np.eye(2) * 1j, np.eye(2)), "V: expected a matrix of numbers"),
        (lambda: SGD(10**400, 0.1), "step_V: expected a number"),
        (lambda: SGD("0.1", 0.1), "step_V: expected a number"),
        (lambda: Batch(np.full((1, 2), 0.5), [0], [0]), "context: expected integer tokens"),
        (
            lambda: Batch(np.zeros((2, 3), int), np.zeros(3, int), np.zeros(2, int)),
            r"^context, last, output: expected shapes \(B, T\), \(B,\), \(B,\), "
            r"came \(2, 3\), \(3,\), \(2,\)$",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("part", ["context", "last", "output"])
@pytest.mark.parametrize("token", [-1, 3])
def test_tokens_out_of_range_are_refused(part, token):
    parts = {"context": np.zeros((1, 6), int), "last": np.array([0]), "output": np.array([0])}
    batch = Batch(**parts | {part: np.full_like(parts[part], token)})
    for use in (LinearTransformer.initial(circulant_task(6)).gradient, circulant_task(6).bayes):
        with pytest.raises(ValueError, match="batch: expected tokens from 0 to 2"):
            use(batch)


def test_a_batch_that_is_too_short_is_refused():
    short = circulant_task(5).sample(3, G(0))
    for use in (LinearTransformer.initial(circulant_task(6)).predict, circulant_task(6).bayes):
        with pytest.raises(ValueError, match="batch: expected contexts of length 6, came 5"):
            use(short)


# ----------------------------------------------------------------------------------- the model


def test_blocks_of_samples_leave_no_trace(monkeypatch):
    task = skewed_task()
    model = LinearTransformer(G(0).standard_normal((3, 3)), G(1).standard_normal((7, 3)))
    batch = task.sample(70, G(2))
    whole = (model.predict(batch), *model.gradient(batch))
    monkeypatch.setattr(transformer, "BLOCK_TOKENS", 4 * 7)
    for one, other in zip(whole, (model.predict(batch), *model.gradient(batch)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.parametrize(
    ("N", "digits"),
    [(2, 1), (2, 8), (2, 9), (3, 1), (3, 5), (3, 6), (5, 3), (5, 4), (16, 2), (40, 2), (300, 1)],
)
@pytest.mark.parametrize("block", [1, 40, 500, 2**20])
@pytest.mark.parametrize("few", [0, 10**9])
def test_packs_multiply_by_one_hot_matrices(N, digits, block, few, monkeypatch):
    """However many samples make a number, wherever blocks end, and however packs are added up."""
    monkeypatch.setattr(_onehot, "FEW", few)
    monkeypatch.setattr(_onehot, "cheapest_digits", lambda counts, length: digits)
    context = G(0).integers(0, N, (33, 29)).astype(np.uint8 if N < 256 else np.uint16)
    last, A, w = G(1).integers(0, min(N, 4), 33), G(2).random((29, N)), G(3).random((33, N))
    samples = np.flatnonzero(np.arange(33) % 5)
    out, expected = np.zeros((29, N), order="F"), np.zeros((29, N))
    seen = []
    for part in _onehot.packs(context, last, N, samples, block):
        size = max(29, N**digits)
        assert len(part.rows) * size <= block or len(part.rows) == 1
        assert len(part.parts) == (1 if len(part.rows) > 1 else -(-29 // block))
        there = part.rows >= 0
        assert (part.rows[~there] == -1).all()
        rows = part.rows[there]
        seen.extend(rows)
        X = np.eye(N)[context[rows]]
        read = part.read(np.asfortranarray(A))
        np.testing.assert_allclose(read[there], np.einsum("btn,tb->bn", X, A[:, last[rows]]))
        assert not read[~there].any()
        weights = np.zeros(read.shape)
        weights[there] = w[rows]
        part.spread(weights.reshape(-1, N), out)
        for sample, k in zip(rows, last[rows], strict=True):
            expected[:, k] += w[sample, context[sample]]
    np.testing.assert_array_equal(np.sort(seen), samples)
    np.testing.assert_allclose(out, expected, atol=1e-13)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint8, np.uint16, np.int64])
def test_numbers_of_many_digits_fit_whatever_holds_the_tokens(kind):
    """With 40 samples of each last token a number has five digits of three: up to 242."""
    task = circulant_task(3000)
    model = LinearTransformer(G(0).random((3, 3)), G(1).random((3000, 3)))
    batch = task.sample(120, G(2))
    assert max(part.rows.shape[1] for part in model._parts(batch)) >= 5
    other = replace(batch, context=batch.context.astype(kind))
    for one, same in zip(model.gradient(batch), model.gradient(other), strict=True):
        np.testing.assert_array_equal(one, same)


def test_samples_of_a_token_stay_in_their_order():
    """So that no sum hangs on how a sort breaks ties."""
    context, last = np.zeros((1000, 2), np.uint8), G(0).integers(0, 3, 1000)
    parts = _onehot.packs(context, last, 3, np.arange(1000), 2**17)
    rows = np.concatenate([part.rows[part.rows >= 0] for part in parts])
    np.testing.assert_array_equal(rows, np.argsort(last, kind="stable"))


def test_a_mask_may_have_no_position():
    positions = _onehot.Positions(np.zeros((4, 3), bool))
    assert positions.most == 0
    assert positions.of(np.ones((4, 3))).shape == (0,)


def test_memory_is_the_same_for_one_name_and_one_thread():
    first = scratch("a name", (3, 5))
    assert (first.shape, first.dtype) == ((3, 5), float)
    assert np.shares_memory(first, scratch("a name", (3, 5)))
    assert np.shares_memory(first, scratch("a name", (7,), np.uint16))
    assert not np.shares_memory(first, scratch("another", (3, 5)))
    assert scratch("a name", (16,)).nbytes == 128
    with ThreadPoolExecutor(1) as pool:
        assert not np.shares_memory(
            scratch("a name", (3, 5)), pool.submit(scratch, "a name", (3, 5)).result()
        )


def test_what_a_thread_keeps_is_named_and_a_few_megabytes():
    """After steps with few symbols and with many, in contexts that are longer than a block."""

    def names_and_bytes():
        for task in (circulant_task(140_000), english_task(20_000)):
            optimiser = ProximalGradient(batch_size=12)
            state = optimiser.start(LinearTransformer.initial(task))
            optimiser.update(state, task.sample(12, G(0)), task.mu)
        return {name: len(held) for name, held in _memory._arrays.bytes.items()}

    with ThreadPoolExecutor(1) as pool:
        kept = pool.submit(names_and_bytes).result()
    assert set(kept) == {
        "beyond", "straddling", "mask",  # to draw
        "numbers", "tokens", "wide numbers", "cells", "weights", "found",  # to multiply
        "centred", "cut",  # to threshold
    }  # fmt: skip
    assert sum(kept.values()) < 2**24


def test_more_samples_of_a_token_make_longer_numbers_up_to_the_cache():
    digits = [_onehot.cheapest_digits(np.array([n] * 3), 5000) for n in (0, 1, 2, 4, 1000)]
    assert digits == [1, 1, 2, 4, 6]
    assert _onehot.cheapest_digits(np.full(3, 1000), 10**6) == 7  # 3**7 is the last below 2**12
    assert _onehot.cheapest_digits(np.full(300, 1000), 10**6) == 1
    assert _onehot.cheapest_digits(np.array([7]), 10**6) >= 1


def test_a_gradient_is_as_good_as_its_format():
    """Against twice the digits: each entry within a few units in the last place of its terms."""
    task = circulant_task(5000)
    model = LinearTransformer(G(0).random((3, 3)), G(1).random((5000, 3)))
    batch = task.sample(70, G(2))
    V, A = model.V.astype(np.longdouble), model.A.astype(np.longdouble)
    exact_V, exact_A = np.zeros_like(V), np.zeros_like(A)
    for context, k, output in zip(batch.context, batch.last, batch.output, strict=True):
        X = np.eye(3, dtype=np.longdouble)[context].T
        read = X @ A[:, k]
        residual = V @ read - np.eye(3)[output]
        exact_V += np.outer(residual, read) / 70
        exact_A[:, k] += X.T @ (V.T @ residual) / 70
    for found, exact in zip(model.gradient(batch), (exact_V, exact_A), strict=True):
        assert np.abs(found - exact).max() < 1e-13 * np.abs(exact).max()


@pytest.mark.parametrize("settled", [[True, True, True], [True, False, True]])
def test_of_a_settled_column_the_gradient_is_that_on_its_support(settled, monkeypatch):
    """With three positions of more than 96, the tokens elsewhere are not read; else all are."""
    settled = np.array(settled)
    for length, blocks in ((500, 2**17), (500, 8), (97, 2**17), (96, 2**17)):
        task = circulant_task(length)
        monkeypatch.setattr(transformer, "BLOCK_TOKENS", blocks)
        model = LinearTransformer(G(0).random((3, 3)), task.Q * G(1).random((length, 3)))
        support = task.Q > 0
        support[7, 0] = True  # of weight zero, and wanted
        support[np.flatnonzero(support[:, 2])[0], 2] = False  # not wanted, and of weight
        assert (support | (model.A != 0)).sum(axis=0).tolist() == [3, 2, 2]
        batch = task.sample(200, G(2))
        whole_V, whole_A = model.gradient(batch)
        grad_V, grad_A = model._gradient(batch, settled, support)
        wanted = support | ~settled
        np.testing.assert_allclose(grad_V, whole_V, atol=1e-13)
        np.testing.assert_allclose(grad_A[wanted], whole_A[wanted], atol=1e-13)
        moved = np.count_nonzero(grad_A[:, settled], axis=0)
        assert (moved <= 3).all() if length > 96 else (moved > 3).all()


def test_a_step_reads_settled_columns_on_their_support_only(monkeypatch):
    """When all are settled nothing is left to pack."""
    task = circulant_task(500)
    monkeypatch.setattr(transformer, "packs", None)
    optimiser = ProximalGradient()
    state = optimiser.start(LinearTransformer.truth(task))
    state = replace(state, settled=np.ones(3, bool), support=task.Q > 0)
    assert optimiser.update(state, task.sample(50, G(0)), task.mu).steps == 1


def test_two_threads_do_not_disturb_each_other():
    def end(seed):
        start = LinearTransformer.initial(task)
        return train(start, task, ProximalGradient(), 256 * 40, G(seed)).model.A

    task = circulant_task(300)
    alone = [end(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(end, range(4)), strict=True):
            np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------------------ one step


def one_step(optimiser, task=None, **state):
    """One update from the truth on one batch: model before, after, and the batch's gradients."""
    task = skewed_task() if task is None else task
    start = LinearTransformer.truth(task)
    batch = task.sample(50, G(0))
    end = optimiser.update(replace(optimiser.start(start), **state), batch, task.mu)
    return start, end, *start.gradient(batch)


def test_a_run_starts_with_nothing_settled_and_nothing_seen():
    task = skewed_task()
    state = ProximalGradient().start(LinearTransformer.initial(task))
    for array, shape, kind in (
        (state.settled, (3,), bool),
        (state.support, (7, 3), bool),
        (state.unchanged_since, (3,), np.integer),
    ):
        assert array.shape == shape
        assert np.issubdtype(array.dtype, kind)
        assert not array.any()


@pytest.mark.parametrize("optimiser", [SGD(0.1, 0.1), ProximalGradient()])
def test_a_step_counts_as_one(optimiser):
    assert one_step(optimiser, steps=7)[1].steps == 8


def test_a_step_without_the_soft_threshold_is_left_as_it_is():
    """To the last digit: a threshold of level zero would round."""
    task = skewed_task()
    optimiser = ProximalGradient(l1=0, project=False, decay=False)
    start, end, _, grad_A = one_step(optimiser)
    expected = start.A - 0.05 * precondition(grad_A, task.mu)
    np.testing.assert_array_equal(end.model.A, expected)


def test_without_preconditioning_the_projection_is_the_ordinary_one():
    optimiser = ProximalGradient(precondition=False, l1=0)
    start, end, grad_V, _ = one_step(optimiser)
    direction = project_V(grad_V, skewed_task().mu, np.ones(3))
    np.testing.assert_allclose(end.model.V, start.V - 0.2 * direction, atol=1e-15)


def test_steps_follow_the_curvature():
    """eta / (1 + eta sum / 2) is 1 / (1/eta + sum/2); the sums grow by this model's curvatures."""
    task = skewed_task()
    optimiser = ProximalGradient(l1=0, stage_change=False)
    start, end, grad_V, grad_A = one_step(optimiser, curvature_V=7.0, curvature_A=31.0)
    step_V = project_V(precondition(grad_V, task.mu), task.mu) / (1 / 0.2 + 7 / 2)
    step_A = project_A(precondition(grad_A, task.mu)) / (1 / 0.05 + 31 / 2)
    np.testing.assert_allclose(end.model.V, start.V - step_V, atol=1e-14)
    np.testing.assert_allclose(end.model.A, start.A - step_A, atol=1e-14)
    assert end.curvature_V - 7 == pytest.approx(task.norm(start.A) ** 2)
    assert end.curvature_A - 31 == pytest.approx(task.norm(start.V) ** 2 - task.mu @ task.mu)


@pytest.mark.parametrize("steps", [0, 8])
def test_soft_threshold_keeps_pace_with_accumulated_noise(steps):
    task = skewed_task()
    optimiser = ProximalGradient(project=False, decay=False, stage_change=False)
    start, end, _, grad_A = one_step(optimiser, steps=steps)
    gradient = precondition(grad_A, task.mu)
    level = 0.05 * 0.5 * (task.mu @ robust_spread(gradient)) / np.sqrt(steps + 1)
    assert level > 0
    expected = 1 / 7 + soft_threshold(start.A - 0.05 * gradient - 1 / 7, level)
    np.testing.assert_allclose(end.model.A, expected, atol=1e-14)


def test_without_preconditioning_column_k_feels_its_share_of_everything():
    """The l1 term weighs column k by mu_k; the most frequent symbol has the largest curvature."""
    task = skewed_task()
    optimiser = ProximalGradient(precondition=False, project=False, stage_change=False)
    start, end, _, grad_A = one_step(optimiser)
    level = 0.05 * 0.5 * task.mu * robust_spread(grad_A).sum()
    expected = 1 / 7 + soft_threshold(start.A - 0.05 * grad_A - 1 / 7, level)
    np.testing.assert_allclose(end.model.A, expected, atol=1e-14)
    assert end.curvature_V == pytest.approx(task.mu.max() * task.norm(start.A) ** 2)
    assert end.curvature_A == pytest.approx(
        task.mu.max() * (task.norm(start.V) ** 2 - task.mu @ task.mu)
    )


@pytest.mark.parametrize("project", [True, False])
def test_a_settled_column_moves_on_its_support_only(project):
    task = skewed_task()
    settled = np.array([True, False, False])
    start, end, *_ = one_step(
        ProximalGradient(project=project), settled=settled, support=task.Q > 0
    )
    assert (end.model.A[task.Q[:, 0] == 0, 0] == 0).all()
    assert (end.model.A[:, 0] != start.A[:, 0]).any()
    if project:
        np.testing.assert_allclose(end.model.A.sum(axis=0), 1, atol=1e-14)


def test_a_settled_column_with_one_position_has_nowhere_to_move():
    """Its column sum is kept, and there is no other entry to give to or to take from."""
    task = skewed_task()
    settled = np.array([False, True, False])
    start, end, *_ = one_step(ProximalGradient(), settled=settled, support=task.Q > 0)
    np.testing.assert_array_equal(end.model.A[:, 1], start.A[:, 1])


# ---------------------------------------------------------------------------- the stage change


def look(steps, next_look=10, since=3, patience=3.0):
    """The state after step number ``steps`` from the truth, outstanding entries known before."""
    task = circulant_task(20)
    state = {"support": task.Q > 0, "steps": steps - 1, "next_look": next_look}
    state["unchanged_since"] = np.full(3, since)
    return one_step(ProximalGradient(patience=patience), task, **state)[1]


def test_looks_begin_at_step_ten_and_thin_out():
    assert ProximalGradient().start(LinearTransformer.initial(skewed_task())).next_look == 10
    assert look(9).next_look == 10
    assert look(10).next_look == 11
    assert look(100, next_look=101, since=33).next_look == 101
    assert not look(100, next_look=101, since=33).settled.any()
    assert look(100, next_look=100, since=33).next_look == 110


def test_the_next_look_is_at_a_whole_step():
    """A tenth further, rounded up."""
    following = look(13).next_look
    assert following == 15
    assert isinstance(following, int)


def test_columns_wait_each_for_itself():
    """The outstanding entries of the middle column have just changed: it alone waits."""
    task = circulant_task(20)
    before = task.Q > 0
    before[:, 1] = False
    _, end, *_ = one_step(
        ProximalGradient(), task, support=before, steps=98, unchanged_since=np.full(3, 33)
    )
    np.testing.assert_array_equal(end.settled, [True, False, True])
    np.testing.assert_array_equal(end.unchanged_since, [33, 99, 33])


def test_a_settled_column_keeps_its_support():
    """Also a position of weight zero, which does not stand out, while the others are looked at."""
    task = circulant_task(20)
    before = task.Q > 0
    spare = np.flatnonzero(~before[:, 0])[0]
    before[spare, 0] = True
    _, end, *_ = one_step(
        ProximalGradient(), task, support=before, steps=98, settled=np.array([True, False, False])
    )
    assert end.steps < end.next_look  # it has looked
    np.testing.assert_array_equal(end.support[:, 0], before[:, 0])


def test_a_column_settles_when_the_steps_have_grown_by_the_patience():
    assert look(99, since=33).settled.all()
    assert not look(98, since=33).settled.any()
    assert not look(99, since=33, patience=4).settled.any()


def test_a_column_whose_outstanding_entries_are_negative_does_not_settle():
    """Rescaled to sum one they would change sign."""
    task = circulant_task(20)
    optimiser = ProximalGradient(step_V=0, step_A=0, project=False, l1=0)
    model = LinearTransformer(task.P, np.where(task.Q > 0, -0.1, -0.5))
    state = replace(optimiser.start(model), support=task.Q > 0, steps=98)
    state = replace(state, unchanged_since=np.full(3, 3))
    assert standing_out(model.A).any(axis=0).all()
    assert not optimiser.update(state, task.sample(50, G(0)), task.mu).settled.any()


def test_an_entry_stands_out_beyond_twice_the_depth_of_the_lowest():
    column = np.array([-1, 0, 0, 0, 0, 1.99, 2.01])[:, None]
    np.testing.assert_array_equal(standing_out(0.3 + column)[:, 0], [False] * 6 + [True])


def test_nothing_stands_out_of_a_flat_column():
    assert not standing_out(np.full((9, 2), 1 / 9)).any()


def test_attention_need_not_be_equal_or_very_sparse():
    """Unequal weights, and eight of twenty positions: found, and right."""
    Q = np.zeros((300, 3))
    for k, (first, second) in enumerate([(3, 90), (40, 41), (200, 299)]):
        Q[first, k], Q[second, k] = 0.65, 0.35
    dense = sparse_attention(20, 3, 8, G(0))
    for attention, samples in ((Q, 100_000), (dense, 200_000)):
        task = SparseContextualBigram(circulant([0.8, 0.1, 0.1]), attention)
        run = train(LinearTransformer.initial(task), task, ProximalGradient(), samples, G(1))
        np.testing.assert_array_equal(run.model.A != 0, task.Q > 0)
        assert run.history["distance_A"][-1] < 0.03


# ------------------------------------------------------------------------------------ the loop


class Spy:
    """An optimiser of a reader's own: it remembers what it was shown."""

    def __init__(self, batch_size):
        self.batch_size, self.seen = batch_size, []

    def start(self, model):
        return State(model, np.zeros(model.vocab_size, bool))

    def update(self, state, batch, mu):
        self.seen.append(batch.context)
        return replace(state, steps=state.steps + 1)


def test_batches_of_different_size_show_the_same_samples():
    task = circulant_task(6)
    spies = [Spy(5), Spy(20)]
    for spy in spies:
        train(LinearTransformer.initial(task), task, spy, 40, G(0))
    np.testing.assert_array_equal(*(np.concatenate(spy.seen) for spy in spies))


class Settler(Spy):
    """Settles the last token 2 in its second step and 0 in its fourth, and token 1 never."""

    def update(self, state, batch, mu):
        state = super().update(state, batch, mu)
        return replace(state, settled=np.array([state.steps >= 4, False, state.steps >= 2]))


def test_transition_is_when_a_column_settled_first():
    task = circulant_task(6)
    run = train(LinearTransformer.initial(task), task, Settler(10), 60, G(0))
    np.testing.assert_array_equal(run.transition, [40, np.nan, 20])


def test_counts_are_in_samples():
    task = circulant_task(100)
    run = train(LinearTransformer.initial(task), task, ProximalGradient(), 50_000, G(0))
    assert (run.transition % 256 == 0).all()
    assert (run.transition >= 256 * 30).all()
    run = train(LinearTransformer.initial(task), task, SGD(1e9, 1e9), 640, G(0))
    assert run.diverged.startswith(("diverged after 64 samples", "diverged after 128 samples"))
    run = train(LinearTransformer.initial(task), task, SGD(0.1, 0.001), 127, G(0))
    assert run.history["samples"][-1] == 64


def test_a_batch_of_one_is_a_batch():
    task = circulant_task(6)
    for optimiser in (Spy(1), SGD(0, 0, batch_size=1), ProximalGradient(0, 0, 1, 0, patience=1)):
        run = train(LinearTransformer.initial(task), task, optimiser, 3, G(0))
        np.testing.assert_array_equal(run.history["samples"], [0, 1, 2, 3])


def test_an_optimiser_of_a_readers_own_is_held_to_a_batch():
    task = circulant_task(6)
    with pytest.raises(ValueError, match=r"^optimiser\.batch_size: expected .* 1, came 0$"):
        train(LinearTransformer.initial(task), task, Spy(0), 3, G(0))


@pytest.mark.parametrize("matrix", ["V", "A"])
@pytest.mark.parametrize("entry", [np.nan, np.inf, 1e7])
def test_a_model_gone_astray_is_divergence(matrix, entry):
    matrices = {"V": np.eye(2), "A": np.eye(2)}
    matrices[matrix] = np.full((2, 2), entry)
    with pytest.raises(Diverged, match="an entry of V or A reached"):
        next_model(**matrices)


def test_a_million_is_not_beyond_a_million():
    task = skewed_task()
    model = next_model(np.full((3, 3), -1e6), np.full((7, 3), 1e6))
    assert train(model, task, SGD(0, 0), 64, G(0)).diverged is None
    with pytest.raises(Diverged):
        next_model(model.V, model.A * (1 + 1e-9))


def test_an_overflow_is_divergence_and_no_warning():
    task = skewed_task()
    start = LinearTransformer(np.full((3, 3), 1e3), np.full((7, 3), 1e3))
    run = train(start, task, SGD(1e300, 1e300), 640, G(0))
    assert run.diverged == "diverged after 64 samples: an entry of V or A reached inf"


def test_an_infinite_threshold_is_divergence():
    task = skewed_task()
    optimiser = ProximalGradient(step_A=1e308, l1=1e308)
    run = train(LinearTransformer.initial(task), task, optimiser, 2560, G(0))
    assert "diverged after 256 samples: the soft threshold reached" in run.diverged


def test_a_start_beyond_all_bounds_is_refused():
    task = skewed_task()
    with pytest.raises(ValueError, match="model: expected entries of at most"):
        train(LinearTransformer(np.eye(3) * 1e7, task.Q), task, SGD(0, 0), 64, G(0))
    with pytest.raises(ValueError, match=r"model.V: expected a matrix of shape \(3, 3\)"):
        train(LinearTransformer(np.eye(2), np.ones((7, 2))), task, SGD(0, 0), 64, G(0))


def test_a_weak_signal_is_not_refused():
    task = SparseContextualBigram(0.5 + 5e-4 * np.array([[1, -1], [-1, 1]]), np.eye(2))
    assert task.K_P < 1e-5
    assert train(LinearTransformer.initial(task), task, SGD(0.1, 0.1), 64, G(0)).diverged is None


def test_a_progress_bar_begins_where_work_was_left(capsys):
    with progress_bar(10, True, unit="runs", scaled=False, done=4) as advance:
        advance(6)
    shown = capsys.readouterr().err
    assert "| 4/10 [" in shown and "| 10/10 [" in shown
