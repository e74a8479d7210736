"""How many samples the two stages take: the tables behind the chapter on sample complexity.

    make results        # writes samples.csv and samples_constant.csv beside this file

It takes a quarter of an hour of one core at most.

Finished runs are kept in _build/samples, so that a run that was stopped goes on where it was.
"""

import math
from pathlib import Path

import numpy as np

from scbtheory import (
    Diverged,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    alphas,
    sparse_attention,
)
from scbtheory.sweeps import sweep

TABLE = Path(__file__).with_suffix(".csv")
CONSTANT = TABLE.with_name("samples_constant.csv")
CACHE = Path(__file__).parents[2] / "_build" / "samples"
ROOT_SEED = 77
STAY = 0.7  # the share of symbols that are kept; the others are drawn anew
LENGTHS = (100, 200, 400, 800, 1600, 3200)
STEP = 0.2  # of both matrices, where steps are constant
RISKS = {"0.1": 1.2815516, "0.01": 2.3263479}  # of the wrong twin, with their Gaussian quantiles
PATIENCE = 4  # half times until a run with constant steps is given up
BATCH, LARGE_BATCH = 64, 256  # of the trainer
MOST = 100_000  # samples until the trainer must have settled
AFTER = 160_000  # samples after that
CHECKPOINTS = tuple(2_500 * 2**j for j in range(7))
TARGETS = (0.1, 0.0562, 0.0316, 0.0178, 0.01)
LOOK = 5  # steps between looks
CHUNK = 8  # samples between looks at the evidence, at least; else a twentieth of those seen


def task_of(vocab_size, length, sparsity, rng):
    """Symbols stay with probability .7, else any follows; attention is drawn anew for each run."""
    chain = STAY * np.eye(vocab_size) + (1 - STAY) / vocab_size
    return SparseContextualBigram(chain, sparse_attention(length, vocab_size, sparsity, rng))


def strengths(vocab_size, length, sparsity):
    """What the predictions need of such a task: K_P, K_Q, omega and the noise nu squared."""
    K_P = STAY**2 * (vocab_size - 1) / vocab_size
    K_Q = 1 / sparsity - 1 / length
    return K_P, K_Q, (K_P * K_Q) ** 0.5, 1 / (vocab_size * K_P)


def half_time(vocab_size, length, sparsity):
    """When the product of the alphas passes a half without noise."""
    _, K_Q, omega, _ = strengths(vocab_size, length, sparsity)
    return (math.log(length) + math.log(4 * omega * K_Q) / 2) / omega


def batch_by_rule(vocab_size, length, sparsity, risk="0.1"):
    """The batch at which this share of the runs should go to the wrong twin."""
    _, _, omega, noise = strengths(vocab_size, length, sparsity)
    return max(1, round(RISKS[risk] ** 2 / 2 * STEP * length * omega * noise))


# ------------------------------------------------------------------------------------- the runs


def constant_steps(task, batch_size, rng):
    """Samples until the product of the alphas passes a half, and the side (0: not in time)."""
    optimiser = ProximalGradient(STEP, STEP, batch_size, l1=0, stage_change=False, decay=False)
    state, stream = optimiser.start(LinearTransformer.initial(task)), task.stream(rng)
    most = math.ceil(PATIENCE * half_time(task.vocab_size, task.length, task.sparsity) / STEP)
    side = 0
    try:
        while side == 0 and state.steps < most:
            state = optimiser.update(state, stream.draw(batch_size), task.mu)
            if state.steps % LOOK == 0:
                alpha_V, alpha_A = alphas(state.model, task)
                side = int(np.sign(alpha_V)) if alpha_V * alpha_A > 0.5 else 0
    except Diverged:
        side = 0
    return {"before": state.steps * batch_size if side else math.nan, "side": side}


def two_stages(task, batch_size, rng):
    """The package's trainer: samples until all columns settled, and what comes after."""
    optimiser = ProximalGradient(batch_size=batch_size)
    state, stream = optimiser.start(LinearTransformer.initial(task)), task.stream(rng)
    while not state.settled.all() and state.steps * batch_size < MOST:
        state = optimiser.update(state, stream.draw(batch_size), task.mu)
    if not state.settled.all():
        return {"before": math.nan, "side": int(np.sign(alphas(state.model, task)[0]))}
    settled = state.steps
    found = {"before": settled * batch_size}
    found["side"] = int(((state.model.A != 0) == (task.Q > 0)).all())
    if batch_size != BATCH:
        return found
    checkpoints = [round(count / batch_size) for count in CHECKPOINTS]
    for step in range(round(AFTER / batch_size) + 1):
        if step:
            state = optimiser.update(state, stream.draw(batch_size), task.mu)
        if step in checkpoints or step % LOOK == 0:
            errors = {
                "V": task.norm(state.model.V - task.P),
                "A": task.norm(state.model.A - task.Q),
            }
            if step == 0:
                found |= {f"{name} at 0": error for name, error in errors.items()}
            if step in checkpoints:
                at = CHECKPOINTS[checkpoints.index(step)]
                found |= {f"{name} at {at}": error for name, error in errors.items()}
            for target in TARGETS:
                if max(errors.values()) < target:
                    found.setdefault(f"below {target}", step * batch_size)
    return found


def evidence(task, known, rng):
    """Samples until the true positions lead in every column, without any training.

    With `known`, position t of symbol k is rated by the sum of (x_o - mu)' D x_t; else by the size
    of the sum of (x_o - mu)(x_t - mu)'. The true support must lead from here on for half as many
    samples again.
    """
    T, N = task.length, task.vocab_size
    stream = task.stream(rng)
    counts = np.zeros((N, T, N, N))  # last token, position, symbol there, output
    places = np.arange(T)
    seen, since = 0, 0
    while seen < MOST:
        batch = stream.draw(max(CHUNK, seen // 20))
        for last, context, output in zip(batch.last, batch.context, batch.output, strict=True):
            counts[last, places, context, output] += 1
        seen += len(batch.last)
        here = counts - counts.sum(axis=-1, keepdims=True) * task.mu
        if known:
            rating = np.einsum("ktji,ij->tk", here, task.signal_V)
        else:
            here -= here.sum(axis=2, keepdims=True) * task.mu[:, None]
            rating = np.einsum("ktji,i,j->tk", here**2, 1 / task.mu, 1 / task.mu)
        least = np.where(task.Q > 0, rating, np.inf).min(axis=0)
        most = np.where(task.Q > 0, -np.inf, rating).max(axis=0)
        if (least <= most).any():
            since = 0
        elif since == 0:
            since = seen
        if since and seen >= 1.5 * since:
            return {"before": since, "side": 1}
    return {"before": math.nan, "side": 0}


def race(rng, vocab_size, length, sparsity, batch_size):
    """One run with constant steps."""
    return constant_steps(task_of(vocab_size, length, sparsity, rng), batch_size, rng)


def search(rng, method, vocab_size, length, sparsity, batch_size):
    """One run of another method; what a method has not got is NaN."""
    task = task_of(vocab_size, length, sparsity, rng)
    nothing = {f"{name} at {at}": math.nan for at in (0, *CHECKPOINTS) for name in "VA"}
    nothing |= {f"below {target}": math.nan for target in TARGETS}
    if method == "trainer":
        return nothing | two_stages(task, batch_size, rng)
    return nothing | evidence(task, method == "V known", rng)


# ------------------------------------------------------------------------------------ the grids


def setting(batch_size, vocab_size=3, length=400, sparsity=2):
    if batch_size in RISKS:
        batch_size = batch_by_rule(vocab_size, length, sparsity, risk=batch_size)
    return {
        "vocab_size": vocab_size,
        "length": length,
        "sparsity": sparsity,
        "batch_size": batch_size,
    }


LONGER = [{"length": T} for T in LENGTHS]
OTHERS = [{"vocab_size": N} for N in (2, 5, 8)] + [{"sparsity": s} for s in (1, 4, 8)]
FIXED = batch_by_rule(3, LENGTHS[0], 2)  # by the rule where contexts are shortest
RACES = [
    *(setting("0.1", **size) for size in LONGER),
    *(setting(FIXED, **size) for size in LONGER[1:]),
    *(setting("0.1", **size) for size in OTHERS),
    *(setting("0.01", **size) for size in LONGER),
]
SEARCHES = [
    {"method": method, **setting(batch_size, **size)}
    for method, batch_size, sizes in (
        ("V known", 1, LONGER + OTHERS),
        ("V unknown", 1, LONGER),
        ("trainer", LARGE_BATCH, LONGER),
        ("trainer", BATCH, LONGER),
    )
    for size in sizes
]
SWEEPS = {  # table: function, grid, runs for each setting
    CONSTANT: (race, RACES, 100),
    TABLE: (search, SEARCHES, 20),
}


def main():
    for path, (function, grid, runs) in SWEEPS.items():
        table = sweep(
            function,
            grid,
            seeds=runs,
            root_seed=ROOT_SEED,
            paired=False,
            cache=CACHE,
            version="1",
        )
        table.save(path, command="make results")


if __name__ == "__main__":
    main()
