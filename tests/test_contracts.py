"""Small promises: of a batch, of a sampler, of a step, of a stage change, of a loop."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import circulant_task, skewed_task
from test_scb import chi_square_excess

from scbtheory import (
    SGD,
    Batch,
    Diverged,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    State,
    circulant,
    letters,
    next_model,
    precondition,
    project_A,
    project_V,
    robust_spread,
    soft_threshold,
    sparse_attention,
    standing_out,
    stationary_distribution,
    train,
    transformer,
)

G = np.random.default_rng


# ------------------------------------------------------------------------------------ the task


def test_sparsity_is_that_of_the_fullest_column():
    assert skewed_task().sparsity == 3


@pytest.mark.parametrize("vocab_size", [255, 256, 300])
def test_every_symbol_of_a_large_vocabulary_has_its_share(vocab_size):
    task = SparseContextualBigram.random(vocab_size, 8, 2, G(0))
    context = task.sample(20_000, G(1)).context
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
        (lambda: circulant([0.5, np.nan]), "first_column: expected a vector"),
        (lambda: letters.count_bigrams("!"), "text: expected at least two symbols"),
        (lambda: circulant_task(6).sample(3, 0), "rng: expected a numpy.random.Generator, came 0"),
        (lambda: LinearTransformer(np.eye(2) * 1j, np.eye(2)), "V: expected a matrix of numbers"),
        (lambda: SGD(10**400, 0.1), "step_V: expected a number"),
        (lambda: SGD("0.1", 0.1), "step_V: expected a number"),
        (lambda: Batch(np.full((1, 2), 0.5), [0], [0]), "context: expected integer tokens"),
        (
            lambda: Batch(np.zeros((2, 3), int), np.zeros(3, int), np.zeros(2, int)),
            "context, last, output: expected shapes",
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


def test_both_ways_to_multiply_by_one_hot_matrices_agree(monkeypatch):
    tokens = G(0).integers(0, 5, (8, 6)).astype(np.uint8)
    a, w = G(1).standard_normal(6), G(2).standard_normal((8, 5))
    products = []
    for masks in (True, False):
        monkeypatch.setattr(transformer, "MASKS_UP_TO", 8 if masks else 0)
        block = transformer._OneHot(tokens, 5)
        assert (block.masks is not None) == masks
        products.append((block.read(a), block.spread(w)))
    for one, other in zip(*products, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


# ------------------------------------------------------------------------------------ one step


def one_step(optimiser, task=None, **state):
    """One update from the truth on one batch: model before, after, and the batch's gradients."""
    task = skewed_task() if task is None else task
    start = LinearTransformer.truth(task)
    batch = task.sample(50, G(0))
    end = optimiser.update(replace(optimiser.start(start), **state), batch, task.mu)
    return start, end, *start.gradient(batch)


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


# ---------------------------------------------------------------------------- the stage change


def look(steps, next_look=10, since=3, patience=3.0):
    """The state after step number ``steps`` from the truth, outstanding entries known before."""
    task = circulant_task(20)
    state = {"support": task.Q > 0, "steps": steps - 1, "next_look": next_look}
    state["unchanged_since"] = np.full(3, since)
    return one_step(ProximalGradient(patience=patience), task, **state)[1]


def test_looks_begin_at_step_ten_and_thin_out():
    assert look(9).next_look == 10
    assert look(10).next_look == 11
    assert look(100, next_look=101, since=33).next_look == 101
    assert not look(100, next_look=101, since=33).settled.any()
    assert look(100, next_look=100, since=33).next_look == 110


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


def test_counts_are_in_samples():
    task = circulant_task(100)
    run = train(LinearTransformer.initial(task), task, ProximalGradient(), 50_000, G(0))
    assert (run.transition % 256 == 0).all()
    assert (run.transition >= 256 * 30).all()
    run = train(LinearTransformer.initial(task), task, SGD(1e9, 1e9), 640, G(0))
    assert run.diverged.startswith(("diverged after 64 samples", "diverged after 128 samples"))
    run = train(LinearTransformer.initial(task), task, SGD(0.1, 0.001), 127, G(0))
    assert run.history["samples"][-1] == 64


@pytest.mark.parametrize("matrix", ["V", "A"])
@pytest.mark.parametrize("entry", [np.nan, np.inf, 1e7])
def test_a_model_gone_astray_is_divergence(matrix, entry):
    matrices = {"V": np.eye(2), "A": np.eye(2)}
    matrices[matrix] = np.full((2, 2), entry)
    with pytest.raises(Diverged, match="an entry of V or A reached"):
        next_model(**matrices)


def test_an_infinite_threshold_is_divergence():
    task = skewed_task()
    optimiser = ProximalGradient(step_A=1e308, l1=1e308)
    run = train(LinearTransformer.initial(task), task, optimiser, 2560, G(0))
    assert "diverged after 256 samples" in run.diverged


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
