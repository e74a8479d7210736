"""How fast a training step is, and what it is held against.

    make bench        # about two minutes, after the installation

It writes speed.csv, growth.csv and memory.csv beside this file, which the book shows.
Everything is timed in one process, each contender in turn, over and over: medians of times that
were taken side by side. The unit is the *floor*: the time for two random bytes a token from the
same generator, without which no batch can be drawn.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
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

HERE = Path(__file__).parent
SIZES = [
    (3, 1000, 64),
    (3, 5000, 64),
    (10, 5000, 64),
    (50, 5000, 64),
    (27, 2000, 256),
    (3, 100_000, 16),
]
ROUNDS = 48
PATIENCE = 20.0  # seconds for one contender at one size: what is slow has fewer rounds
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
    def quartiles(self) -> list[float]:
        """Of the times, in milliseconds."""
        return [1e3 * float(t) for t in np.quantile(self.times, [0.25, 0.5, 0.75])]

    @property
    def median(self) -> float:
        return self.quartiles[1]


def race(contenders: list[Contender], rounds: int) -> dict[str, Contender]:
    """The fastest of each family, and of those on one thread, after rounds of taking turns."""
    for contender in contenders:
        contender.call(0)  # compiles, and fills what is kept
    for turn in range(rounds):
        for contender in contenders:
            contender.run(turn)
    best: dict[str, Contender] = {}
    for contender in sorted(contenders, key=lambda c: c.median):
        best.setdefault(contender.family, contender)
        if contender.name.endswith(", 1 thread"):
            best.setdefault(f"{contender.family}, one thread", contender)
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


GROWTH = {  # what grows: sizes (N, T, B)
    "T, short": [(3, T, 64) for T in (100, 300, 1000, 3000, 10_000)],
    "T, long": [(3, T, 64) for T in (10_000, 30_000, 100_000, 300_000, 1_000_000)],
    "B": [(3, 5000, B) for B in (16, 64, 256, 1024, 4096)],
    "N, short batch": [(N, 5000, 64) for N in (2, 3, 5, 10, 30, 100)],
    "N, long batch": [(N, 1000, 1024) for N in (2, 3, 5, 10, 30, 100, 300, 1000)],
}
HELD = [(3, 1_000_000, 1024), (3, 5000, 64), (27, 2000, 256)]


def memory(N: int, T: int, B: int) -> list[str]:
    """What a process that imports NumPy and scbtheory alone takes."""
    command = [sys.executable, HERE / "memory.py", *map(str, (N, T, B))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


# -------------------------------------------------------------------------------- the report


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


FAMILIES = {
    "floor": "random_raw, the floor",
    "bytes": "Generator.bytes",
    "ours": "scbtheory",
    "fast": "scbtheory with numba",
    "torch as written": "PyTorch, one-hot and autograd",
    "torch64": "PyTorch, best of ours",
    "torch64, one thread": "PyTorch, best of ours, one thread",
    "torch32": "PyTorch, best of ours, single precision",
    "jax": "JAX, best of ours, jitted",
}


def provenance() -> list[str]:
    versions = {
        "scbtheory": scbtheory.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "PyTorch": torch.__version__,
        "JAX": jax.__version__,
        "numba": numba.__version__,
    }
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return ["make bench", f"{processor()}, {os.cpu_count()} cores", named]


def save(name: str, header: list[str], rows: list[list[object]]) -> None:
    with (HERE / name).open("w", newline="") as file:
        file.writelines(f"# {line}\n" for line in provenance())
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main() -> None:
    begun = time.perf_counter()
    rows: list[list[object]] = []
    for N, T, B in SIZES:
        fastest = gradients(N, T, B)
        for what, found in (("gradients", fastest), ("step", steps(N, T, B, fastest))):
            for family, shown in FAMILIES.items():
                one = found[family]
                ratio = one.median / found["floor"].median
                rows.append([what, N, T, B, shown, one.name, *map("{:.4g}".format, one.quartiles)])
                print(f"{what} N={N} T={T} B={B}: {ratio:6.1f} floors, {shown} ({one.name})")
    save(
        "speed.csv",
        ["what", "N", "T", "B", "contender", "how", "lower_ms", "median_ms", "upper_ms"],
        rows,
    )

    rows = []
    for what, sizes in GROWTH.items():
        times = [1e3 * step_time(*size) for size in sizes]
        rows += [[what, *size, f"{t:.4g}"] for size, t in zip(sizes, times, strict=True)]
        column = "NTB".index(what[0])
        exponent = np.polyfit(np.log([size[column] for size in sizes]), np.log(times), 1)[0]
        print(f"{what}: the time grows with the power {exponent:.2f}")
    save("growth.csv", ["what", "N", "T", "B", "median_ms"], rows)

    rows = [[*size, *memory(*size)] for size in HELD]
    print(*rows, sep="\n")
    save("memory.csv", ["N", "T", "B", "before_MiB", "peak_MiB", "seconds"], rows)
    print(f"{time.perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
