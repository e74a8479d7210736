"""Five settings, seven methods, the same samples: the table behind the chapter "Against SGD".

    make results        # writes rivals.csv and rivals_tuning.csv beside this file

Each method is tuned on runs that serve nothing else: every try is run on a few seeds of one root,
and what came closest is run again on the seeds of another. Finished runs are kept in _build/rivals,
so that a run that was stopped goes on where it was.
"""

import itertools
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from scbtheory import (
    SGD,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    State,
    circulant,
    next_model,
    precondition,
    project_A,
    project_V,
    sparse_attention,
    train,
)
from scbtheory.sweeps import sweep

TABLE = Path(__file__).with_suffix(".csv")
TUNING = TABLE.with_name("rivals_tuning.csv")
CACHE = Path(__file__).parents[2] / "_build" / "rivals"
TUNING_ROOT, TUNING_SEEDS = 1000, 3
ROOT, SEEDS = 2000, 11
CHECKPOINTS = 10  # records of each run after the start

# (N, T, s, batch size): samples. The chain is a circulant for N = 3; for others each column is
# uniform on the simplex, the same for all seeds. Attention is drawn anew for each seed.
SETTINGS = {
    (3, 100, 4, 16): 24_000,
    (3, 300, 2, 64): 60_000,
    (3, 1000, 2, 128): 60_000,
    (5, 300, 3, 128): 80_000,
    (10, 200, 2, 256): 100_000,
}


# -------------------------------------------------------------------------------- the rivals


def onto_simplex(columns):
    """The nearest matrix whose columns are probabilities: shift each, and cut what is negative."""
    ordered = -np.sort(-columns, axis=0)
    excess = np.cumsum(ordered, axis=0) - 1
    counts = np.arange(1, len(columns) + 1)[:, None]
    kept = (ordered * counts > excess).sum(axis=0)  # how many entries stay positive
    shift = np.take_along_axis(excess, kept[None] - 1, axis=0) / kept
    return np.maximum(columns - shift, 0)


@dataclass(frozen=True, eq=False)
class Averaged(State):
    """What is shown is the average; the steps go on from the iterate."""

    iterate: LinearTransformer = field(kw_only=True)


@dataclass(frozen=True)
class Descent:
    """SGD with what is usually added to it; every addition is a switch.

    The step size is that of the start over ``1 + n / decay_after`` at step n. The average gives
    iterate n a weight that grows like n cubed, so that it forgets where it came from.
    """

    step_V: float
    step_A: float
    batch_size: int
    decay_after: float = np.inf
    average: bool = False
    precondition: bool = False
    project: bool = False
    simplex: bool = False

    def start(self, model):
        return Averaged(model, np.zeros(model.vocab_size, bool), iterate=model)

    def update(self, state, batch, mu):
        V, A = state.iterate.V, state.iterate.A
        grad_V, grad_A = state.iterate.gradient(batch)
        if self.precondition:
            grad_V, grad_A = precondition(grad_V, mu), precondition(grad_A, mu)
        if self.project:
            weights = mu if self.precondition else np.ones_like(mu)
            grad_V, grad_A = project_V(grad_V, mu, weights), project_A(grad_A)
        shrink = 1 / (1 + state.steps / self.decay_after)
        V, A = V - shrink * self.step_V * grad_V, A - shrink * self.step_A * grad_A
        next_model(V, A)  # or it has diverged, which no simplex shall hide
        if self.simplex:
            V, A = onto_simplex(V), onto_simplex(A)
        steps = state.steps + 1
        iterate = shown = next_model(V, A)
        if self.average:
            weight = 4 / (steps + 3)
            shown = next_model(
                state.model.V + weight * (V - state.model.V),
                state.model.A + weight * (A - state.model.A),
            )
        return replace(state, model=shown, iterate=iterate, steps=steps)


@dataclass(frozen=True, eq=False)
class Moments(State):
    """Running means of the gradients and of their squares, entry by entry."""

    means: tuple = field(kw_only=True)
    squares: tuple = field(kw_only=True)


@dataclass(frozen=True)
class Adam:
    """Adam with the usual constants; the step size falls linearly to zero unless `total` is inf."""

    step_V: float
    step_A: float
    batch_size: int
    total: float = np.inf  # steps

    def start(self, model):
        zeros = np.zeros_like(model.V), np.zeros_like(model.A)
        return Moments(model, np.zeros(model.vocab_size, bool), means=zeros, squares=zeros)

    def update(self, state, batch, mu):
        steps = state.steps + 1
        left = 1 - state.steps / self.total
        after, means, squares = [], [], []
        for entries, gradient, step, mean, square in zip(
            (state.model.V, state.model.A),
            state.model.gradient(batch),
            (self.step_V, self.step_A),
            state.means,
            state.squares,
            strict=True,
        ):
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            size = np.sqrt(square / (1 - 0.999**steps)) + 1e-8
            after.append(entries - left * step * mean / (1 - 0.9**steps) / size)
            means.append(mean)
            squares.append(square)
        return replace(
            state,
            model=next_model(*after),
            steps=steps,
            means=tuple(means),
            squares=tuple(squares),
        )


# ------------------------------------------------------------------------------- the methods

# What is tuned of each: two steps and, for some, over which share of the steps they decay.


def descent(step_V, step_A, batch_size, decay_after, **switches):
    """Constant steps, or decaying ones and the average."""
    average = bool(np.isfinite(decay_after))
    return Descent(step_V, step_A, batch_size, decay_after, average, **switches)


METHODS = {
    "two stages": lambda V, A, size, after: ProximalGradient(V, A, size),
    "SGD": lambda V, A, size, after: SGD(V, A, size),
    "SGD, decay and average": lambda V, A, size, after: descent(V, A, size, after),
    "Adam": lambda V, A, size, after: Adam(V, A, size, total=after),
    "preconditioned SGD": lambda V, A, size, after: descent(V, A, size, after, precondition=True),
    "preconditioned, projected SGD": lambda V, A, size, after: descent(
        V, A, size, after, precondition=True, project=True
    ),
    "SGD on the simplex": lambda V, A, size, after: descent(V, A, size, after, simplex=True),
    # The ingredients of ours, off one by one, and two of them together.
    "no preconditioner": lambda V, A, size, after: ProximalGradient(V, A, size, precondition=False),
    "no projection": lambda V, A, size, after: ProximalGradient(V, A, size, project=False),
    "no threshold": lambda V, A, size, after: ProximalGradient(V, A, size, l1=0.0),
    "no stage change": lambda V, A, size, after: ProximalGradient(V, A, size, stage_change=False),
    "no decay": lambda V, A, size, after: ProximalGradient(V, A, size, decay=False),
    "no threshold, no stage change": lambda V, A, size, after: ProximalGradient(
        V, A, size, l1=0.0, stage_change=False
    ),
}
OURS, *RIVALS = list(METHODS)[:7]
ABLATIONS = list(METHODS)[7:]


def chain(N):
    if N == 3:
        return circulant([0.8, 0.1, 0.1])
    return np.random.default_rng([N, 1]).dirichlet(np.ones(N), size=N).T


def bound(setting):
    """The largest stable step of A in plain SGD, V at its start."""
    N, T, *_ = setting
    mu = SparseContextualBigram(chain(N), np.eye(N)).mu
    return 2 / (T * (mu @ mu) * mu.max())


def tries(setting, method):
    """What is tried of a method: (step_V, step_A, share of the steps after which they decay)."""
    N = setting[0]
    mu = SparseContextualBigram(chain(N), np.eye(N)).mu
    raw = 1 / mu.max()  # such a step of plain SGD moves the most frequent column like 1 does
    limit = bound(setting)  # after preconditioning
    free = limit / raw  # the bound of a preconditioned step without projection
    constant, either = (np.inf,), (1 / 2, np.inf)
    own_V, own_A = np.array([0.05, 0.1, 0.2, 0.4]), np.array([0.0125, 0.025, 0.05, 0.1])
    steps_V, steps_A, shares = {
        "SGD": (
            raw * np.array([0.03, 0.1, 0.3, 1, 2]),
            limit * np.array([0.1, 0.3, 0.6, 0.9, 1.3, 2, 3]),
            constant,
        ),
        "SGD, decay and average": (
            raw * np.array([0.1, 0.3, 1]),
            limit * np.array([0.3, 0.6, 1, 1.5]),
            (1 / 2, 2),
        ),
        "Adam": ((0.003, 0.01, 0.03, 0.1), (0.0003, 0.001, 0.003), (1, np.inf)),
        "preconditioned SGD": (
            (0.05, 0.15, 0.5, 1.5),
            free * np.array([0.3, 0.6, 1]),
            either,
        ),
        "preconditioned, projected SGD": (
            (0.05, 0.15, 0.5),
            (0.01, 0.03, 0.1, 0.3),
            either,
        ),
        "SGD on the simplex": (
            raw * np.array([0.05, 0.15, 0.5, 1.5]),
            raw * np.array([0.003, 0.01, 0.03, 0.1]),
            either,
        ),
        "two stages": (own_V, own_A, constant),
        # For the ablation fewer: ours depends little on its steps.
        "no preconditioner": (raw * own_V[1:3], raw * own_A[1:3], constant),
        "no projection": (own_V[1:3], free * np.array([0.25, 0.8]), constant),
    }.get(method, (own_V[1:3], own_A[1:3], constant))
    for step_V, step_A, share in itertools.product(steps_V, steps_A, shares):
        yield float(f"{step_V:.3g}"), float(f"{step_A:.3g}"), float(share)


# ---------------------------------------------------------------------------------- the runs


def learn(rng, setting, method, step_V, step_A, share):
    """One run: the distances on its way, a column for each checkpoint."""
    N, T, s, batch_size = setting
    samples = SETTINGS[setting]
    task = SparseContextualBigram(chain(N), sparse_attention(T, N, s, rng))
    optimiser = METHODS[method](step_V, step_A, batch_size, share * (samples // batch_size))
    run = train(LinearTransformer.initial(task), task, optimiser, samples, rng, records=CHECKPOINTS)
    row = {}
    for name in "VA":
        way = run.history[f"distance_{name}"]
        for i in range(CHECKPOINTS + 1):
            row[f"{name}{i}"] = float(f"{way[i]:.4g}") if i < len(way) else np.inf
        # A run that diverges is infinitely far from the truth at the end.
        row[f"{name}{CHECKPOINTS}"] = np.inf if run.diverged else row[f"{name}{CHECKPOINTS}"]
    row["settled"] = int(np.isfinite(run.transition).sum())
    row["exact"] = int(((run.model.A != 0) == (task.Q > 0)).all(axis=0).sum())
    row["diverged"] = run.diverged is not None
    return row


def attempt(rng, **parameters):
    """How a try ends: the median over a few runs, for the tuning."""
    runs = [learn(generator, **parameters) for generator in rng.spawn(TUNING_SEEDS)]
    return {
        f"distance_{name}": float(np.median([run[f"{name}{CHECKPOINTS}"] for run in runs]))
        for name in "VA"
    } | {"diverged": sum(run["diverged"] for run in runs)}


def chosen(tuning):
    """Of each method, in each setting, the tries that are run again.

    Of a rival the one that came closest in V and the one that came closest in A; of ours, and of
    what is left of it in the ablation, a single one, by the product of the two distances.
    """
    groups = {}
    for row in tuning.rows:
        groups.setdefault((row["setting"], row["method"]), []).append(row)
    found = []
    for (_, method), rows in groups.items():
        in_V, in_A = (lambda row, name=name: row[f"distance_{name}"] for name in "VA")
        picks = [min(rows, key=in_V), min(rows, key=in_A)]
        if method not in RIVALS:
            picks = [min(rows, key=lambda row: in_V(row) * in_A(row))]
        found += [{name: row[name] for name in tuning.parameters} for row in picks]
    return list({tuple(point.values()): point for point in found}.values())


def points(methods=METHODS):
    """All tries of these methods, in all settings."""
    return [
        {"setting": setting, "method": method, "step_V": V, "step_A": A, "share": share}
        for setting in SETTINGS
        for method in methods
        for V, A, share in tries(setting, method)
    ]


def main(workers=1):
    common = {"cache": CACHE, "workers": workers, "progress": sys.stderr.isatty()}
    tuning = sweep(attempt, points(), seeds=1, root_seed=TUNING_ROOT, **common)
    tuning.save(TUNING, command="make results")
    table = sweep(learn, chosen(tuning), seeds=SEEDS, root_seed=ROOT, **common)
    table.save(TABLE, command="make results")


if __name__ == "__main__":
    main(workers=int(sys.argv[1]) if len(sys.argv) > 1 else 1)
