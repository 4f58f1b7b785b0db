"""Attaches this kernel to a job that left earlier: shows everything that it said, follows it, brings its names.

The trap: looking must be safe, so ■ ends the watching and leaves the job alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.notebook import records
from dure.notebook.finishing import finish
from dure.notebook.kernel import Kernel
from dure.notebook.line import StatusLine
from dure.notebook.replay import Replay
from dure.notebook.sending import answers_from
from dure.notebook.watching import Follower, Watch
from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.client import Client


def attach_job(kernel: Kernel, client: Client, job_id: str, on_conflict: str | None) -> Any:
    """Replay and follow `job_id`, then commit what its cell changed; raises what shows how it failed."""
    from dure.client import DureError

    try:
        job = client.job(job_id)
    except DureError as error:
        if error.code == "job_not_found":
            records.forget(job_id)
        raise
    status = StatusLine(kernel.shell)
    status.show(say("attached", job=job.id, name=job.name))
    sent = kernel.sent.get(job.id)
    replay = Replay(kernel.shell, status)
    answers = None
    if job.kind == "cell":
        blobs = sent.blobs if sent is not None and sent.blobs is not None else client.blobs(job.team)
        answers = answers_from(kernel.shell.user_ns, blobs, replay)
    ended = _last_cell_end(client, job.id) if job.kind == "cell" and job.phase == "running" else None
    follower = Follower(client, job.id, last=lambda item: item.cursor == ended)
    outcome = Watch(follower, status, replay, answers, watching_only=True).run()
    return finish(kernel, client, outcome, sent, status, on_conflict=on_conflict, watching_only=True)


def _last_cell_end(client: Client, job_id: str) -> str | None:
    """Return where the output ends now, if a kept process waits there for a next cell, which need not be awaited."""
    cursor: str | None = None
    last = ""
    while True:
        page = client.output(job_id, cursor)
        if not page.messages:
            return cursor if last == "cell_end" else None
        cursor, last = page.cursor, str(page.messages[-1].get("type"))
