"""What an argument must be, and the message that says so when it is not."""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def integer(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """The value as an int between ``least`` and ``most``, or a ValueError that names it."""
    expected = f"an integer of at least {least}" + ("" if most is None else f" and at most {most}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name}: expected {expected}, came {value!r}") from None
    if (
        isinstance(value, (bool, np.bool_))
        or number < least
        or (most is not None and number > most)
    ):
        raise ValueError(f"{name}: expected {expected}, came {value!r}")
    return number


def real(name: str, value: object, *, least: float) -> float:
    """The value as a finite float of at least ``least``, or a ValueError that names it."""
    expected = f"a number of at least {least:g}"
    try:
        number = math.nan if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: expected {expected}, came {value!r}") from None
    if not (math.isfinite(number) and least <= number):
        raise ValueError(f"{name}: expected {expected}, came {value!r}")
    return number


def matrix(name: str, value: ArrayLike, shape: tuple[int, int] | None = None) -> Array:
    """The value as a new finite float matrix, of the given shape if there is one."""
    try:
        if np.iscomplexobj(value):
            raise TypeError
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a matrix of numbers, came {value!r}") from None
    if array.ndim != 2 or array.size == 0 or (shape is not None and array.shape != shape):
        expected = "a non-empty matrix" if shape is None else f"a matrix of shape {shape}"
        raise ValueError(f"{name}: expected {expected}, came shape {array.shape}")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"{name}: expected finite entries, came {array[row, column]} at row {row}, "
            f"column {column}"
        )
    return array


def stochastic_columns(name: str, value: ArrayLike) -> Array:
    """The value as a read-only matrix whose columns are probability vectors."""
    array = matrix(name, value)
    if array.min() < 0:
        row, column = np.argwhere(array < 0)[0]
        raise ValueError(
            f"{name}: expected entries of at least 0, came {array[row, column]:g} at row {row}, "
            f"column {column}"
        )
    sums = array.sum(axis=0)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > 1e-9:
        hint = " (the rows do: transpose it)" if np.allclose(array.sum(axis=1), 1) else ""
        raise ValueError(
            f"{name}: expected columns with sum one, came sum {sums[worst]:.6g} in column "
            f"{worst}{hint}"
        )
    return read_only(array / sums)


def read_only(array: Array) -> Array:
    """The same array, guarded against being changed in place."""
    array.setflags(write=False)
    return array
