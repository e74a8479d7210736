"""Sparse contextual bigrams and the small transformers that learn them.

The companion module of the book *How Small Transformers Learn*: each function that implements an
equation names the label of that equation.
"""

from scbtheory import flow, letters, noise, population, stages
from scbtheory.scb import (
    Batch,
    SampleStream,
    SparseContextualBigram,
    circulant,
    sparse_attention,
    stationary_distribution,
)
from scbtheory.training import (
    SGD,
    Diverged,
    Optimiser,
    ProximalGradient,
    ProximalState,
    Run,
    State,
    alphas,
    next_model,
    precondition,
    project_A,
    project_V,
    robust_spread,
    soft_threshold,
    standing_out,
    train,
)
from scbtheory.transformer import LinearTransformer

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Batch",
    "Diverged",
    "LinearTransformer",
    "Optimiser",
    "ProximalGradient",
    "ProximalState",
    "Run",
    "SampleStream",
    "SparseContextualBigram",
    "State",
    "alphas",
    "circulant",
    "flow",
    "letters",
    "next_model",
    "noise",
    "population",
    "precondition",
    "project_A",
    "project_V",
    "robust_spread",
    "soft_threshold",
    "sparse_attention",
    "stages",
    "standing_out",
    "stationary_distribution",
    "train",
]
