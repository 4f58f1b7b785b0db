"""The reports of cells and functions that store nothing: one status, one exit code, the exception's name and text.

The trap: an exception's own code may fail while it is asked for its text.
"""

from __future__ import annotations

import sys
from typing import Any

from dure.worker.shell import CellShell, safe_text


def interrupted() -> dict[str, Any]:
    """Return the report of a cell that an interrupt ended outside of its own code."""
    return failed("interrupted", 130, "KeyboardInterrupt", "The cell was interrupted.")


def failed(status: str, exit_code: int, ename: str, evalue: str) -> dict[str, Any]:
    """Return the report of a run that stores nothing."""
    return {"status": status, "exit_code": exit_code, "error": {"ename": ename, "evalue": evalue}}


def failure(shell: CellShell, error: BaseException) -> dict[str, Any]:
    """Return the report of a cell that ended with `error`, which the person sees also where IPython says nothing."""
    name, text = type(error).__name__, safe_text(error)
    if isinstance(error, SystemExit):
        if error.code is not None and not isinstance(error.code, int):
            sys.stderr.write(f"{text}\n")  # as Python does with `sys.exit("why")`
        return failed("exit", exit_code(error), name, text)
    if not shell.shown:  # every failure is shown, also where IPython only prints
        shell.send("error", {"ename": name, "evalue": text, "traceback": [f"{name}: {text}"]})
    if isinstance(error, KeyboardInterrupt):
        return failed("interrupted", 130, name, text or "The cell was interrupted.")
    return failed("error", 1, name, text)


def exit_code(error: SystemExit) -> int:
    """Return the exit code that Python would give for this SystemExit."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1
