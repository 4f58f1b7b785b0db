"""Follows one job to its end: a thread reads the stream, the kernel's main thread plays it, asks, and interrupts.

The main thread never waits for the network, so ■ always works: the first passes the interrupt on, the second ends the
job, and after a bounded wait the kernel is free whatever the job does. The trap: the signal handler may only put into
the inbox, which is a SimpleQueue because its `put` alone may be called while the same thread is inside `get`.
"""

from __future__ import annotations

import builtins
import contextlib
import getpass
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.notebook import context
from dure.notebook.comms import Comms
from dure.notebook.line import StatusLine
from dure.notebook.replay import Replay
from dure.notebook.words import say

if TYPE_CHECKING:
    from types import FrameType

    from dure.client import Client
    from dure.wire.messages import JobView

FIRST_INTERRUPT_WAIT_S = 10.0
SECOND_INTERRUPT_WAIT_S = 4.0
ENDED = ("succeeded", "failed", "cancelled")
Answers = Callable[[Sequence[str]], tuple[dict[str, str | None], str | None]]


@dataclass(slots=True)
class Outcome:
    """How it went. `left`: the kernel goes on although the job has not ended. `problem`: the stream was lost."""

    job: JobView | None = None
    end: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    interrupts: int = 0
    left: bool = False
    problem: Exception | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Continued:
    """A job that was there before: its output is followed from `cursor` on."""

    job: JobView
    cursor: str


def at_cell_end(item: Any) -> bool:
    """Return whether this is the last message of a cell, after which a kept process waits for the next."""
    return bool(item.message["type"] == "cell_end")


class Follower:
    """Submits (or takes) a job and puts everything that its stream says into `inbox`, from a thread of its own.

    It stops at the job's end, or after the message for which `last` is true.
    """

    def __init__(
        self,
        client: Client,
        start: Callable[[], JobView | Continued] | str,
        *,
        last: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        self.client = client
        self.inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._start = start
        self._cursor: str | None = None  # None: from the beginning
        self._last = last
        self._abandoned = False
        self._cancel_at_start = False
        self._thread = threading.Thread(target=self._run, name="dure-follow", daemon=True)
        self._thread.start()

    def abandon(self, *, cancel: bool) -> None:
        """Stop reading at the next message; `cancel` ends the job as soon as it is known."""
        self._cancel_at_start = cancel
        self._abandoned = True

    def _run(self) -> None:
        context.hear_outages(lambda retry: self.inbox.put(("away", retry)))
        try:
            job_id = self._start if isinstance(self._start, str) else self._submit(self._start)
            if self._cancel_at_start:
                self.client.cancel(job_id)
            for item in self.client.stream(job_id, self._cursor):
                if self._abandoned:
                    return
                if hasattr(item, "job"):
                    self.inbox.put(("job", item.job))
                    if item.job.phase in ENDED:  # nothing follows, and the stream's own end is nobody's to wait for
                        self.inbox.put(("closed", None))
                    continue
                self.inbox.put(("message", item))
                if self._last(item):
                    return
        except BaseException as error:
            self.inbox.put(("failed", error))
        finally:
            context.hear_outages(None)
            self.inbox.put(("closed", None))

    def _submit(self, start: Callable[[], JobView | Continued]) -> str:
        begun = start()
        if isinstance(begun, Continued):
            job, self._cursor = begun.job, begun.cursor
        else:
            job = begun
        self.inbox.put(("job", job))
        return job.id


class Watch:
    """The main thread's side. `answers` captures names that the job misses; `watching_only`: ■ leaves the job alone;
    `meanwhile` is called once the job is known.
    """

    def __init__(
        self,
        follower: Follower,
        line: StatusLine,
        replay: Replay | None,
        answers: Answers | None = None,
        *,
        watching_only: bool = False,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self._follower = follower
        self._meanwhile = meanwhile
        self._line = line
        self._replay = replay
        self._answers = answers
        self._watching_only = watching_only
        self._comms: Comms | None = None
        self._attempt = 0
        self._leave_at: float | None = None
        self.outcome = Outcome()

    def run(self, timeout_s: float | None = None) -> Outcome:
        """Return when the job has ended, the kernel shall go on, the stream is lost, or `timeout_s` is over (left)."""
        inbox = self._follower.inbox
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            with self._interrupts():
                while True:
                    try:
                        kind, item = inbox.get(timeout=self._patience(until))
                    except queue.Empty:
                        return self._leave()
                    if kind == "closed":
                        return self.outcome
                    getattr(self, f"_on_{kind}")(item)
                    if self.outcome.left:
                        return self._leave()
        finally:
            if self._comms is not None:
                self._comms.end()

    def _patience(self, until: float | None) -> float | None:
        ends = [moment for moment in (self._leave_at, until) if moment is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _leave(self) -> Outcome:
        self.outcome.left = True
        not_submitted = self.outcome.job is None
        self._follower.abandon(cancel=not_submitted and not self._watching_only)
        return self.outcome

    def _on_job(self, job: JobView) -> None:
        first, self.outcome.job = self.outcome.job is None, job
        if self._attempt and job.attempt > self._attempt and self._replay is not None:
            self._replay.note(say("again", attempt=job.attempt))
        if job.phase == "running":
            self._attempt = job.attempt
        if not self.outcome.interrupts and job.phase not in ENDED:
            self._line.show(*progress_text(job))
        if first:
            self._meanwhile()

    def _on_message(self, item: Any) -> None:
        message = item.message
        kind = message["type"]
        self.outcome.cursor = item.cursor
        self._show_error(before=message)
        if kind in {"end", "cell_end"}:
            self.outcome.end = message
            if self._replay is not None:
                self._replay.tail(message)
        elif kind == "error":
            self.outcome.error = message
        elif kind == "input_request":
            self._ask(message)
        elif kind == "need":
            self._provide(message["names"])
        elif self._replay is not None and not self._relayed(message):
            self._replay.play(message)

    def _show_error(self, before: dict[str, Any]) -> None:
        """Show an error that did not end the cell, such as that of a script it ran: the last one is its end's own."""
        error, ends = self.outcome.error, before["type"] in {"end", "cell_end"}
        if error is not None and not (ends and before.get("status") != "ok"):
            self.outcome.error = None
            if self._replay is not None:
                self._replay.error(error)

    def _relayed(self, message: dict[str, Any]) -> bool:
        job = self.outcome.job
        if self._comms is None and job is not None and self._replay is not None:
            self._comms = Comms(self._replay.shell, self._follower.client, job.id)
        return self._comms is not None and self._comms.play(message)

    def _on_away(self, retry: Any) -> None:
        job = self.outcome.job
        if retry is None and job is not None:
            self._line.show(*progress_text(job))
        elif retry is not None and retry.waited_s > 1:
            self._line.show(retry.sentence)

    def _on_trouble(self, error: Exception) -> None:
        if self._replay is not None:
            self._replay.note(str(error))

    def _on_failed(self, error: Exception) -> None:
        if self.outcome.job is None or self.outcome.job.phase not in ENDED:
            self.outcome.problem = error

    def _on_interrupt(self, _: None) -> None:
        self.outcome.interrupts += 1
        if self._watching_only or self.outcome.interrupts > 2:
            self.outcome.left = True
            return
        job, client, first = self.outcome.job, self._follower.client, self.outcome.interrupts == 1
        self._leave_at = time.monotonic() + (FIRST_INTERRUPT_WAIT_S if first else SECOND_INTERRUPT_WAIT_S)
        self._line.show(say("interrupting" if first else "killing"))
        if job is not None:
            _aside(self._follower.inbox, lambda: client.interrupt(job.id))
        else:
            self.outcome.left = True

    def _ask(self, message: dict[str, Any]) -> None:
        job, client = self.outcome.job, self._follower.client
        if job is None or job.phase in ENDED:
            return
        try:
            with plain_interrupts():
                ask = getpass.getpass if message.get("password") else builtins.input
                text = ask(message.get("prompt") or "")
        except KeyboardInterrupt:
            self._on_interrupt(None)
        except EOFError:
            _aside(self._follower.inbox, lambda: client.stdin(job.id, "\x04"))
        except Exception:
            if self._replay is not None:
                self._replay.note(say("no_input"))
            _aside(self._follower.inbox, lambda: client.interrupt(job.id))
        else:
            _aside(self._follower.inbox, lambda: client.stdin(job.id, text))

    def _provide(self, names: Sequence[str]) -> None:
        job, client = self.outcome.job, self._follower.client
        if job is None or job.phase in ENDED or self._answers is None:
            return
        answer, snapshot = self._answers(names)
        _aside(self._follower.inbox, lambda: client.provide(job.id, answer, snapshot))

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        inbox = self._follower.inbox
        before = signal.signal(signal.SIGINT, lambda *_: inbox.put(("interrupt", None)))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def plain_interrupts() -> Iterator[list[int]]:
    """Let Ctrl-C raise KeyboardInterrupt inside, whatever it does outside.

    Gives the list of signals that came: Python drops the exception where it strikes in a finalizer or a weak
    reference's callback, so who must stop looks there at the end.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def progress_text(job: JobView) -> tuple[str, tuple[str, ...]]:
    """Return the line of a job that has not ended, and what would help it, below."""
    from dure.client.words import waiting_line

    line = waiting_line(job, context.language())
    helps = job.verdict.helps if job.verdict is not None and job.phase == "queued" else []
    more = [told for told in helps if told.rstrip(".").lower() not in line.lower()]  # the line has the first already
    return line, (say("helps", helps=" ".join(more)),) if more else ()


def _aside(inbox: queue.SimpleQueue[tuple[str, Any]], call: Callable[[], Any]) -> None:
    """Call the platform without holding up the main thread; a job that has ended meanwhile needs no answer."""

    def run() -> None:
        try:
            call()
        except Exception as error:
            if getattr(error, "code", "") != "already_ended":
                inbox.put(("trouble", error))

    threading.Thread(target=run, name="dure-aside", daemon=True).start()
