"""Sweeps: one function run for every setting of a grid and every seed, as one table.

A sweep can be stopped at any moment and goes on where it was, and its table does not depend on
how many processes, or which machines, made it. It needs NumPy; more than one process needs
joblib, a progress bar tqdm: ``pip install "scbtheory[sweeps]"``.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import errno
import functools
import hashlib
import inspect
import io
import itertools
import json
import logging
import math
import os
import pickle
import platform
import re
import sys
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import scbtheory
from scbtheory._arguments import integer
from scbtheory._progress import progress_bar
from scbtheory.training import Diverged

__all__ = ["Table", "generator", "sweep"]

Setting = dict[str, Any]  # the parameters of a run, by name
Record = dict[str, Any]  # what is known of a finished run, as its file holds it

Outcome = tuple[int, Record | str]  # the number of a run, and its record or what is wrong with it
Outcomes = Generator[Outcome, None, None]

RESERVED = ("rng", "seed", "seconds", "error")
RECORD = {"results", "error", "raised", "traceback", "seconds", "made_with"}
LONGEST = 1000  # characters of an error that a row keeps
BLOCK = 4  # runs a worker is handed at once by a backend that cannot hand back one by one
KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
logger = logging.getLogger(__name__)


# ----------------------------------------------------------------------------------- the runs


def generator(
    root_seed: int, seed: int, parameters: Mapping[str, Any] | None = None
) -> np.random.Generator:
    """The generator of one run, a function of these arguments and of nothing else.

    Parameters
    ----------
    root_seed : int
        The root of all randomness of a sweep, at least zero.
    seed : int
        The seed index of the run, at least zero.
    parameters : mapping, optional
        The parameters of the run, if runs of one seed index are to be independent of each other
        (``paired=False`` in `sweep`).

    Returns
    -------
    numpy.random.Generator
        A PCG64 whose seed is ``SeedSequence(root_seed).spawn(seed + 1)[seed]``, or with
        parameters a child of it that they choose.

    Raises
    ------
    ValueError
        If a seed is not an integer of at least zero, or a parameter is none that `sweep` takes.

    Examples
    --------
    >>> import numpy as np
    >>> child = np.random.SeedSequence(7).spawn(3)[2]
    >>> bool(generator(7, 2).random() == np.random.default_rng(child).random())
    True
    """
    root_seed = integer("root_seed", root_seed, least=0)
    key = [integer("seed", seed, least=0)]
    if parameters is not None:
        setting = {name: _value(name, value) for name, value in parameters.items()}
        digest = hashlib.sha256(_text(setting).encode()).digest()
        key += [int.from_bytes(digest[i : i + 4], "big") for i in range(0, len(digest), 4)]
    sequence = np.random.SeedSequence(root_seed, spawn_key=key)
    return np.random.Generator(np.random.PCG64(sequence))


@dataclass(frozen=True)
class _Task:
    """What all runs of a sweep share, as it is sent to a worker."""

    function: Callable[..., Any] | bytes  # bytes: pickled, since only who runs it need know it
    root_seed: int
    paired: bool
    by_name: bool  # whether the generator is passed as rng=

    def call(self, setting: Setting, seed: int) -> Any:
        function = _unpickled(self.function) if isinstance(self.function, bytes) else self.function
        rng = generator(self.root_seed, seed, None if self.paired else setting)
        # Workers know nothing of what the caller has set, and the result must not either.
        with (
            _one_thread(),
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        ):
            if self.by_name:
                return function(rng=rng, **setting)
            return function(rng, **setting)

    def run(self, number: int, setting: Setting, seed: int) -> Outcome:
        """The number of the run and its record, or what is wrong with what it returned."""
        if isinstance(self.function, bytes):
            try:
                _unpickled(self.function)
            except Exception as reason:
                return number, f"expected one that workers can load, came {_one_line(reason)}"
        record: Record = {"results": {}, "error": "", "raised": False, "traceback": ""}
        start = time.perf_counter()
        try:
            returned = self.call(setting, seed)
        except Diverged as reason:
            record["error"] = _one_line(reason)
        except (Exception, SystemExit) as reason:
            record["error"] = _one_line(reason)
            record["raised"] = True
            record["traceback"] = traceback.format_exc()
        record["seconds"] = time.perf_counter() - start
        record["made_with"] = (
            f"Python {platform.python_version()}, NumPy {np.__version__}, "
            f"scbtheory {scbtheory.__version__}"
        )
        if not record["error"]:
            try:
                record["results"], record["error"] = _results(returned)
            except ValueError as reason:
                return number, str(reason)
        return number, record


@functools.lru_cache(maxsize=1)
def _unpickled(function: bytes) -> Callable[..., Any]:
    """A function as it was before it was sent; one is enough, since a worker gets many runs."""
    return pickle.loads(function)


def _results(returned: object) -> tuple[dict[str, Any], str]:
    """What a run returned as plain numbers, strings and booleans, and the reason it reports."""
    expected = "a flat mapping of names to numbers, strings or booleans"
    if not isinstance(returned, Mapping):
        raise ValueError(f"expected {expected}, came {type(returned).__name__}")
    results = dict(returned)
    error = results.pop("error", None)
    if error is not None and not isinstance(error, str):
        raise ValueError(f"expected a string or None as 'error', came {error!r}")
    for name, value in results.items():
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            value = value.item()
        if not isinstance(name, str):
            raise ValueError(f"expected {expected}, came the name {name!r}")
        if type(value) not in KINDS:
            raise ValueError(f"expected {expected}, came {name!r}: {type(value).__name__}")
        results[name] = value
    return results, _one_line(error or "")


def _one_line(reason: object) -> str:
    """An exception or a text as one printable line, the same in every process."""
    text = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else reason
    line = " ".join(ADDRESS.sub("", str(text)).split()).removesuffix(":")[:LONGEST]
    return line if line.isprintable() else line.encode("unicode_escape").decode()


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


# -------------------------------------------------------------------------------- the grid


def _value(name: str, value: object) -> Any:
    """A parameter's value as Python's own number, string, None, or tuple of such."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is tuple:
        return tuple(_value(name, part) for part in value)
    if type(value) is float and math.isnan(value):
        raise ValueError(f"{name}: expected values that equal themselves, came nan")
    if value is not None and type(value) not in KINDS:
        raise ValueError(
            f"{name}: expected numbers, strings, booleans, None, or tuples of them, came {value!r}"
        )
    return value


def _settings(grid: object) -> list[Setting]:
    """All combinations of a grid, in its order, the last parameter changing fastest."""
    if isinstance(grid, Mapping):
        axes = {_parameter(name): _axis(name, values) for name, values in grid.items()}
        if not axes:
            raise ValueError("grid: expected at least one parameter, came none")
        return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    if isinstance(grid, (str, bytes, Set)) or not isinstance(grid, Iterable):
        raise ValueError(
            "grid: expected a mapping of names to sequences of values, or a sequence of mappings, "
            f"came {grid!r}"
        )
    settings: list[Setting] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, point in enumerate(grid):
        where = f"grid[{number}]"
        if not isinstance(point, Mapping) or not point:
            raise ValueError(f"{where}: expected a mapping of names to values, came {point!r}")
        setting = {_parameter(name): _value(where, value) for name, value in point.items()}
        first = settings[0] if settings else setting
        if setting.keys() != first.keys():
            raise ValueError(
                f"{where}: expected the parameters of the first mapping, {', '.join(first)}, "
                f"came {', '.join(setting)}"
            )
        values = tuple(setting[name] for name in first)
        if values in seen:
            raise ValueError(
                f"{where}: expected settings that differ, came {_name(setting)} as in "
                f"grid[{seen[values]}]"
            )
        seen[values] = number
        settings.append({name: setting[name] for name in first})
    if not settings:
        raise ValueError("grid: expected at least one setting, came none")
    return settings


def _parameter(name: object) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"grid: expected names of arguments, came {name!r}")
    if name in RESERVED:
        raise ValueError(f"grid: expected names other than {', '.join(RESERVED)}, came {name!r}")
    return name


def _axis(name: object, values: object) -> list[Any]:
    where = f"grid[{name!r}]"
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise ValueError(f"{where}: expected a sequence of values, came {values!r}")
    axis = [_value(where, value) for value in values]
    if not axis:
        raise ValueError(f"{where}: expected at least one value, came none")
    seen = set()
    for value in axis:
        if value in seen:
            raise ValueError(f"{where}: expected values that differ, came {value!r} twice")
        seen.add(value)
    return axis


def _name(setting: Setting, seed: int | None = None) -> str:
    """A run as messages call it."""
    named = setting if seed is None else setting | {"seed": seed}
    return ", ".join(f"{name}={value!r}" for name, value in named.items())


def _called_by_name(function: object, setting: Setting) -> bool:
    """Whether the function takes its generator as ``rng=``; a ValueError if it cannot be called."""
    if not callable(function):
        raise ValueError(f"function: expected a function, came {function!r}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ValueError(
            f"function: expected a function with a signature, came {function!r}"
        ) from None
    try:
        signature.bind(rng=None, **setting)
        return True
    except TypeError as error:
        reason = error
    try:
        signature.bind(None, **setting)
        return False
    except TypeError:
        raise ValueError(
            f"function: expected one that takes rng, {', '.join(setting)}, came "
            f"{_called(function)}{signature}: {reason}"
        ) from None


def _called(function: object) -> str:
    """A function as messages call it."""
    return str(getattr(function, "__qualname__", repr(function)))


def _full_name(function: object) -> str:
    """A function as files call it."""
    return f"{getattr(function, '__module__', '')}.{ADDRESS.sub('', _called(function))}"


# --------------------------------------------------------------------- what runs must return


class _Columns:
    """The columns of a sweep: those declared, or those of the first run that came back."""

    def __init__(self, declared: Iterable[str] | None, parameters: Iterable[str]) -> None:
        self.taken = {*parameters, *RESERVED}
        self.source = "columns"
        self.names: list[str] | None = None
        self.kinds: dict[str, tuple[str, str]] = {}  # name -> (kind, the run that showed it)
        if declared is None:
            return
        names = [declared] if isinstance(declared, str) else list(declared)
        if isinstance(declared, str) or not names or len({*map(str, names)}) < len(names):
            raise ValueError(f"columns: expected a sequence of different names, came {declared!r}")
        for name in names:
            if not isinstance(name, str) or not name or not name.isprintable():
                raise ValueError(f"columns: expected names, came {name!r}")
            if name in self.taken:
                raise ValueError(
                    "columns: expected names other than those of the parameters and "
                    f"{', '.join(RESERVED)}, came {name!r}"
                )
        self.names = names

    def check(self, run: str, record: Record) -> None:
        """Raise a ValueError unless the run returned these columns; an unfinished one may not."""
        results = record["results"]
        if record["error"] and not results:
            return
        if self.names is None:
            wrong = [name for name in results if name in self.taken or not name.isprintable()]
            if wrong or not results:
                raise ValueError(
                    "function: expected columns with names other than those of the parameters and "
                    f"{', '.join(RESERVED)}, came {', '.join(results) or 'none'} in the run {run}"
                )
            self.names, self.source = list(results), f"the run {run}"
        if results.keys() != {*self.names}:
            raise ValueError(
                f"function: expected the columns {', '.join(self.names)} of {self.source}, "
                f"came {', '.join(results) or 'none'} in the run {run}"
            )
        for name, value in results.items():
            kind, where = self.kinds.setdefault(name, (KINDS[type(value)], run))
            if KINDS[type(value)] != kind:
                raise ValueError(
                    f"function: expected {kind} in the column {name} as in the run {where}, "
                    f"came {value!r} in the run {run}"
                )


# ---------------------------------------------------------------------------------- the cache


def _text(value: object) -> str:
    """The value as JSON, the same text for the same value; floats keep every bit.

    Python's JSON writes a float with the digits that give it back, and NaN and the infinities too.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _write(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all, whatever happens meanwhile."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # in the same folder: one file system
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            # Or the new name may reach the disk before what it names. That the name does not is
            # no harm: the run is repeated.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class _Cache:
    """A folder with one file a run, named by what determines the run."""

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        try:
            self.folder = Path(folder)
        except TypeError:
            raise ValueError(f"cache: expected a folder, came {folder!r}") from None
        self.identity = identity
        self.damaged = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f"{uuid.uuid4().hex}.probe"
            _write(probe, "x" * 4096)  # a block: an empty file would fit on a full disk
            probe.unlink()
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> OSError:
        """The same error, of the same subclass, with ``cache`` and the folder in its message."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cache: expected a folder to write to, came {str(self.folder)!r}: {reason}"
        return OSError(error.errno or errno.EIO, message)

    def _place(self, setting: Setting, seed: int) -> tuple[dict[str, Any], Path]:
        key = {**self.identity, "parameters": setting, "seed": seed}
        # Through JSON, so that it compares with what is read: a tuple comes back as a list.
        text = _text(key)
        return json.loads(text), self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    def read(self, setting: Setting, seed: int) -> Record | None:
        """The record of a run, or None if there is none; a damaged one is counted."""
        key, path = self._place(setting, seed)
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            self.damaged += 1
            return None
        try:
            held = json.loads(text)
            run, record = held["run"], held["run"]["record"]
            sound = held["sha256"] == hashlib.sha256(_text(run).encode()).hexdigest()
            if sound and run["key"] == key and record.keys() == RECORD:
                return dict(record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        self.damaged += 1
        return None

    def write(self, setting: Setting, seed: int, record: Record) -> None:
        key, path = self._place(setting, seed)
        run = {"key": key, "record": record}
        digest = hashlib.sha256(_text(run).encode()).hexdigest()
        try:
            _write(path, json.dumps({"run": run, "sha256": digest}, indent=1) + "\n")
        except OSError as error:
            raise self._refusal(error) from error


def _source(function: Callable[..., Any]) -> str:
    """A digest of what a function is: its text, and what it uses of its own module.

    Functions and classes of its module count with their text, other values with what `repr` tells.
    What other modules and files hold does not count.
    """
    parts: list[str] = []
    todo: list[Any] = [function]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        try:
            parts.append(inspect.getsource(item))
        except (OSError, TypeError):
            raise ValueError(
                f"version: expected a string, since the cache cannot see the source of {item!r}, "
                "came None"
            ) from None
        if not isinstance(item, FunctionType):
            continue
        enclosed = dict(zip(item.__code__.co_freevars, item.__closure__ or (), strict=True))
        used = {
            **{name: item.__globals__.get(name) for name in _names(item.__code__)},
            **{f"default {n}": value for n, value in enumerate(item.__defaults__ or ())},
            **{f"default {n}": value for n, value in (item.__kwdefaults__ or {}).items()},
            **{name: cell.cell_contents for name, cell in enclosed.items()},
        }
        for name, value in sorted(used.items()):
            value = inspect.unwrap(value) if callable(value) else value  # such as one with a cache
            own = getattr(value, "__module__", None) == item.__module__
            followed = (FunctionType, type) if own else FunctionType if name in enclosed else ()
            if isinstance(value, followed):
                todo.append(value)
            elif isinstance(value, (type, ModuleType)) or inspect.isroutine(value):
                parts.append(f"{name}: {value.__name__}")
            else:
                told = _told(value)
                if name in enclosed and ADDRESS.search(told):
                    raise ValueError(
                        f"version: expected a string, since the cache cannot tell what {name} in "
                        f"{_called(item)} holds, came None"
                    )
                parts.append(f"{name} = {ADDRESS.sub('', told)}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def _names(code: CodeType) -> set[str]:
    """The names that a function looks up, in itself and in the functions written within it."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    return {*code.co_names}.union(*inner)


def _told(value: object) -> str:
    """What tells a value from others, the same in every process."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:  # repr leaves out the middle
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        return f"array {value.dtype.str} {value.shape} {digest}"
    if isinstance(value, Set):  # in no order
        return str(sorted(map(repr, value)))
    return repr(value)


def _identity(function: Callable[..., Any], version: str | None) -> dict[str, Any]:
    """What tells in the cache whether a run is one of this function."""
    if version is not None and not isinstance(version, str):
        raise ValueError(f"version: expected a string, came {version!r}")
    if version is None and not isinstance(function, FunctionType):
        raise ValueError(
            "version: expected a string, since the cache cannot see the source of "
            f"{function!r}, came None"
        )
    return {
        "function": _full_name(function),
        "version": version,
        "source": _source(function) if version is None else None,
        "scbtheory": scbtheory.__version__,
    }


# ------------------------------------------------------------------------------ where runs run


class _Parallel:
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
                f"at the top of a module, came {_called(function)}: {_one_line(error)}"
            ) from error

    def outcomes(self, task: _Task, runs: list[Any]) -> Outcomes:
        call = self.joblib.delayed(task.run)
        # Workers that each start as many BLAS threads as there are cores would slow each other.
        local = contextlib.nullcontext()
        if not self.chosen:
            local = self.joblib.parallel_config(backend="loky", inner_max_num_threads=1)
        # One run a message: a run that is finished is handed over, and kept, at once.
        settings = {"n_jobs": self.n_jobs, "batch_size": 1}
        with local:
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


def _parallel(workers: int) -> _Parallel | None:
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
            return _Parallel(joblib, backend, n_jobs, chosen=True)
    if workers == 1:
        return None
    try:
        import joblib
        from joblib.parallel import BACKENDS
    except ImportError as error:
        raise ImportError(
            f'workers={workers} needs joblib: pip install "scbtheory[sweeps]"'
        ) from error
    return _Parallel(joblib, BACKENDS["loky"](nesting_level=0), workers, chosen=False)


def _outcomes(parallel: _Parallel | None, task: _Task, runs: list[Any]) -> Outcomes:
    """What comes of the runs, in the order in which they finish."""
    if parallel is not None and runs:
        yield from parallel.outcomes(task, runs)
    else:
        yield from itertools.starmap(task.run, runs)


# ----------------------------------------------------------------------------------- the table


@dataclass(frozen=True, eq=False)
class Table:
    """What `sweep` returns: one row a run, in the order of the grid, seeds changing fastest.

    Two tables are equal if they hold the same rows bit by bit, leaving aside ``seconds`` and how
    the tables were made.

    Attributes
    ----------
    rows : list of dict
        Each with the parameters, ``seed`` (the seed index), the columns, ``seconds`` (how long the
        run took) and ``error`` (why it failed, or empty); a column that a failed run did not
        return is None. ``pandas.DataFrame(table.rows)`` is the table as pandas knows it.
    parameters, columns : tuple of str
        The names of the parameters, and of what the function returned.
    provenance : dict
        How the table was made: ``function``, ``grid``, ``seeds``, ``root_seed``, ``paired``, and
        in ``made_with`` the versions of Python, NumPy and scbtheory that computed its rows; a
        table that was read also knows ``date`` and ``command``.
    cached : int
        How many rows came from the cache.
    damaged : int
        How many files of the cache could not be used, so that their runs were repeated.

    Examples
    --------
    >>> def draw(rng, scale):
    ...     return {"x": scale * rng.random()}
    >>> table = sweep(draw, {"scale": [1.0, 2.0]}, seeds=2, root_seed=0)
    >>> len(table), table.names
    (4, ('scale', 'seed', 'x', 'seconds', 'error'))
    >>> x = table.column("x").reshape(2, 2)  # one row a scale, one column a seed
    >>> bool((x[1] == 2 * x[0]).all())  # the same numbers for the same seed
    True
    """

    rows: list[dict[str, Any]]
    parameters: tuple[str, ...]
    columns: tuple[str, ...]
    provenance: dict[str, Any]
    cached: int = field(default=0, kw_only=True)
    damaged: int = field(default=0, kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns in the order of the file."""
        return (*self.parameters, "seed", *self.columns, "seconds", "error")

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return self.names == other.names and self._compared() == other._compared()

    __hash__ = None  # type: ignore[assignment]  # rows can be changed

    def _compared(self) -> str:
        """All but the seconds as text: NaN equals NaN there, and 1 does not equal 1.0."""
        kept = [name for name in self.names if name != "seconds"]
        return _text([[row[name] for name in kept] for row in self.rows])

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of runs that raised, or reported a reason."""
        return [row for row in self.rows if row["error"]]

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array, shape (rows,).

        Where a failed run returned nothing, numbers and booleans become floats and the entry NaN;
        strings become empty. A parameter that is None or a tuple in some row makes an array of
        objects.

        Parameters
        ----------
        name : str
            One of ``names``.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        if name not in self.names:
            raise ValueError(f"name: expected one of {', '.join(self.names)}, came {name!r}")
        values = [row[name] for row in self.rows]
        if name in self.columns and None in values:
            if any(type(value) is str for value in values):
                values = ["" if value is None else value for value in values]
            else:  # True is 1.0 beside a NaN
                values = [
                    math.nan if value is None else value + 0.0 if type(value) is bool else value
                    for value in values
                ]
        kinds = {KINDS.get(type(value)) for value in values}
        if len(kinds) == 1 and None not in kinds:
            return np.array(values)
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array

    def repeat(self, function: Callable[..., Any], row: int) -> Any:
        """Run one row again, alone, and return what the function returns.

        An exception that ended the run comes through, with its traceback.

        Parameters
        ----------
        function : callable
            The function of the sweep.
        row : int
            The number of the row, from zero.

        Raises
        ------
        ValueError
            If there is no such row, or the function does not take its parameters.

        Examples
        --------
        >>> def draw(rng, scale):
        ...     return {"x": scale * rng.random()}
        >>> table = sweep(draw, {"scale": [1.0, 2.0]}, seeds=2, root_seed=0)
        >>> table.repeat(draw, 3)["x"] == table.rows[3]["x"]
        True
        """
        held = self.rows[integer("row", row, least=0, most=len(self) - 1)]
        setting = {name: held[name] for name in self.parameters}
        by_name = _called_by_name(function, setting)
        task = _Task(function, self.provenance["root_seed"], self.provenance["paired"], by_name)
        return task.call(setting, held["seed"])

    def save(self, path: str | os.PathLike[str], command: str = "") -> None:
        """Write the table as CSV, below lines that say how it was made.

        Those lines begin with ``#``. Numbers keep every bit; a cell is empty where a failed run
        returned nothing. ``pandas.read_csv(path, comment="#")`` reads it as well as `load`, if no
        string of the table holds a ``#``.

        Parameters
        ----------
        path : path-like
            The file, replaced as a whole if it exists.
        command : str
            What makes the table again, such as ``make results``; the name of the running script
            unless given.
        """
        # A string stands as it is in a column that holds nothing else: then no empty one, since an
        # empty cell is a missing value, and none with line breaks, which not every reader takes.
        text = [
            name
            for name in self.names
            if name == "error"
            or all(
                (type(value) is str and value and value.isprintable())
                or (value is None and name in self.columns)
                for value in (row[name] for row in self.rows)
            )
        ]
        header = {
            **self.provenance,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": command or Path(sys.argv[0]).name,
            "parameters": self.parameters,
            "text": text,
        }
        file = io.StringIO()
        for name, value in header.items():
            file.write(f"# {name}: {json.dumps(value)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.names)
        for row in self.rows:
            cells = []
            for name in self.names:
                value = row[name]
                missing = value is None and name in self.columns
                cells.append("" if missing else value if name in text else _text(value))
            writer.writerow(cells)
        _write(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Table:
        """The table that `save` wrote, equal to it.

        Raises
        ------
        ValueError
            If the file is none that `save` wrote.

        Examples
        --------
        >>> import os, tempfile
        >>> def draw(rng, scale):
        ...     return {"x": scale * rng.random()}
        >>> table = sweep(draw, {"scale": [1.0, 2.0]}, seeds=2, root_seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table.save(os.path.join(folder, "table.csv"), command="make table")
        ...     read = Table.load(os.path.join(folder, "table.csv"))
        >>> read == table, read.provenance["command"]
        (True, 'make table')
        """
        with Path(path).open(encoding="utf-8", newline="") as file:
            lines = file.readlines()
        try:
            above = list(itertools.takewhile(lambda line: line.startswith("# "), lines))
            pairs = (line[2:].split(": ", 1) for line in above)
            header = {name: json.loads(value) for name, value in pairs}
            parameters, text = tuple(header.pop("parameters")), header.pop("text")
            names, *cells = csv.reader(lines[len(above) :])
            columns = tuple(names[len(parameters) + 1 : -2])
            if tuple(names) != (*parameters, "seed", *columns, "seconds", "error"):
                raise ValueError(f"the columns {names}")
            rows = []
            for line in cells:
                row: dict[str, Any] = {}
                for name, cell in zip(names, line, strict=True):
                    if cell == "" and name in columns:
                        row[name] = None
                    else:
                        row[name] = cell if name in text else _tuples(json.loads(cell))
                rows.append(row)
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ValueError(
                f"path: expected a table that Table.save wrote, came {str(path)!r}: {error}"
            ) from error
        return cls(rows, parameters, columns, header)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


# ----------------------------------------------------------------------------------- the sweep


def sweep(
    function: Callable[..., Any],
    grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    *,
    seeds: int,
    root_seed: int,
    columns: Iterable[str] | None = None,
    paired: bool = True,
    cache: str | os.PathLike[str] | None = None,
    version: str | None = None,
    repeat_failed: bool = True,
    workers: int = 1,
    progress: bool = False,
) -> Table:
    r"""Run a function for every setting of a grid and every seed index.

    The function is called as ``function(rng=rng, **parameters)``, or with the generator first if
    it has no argument ``rng``, and returns a mapping of names to numbers, strings or booleans: the
    columns. All runs return the same columns. A run that raises is a row with the reason in
    ``error`` and without results; a run that went astray can say so itself, by raising `Diverged`
    or by returning the reason as ``error`` beside its results. None of them ends the sweep.

    *Seeds.* The generator of a run is `generator` of the root seed and the seed index: all
    settings see the same random numbers at the same index, as in a paired comparison. With
    ``paired=False`` it depends on the parameters as well, and all runs are independent. Either way
    a run does not depend on what else is in the grid, on the order of the runs, or on where they
    run.

    *Processes.* ``workers`` counts local processes, each with one BLAS thread. Within ``with
    joblib.parallel_config(backend=...):`` that backend is used instead, so that the same call runs
    on a cluster, such as one of Dask, where scbtheory has to be installed. The caller's process
    writes the cache, and no disk need be shared. The table is bitwise the same as long as NumPy
    and the kind of processor are; threadpoolctl, which comes with ``scbtheory[sweeps]``, keeps
    BLAS to one thread in the caller's process too. A run that kills its process ends a sweep on
    local processes; with Dask, joblib does not notice and waits.

    *Cache.* A run is written to its own file in the folder ``cache`` when it is finished, and a
    sweep that was stopped, by whatever, goes on from there. A file is used only for the same
    function, parameters, seed index, root seed and version of scbtheory; damaged files are counted
    in the table, logged in one line, and their runs repeated. The function is the same while
    nothing changes in its text, in the functions and classes that it uses of its own module, and
    in the values that it uses there. What other modules and files hold does not count: give
    ``version``, and another one when results change. Give it too if runs change a list or a
    dictionary of the module. Sweeps may share a folder, even at the same time; both may then do a
    run that neither has finished.

    Parameters
    ----------
    function : callable
        What to run. It takes all its randomness from its generator.
    grid : mapping or sequence of mappings
        For each parameter a sequence of values, of which all combinations are run; or the settings
        themselves, all with the same parameters. Values are numbers, strings, booleans, None, or
        tuples of them.
    seeds : int
        How many runs for each setting, at least one; their seed indices count from zero.
    root_seed : int
        The root of all randomness, at least zero.
    columns : sequence of str, optional
        The columns that the function returns; those of the first run to come back unless given.
    paired : bool
        Whether all settings see the same random numbers at one seed index.
    cache : path-like, optional
        The folder that keeps finished runs; made if it is missing.
    version : str, optional
        Tells the function from earlier ones of the same name, in place of its source.
    repeat_failed : bool
        Whether runs that raised and are in the cache are repeated, since a bug may have been
        mended or memory been freed. A run that reported its reason itself is finished: the reason
        would be the same again.
    workers : int
        How many processes, at least one; where the caller has chosen a backend that tells how many
        itself, as Dask does, it is not used.
    progress : bool
        Show a progress bar with the time left (needs tqdm).

    Returns
    -------
    Table
        One row a run.

    Raises
    ------
    ValueError
        If an argument is out of range, the function does not take the parameters, cannot be sent to
        other processes, or has no source to be known by in the cache: all before any run. Also if
        a run returned other columns than expected; the message names the run.
    OSError
        If the folder of the cache cannot be written to: before any run, or when the disk is full.
        Runs that are in the cache stay there.
    ImportError
        If a package is missing, with the command that installs it.

    Examples
    --------
    How far two trainers come, on the same tasks:

    >>> from scbtheory import (
    ...     SGD, LinearTransformer, ProximalGradient, SparseContextualBigram, train
    ... )
    >>> OPTIMISERS = {"SGD": SGD(0.3, 0.1), "two stages": ProximalGradient()}
    >>> def learn(rng, optimiser, length):
    ...     task = SparseContextualBigram.random(3, length, 2, rng)
    ...     run = train(LinearTransformer.initial(task), task, OPTIMISERS[optimiser], 50_000, rng)
    ...     return {
    ...         "distance_V": run.history["distance_V"][-1],
    ...         "distance_A": run.history["distance_A"][-1],
    ...         "transition": run.transition.max(),
    ...         "error": run.diverged,
    ...     }
    >>> table = sweep(
    ...     learn, {"optimiser": [*OPTIMISERS], "length": [20]}, seeds=2, root_seed=0
    ... )
    >>> sgd, two_stages = table.column("distance_A").reshape(2, 2)
    >>> bool((two_stages < sgd).all())
    True
    """
    settings = _settings(grid)
    seeds = integer("seeds", seeds, least=1)
    root_seed = integer("root_seed", root_seed, least=0)
    workers = integer("workers", workers, least=1)
    for name, flag in (("paired", paired), ("repeat_failed", repeat_failed)):
        if not isinstance(flag, bool):
            raise ValueError(f"{name}: expected True or False, came {flag!r}")
    expected = _Columns(columns, settings[0])
    by_name = _called_by_name(function, settings[0])
    parallel = _parallel(workers)
    packed = function if parallel is None else parallel.packed(function)
    task = _Task(packed, root_seed, paired, by_name)
    identity = {"root_seed": root_seed, "paired": paired}
    folder = None if cache is None else _Cache(cache, _identity(function, version) | identity)

    runs = [
        (number, setting, seed)
        for number, (setting, seed) in enumerate(itertools.product(settings, range(seeds)))
    ]
    records: dict[int, Record] = {}
    if folder is not None:
        for number, setting, seed in runs:
            record = folder.read(setting, seed)
            if record is not None and not (record["raised"] and repeat_failed):
                expected.check(_name(setting, seed), record)
                records[number] = record
        if folder.damaged:
            logger.warning(
                "cache: %d damaged files in %s, whose runs are repeated",
                folder.damaged,
                folder.folder,
            )
    cached = len(records)
    missing = [run for run in runs if run[0] not in records]
    bar = progress_bar(len(runs), progress, unit="runs", scaled=False, done=cached)
    outcomes = contextlib.closing(_outcomes(parallel, task, missing))
    # Here too, since the runs of a backend with threads share this process, and only one thread of
    # it can set the limit.
    with _one_thread(), bar as advance, outcomes as finished:
        try:
            for number, outcome in finished:
                _, setting, seed = runs[number]
                if isinstance(outcome, str):
                    raise ValueError(f"function: {outcome} in the run {_name(setting, seed)}")
                expected.check(_name(setting, seed), outcome)
                if folder is not None:
                    folder.write(setting, seed, outcome)
                records[number] = outcome
                advance(1)
        except Exception as error:
            if folder is not None:
                error.add_note(f"{len(records)} of {len(runs)} runs are in the cache")
            raise

    # In the order of the first row that has them, not of the first run to come back.
    first = next((records[run[0]] for run in runs if records[run[0]]["results"]), None)
    names = [*first["results"]] if first is not None else (expected.names or [])
    if columns is not None:
        names = expected.names or []
    rows = [
        {
            **setting,
            "seed": seed,
            **{name: records[number]["results"].get(name) for name in names},
            "seconds": records[number]["seconds"],
            "error": records[number]["error"],
        }
        for number, setting, seed in runs
    ]
    axes = {name: [*dict.fromkeys(point[name] for point in settings)] for name in settings[0]}
    provenance = {
        "function": _full_name(function),
        "grid": json.loads(json.dumps(axes if isinstance(grid, Mapping) else settings)),
        "seeds": seeds,
        "root_seed": root_seed,
        "paired": paired,
        "made_with": sorted({record["made_with"] for record in records.values()}),
    }
    damaged = 0 if folder is None else folder.damaged
    return Table(rows, tuple(settings[0]), tuple(names), provenance, cached=cached, damaged=damaged)
