"""The book's figure style and its recurring figures (needs Matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from scbtheory._arguments import Array
from scbtheory.scb import SparseContextualBigram

# One colour for one quantity, all through the book (Okabe and Ito's palette: told apart by readers
# with any colour vision). Lines that share a panel differ in dash or width too, for print in grey.
COLOURS = {
    "V": "#0072B2",
    "A": "#D55E00",
    "loss": "#009E73",
    "proximal": "#CC79A7",
    "SGD": "#8C8C8C",
    "truth": "#222222",
}
STYLE = {
    "figure.figsize": (7.2, 2.8),
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "image.cmap": "Blues",
}


def set_style() -> None:
    """Use the book's style for every figure that follows.

    Examples
    --------
    >>> set_style()
    >>> plt.rcParams["axes.grid"]
    True
    """
    plt.style.use(STYLE)


def show_matrix(ax: Axes, M: Array, title: str, symbols: Sequence[str] | None = None) -> AxesImage:
    """Draw a matrix of probabilities: white is 0, dark is the largest entry.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    M : ndarray, shape (N, N)
        Column j holds the probabilities of what follows symbol j.
    title : str
    symbols : sequence of str, optional
        Names of rows and columns; numbers from 1 unless given.

    Examples
    --------
    >>> import numpy as np
    >>> image = show_matrix(plt.figure().add_subplot(), np.eye(2), "P")
    >>> plt.close()
    """
    image = ax.imshow(M, vmin=0, vmax=float(M.max()))
    names = [str(n + 1) for n in range(len(M))] if symbols is None else list(symbols)
    ax.set(title=title, xticks=range(len(M)), yticks=range(len(M)))
    ax.set_xticklabels(names)
    ax.set_yticklabels(names)
    ax.grid(False)
    return image


def show_attention(ax: Axes, A: Array, task: SparseContextualBigram, last: int) -> None:
    """Draw one column of A over the positions, with circles where the truth attends.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    A : ndarray, shape (T, N)
    task : SparseContextualBigram
        Its Q is the truth.
    last : int
        The last token, which selects the column.

    Examples
    --------
    >>> import numpy as np
    >>> task = SparseContextualBigram.random(3, 20, 2, np.random.default_rng(0))
    >>> show_attention(plt.figure().add_subplot(), task.Q, task, last=0)
    >>> plt.close()
    """
    positions = np.arange(1, len(A) + 1)
    ax.plot(positions, A[:, last], color=COLOURS["A"], lw=1)
    support = np.flatnonzero(task.Q[:, last])
    ax.plot(
        positions[support],
        task.Q[support, last],
        ls="none",
        marker="o",
        ms=8,
        mfc="none",
        mec=COLOURS["truth"],
    )
