"""The function of a sweep: how it is called, its name, and what tells it from earlier ones."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Set
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

import scbtheory
from scbtheory.sweeps.grid import Setting

ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def takes_rng(function: object, setting: Setting) -> bool:
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
            f"{short_name(function)}{signature}: {reason}"
        ) from None


def short_name(function: object) -> str:
    """A function as messages call it."""
    return str(getattr(function, "__qualname__", repr(function)))


def full_name(function: object) -> str:
    """A function as files call it."""
    return f"{getattr(function, '__module__', '')}.{ADDRESS.sub('', short_name(function))}"


def identity_of(function: Callable[..., Any], version: str | None) -> dict[str, Any]:
    """What tells in the cache whether a run is one of this function."""
    if version is not None and not isinstance(version, str):
        raise ValueError(f"version: expected a string, came {version!r}")
    if version is None and not isinstance(function, FunctionType):
        raise ValueError(
            "version: expected a string, since the cache cannot see the source of "
            f"{function!r}, came None"
        )
    return {
        "function": full_name(function),
        "version": version,
        "source": _source(function) if version is None else None,
        "scbtheory": scbtheory.__version__,
    }


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
                        f"{short_name(item)} holds, came None"
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
