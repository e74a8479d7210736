"""Memory that one step after the other works in.

Fresh memory is handed over page by page, which takes several times as long as to fill it. So what a
step needs for a moment only lies in arrays that stay, a few megabytes for each thread; work on long
batches is cut into blocks that fit them, and the cache.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class _Arrays(threading.local):
    def __init__(self) -> None:
        self.bytes: dict[str, NDArray[np.uint8]] = {}


_arrays = _Arrays()


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """An array to overwrite, with any content: the same memory whenever this thread names it."""
    kind = np.dtype(dtype)
    needed = math.prod(shape) * kind.itemsize
    held = _arrays.bytes.get(name)
    if held is None or len(held) < needed:
        held = _arrays.bytes[name] = np.empty(needed, np.uint8)
    return held[:needed].view(kind).reshape(shape)
