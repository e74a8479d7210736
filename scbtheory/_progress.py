"""A progress bar where one is wanted, and nothing where not."""

from __future__ import annotations

from collections.abc import Callable


class progress_bar:
    """A tqdm bar over so many units of work, of which some may be done already."""

    def __init__(self, total: int, shown: bool, *, unit: str, scaled: bool, done: int = 0) -> None:
        self.bar = None
        if shown:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError("progress=True needs tqdm: pip install tqdm") from error
            self.bar = tqdm(total=total, initial=done, unit=unit, unit_scale=scaled)

    def __enter__(self) -> Callable[[int], object]:
        return (lambda count: None) if self.bar is None else self.bar.update

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
