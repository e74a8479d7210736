"""The same training step in PyTorch: as one writes it down, and as fast as we could make it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional


def to_torch(task, model, batch, dtype):
    """The model and a batch as PyTorch wants them: A with one row for each symbol, long indices."""
    V, A = (torch.tensor(np.array(M), dtype=dtype) for M in (model.V, model.A.T))
    tokens = (batch.context, batch.last, batch.output)
    return V, A, *(torch.tensor(part.astype(np.int64)) for part in tokens)


# ---------------------------------------------------------------------------- both gradients


def autograd(V, A, context, last, output):
    """The definition, differentiated: one-hot vectors, one einsum, backward."""
    V, A = V.clone().requires_grad_(), A.clone().requires_grad_()
    X, k, o = (functional.one_hot(x, len(V)).to(V.dtype) for x in (context, last, output))
    prediction = torch.einsum("ij,btj,kt,bk->bi", V, X, A, k)
    loss = ((o - prediction) ** 2).sum() / (2 * len(output))
    loss.backward()
    return V.grad, A.grad


def _outer_part(V, read, output):
    residual = read @ V.T
    residual[torch.arange(len(output)), output] -= 1
    residual /= len(output)
    return residual.T @ read, residual @ V


def scatter(V, A, context, last, output):
    """Closed form: scatter-add reads, a gather spreads."""
    read = torch.zeros(len(last), len(V), dtype=V.dtype).scatter_add_(1, context, A[last])
    grad_V, w = _outer_part(V, read, output)
    return grad_V, torch.zeros_like(A).index_add_(0, last, w.gather(1, context))


def scatter_rows(V, A, context, last, output):
    """The same sample by sample: all that one needs is in the cache."""
    read = torch.zeros(len(last), len(V), dtype=V.dtype)
    ks = last.tolist()
    for row, tokens, k in zip(read, context, ks, strict=True):
        row.scatter_add_(0, tokens, A[k])
    grad_V, w = _outer_part(V, read, output)
    grad_A = torch.zeros_like(A)
    for row, tokens, k in zip(w, context, ks, strict=True):
        grad_A[k] += row[tokens]
    return grad_V, grad_A


def masks(V, A, context, last, output):
    """Closed form with N - 1 indicator matrices and batched products."""
    X = torch.stack([(context == n).to(V.dtype) for n in range(1, len(V))], dim=1)
    a = A[last]
    shares = (X @ a[:, :, None])[:, :, 0]
    read = torch.cat([(a.sum(1) - shares.sum(1))[:, None], shares], dim=1)
    grad_V, w = _outer_part(V, read, output)
    found = ((w[:, 1:] - w[:, :1])[:, None] @ X)[:, 0] + w[:, :1]
    return grad_V, torch.zeros_like(A).index_add_(0, last, found)


def masks_by_token(V, A, context, last, output):
    """The masks in bytes, and for each last token one product: it shares an attention vector."""
    N = len(V)
    order = torch.argsort(last)
    sizes = torch.bincount(last, minlength=N).tolist()
    read = torch.empty(len(last), N, dtype=V.dtype)
    kept = []
    for k, rows in enumerate(order.split(sizes)):
        tokens = context[rows].to(torch.uint8)
        X = [(tokens == n).to(V.dtype) for n in range(1, N)]
        kept.append((rows, X))
        shares = torch.stack([x @ A[k] for x in X], dim=1)
        read[rows] = torch.cat([(A[k].sum() - shares.sum(1))[:, None], shares], dim=1)
    grad_V, w = _outer_part(V, read, output)
    grad_A = torch.zeros_like(A)
    for k, (rows, X) in enumerate(kept):
        ours = w[rows]
        grad_A[k] = ours[:, 0].sum()
        for n, x in enumerate(X, start=1):
            grad_A[k] += (ours[:, n] - ours[:, 0]) @ x
    return grad_V, grad_A


GRADIENTS = {
    "scatter": scatter,
    "scatter by rows": scatter_rows,
    "masks": masks,
    "masks by token": masks_by_token,
}
MASKS_UP_TO = 10  # beyond, the masks take longer than anybody would wait


# ----------------------------------------------------------------------------- the whole step


def _median(x):
    n = x.shape[1]
    lower = x.median(dim=1, keepdim=True).values  # of the middle two the lower one
    if n % 2:
        return lower
    above = torch.where(x > lower, x, math.inf).amin(dim=1, keepdim=True)
    tied = (x <= lower).sum(dim=1, keepdim=True) > n // 2
    return (lower + torch.where(tied, lower, above)) / 2


def update(V, A, grad_V, grad_A, mu, step_V, step_A, l1, steps):
    """The step of stage one: preconditioned, projected, soft-thresholded."""
    direction = grad_V / mu
    direction = direction - torch.outer(direction @ mu, torch.ones_like(mu)) / mu.sum()
    direction = direction - direction.mean(0)
    grad_A = grad_A / mu[:, None]
    grad_A -= grad_A.mean(1, keepdim=True)
    noise = mu @ (_median((grad_A - _median(grad_A)).abs_()) / 0.674489750196)[:, 0]
    level = float(step_A * l1 / steps**0.5 * noise)
    T = A.shape[1]
    stepped = functional.softshrink(A - step_A * grad_A - 1 / T, level)
    stepped -= stepped.mean(1, keepdim=True)
    return V - step_V * direction, stepped + 1 / T


class Drawer:
    """Fresh batches: by multinomial, or by a table of 2**16 cells, which rounds mu to them."""

    def __init__(self, task):
        self.mu = torch.tensor(task.mu.copy())
        self.shape = task.length
        bounds = torch.tensor(np.cumsum(task.mu)[:-1].copy())
        self.table = torch.bucketize((torch.arange(2**16) + 0.5) / 2**16, bounds)
        self.P = torch.tensor(task.P.T.copy())
        self.Q = torch.tensor(task.Q.T.copy())
        places, shares = self.Q.topk(task.sparsity, dim=1)[::-1]
        self.places, self.shares = places, shares

    def by_multinomial(self, size):
        context = torch.multinomial(self.mu, size * self.shape, replacement=True)
        context = context.view(size, self.shape)
        last = torch.multinomial(self.mu, size, replacement=True)
        return self._with_output(context, last)

    def by_table(self, size):
        return self._with_output(self._tokens(size, self.shape), self._tokens(size, 1)[:, 0])

    def _tokens(self, size, length):
        """Four cells from each 64 random bits: a quarter of the numbers that randint draws."""
        words = torch.empty(-(-size * length // 4), dtype=torch.int64).random_(-(2**63), None)
        cells = words.view(torch.uint16)[: size * length].to(torch.int32)
        return self.table.index_select(0, cells).view(size, length)

    def _with_output(self, context, last):
        chosen = torch.multinomial(self.shares[last], 1)
        position = self.places[last].gather(1, chosen)
        source = context.gather(1, position)[:, 0]
        return context, last, torch.multinomial(self.P[source], 1)[:, 0]
