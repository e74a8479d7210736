"""What the functions on the flow, the noise and the simplex return, as values of names.

Beside the instance's numbers: exponentials, roots and logarithms of the formula are evaluated to
forty digits, from the floating-point numbers that the functions were given.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp
from conftest import circulant_task
from instance import Instance, exact_names, exactly, one_hot

from scbtheory import (
    ExponentiatedGradient,
    LinearTransformer,
    SoftmaxTransformer,
    flow,
    noise,
    population,
    precondition,
    project_A,
    project_V,
    simplex,
    stages,
    transformer,
)
from scbtheory.claims import Case
from scbtheory.claims.arithmetic import Symbolic
from scbtheory.claims.values import Evaluator, Remainder


@dataclass(frozen=True)
class Held:
    """How a label gets its cases, and which names have the value that the function returns."""

    of: Callable[[Instance], Iterator[Case]]
    returned: tuple[str, ...]

    def others(self, case: Case) -> Iterator[Case]:
        """The case with another value for each of these names, in the step's after if it is one."""
        for name in self.returned:
            later = name in case.after
            value = case.after[name] if later else case.names[name]
            # A change that a formula with a square, or one of slack, would notice, too.
            many = isinstance(value, sp.MatrixBase)
            other = value * sp.Rational(9, 8) + (sp.ones(*value.shape) if many else 1) / 8
            if later:
                yield replace(case, after={**case.after, name: other})
            else:
                yield case.changed({name: other})


CASES: dict[str, Held] = {}


def holds(label, *returned):
    def kept(function):
        CASES[label] = Held(function, returned)
        return function

    return kept


def at(it, more, **fields):
    """A case in which t is a time, and no index."""
    return replace(it.case(more, **fields), indices={})


# ------------------------------------------------------------------------------- population.md


@holds("eq-matrix-flow", r"\dot V", r"\dot A")
def matrix_flow(it):
    on_V, on_A = population.gradient(it.model, it.task)
    of_V, of_A = flow.force(it.model, it.task)
    mu = it.task.mu
    names = {r"\dot V": of_V, r"\dot A": of_A}
    names[r"\Pi_V(\nabla^\mu_V L)"] = project_V(precondition(on_V, mu), mu)
    names[r"\Pi_A(\nabla^\mu_A L)"] = project_A(precondition(on_A, mu))
    yield at(it, names)


POINTS = [(0.3, -0.7), (1.25, 0.8), (-0.4, 1.5)]


@holds("eq-flow", r"\dot \alpha_V", r"\dot \alpha_A")
def signal_flow(it):
    for v, a in POINTS:
        of_v, of_a = flow.SignalFlow.of(it.task).velocity(v, a)
        names = {r"\alpha_V": v, r"\alpha_A": a}
        yield at(it, names | {r"\dot \alpha_V": of_v, r"\dot \alpha_A": of_a})


@holds("eq-jacobian", "J")
def jacobian(it):
    for v, a in POINTS:
        J = flow.SignalFlow.of(it.task).jacobian(v, a)
        yield at(it, {r"\alpha_V": v, r"\alpha_A": a, "J": J})


# ----------------------------------------------------------------------------------- stages.md


def omega(it):
    return math.sqrt(it.task.K_P * it.task.K_Q)


@holds("eq-linear-stage", r"\alpha_V(t)", r"\alpha_A(t)")
def linear_stage(it):
    for time in (0.5, 3.0, 7.0):
        v, a = stages.linear_stage(it.task, time)
        names = {r"\alpha_V(t)": v, r"\alpha_A(t)": a, "t": time, r"\omega": omega(it)}
        yield at(it, names | {r"\sinh()": sp.sinh, r"\cosh()": sp.cosh})


@holds("eq-matched", "u(t)")
def matched(it):
    for time in (0.5, 3.0, 7.0):
        u = float(stages.product(it.task, time))
        yield at(it, {"u(t)": u, "t": time, r"\omega": omega(it), "e^{#}": sp.exp})


@holds("eq-half-time", "t_{1/2}")
def half_time(it):
    yield at(it, {"t_{1/2}": stages.half_time(it.task), r"\omega": omega(it)})


@holds("eq-end-fast", r"\alpha_V", r"\alpha_A")
def landing(it):
    v, a = stages.landing(it.task)
    yield at(it, {r"\alpha_V": v, r"\alpha_A": a})


@holds("eq-foot", r"\alpha_V")
def foot(it):
    K_P, K_Q = (exactly(x) for x in (it.task.K_P, it.task.K_Q))
    for v, a in ((0.2, 0.05), (0.5, 1.5), (2.0, -0.5)):
        names = {r"\alpha_V": float(stages.foot(it.task, v, a)), r"\omega": omega(it)}
        yield at(it, names | {"c": K_P * exactly(v) ** 2 - K_Q * exactly(a) ** 2})


@holds("eq-valley-flow", r"\dot \alpha_V")
def valley(it):
    for v in (0.5, 1.75, -0.6):
        velocity = float(stages.drift_velocity(it.task, v))
        yield at(it, {r"\alpha_V": v, r"\dot \alpha_V": velocity})


@holds("eq-drift-time", r"\tau(\alpha_V)")
def drift_time(it):
    """The function is a difference: the clock at the beginning is added, written out once more."""
    ratio = exactly(it.task.K_Q) / exactly(it.task.K_P)

    def clock(x):
        x = exactly(x)
        powers = sp.log(x) - 1 / x - 1 / (2 * x**2) - 1 / (3 * x**3)
        return it.task.length * (ratio * powers - (1 + ratio) * sp.log(abs(1 - x)))

    for begin, end in ((0.75, 0.9), (2.0, 1.25)):
        took = exactly(stages.drift_time(it.task, begin, end))
        names = {r"\tau(\alpha_V)": clock(begin) + took}
        yield at(it, names | {r"\alpha_V": end, r"\gamma": ratio})


# ------------------------------------------------------------------------------------ noise.md


def read_push(task):
    """The mean square of the push of a token that is read, entry by entry."""
    mu, D = task.mu, task.signal_V
    total = 0.0
    for j in range(task.vocab_size):
        for i in range(task.vocab_size):
            total += task.P[i, j] * mu[j] * (D[i, j] - mu @ D[:, j]) ** 2
    return total / task.K_P**2


@holds("eq-noise-V", r"\mathbb E \|G_V\|_\mu^2")
def noise_V(it):
    yield at(it, {r"\mathbb E \|G_V\|_\mu^2": noise.sample_noise_V(it.task)})


@holds("eq-sigma-one", r"\nu^2")
def signal_noise(it):
    yield at(it, {r"\nu^2": noise.signal_noise(it.task), "D": it.task.signal_V})


@holds("eq-push-moments", r"\mathbb E \xi^2")
def push_moments(it):
    """The function returns the variance: the square of the displayed mean is added."""
    mean = sp.Rational(1, it.task.length)
    square = exactly(noise.variance_along_signal(it.task)) + mean**2
    names = {r"\mathbb E \xi": mean, r"\mathbb E \xi^2": square}
    names |= {r"\nu^2": noise.signal_noise(it.task), r"\nu_q^2": read_push(it.task)}
    yield at(it, names)


@holds("eq-snr", r"\operatorname{SNR}_n")
def snr(it):
    tau2, rate = noise.variance_along_signal(it.task), omega(it)
    for step, batch, n in ((0.25, 2, 1), (0.5, 3, 5), (0.1, 4, 12)):
        names = {r"\operatorname{SNR}_n": noise.snr(it.task, step, step, batch, n)}
        names |= {"B": batch, r"\eta": step, "n": n, r"\omega": rate, r"\tau^2": tau2}
        yield at(it, names | {r"\gamma": 1 + exactly(step) * exactly(rate)})


@holds("eq-unequal", r"\operatorname{SNR}_\infty")
def unequal(it):
    tau2, rate = noise.variance_along_signal(it.task), omega(it)
    for step_V, step_A, batch in ((0.25, 0.5, 2), (0.5, 0.125, 3)):
        names = {r"\operatorname{SNR}_\infty": noise.snr(it.task, step_V, step_A, batch)}
        names |= {r"\eta_V": step_V, r"\eta_A": step_A}
        yield at(it, names | {"B": batch, r"\omega": rate, r"\tau^2": tau2})


@holds("eq-wrong-twin", "p")
def wrong_twin(it):
    for ratio in (0.0, 0.3, 1.7, 4.0):
        names = {"p": noise.wrong_twin(ratio), r"\operatorname{SNR}": ratio}
        yield at(it, names | {r"\Phi()": lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2})


@holds("eq-batch-size", "B")
def batch_size(it):
    for z, step in ((0.5, 0.125), (1.5, 0.25)):
        risk = math.erfc(z / math.sqrt(2)) / 2  # Phi(-z)
        names = {"B": noise.batch_against(it.task, step, risk), "z": z, r"\eta": step}
        yield at(it, names | {r"\omega": omega(it), r"\nu^2": noise.signal_noise(it.task)})


@holds("eq-batch-bound", r"\eta")
def batch_bound(it):
    """Just below what the function returns it holds, just above it does not."""
    for batch in (1, 4, 50):
        most = noise.stable_step(it.task, batch)
        for factor, truth in ((1 - 1e-9, True), (1 + 1e-9, False)):
            case = it.case({r"\eta": most * factor, "B": batch, r"\mu_#": it.task.mu})
            yield replace(case, indices={"k": it.task.vocab_size}, truth=truth)


def on_the_simplex(it, seed=7):
    rng = np.random.default_rng(seed)
    N, T = it.task.vocab_size, it.task.length
    return rng.dirichlet(np.ones(T), N).T


@holds("eq-exponentiated", "a^{+}_#")
def exponentiated(it):
    """The function alone, and the trainer's step of attention."""
    A, T = on_the_simplex(it), it.task.length
    trainer = simplex.SimplexGradient(step_A=0.25, geometry="entropic")
    state = trainer.start(LinearTransformer(it.model.V, A))
    G = project_A(precondition(state.model.gradient(it.batch)[1], it.task.mu))
    steps = [
        (it.direction_A, simplex.multiplied(A, it.direction_A, 0.25)),
        (G, trainer.update(state, it.batch, it.task.mu).model.A),
    ]
    for gradient, later in steps:
        for k in range(it.task.vocab_size):
            names = {"a_#": A[:, k], "g_#": gradient[:, k], "a^{+}_#": later[:, k]}
            case = it.case(names | {r"\eta": 0.25, "e^{#}": sp.exp})
            yield replace(case, indices={"t": T, "u": T})


# ---------------------------------------------------------------------------------- softmax.md


@holds("eq-softmax", "a_#")
def softmax(it):
    """The function alone, and the attention of a model."""
    Z, T = it.direction_A, it.task.length
    for A in (transformer.softmax(Z), SoftmaxTransformer(it.model.V, Z).A):
        for k in range(it.task.vocab_size):
            names = {"a_#": A[:, k], "z_#": Z[:, k], "e^{#}": sp.exp}
            yield replace(it.case(names), indices={"t": T, "u": T})


@holds("eq-softmax-jacobian", "J")
def softmax_jacobian(it):
    """Column by column: what it makes of the gradient one-hot."""
    A, T = on_the_simplex(it), it.task.length
    for k in range(it.task.vocab_size):
        J = transformer.through_softmax(np.eye(T), np.tile(A[:, [k]], T))
        yield at(it, {"J": J, "a": A[:, k]})


@holds("eq-softmax-gradient", r"\nabla_{z^{(k)}} \ell")
def softmax_gradient(it):
    model = SoftmaxTransformer(it.model.V, it.direction_A)
    linear = LinearTransformer(model.V, model.A)
    N = it.task.vocab_size
    for n in range(len(it.batch)):
        one = it.batch[n : n + 1]
        k = one.last[0]
        a = model.A[:, k]
        names = {r"\nabla_{z^{(k)}} \ell": model.gradient(one)[1][:, k]}
        names |= {r"\nabla_{a^{(k)}} \ell": linear.gradient(one)[1][:, k]}
        names |= {"J": np.diag(a) - np.outer(a, a), "X": one_hot(N, one.context[0])}
        yield at(it, names | {"r": model.predict(one)[0] - np.eye(N)[one.output[0]]})


def mirror_steps(it):
    """Three steps: logits before and after, gradients, and curvatures so far."""
    task = it.task
    trainer = ExponentiatedGradient(step_V=0.25, step_A=0.25, batch_size=5)
    state = trainer.start(LinearTransformer(it.model.V, on_the_simplex(it)))
    curvatures = []
    for seed in range(3):
        batch = task.sample(5, np.random.default_rng(seed))
        V, A = state.model.V, state.model.A
        G = project_A(precondition(state.model.gradient(batch)[1], task.mu))
        curvatures.append(task.norm(V - task.mu[:, None]) ** 2 * (A**2).sum(axis=0))
        state = trainer.update(state, batch, task.mu)
        yield project_A(np.log(A)), project_A(np.log(state.model.A)), G, np.array(curvatures)


@holds("eq-mirror-step", "Z_#")
def mirror_step(it):
    for before, after, G, curvatures in mirror_steps(it):
        first = it.task.length * 0.25
        sizes = first / (1 + first * curvatures.sum(axis=0) / 2)
        case = it.case({"Z_#": before, "G_#": G, r"\zeta_#": sizes})
        yield replace(case, after=exact_names({"Z_#": after}))


@holds("eq-mirror-size", r"\zeta_#")
def mirror_size(it):
    """As a step of the trainer shows it; a last token that is not in the batch does not move."""
    for before, after, G, curvatures in mirror_steps(it):
        n, seen = len(curvatures), (G**2).sum(axis=0) > 0
        sizes = ((before - after) * G)[:, seen].sum(axis=0) / (G**2)[:, seen].sum(axis=0)
        names = {r"\zeta_#": sizes, "c_{##}": curvatures[:, seen], "n": n, r"\eta_A": 0.25}
        yield replace(it.case(names), indices={"i": n, "k": int(seen.sum())})


# ------------------------------------------------------------------------------------ up to O(...)


def leading(statements, case):
    """What is displayed before O(...), and what stands in it."""
    evaluator = Evaluator(case, Symbolic())
    (statement,) = statements
    *sides, last = map(evaluator, statement.sides)
    assert isinstance(last, Remainder)
    for one, other in itertools.pairwise(sides):
        assert abs(float(one - other)) < 1e-12 * abs(float(one))  # what is exact in the chain
    return last.value, last.scale


def drift(length):
    """The slower eigenvalue at the truth, and what the function returns for it."""
    signals = flow.SignalFlow(0.3, 0.5, length)
    slow = float(np.linalg.eigvals(signals.jacobian(1, 1)).max())
    names = {"K_P": 0.3, "K_Q": 0.5, "T": length, r"\nu": slow}
    return Case(exact_names(names)), -stages.drift_rate(signals), slow


def push_variance(length):
    """The variance itself, of which what is displayed is the part without the read tokens."""
    task = circulant_task(length)
    variance, strength = noise.variance_along_signal(task), noise.signal_noise(task)
    square = ((length - 1) * strength + read_push(task)) / length**2
    names = {"T": length, r"\tau^2": variance, r"\mathbb E \xi^2": square, r"\nu^2": strength}
    return Case(exact_names(names)), strength / length, variance


LEADING = {"eq-drift": drift, "eq-push-variance": push_variance}
