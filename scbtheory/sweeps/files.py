"""Values as text that keeps every bit, and files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path


def json_text(value: object) -> str:
    """The value as JSON, the same text for the same value; floats keep every bit.

    Python's JSON writes a float with the digits that give it back, and NaN and the infinities too.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all, whatever happens meanwhile."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # in the same folder: one file system
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            # Or the new name may reach the disk before what it names. That the name does not is
            # no harm: the run is repeated.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
