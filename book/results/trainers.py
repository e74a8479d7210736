"""What the trainers reach, over ten seeds: the table behind the chapter on training.

    make results        # writes trainers.csv beside this file

Each run is one function call, so that a chapter can repeat any row of the table by itself.
"""

import csv
import itertools
import platform
import sys
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from scbtheory import (
    SGD,
    LinearTransformer,
    ProximalGradient,
    SparseContextualBigram,
    circulant,
    letters,
    sparse_attention,
    train,
)

TABLE = Path(__file__).with_suffix(".csv")
SEEDS = range(300, 310)  # the trainer's settings were chosen on others
CHECKPOINTS = 8  # records of each run


def circulant_task(length, seed):
    attention = sparse_attention(length, 3, 2, np.random.default_rng([seed, 1]))
    return SparseContextualBigram(circulant([0.8, 0.1, 0.1]), attention)


def english_task(length, seed):
    counts = letters.english_counts()
    attention = sparse_attention(length, 27, 2, np.random.default_rng([seed, 1]))
    return SparseContextualBigram(counts / counts.sum(axis=0), attention)


# instance -> (task from seed, samples, settings of the two-stage trainer)
INSTANCES = {
    "circulant, T=1000": (lambda seed: circulant_task(1000, seed), 400_000, {}),
    "circulant, T=5000": (lambda seed: circulant_task(5000, seed), 200_000, {}),
    "English, T=200": (
        lambda seed: english_task(200, seed),
        2_500_000,
        {"step_A": 0.2, "batch_size": 2048},
    ),
}
# SGD, tuned on the first instance: every pair of steps, at two batch sizes. Beyond step_A = .018
# the all-ones direction of A is unstable for this instance.
STEPS = [
    *itertools.product((0.03, 0.1, 0.3, 1.0, 3.0), (0.001, 0.003, 0.006, 0.01, 0.02), (64,)),
    *itertools.product((0.03, 0.1, 0.3), (0.001, 0.002, 0.004), (16,)),
]


def run(instance, seed, steps=None):
    """One run as rows of the table, a row for each checkpoint; SGD if steps are given."""
    make, samples, settings = INSTANCES[instance]
    task = make(seed)
    optimiser = ProximalGradient(**settings) if steps is None else SGD(*steps)
    result = train(
        LinearTransformer.initial(task),
        task,
        optimiser,
        samples,
        np.random.default_rng([seed, 2]),
        records=CHECKPOINTS,
    )
    exact = ((result.model.A != 0) == (task.Q > 0)).all(axis=0)
    setting = {
        "instance": instance,
        "seed": seed,
        "method": type(optimiser).__name__,
        "step_V": optimiser.step_V,
        "step_A": optimiser.step_A,
        "batch_size": optimiser.batch_size,
    }
    rows = [
        {
            **setting,
            "samples": int(count),
            "distance_V": f"{distance_V:.5f}",
            "distance_A": f"{distance_A:.5f}",
        }
        for count, distance_V, distance_A in zip(
            *(result.history[name] for name in ("samples", "distance_V", "distance_A")),
            strict=True,
        )
    ]
    # What is known only at the end of a run stands in its last row.
    rows[-1]["diverged"] = result.diverged or ""
    if steps is None:
        rows[-1]["exact_columns"] = int(exact.sum())
        rows[-1]["last_transition"] = f"{result.transition.max():.0f}"
    return rows


def read():
    """The table as a list of rows, numbers as numbers."""
    with TABLE.open(encoding="ascii") as file:
        lines = [line for line in file if not line.startswith("#")]
    whole = dict.fromkeys(("seed", "samples", "exact_columns", "batch_size"), int)
    real = dict.fromkeys(("step_V", "step_A", "distance_V", "distance_A", "last_transition"), float)
    numbers = whole | real
    return [
        {name: numbers.get(name, str)(value) if value else "" for name, value in row.items()}
        for row in csv.DictReader(lines)
    ]


def main():
    """Recompute the table, or with the argument ``--ours`` only the rows that are not SGD's."""
    ours_only = sys.argv[1:] == ["--ours"]
    start = time.perf_counter()
    jobs = [(instance, seed) for instance in INSTANCES for seed in SEEDS]
    kept = [row for row in read() if row["method"] == "SGD"] if ours_only else []
    if not ours_only:
        jobs += [("circulant, T=1000", seed, steps) for seed in SEEDS for steps in STEPS]
    rows = [*itertools.chain(*Parallel(n_jobs=-1, verbose=5)(delayed(run)(*job) for job in jobs))]
    columns = [*rows[0], "diverged", "exact_columns", "last_transition"]
    with TABLE.open("w", newline="", encoding="ascii") as file:
        file.write("# make results\n")
        file.write(f"# Python {platform.python_version()}, NumPy {np.__version__}; ")
        file.write(f"{len(jobs)} runs in {(time.perf_counter() - start) / 60:.0f} minutes")
        file.write(", SGD's rows kept\n" if ours_only else "\n")
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows + kept)


if __name__ == "__main__":
    main()
