"""Handles of jobs that run on their own: a detached cell, a submitted function.

A handle follows its job from a thread as long as the kernel lives: it answers for names that the cell misses, and
its display in the notebook changes with the job. The trap: results enter the notebook only when they are asked for,
by `.result()` or `%gpu attach`, never by themselves under running code. A submitted function's handle is saved with
the notebook, so it holds no connection: it asks with the present sign-in.
"""

from __future__ import annotations

import contextlib
import html
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dure.notebook import context
from dure.notebook.failures import told_plainly
from dure.notebook.finishing import finish
from dure.notebook.line import StatusLine
from dure.notebook.sending import answers_from, submit
from dure.notebook.watching import ENDED, Answers, Follower, Outcome, Watch, progress_text
from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.client import Client
    from dure.notebook.kernel import Kernel, Sent
    from dure.wire.messages import JobRequest, JobView


class RemoteJob:
    """A job somewhere else: `.status() .wait() .logs() .cancel() .done()`. `.result()` depends on its kind."""

    def __init__(self, job: JobView) -> None:
        self._job = job

    @property
    def _client(self) -> Client:
        return context.client()

    @property
    def id(self) -> str:
        """The job's id, for `%gpu attach` and `dure logs`."""
        return self._job.id

    @told_plainly
    def status(self) -> str:
        """Return the job's phase now: queued, admitted, starting, running, succeeded, failed or cancelled."""
        return self._refreshed().phase

    @told_plainly
    def done(self) -> bool:
        """Return whether the job has ended."""
        return self._refreshed().phase in ENDED

    @told_plainly
    def wait(self, timeout_s: float | None = None) -> str:
        """Return the phase once the job has ended; TimeoutError after `timeout_s` seconds. Ctrl-C leaves the job."""
        self._outcome(timeout_s)
        return self._job.phase

    @told_plainly
    def logs(self) -> str:
        """Return all that the job has printed so far, stdout and stderr as they came."""
        texts: list[str] = []
        cursor: str | None = None
        while True:
            page = self._client.output(self.id, cursor)
            texts += [str(m.get("text", "")) for m in page.messages if m.get("type") == "stream"]
            if not page.messages or page.cursor == cursor:
                return "".join(texts)
            cursor = page.cursor

    @told_plainly
    def cancel(self) -> None:
        """End the job, waiting or running; a job that has ended is left as it is."""
        from dure.client import DureError

        try:
            self._client.cancel(self.id)
        except DureError as error:
            if error.code != "already_ended":
                raise

    def __repr__(self) -> str:
        return f"<dure job {self.id} {self._job.phase}>"

    def _refreshed(self) -> JobView:
        if self._job.phase not in ENDED:
            self._job = self._client.job(self.id)
        return self._job

    def _outcome(self, timeout_s: float | None) -> Outcome:
        """Return how the job ended, read from its stream without showing anything."""
        follower = Follower(self._client, self.id)
        watch = Watch(follower, StatusLine(None), None, watching_only=True)
        outcome = watch.run(timeout_s)
        if outcome.job is not None:
            self._job = outcome.job
        if outcome.interrupts:
            raise KeyboardInterrupt
        if outcome.problem is not None:
            raise outcome.problem
        if outcome.left:
            raise TimeoutError(say("not_done", job=self.id, seconds=f"{timeout_s:g}"))
        return outcome


class CellJob(RemoteJob):
    """A detached cell. `.result()` waits, brings its names into the notebook and returns its last value."""

    def __init__(self, kernel: Kernel, job: JobView, answers: Answers) -> None:
        super().__init__(job)
        self._kernel = kernel
        self._displays: list[str] = []
        threading.Thread(target=self._follow, args=(answers,), name="dure-handle", daemon=True).start()

    @told_plainly
    def result(self, timeout_s: float | None = None) -> Any:
        """Return the value of the cell's last expression once its names are in the notebook; raises what it raised."""
        outcome = self._outcome(timeout_s)
        sent = self._kernel.sent.get(self.id)
        return finish(self._kernel, self._client, outcome, sent, StatusLine(None))

    def _ipython_display_(self) -> None:
        display_id = f"dure-{uuid4().hex}"
        self._displays.append(display_id)
        self._publish(display_id, update=False)

    def _publish(self, display_id: str, *, update: bool) -> None:
        line = _line_of(self._job).removeprefix(f"{self.id}: ")
        text = f"{self!r} {line}" if line else repr(self)
        shown = (
            f'<div role="status" aria-live="polite" lang="{context.language()}"><code>{html.escape(repr(self))}</code>'
        )
        shown += f" <small>{html.escape(line)}</small></div>"
        self._kernel.shell.display_pub.publish(
            data={"text/plain": text, "text/html": shown},
            metadata={},
            transient={"display_id": display_id},
            update=update,
        )

    def _follow(self, answers: Answers) -> None:
        with contextlib.suppress(Exception):  # the handle's own calls meet and tell the same trouble
            for item in self._client.stream(self.id):
                if not hasattr(item, "job"):
                    self._answer(item.message, answers)
                    continue
                self._job = item.job
                if hasattr(self._kernel.shell, "kernel"):
                    for display_id in tuple(self._displays):
                        self._publish(display_id, update=True)

    def _answer(self, message: dict[str, Any], answers: Answers) -> None:
        from dure.client import DureError

        if message["type"] == "need":
            names, snapshot = answers(message["names"])
            with contextlib.suppress(DureError):
                self._client.provide(self.id, names, snapshot)


def _line_of(job: JobView) -> str:
    from dure.client.words import end_line

    if job.phase in ENDED:
        return end_line(job, context.language())
    line, details = progress_text(job)
    return " ".join([line, *details])


def detach(kernel: Kernel, client: Client, request: JobRequest, sent: Sent) -> CellJob:
    """Queue the cell and return its handle at once."""
    job = submit(kernel, client, request, sent, detached=True)
    return CellJob(kernel, job, answers_from(kernel.shell.user_ns, sent.blobs, None))
