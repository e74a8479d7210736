"""A sweep: the same table however it is run, stopped, resumed, damaged or watched."""

import contextlib
import errno
import functools
import importlib.util
import itertools
import json
import logging
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from scbtheory import Diverged
from scbtheory.sweeps import Table, generator, sweep
from scbtheory.sweeps.parallel import Parallel

GRID = {"step": [0.1, 0.3, 2.0], "width": [1, None, (2, 3.5)]}
posix = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs groups of processes")
CALLS = []
called = CALLS.append  # the list itself, a constant that changes, would be part of the source


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    return CALLS


def measure(rng, step, width):
    """A long sum of products, whose last digits tell how it was added up; some runs fail."""
    x = rng.standard_normal(20_000)
    if step == 2.0 and width is None:
        raise ArithmeticError(f"step {step}\nis too long for {object()}")
    return {
        "loss": step * float(x @ x),
        "kind": f"{width}",
        "count": np.int64((x > 0).sum()),
        "even": np.bool_(x[0] > 0),
        "rest": np.float32(math.nan if step == 2.0 else x[1]),
        "error": "too long" if step == 2.0 and width == 1 else "",
    }


def draw(rng, step):
    called(step)
    return {"x": step + rng.random()}


def raises(rng, step):
    called(step)
    if step == 2:
        raise RuntimeError("no memory")
    if step == 3:
        raise Diverged("an entry of V or A reached 1e+09")
    return {"x": 1.0, "error": "slow" if step == 4 else ""}


def threads(rng, step):
    return {name: os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}


def limited(rng, step):
    """On how many threads BLAS would run, after a while in which other runs end."""
    time.sleep(step)
    return {"threads": max(pool["num_threads"] for pool in threadpool_info())}


def without_seconds(table):
    return [{**row, "seconds": 0} for row in table.rows]


# ----------------------------------------------------------------------------------- the table


def test_one_row_a_run_in_the_order_of_the_grid():
    table = sweep(draw, {"step": [3.0, 1.0]}, seeds=2, root_seed=5)
    assert table.names == ("step", "seed", "x", "seconds", "error")
    assert [tuple(row) for row in table.rows] == [table.names] * 4
    assert [(row["step"], row["seed"]) for row in table.rows] == [(3, 0), (3, 1), (1, 0), (1, 1)]
    assert len(table) == 4 and not table.failed
    assert (table.column("seconds") > 0).all()


def test_settings_can_be_listed():
    points = [{"width": 2, "step": 0.5}, {"step": 0.1, "width": 7}]
    table = sweep(lambda rng, step, width: {"x": step * width}, points, seeds=1, root_seed=0)
    assert table.parameters == ("width", "step")
    assert table.column("x").tolist() == [1.0, 0.1 * 7]
    assert table.provenance["grid"] == points


def test_values_of_an_array_are_numbers():
    table = sweep(draw, {"step": np.array([1.0, 2.0])}, seeds=1, root_seed=0)
    assert [type(row["step"]) for row in table.rows] == [float, float]
    assert table == sweep(draw, {"step": [1.0, 2.0]}, seeds=1, root_seed=0)


def test_columns_have_the_type_of_their_values():
    table = sweep(measure, GRID, seeds=2, root_seed=0)
    kinds = {name: table.column(name).dtype.kind for name in table.names}
    assert kinds == {
        "step": "f", "width": "O", "seed": "i", "loss": "f", "kind": "U", "count": "f",
        "even": "f", "rest": "f", "seconds": "f", "error": "U",
    }  # fmt: skip
    raised = table.column("error") == "ArithmeticError: step 2.0 is too long for <object object>"
    assert raised.sum() == 2
    assert np.isnan(table.column("loss")).tolist() == raised.tolist()
    assert (table.column("kind")[raised] == "").all()
    whole = sweep(measure, {"step": [0.1], "width": [1]}, seeds=2, root_seed=0)
    assert [whole.column(name).dtype.kind for name in ("count", "even")] == ["i", "b"]
    with pytest.raises(ValueError, match=r"^name: expected one of step, .*, came 'V'$"):
        table.column("V")


def test_a_reason_that_a_run_reports_stands_beside_its_results():
    table = sweep(measure, GRID, seeds=1, root_seed=0)
    row = table.rows[6]
    assert row["error"] == "too long" and row["loss"] > 0
    assert table.failed == [row, table.rows[7]]


def test_tables_differ_by_the_last_bit_and_not_by_seconds():
    def table(x, seconds=1.0):
        row = {"step": 1, "seed": 0, "x": x, "seconds": seconds, "error": ""}
        return Table([row], ("step",), ("x",), {})

    assert table(math.nan) == table(math.nan, seconds=2.0)
    for x, y in [(0.0, -0.0), (1, 1.0), (1, True), (1.0, np.nextafter(1.0, 2).item()), ("", None)]:
        assert table(x) != table(y)
    assert table(1) != [1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(table(1))


values = st.one_of(
    st.floats(width=64), st.integers(), st.booleans(), st.text(), st.sampled_from(["# a: 1", "1"])
)


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(st.lists(st.tuples(values, values), min_size=1, max_size=4))
def test_a_saved_table_is_read_as_it_was(tmp_path_factory, cells):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    rows = [
        {"p": p, "seed": n, "x": x, "y": None, "seconds": 0.1, "error": "why"}
        for n, (p, x) in enumerate(cells)
    ]
    table = Table(rows, ("p",), ("x", "y"), {"root_seed": 0})
    table.save(path)
    read = Table.load(path)
    assert read == table
    assert [type(row["x"]) for row in read.rows] == [type(row["x"]) for row in rows]


def test_a_saved_table_says_how_it_was_made(tmp_path):
    table = sweep(measure, GRID, seeds=2, root_seed=10**30)
    table.save(tmp_path / "table.csv", command="make table")
    header = dict(
        line[2:].split(": ", 1)
        for line in (tmp_path / "table.csv").read_text("utf-8").splitlines()
        if line.startswith("# ")
    )
    header = {name: json.loads(value) for name, value in header.items()}
    version = ".".join(map(str, sys.version_info[:3]))
    assert header["made_with"] == [f"Python {version}, NumPy {np.__version__}, scbtheory 0.1.0"]
    assert header["function"] == f"{__name__}.measure"
    assert header["grid"] == {"step": [0.1, 0.3, 2.0], "width": [1, None, [2, 3.5]]}
    assert (header["seeds"], header["root_seed"], header["paired"]) == (2, 10**30, True)
    assert header["command"] == "make table" and len(header["date"]) == 10
    read = Table.load(tmp_path / "table.csv")
    assert read == table
    assert read.column("seconds").tolist() == table.column("seconds").tolist()
    assert read.provenance.items() >= table.provenance.items()
    assert read.repeat(measure, 0)["loss"] == table.rows[0]["loss"]
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "# parameters: [\n", "# parameters: []\na\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=r"^path: expected a table that Table\.save wrote, came"):
        Table.load(tmp_path / "x.csv")


# ----------------------------------------------------------------------------------- the seeds


def test_a_seed_index_shows_the_same_numbers_in_every_setting():
    x = sweep(draw, {"step": [1.0, 2.0]}, seeds=3, root_seed=9).column("x").reshape(2, 3)
    np.testing.assert_allclose(x[1] - x[0], 1, rtol=0, atol=1e-15)
    assert len({*(x[0] - 1)}) == 3


def test_unpaired_runs_are_all_independent():
    table = sweep(draw, {"step": [0.0, 1.0]}, seeds=3, root_seed=9, paired=False)
    assert len({*(table.column("x") % 1).round(12)}) == 6
    assert table.rows[4]["x"] == 1 + generator(9, 1, {"step": 1.0}).random()
    assert table.repeat(draw, 4) == {"x": table.rows[4]["x"]}


@pytest.mark.parametrize("paired", [True, False])
def test_a_run_does_not_depend_on_the_rest_of_the_grid(paired):
    def rows(*steps, seeds):
        table = sweep(draw, {"step": steps}, seeds=seeds, root_seed=4, paired=paired)
        return {(row["step"], row["seed"]): row["x"] for row in table.rows}

    few = rows(1.0, 2.0, seeds=2)
    assert few.items() <= rows(7.0, 2.0, 1.5, 1.0, seeds=5).items()
    listed = sweep(draw, [{"step": 2.0}], seeds=2, root_seed=4, paired=paired)
    assert [few[2.0, seed] for seed in range(2)] == listed.column("x").tolist()


def test_the_root_seed_changes_everything():
    x, y = (sweep(draw, {"step": [1.0]}, seeds=5, root_seed=r).column("x") for r in (1, 2))
    assert not {*x} & {*y}


def test_a_generator_is_the_one_that_its_documentation_says():
    for seed, child in enumerate(np.random.SeedSequence(3).spawn(4)):
        mine, theirs = generator(3, seed).bit_generator, np.random.PCG64(child)
        assert mine.state == theirs.state
    with pytest.raises(
        ValueError, match=r"^root_seed: expected an integer of at least 0, came -1$"
    ):
        generator(-1, 0)
    with pytest.raises(ValueError, match=r"^seed: expected an integer of at least 0, came 0\.5$"):
        generator(1, 0.5)
    with pytest.raises(ValueError, match=r"^parameters: expected a mapping, came 3$"):
        generator(1, 0, 3)


def test_a_row_can_be_repeated_alone():
    table = sweep(measure, GRID, seeds=2, root_seed=7)
    for number in (0, 3, 11):
        assert table.repeat(measure, number)["loss"] == table.rows[number]["loss"]
    with pytest.raises(ArithmeticError, match="is too long"):
        table.repeat(measure, 14)
    with pytest.raises(ValueError, match=r"^row: expected an integer of at least 0 and at most 17"):
        table.repeat(measure, 18)
    with pytest.raises(ValueError, match=r"^function: expected one that takes rng, step, width"):
        table.repeat(draw, 0)


# --------------------------------------------------------------------------------- where it runs


@pytest.fixture(scope="module")
def alone():
    return sweep(measure, GRID, seeds=2, root_seed=1)


@pytest.mark.parametrize("workers", [2, 3])
def test_local_processes_make_the_same_table(alone, workers):
    table = sweep(measure, GRID, seeds=2, root_seed=1, workers=workers)
    assert table == alone
    assert pickle.loads(pickle.dumps(table)) == alone


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_backend_of_the_callers_makes_the_same_table(alone, backend, n_jobs, monkeypatch):
    used = []
    parallel = Parallel.outcomes
    monkeypatch.setattr(
        Parallel,
        "outcomes",
        lambda self, *rest: used.append((self.backend, self.n_jobs)) or parallel(self, *rest),
    )
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        assert sweep(measure, GRID, seeds=2, root_seed=1, workers=2) == alone
    ((used_backend, used_jobs),) = used
    assert type(used_backend).__name__.lower() == f"{backend}backend"
    assert used_jobs == 2


def test_outside_of_a_context_a_single_worker_is_the_callers_process():
    table = sweep(lambda rng, step: {"pid": os.getpid()}, {"step": [1]}, seeds=2, root_seed=0)
    assert {*table.column("pid")} == {os.getpid()}


def test_workers_are_other_processes_with_one_thread_for_blas(monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    table = sweep(threads, {"step": [1, 2]}, seeds=2, root_seed=0, workers=2)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        assert {*table.column(name)} == {"1"}


def test_threads_of_blas_leave_no_trace():
    """Without the limits, two BLAS threads of the caller would show in the last digits."""
    code = """if True:
        import joblib
        from threadpoolctl import threadpool_info
        from test_sweeps import GRID, limited, measure
        from scbtheory.sweeps import sweep
        before = threadpool_info()
        alone = sweep(measure, GRID, seeds=2, root_seed=1)
        assert threadpool_info() == before
        assert sweep(measure, GRID, seeds=2, root_seed=1, workers=2) == alone
        with joblib.parallel_config(backend="threading", n_jobs=2):
            assert sweep(measure, GRID, seeds=2, root_seed=1) == alone
            # Runs that share a process and do not end together.
            table = sweep(limited, {"step": [0.02, 0.05, 0.03, 0.07]}, seeds=2, root_seed=1)
        assert {*table.column("threads")} == {1}
        assert threadpool_info() == before
    """
    threads = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    environment = {**os.environ, **threads, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


def test_what_the_caller_has_set_does_not_reach_a_run():
    def divide(rng, step):
        with np.errstate(divide="ignore"):
            return {"x": 1 / np.float64(0), "y": np.float64(1e-300) * 1e-300}

    with np.errstate(all="raise"):
        (row,) = sweep(divide, {"step": [1]}, seeds=1, root_seed=0).rows
    assert (row["x"], row["y"], row["error"]) == (math.inf, 0.0, "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_warning_ends_no_run_whatever_the_caller_makes_of_warnings(workers):
    def overflows(rng, step):
        warnings.warn("careful", UserWarning, stacklevel=1)
        return {"x": np.float64(1e300) * 1e300}

    with warnings.catch_warnings():
        warnings.showwarning = lambda *told: None
        warnings.simplefilter("error")
        before = warnings.filters[:]
        table = sweep(overflows, {"step": [1, 2]}, seeds=2, root_seed=0, workers=workers)
        assert warnings.filters == before
    assert table.column("x").tolist() == [math.inf] * 4 and not table.failed


def test_functions_that_pickle_does_not_know_can_be_sent_to_local_workers():
    grid, factor = {"step": [1.0, 2.0]}, 3
    table = sweep(lambda rng, step: {"x": factor * step}, grid, seeds=1, root_seed=0, workers=2)
    assert table.column("x").tolist() == [3, 6]


def test_a_function_that_cannot_be_sent_is_refused_before_any_run():
    lock = threading.Lock()

    def locked(rng, step):
        with lock:
            return draw(rng, step)

    message = "^function: expected one that can be sent to another process, .*, came .*locked: "
    with pytest.raises(ValueError, match=message + ".*lock"):
        sweep(locked, {"step": [1]}, seeds=2, root_seed=0, workers=2)
    with (
        joblib.parallel_config(backend="multiprocessing", n_jobs=2),
        pytest.raises(ValueError, match=r"^function: expected one that can be sent .*<lambda>: "),
    ):
        sweep(lambda rng, step: {"x": 1}, {"step": [1]}, seeds=2, root_seed=0)
    assert len(sweep(locked, {"step": [1]}, seeds=2, root_seed=0)) == 2


def test_a_worker_that_dies_ends_the_sweep_and_no_finished_run_is_lost(tmp_path):
    def dies(rng, step):
        if step == 3:
            time.sleep(0.3)
            os._exit(1)
        return {"x": step}

    with pytest.raises(joblib.externals.loky.process_executor.TerminatedWorkerError) as caught:
        sweep(dies, {"step": [0, 1, 3]}, seeds=1, root_seed=0, workers=2, cache=tmp_path)
    assert caught.value.__notes__ == ["2 of 3 runs are in the cache"]
    assert sweep(dies, {"step": [0, 1]}, seeds=1, root_seed=0, cache=tmp_path).cached == 2


def test_one_process_needs_numpy_alone():
    code = """if True:
        import sys
        missing = ("joblib", "tqdm", "threadpoolctl", "distributed", "ray", "pandas")
        sys.modules.update(dict.fromkeys(missing))
        from scbtheory.sweeps import sweep
        run = lambda rng, step: {"x": rng.random()}
        assert len(sweep(run, {"step": [1, 2]}, seeds=2, root_seed=0)) == 4
        try:
            sweep(run, {"step": [1, 2]}, seeds=2, root_seed=0, workers=2)
        except ImportError as error:
            assert str(error) == 'workers=2 needs joblib: pip install "scbtheory[sweeps]"', error
        else:
            raise AssertionError
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ----------------------------------------------------------------------------- what runs return


def test_no_failure_ends_a_sweep():
    def run(rng, step):
        if step == 1:
            raise SystemExit(3)
        if step == 2:
            raise Diverged("an entry\nof V \x00 reached 1e+09")
        if step == 3:
            raise KeyError
        return {"x": step, "error": {0: "", 4: "slow", 5: 1, 6: None}[step]}

    steps = {"step": [*range(5), 6]}
    table = sweep(run, steps, seeds=1, root_seed=0)
    assert table.column("error").tolist() == [
        "",
        "SystemExit: 3",
        r"Diverged: an entry of V \x00 reached 1e+09",
        "KeyError",
        "slow",
        "",
    ]
    assert [row["x"] for row in table.rows] == [0, None, None, None, 4, 6]
    with pytest.raises(
        ValueError, match=r"^function: expected a string or None as 'error', came 1"
    ):
        sweep(run, {"step": [5]}, seeds=1, root_seed=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_that_cannot_say_what_it_is_has_a_name(workers):
    class Unnamed(Exception):
        def __str__(self):
            raise RuntimeError

    def fails(rng, step):
        raise Unnamed

    table = sweep(fails, {"step": [1]}, seeds=2, root_seed=0, workers=workers)
    assert table.column("error").tolist() == ["Unnamed"] * 2


def test_columns_of_a_sweep_without_any_result():
    def fails(rng, step):
        raise OSError

    assert sweep(fails, {"step": [1]}, seeds=2, root_seed=0).columns == ()
    table = sweep(fails, {"step": [1]}, seeds=2, root_seed=0, columns=["y", "x"])
    assert table.columns == ("y", "x")
    assert np.isnan(table.column("x")).all()


def test_declared_columns_have_the_order_declared():
    run = lambda rng, step: {"x": 1, "y": 2}  # noqa: E731
    assert sweep(run, {"step": [1]}, seeds=1, root_seed=0).columns == ("x", "y")
    table = sweep(run, {"step": [1]}, seeds=1, root_seed=0, columns=("y", "x"))
    assert table.columns == ("y", "x") and [*table.rows[0]][2:4] == ["y", "x"]


FLAT = "expected a flat mapping of names to numbers, strings or booleans, came"
RUN = "in the run step=2, seed=0"


@pytest.mark.parametrize(
    ("second", "columns", "message"),
    [
        ({"y": 1}, None, f"expected the columns x of the run step=1, seed=0, came y {RUN}"),
        ({"x": 1, "y": 1}, None, f"expected the columns x of .*, came x, y {RUN}"),
        ({}, None, f"expected the columns x of .*, came none {RUN}"),
        ({"y": 1, "error": "odd"}, None, f"expected the columns x of .*, came y {RUN}"),
        ({"y": 1}, ["x"], f"expected the columns x of columns, came y {RUN}"),
        (
            {"x": "1"},
            None,
            "expected a number in the column x as in the run step=1, seed=0, "
            "came '1' in the run step=2, seed=0",
        ),
        ({"x": True}, None, f"expected a number in the column x .*, came True {RUN}"),
        ({"x": [1]}, None, f"{FLAT} 'x': list {RUN}"),
        ({"x": np.ones(1)}, None, f"{FLAT} 'x': ndarray {RUN}"),
        ({"x": None}, None, f"{FLAT} 'x': NoneType {RUN}"),
        ({"x": 1j}, None, f"{FLAT} 'x': complex {RUN}"),
        ({1: 1}, None, f"{FLAT} the name 1 {RUN}"),
        (1.0, None, f"{FLAT} float {RUN}"),
    ],
)
def test_what_is_returned_must_be_what_was_declared(second, columns, message, tmp_path):
    def run(rng, step):
        return {"x": 1.5} if step == 1 else second

    with pytest.raises(ValueError, match=f"^function: {message}\n1 of 2 runs are in the cache$"):
        sweep(
            run, {"step": [1, 2]}, seeds=1, root_seed=0, columns=columns, cache=tmp_path, version=""
        )
    assert len(os.listdir(tmp_path)) == 1  # the first run


@pytest.mark.parametrize("name", ["step", "seed", "seconds", "rng", "x\n"])
def test_columns_must_not_take_the_names_of_others(name):
    with pytest.raises(ValueError, match=r"^function: expected columns with names other than"):
        sweep(lambda rng, step: {name: 1}, {"step": [1]}, seeds=1, root_seed=0)
    with pytest.raises(ValueError, match=r"^columns: expected names"):
        sweep(draw, {"step": [1]}, seeds=1, root_seed=0, columns=["x", name])


def test_an_integer_and_a_float_are_both_numbers():
    run = lambda rng, step: {"x": step}  # noqa: E731
    assert sweep(run, {"step": [1, 2.5]}, seeds=1, root_seed=0).column("x").tolist() == [1.0, 2.5]


# ----------------------------------------------------------------------------------- bad input


def takes_more(rng, step, more):
    return {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {}}, "grid: expected at least one parameter, came none"),
        ({"grid": []}, "grid: expected at least one setting, came none"),
        ({"grid": "step"}, "grid: expected a mapping of names to sequences of values, or .*'step'"),
        ({"grid": 3}, "grid: expected a mapping .*, came 3"),
        ({"grid": {"step": []}}, r"grid\['step'\]: expected at least one value, came none"),
        ({"grid": {"step": "ab"}}, r"grid\['step'\]: expected a sequence of values, came 'ab'"),
        ({"grid": {"step": 1.0}}, r"grid\['step'\]: expected a sequence of values, came 1\.0"),
        (
            {"grid": {"step": np.array(1)}},
            r"grid\['step'\]: expected a sequence .*, came array\(1\)",
        ),
        ({"grid": np.array(1)}, r"grid: expected a mapping .*, came array\(1\)"),
        ({"grid": {"step": {1}}}, r"grid\['step'\]: expected a sequence of values, came \{1\}"),
        ({"grid": {"step": [[1]]}}, r"grid\['step'\]: expected numbers, strings, .*, came \[1\]"),
        ({"grid": {"step": [(1, {})]}}, r"grid\['step'\]: expected numbers, .*, came \{\}"),
        ({"grid": {"step": [1j]}}, r"grid\['step'\]: expected numbers, .*, came 1j"),
        ({"grid": {"step": [math.nan]}}, r"grid\['step'\]: expected values that equal themselves"),
        ({"grid": {"step": [1, 2, 1]}}, r"grid\['step'\]: expected values that differ, came 1 twi"),
        ({"grid": {"step": [1, 1.0]}}, r"grid\['step'\]: expected values that differ, came 1\.0 t"),
        ({"grid": {"seed": [1]}}, "grid: expected names other than rng, seed, .*, came 'seed'"),
        ({"grid": {"rng": [1]}}, "grid: expected names other than .*, came 'rng'"),
        ({"grid": {"seconds": [1]}}, "grid: expected names other than .*, came 'seconds'"),
        ({"grid": [{"error": 1}]}, "grid: expected names other than .*, came 'error'"),
        ({"grid": {1: [1]}}, "grid: expected names of arguments, came 1"),
        ({"grid": {"a b": [1]}}, "grid: expected names of arguments, came 'a b'"),
        ({"grid": [{"step": 1}, {"width": 1}]}, r"grid\[1\]: expected the parameters of the first"),
        ({"grid": [{"step": 1}, {"step": 1}]}, r"grid\[1\]: expected .* came step=1 as in grid\[0"),
        ({"grid": [{"step": 1}, 2]}, r"grid\[1\]: expected a mapping of names to values, came 2"),
        ({"seeds": 0}, "seeds: expected an integer of at least 1, came 0"),
        ({"seeds": 2.0}, r"seeds: expected an integer of at least 1, came 2\.0"),
        ({"seeds": True}, "seeds: expected an integer of at least 1, came True"),
        ({"root_seed": -1}, "root_seed: expected an integer of at least 0, came -1"),
        ({"root_seed": None}, "root_seed: expected an integer of at least 0, came None"),
        ({"workers": 0}, "workers: expected an integer of at least 1, came 0"),
        ({"paired": 1}, "paired: expected True or False, came 1"),
        ({"repeat_failed": "no"}, "repeat_failed: expected True or False, came 'no'"),
        ({"columns": "x"}, "columns: expected a sequence of different names, came 'x'"),
        ({"columns": 3}, "columns: expected a sequence of different names, came 3"),
        ({"columns": {"x", "y"}}, "columns: expected a sequence of different names"),
        ({"columns": []}, "columns: expected a sequence of different names"),
        ({"columns": ["x", "x"]}, "columns: expected a sequence of different names"),
        ({"columns": [1]}, "columns: expected names, came 1"),
        ({"function": 3}, "function: expected a function, came 3"),
        ({"function": min}, "function: expected a function with a signature, came <built-in"),
        (
            {"function": takes_more},
            r"function: expected one that takes rng, step, came takes_more\(rng, step, more\): "
            "missing a required argument: 'more'",
        ),
        (
            {"grid": {"step": [1], "width": [1]}},
            r"function: expected one that takes rng, step, width, came draw\(rng, step\): "
            "got an unexpected keyword argument 'width'",
        ),
        ({"function": lambda step: {}}, "function: expected one that takes rng, step, came"),
        ({"cache": 3}, "cache: expected a folder, came 3"),
    ],
)
def test_bad_input_is_refused_by_name_before_any_run(changes, message):
    arguments = {"function": draw, "grid": {"step": [1, 2]}, "seeds": 1, "root_seed": 0} | changes
    function, grid = arguments.pop("function"), arguments.pop("grid")
    with pytest.raises(ValueError, match=f"^{message}"):
        sweep(function, grid, **arguments)
    assert CALLS == []


@pytest.mark.parametrize(
    "function",
    [
        lambda rng, step: {"x": rng.random()},
        lambda *, step, rng: {"x": rng.random()},
        lambda generator, step: {"x": generator.random()},
        lambda generator, /, step: {"x": generator.random()},
        lambda generator, **rest: {"x": generator.random()},
        lambda **all: {"x": all["rng"].random()},
    ],
)
def test_the_generator_is_called_rng_or_comes_first(function):
    (row,) = sweep(function, {"step": [1]}, seeds=1, root_seed=0).rows
    assert row["x"] == generator(0, 0).random()


# ----------------------------------------------------------------------------------- the cache


def test_a_resumed_sweep_repeats_no_finished_run(tmp_path):
    cache = tmp_path / "a" / "new" / "folder"
    first = sweep(draw, {"step": [1, 2]}, seeds=2, root_seed=0, cache=cache)
    assert (len(CALLS), first.cached, len(os.listdir(cache))) == (4, 0, 4)
    more = sweep(draw, {"step": [2, 3, 1]}, seeds=3, root_seed=0, cache=cache)
    assert (len(CALLS), more.cached) == (9, 4)
    assert more == sweep(draw, {"step": [2, 3, 1]}, seeds=3, root_seed=0)
    again = sweep(draw, {"step": [1, 2]}, seeds=2, root_seed=0, cache=cache)
    assert again.rows == first.rows  # the seconds too


@pytest.mark.parametrize("workers", [1, 2])
def test_what_comes_out_of_the_cache_is_what_went_in(tmp_path, workers):
    extremes = [math.inf, -0.0, 5e-324, 0.1 + 0.2, 10**40, True, "é\n\0\ud800", "", None, ((), 1)]

    def echo(rng, value, other):
        return {"number": float(str(other)), "whole": 3 * 10**30, "text": str(value), "ok": False}

    grid = {"value": extremes, "other": ["nan", "-inf", "-0.0", "5e-324", "0.30000000000000004"]}
    fresh = sweep(echo, grid, seeds=1, root_seed=0)
    for cached in (0, 50):
        table = sweep(echo, grid, seeds=1, root_seed=0, cache=tmp_path, workers=workers)
        assert table == fresh and table.cached == cached
    assert repr(without_seconds(table)) == repr(without_seconds(fresh))
    table.save(tmp_path / "table.csv")
    assert repr(Table.load(tmp_path / "table.csv").rows) == repr(table.rows)


@pytest.mark.parametrize(
    "other",
    [{"root_seed": 1}, {"paired": False}, {"grid": {"step": [1.0]}}, {"version": "2"}, {}],
    ids=str,
)
def test_a_run_is_known_by_all_that_determines_it(tmp_path, other, monkeypatch):
    sweep(draw, {"step": [1]}, seeds=1, root_seed=0, cache=tmp_path)
    if not other:
        monkeypatch.setattr("scbtheory.__version__", "0.2.0")
    arguments = {"grid": {"step": [1]}, "root_seed": 0} | other
    assert sweep(draw, seeds=1, cache=tmp_path, **arguments).cached == 0
    assert len(os.listdir(tmp_path)) == 2


MODULE = """
import math
from dataclasses import dataclass
from functools import lru_cache
import numpy as np

@dataclass
class Optimiser:
    step: float
    def slope(self):
        return self.step

def helper(x):
    return inner(x) + 1

@lru_cache
def inner(x):
    return x

SCALE = 2.0
NAMES = {"a", "b"}
TABLE = {"one": (Optimiser(0.5), 1)}
P = np.arange(2000)
FACTOR = 3
UNUSED = 1

def run(rng, step, factor=FACTOR):
    '''What is run.'''
    optimiser = TABLE["one"][0]
    values = [SCALE * helper(value) for value in P]
    return {"x": step * values[1000] * len(NAMES) * optimiser.slope() * Optimiser(1).slope()}

def made(value):
    def local(rng, step):
        return {"x": np.sum(value) * step}
    return local

local = made(3.0)
opaque = made(iter(()))
array = made(np.arange(3))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    def load(text):
        path = tmp_path / f"{len(os.listdir(tmp_path))}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("experiment", path)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "experiment", loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("UNUSED = 1", "UNUSED = 2", True),
        ("import math", "import math, cmath", True),
        ('"a", "b"', '"b", "a"', True),
        ("What is run", "What runs", False),
        ("SCALE = 2.0", "SCALE = 2.5", False),
        ('"a", "b"', '"a", "c"', False),
        ("return x\n", "return x * 1\n", False),
        ("inner(x) + 1", "inner(x) + 2", False),
        ("return self.step", "return 2 * self.step", False),
        ("Optimiser(0.5)", "Optimiser(0.6)", False),
        ("np.arange(2000)", "np.arange(2000) + (np.arange(2000) == 1000)", False),
        ("FACTOR = 3", "FACTOR = 4", False),
    ],
)
def test_a_changed_function_is_run_again(tmp_path, module, old, new, same):
    assert old in MODULE
    arguments = {"seeds": 1, "root_seed": 0, "cache": tmp_path / "cache"}
    assert sweep(module(MODULE).run, {"step": [1]}, **arguments).cached == 0
    changed = module(MODULE.replace(old, new))
    assert sweep(changed.run, {"step": [1]}, **arguments).cached == same


def test_a_version_stands_for_the_source(tmp_path, module):
    arguments = {"seeds": 1, "root_seed": 0, "cache": tmp_path / "cache"}
    assert sweep(module(MODULE).run, {"step": [1]}, **arguments, version="a").cached == 0
    changed = module(MODULE.replace("SCALE = 2.0", "SCALE = 2.5"))
    assert sweep(changed.run, {"step": [1]}, **arguments, version="a").cached == 1
    assert sweep(changed.run, {"step": [1]}, **arguments, version="b").cached == 0


def test_what_a_function_encloses_belongs_to_it(tmp_path, module):
    arguments = {"seeds": 1, "root_seed": 0, "cache": tmp_path / "cache"}
    one, two = module(MODULE), module(MODULE.replace("made(3.0)", "made(4.0)"))
    for function, cached in ((one.local, 0), (two.local, 0), (one.local, 1), (one.array, 0)):
        assert sweep(function, {"step": [1]}, **arguments).cached == cached
    message = r"^version: expected a string, since the cache cannot tell what value in made\.<local"
    with pytest.raises(ValueError, match=message):
        sweep(one.opaque, {"step": [1]}, **arguments)


def test_a_function_without_source_needs_a_version(tmp_path):
    names = {}
    exec("def run(rng, step): return {'x': step}", names)
    arguments = {"seeds": 1, "root_seed": 0, "cache": tmp_path}
    for function in (names["run"], functools.partial(draw, step=1)):
        with pytest.raises(
            ValueError, match=r"^version: expected a string, since the cache cannot"
        ):
            sweep(function, {"step": [1]}, **arguments)
    assert sweep(names["run"], {"step": [1]}, **arguments, version="1").cached == 0
    with pytest.raises(ValueError, match=r"^version: expected a string, came 1$"):
        sweep(names["run"], {"step": [1]}, **arguments, version=1)


def test_runs_that_raised_are_repeated_unless_they_are_to_be_kept(tmp_path):
    grid, arguments = {"step": [1, 2, 3, 4]}, {"seeds": 1, "root_seed": 0, "cache": tmp_path}
    first = sweep(raises, grid, **arguments)
    assert len(first.failed) == 3
    CALLS.clear()
    assert sweep(raises, grid, **arguments) == first
    assert CALLS == [2]  # a run that said itself what was wrong would say the same again
    kept = sweep(raises, grid, **arguments, repeat_failed=False)
    assert kept == first and CALLS == [2] and kept.cached == 4


def test_the_trace_of_a_failure_is_in_its_file(tmp_path):
    sweep(raises, {"step": [2]}, seeds=1, root_seed=0, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    assert (
        'raise RuntimeError("no memory")'
        in json.loads(file.read_text())["run"]["record"]["traceback"]
    )


def flip(text):
    return text.replace('"x": 1.', '"x": 2.')


DAMAGE = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "another digit": flip,
    "zeros": lambda text: "\0" * len(text),
    "no text": lambda text: b"\xff\xfe",
    "other JSON": lambda text: "[1, 2]",
    "null": lambda text: '{"run": null, "sha256": null}',
    "nested": lambda text: "[" * 100_000,
    "of another sweep": lambda text: None,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_noticed_and_its_run_repeated(tmp_path, damage, caplog):
    arguments = {"seeds": 3, "root_seed": 0, "cache": tmp_path}
    first = sweep(draw, {"step": [1]}, **arguments)
    one, other = sorted(tmp_path.iterdir())[:2]
    damaged = damage(one.read_text())
    if damaged is None:
        damaged = other.read_text()
    one.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    CALLS.clear()
    with caplog.at_level(logging.WARNING):
        again = sweep(draw, {"step": [1]}, **arguments)
    assert again == first
    assert (again.cached, again.damaged, len(CALLS)) == (2, 1, 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"cache: 1 damaged files in {tmp_path}, whose runs are repeated"
    ]
    assert sweep(draw, {"step": [1]}, **arguments).damaged == 0


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    sweep(draw, {"step": [1]}, seeds=1, root_seed=0, cache=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(os.listdir(tmp_path)) == 2


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"cache: expected a folder to write to, came .*file"):
            sweep(draw, {"step": [1]}, seeds=1, root_seed=0, cache=path)
    assert CALLS == []


def disk_full_after(monkeypatch, files):
    """No room for more than so many files, the probe among them."""
    count, sync = itertools.count(), os.fsync

    def fsync(descriptor):
        if next(count) >= files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_is_noticed_before_any_run(tmp_path, monkeypatch):
    disk_full_after(monkeypatch, 0)
    with pytest.raises(OSError, match=r"cache: expected a folder to write to.*No space") as caught:
        sweep(draw, {"step": [1]}, seeds=1, root_seed=0, cache=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert CALLS == [] and os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs permissions of POSIX")
def test_a_folder_without_permission_is_refused():
    root = os.geteuid() == 0
    # Not in tmp_path, which nobody but its owner can look into.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        if root:
            os.seteuid(65534)  # root may write anywhere, so be somebody else for a moment
        try:
            with pytest.raises(PermissionError, match="cache: expected a folder to write to"):
                sweep(draw, {"step": [1]}, seeds=1, root_seed=0, cache=folder, version="1")
        finally:
            if root:
                os.seteuid(0)
    assert CALLS == []


FULL = """
import errno, os, sys
from scbtheory.sweeps import sweep

folder = sys.argv[1]
arguments = {"seeds": 8, "root_seed": 0, "version": "1"}
ran = []

def run(rng, step):
    ran.append(step)
    return {"x": step + rng.random()}

def refused():
    try:
        sweep(run, {"step": [1, 2]}, **arguments, cache=folder)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        assert str(error).endswith(f"came {folder!r}: No space left on device"), error
        return getattr(error, "__notes__", [])
    raise AssertionError

with open("filler", "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
assert (refused(), ran, os.listdir(folder)) == ([], [], [])

os.truncate("filler", os.path.getsize("filler") - 5 * os.sysconf("SC_PAGESIZE"))
notes, kept = refused(), os.listdir(folder)
assert 0 < len(kept) < 16 and all(name.endswith(".json") for name in kept), kept
assert notes == [f"{len(kept)} of 16 runs are in the cache"], notes
assert len(ran) == len(kept) + 1

os.remove("filler")
table = sweep(run, {"step": [1, 2]}, **arguments, cache=folder)
assert (table.cached, table.damaged) == (len(kept), 0)
assert table == sweep(run, {"step": [1, 2]}, **arguments)
"""


def test_a_disk_that_is_really_full(tmp_path):
    """A small file system of its own, where the system lets a test mount one."""
    (tmp_path / "full.py").write_text(FULL)
    (tmp_path / "disk").mkdir()
    mount = 'mount -t tmpfs -o size=512k tmpfs disk && mkdir disk/cache && cd disk && exec "$@"'

    def there(*command):
        return subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    if shutil.which("unshare") is None or there("true").returncode:
        pytest.skip("no file system can be mounted here")
    done = there(sys.executable, "../full.py", "cache")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_stops_the_sweep_and_loses_no_finished_run(
    tmp_path, monkeypatch, workers
):
    arguments = {"seeds": 8, "root_seed": 0, "cache": tmp_path}
    with monkeypatch.context() as patch:
        disk_full_after(patch, 4)
        with pytest.raises(OSError, match=r"cache: expected a folder to write to.*No spac") as full:
            sweep(draw, {"step": [1]}, **arguments, workers=workers)
    assert full.value.__notes__ == ["3 of 8 runs are in the cache"]
    assert len(os.listdir(tmp_path)) == 3  # and nothing half written
    table = sweep(draw, {"step": [1]}, **arguments)
    assert table.cached == 3
    assert table == sweep(draw, {"step": [1]}, seeds=8, root_seed=0)


# ----------------------------------------------------------------------------- stopped, or two


SCRIPT = """
import os, sys, time
from scbtheory.sweeps import sweep

cache, log, table, workers = sys.argv[1:]

def run(rng, step):
    x = rng.random()
    time.sleep(0.01)
    with open(log, "a") as file:
        file.write(f"{step} {x!r}\\n")
    return {"x": x + step}

if __name__ == "__main__":
    found = sweep(
        run, {"step": [1, 2]}, seeds=30, root_seed=3,
        cache=cache if cache != "none" else None, version="1", workers=int(workers),
    )
    found.save(table)
    print(found.cached)
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    started = []

    def start(cache, name, workers=1):
        log, table = tmp_path / f"{name}.log", tmp_path / f"{name}.csv"
        process = subprocess.Popen(
            [sys.executable, "script.py", str(cache), str(log), str(table), str(workers)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers too: orphans idle for minutes
        process.communicate(timeout=30)


def finish(process):
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return int(output)


def files(cache):
    return sorted(path.name for path in cache.glob("*.json")) if cache.exists() else []


@posix
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_was_killed_goes_on_where_it_was(tmp_path, command, sent, workers):
    cache = tmp_path / "cache"
    whole = command("none", "whole")
    done = 0
    for attempt in ("first", "second"):
        process = command(cache, attempt, workers)
        deadline = time.monotonic() + 30
        while len(files(cache)) < done + 8:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.002)
        # A terminal sends an interrupt to the workers too; kill -9 hits the process alone.
        (os.killpg if sent == signal.SIGINT else os.kill)(process.pid, sent)
        process.wait(timeout=30)
        assert process.returncode != 0
        done = len(files(cache))
        assert done < 60
    assert finish(command(cache, "last", workers)) == done
    assert len((tmp_path / "last.log").read_text().splitlines()) == 60 - done
    finish(whole)
    assert Table.load(tmp_path / "last.csv") == Table.load(tmp_path / "whole.csv")
    assert len(files(cache)) == 60


@posix
def test_two_sweeps_on_one_folder_do_no_harm(tmp_path, command):
    cache = tmp_path / "cache"
    both = [command(cache, name) for name in ("one", "two")]
    for process in both:
        finish(process)
    assert Table.load(tmp_path / "one.csv") == Table.load(tmp_path / "two.csv")
    assert len(os.listdir(cache)) == 60
    assert finish(command(cache, "three")) == 60


# ------------------------------------------------------------------------------- the progress bar


def test_the_bar_counts_runs_and_knows_what_was_there(tmp_path, capsys):
    sweep(draw, {"step": [1]}, seeds=2, root_seed=0, cache=tmp_path)
    assert capsys.readouterr().err == ""
    sweep(draw, {"step": [1]}, seeds=5, root_seed=0, cache=tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "40%" in shown and "2/5 [" in shown  # the first line: what the cache held
    assert "5/5 [" in shown and "runs" in shown
    assert re.search(r"2/5 \[00:00<", shown)  # the time spent, and the time left


def test_the_bar_names_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"^progress=True needs tqdm: pip install tqdm$"):
        sweep(draw, {"step": [1]}, seeds=1, root_seed=0, progress=True)
    assert CALLS == []
