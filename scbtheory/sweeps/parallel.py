"""Where runs run: in the caller's process, in local ones, or where joblib has been told to."""

from __future__ import annotations

import contextlib
import pickle
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any

from scbtheory.sweeps.functions import short_name
from scbtheory.sweeps.runs import Outcome, Task, one_line

BLOCK = 4  # runs a worker is handed at once by a backend that cannot hand back one by one


class Parallel:
    """Runs in parallel: by the backend that the caller has chosen, or in local processes."""

    def __init__(self, joblib: Any, backend: Any, n_jobs: int | None, chosen: bool) -> None:
        self.joblib, self.backend, self.n_jobs, self.chosen = joblib, backend, n_jobs, chosen

    def packed(self, function: Callable[..., Any]) -> Callable[..., Any] | bytes:
        """The function as it is sent to where it is to run, or a ValueError if it cannot be."""
        if getattr(self.backend, "supports_sharedmem", False):
            return function
        sent: Any = function
        # multiprocessing sends functions by name only; all others know cloudpickle.
        if type(self.backend).__name__ != "MultiprocessingBackend":
            sent = self.joblib.wrap_non_picklable_objects(function, keep_wrapper=False)
        try:
            return pickle.dumps(sent)
        except Exception as error:
            raise ValueError(
                "function: expected one that can be sent to another process, such as one written "
                f"at the top of a module, came {short_name(function)}: {one_line(error)}"
            ) from error

    def outcomes(self, task: Task, runs: list[Any]) -> Generator[Outcome, None, None]:
        call = self.joblib.delayed(task.run)
        # Workers that each start as many BLAS threads as there are cores would slow each other.
        local = contextlib.nullcontext()
        if not self.chosen:
            local = self.joblib.parallel_config(backend="loky", inner_max_num_threads=1)
        # One run a message: a run that is finished is handed over, and kept, at once.
        settings = {"n_jobs": self.n_jobs, "batch_size": 1}
        with local, self._hearing_of_failures():
            if not self.backend.supports_return_generator:
                workers = max(1, self.joblib.effective_n_jobs(self.n_jobs))
                for start in range(0, len(runs), BLOCK * workers):
                    block = runs[start : start + BLOCK * workers]
                    yield from self.joblib.Parallel(**settings)(call(*run) for run in block)
                return
            finished = self.joblib.Parallel(**settings, return_as="generator_unordered")(
                call(*run) for run in runs
            )
            try:
                # Not yield from, which would close it where it warns of what it gives up.
                for outcome in finished:  # noqa: UP028
                    yield outcome
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    finished.close()

    @contextlib.contextmanager
    def _hearing_of_failures(self) -> Iterator[None]:
        """Raise what Dask says of a task that it gives up, such as one that kills its workers.

        joblib is told of results alone, and would wait for such a task for ever.
        """
        if type(self.backend).__name__ != "DaskDistributedBackend":
            yield
            return
        submit = self.backend.submit

        def heard(func: Any, callback: Callable[[object], None]) -> Any:
            def failed(done: Any) -> None:
                if done.exception() is not None:
                    callback(done.exception())  # joblib raises what comes as an exception

            future = submit(func, callback)
            future.add_done_callback(failed)
            return future

        self.backend.submit = heard
        try:
            yield
        finally:
            del self.backend.submit


def parallel_for(workers: int) -> Parallel | None:
    """What runs the runs, None for the caller's own process; without joblib if it can be."""
    if sys.modules.get("joblib"):  # or nobody can have chosen a backend of it
        import joblib
        from joblib.parallel import get_active_backend

        # A hint is followed only where nobody has chosen: two hints, one answer, a choice.
        threads, processes = (
            get_active_backend(prefer=hint)[0] for hint in ("threads", "processes")
        )
        if type(threads) is type(processes):
            backend, n_jobs = get_active_backend()
            # One job is what joblib takes where neither caller nor backend say how many.
            if n_jobs is None and backend.default_n_jobs == 1:
                n_jobs = workers
            return Parallel(joblib, backend, n_jobs, chosen=True)
    if workers == 1:
        return None
    try:
        import joblib
        from joblib.parallel import BACKENDS
    except ImportError as error:
        raise ImportError(
            f'workers={workers} needs joblib: pip install "scbtheory[sweeps]"'
        ) from error
    return Parallel(joblib, BACKENDS["loky"](nesting_level=0), workers, chosen=False)
