"""Waits for a store that is away when a cell, function or command has ended, so that what it made is not lost by that.

The trap: the GPU is held meanwhile, so it waits no longer than the work took that would be lost, ten minutes at most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from dure.state.store.blobs import StoreAwayError

LEAST_S = 60.0
MOST_S = 600.0
PAUSE_S = 2.0
_T = TypeVar("_T")


class Patience:
    """How long the store may be away in all after work that took `ran_s`, from when it is away first."""

    def __init__(self, ran_s: float) -> None:
        self._patience_s = min(MOST_S, max(LEAST_S, ran_s))
        self._until: float | None = None

    def __call__(self, step: Callable[[], _T]) -> _T:
        """Return what `step` returns, which is done again while the store is away; StoreAwayError when that takes too
        long. The person is told once, on stderr.
        """
        while True:
            try:
                return step()
            except StoreAwayError as error:
                if self._until is None:
                    self._until = time.monotonic() + self._patience_s
                    waits = f"The results wait here, for up to {self._patience_s:.0f} s."
                    sys.stderr.write(f"dure: {error} {waits}\n")
                if time.monotonic() >= self._until:
                    raise
                time.sleep(PAUSE_S)
