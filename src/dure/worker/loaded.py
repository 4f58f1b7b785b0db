"""Tells whether what a process has loaded is still what is installed, so that none goes on with the code of before.

What counts is the folders that modules are found in, since every installer makes or renames something there, and the
files of our own modules, for a checkout. The trap: an installation takes a while, and in its midst nothing can be
started anew, so a change counts only once nothing has changed for a moment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_SETTLED_S = 2.0
_Times = dict[str, int | None]


class Loaded:
    """Made before the imports, so that what is installed in their midst is noticed; `fix` follows them."""

    def __init__(self) -> None:
        self._folders = _times(sys.path)
        self._uncompiled = [path for path in sys.path if not _has_compiled(path)]
        self._files: _Times = {}
        self._last, self._last_s = (self._folders, self._files), 0.0

    def fix(self) -> None:
        """Note our own modules as they are loaded now, and the folders in which the imports made `__pycache__` anew."""
        self._folders |= _times(path for path in self._uncompiled if _has_compiled(path))
        modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "dure"]
        self._files = _times(path for module in modules if (path := getattr(module, "__file__", None)))

    def outdated(self, now_s: float) -> bool:
        """Return whether something else is installed now, and has been for a moment; `now_s` is any steady clock."""
        found = _times(self._folders), _times(self._files)
        if found != self._last:
            self._last, self._last_s = found, now_s
        return found != (self._folders, self._files) and now_s - self._last_s >= _SETTLED_S


def _times(paths: Iterable[str]) -> _Times:
    return {path: _changed_ns(path) for path in paths}


def _has_compiled(path: str) -> bool:
    return os.path.isdir(os.path.join(path, "__pycache__"))  # noqa: PTH112, PTH118 -- as below


def _changed_ns(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 -- asked of hundreds of files at each start of a job
    except OSError:
        return None
