"""Calls one function: restores `__call__` = (function, args, kwargs), calls it, stores `__result__` or `__exception__`.

The trap: an exception that cannot be pickled must still reach the caller, so its formatted traceback always goes too.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from typing import Any

from dure.state import BlobError, Blobs, Snapshot, capture, open_blobs, restore
from dure.wire.cells import CALL, EXCEPTION, RESULT
from dure.worker.channel import READY, Outlet
from dure.worker.failing import exit_code, failed
from dure.worker.patience import Patience
from dure.worker.shell import CellShell, safe_text
from dure.worker.spec import MAX_OUTPUTS, AttemptSpec, SpecError


def run(spec: AttemptSpec, shell: CellShell, outlet: Outlet) -> dict[str, Any]:
    """Call the function of payload["call"] and return the report; raises SpecError when it cannot be restored."""
    blobs = open_blobs(spec.blobs)
    try:
        report = restore(Snapshot.load(str(spec.payload["call"]), blobs), blobs, into=shell.user_ns)
    except BlobError as error:
        raise SpecError(f"The function cannot be fetched: {error}") from error
    beside = set(spec.payload.get("beside") or ())  # what the function may look up, and what may be missing
    for name in report.failed.keys() & beside:
        sys.stderr.write(f"dure: {name}: {report.failed[name]}\n")
    if needed := report.failed.keys() - beside:
        reasons = "; ".join(f"'{name}': {report.failed[name]}" for name in sorted(needed))
        raise SpecError(f"The environment '{spec.environment}' cannot take over what the function needs: {reasons}")
    call, args, kwargs = shell.user_ns.pop(CALL)
    shell.connect(outlet, getattr(call, "__name__", None))
    shell.know_sources(spec.payload.get("sources") or {})
    outlet.report(READY)
    began_at = time.monotonic()
    try:
        value = call(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    except BaseException as error:
        return _failure(shell, blobs, error)
    return Patience(time.monotonic() - began_at)(lambda: _store(blobs, value))


def _store(blobs: Blobs, value: Any) -> dict[str, Any]:
    saved = capture({RESULT: value}, [RESULT], blobs=blobs)
    if RESULT in saved.unsaved:
        why = saved.unsaved[RESULT].replace(RESULT, "result", 1)
        reason = f"The function ended well, but its result cannot be sent back: {why}"
        return failed("error", 1, "UnsavedResult", reason)
    told = {"snapshot": saved.store(blobs), "changed": [RESULT], "outputs": saved.largest(MAX_OUTPUTS)}
    return {"status": "ok", "exit_code": 0, **told, "error": None}


def _failure(shell: CellShell, blobs: Blobs, error: BaseException) -> dict[str, Any]:
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    shell.showtraceback((type(error), error, trace))
    if isinstance(error, SystemExit):
        return failed("exit", exit_code(error), "SystemExit", safe_text(error))
    if isinstance(error, KeyboardInterrupt):
        return failed("interrupted", 130, "KeyboardInterrupt", "The function was interrupted.")
    report = failed("error", 1, type(error).__name__, safe_text(error))
    try:
        error.__traceback__ = None  # frames hold everything and cannot be pickled
        saved = capture({EXCEPTION: error}, [EXCEPTION], blobs=blobs)
        if EXCEPTION not in saved.unsaved:
            report |= {"snapshot": saved.store(blobs), "changed": [EXCEPTION]}
    except Exception as problem:
        report["unsaved"] = {EXCEPTION: safe_text(problem)}
    return report
