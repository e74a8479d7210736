"""What the runs of a sweep must return: all of them the same columns."""

from __future__ import annotations

from collections.abc import Iterable

from scbtheory.sweeps.grid import KINDS, RESERVED, ordered
from scbtheory.sweeps.runs import Record


class Columns:
    """The columns of a sweep: those declared, or those of the first run that came back."""

    def __init__(self, declared: Iterable[str] | None, parameters: Iterable[str]) -> None:
        self.taken = {*parameters, *RESERVED}
        self.source = "columns"
        self.names: list[str] | None = None
        self.kinds: dict[str, tuple[str, str]] = {}  # name -> (kind, the run that showed it)
        if declared is None:
            return
        names = list(declared) if ordered(declared) else []
        if not names or len({*map(str, names)}) < len(names):
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
