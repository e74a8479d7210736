"""Sparse contextual bigrams and the small transformers that learn them.

The companion module of the book *How Small Transformers Learn*: each function that implements an
equation names the label of that equation.
"""

from scbtheory import flow, letters, noise, population, stages, transfer
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
    ExponentiatedGradient,
    ExponentiatedState,
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
from scbtheory.transformer import (
    LinearTransformer,
    SoftmaxTransformer,
    softmax,
    through_softmax,
)

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Batch",
    "Diverged",
    "ExponentiatedGradient",
    "ExponentiatedState",
    "LinearTransformer",
    "Optimiser",
    "ProximalGradient",
    "ProximalState",
    "Run",
    "SampleStream",
    "SoftmaxTransformer",
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
    "softmax",
    "sparse_attention",
    "stages",
    "standing_out",
    "stationary_distribution",
    "through_softmax",
    "train",
    "transfer",
]
