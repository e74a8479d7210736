"""Seeds: the generator of a run follows from one root seed and from what the run is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from scbtheory._arguments import integer
from scbtheory.sweeps.files import json_text
from scbtheory.sweeps.grid import parameter_value


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
        if not isinstance(parameters, Mapping):
            raise ValueError(f"parameters: expected a mapping, came {parameters!r}")
        setting = {name: parameter_value(name, value) for name, value in parameters.items()}
        digest = hashlib.sha256(json_text(setting).encode()).digest()
        key += [int.from_bytes(digest[i : i + 4], "big") for i in range(0, len(digest), 4)]
    sequence = np.random.SeedSequence(root_seed, spawn_key=key)
    return np.random.Generator(np.random.PCG64(sequence))
