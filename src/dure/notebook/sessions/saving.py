"""Saves a kernel's namespace after its cells: frozen between two cells, written by a thread while the next one runs.

What a cell waits for is the freeze alone. Where cells follow one another without a pause even that comes only before
one that may take long, and is at most 1 % of what they compute, and 50 ms. The trap: only a namespace between two
cells is saved, never a half-changed one; and what the platform refused is not a base, because its blobs may go.
"""

from __future__ import annotations

import ast
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.notebook.own_modules import OWN_MODULES
from dure.notebook.sessions.history import GONE, is_result
from dure.notebook.sessions.journal import Journal
from dure.notebook.sessions.opening import AWAY, Opened, a_client
from dure.wire.skew import SKEW

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.client import Client
    from dure.notebook.own_modules import OwnModules
    from dure.notebook.sessions.history import History
    from dure.notebook.shell_settings import ShellSettings
    from dure.state import Blobs, Frozen, Snapshot
    from dure.state.later import Later
    from dure.state.libraries.registered import Registered

SHARE = 0.0075  # of the time that cells compute, for freezes that a cell waits for
SPARE_S = 0.05  # of freezes beyond that, for small cells that follow at once, also while an earlier save is written
SPARE_SHARE = 0.0025  # of the time, in which that may be used again
SEND_AGAIN_S = 20.0  # after a platform that did not answer
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_LONG = (*_LOOPS, ast.Call, ast.MatMult, ast.Import, ast.ImportFrom, ast.Await)
_SHORT = frozenset({"print", "len", "type", "isinstance", "range"})  # called
_REFUSED = frozenset({"session_quota", "too_many_sessions", "sessions_off", "no_team", "unknown_team", "team_needed"})


def may_take_long(code: str) -> bool:
    """Return whether a cell calls, loops or imports, outside of what it only defines."""
    try:
        nodes: list[ast.AST] = [ast.parse(code)]
    except (SyntaxError, ValueError):  # a magic, say
        return True
    while nodes:
        node = nodes.pop()
        if isinstance(node, _LONG) and not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in _SHORT):
            return True
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += [node.args, *(ast.Call(each, [], []) for each in node.decorator_list)]
        else:
            nodes += [node.args] if isinstance(node, ast.Lambda) else ast.iter_child_nodes(node)
    return False


def _registered() -> Registered:
    from dure.state.libraries.registered import Registered

    return Registered()


@dataclass(slots=True)
class Facts:
    """What is saved beside a frozen namespace, as it was at that moment."""

    cell: int
    made: dict[str, int]
    history: History
    sources: dict[str, str]  # of cells that made what was brought back, by the variable
    label: str = ""
    origin: int | None = None
    ended: int = 0  # how many cells of this kernel have ended
    if_changed: bool = False  # no version where no variable is another one

    @property
    def asked_for(self) -> bool:
        """Whether it is a version that a person will look for."""
        return bool(self.label) or self.origin is not None


@dataclass(slots=True)
class Saver:
    """The saving half of a notebook's session. `take` is for the thread that runs cells, the rest for any."""

    namespace: dict[str, Any]
    journal: Journal
    blobs: Blobs
    base: Snapshot | None = None
    saved_at: float | None = None  # when a version was written last
    problem: str = ""  # why nothing is saved now, "" when all is well
    fenced: bool = False
    paused: bool = False
    dropped: int = 0
    owed: Facts | None = None  # of what was taken last, when it could not be written
    refused: str = ""  # why the platform keeps nothing of this now: tried again, but not after each cell
    unsaved: dict[str, str] = field(default_factory=dict)
    worked_s: float = 0.0  # what cells have computed since one of them waited for a freeze
    froze_s: float = 0.0  # what the last freeze took
    _spare_s: float = SPARE_S
    _spared_at: float = field(default_factory=time.monotonic)
    _queue: queue.Queue[tuple[Frozen, Snapshot | None, Facts] | None] = field(default_factory=queue.Queue)
    _client: Client | None = None
    _kept_last: Facts | None = None
    _skew: str = ""  # `problem` while the platform is of another version: what is kept here is not lost by it
    then: Callable[[], None] = lambda: None
    coming: Later | None = None  # what a restore still loads: every save keeps what the snapshot has of it
    kept: Snapshot | None = None  # what did not come back: so does every save, until the name is bound again
    checks: list[Callable[[], object]] = field(default_factory=list)  # what is saved rests on bytes still to be hashed
    registered: Registered = field(default_factory=_registered)
    shell_settings: ShellSettings | None = None
    own_modules: OwnModules | None = None
    outputs: bool = False  # whether `Out` is saved, too
    sealed: bool = False  # the blobs are encrypted: no variable's name may lie elsewhere

    def start(self) -> None:
        """Begin to write what is taken."""
        threading.Thread(target=self._work, name="dure-session", daemon=True).start()

    @property
    def free(self) -> bool:
        """Whether nothing is being written."""
        return not self._queue.unfinished_tasks

    @property
    def behind(self) -> bool:
        """Whether what was taken last is kept nowhere."""
        return self.owed is not None or bool(self.refused)

    def within_share(self) -> bool:
        """Whether cells may wait for one more freeze like the last one: a small part of what they computed, or one of
        those to spare, so that a small cell is saved before the long one that may follow. What is spared grows to one
        freeze, however long those are: cells that never pause are saved now and then.
        """
        now = time.monotonic()
        self._spare_s = min(max(SPARE_S, self.froze_s), self._spare_s + SPARE_SHARE * (now - self._spared_at))
        self._spared_at = now
        return self._earned or self.froze_s <= self._spare_s

    def may_come_before(self, code: str) -> bool:
        """Whether a cell may wait for a freeze; one that is over in a moment is saved with what was before it."""
        return self.within_share() and may_take_long(code)

    @property
    def _earned(self) -> bool:
        return self.free and self.froze_s <= SHARE * self.worked_s

    def take(self, facts: Facts, *, waited_for: bool = False) -> bool:
        """Freeze the namespace, to be written aside; False when that was not possible, which `problem` tells.

        `waited_for`: a cell cannot begin meanwhile.
        """
        from dure.state import freeze, process_extras, result_extras

        began, spares = time.perf_counter(), waited_for and not self._earned
        try:
            cells = facts.history.inputs
            of_shell = self.shell_settings.made(cells) if self.shell_settings is not None else None
            registered = self.registered.extras(self.namespace, cells, of_shell)
            extras = {**process_extras(), **facts.history.extras(), **registered}
            extras |= result_extras(self.namespace) if self.outputs else {}
            if self.own_modules is not None:
                reloading = self.shell_settings is not None and self.shell_settings.reloading
                extras |= {OWN_MODULES: own} if (own := self.own_modules.digests(reloading=reloading)) else {}
            frozen = freeze(self.namespace, base=self.base, blobs=self.blobs, extras=extras)
            rest = self._rest()
        except Exception as error:  # whatever a value's own code raises, the cell that follows runs
            self.problem, self.owed = _told(error), facts
            return False
        finally:
            self.froze_s = time.perf_counter() - began
            self.worked_s *= not waited_for
            self._spare_s -= spares * (self.froze_s if self.base is not None else min(self.froze_s, SPARE_S / 2))
        self.owed = None
        self._put(frozen, rest, facts)
        return True

    def keep(self, lost: Snapshot) -> None:
        """Have every version hold what did not come back, so that another environment, or another day, can load it."""
        self.kept = lost if self.kept is None else self.kept.merged(lost)

    def _rest(self) -> Snapshot | None:
        """Return what is saved of variables that are not in the namespace."""
        if self.kept is not None:
            left = {*self.kept.variables, *self.kept.unsaved}.difference(self.namespace)
            self.kept = self.kept.only(left) if left else None
        coming = self.coming.rest(self.namespace) if self.coming is not None and self.coming.names else None
        return coming if self.kept is None else self.kept if coming is None else self.kept.merged(coming)

    def _put(self, frozen: Frozen, rest: Snapshot | None, facts: Facts) -> None:
        """Have it written, instead of what waits to be written and is older, unless somebody asked for that."""
        older = None
        with self._queue.mutex:
            waiting = self._queue.queue
            if waiting and waiting[-1] is not None and not waiting[-1][2].asked_for:
                older = waiting.pop()
                self._queue.unfinished_tasks -= 1
        self._queue.put((frozen, rest, facts))
        if older is not None:
            older[0].close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until what was taken is written and told; False when it takes longer."""
        with self._queue.all_tasks_done:
            return self._queue.all_tasks_done.wait_for(lambda: self.free, timeout_s)

    def send(self) -> None:
        """Tell the platform of the versions that it has not confirmed."""
        self._queue.put(None)

    def retarget(self, name: str, team: str | None) -> None:
        """Save under another name from now on, as a session of its own."""
        self.journal.remove()
        self.journal.name, self.journal.team = name, team
        self.journal.session, self.journal.newest = None, 0
        self.journal.drop_pending()
        self.fenced, self.paused, self.base = False, False, None
        self.problem = self._skew = self.refused = ""

    def _work(self) -> None:
        while True:
            owed = self.journal.pending and not self.fenced
            try:
                item = self._queue.get(timeout=SEND_AGAIN_S if owed else None)
            except queue.Empty:  # also while a cell runs for hours: what the platform never heard of is garbage there
                self._step(None)
            else:
                self._step(item)
                self._queue.task_done()
            self.then()

    def _step(self, item: tuple[Frozen, Snapshot | None, Facts] | None) -> None:
        try:
            if item is not None:
                self._keep(*item)
            self._send()
        except Exception as error:
            self.owed = item[2] if item is not None else self.owed
            self.problem = _told(error)

    def _keep(self, frozen: Frozen, rest: Snapshot | None, facts: Facts) -> None:
        from dure.state import diff
        from dure.wire.sessions import SaveRequest, SessionDocument

        if self.fenced:  # frozen before that was known
            frozen.close()
            return
        while self.checks:
            self.checks[0]()  # what turns out to be damaged is left out, and named
            del self.checks[0]
        snapshot = frozen.save() if rest is None else rest.merged(frozen.save())
        if facts.if_changed and self.base is not None and not diff(self.base, snapshot):
            return
        unsaved = {name: why for name, why in snapshot.unsaved.items() if name in self.namespace or is_result(name)}
        known = {*snapshot.variables, *snapshot.unsaved}
        made, sources = _made_by(facts, known, set(snapshot.unsaved))
        document = SessionDocument(snapshot=snapshot.store(self.blobs), cell=facts.cell, made=made, sources=sources)
        content = document.model_dump_json().encode()
        digest = self.blobs.put(content)
        request = SaveRequest(
            name=self.journal.name,
            team=self.journal.team,
            parent=0,
            kernel=self.journal.kernel,
            document=digest,
            cell=facts.cell,
            size_bytes=snapshot.size_bytes,
            new_bytes=len(content) + new_bytes(snapshot, self.base),
            variables=len(snapshot.variables),
            unsaved=len(unsaved),
            python=str(snapshot.fingerprint.get("python", "")),
            label=facts.label,
            origin=facts.origin,
            changed=self._changed_by(snapshot),
        )
        journal = self.journal
        journal.add(request.model_dump(exclude={"parent"}, exclude_none=True), facts.ended)
        journal.document, journal.cell = digest, facts.cell
        journal.write()
        self._kept_last = facts
        if self.base is None:
            self.froze_s = 0.0  # of the first, which looked at everything: the next looks at what changed
        self.base, self.unsaved, self.problem = snapshot, unsaved, self.refused or self._skew
        self.saved_at = time.time()

    def _changed_by(self, snapshot: Snapshot) -> str:
        """Return which names the platform is told of, "" where it may not know or nobody does."""
        from dure.state.inspection import diff_text

        begins = self.base is None and not self.journal.number
        return diff_text(self.base, snapshot) if not self.sealed and (begins or self.base is not None) else ""

    def _send(self) -> None:
        from dure.client import DureError
        from dure.wire.sessions import SaveRequest

        journal = self.journal
        while journal.pending and not self.fenced:
            try:
                request = SaveRequest(**journal.pending[0], parent=journal.newest, session=journal.session)
                saved = self._asked().save_session(request)
            except DureError as error:
                if error.code in SKEW:  # what is kept here goes there once both are of one version
                    self._skew = self.problem = str(error)
                elif error.code not in AWAY:
                    self._refused(error)
                return
            if self._skew or self.refused:
                self._skew = self.refused = self.problem = ""
            journal.confirmed(saved.number)
            journal.session, journal.team = saved.session, saved.team
            self.dropped += saved.dropped
            if saved.name not in {"", journal.name}:  # its notebook was moved, or deleted
                journal.remove()
                journal.name = saved.name
            journal.write()

    def _refused(self, error: Any) -> None:
        """The platform does not keep the version: say so, and let nothing later rest on it."""
        journal = self.journal
        self.base = None
        if error.code == "session_moved" and not error.problem.data.get("newest") and journal.newest:
            journal.newest, journal.session = 0, None  # it was deleted: this begins it again
            journal.drop_pending()
            self.problem, self.owed = "", self._kept_last
            return
        self.problem = self.refused or str(error)  # once, though sizes change
        if error.code == "session_moved":
            self.fenced, self.refused = True, ""
        elif error.code in _REFUSED:
            self.refused = self.problem
        journal.drop_pending()
        journal.write()

    def _asked(self) -> Client:
        from dure.client import find_login

        if self._client is None or self._client.login != find_login():
            self._client = a_client()
        return self._client


def _told(error: Exception) -> str:
    """Return why nothing was written, and that it is tried again; the same words for the same cause: said once."""
    from dure.notebook.sessions.words import say
    from dure.state.store.blobs import BlobError, StoreAwayError

    if isinstance(error, OSError) and error.strerror:
        # the store's folder: which of its files failed first differs from one try to the next
        where = f": {str(error.filename).rpartition('/blobs/')[0] or error.filename}" if error.filename else ""
        return say("store_refuses", problem=f"{error.strerror}{where}")
    if isinstance(error, StoreAwayError):
        return say("store_away", reason=error)
    return str(error) if isinstance(error, BlobError) else f"{type(error).__name__}: {error}"


def _made_by(facts: Facts, known: set[str], unsaved: set[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the cell of each variable, and the code of those that made what is not saved. A version that was brought
    into a kernel which counts otherwise has cells of the same numbers: what is not saved keeps its own, a variable that
    would name a cell which did not make it names none.
    """
    from dure.wire.sessions import MAX_SOURCE

    inputs, made, sources, others = facts.history.inputs, {}, dict[int, str](), set[str]()
    texts = {name: inputs[cell] if cell < len(inputs) else "" for name, cell in facts.made.items() if name in known}
    for name in texts.keys() & facts.sources.keys():
        if texts[name] != GONE and texts[name][:MAX_SOURCE] != facts.sources[name][:MAX_SOURCE]:
            texts[name] = facts.sources[name]
            others.add(name)
    for name in sorted(texts, key=lambda name: (name not in unsaved, name in others)):
        cell, text = facts.made[name], texts[name][:MAX_SOURCE]
        if name in others and not (text and name in unsaved):
            continue
        if name in unsaved and text:
            sources.setdefault(cell, text)
        if sources.get(cell, text) == text:
            made[name] = cell
    return made, sources


def new_bytes(snapshot: Snapshot, base: Snapshot | None) -> int:
    """Return the bytes of the chunks that `snapshot` has and `base` has not."""
    from dure.state.store.sealing import CHUNK_BYTES

    seen = set(base.references()) if base is not None else set()
    total = 0
    for group in snapshot.groups:
        for run in group.runs:
            if run.inline is not None:
                total += run.size_bytes
            for index, chunk in enumerate(run.chunks):
                if chunk not in seen:
                    seen.add(chunk)
                    total += min(CHUNK_BYTES, run.size_bytes - index * CHUNK_BYTES)
    return total


def a_saver(namespace: dict[str, Any], journal: Journal, opened: Opened) -> Saver | None:
    """Return a saver for what was opened; None where there is nowhere to save."""
    if opened.blobs is None:
        return None
    journal.session, journal.newest, journal.team = opened.session, opened.newest, opened.team
    journal.off = opened.off
    journal.pending, journal.covers = list(opened.pending), [0] * len(opened.pending)
    if opened.access is not None and opened.access.get("kind") == "folder" and "key" not in opened.access:
        journal.access = opened.access
    saver = Saver(namespace, journal, opened.blobs, sealed="key" in (opened.access or {}))
    if opened.saved is not None:
        journal.document = opened.saved.digest
        saver.base = opened.saved.snapshot
    journal.write()
    if opened.policy is None:  # what they knew is in this one's now
        for taken in opened.taken:
            taken.remove()
    saver.start()
    return saver
