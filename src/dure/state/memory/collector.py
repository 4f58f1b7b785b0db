"""Keeps the garbage collector still while millions of objects are made or walked that live on anyway.

Each collection amid that walks all that there is so far, which makes loading five times as long. The one trap: the
collector is one for all threads, so only the last to end lets it run again.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_pausing = 0
_ran = False


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Run what is inside without collections; they go on after it if they did before."""
    global _pausing, _ran  # noqa: PLW0603 - the collector is one for the process, too
    with _lock:
        if not _pausing:
            _ran = gc.isenabled()
            gc.disable()
        _pausing += 1
    try:
        yield
    finally:
        with _lock:
            _pausing -= 1
            if not _pausing and _ran:
                gc.enable()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.Lock()
    if _pausing and _ran:  # by a thread that is not here
        gc.enable()


os.register_at_fork(after_in_child=_after_fork)
