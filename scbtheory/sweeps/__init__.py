"""Sweeps: one function run for every setting of a grid and every seed, as one table.

A sweep can be stopped at any moment and goes on where it was, and its table does not depend on
how many processes, or which machines, made it. It needs NumPy; more than one process needs
joblib, a progress bar tqdm: ``pip install "scbtheory[sweeps]"``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from scbtheory._arguments import integer
from scbtheory._progress import progress_bar
from scbtheory.sweeps.cache import Cache
from scbtheory.sweeps.columns import Columns
from scbtheory.sweeps.functions import full_name, identity_of, takes_rng
from scbtheory.sweeps.grid import run_name, settings_of
from scbtheory.sweeps.parallel import parallel_for
from scbtheory.sweeps.runs import Outcome, Record, Task
from scbtheory.sweeps.seeds import generator
from scbtheory.sweeps.surroundings import surroundings
from scbtheory.sweeps.table import Table

__all__ = ["Table", "generator", "sweep"]

logger = logging.getLogger(__name__)


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
    BLAS to one thread in the caller's process too. A warning stays a warning in all of them, also
    where the caller makes errors of warnings. A run that kills its process ends the sweep.

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
    settings = settings_of(grid)
    seeds = integer("seeds", seeds, least=1)
    root_seed = integer("root_seed", root_seed, least=0)
    workers = integer("workers", workers, least=1)
    for name, flag in (("paired", paired), ("repeat_failed", repeat_failed)):
        if not isinstance(flag, bool):
            raise ValueError(f"{name}: expected True or False, came {flag!r}")
    expected = Columns(columns, settings[0])
    by_name = takes_rng(function, settings[0])
    parallel = parallel_for(workers)
    packed = function if parallel is None else parallel.packed(function)
    task = Task(packed, root_seed, paired, by_name)
    identity = {"root_seed": root_seed, "paired": paired}
    folder = None if cache is None else Cache(cache, identity_of(function, version) | identity)

    runs = [
        (number, setting, seed)
        for number, (setting, seed) in enumerate(itertools.product(settings, range(seeds)))
    ]
    records: dict[int, Record] = {}
    if folder is not None:
        for number, setting, seed in runs:
            record = folder.read(setting, seed)
            if record is not None and not (record["raised"] and repeat_failed):
                expected.check(run_name(setting, seed), record)
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
    outcomes: Generator[Outcome, None, None] = (task.run(*run) for run in missing)
    if parallel is not None and missing:
        outcomes = parallel.outcomes(task, missing)
    # Here too, since runs may be threads of this process, and threadpoolctl lets only the thread
    # that has set a limit take it back.
    with surroundings(), bar as advance, contextlib.closing(outcomes):
        try:
            for number, outcome in outcomes:
                _, setting, seed = runs[number]
                if isinstance(outcome, str):
                    raise ValueError(f"function: {outcome} in the run {run_name(setting, seed)}")
                expected.check(run_name(setting, seed), outcome)
                if folder is not None:
                    folder.write(setting, seed, outcome)
                records[number] = outcome
                advance(1)
        except Exception as error:
            if folder is not None:
                error.add_note(f"{len(records)} of {len(runs)} runs are in the cache")
            raise

    names = expected.names or []
    if columns is None:  # in the order of the first row, not of the first run to come back
        results = (records[number]["results"] for number, _, _ in runs)
        names = [*next(filter(None, results), {})]
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
        "function": full_name(function),
        "grid": json.loads(json.dumps(axes if isinstance(grid, Mapping) else settings)),
        "seeds": seeds,
        "root_seed": root_seed,
        "paired": paired,
        "made_with": sorted({record["made_with"] for record in records.values()}),
    }
    damaged = 0 if folder is None else folder.damaged
    return Table(rows, tuple(settings[0]), tuple(names), provenance, cached=cached, damaged=damaged)
