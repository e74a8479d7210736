"""Which twin a run goes to: the table behind the chapter on noise.

    make results        # writes lottery.csv beside this file; about 20 minutes of one core

Each run draws its own attention and its own samples, and ends when the product of alpha_V and
alpha_A passes a fifth, which neither twin is reached without, or when its time is up.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scbtheory import (
    Diverged,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    State,
    alphas,
    circulant,
    next_model,
    population,
    precondition,
    project_A,
    project_V,
    sparse_attention,
)
from scbtheory.simplex import SimplexGradient
from scbtheory.sweeps import Table, sweep

TABLE = Path(__file__).with_suffix(".csv")
CACHE = Path(__file__).parents[2] / "_build" / "lottery"
ROOT_SEED = 2024
RUNS = 200
DECIDED = 0.2  # of the product of alpha_V and alpha_A
PATIENCE = 4  # times the half-time without noise
LOOK = 5  # steps between looks

# instance -> (chain, sparsity)
INSTANCES = {
    "even": (circulant([0.8, 0.1, 0.1]), 2),
    "skewed": (np.array([[0.9, 0.3, 0.2], [0.05, 0.6, 0.1], [0.05, 0.1, 0.7]]), 2),
    "single": (circulant([0.8, 0.1, 0.1]), 1),
}
# instance, T, step of V, step of A, B
POINTS = [
    *(("even", 100, 0.1, 0.1, B) for B in (1, 2, 4, 8)),
    *(("even", 100, 0.4, 0.4, B) for B in (4, 16, 32)),
    ("even", 100, 0.05, 0.05, 1),
    *(("even", 100, 1.0, 1.0, B) for B in (16, 64)),
    *(("even", 400, 0.1, 0.1, B) for B in (4, 16)),
    *(("even", 400, 0.4, 0.4, B) for B in (16, 64)),
    *(("even", 1000, 0.2, 0.2, B) for B in (16, 64)),
    *(("skewed", 100, 0.1, 0.1, B) for B in (2, 8)),
    *(("skewed", 400, 0.2, 0.2, B) for B in (8, 32)),
    *(("single", 100, 0.1, 0.1, B) for B in (2, 8)),
    *(("single", 400, 0.2, 0.2, B) for B in (8, 32)),
    ("even", 200, 0.4, 0.1, 8),
    ("even", 200, 0.1, 0.4, 8),
]
# The geometries of attention are compared where noise is strong and where it is weak.
COMPARED = [
    *(("even", 100, 0.1, 0.1, B) for B in (1, 2, 4, 8)),
    *(("even", 100, 0.4, 0.4, B) for B in (4, 16)),
    ("even", 400, 0.1, 0.1, 16),
]
# With the noise of A's own gradient taken out, where it should matter most.
QUIET = [
    *(("even", 100, 0.1, 0.1, B) for B in (1, 2)),
    *(("even", 100, 0.4, 0.4, B) for B in (4, 16)),
    ("even", 400, 0.4, 0.4, 64),
]
NAMES = ("instance", "length", "step_V", "step_A", "batch_size")
GRID = [
    {"attention": attention, **dict(zip(NAMES, point, strict=True))}
    for attention, points in (
        ("free", POINTS),
        ("quiet", QUIET),
        ("euclidean", COMPARED),
        ("entropic", COMPARED),
    )
    for point in points
]


def task_of(instance, length, rng):
    chain, sparsity = INSTANCES[instance]
    attention = sparse_attention(length, len(chain), sparsity, rng)
    return SparseContextualBigram(chain, attention)


def half_time(task):
    """When the product of the alphas passes a half without noise, for long contexts."""
    omega = math.sqrt(task.K_P * task.K_Q)
    return (math.log(task.length) + math.log(4 * omega * task.K_Q) / 2) / omega


@dataclass(frozen=True)
class Quiet:
    """The steps of the free trainer with the expected gradient of A in place of the batch's."""

    task: SparseContextualBigram
    step_V: float
    step_A: float
    batch_size: int

    def start(self, model):
        return State(model, np.zeros(model.vocab_size, bool))

    def update(self, state, batch, mu):
        V, A = state.model.V, state.model.A
        grad_V = precondition(state.model.gradient(batch)[0], mu)
        grad_A = precondition(population.gradient(state.model, self.task)[1], mu)
        model = next_model(
            V - self.step_V * project_V(grad_V, mu), A - self.step_A * project_A(grad_A)
        )
        return replace(state, model=model, steps=state.steps + 1)


def optimiser_of(attention, task, step_V, step_A, batch_size):
    if attention == "quiet":
        return Quiet(task, step_V, step_A, batch_size)
    if attention == "free":
        return ProximalGradient(step_V, step_A, batch_size, l1=0, stage_change=False, decay=False)
    return SimplexGradient(step_V, step_A, batch_size, geometry=attention)


def run(rng, attention, instance, length, step_V, step_A, batch_size):
    """One run: where it went (1 right, -1 wrong, 0 nowhere yet), and after how many steps.

    ``leaned`` is the sign of the growing mode when it first passed the size that it has where the
    product of the alphas is a tenth of what ends a run: 0 if it never did.
    """
    task = task_of(instance, length, rng)
    optimiser = optimiser_of(attention, task, step_V, step_A, batch_size)
    state, stream = optimiser.start(LinearTransformer.initial(task)), task.stream(rng)
    most = math.ceil(PATIENCE * half_time(task) / math.sqrt(step_V * step_A))
    weight = math.sqrt(step_V * task.K_Q / (step_A * task.K_P))
    size = 2 * math.sqrt(DECIDED / 10 * weight)
    went, leaned, diverged = 0, 0, False
    try:
        while went == 0 and state.steps < most:
            state = optimiser.update(state, stream.draw(batch_size), task.mu)
            if state.steps % LOOK == 0:
                alpha_V, alpha_A = alphas(state.model, task)
                mode = alpha_V + weight * alpha_A
                if leaned == 0 and abs(mode) > size:
                    leaned = int(np.sign(mode))
                if alpha_V * alpha_A > DECIDED:
                    went = int(np.sign(alpha_V))
    except Diverged:
        diverged = True
    return {"went": went, "leaned": leaned, "steps": state.steps, "diverged": diverged}


def read():
    """The stored table."""
    return Table.load(TABLE)


def wilson(count, runs, z=1.959964):
    """The 95 % interval of a proportion by Wilson."""
    share, spread = count / runs, z**2 / runs
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def main():
    table = sweep(
        run,
        GRID,
        seeds=RUNS,
        root_seed=ROOT_SEED,
        columns=("went", "leaned", "steps", "diverged"),
        paired=False,
        cache=CACHE,
        version="1",
        progress=True,
    )
    table.save(TABLE, command="make results")


if __name__ == "__main__":
    main()
