"""One notebook's session in one kernel: opened aside at the start, brought back in the first cell, saved after each.

It hangs on IPython's events, the kernel's shutdown and SIGTERM. The trap: the namespace is only looked at between two
cells; whatever goes wrong in here is said in one line and never keeps a cell from running.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from dure.notebook.context import cell_under_way, connection, notebook_name
from dure.notebook.own_modules import OwnModules
from dure.notebook.sessions.ended import EndedCells, ended_line, source_of
from dure.notebook.sessions.ending import GRACE_S, Uncut, watch_shutdown, watch_sigterm
from dure.notebook.sessions.history import CellFiles, know_files, put_history, put_results
from dure.notebook.sessions.journal import Journal, folder, left_behind
from dure.notebook.sessions.names import Names
from dure.notebook.sessions.restoring import Brought, bring_back, clock, earlier_text, restored_line, short
from dure.notebook.sessions.telling import Telling
from dure.notebook.sessions.words import say
from dure.notebook.shell_settings import ShellSettings, hung_in

if TYPE_CHECKING:
    from dure.notebook.sessions.ended import Ended
    from dure.notebook.sessions.opening import Opened, Saved
    from dure.notebook.sessions.saving import Saver
    from dure.notebook.sessions.waiting import Waiting

OPEN_WAIT_S = 0.8  # a first cell waits for the platform at most this long
EXPECTED_WAIT_S = 15.0  # unless this machine knows that there is something to restore, which the cell may need
_QUIET_S = 0.01
_LOOK_S = 0.05
_UNTOLD_S = 1.0  # longer than this nobody waits without being told for what
_TRY_AGAIN_S = 20.0  # after a store that did not answer
_REFUSED_AGAIN_S = 60.0  # after the platform refused, which costs the whole namespace's hashing
_ASK_AGAIN_S = 30.0  # how long a platform that did not answer is left alone


class NotebookSession:
    """What a kernel knows of its notebook's session. Everything here runs on the thread that runs cells."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.name: str | None = None
        self.kernel_id = uuid.uuid4().hex
        self.journal: Journal | None = None
        self.opened: Opened | None = None
        self.saver: Saver | None = None
        self.names = Names(shell)
        self._files = CellFiles(shell)
        self._shell_settings = ShellSettings(shell)
        self._modules = OwnModules()
        self.ended = EndedCells(self.kernel_id)
        self.origin: int | None = None
        self.running = False
        self.waiting: Waiting | None = None  # while a restore goes on
        self.failure: BaseException | None = None  # why nothing could be opened
        self._expected: bool | None = None  # whether a kernel of this machine saved it; None: not looked yet
        self._late = False
        self._by_hand = False  # the person named the session
        self._opening: threading.Thread | None = None
        self._importing: threading.Thread | None = None
        self._telling = Telling(shell)
        self._tries_again = False
        self._asks_again = False
        self._cells = 0
        self._cell = 0  # the number of the one that runs, or ran last; when IPython counts on depends on its version
        self._dirty = False
        self.uncut = Uncut()
        self._began = False
        self._began_at = time.monotonic()
        self._asked_at = float("-inf")

    # --- the kernel's events ---

    def attach(self) -> None:
        """Hang on the kernel; does nothing outside one."""
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None or os.environ.get("DURE_SESSIONS") == "off":
            return
        self.shell.events.register("pre_run_cell", self._cell_begins)
        self.shell.events.register("post_run_cell", self._cell_ended)
        watch_shutdown(kernel, self)
        watch_sigterm(self)
        in_a_cell = cell_under_way(kernel)
        self._find_name(in_a_cell=in_a_cell)
        if self.name is not None and in_a_cell:
            self.running = True
            self._begin()
            if self.waiting is not None:
                self.waiting.visit_text(str((self.shell.user_ns.get("In") or [""])[-1]))

    def detach(self) -> None:
        """Let go of the kernel's events; what is saved stays."""
        for event, call in (("pre_run_cell", self._cell_begins), ("post_run_cell", self._cell_ended)):
            with contextlib.suppress(ValueError):
                self.shell.events.unregister(event, call)

    def _cell_begins(self, info: Any) -> None:
        self.running = True
        self._cells += 1
        self.ended.ran_again.clear()
        with self._guarded():
            self.arrive()
            if self.name is None:
                self._find_name()
            if self.failure is not None and self.name is not None and time.monotonic() - self._asked_at > _ASK_AGAIN_S:
                self.name_it(self.name, by_hand=self._by_hand)
            elif self.name is not None and not self._began:
                self._begin()
            saver = self.saver
            # of cells that follow at once those are saved before which one begins that may take long
            if self._dirty and saver is not None and not saver.refused and saver.may_come_before(info.raw_cell):
                self.take(waited_for=True)
            if saver is not None:
                self._telling.unsaved(saver, self.names)
                self._telling.home_refuses(saver.journal)
        self._cell += 1
        self._began_at = time.monotonic()

    def _cell_ended(self, result: Any) -> None:
        self.running = False
        with self._guarded():
            if self.waiting is not None:
                self.waiting.cell_ended(result)
            if self.saver is not None:
                self.saver.worked_s += time.monotonic() - self._began_at
            if self.name is None:
                return
            if self._late:
                self._tell_late(missed=not result.success)
            self._cell = max(1, self.shell.execution_count - 1)
            self.names.cell_ended(self._cell)
            self._dirty = True
            self._note_ended(result)
            self.arrive()
            if self.failure is not None:
                self._ask_later()
            elif self._began:
                self.shell.kernel.io_loop.call_later(_QUIET_S, self._settled, self._cells)

    def _note_ended(self, result: Any) -> None:
        """Before the cell's reply is sent: note that it ended, as long as it is not saved."""
        journal, saver, opened = self.journal, self.saver, self.opened
        self.ended.told()  # that cell is over, whose output has it
        if journal is None or journal.off or (opened is not None and (opened.off or opened.blobs is None)):
            return
        if saver is not None and (saver.fenced or saver.paused):
            self.ended.clear()  # which the person was told
        elif result.info is None or result.info.store_history:
            self.ended.cell_ended(self._cell, source_of(self.shell.user_ns, self.names.made, self._cell), journal)

    def _take_over(self, cells: list[Ended]) -> None:
        assert self.journal is not None
        self.ended.take_over(cells)
        self.journal.write()

    def _settled(self, cells: int) -> None:
        """A moment after a cell: save, unless another has begun, which is followed by such a moment, too."""
        with self._guarded():
            saver, last = self.saver, cells == self._cells and not self.running
            if self._dirty and last and saver is not None and saver.free and not saver.refused:
                self.take()

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        # Between cells SIGTERM waits: its last save would find a module half imported by what it interrupts.
        try:
            with contextlib.nullcontext() if self.running else self.uncut.to_its_end():
                yield
        except Exception as error:
            self._telling.once(say("not_saved", reason=f"{type(error).__name__}: {error}"))

    # --- opening ---

    def _find_name(self, *, in_a_cell: bool = True) -> None:
        name = notebook_name(self.shell.user_ns, in_a_cell=in_a_cell)
        if name is not None:
            self.name_it(name)

    def name_it(self, name: str, *, by_hand: bool = False) -> None:
        """Begin to look for the session `name`, aside; `by_hand`: for none but that."""
        self.name, self._by_hand = name, by_hand
        self._began, self.opened, self.failure, self._expected = False, None, None, None
        self._asked_at = time.monotonic()
        self._opening = threading.Thread(target=self._open, args=(name,), name="dure-session-open", daemon=True)
        self._opening.start()

    def _open(self, name: str) -> None:
        try:
            from dure.notebook.sessions.opening import a_client, import_aside, open_session

            client = a_client()
            url, known_by = client.login.url, "" if self._by_hand else connection(self.shell)
            # opening takes the files away
            self._expected = any(folder(name, url).glob("*.json")) or bool(left_behind(name, url, known_by))
            self.journal = journal = Journal(name, url, self.kernel_id, connection(self.shell))
            with client:
                opened = open_session(client, name, known_by, self._take_over)
            if self._opening is not threading.current_thread():
                return  # the person named another session meanwhile
            self.name = journal.name = opened.name
            self.opened = opened
            import dure.state.capturing
            import dure.state.restoring  # noqa: F401 -- loaded here, where nobody waits

            if self.opened.saved is not None and not self.opened.fresh and not self.opened.off:
                self._importing = import_aside(self.opened.saved.snapshot)
        except BaseException as error:
            if self._opening is threading.current_thread():
                self.failure = error
        with contextlib.suppress(Exception):
            self.shell.kernel.io_loop.add_callback(self._opened_late)

    def _opened_late(self) -> None:
        """A cell ended before the session was opened: save it now, for no other may follow. What is to be brought back
        or told waits for the next cell all the same.
        """
        with self._guarded():
            found = self.opened
            if self.failure is not None and self._dirty:
                self._ask_later()
            if self.running or self._began or not self._dirty or found is None:
                return
            if found.saved is not None or found.ended:
                return
            self._began = True
            self.ready(0.0)
            self._settled(self._cells)

    def _ask_later(self) -> None:
        """A platform that did not answer is asked again without another cell; where one runs by then, at its end."""
        if not self._asks_again:
            self._asks_again = True
            self.shell.kernel.io_loop.call_later(_ASK_AGAIN_S, self._open_again)

    def _open_again(self) -> None:
        self._asks_again = False
        with self._guarded():
            if self.failure is not None and self.name is not None and not self.running:
                self.name_it(self.name, by_hand=self._by_hand)

    def _begin(self) -> None:
        """In the first cell: bring the newest version back, and save from now on."""
        assert self._opening is not None
        self._opening.join(OPEN_WAIT_S)
        until = time.monotonic() + EXPECTED_WAIT_S - OPEN_WAIT_S
        while self._opening.is_alive() and self._expected is not False and time.monotonic() < until:
            self._opening.join(_LOOK_S)
        if self._opening.is_alive():
            self._late = True  # the next cell looks again
            return
        self._began = True
        self._telling.opening(self.name or "", self.opened, self.failure, expected=bool(self._expected))
        found = self.opened
        if not self.ready(0.0) or found is None or found.off:
            return
        saved = found.saved
        if saved is not None and not found.fresh:
            self.ended.shown = self.bring_back_first(saved)
            return
        if saved is not None:
            self.show(say("fresh", name=short(self.name or ""), at=clock(saved.at), number=saved.number))
        if found.ended:
            self._tell_ended(found.ended)

    def _tell_ended(self, cells: list[Ended]) -> None:
        self.names.ended = list(cells)
        self.show(ended_line(cells))
        self.ended.shown = True

    def ready(self, timeout_s: float = 10.0) -> bool:
        """Whether the session is opened and a saver stands ready; waits for the platform up to `timeout_s`."""
        from dure.notebook.sessions.saving import a_saver

        if self._opening is None:
            return False
        self._opening.join(timeout_s)
        if self.saver is None and self.opened is not None and self.journal is not None:
            self.saver = a_saver(self.shell.user_ns, self.journal, self.opened)
            if self.saver is not None:
                self.saver.then = self._written
                self.saver.shell_settings, self.saver.own_modules = self._shell_settings, self._modules
                self.saver.paused = self.opened.off
        return self.saver is not None

    def bring_back_first(self, saved: Saved) -> bool:
        """Restore what was open last, but nothing over what the person has made in this kernel already. Return whether
        that was possible, and so the person was told of it and of the cells that no version holds.
        """
        from dure.notebook.sessions.opening import report_restored, saved_like_here

        opened = self.opened
        assert opened is not None
        assert opened.blobs is not None
        if self._importing is not None:  # it imports nothing but what is to be restored
            self._importing.join(_UNTOLD_S)
            if self._importing.is_alive():
                self.show(say("importing", name=short(self.name or "")))
                self._importing.join()
        try:
            brought = bring_back(self.shell.user_ns, saved, opened.blobs, keep=self.names.own(), lazily=True)
        except Exception as error:
            self.restore_failed(error)
            return False
        self.took(brought)
        brought.ended, brought.damaged = opened.ended, opened.damaged
        if brought.unloadable and opened.versions:
            brought.like_here = saved_like_here(opened, brought.lost)
        self.names.ended = list(opened.ended)
        line = restored_line(brought, self.name or "")
        if not (brought.names or brought.lost):
            line = f"{line} {earlier_text(opened.versions)}".rstrip()
        self.show(line)
        self._cell += put_history(self.shell, brought.history, opened.ended)
        report_restored(opened, brought)
        return True

    def restore_failed(self, error: Exception) -> None:
        """Say that what was saved did not come back."""
        self.show(say("restore_failed", name=short(self.name or ""), reason=str(error) or type(error).__name__))

    def took(self, brought: Brought) -> None:
        """Remember where the restored names are from, and which ones are missing."""
        self.names.restored(brought)
        know_files(self.shell, brought.history)
        if brought.results is not None:
            put_results(self.shell, *brought.results)
        brought.edited = self._modules.edited(brought.own_modules, brought.saved.snapshot)
        if self.saver is not None:
            self.saver.checks.append(brought.check)
            self.saver.outputs = self.saver.outputs or brought.results is not None
            if brought.registered is not None:
                self.saver.registered.carry_on(brought.registered, brought.history.inputs, brought.lost)
            if brought.lost and brought.kept is not None:
                self.saver.keep(brought.kept)
        if brought.later is not None and self.saver is not None:
            self.saver.coming = brought.later
        if brought.later is not None:
            from dure.notebook.sessions.waiting import Waiting

            self.waiting = Waiting(self, brought, brought.later)
            self.waiting.attach()
            self.waiting.wait_for(hung_in(brought.registered or {}))
            brought.later.then = lambda: self.shell.kernel.io_loop.add_callback(self._arrive_between)

    def arrive(self) -> None:
        """Between two cells: put what was loaded meanwhile into the namespace, and say what did not load."""
        if self.waiting is not None:
            self.waiting.arrive()

    def _arrive_between(self) -> None:
        with self._guarded():
            if not self.running:
                self.arrive()

    def came_all(self, waiting: Waiting) -> None:
        """Nothing is being loaded any more."""
        with contextlib.suppress(ValueError):
            self.shell.ast_transformers.remove(waiting)
        if self.waiting is waiting:
            self.waiting = None
            if self.saver is not None:
                self.saver.coming = None

    def began_by_hand(self) -> None:
        """The person named the session in a cell: nothing is brought back unasked."""
        self._began = True

    # --- saving ---

    def take(self, label: str = "", *, waited_for: bool = False, if_changed: bool = False) -> bool:
        """Freeze the namespace now and have it written aside; False when nothing is to be saved here. `if_changed`: it
        is no version where no variable is another one than in the last.
        """
        from dure.notebook.sessions.saving import Facts

        saver = self.saver
        if saver is None or saver.paused or saver.fenced:
            return False
        made, cell = self.names.made, self._cell
        history, sources = self._files.history(made), dict(self.names.sources)
        facts = Facts(cell, dict(made), history, sources, label, self.origin, self.ended.count, if_changed)
        if saver.owed is not None and saver.owed.cell == cell:  # the same state, tried again
            facts.label, facts.origin = label or saver.owed.label, self.origin or saver.owed.origin
        with self.uncut.to_its_end():
            self._dirty, self.origin = False, None
            return saver.take(facts, waited_for=waited_for)

    def take_meanwhile(self) -> None:
        """A cell waits for its GPU and touches nothing here, for hours perhaps: save what ended before it."""
        with self._guarded():
            if self._dirty and self.saver is not None and not self.saver.refused:
                self._cell -= 1  # that of the namespace
                try:
                    self.take()
                finally:
                    self._cell += 1

    def flush(self, timeout_s: float = GRACE_S) -> bool:
        """Save what the last cell changed, if that is not done yet; return whether everything is written."""
        saver = self.saver
        if saver is None:
            return False
        until = time.monotonic() + timeout_s
        with self.uncut.to_its_end():
            if not saver.wait(timeout_s):
                return False
            if self._dirty or saver.behind:
                self.take()
            return saver.wait(max(0.0, until - time.monotonic())) and not saver.behind

    def last_save(self) -> None:
        """The kernel is about to end: save, unless a cell is under way, whose half-changed state is nobody's."""
        with contextlib.suppress(Exception):
            if self.running:
                if self.saver is not None:
                    self.saver.wait(GRACE_S)
                return
            if self.saver is None and self._dirty:
                self._open_at_last()
            if self.flush() and self._began:  # what callbacks, threads and tasks did since the last cell's save
                self.take(if_changed=True)
                self.flush()

    def _open_at_last(self) -> None:
        """Have the session opened after all: a kernel may end while that goes on, or before the platform answered."""
        if self.failure is not None and self.name is not None:
            self.name_it(self.name, by_hand=self._by_hand)
        if self._opening is not None:
            self._opening.join(GRACE_S / 2)
        found = self.opened
        if found is None or found.off or not self.ready(0.0):
            return
        self._began = True
        if found.saved is not None and not found.fresh:
            self.bring_back_first(found.saved)  # as the next cell would have: what is saved now holds both

    def _written(self) -> None:
        # On the saver's thread: what changed meanwhile is next, and what store or platform did not take is tried again.
        if self.saver is not None and self.saver.journal is self.journal:
            self.name = self.saver.journal.name
            if self.journal.refused is not None:
                self.ended.saved(self.journal.ended)
        if self._dirty and not self.running:
            with contextlib.suppress(Exception):
                self.shell.kernel.io_loop.add_callback(self._settled, self._cells)
        with contextlib.suppress(Exception):
            self.shell.kernel.io_loop.add_callback(self._again_later)

    def _again_later(self) -> None:
        saver = self.saver
        if saver is not None and saver.behind and not (saver.fenced or self._tries_again):
            self._tries_again = True
            delay_s = _REFUSED_AGAIN_S if saver.refused else _TRY_AGAIN_S
            self.shell.kernel.io_loop.call_later(delay_s, self._try_again)

    def _try_again(self) -> None:
        self._tries_again = False
        with self._guarded():
            saver = self.saver
            if saver is None or self.running or not saver.free:
                self._again_later()
            elif saver.behind:
                self.take()

    # --- telling ---

    def _tell_late(self, *, missed: bool) -> None:
        """After a cell that did not wait for the platform. Where nothing is known of what is saved and the platform has
        not answered yet, only a cell that failed (it may have `missed` a name) is worth the words.
        """
        self._late = False
        if self._opening is None or not self._opening.is_alive():
            expected = bool(self._expected)
            self._telling.not_waited_for(self.name or "", self.opened, self.failure, expected=expected)
        elif missed or self._expected:
            self._telling.once(say("late"))

    def show(self, sentence: str) -> None:
        """Show one line in the output of the cell that runs."""
        self._telling.show(sentence)
