"""Sparse contextual bigrams and the small transformers that learn them.

The companion module of the book *How Small Transformers Learn*: each function that implements an
equation names the label of that equation.
"""

from scbtheory import letters, population
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
    ProximalGradient,
    Run,
    alphas,
    precondition,
    project_A,
    project_V,
    soft_threshold,
    train,
)
from scbtheory.transformer import LinearTransformer

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Batch",
    "LinearTransformer",
    "ProximalGradient",
    "Run",
    "SampleStream",
    "SparseContextualBigram",
    "alphas",
    "circulant",
    "letters",
    "population",
    "precondition",
    "project_A",
    "project_V",
    "soft_threshold",
    "sparse_attention",
    "stationary_distribution",
    "train",
]
