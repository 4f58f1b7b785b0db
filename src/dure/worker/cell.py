"""Runs one cell: restores the names it reads, runs it in the ready shell, stores the names that it changed.

All or nothing: an exception, an interrupt or sys.exit stores nothing. The trap: names are restored before READY, so
that what fails there (a missing package, a missing blob) never counts as user code that had begun.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from dure.state import BlobError, Blobs, Snapshot, changed, open_blobs, restore
from dure.worker.channel import READY, Outlet
from dure.worker.demand import FetchingBuiltins, Misses, misses, runs_unread_code
from dure.worker.last_value import LAST_VALUE, holder_of, small_copy
from dure.worker.shell import CellShell, safe_text
from dure.worker.spec import AttemptSpec, SpecError

PROVIDE_TIMEOUT_S = 30.0


def run(spec: AttemptSpec, shell: CellShell, outlet: Outlet) -> dict[str, Any]:
    """Run payload["code"] and return the report; raises SpecError when its names cannot be restored."""
    payload = spec.payload
    session = _Session(spec, shell, outlet)
    session.restore(payload.get("snapshot"), str(payload["code"]))
    shell.connect(outlet, payload.get("cell_name"))
    shell.know_sources(payload.get("sources") or {})
    outlet.report(READY)
    result = shell.run(str(payload["code"]))
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        return _failure(shell, error)
    return session.store(result.result)


def failed(status: str, exit_code: int, ename: str, evalue: str) -> dict[str, Any]:
    """Return the report of a run that stores nothing."""
    return {"status": status, "exit_code": exit_code, "error": {"ename": ename, "evalue": evalue}}


def _failure(shell: CellShell, error: BaseException) -> dict[str, Any]:
    name, text = type(error).__name__, safe_text(error)
    if isinstance(error, SystemExit):
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


class _Session:
    """The cell's namespace against the snapshot that it began from."""

    def __init__(self, spec: AttemptSpec, shell: CellShell, outlet: Outlet) -> None:
        self._spec = spec
        self._shell = shell
        self._outlet = outlet
        self._before = frozenset(shell.user_ns)
        self._base: Snapshot | None = None
        self._absent: set[str] = set()
        self._fetching = threading.RLock()
        self._timeout_s = float(spec.payload.get("provide_timeout_s") or PROVIDE_TIMEOUT_S)
        self._blobs_opened: Blobs | None = None

    @property
    def _blobs(self) -> Blobs:
        if self._blobs_opened is None:
            self._blobs_opened = open_blobs(self._spec.blobs)
        return self._blobs_opened

    def restore(self, digest: str | None, code: str) -> None:
        if digest:
            self._base = self._load(digest)
        known = {*self._before, *(self._base.names if self._base else ())}
        found = self._misses(code, known)
        if found.hook:
            self._install_hook()
        self._restore_base()
        if found.spoken:
            answer = self._outlet.ask({"type": "need", "names": list(found.spoken)}, self._timeout_s)
            self._take(answer or {})
        if not self._hooked and runs_unread_code(self._shell.user_ns):
            self._install_hook()  # functions hold the builtins of the moment they were made: make them anew
            self._restore_base()

    def _load(self, digest: str) -> Snapshot:
        try:
            return Snapshot.load(digest, self._blobs)
        except BlobError as error:
            raise SpecError(f"The variables of the cell cannot be fetched: {error}") from error

    def _restore_base(self) -> None:
        if self._base is not None:
            self._restore(self._base)

    def _restore(self, snapshot: Snapshot) -> None:
        report = restore(snapshot, self._blobs, into=self._shell.user_ns)
        if report.failed:
            reasons = "; ".join(f"'{name}': {reason}" for name, reason in report.failed.items())
            raise SpecError(
                f"The environment '{self._spec.environment}' cannot take over what the cell needs: {reasons}"
            )

    def _misses(self, code: str, known: set[str]) -> Misses:
        try:
            tree = self._shell.parse(code)
        except (SyntaxError, ValueError):
            return Misses(hook=False, spoken=())  # the run will show it
        return misses(tree, known)

    @property
    def _hooked(self) -> bool:
        return isinstance(self._shell.user_ns.get("__builtins__"), FetchingBuiltins)

    def _install_hook(self) -> None:
        self._shell.user_ns["__builtins__"] = FetchingBuiltins(self._fetch)

    def _fetch(self, name: str) -> Any:
        """Return the kernel's value of `name`; KeyError when the kernel has none, NameError when it does not answer."""
        with self._fetching:
            if name in self._shell.user_ns:  # another thread was faster
                return self._shell.user_ns[name]
            if name in self._absent:
                raise KeyError(name)
            answer = self._outlet.ask({"type": "need", "names": [name]}, self._timeout_s)
            if answer is None:
                raise NameError(
                    f"name '{name}' is not defined on the worker, and the notebook did not send it within "
                    f"{self._timeout_s:g} s",
                    name=name,
                )
            self._take(answer)
            if name not in self._shell.user_ns:
                self._absent.add(name)
                raise KeyError(name)
            return self._shell.user_ns[name]

    def _take(self, answer: Mapping[str, Any]) -> None:
        digest = answer.get("snapshot")
        self._absent |= {name for name, value in (answer.get("names") or {}).items() if value is None}
        if not digest:
            return
        try:
            extra = self._load(digest)
            self._restore(extra)
        except SpecError as error:
            raise NameError(str(error)) from error
        self._base = extra if self._base is None else self._base.merged(extra)

    def store(self, value: Any = None) -> dict[str, Any]:
        """Store what the cell changed, and its last `value` where that is small; return the report."""
        names = self._shell.user_ns
        holder = holder_of(value, names)
        copied = small_copy(value) if holder is None else None
        if copied is not None:
            names[LAST_VALUE] = copied
        changes = changed(names, self._base, blobs=self._blobs, ignore=self._before)
        digest = changes.snapshot.store(self._blobs) if changes.snapshot and changes.changed else None
        return {
            "status": "ok",
            "exit_code": 0,
            "snapshot": digest,
            "changed": [name for name in changes.changed if name != LAST_VALUE],
            "deleted": list(changes.deleted),
            "unsaved": {name: reason for name, reason in changes.unsaved.items() if name != LAST_VALUE},
            "last_name": holder,
            "error": None,
        }
