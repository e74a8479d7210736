"""What the functions on the flow, the noise and the simplex return, as values of names.

Beside the instance's numbers: exponentials, roots and logarithms of the formula are evaluated to
forty digits, from the floating-point numbers that the functions were given.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

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
    transfer,
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


# --------------------------------------------------------------------------------- transfer.md


def other_chain(it, seed=11):
    return np.random.default_rng(seed).dirichlet(np.ones(it.task.vocab_size), it.task.vocab_size).T


def centred(it, M):
    return M - np.outer(M @ it.task.mu - it.task.mu, np.ones(it.task.vocab_size))


@holds("eq-transfer-start", "V_0", "A_0")
def transfer_start(it):
    chain = centred(it, other_chain(it))
    start = LinearTransformer.pretrained(it.task, chain, 0.25)
    yield at(it, {"V_0": start.V, "A_0": start.A, r"\hat P": chain, r"\theta": 0.25})


@holds("eq-transfer-recentred", r"\hat P")
def transfer_recentred(it):
    chain = other_chain(it)
    kept = LinearTransformer.pretrained(it.task, chain).V
    yield replace(at(it, {r"\hat P": chain}), after=exact_names({r"\hat P": kept}))


@holds("eq-transfer-other-law", r"\rho")
def transfer_other_law(it):
    chain = other_chain(it)
    yield at(it, {r"\rho": transfer.correlation(it.task, chain), r"\hat P": chain})


@holds("eq-transfer-blend", r"\hat P")
def transfer_blend(it):
    stays = np.eye(it.task.vocab_size)
    before = transfer.correlation(it.task, stays)
    wanted = (1 + before) / 2
    names = {r"\hat P": transfer.blend(it.task, stays, wanted), "R": stays}
    yield at(it, names | {r"\rho": wanted, r"\rho_R": before})


@holds("eq-transfer-time", "t")
def transfer_time(it):
    for v, u in ((0.3, 0.5), (0.75, 0.9)):
        c, square = it.task.K_P * v**2, 4 * omega(it) ** 2
        names = {"t": transfer.time_to(it.task, v, u), "u": u, "c": c, r"\omega": omega(it)}
        roots = {"b": math.sqrt(c**2 + square), "r": math.sqrt(c**2 + square * u**2)}
        yield at(it, names | roots)


@holds("eq-transfer-tipping", r"\rho")
def transfer_tipping(it):
    """Just beyond what the function returns it holds, just before it does not."""
    plane = flow.SignalFlow.of(it.task)
    rate = np.linalg.eigvals(plane.jacobian(0, -1 / (plane.K_Q * plane.length))).max()
    for factor, truth in ((1 + 1e-9, True), (1 - 1e-9, False)):
        names = {r"\rho": transfer.tipping_point(it.task) * factor / 4, r"\theta": 4.0}
        yield at(it, names | {r"\lambda": float(rate)}, truth=truth)


@holds("eq-growth", r"\nu")
def growth(it):
    T, K_Q = it.task.length, it.task.K_Q
    rate = -1 / (T * transfer.tipping_point(it.task))
    yield at(it, {r"\nu": rate, r"\omega": omega(it), r"\delta": 1 / T + 1 / (K_Q * T**2)})


STEP, FEW = 0.25, 3  # a step and a batch


def errors(it):
    """What the three formulas on an error are about; what is theirs is taken from two batches."""
    task, rate = it.task, omega(it)
    M = 0.25 * it.direction_V @ (np.eye(task.vocab_size) - np.outer(task.mu, np.ones(3)))
    one, two = (transfer.error_noise(task, M, STEP, batch) for batch in (1, 2))
    of_batch, fixed = 2 * (one - two), 2 * two - one
    nu2 = noise.signal_noise(task)
    read = sum(
        task.mu[j] * task.P[i, j] * ((np.eye(len(M))[i] - task.mu) @ M[:, j]) ** 2
        for i in range(len(M))
        for j in range(len(M))
    )
    weight = sum(
        task.mu[k] * task.Q[t, k] * (task.Q[t, k] - 1 / task.length) ** 2
        for t in range(task.length)
        for k in range(task.vocab_size)
    )
    return {
        "M": M,
        r"\zeta^2": fixed * task.K_P / task.K_Q,
        "g_A^2": of_batch * rate * (2 + STEP * rate) / (STEP * nu2),
        r"\zeta_q^2": read,
        r"\chi": weight,
        r"\nu^2": nu2,
        r"\omega": rate,
        r"\eta": STEP,
        "B": FEW,
        r"\beta^2": transfer.error_noise(task, M, STEP, FEW),
    }


@holds("eq-transfer-noise-A", r"\zeta^2")
def transfer_noise_A(it):
    yield at(it, errors(it))


@holds("eq-transfer-walk", "g_A^2")
def transfer_walk(it):
    yield at(it, errors(it))


@holds("eq-transfer-beta", r"\beta^2")
def transfer_beta(it):
    yield at(it, errors(it))


def pretrained_odds(it):
    """A start with an error, the probability, and the spread that it tells."""
    task, rate = it.task, omega(it)
    start = LinearTransformer.pretrained(task, other_chain(it), 0.25)
    p = transfer.wrong_twin(task, start, STEP, FEW)
    M = start.V - task.mu[:, None]
    ahead = task.inner(M, task.signal_V) / task.K_P
    beta2 = transfer.error_noise(task, M - ahead * task.signal_V, STEP, FEW)
    names = {"p": p, "v_0": ahead, r"\omega": rate, r"\eta": STEP, "B": FEW, r"\theta": 1.0}
    names |= {r"\beta^2": beta2, r"\tau^2": noise.variance_along_signal(task)}
    return names, -(ahead + 1 / (task.length * rate)) / NormalDist().inv_cdf(p)


@holds("eq-transfer-spread", r"\Sigma^2")
def transfer_spread(it):
    names, spread = pretrained_odds(it)
    yield at(it, names | {r"\Sigma^2": spread**2})


@holds("eq-transfer-odds", "p")
def transfer_odds(it):
    names, _ = pretrained_odds(it)
    rate = names[r"\omega"]
    square = STEP * (names[r"\tau^2"] + names[r"\beta^2"]) / (FEW * rate * (2 + STEP * rate))
    names |= {r"\Sigma": math.sqrt(square)}
    yield at(it, names | {r"\Phi()": lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2})


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
