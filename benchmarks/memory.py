"""Prints the memory of this process before and after two training steps, and how long one takes.

    python benchmarks/memory.py N T B

A program of its own, since a process remembers the largest it has ever been.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

from scbtheory import LinearTransformer, ProximalGradient, SparseContextualBigram, transformer


def peak() -> float:
    """Mebibytes. Linux counts those of the parent into ru_maxrss, and not into VmHWM."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest / (2**20 if sys.platform == "darwin" else 2**10)
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**10


N, T, B = map(int, sys.argv[1:])
transformer.compiled = lambda: None
before = peak()
task = SparseContextualBigram.random(N, T, 2, np.random.default_rng(0))
optimiser = ProximalGradient(batch_size=B)
state = optimiser.start(LinearTransformer.initial(task))
stream = task.stream(np.random.default_rng(1))
for _ in range(2):
    start = time.perf_counter()
    batch = None  # the batch before goes before the next one comes
    batch = stream.draw(B)
    state = optimiser.update(state, batch, task.mu)
    seconds = time.perf_counter() - start
print(f"{before:.0f} {peak():.0f} {seconds:.3f}")
