"""How fast a training step is, and what it is held against; writes results.md beside this file.

    make bench        # about eight minutes

Everything is timed in one process, each contender in turn, over and over: medians of times that
were taken side by side. The unit is the *floor*: the time for two random bytes a token from the
same generator, without which no batch can be drawn.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy comes

import in_jax
import in_torch
import jax
import jax.numpy as jnp
import numba
import numpy as np
import torch

import scbtheory
from scbtheory import LinearTransformer, ProximalGradient, SparseContextualBigram, transformer
from scbtheory._loops import compiled

RESULTS = Path(__file__).with_name("results.md")
SIZES = [
    (3, 1000, 64),
    (3, 5000, 64),
    (10, 5000, 64),
    (50, 5000, 64),
    (27, 2000, 256),
    (3, 100_000, 16),
]
ROUNDS = 24
PATIENCE = 12.0  # seconds for one contender at one size: what is slow has fewer rounds
THREADS = (1, 2)


class Contender:
    def __init__(self, family: str, name: str, call: Callable[[int], object]) -> None:
        self.family, self.name, self.call = family, name, call
        self.times: list[float] = []

    def run(self, turn: int) -> None:
        if sum(self.times) > PATIENCE and len(self.times) >= 5:
            return
        start = time.perf_counter()
        self.call(turn)
        self.times.append(time.perf_counter() - start)

    @property
    def median(self) -> float:
        return float(np.median(self.times))


def race(contenders: list[Contender], rounds: int) -> dict[str, Contender]:
    """The fastest of each family, after so many rounds in which all take turns."""
    for contender in contenders:
        contender.call(0)  # compiles, and fills what is kept
    for turn in range(rounds):
        for contender in contenders:
            contender.run(turn)
    best: dict[str, Contender] = {}
    for contender in sorted(contenders, key=lambda c: c.median):
        best.setdefault(contender.family, contender)
    return best


def floors(B: int, T: int) -> list[Contender]:
    words = np.random.PCG64(0)
    generator = np.random.Generator(np.random.PCG64(0))
    return [
        Contender("floor", "random_raw", lambda turn: words.random_raw(-(-B * T // 4))),
        Contender("bytes", "Generator.bytes", lambda turn: generator.bytes(2 * B * T)),
    ]


def with_threads(threads: int, call: Callable[[int], object]) -> Callable[[int], object]:
    def run(turn: int) -> object:
        torch.set_num_threads(threads)
        return call(turn)

    return run


def ours(call: Callable[[int], object]) -> list[Contender]:
    """What a reader has without a compiler, and with the extra ``fast``."""

    def run(turn: int, kernels: object) -> object:
        transformer.compiled = lambda: kernels
        return call(turn)

    return [
        Contender("ours", "NumPy", lambda turn: run(turn, None)),
        Contender("fast", "numba", lambda turn: run(turn, compiled())),
    ]


def same(found: tuple, expected: tuple, tolerance: float) -> None:
    """Assert that matrices, those of the size of A transposed, agree up to rounding."""
    V, A = (np.asarray(part, dtype=float) for part in found)
    for one, other in ((V, expected[0]), (A.T, expected[1])):
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def gradients(N: int, T: int, B: int) -> dict[str, Contender]:
    task = SparseContextualBigram.random(N, T, 2, np.random.default_rng(0))
    stream, rng = task.stream(np.random.default_rng(1)), np.random.default_rng(2)
    # Somewhere on the way: no entry is like another.
    A = (1 + 0.1 * rng.standard_normal((T, N))) / T
    model = LinearTransformer(task.P + 0.01 * rng.standard_normal((N, N)), A)
    batches = [stream.draw(B) for _ in range(4)]
    contenders = [*floors(B, T), *ours(lambda turn: model.gradient(batches[turn % 4]))]
    expected, fast = (one.call(0) for one in contenders[-2:])
    same((fast[0], fast[1].T), expected, 1e-11)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-3)):
        inputs = [in_torch.to_torch(task, model, batch, dtype) for batch in batches]
        bits = str(dtype)[-2:]
        ways = {f"torch{bits}": in_torch.GRADIENTS}
        if bits == "64":
            ways["torch as written"] = {"autograd": in_torch.autograd}
        for family, (name, call) in (
            (family, way) for family, many in ways.items() for way in many.items()
        ):
            if "masks" in name and N > in_torch.MASKS_UP_TO:
                continue
            same(call(*inputs[0]), expected, tolerance)
            for threads in THREADS:
                contenders.append(
                    Contender(
                        family,
                        f"{name}, {threads} thread{'s' * (threads > 1)}",
                        with_threads(threads, lambda t, c=call, i=inputs: c(*i[t % 4])),
                    )
                )
    inputs = [in_jax.to_jax(task, model, batch, jnp.float64) for batch in batches]
    for name, call in in_jax.GRADIENTS.items():
        if name == "masks" and N > in_jax.MASKS_UP_TO:
            continue
        same(call(*inputs[0]), expected, 1e-11)
        contenders.append(
            Contender("jax", name, lambda t, c=call, i=inputs: jax.block_until_ready(c(*i[t % 4])))
        )
    return race(contenders, ROUNDS)


def steps(N: int, T: int, B: int, fastest: dict[str, Contender]) -> dict[str, Contender]:
    """The whole step, with the gradients that were the fastest of their family."""
    task = SparseContextualBigram.random(N, T, 2, np.random.default_rng(0))
    start = LinearTransformer.initial(task)
    optimiser = ProximalGradient(batch_size=B, decay=False, stage_change=False)
    settings = (optimiser.step_V, optimiser.step_A, optimiser.l1, 1)

    # All compute the same step.
    batch = task.sample(B, np.random.default_rng(3))
    expected = optimiser.update(optimiser.start(start), batch, task.mu).model
    V, A, *tokens = in_torch.to_torch(task, start, batch, torch.float64)
    mu = torch.tensor(task.mu.copy())
    grads = in_torch.autograd(V, A, *tokens)
    same(in_torch.update(V, A, *grads, mu, *settings), (expected.V, expected.A), 1e-9)
    V, A, *tokens = in_jax.to_jax(task, start, batch, jnp.float64)
    grads = in_jax.autograd(V, A, *tokens)
    found = in_jax.update(V, A, *grads, jnp.asarray(task.mu), *settings)
    same(found, (expected.V, expected.A), 1e-9)

    stream, state = task.stream(np.random.default_rng(1)), [optimiser.start(start)]

    def step(turn: int) -> None:
        state[0] = optimiser.update(state[0], stream.draw(B), task.mu)

    drawer = in_torch.Drawer(task)

    def torch_step(draw, gradient, dtype):
        V, A, *_ = in_torch.to_torch(task, start, batch, dtype)
        matrices, law = [V, A], mu.to(dtype)

        def step(turn: int) -> None:
            grads = gradient(*matrices, *draw(B))
            matrices[:] = in_torch.update(*matrices, *grads, law, *settings)

        return step

    contenders = [*floors(B, T), *ours(step)]
    for family, draw, dtype in (
        ("torch as written", drawer.by_multinomial, torch.float64),
        ("torch64", drawer.by_table, torch.float64),
        ("torch32", drawer.by_table, torch.float32),
    ):
        name = fastest[family].name.split(",")[0]
        gradient = (in_torch.GRADIENTS | {"autograd": in_torch.autograd})[name]
        for threads in THREADS:
            call = with_threads(threads, torch_step(draw, gradient, dtype))
            label = f"{name}, {threads} thread{'s' * (threads > 1)}"
            contenders.append(Contender(family, label, call))

    name = fastest["jax"].name
    jitted = in_jax.whole_step(task, B, in_jax.GRADIENTS[name], settings)
    held = [jax.random.key(0), jnp.asarray(start.V), jnp.asarray(start.A.T)]

    def jax_step(turn: int) -> None:
        held[:] = jax.block_until_ready(jitted(*held))

    contenders.append(Contender("jax", name, jax_step))
    return race(contenders, ROUNDS)


# -------------------------------------------------------------------------- growth and memory


def step_time(N: int, T: int, B: int, rounds: int = 9) -> float:
    transformer.compiled = lambda: None
    task = SparseContextualBigram.random(N, T, 2, np.random.default_rng(0))
    optimiser = ProximalGradient(batch_size=B, stage_change=False)
    stream, state = task.stream(np.random.default_rng(1)), None
    state, times = optimiser.start(LinearTransformer.initial(task)), []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        state = optimiser.update(state, stream.draw(B), task.mu)
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def growth() -> list[str]:
    lines = ["| what grows | at | milliseconds a step | exponent |", "|---|---|---|---|"]
    decades = [100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
    for what, at, values, make in (
        ("T", "N = 3, B = 64", decades[:5], lambda T: (3, T, 64)),
        ("T", "N = 3, B = 64", decades[4:], lambda T: (3, T, 64)),
        ("B", "N = 3, T = 5000", [16, 64, 256, 1024, 4096], lambda B: (3, 5000, B)),
        ("N", "T = 5000, B = 64", [2, 3, 5, 10, 30, 100], lambda N: (N, 5000, 64)),
        ("N", "T = 1000, B = 1024", [2, 3, 5, 10, 30, 100, 300, 1000], lambda N: (N, 1000, 1024)),
    ):
        times = [step_time(*make(value)) for value in values]
        slope = np.polyfit(np.log(values), np.log(times), 1)[0]
        shown = ", ".join(f"{1e3 * t:.3g}" for t in times)
        lines.append(
            f"| {what} | {what} = {values[0]} to {values[-1]}, {at} | {shown} | {slope:.2f} |"
        )
    return lines


def memory(N: int, T: int, B: int) -> tuple[float, float]:
    """Peak of a fresh process that takes one step, and its seconds."""
    command = [sys.executable, __file__, "--one-step", str(N), str(T), str(B)]
    peak, seconds = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.split()
    return float(peak), float(seconds)


def one_step(N: int, T: int, B: int) -> None:
    transformer.compiled = lambda: None
    task = SparseContextualBigram.random(N, T, 2, np.random.default_rng(0))
    optimiser = ProximalGradient(batch_size=B)
    state = optimiser.start(LinearTransformer.initial(task))
    start = time.perf_counter()
    optimiser.update(state, task.sample(B, np.random.default_rng(1)), task.mu)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (2**30 if sys.platform == "darwin" else 2**20), seconds)


# -------------------------------------------------------------------------------- the report


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


FAMILIES = {
    "bytes": "`Generator.bytes`",
    "ours": "scbtheory",
    "fast": "scbtheory with numba",
    "torch as written": "PyTorch, one-hot and autograd",
    "torch64": "PyTorch, best",
    "torch32": "PyTorch, best, single precision",
    "jax": "JAX, best, jitted",
}


def table(found: dict[tuple[int, int, int], dict[str, Contender]]) -> list[str]:
    families = [name for name in FAMILIES if any(name in best for best in found.values())]
    lines = ["| N, T, B | floor, ns a token | " + " | ".join(FAMILIES[f] for f in families) + " |"]
    lines.append("|---|---" + "|---" * len(families) + "|")
    for (N, T, B), best in found.items():
        floor = best["floor"].median
        cells = []
        for family in families:
            one = best[family]
            note = "" if family in ("bytes", "ours", "fast") else f" ({one.name})"
            cells.append(f"{one.median / floor:.1f}{note}")
        lines.append(f"| {N}, {T}, {B} | {1e9 * floor / B / T:.2f} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    begun = time.perf_counter()
    of_gradients, of_steps = {}, {}
    for size in SIZES:
        of_gradients[size] = gradients(*size)
        of_steps[size] = steps(*size, of_gradients[size])
        print(*table({size: of_gradients[size]})[2:], *table({size: of_steps[size]})[2:], sep="\n")
    grown = growth()
    print(*grown, sep="\n")
    held = []
    for N, T, B in ((3, 1_000_000, 1024), (3, 5000, 64), (27, 2000, 256)):
        peak, seconds = memory(N, T, B)
        held.append(f"| {N}, {T}, {B} | {B * T / 2**30:.3f} | {peak:.2f} | {seconds:.2f} |")
    print(*held, sep="\n")
    versions = {
        "scbtheory": scbtheory.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "PyTorch": torch.__version__,
        "JAX": jax.__version__,
        "numba": numba.__version__,
    }
    text = [
        "# How fast a training step is",
        "",
        "Made by `make bench`. Times are medians of calls that took turns in one process, as",
        "multiples of the floor: two random bytes a token from the same generator (`random_raw`).",
        "",
        f"{processor()}, {os.cpu_count()} cores; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "Threads: ours and the floor one; PyTorch one and two, the better counts; JAX all.",
        "Double precision unless said otherwise.",
        "",
        "## Both gradients, the batch being there",
        "",
        *table(of_gradients),
        "",
        "PyTorch and JAX get their tokens as the long integers they want, ours are bytes.",
        "",
        "## The whole step: draw a batch, both gradients, proximal update",
        "",
        *table(of_steps),
        "",
        "Ours is exact in law. The best of PyTorch and of JAX draw tokens from a table of 2**16",
        "cells and round the law to it; PyTorch as one writes it draws by `multinomial`.",
        "",
        "## Growth of our step",
        "",
        *grown,
        "",
        "## Memory of our step",
        "",
        "| N, T, B | batch, GiB | peak of the process, GiB | seconds |",
        "|---|---|---|---|",
        *held,
        "",
    ]
    RESULTS.write_text("\n".join(text), "utf-8")
    print(f"{time.perf_counter() - begun:.0f} s in all; written to {RESULTS.name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one-step", nargs=3, type=int, metavar=("N", "T", "B"))
    arguments = parser.parse_args()
    if arguments.one_step:
        one_step(*arguments.one_step)
    else:
        main()
