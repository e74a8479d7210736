"""Finished runs on disk, each in a file of its own."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scbtheory.sweeps.files import json_text, write_whole
from scbtheory.sweeps.grid import Setting
from scbtheory.sweeps.runs import Record

RECORD = {"results", "error", "raised", "traceback", "seconds", "made_with"}


class Cache:
    """A folder with one file a run, named by what determines the run."""

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        try:
            self.folder = Path(folder)
        except TypeError:
            raise ValueError(f"cache: expected a folder, came {folder!r}") from None
        self.identity = identity
        self.damaged = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f"{uuid.uuid4().hex}.probe"
            write_whole(probe, "x" * 4096)  # a block: an empty file would fit on a full disk
            probe.unlink()
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> OSError:
        """The same error, of the same subclass, with ``cache`` and the folder in its message."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cache: expected a folder to write to, came {str(self.folder)!r}: {reason}"
        return OSError(error.errno or errno.EIO, message)

    def _place(self, setting: Setting, seed: int) -> tuple[dict[str, Any], Path]:
        key = {**self.identity, "parameters": setting, "seed": seed}
        # Through JSON, so that it compares with what is read: a tuple comes back as a list.
        text = json_text(key)
        return json.loads(text), self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    def read(self, setting: Setting, seed: int) -> Record | None:
        """The record of a run, or None if there is none; a damaged one is counted."""
        key, path = self._place(setting, seed)
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            self.damaged += 1
            return None
        try:
            held = json.loads(text)
            run, record = held["run"], held["run"]["record"]
            sound = held["sha256"] == hashlib.sha256(json_text(run).encode()).hexdigest()
            if sound and run["key"] == key and record.keys() == RECORD:
                return dict(record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        self.damaged += 1
        return None

    def write(self, setting: Setting, seed: int, record: Record) -> None:
        key, path = self._place(setting, seed)
        run = {"key": key, "record": record}
        digest = hashlib.sha256(json_text(run).encode()).hexdigest()
        try:
            write_whole(path, json.dumps({"run": run, "sha256": digest}, indent=1) + "\n")
        except OSError as error:
            raise self._refusal(error) from error
