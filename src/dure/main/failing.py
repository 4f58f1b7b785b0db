"""Logs that something fails which is tried again and again: when that begins, changes and ends, not at each try.

A database that is away for a night must not fill the log. The trap: two failures that take turns are told each time.
"""

from __future__ import annotations

import logging

from dure.ports import StoreError


class Failing:
    """What one thing's tries came to last. `event` is what the log calls a failure."""

    def __init__(self, log: logging.Logger, event: str) -> None:
        self._log = log
        self._event = event
        self._told = ""

    def failed(self, error: Exception) -> None:
        """Tell of a failure unless it was told last; of a database that cannot be used, without a traceback."""
        told = f"{type(error).__name__}: {error}"
        if told == self._told:
            return
        self._told = told
        if isinstance(error, StoreError):
            self._log.warning(self._event, extra={"error": str(error)})
        else:
            self._log.error(self._event, exc_info=error)

    def succeeded(self) -> None:
        """Tell that it works again, where it did not."""
        if self._told:
            self._told = ""
            self._log.info(f"{self._event}.over")
