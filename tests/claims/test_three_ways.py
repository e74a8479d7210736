"""A function, the equation it implements as displayed, and samples: all three say the same.

Each formula is read from the text of the book and evaluated with the exact numbers of an instance;
the side that names the quantity has the value that the function returns. The symbolic expression
behind the formula is the business of the chapters, which hold it against the same text.
"""

from dataclasses import replace

import build
import ledger
import numpy as np
import pytest
import sympy as sp
from dynamics import CASES, LEADING, leading
from instance import Instance, exactly, one_hot

from scbtheory import (
    LinearTransformer,
    SoftmaxTransformer,
    SparseContextualBigram,
    alphas,
    population,
    precondition,
    project_A,
    project_V,
    soft_threshold,
    stationary_distribution,
)
from scbtheory.claims import Case, Counterexample, Judge, Page, displayed, read
from scbtheory.claims.arithmetic import Exact
from scbtheory.claims.values import Evaluator, together

TEXT = {
    label: tex
    for name in build.names()
    for label, tex in displayed((build.BOOK / "md" / f"{name}.md").read_text("utf-8")).items()
}


def cases_of(label):
    """What a function returns, as the value of the name that the equation is about."""
    it = Instance()
    task, model, batch = it.task, it.model, it.batch
    M, W = it.direction_A, it.model.A
    if label in CASES:
        yield from CASES[label].of(it)
    elif label == "eq-stationary":
        yield it.case({r"\mu": stationary_distribution(task.P)})
    elif label == "eq-mu-inner":
        inner, square = task.inner(M, W), task.norm(M) ** 2
        names = {"M": M, "W": W, "M_#": M, "W_#": W}
        names |= {r"\langle M, W \rangle_\mu": inner, r"\|M\|_\mu^2": square}
        yield it.case(names)
    elif label == "eq-signal":
        yield it.case({})
    elif label == "eq-unigram-loss":
        yield it.case({r"\mathbb E \tfrac12 \|x_o - \mu\|^2": task.unigram_loss})
    elif label == "eq-bayes-loss":
        loss = r"\mathbb E \tfrac12 \|x_o - P X q^{(x_{T+1})}\|^2"
        yield it.case({loss: task.bayes_loss})
    elif label == "eq-bayes":
        for n in range(len(batch)):
            # The same context with each of the last tokens.
            N = task.vocab_size
            rows = batch[np.repeat(n, N)]
            predictions = task.bayes(replace(rows, last=np.arange(N))).T
            mean = r"\mathbb E[x_o \mid X, x_{T+1} = e_#]"
            yield it.case({mean: predictions, "X": one_hot(N, batch.context[n])})
    elif label == "eq-model":
        predictions = model.predict(batch)
        law = it.law(lambda n: {"f(X, x_{T+1})": predictions[n]})
        yield it.case({}, law=tuple(law))
    elif label == "eq-loss":
        yield it.case({"L(V, A)": model.loss(batch)}, law=tuple(it.law()))
    elif label == "eq-start":
        for kind in (LinearTransformer, SoftmaxTransformer):
            start = kind.initial(task)
            yield it.case({"V_0": start.V, "A_0": start.A})
    elif label == "eq-covariance":
        yield it.case({"S": population.covariance(task)})
    elif label == "eq-second-moment":
        a, b = M[:, 0], W[:, 1]
        of_tokens = population.covariance(task) + np.outer(task.mu, task.mu)
        apart = np.outer(task.mu, task.mu)  # of two tokens at different positions
        moment = sum(
            a[t] * b[u] * (of_tokens if t == u else apart)
            for t in range(task.length)
            for u in range(task.length)
        )
        yield it.case({"a": a, "b": b, r"\mathbb E[(Xa)(Xb)^\top]": moment})
    elif label == "eq-population-loss":
        yield it.case({"L(V, A)": population.loss(model, task)})
    elif label == "eq-population-gradient-V":
        yield it.case({r"\nabla_V L": population.gradient(model, task)[0]})
    elif label == "eq-population-gradient-A":
        yield it.case({r"\nabla_{a^{(#)}} L": population.gradient(model, task)[1]})
    elif label == "eq-sample-gradients":
        for n in range(len(batch)):
            on_V, on_A = model.gradient(batch[n : n + 1])
            N, last = task.vocab_size, batch.last[n]
            r = model.predict(batch[n : n + 1])[0] - np.eye(N)[batch.output[n]]
            names = {"X": one_hot(N, batch.context[n]), "r": r, r"\nabla_V \ell": on_V}
            names |= {"a^{(k)}": model.A[:, last], r"\nabla_{a^{(k)}} \ell": on_A[:, last]}
            yield replace(it.case(names), indices={})
    elif label == "eq-preconditioner":
        names = {r"\nabla_V L": it.direction_V, r"\nabla_A L": it.direction_A}
        names[r"\nabla^\mu_V L"] = precondition(it.direction_V, task.mu)
        names[r"\nabla^\mu_A L"] = precondition(it.direction_A, task.mu)
        yield it.case(names)
    elif label == "eq-project-V":
        projected = project_V(it.direction_V, task.mu)
        yield it.case({"M": it.direction_V, r"\Pi_V(M)": projected})
    elif label == "eq-project-A":
        yield it.case({"M": it.direction_A, r"\Pi_A(M)": project_A(it.direction_A)})
    elif label == "eq-soft-threshold":
        for x in (-3.0, -0.5, 0.0, 0.25, 1.0, 2.5):
            shrunk = float(soft_threshold(x, 1.0))
            names = {"x": x, r"\lambda": 1.0, r"\mathcal S_\lambda(x)": shrunk}
            yield it.case(names | {"z": sp.Symbol("z", real=True)})
    elif label == "eq-alphas":
        alpha_V, alpha_A = alphas(model, task)
        yield it.case({r"\alpha_V": alpha_V, r"\alpha_A": alpha_A})


IMPLEMENTED = ledger.implemented_by(list(ledger.docstrings()))
# Steps and stage rules act on a whole state: the chapter holds the trainer against them.
BY_THE_CHAPTER = {"eq-level", "eq-stand-out", "eq-step-A", "eq-step-V", "eq-step-size"}
# Draws, and what is meant up to O(...): below.
HERE = sorted(set(IMPLEMENTED) - BY_THE_CHAPTER - {"eq-scb"} - set(LEADING))


@pytest.mark.parametrize("label", HERE)
def test_function_returns_what_is_displayed(label):
    cases = list(cases_of(label))
    assert cases, f"{IMPLEMENTED[label]} name {label}, and nothing holds them against it"
    for case in cases:
        statements = read(TEXT[label], case.declared, case.indices)
        verdict = Judge(case).decide(statements)
        assert verdict is True if case.truth else isinstance(verdict, Counterexample)


@pytest.mark.parametrize("label", HERE)
def test_another_value_would_be_noticed(label):
    """The name that the function gives a value matters: with another value the formula is false."""
    plain = set(Instance().names)
    for case in list(cases_of(label))[:1]:
        statements = read(TEXT[label], case.declared, case.indices)
        if label in CASES:
            for wrong in CASES[label].others(case):
                assert isinstance(Judge(wrong).decide(statements), Counterexample)
            continue
        own = [name for name in case.names if name not in plain] or ["K_P"]
        if label in ("eq-stationary", "eq-covariance"):
            own = [r"\mu"] if label == "eq-stationary" else ["S"]
        if label == "eq-model":
            law = tuple(
                (weight, names | {"f(X, x_{T+1})": 2 * names["f(X, x_{T+1})"]})
                for weight, names in case.law
            )
            assert Judge(replace(case, law=law)).decide(statements) is not True
            continue
        for name in own:
            value = case.names[name]
            if name in ("z", "x", r"\lambda", "X", "M", "W", "M_#", "W_#", "a", "b", "r"):
                continue
            off = value + sp.ones(*value.shape) if isinstance(value, sp.MatrixBase) else value + 1
            assert Judge(case.changed({name: off})).decide(statements) is not True


def test_chapter_holds_the_trainer_against_its_steps():
    notebook = (build.BOOK / "training.ipynb").read_text("utf-8")
    records = ledger.chapter_in_notebook("training", notebook).records
    kinds = {record.label: record.kind for record in records}
    assert {kinds[label] for label in BY_THE_CHAPTER} == {"code"}


@pytest.mark.parametrize("label", sorted(LEADING))
def test_function_returns_the_displayed_leading_term(label):
    """With the exact quantity beside it: what is left is of the order that O(...) says."""
    left = []
    for length in (100, 400, 1600):
        case, returned, exact = LEADING[label](length)
        value, scale = leading(read(TEXT[label], case.declared, case.indices), case)
        assert abs(returned / float(value) - 1) < 1e-12
        left.append((exact - returned) / float(scale))
    assert abs(left[0]) > 1e-3  # something is left
    # It settles: of the next order, smaller by a factor of the length, there is some, no more.
    assert abs(left[1] / left[2] - 1) < 4 / 400


FUNCTIONS = {
    "eq-stationary": "stationary_distribution", "eq-scb": "SparseContextualBigram.sample",
    "eq-bayes": "SparseContextualBigram.bayes", "eq-mu-inner": "SparseContextualBigram.inner",
    "eq-signal": "SparseContextualBigram.K_P", "eq-covariance": "population.covariance",
    "eq-unigram-loss": "SparseContextualBigram.unigram_loss", "eq-alphas": "training.alphas",
    "eq-bayes-loss": "SparseContextualBigram.bayes_loss", "eq-loss": "LinearTransformer.loss",
    "eq-model": "LinearTransformer.predict", "eq-start": "LinearTransformer.initial",
    "eq-population-loss": "population.loss", "eq-population-gradient-V": "population.gradient",
    "eq-population-gradient-A": "population.gradient", "eq-preconditioner": "precondition",
    "eq-sample-gradients": "LinearTransformer.gradient", "eq-project-V": "project_V",
    "eq-project-A": "project_A", "eq-soft-threshold": "soft_threshold",
    "eq-stand-out": "standing_out", "eq-level": "ProximalGradient", "eq-step-V": "ProximalGradient",
    "eq-step-A": "ProximalGradient", "eq-step-size": "ProximalGradient",
    "eq-matrix-flow": "flow.force", "eq-flow": "SignalFlow.velocity",
    "eq-jacobian": "SignalFlow.jacobian", "eq-linear-stage": "stages.linear_stage",
    "eq-matched": "stages.product", "eq-half-time": "stages.half_time",
    "eq-end-fast": "stages.landing", "eq-foot": "stages.foot",
    "eq-valley-flow": "stages.drift_velocity", "eq-drift": "stages.drift_rate",
    "eq-drift-time": "stages.drift_time", "eq-noise-V": "noise.sample_noise_V",
    "eq-sigma-one": "noise.signal_noise", "eq-push-moments": "noise.variance_along_signal",
    "eq-push-variance": "noise.variance_along_signal", "eq-snr": "noise.snr",
    "eq-unequal": "noise.snr", "eq-wrong-twin": "noise.wrong_twin",
    "eq-batch-size": "noise.batch_against", "eq-batch-bound": "noise.stable_step",
    "eq-exponentiated": "simplex.multiplied", "eq-softmax": "transformer.softmax",
    "eq-softmax-jacobian": "through_softmax",
    "eq-softmax-gradient": "SoftmaxTransformer.gradient",
    "eq-mirror-step": "ExponentiatedGradient", "eq-mirror-size": "ExponentiatedGradient",
}  # fmt: skip


@pytest.mark.parametrize("label", FUNCTIONS)
def test_implementing_function_names_its_equation(label):
    named = IMPLEMENTED.get(label, [])
    assert any(name.endswith(FUNCTIONS[label]) for name in named), f"{named} name {label}"


# --------------------------------------------------------------------------------- Monte Carlo


def deviations(samples, exact):
    """How many standard errors the mean of samples lies from what it should be, entry by entry."""
    error = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    return np.abs(np.mean(samples, axis=0) - exact) / error


# Over some hundred entries, five standard errors are exceeded by chance once in ten thousand runs.
LARGEST = 5


def test_samples_have_the_displayed_law():
    """Chi-square over all outcomes of a tiny task, against the draws as displayed."""
    task = SparseContextualBigram([[0.7, 0.5], [0.3, 0.5]], [[0.2, 0.9], [0.8, 0.1]])
    names = {
        "T": 2, r"\mu": exactly(task.mu), "q^{(#)}": exactly(task.Q), "P": exactly(task.P),
        "x_#": sp.eye(2), "x_o": sp.eye(2),
    }  # fmt: skip
    unknown = ((sp.Integer(1), {"x_#": sp.eye(2), "x_o": sp.eye(2)}),)
    case = Case({k: v for k, v in names.items() if k[0] != "x"}, {"t": 2, "k": 2}, unknown)
    statements = read(TEXT["eq-scb"], case.declared, case.indices)
    law = together(Evaluator(case, Exact()).law_of(statements), ["x_#", "x_o"])
    batch = task.sample(40_000, np.random.default_rng(1))
    counts = {}
    for *tokens, output in np.column_stack([batch.context, batch.last, batch.output]):
        key = tuple(int(i) for i in (*tokens, output))
        counts[key] = counts.get(key, 0) + 1
    statistic = 0.0
    for (drawn, output), probability in law.items():
        columns = np.array(drawn, int).reshape(2, 3)
        key = (*(int(i) for i in columns.argmax(axis=0)), int(np.argmax(output)))
        expected = float(probability) * len(batch)
        statistic += (counts.pop(key, 0) - expected) ** 2 / expected
    assert counts == {}
    freedom = len(law) - 1
    assert statistic < freedom + LARGEST * np.sqrt(2 * freedom)


def test_samples_agree_with_expected_loss_and_gradients():
    it = Instance()
    stream = it.task.stream(np.random.default_rng(2))
    batches = [stream.draw(100) for _ in range(400)]
    losses = np.array([it.model.loss(batch) for batch in batches])
    assert deviations(losses, population.loss(it.model, it.task)) < LARGEST
    gradients = zip(*(it.model.gradient(batch) for batch in batches), strict=True)
    expected = population.gradient(it.model, it.task)
    for sampled, exact in zip(gradients, expected, strict=True):
        assert deviations(np.array(sampled), exact).max() < LARGEST


def test_samples_agree_with_reference_losses_and_second_moment():
    it = Instance()
    task, N = it.task, it.task.vocab_size
    batch = task.sample(40_000, np.random.default_rng(3))
    target = np.eye(N)[batch.output]
    for prediction, exact in ((task.bayes(batch), task.bayes_loss), (task.mu, task.unigram_loss)):
        losses = np.sum((target - prediction) ** 2, axis=1) / 2
        assert deviations(losses, exact) < LARGEST
    a, b = it.direction_A[:, 0], it.direction_A[:, 1]
    X = np.eye(N)[batch.context]
    products = np.einsum("nti,t,nuj,u->nij", X, a, X, b, optimize=True)
    S, mu = population.covariance(task), task.mu
    exact = a @ b * S + a.sum() * b.sum() * np.outer(mu, mu)
    assert deviations(products, exact).max() < LARGEST


# ------------------------------------------------------------------------------- one chapter alone


@pytest.mark.parametrize("name", ["scb", "training"])
@pytest.mark.parametrize("there", [True, False], ids=["with its notebook", "package only"])
def test_chapter_is_found_without_the_repository(name, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCBTHEORY_PAGES", raising=False)
    if there:
        notebook = (build.BOOK / f"{name}.ipynb").read_text("utf-8")
        (tmp_path / "a copy (1).ipynb").write_text(notebook, "utf-8")
    page = Page(name)
    assert dict(page.text) == displayed((build.BOOK / "md" / f"{name}.md").read_text("utf-8"))
    assert page.source == ("a copy (1).ipynb" if there else "the package")
