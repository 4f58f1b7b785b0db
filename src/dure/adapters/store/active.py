"""The unfinished jobs as last read, so that asking for 10,000 of them again decodes only those that changed.

It relies on the log: every change of a job has an event, and events are numbered in the order of commits, so the jobs
of events after the last number seen are all that can differ. The trap: jobs are shared with every caller; they are
frozen.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dure.core.model import Job

_NOTHING_READ = -1


class ActiveJobs:
    """The unfinished jobs and the log's number that they were true at. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._shown: tuple[Job, ...] = ()
        self._seq = _NOTHING_READ

    def read(
        self,
        everything: Callable[[], tuple[Sequence[Job], int]],
        changed: Callable[[int], tuple[Sequence[Job], int]],
    ) -> tuple[tuple[Job, ...], int]:
        """Return the unfinished jobs and the log's number; `everything` reads all, `changed` those after a number."""
        with self._lock:
            if self._seq == _NOTHING_READ:
                found, seq = everything()
            else:
                found, seq = changed(self._seq)
                if seq < self._seq:  # another database was put in this one's place
                    self._jobs.clear()
                    found, seq = everything()
            for job in found:
                if job.phase.terminal:
                    self._jobs.pop(job.id, None)
                else:
                    self._jobs[job.id] = job
            if found or self._seq == _NOTHING_READ:
                self._shown = tuple(self._jobs.values())
            self._seq = seq
            return self._shown, seq
