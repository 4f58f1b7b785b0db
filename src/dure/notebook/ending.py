"""Says how a job that did not succeed ended, as the exception to raise for it.

The trap: what the person's code raised is shown as its own traceback; all else is one sentence, never our frames.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dure.notebook.context import language
from dure.notebook.failures import QuietError, RemoteInterrupt, remote_error
from dure.notebook.watching import Outcome
from dure.notebook.words import say
from dure.wire.retold import retold

if TYPE_CHECKING:
    from dure.wire.messages import JobView

_MODULE = re.compile(r"No module named '([^']+)'|it needs the package ([^\s,]+),")
_SIGNAL = re.compile(r"SIG[A-Z0-9]+")
_OF_THE_QUEUE = frozenset({"Timeout", "MemoryLimit", "Stopped", "DiskFull"})  # told in the reader's language
_NOT_USER_CODE = frozenset({"NotStarted", "DiskFull", "Timeout", "MemoryLimit", "Stopped", "Killed", "ProcessDied"})


def failure_of(outcome: Outcome, job: JobView, end: dict[str, Any]) -> BaseException:
    """Return the exception that shows the end of `job`."""
    status = end.get("status")
    lines = list((outcome.error or {}).get("traceback") or ())
    if job.phase == "cancelled" and not end:
        sentence = job.reason_sentence or say("cancelled_queued")
        return RemoteInterrupt(say("cancelled_queued")) if outcome.interrupts else QuietError(sentence)
    if status == "interrupted" or (outcome.interrupts and status in {"killed", None}):
        return RemoteInterrupt(say("interrupted"), lines)
    error = end.get("error") or {}
    ename, evalue = str(error.get("ename", "")), str(error.get("evalue", ""))
    hint = package_hint(ename, evalue, job.environment)
    if ename in _NOT_USER_CODE or ename == "UnsavedResult":
        evalue = retold(evalue, language())
    if ename == "NameError" and lines:  # one that was asked for in the notebook, perhaps
        lines[-1] = retold(lines[-1], language())
    if status == "error" and ename not in _NOT_USER_CODE:
        return remote_error(ename, evalue, lines, [hint] if hint else [])
    if status == "exit" and ename in {"SystemExit", "ProcessExited"}:
        return QuietError(say("exited_partial" if end.get("partial") else "exited", code=end.get("exit_code")))
    if ename == "ProcessDied" and (died := _SIGNAL.search(evalue)):
        return QuietError(say("died", signal=died[0]))
    if ename == "Killed":
        return QuietError(say("killed_outside"))
    if ename in _OF_THE_QUEUE and job.phase in {"failed", "cancelled"} and job.reason_sentence:
        return QuietError(job.reason_sentence)
    sentence = evalue or job.reason_sentence or say("ended", phase=job.phase, reason="")
    return QuietError(f"{sentence}\n{hint}" if hint else sentence)


def left_behind(outcome: Outcome) -> RemoteInterrupt:
    """Return what says that the kernel goes on although the job has not ended, and how it is found again."""
    if outcome.job is None:
        return RemoteInterrupt(say("left_submitting"))
    return RemoteInterrupt(say("left_running" if outcome.interrupts < 2 else "left_stopping", job=outcome.job.id))


def package_hint(ename: str, text: str, environment: str) -> str | None:
    """Return what to do about a package that the worker lacks; None when that is not the trouble."""
    if ename not in {"ModuleNotFoundError", "NotStarted"}:
        return None
    found = _MODULE.search(text)
    if found is None:
        return None
    package = (found[1] or found[2]).split(".")[0]
    return say("missing_package", package=package, environment=environment)
