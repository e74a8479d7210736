"""A grid: the settings of a sweep, checked, in the order of the table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import numpy as np

Setting = dict[str, Any]  # the parameters of a run, by name

RESERVED = ("rng", "seed", "seconds", "error")
KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}


def settings_of(grid: object) -> list[Setting]:
    """All combinations of a grid, in its order, the last parameter changing fastest."""
    if isinstance(grid, Mapping):
        axes = {_parameter(name): _axis(name, values) for name, values in grid.items()}
        if not axes:
            raise ValueError("grid: expected at least one parameter, came none")
        return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    if not ordered(grid):
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
        setting = {_parameter(name): parameter_value(where, value) for name, value in point.items()}
        first = settings[0] if settings else setting
        if setting.keys() != first.keys():
            raise ValueError(
                f"{where}: expected the parameters of the first mapping, {', '.join(first)}, "
                f"came {', '.join(setting)}"
            )
        values = tuple(setting[name] for name in first)
        if values in seen:
            raise ValueError(
                f"{where}: expected settings that differ, came {run_name(setting)} as in "
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
    if isinstance(values, Mapping) or not ordered(values):
        raise ValueError(f"{where}: expected a sequence of values, came {values!r}")
    axis = [parameter_value(where, value) for value in values]
    if not axis:
        raise ValueError(f"{where}: expected at least one value, came none")
    seen = set()
    for value in axis:
        if value in seen:
            raise ValueError(f"{where}: expected values that differ, came {value!r} twice")
        seen.add(value)
    return axis


def ordered(values: object) -> TypeGuard[Iterable[Any]]:
    """Whether there are values to go through, in an order that means something."""
    if isinstance(values, (str, bytes, set, frozenset)):
        return False
    try:
        iter(values)  # type: ignore[call-overload]  # an array without axes has the method, too
    except TypeError:
        return False
    return True


def parameter_value(name: str, value: object) -> Any:
    """A parameter's value as Python's own number, string, None, or tuple of such."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is tuple:
        return tuple(parameter_value(name, part) for part in value)
    if type(value) is float and math.isnan(value):
        raise ValueError(f"{name}: expected values that equal themselves, came nan")
    if value is not None and type(value) not in KINDS:
        raise ValueError(
            f"{name}: expected numbers, strings, booleans, None, or tuples of them, came {value!r}"
        )
    return value


def run_name(setting: Setting, seed: int | None = None) -> str:
    """A run as messages call it."""
    named = setting if seed is None else setting | {"seed": seed}
    return ", ".join(f"{name}={value!r}" for name, value in named.items())
