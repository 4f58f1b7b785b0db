"""`dure.checkpointed()`: a job says that its work is saved, so that less is lost when it must give its GPUs away.

Jobs that saved last are preempted first among equals. The trap: it may be called anywhere, also outside a job and on a
full disk, and must never fail what it is called by.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

VARIABLE = "DURE_CHECKPOINT_FILE"


def checkpointed() -> None:
    """Tell the platform that this job's work is saved as of now; outside a job nothing happens.

    The same from any language: `touch "$DURE_CHECKPOINT_FILE"`. Call it after the checkpoint is written.
    """
    path = os.environ.get(VARIABLE)
    if path:
        with suppress(OSError):
            Path(path).touch()
