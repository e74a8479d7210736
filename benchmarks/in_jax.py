"""The same training step in JAX, compiled."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_prng_impl", "rbg")  # faster on a processor than the default


def to_jax(task, model, batch, dtype):
    V, A = jnp.asarray(model.V, dtype), jnp.asarray(model.A.T, dtype)
    tokens = (batch.context, batch.last, batch.output)
    return V, A, *(jnp.asarray(part.astype(np.int32)) for part in tokens)


def _loss(V, A, context, last, output):
    X = jax.nn.one_hot(context, len(V), dtype=V.dtype)
    prediction = jnp.einsum("btj,bt->bj", X, A[last]) @ V.T
    target = jax.nn.one_hot(output, len(V), dtype=V.dtype)
    return jnp.sum((target - prediction) ** 2) / (2 * len(output))


autograd = jax.jit(jax.grad(_loss, argnums=(0, 1)))


def _outer_part(V, read, output):
    residual = (read @ V.T).at[jnp.arange(len(output)), output].add(-1) / len(output)
    return residual.T @ read, residual @ V


@jax.jit
def scatter(V, A, context, last, output):
    rows = jnp.arange(len(last))[:, None]
    read = jnp.zeros((len(last), len(V)), V.dtype).at[rows, context].add(A[last])
    grad_V, w = _outer_part(V, read, output)
    found = jnp.take_along_axis(w, context, axis=1)
    return grad_V, jnp.zeros_like(A).at[last].add(found)


@jax.jit
def masks(V, A, context, last, output):
    a = A[last]
    read = jnp.stack([jnp.sum(jnp.where(context == n, a, 0), axis=1) for n in range(len(V))], 1)
    grad_V, w = _outer_part(V, read, output)
    found = jnp.zeros_like(a)
    for n in range(len(V)):
        found = jnp.where(context == n, w[:, n : n + 1], found)
    return grad_V, jnp.zeros_like(A).at[last].add(found)


GRADIENTS = {"autograd": autograd, "scatter": scatter, "masks": masks}
MASKS_UP_TO = 10


def update(V, A, grad_V, grad_A, mu, step_V, step_A, l1, steps):
    direction = grad_V / mu
    direction -= (direction @ mu)[:, None] / mu.sum()
    direction -= direction.mean(0)
    grad_A = grad_A / mu[:, None]
    grad_A -= grad_A.mean(1, keepdims=True)
    centred = jnp.abs(grad_A - jnp.median(grad_A, axis=1, keepdims=True))
    level = step_A * l1 / steps**0.5 * (mu @ jnp.median(centred, axis=1)) / 0.674489750196
    shrunk = A - step_A * grad_A - 1 / A.shape[1]
    shrunk = jnp.sign(shrunk) * jnp.maximum(jnp.abs(shrunk) - level, 0)
    return V - step_V * direction, shrunk - shrunk.mean(1, keepdims=True) + 1 / A.shape[1]


def whole_step(task, size, gradient, settings):
    """One compiled function: draw (by a table of 2**16 cells), gradients, update."""
    mu, P = jnp.asarray(task.mu), jnp.log(jnp.asarray(task.P.T))
    cells = (np.arange(2**16) + 0.5) / 2**16
    table = jnp.asarray(np.searchsorted(np.cumsum(task.mu)[:-1], cells).astype(np.int32))
    places = jnp.asarray(np.argsort(-task.Q, axis=0)[: task.sparsity].T)
    shares = jnp.log(jnp.take_along_axis(jnp.asarray(task.Q.T), places, axis=1))

    @partial(jax.jit, donate_argnums=(1, 2))
    def step(key, V, A):
        key, *keys = jax.random.split(key, 5)
        bits = jax.random.bits(keys[0], (size, task.length), jnp.uint16)
        context = table[bits.astype(jnp.int32)]
        last = table[jax.random.bits(keys[1], (size,), jnp.uint16).astype(jnp.int32)]
        position = places[last, jax.random.categorical(keys[2], shares[last])]
        source = context[jnp.arange(size), position]
        output = jax.random.categorical(keys[3], P[source])
        grads = gradient(V, A, context, last, output)
        return key, *update(V, A, *grads, mu, *settings)

    return step
