"""The end of a cell in the notebook: its results are committed, or what went wrong is raised.

The trap: whatever happens here, the job's results stay in the store, so every way out says how they can be had again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from dure.notebook import context, keeping, records
from dure.notebook.delivery import Delivered, FreshKernel, deliver
from dure.notebook.ending import failure_of, left_behind
from dure.notebook.failures import QuietError, RemoteInterrupt, shown_as
from dure.notebook.kernel import Kernel, Sent
from dure.notebook.replay import set_last_value
from dure.notebook.sources import keep_source
from dure.notebook.watching import Outcome, plain_interrupts
from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.client import Client
    from dure.notebook.line import StatusLine
    from dure.wire.messages import JobView


def finish(
    kernel: Kernel,
    client: Client,
    outcome: Outcome,
    sent: Sent | None,
    status: StatusLine,
    *,
    on_conflict: str | None = None,
    watching_only: bool = False,
) -> Any:
    """Commit a job's results and show its last line, or raise what shows how it failed. Returns the last value.

    `on_conflict` None: as the cell was sent with, but who attaches to what was refused wants what can be had.
    """
    from dure.client.words import end_line

    if watching_only and sent is not None and sent.refused:
        on_conflict = on_conflict or "keep"
    job, lang = outcome.job, context.language()
    if outcome.left or outcome.problem is not None or job is None:
        if job is None:
            status.show(say("not_queued"))
        raise _not_ended(outcome, watching_only=watching_only)
    end = outcome.end or job.result or {}
    kept = keeping.is_kept(job, end)
    line = keeping.kept_line(job, end) if kept else end_line(job, lang)
    left_kept = (say("kept_ended"),) if sent is not None and sent.next_cell is not None and not kept else ()
    if sent is not None and sent.kept_gone is not None:
        left_kept = (say("kept_gone", job=sent.kept_gone.job.id),)
        keeping.tell_left(kernel, client, sent.kept_gone)
    if (end.get("status") != "ok") if kept else (job.phase != "succeeded"):
        refused, nothing = "", job.kind == "cell" and end and not (end.get("partial") or end.get("left"))
        details = (say("nothing_committed"),) if nothing else ()
        if end.get("left"):
            _bring_left(kernel, client, job, end["left"], on_conflict)
        if end.get("partial"):
            brought = sent is not None and sent.delivered  # before, and this only shows the output again
            partial = _deliver(kernel, client, job, end, sent, on_conflict)
            kernel.tell(partial.notes)
            names = ", ".join([*partial.changed, *(f"del {name}" for name in partial.deleted)])
            refused = _refusal(kernel, job, partial)
            told = say("partial_committed", names=names) if names else refused or say("partial_nothing")
            details = () if (brought or partial.conflicts) and not (names or refused) else (told,)
        elif sent is not None:
            sent.before = FreshKernel()  # as below
        if not refused:
            records.forget(job.id)
        status.show(line, (*details, *left_kept))
        raise failure_of(outcome, job, end)
    delivered = _deliver(kernel, client, job, end, sent, on_conflict)
    if refused := _refusal(kernel, job, delivered):
        status.show(line, left_kept)
        raise QuietError(refused)
    records.forget(job.id)
    graphs = (say("graphs_left", names=", ".join(delivered.graphs_left)),) if delivered.graphs_left else ()
    status.show(line, (*graphs, *left_kept))
    kernel.tell(delivered.notes)
    if end.get("left"):
        _bring_left(kernel, client, job, end["left"], on_conflict)
    set_last_value(kernel.shell, delivered.last_value)
    return delivered.last_value


def _refusal(kernel: Kernel, job: JobView, delivered: Delivered) -> str:
    """Return what tells that nothing was brought, "" where it was."""
    if not delivered.refused:
        return ""
    if job.id in kernel.sent:
        kernel.sent[job.id].refused = True
    return say("conflict_fail", names=", ".join(delivered.conflicts), job=job.id)


def _deliver(  # noqa: PLR0917 -- one cell's end
    kernel: Kernel, client: Client, job: JobView, end: dict[str, Any], sent: Sent | None, on_conflict: str | None
) -> Delivered:
    from dure.state.manifest import ManifestError
    from dure.state.store.blobs import BlobError

    if job.kind != "cell" or (sent is not None and sent.delivered and on_conflict != "take"):
        return Delivered(last_value=sent.last_value if sent is not None else None)
    try:
        with plain_interrupts():
            blobs = client.blobs(job.team) if end.get("snapshot") or end.get("extras") else None
            before = sent.before if sent is not None else FreshKernel()
            choice = on_conflict or (sent.on_conflict if sent is not None else "keep")
            done = deliver(end, blobs, kernel.shell.user_ns, before, job=job.id, on_conflict=choice)
    except KeyboardInterrupt:
        shown: BaseException = RemoteInterrupt(say("load_interrupted", job=job.id))
    except (BlobError, ManifestError) as error:
        shown = QuietError(say("load_failed", job=job.id, reason=error))
    else:
        if done.conflicts and choice != "both":
            kernel.sent[job.id] = sent or Sent(before, job.team)
        elif sent is not None:
            sent.delivered, sent.last_value = True, done.last_value
            sent.before = FreshKernel()  # or what the names held before would stay in memory
        if sent is not None and done.random is not None:
            from dure.state.extras import random_states, take_random

            if random_states() == sent.random:  # else somebody drew here meanwhile, and goes on with that
                take_random(done.random)
        if done.settings:
            from dure.state.libraries.settings import take_settings, unchanged_here

            known = sent.settings if sent is not None and sent.settings is not None else {}
            failed = take_settings(unchanged_here(done.settings, known))
            done.notes += [say("setting_failed", name=name, reason=reason) for name, reason in failed.items()]
        if done.folder is not None:
            _enter(kernel, done.folder, sent)
        if sent is not None and sent.code:
            keep_source(kernel.shell, sent.code, sent.number)
        return done
    raise shown


def _enter(kernel: Kernel, folder: str, sent: Sent | None) -> None:
    """Go to the folder that the cell has gone to, unless somebody went elsewhere here meanwhile."""
    here = None
    with contextlib.suppress(FileNotFoundError):  # it was removed under the process
        here = os.getcwd()  # noqa: PTH109 -- as it was sent
    if sent is None or sent.folder != here:
        kernel.note(say("folder_kept", folder=folder))
        return
    try:
        os.chdir(folder)
    except OSError as error:
        kernel.note(say("folder_not_here", folder=folder, reason=error.strerror))


def _bring_left(kernel: Kernel, client: Client, job: JobView, left: dict[str, Any], on_conflict: str | None) -> None:
    """Bring what only the kept process had as it ended, such as a failed cell's names."""
    from dure.state.manifest import ManifestError
    from dure.state.store.blobs import BlobError

    try:
        with plain_interrupts():
            blobs, choice = client.blobs(job.team), on_conflict or "keep"
            done = deliver(left, blobs, kernel.shell.user_ns, FreshKernel(), job=job.id, on_conflict=choice)
    except (BlobError, ManifestError) as error:
        kernel.note(say("load_failed", job=job.id, reason=error))
        return
    kernel.tell([*done.notes, *filter(None, [_refusal(kernel, job, done)])])
    if done.changed:
        kernel.note(say("left_brought", names=", ".join(done.changed)))


def _not_ended(outcome: Outcome, *, watching_only: bool) -> BaseException:
    """Return what says why the cell is over although its job is not."""
    job = outcome.job
    if job is None:
        return shown_as(outcome.problem) if outcome.problem else left_behind(outcome)
    if outcome.problem is not None:
        return QuietError(say("lost_stream", sentence=outcome.problem, job=job.id))
    if watching_only:
        return RemoteInterrupt(say("left_attached", job=job.id))
    return left_behind(outcome)
