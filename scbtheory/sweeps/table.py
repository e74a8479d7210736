"""The table of a sweep: its rows, its columns as arrays, and its file."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbtheory._arguments import integer
from scbtheory.sweeps.files import json_text, write_whole
from scbtheory.sweeps.functions import takes_rng
from scbtheory.sweeps.grid import KINDS
from scbtheory.sweeps.runs import Task


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
    >>> from scbtheory.sweeps import sweep
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
        return json_text([[row[name] for name in kept] for row in self.rows])

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
        >>> from scbtheory.sweeps import sweep
        >>> def draw(rng, scale):
        ...     return {"x": scale * rng.random()}
        >>> table = sweep(draw, {"scale": [1.0, 2.0]}, seeds=2, root_seed=0)
        >>> table.repeat(draw, 3)["x"] == table.rows[3]["x"]
        True
        """
        held = self.rows[integer("row", row, least=0, most=len(self) - 1)]
        setting = {name: held[name] for name in self.parameters}
        by_name = takes_rng(function, setting)
        task = Task(function, self.provenance["root_seed"], self.provenance["paired"], by_name)
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
                cells.append("" if missing else value if name in text else json_text(value))
            writer.writerow(cells)
        write_whole(Path(path), file.getvalue())

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
        >>> from scbtheory.sweeps import sweep
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
