"""The same sweep on a Dask cluster: a scheduler and workers that are processes of their own.

In a process of its own with a time limit: a cluster that hangs must not take the tests with it.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs distributed"
)

CLUSTER = """
import errno, os, sys, time
import dask, joblib
from distributed import Client, KilledWorker, LocalCluster
from test_sweeps import GRID, limited, measure
from scbtheory.sweeps import sweep

def where(rng, step):
    return {"pid": os.getpid()}

def odd(rng, step):
    return {"x": 1} if step == 1 else {"y": 1}

def dies(rng, step):
    time.sleep(step)
    if step == 1:
        os._exit(1)
    return {"x": step}

def run(client, folder):
    arguments = {"seeds": 2, "root_seed": 1}
    alone = sweep(measure, GRID, **arguments)
    with joblib.parallel_config(backend="dask"):
        assert sweep(measure, GRID, **arguments) == alone
        assert sweep(measure, GRID, **arguments, paired=False) != alone

        table = sweep(limited, {"step": [0.02, 0.05, 0.03, 0.07]}, seeds=4, root_seed=0)
        assert {*table.column("threads")} == {1}, table.rows

        # The function of a script, which the workers cannot import.
        table = sweep(where, {"step": range(10)}, seeds=2, root_seed=0)
        assert {*table.column("pid")} == {*client.run(os.getpid).values()}, table.rows

        # A module that only the caller has: an error, where a cluster could wait for ever.
        import known_here
        try:
            sweep(known_here.run, {"step": [1, 2]}, seeds=2, root_seed=0)
        except ValueError as error:
            assert "expected one that workers can load, came ModuleNotFoundError" in str(error)
        else:
            raise AssertionError

        # The caller writes the cache; what one process began, the cluster ends.
        begun = sweep(measure, {"step": [0.1], "width": [1, None]}, **arguments, cache=folder)
        assert begun.cached == 0
        ended = sweep(measure, GRID, **arguments, cache=folder)
        assert (ended == alone, ended.cached) == (True, 4)
    assert sweep(measure, GRID, **arguments, cache=folder, repeat_failed=False).cached == 18

    with joblib.parallel_config(backend="dask"):
        try:
            sweep(odd, {"step": [1, 2, 3]}, seeds=4, root_seed=0)
        except ValueError as error:
            assert str(error).startswith("function: expected the columns"), error
        else:
            raise AssertionError

        def full(descriptor, sync=os.fsync, left=[None] * 3):
            if not left:
                raise OSError(errno.ENOSPC, "full")
            left.pop()
            sync(descriptor)

        sync, os.fsync = os.fsync, full
        try:
            sweep(measure, GRID, seeds=3, root_seed=2, cache=folder)
        except OSError as error:
            assert error.errno == errno.ENOSPC and "2 of 27 runs" in error.__notes__[0], error
        else:
            raise AssertionError
        os.fsync = sync

        # A run that kills its worker: an error, too, and what is finished is kept.
        try:
            sweep(dies, {"step": [0, 0.5, 1]}, seeds=1, root_seed=0, cache=folder)
        except KilledWorker as error:
            assert error.__notes__ == ["2 of 3 runs are in the cache"], error.__notes__
        else:
            raise AssertionError

if __name__ == "__main__":
    dask.config.set({"distributed.scheduler.allowed-failures": 0})  # one worker lost is enough
    with LocalCluster(
        n_workers=2,
        threads_per_worker=2,  # which share a process and what is set in it
        processes=True,
        protocol="tcp://",
        dashboard_address=None,
    ) as cluster, Client(cluster) as client:
        assert cluster.scheduler_address.startswith("tcp://")
        sys.path.insert(0, "here")
        client.wait_for_workers(2, timeout=30)
        assert os.getpid() not in client.run(os.getpid).values()
        run(client, sys.argv[1])
    print("the same")
"""


def test_a_cluster_makes_the_same_table(tmp_path):
    (tmp_path / "script.py").write_text(CLUSTER)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "known_here.py").write_text("def run(rng, step): return {'x': 1}")
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "error",
        "PYTHONPATH": str(Path(__file__).parent),
        "OPENBLAS_NUM_THREADS": "2",  # which the last digits must not show
    }
    done = subprocess.run(
        [sys.executable, "script.py", str(tmp_path / "cache")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr
