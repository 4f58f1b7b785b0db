"""Makes an attempt's result of what its runner noted: one status, one exit code, one sentence when it went wrong.

Pure: facts in, result out. The trap is precedence: what Dure did to the process (memory, timeout, stop) explains its
end better than the signal that it died of.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any

from dure.worker.spec import Limits

_PARTIAL = frozenset({"partial", "snapshot", "changed", "deleted", "in_place", "unsaved", "extras", "left_here"})


@dataclass(slots=True)
class Facts:
    """What a runner noted. `report` is the user process's own account, None when it died without giving one."""

    kind: str = "command"
    limits: Limits = field(default_factory=Limits)
    report: dict[str, Any] | None = None
    exit_status: int | None = None
    refusal: str | None = None
    unwritable: str | None = None
    over_memory: bool = False
    timed_out: bool = False
    stopping: bool = False
    interrupts: int = 0
    failed: tuple[int, str] | None = None  # the rank that failed first and its node, of a job over several


def outcome(facts: Facts) -> dict[str, Any]:
    """Return the end message of the contract, without ran_s and artifacts.

    Of a job over several nodes whose rank failed by itself, `rank` tells which.
    """
    result = _outcome(facts)
    if facts.failed is not None and result["status"] not in {"ok", "timeout", "interrupted"} and not facts.stopping:
        result["rank"] = facts.failed[0]
    return result


def _outcome(facts: Facts) -> dict[str, Any]:
    report = facts.report
    forced = _forced(facts)
    if forced:
        return _result(*forced)
    if report is not None and facts.failed and report.get("error"):
        return {
            **_result("error", 1),
            **report,
            "error": {**report["error"], "evalue": _of_rank(facts, report["error"]["evalue"])},
        }
    if report is not None:
        if report.get("status") == "ok" or not (facts.stopping or facts.timed_out):
            return {**_result("ok", 0), **report}
        partial = {key: value for key, value in report.items() if key in _PARTIAL} if report.get("partial") else {}
        if facts.stopping:
            return {**_result("killed", 143, "Stopped", "The job was stopped."), **partial}
        return {**_result("timeout", 124, "Timeout", _timeout_sentence(facts)), **partial}
    return _result(*_died(facts))


def _result(status: str, code: int | None, ename: str = "", evalue: str = "") -> dict[str, Any]:
    error = {"ename": ename, "evalue": evalue} if ename else None
    nothing: dict[str, Any] = {"snapshot": None, "changed": [], "deleted": [], "unsaved": {}, "artifacts": []}
    return {"status": status, "exit_code": code, **nothing, "ran_s": 0.0, "error": error}


def _forced(facts: Facts) -> tuple[str, int, str, str] | None:
    if facts.refusal:
        return "error", 1, "NotStarted", facts.refusal
    if facts.unwritable:
        return "error", 1, "DiskFull", facts.unwritable
    if facts.over_memory:
        limit = (facts.limits.memory_bytes or 0) / 2**30
        sentence = (
            f"The job used more memory than its limit of {limit:.2f} GiB and was ended. Ask for more, or load less."
        )
        return "memory", 137, "MemoryLimit", _of_rank(facts, sentence)
    return None


def _timeout_sentence(facts: Facts) -> str:
    return f"The job ran longer than its time limit of {facts.limits.timeout_s:g} s. Ask for more with --timeout."


def _died(facts: Facts) -> tuple[str, int | None, str, str] | tuple[str, int | None]:
    """The end of a process that gave no account: a command, or a cell whose process is gone."""
    status = facts.exit_status
    code = 1 if status is None else os.waitstatus_to_exitcode(status)
    shown = 128 - code if code < 0 else code
    if facts.timed_out:
        return "timeout", 124, "Timeout", _timeout_sentence(facts)
    if facts.interrupts > 1:
        sentence = "The job was interrupted twice: it did not stop at the first interrupt and was killed."
        return "interrupted", shown, "KeyboardInterrupt", sentence
    if facts.stopping:
        return "killed", shown, "Stopped", "The job was stopped."
    if facts.interrupts and code != 0:
        return "interrupted", 130, "KeyboardInterrupt", "The job was interrupted."
    ended = _left_by_itself(facts.kind, code, shown)
    if facts.failed is None or code == 0:
        return ended
    if len(ended) == 2:
        return *ended, "RankFailed", _of_rank(facts, f"The process ended with exit code {code}.")
    return *ended[:3], _of_rank(facts, ended[3])


def _of_rank(facts: Facts, sentence: str) -> str:
    """Say which rank it was, of a job over several nodes: the others were ended for it."""
    return sentence if facts.failed is None else f"Rank {facts.failed[0]} on node {facts.failed[1]}: {sentence}"


def _left_by_itself(kind: str, code: int, shown: int) -> tuple[str, int | None, str, str] | tuple[str, int | None]:
    if code == -signal.SIGKILL:
        sentence = "The process was killed from outside (SIGKILL): usually the machine ran out of memory."
        return "killed", shown, "Killed", sentence
    if code < 0:
        name = signal.Signals(-code).name
        return "error", shown, "ProcessDied", f"The process died of {name}, a crash in compiled code or a signal."
    if kind == "command":
        return "ok" if code == 0 else "exit", code
    return "exit", code, "ProcessExited", f"The process ended itself with exit code {code}; its variables are lost."
