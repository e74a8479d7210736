"""One run: the function called with its generator, and a record of what came of it."""

from __future__ import annotations

import contextlib
import functools
import pickle
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import scbtheory
from scbtheory.sweeps.functions import ADDRESS
from scbtheory.sweeps.grid import KINDS, Setting
from scbtheory.sweeps.seeds import generator
from scbtheory.sweeps.surroundings import surroundings
from scbtheory.training import Diverged

Record = dict[str, Any]  # what is known of a finished run, as its file holds it
Outcome = tuple[int, Record | str]  # the number of a run, and its record or what is wrong with it

LONGEST = 1000  # characters of an error that a row keeps


@dataclass(frozen=True)
class Task:
    """What all runs of a sweep share, as it is sent to a worker."""

    function: Callable[..., Any] | bytes  # bytes: pickled, since only who runs it need know it
    root_seed: int
    paired: bool
    by_name: bool  # whether the generator is passed as rng=

    def call(self, setting: Setting, seed: int) -> Any:
        function = _unpickled(self.function) if isinstance(self.function, bytes) else self.function
        rng = generator(self.root_seed, seed, None if self.paired else setting)
        with surroundings():
            if self.by_name:
                return function(rng=rng, **setting)
            return function(rng, **setting)

    def run(self, number: int, setting: Setting, seed: int) -> Outcome:
        """The number of the run and its record, or what is wrong with what it returned."""
        if isinstance(self.function, bytes):
            try:
                _unpickled(self.function)
            except Exception as reason:
                return number, f"expected one that workers can load, came {one_line(reason)}"
        record: Record = {"results": {}, "error": "", "raised": False, "traceback": ""}
        start = time.perf_counter()
        try:
            returned = self.call(setting, seed)
        except Diverged as reason:
            record["error"] = one_line(reason)
        except (Exception, SystemExit) as reason:
            record["error"] = one_line(reason)
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
    return results, one_line(error or "")


def one_line(reason: BaseException | str) -> str:
    """An exception or a text as one printable line, the same in every process."""
    text = reason if isinstance(reason, str) else type(reason).__name__
    if isinstance(reason, BaseException):
        with contextlib.suppress(Exception):  # an exception may fail to say what it is
            text = f"{text}: {reason}"
    line = " ".join(ADDRESS.sub("", text).split()).removesuffix(":")[:LONGEST]
    return line if line.isprintable() else line.encode("unicode_escape").decode()
