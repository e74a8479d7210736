"""What a run finds in its process: the same everywhere, whatever the caller or a worker has set."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

import numpy as np


class _Process:
    """One BLAS thread, and warnings that are no errors, while at least one run is in the process.

    Both belong to the process, and runs may share it, as on a Dask worker with several threads: the
    first to come keeps what was set, and the last to go restores it. (A limit that another thread
    has set threadpoolctl leaves as it is: in a worker with threads it may outlast the sweep.)
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = 0
        self.before = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.runs == 0:
                self.before.enter_context(_one_thread())
                self.before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("default")
            self.runs += 1

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.runs -= 1
            if self.runs == 0:
                self.before.close()


def _one_thread() -> contextlib.AbstractContextManager[object]:
    """BLAS on one thread, where threadpoolctl is installed.

    On two threads BLAS adds up a long product in another order, so that the last digit of a result
    would depend on where it was computed. Local workers start with one thread; this is for the
    caller's own process and for workers that others have started.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(limits=1)


_process = _Process()


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """What runs are called in."""
    with _process, np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        yield
