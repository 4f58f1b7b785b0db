"""Runs a cell: restores the names it reads, runs it in the ready shell, stores the names that it changed.

All or nothing: an exception, an interrupt or sys.exit stores nothing, unless `keep_partial` says so. A kept process
then waits and runs the next cell where this one ended. The traps: names are restored before READY, so that what fails
there (a missing package, a missing blob) never counts as user code that had begun; and a kept process must never use
a value that the notebook has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from IPython.core import async_helpers

from dure.state import BlobError, Blobs, Changes, Snapshot, changed, restore
from dure.state.extras import LAST, SETTINGS, packed, unpacked
from dure.state.manifest import EXTRA
from dure.wire.cells import EVERYTHING, LABELS_MADE, LAST_VALUE, PROVIDE_TIMEOUT_S, SETTINGS_MADE
from dure.worker.besides import Besides
from dure.worker.cache import node_blobs
from dure.worker.channel import CELL_END, READY, Outlet
from dure.worker.comms import Comms
from dure.worker.demand import AskingForKeys, FetchingBuiltins, Misses, misses, unread_code
from dure.worker.failing import failed, failure, interrupted
from dure.worker.last_value import holder_of, is_number, small_copy
from dure.worker.patience import Patience
from dure.worker.relabelled import Relabelled
from dure.worker.shell import CellShell
from dure.worker.spec import MAX_OUTPUTS, AttemptSpec, SpecError

MAX_THREADS_TOLD = 8
_OURS = frozenset({LAST_VALUE, SETTINGS_MADE, LABELS_MADE})
_SURVIVED = frozenset({"ok", "error", "interrupted"})


def run(spec: AttemptSpec, shell: CellShell, outlet: Outlet) -> dict[str, Any]:
    """Run payload["code"], and the cells after it while the process is kept; return the report of the last.

    Raises SpecError when the first cell's names cannot be restored.
    """
    session = _Session(spec, shell, outlet)
    kept = spec.keep_s > 0
    report = _run_first(session, spec.payload, kept=kept)
    while kept and report["status"] in _SURVIVED:
        session.settle(report)
        outlet.report(CELL_END, report)
        told = outlet.ask({"type": "next"})
        cell = (told or {}).get("cell")
        if not cell:
            report = {**report, "left": session.left()}
            break
        kept = float(cell.get("keep_s") or 0) > 0
        report = _run_next(session, cell)
    return report


def _run_first(session: _Session, cell: Mapping[str, Any], *, kept: bool) -> dict[str, Any]:
    session.restore(cell)
    try:
        return session.run(cell)
    except KeyboardInterrupt:
        if not kept:
            raise
    return interrupted()


def _run_next(session: _Session, cell: Mapping[str, Any]) -> dict[str, Any]:
    """Run a next cell in the same process; whatever fails is its own failure, and the process lives on."""
    try:
        session.outlet.interrupts.install()
        session.resume(cell)
        return session.run(cell)
    except KeyboardInterrupt:
        return interrupted()
    except (SpecError, BlobError, NameError) as error:
        text = str(error)
    session.shell.send("error", {"ename": "NotStarted", "evalue": text, "traceback": [f"NotStarted: {text}"]})
    return failed("error", 1, "NotStarted", text)


class _Session:
    """The cell's namespace against the snapshot that it began from."""

    def __init__(self, spec: AttemptSpec, shell: CellShell, outlet: Outlet) -> None:
        self.outlet = outlet
        self.shell = shell
        self._comms = Comms(outlet)
        self._comms.install()
        self._spec = spec
        shell.user_ns["__getattr__"] = self._attribute
        shell.ast_transformers.append(AskingForKeys(lambda: self._hooked))
        self._running = False
        self._before = frozenset(shell.user_ns)
        self._plain_builtins = shell.user_ns.get("__builtins__")
        self._base = Snapshot()  # what the notebook and this process both have
        self._hidden: dict[str, Any] = {}  # values that a next cell may fetch anew, put aside while it runs
        self._told: dict[str, int] = {}  # the ids of values that were named as unsaved
        self._brought: dict[str, int] = {}  # the ids of what the notebook and this process both have
        self._relabelled = Relabelled()
        self._absent: set[str] = set()  # names that the notebook does not have
        self._besides = Besides(shell.user_ns)
        self._whole = False  # all that the notebook has is here
        self._ran_s = 0.0  # how long the last cell took
        self._fetching = threading.RLock()
        self._timeout_s = float(spec.payload.get("provide_timeout_s") or PROVIDE_TIMEOUT_S)
        self._blobs_opened: Blobs | None = None

    @property
    def _blobs(self) -> Blobs:
        if self._blobs_opened is None:
            self._blobs_opened = node_blobs(self._spec.blobs, self._spec.node)
        return self._blobs_opened

    def run(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """Run the code on the names that are there, and return the report."""
        self.shell.connect(self.outlet, cell.get("cell_name"))
        self.shell.know_sources(cell.get("sources") or {})
        self.outlet.report(READY)
        try:
            with self._comms.open():
                self._running = True
                self._besides.start()
                began_at = time.monotonic()
                result = self.shell.run(str(cell["code"]))
        finally:
            self._running = False
            self._besides.stop()
            FetchingBuiltins.uncover()
        self._ran_s = time.monotonic() - began_at
        error = result.error_before_exec or result.error_in_exec
        if error is None:
            return self.store(result.result)
        report = failure(self.shell, error)
        return {**self.store(), **report, "partial": True} if cell.get("keep_partial") else report

    def restore(self, cell: Mapping[str, Any]) -> None:
        """Bring what a first cell reads."""
        code = str(cell["code"])
        if cell.get("snapshot"):
            self._base = self._load(cell["snapshot"])
        self._take_extras(cell, self._base)
        known = {*self._before, *self._base.names}
        found = self._misses(code, known)
        if found.hook:
            self._install_hook()
        self._restore(self._base)
        if found.spoken:
            answer = self.outlet.ask({"type": "need", "names": list(found.spoken)}, self._timeout_s)
            self._take(answer or {}, found.spoken)
        unread = self._hook_unread(self._base)
        if found.whole or unread.whole:
            self._fetch_all()

    def _load(self, digest: str) -> Snapshot:
        try:
            return Snapshot.load(digest, self._blobs)
        except BlobError as error:
            raise SpecError(f"The variables of the cell cannot be fetched: {error}") from error

    def _take_extras(self, cell: Mapping[str, Any], snapshot: Snapshot) -> None:
        """Have what the notebook has besides variables."""
        if not cell.get("extras"):
            return
        try:
            parts = unpacked(self._blobs.get(str(cell["extras"])))
        except BlobError as error:
            raise SpecError(f"The variables of the cell cannot be fetched: {error}") from error
        failed: dict[str, str] = {}
        if SETTINGS in snapshot.extras:
            report = restore(snapshot.only({EXTRA + SETTINGS}), self._blobs, into={})
            parts[SETTINGS] |= report.extras.get(SETTINGS, {})
            failed = report.failed
        for what, reason in {**failed, **self._besides.take(parts)}.items():
            sys.stderr.write(f"dure: {what}: {reason}\n")

    def _restore(self, snapshot: Snapshot, *, tell: bool = False) -> set[str]:
        """Load it; return what cannot be loaded here, which is SpecError unless it is to be told only."""
        if not snapshot.groups:
            return set()
        report = restore(snapshot, self._blobs, into=self.shell.user_ns, follow=True)
        report.failed.pop(SETTINGS, None)
        if report.failed and not tell:
            reasons = "; ".join(f"'{name}': {reason}" for name, reason in report.failed.items())
            raise SpecError(
                f"The environment '{self._spec.environment}' cannot take over what the cell needs: {reasons}"
            )
        for name, reason in {**report.failed, **report.told}.items():
            sys.stderr.write(f"dure: {name}: {reason}\n")
        self._brought.update((name, id(self.shell.user_ns.get(name))) for name in snapshot.names)
        self._relabelled.came(snapshot, report.renamed, running=self._running)
        return set(report.failed)

    def _misses(self, code: str, known: set[str]) -> Misses:
        try:
            tree = self.shell.parse(code)
        except (SyntaxError, ValueError):
            return Misses()  # the run will show it
        return misses(tree, known)

    @property
    def _hooked(self) -> bool:
        return isinstance(self.shell.user_ns.get("__builtins__"), FetchingBuiltins)

    def _install_hook(self) -> None:
        names = self.shell.user_ns
        ours = FetchingBuiltins(self._fetch, self._fetch_all_now, names)
        names["__builtins__"] = ours
        ours.cover()

    def _hook_unread(self, snapshot: Snapshot) -> Misses:
        """Return what the functions that are here may lack, and put the hook in where one needs it. Those of `snapshot`
        are then made anew, because a function keeps the builtins of the moment in which it was made.
        """
        unread = unread_code(self.shell.user_ns)
        if unread.hook and not self._hooked:
            self._install_hook()
            self._restore(snapshot)
        return unread

    def _fetch(self, name: str) -> Any:
        """Return the kernel's value of `name`; KeyError when the kernel has none, NameError when it does not answer."""
        with self._fetching:
            if name in self.shell.user_ns:  # another thread was faster
                return self.shell.user_ns[name]
            if name in self._absent or name in self._deleted():
                raise KeyError(name)
            answer = self.outlet.ask({"type": "need", "names": [name]}, self._timeout_s)
            if answer is None:
                raise NameError(f"name '{name}' is not defined on the worker, {self._why_unsent()}", name=name)
            self._take(answer, [name])
            if name not in self.shell.user_ns:
                self._absent.add(name)
                raise KeyError(name)
            return self.shell.user_ns[name]

    def _why_unsent(self) -> str:
        if not self.outlet.own:
            return "and a process that the cell has forked cannot ask the notebook: name in the cell what it needs"
        return f"and the notebook did not send it within {self._timeout_s:g} s"

    def _fetch_all_now(self) -> None:
        if self._running:  # code that runs on after the cell's end has nobody to ask
            self._fetch_all()

    def _fetch_all(self) -> None:
        """Bring all that the notebook has and this process lacks; NameError when it does not answer."""
        with self._fetching:
            if self._whole:
                return
            answer = self.outlet.ask({"type": "need", "names": [EVERYTHING]}, self._timeout_s)
            if answer is None:
                all_names = "The cell looks at all variables at once (globals(), dir() or the like), "
                raise NameError(all_names + self._why_unsent())
            self._whole = True
            self._take(answer)

    def _deleted(self) -> set[str]:
        """The notebook's names that the cell has deleted here."""
        known = set(self._base.names)
        gone: set[str] = known - self.shell.user_ns.keys() - self._hidden.keys()
        return gone

    def _attribute(self, name: str) -> Any:
        """Find what code looks for in the module `__main__` (`from __main__ import x`): Python asks here last."""
        if self._running and not name.startswith("_"):
            with contextlib.suppress(KeyError):
                return self._fetch(name)
        raise AttributeError(f"module '__main__' has no attribute '{name}'", name=name)

    def _take(self, answer: Mapping[str, Any], asked: Iterable[str] = ()) -> None:
        """Take over what came, but nothing that is here already or that the cell has deleted, unless `asked` for."""
        digest = answer.get("snapshot")
        self._absent |= {name for name, value in (answer.get("names") or {}).items() if value is None}
        if not digest:
            return
        try:
            extra = self._load(digest)
            extra = extra.without({*self.shell.user_ns, *(self._deleted() - set(asked))})
            # Of all that there is, what this environment cannot load does not keep the rest away.
            extra = extra.without(self._restore(extra, tell=not asked))
            if not self._hooked:
                self._hook_unread(extra)
        except SpecError as error:
            raise NameError(str(error)) from error
        self._base = self._base.merged(extra)

    # --- a kept process ----------------------------------------------------------------------------------------

    def resume(self, cell: Mapping[str, Any]) -> None:
        """Bring a next cell's names up to what the notebook holds now.

        `names` are those whose value the notebook vouches for: it is here already, or comes with `snapshot`. `others`
        are what else it has: put aside here, so that the cell fetches it anew when it looks for it. What came from the
        notebook and is in neither was deleted there. Names that only this process has (an open file) stay.
        """
        names = self.shell.user_ns
        hook: Any = self.shell.displayhook
        hook.flush()  # Out and _ belong to the notebook
        if self._plain_builtins is not None:
            names["__builtins__"] = self._plain_builtins
        self._absent.clear()
        self._whole = False
        self._timeout_s = float(cell.get("provide_timeout_s") or PROVIDE_TIMEOUT_S)
        vouched = set(cell.get("names") or ())
        self._put_aside(vouched, set(cell.get("others") or ()))
        extra = self._load(cell["snapshot"]) if cell.get("snapshot") else Snapshot()
        self._take_extras(cell, extra)
        self._besides.enter()
        found = self._misses(str(cell["code"]), {*names, *extra.names})
        if found.hook:
            self._install_hook()
        self._base = self._base.merged(extra)
        self._restore(extra)
        wanted = sorted({*found.spoken, *(vouched - names.keys())})
        if wanted:
            self._take(self.outlet.ask({"type": "need", "names": wanted}, self._timeout_s) or {}, wanted)
        unread = self._hook_unread(extra)
        if found.whole or unread.whole:
            self._fetch_all()

    def _put_aside(self, vouched: set[str], others: set[str]) -> None:
        names = self.shell.user_ns
        known = set(self._base.names)
        self._forget(known - vouched - others)
        for name in others & names.keys() - self._before:
            value = names.pop(name)
            if name in known:  # else it is this process's own, such as a failed cell left, and the notebook's counts
                self._hidden[name] = value

    def settle(self, report: dict[str, Any]) -> None:
        """Make the process ready to wait: deaf to interrupts, sure of what it holds, which the report then names.

        After a failure, what the notebook has and the cell changed is dropped: the notebook's own counts.
        """
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                break
        self._reveal()
        for name in _OURS:
            self.shell.user_ns.pop(name, None)
        if report["status"] != "ok":
            self._drop_doubtful()
        report["held"] = self._held_stored()

    def _held_stored(self) -> str | None:
        """Return what names all that is held; None while the store is away: the next cell then comes with all it reads.

        By now the cell has ended and its results are stored: nothing that fails here may cost them.
        """
        if not self._base.groups:
            return None
        try:
            return self._base.store(self._blobs)
        except (BlobError, OSError):
            return None

    def _reveal(self) -> None:
        for name, value in self._hidden.items():
            self.shell.user_ns.setdefault(name, value)
        self._hidden.clear()

    def _drop_doubtful(self) -> None:
        try:
            changes = changed(self.shell.user_ns, self._base, blobs=self._blobs, ignore=frozenset(self.shell.user_ns))
            doubtful: Iterable[str] = {*changes.changed, *changes.deleted, *changes.unsaved}
        except Exception:  # what cannot be compared cannot be relied on
            doubtful = self._base.names
        self._forget(doubtful)

    def _forget(self, names: Iterable[str]) -> None:
        known = set(self._base.names) & set(names)
        for name in known:
            self.shell.user_ns.pop(name, None)
        self._base = self._base.without(known)

    def _spare(self) -> None:
        """Leave out of the base what garbage collection took meanwhile: no result may refer to it."""
        if self._spec.keep_s <= 0:
            return
        lacking = self._blobs.claim(self._base.references())
        if lacking:
            groups = [group for group in self._base.groups if group.chunks() & lacking]
            gone = {token for group in groups for token in group.classes}
            groups += [group for group in self._base.groups if gone & set(group.needs)]
            self._base = self._base.without({name for group in groups for name in group.names})

    def left(self) -> dict[str, Any] | None:
        """Save what only this process has, as it ends: the notebook can still get it."""
        try:
            self._spare()
            changes = changed(self.shell.user_ns, self._base, blobs=self._blobs, ignore=self._before)
            names = [name for name in changes.changed if name not in _OURS]
            digest = changes.snapshot.store(self._blobs) if changes.snapshot and names else None
        except Exception:  # the store may be away: the process must end all the same
            return None
        return {"snapshot": digest, "changed": names, "unsaved": dict(changes.unsaved)} if digest else None

    # --- the end -----------------------------------------------------------------------------------------------

    def store(self, value: Any = None) -> dict[str, Any]:
        """Store what the cell changed, and its last `value` where that is small; return the report."""
        names = self.shell.user_ns
        holder = holder_of(value, names)
        aside = dict(self._hidden)
        self._reveal()
        patience = Patience(self._ran_s)
        patience(self._spare)
        parts, others = self._besides.brought()
        stays = None
        if is_number(value):
            parts[LAST] = value
        elif holder is None and (copied := small_copy(value)) is not None:
            names[LAST_VALUE] = copied
        elif holder is None and value is not None:
            stays = type(value).__qualname__
        if others:
            names[SETTINGS_MADE] = others
        if relabelled := self._relabelled.found(self._base):
            names[LABELS_MADE] = relabelled
        changes = patience(lambda: changed(names, self._base, blobs=self._blobs, ignore=self._before))
        if aside:
            changes = self._without_aside(changes, {name for name, held in aside.items() if names.get(name) is held})
        brought = changes.snapshot if changes.snapshot is not None and changes.changed else None
        digest = patience(lambda: brought.store(self._blobs)) if brought is not None else None
        unsaved = {name: why for name, why in changes.unsaved.items() if self._told.get(name) != id(names.get(name))}
        in_place = [name for name in changes.changed if id(names.get(name)) == self._brought.get(name)]
        if self._spec.keep_s > 0:
            self._hold(changes)
        return {
            "status": "ok",
            "exit_code": 0,
            "snapshot": digest,
            "extras": patience(lambda: self._blobs.put(packed(parts))) if parts else None,
            "left_here": self._besides.left_here(),
            "changed": [name for name in changes.changed if name not in _OURS],
            "deleted": list(changes.deleted),
            "in_place": in_place,
            "threads": [] if self._spec.keep_s > 0 else _at_work()[:MAX_THREADS_TOLD],
            "unsaved": {name: reason for name, reason in unsaved.items() if name != LAST_VALUE},
            "last_name": holder,
            "last_stays": stays,
            "error": None,
            **({"outputs": brought.largest(MAX_OUTPUTS)} if brought is not None else {}),
        }

    def _without_aside(self, changes: Changes, aside: set[str]) -> Changes:
        """Leave out what the cell did not see: the notebook may hold a newer value. What differs is dropped here."""
        doubtful = aside & {*changes.changed, *changes.unsaved}
        self._forget(doubtful)
        return Changes(
            changes.snapshot.without(doubtful) if changes.snapshot is not None else None,
            tuple(name for name in changes.changed if name not in doubtful),
            changes.deleted,
            {name: reason for name, reason in changes.unsaved.items() if name not in doubtful},
        )

    def _hold(self, changes: Changes) -> None:
        """Note what the notebook will have of this process from now on: the base of the next cell."""
        if changes.snapshot is not None and changes.changed:
            self._base = self._base.merged(changes.snapshot)
        self._base = self._base.without({*changes.deleted, *changes.unsaved, *_OURS})
        self._relabelled.renew(self._base)
        self._brought.update((name, id(self.shell.user_ns.get(name))) for name in changes.changed)
        self._told = {name: id(self.shell.user_ns[name]) for name in changes.unsaved if name in self.shell.user_ns}


def _at_work() -> list[str]:
    """Return the threads that Python would wait for at its end, and the tasks of the cell's loop; all end with it."""
    frames = sys._current_frames()  # noqa: SLF001 -- it has no other name
    threads = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon
        and thread is not threading.main_thread()
        and thread.ident in frames
        and frames[thread.ident].f_code.co_name != "_worker"  # of a pool, with nothing to do
    ]
    loop = async_helpers._asyncio_event_loop  # noqa: SLF001 -- asking for it would make one
    return [*threads, *(sorted(task.get_name() for task in asyncio.all_tasks(loop)) if loop is not None else ())]
