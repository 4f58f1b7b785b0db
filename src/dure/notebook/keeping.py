"""`--keep`: the process of a cell stays on its GPU, and the next `%%gpu` cell of this kernel runs in it.

What the cell reads is sent only where the process does not hold the very value that the notebook has now: the process
says at each cell's end what it holds (a snapshot), and that is compared with the notebook's live values. The trap: the
process may end at any moment, so every cell is also ready to be queued as a job of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.notebook import context
from dure.notebook.sending import remember, submit
from dure.notebook.watching import ENDED, Continued, Outcome
from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.client import Client
    from dure.client.options import JobOptions
    from dure.notebook.kernel import Kernel, Sent
    from dure.state import Blobs, Snapshot
    from dure.wire.messages import JobRequest, JobView, NextCell

_AS_SENT = ("code", "cell_name", "extras", "sources", "provide_timeout_s", "keep_partial")
_GONE = frozenset({"already_ended", "not_running", "job_not_found"})
_OUTCOMES = {"ok": "cell_done", "interrupted": "cell_cancelled"}  # as of a job
_EXIT_TIMEOUT_S = 2.0
_SHORT_KEEP_S = 120.0


@dataclass(slots=True)
class Kept:
    """A job whose process waits for this kernel's next cell. `held` is the digest of what it holds, for `until`."""

    job: JobView
    url: str
    cursor: str
    until: float
    held: str | None


def fits(kept: Kept, options: JobOptions) -> bool:
    """Return whether a cell with these options may run where the kept process is."""
    job, lease = kept.job, kept.job.lease
    if lease is None or options.retries:
        return False
    costs = lease.cluster_kind == "public" and (options.burst is False or options.budget not in {None, "flex"})
    longer = options.timeout_s is not None and job.timeout_s is not None and options.timeout_s > job.timeout_s
    same = (
        options.tier in {None, lease.tier},
        options.gpus == job.gpus,
        options.env in {None, job.environment},
        options.team in {None, job.team},
        options.data in {None, job.data},
    )
    return all(same) and not costs and not longer


def next_cell(
    kernel: Kernel, client: Client, options: JobOptions, request: JobRequest, blobs: Blobs
) -> NextCell | None:
    """Return the cell as the kept process takes it; None when there is none that fits, which is said if it matters."""
    from dure.state.secrecy import hidden
    from dure.wire.messages import NextCell

    kept = kernel.kept
    if kept is None or options.detach:
        return None
    if kept.until <= time.time() or kept.url != client.login.url:
        kernel.kept = None
        tell_left(kernel, client, kept)
        return None
    if not fits(kept, options):
        kernel.note(say("keep_misfit", job=kept.job.id))
        return None
    payload = request.payload
    namespace = kernel.shell.user_ns
    digest, names = _difference(kept.held, payload.get("snapshot"), namespace, blobs)
    others = [name for name, value in namespace.items() if name not in names and not hidden(name, value)]
    taken = {key: payload[key] for key in _AS_SENT}
    try:
        return NextCell(
            **taken,
            snapshot=digest,
            names=sorted(names),
            others=others,
            keep_s=options.keep_s,
            timeout_s=options.timeout_s,
        )
    except ValueError:  # beyond what one message may name
        return None


def _difference(
    held_digest: str | None, wanted_digest: str | None, namespace: dict[str, Any], blobs: Blobs
) -> tuple[str | None, set[str]]:
    """Return the snapshot of what the process lacks, and all names that it may then use."""
    from dure.state import Snapshot

    if wanted_digest is None:
        return None, set()
    held = _held(held_digest, blobs)
    wanted = Snapshot.load(wanted_digest, blobs)
    names = set(wanted.names)
    beside = wanted.without(names)  # settings that are not plain, which go along each time
    there = {group.key() for group in (*held.groups, *beside.groups)}
    if all(group.key() in there for group in wanted.groups):
        return beside.store(blobs) if beside.extras else None, names
    if not names & set(held.names):
        return wanted_digest, names
    return _changed(held, names, namespace, blobs, beside)


def _changed(
    held: Snapshot, names: set[str], namespace: dict[str, Any], blobs: Blobs, beside: Snapshot
) -> tuple[str | None, set[str]]:
    """Look twice: bytes that differ may still be the same value, such as a tensor that lives on the GPU there.

    What shares objects with `names` there is compared, and vouched for, too.
    """
    from dure.state import changed

    mates = {name for group in held.groups if names & group.names.keys() for name in group.names}
    known = held.without(set(held.names) - mates)
    changes = changed(namespace, known, blobs=blobs, ignore=frozenset(namespace) - names)
    sent = changes.snapshot.merged(beside) if changes.snapshot is not None and changes.changed else beside
    return sent.store(blobs) if sent.groups else None, names | {
        name for name in mates if name in namespace and name not in changes.unsaved
    }


def _held(digest: str | None, blobs: Blobs) -> Snapshot:
    from dure.state import BlobError, ManifestError, Snapshot

    if digest is not None:
        with contextlib.suppress(BlobError, ManifestError):
            return Snapshot.load(digest, blobs)
    return Snapshot()


def begin(kernel: Kernel, client: Client, request: JobRequest, sent: Sent) -> JobView | Continued:
    """Hand the cell to the kept process; queue it as a job when there is none (any more)."""
    from dure.client import DureError

    kept = kernel.kept
    if sent.next_cell is None or kept is None:
        return submit(kernel, client, request, sent, detached=False)
    try:
        client.next_cell(kept.job.id, sent.next_cell, uuid.uuid4().hex)
    except DureError as error:
        if error.code not in _GONE:
            raise
        kernel.kept, sent.next_cell, sent.kept_gone = None, None, kept
        return submit(kernel, client, request, sent, detached=False)
    remember(kernel, client, kept.job, request, sent, detached=False)
    return Continued(kept.job, kept.cursor)


def note_end(kernel: Kernel, client: Client, outcome: Outcome, options: JobOptions) -> None:
    """Remember the process that waits for the next cell; let go of one that this kernel no longer follows."""
    job, end, before = outcome.job, outcome.end or {}, kernel.kept
    if is_kept(job, end) and job is not None and outcome.cursor is not None:
        kernel.kept = Kept(job, client.login.url, outcome.cursor, float(end["kept_until"]), end.get("held"))
        _at_exit(kernel)
    elif job is None or (before is not None and job.id == before.job.id):
        kernel.kept = None
    lost = outcome.left or outcome.problem is not None
    known = job or (before.job if before is not None else None)
    if lost and known is not None and (options.keep_s or before is not None):
        threading.Thread(target=_finish, args=(client, known.id), name="dure-free", daemon=True).start()


def is_kept(job: JobView | None, end: dict[str, Any]) -> bool:
    """Return whether `end` is that of a cell whose process waits for the next."""
    return job is not None and end.get("type") == "cell_end" and job.phase not in ENDED


def kept_line(job: JobView, end: dict[str, Any]) -> str:
    """Return the one line at the end of a cell whose GPU is kept."""
    from dure.amounts import duration
    from dure.client.words import place

    lang = context.language()
    until = float(end["kept_until"])
    clock = "%H:%M:%S" if until - time.time() < _SHORT_KEEP_S else "%H:%M"
    return say(
        "kept_line",
        job=job.id,
        outcome=say(_OUTCOMES.get(str(end.get("status")), "cell_failed")),
        place=place(job, lang),
        waited=duration(job.waited_s, lang),
        ran=duration(float(end.get("ran_s") or 0.0), lang),
        until=time.strftime(clock, time.localtime(until)),
    )


def tell_left(kernel: Kernel, client: Client, kept: Kept) -> None:
    """Say what only the kept process had when its time was over."""
    if kept.url == client.login.url:
        with contextlib.suppress(Exception):  # this cell runs whatever became of that job
            if told := _left_there(client.job(kept.job.id)):
                kernel.note(told)


def _left_there(job: JobView) -> str:
    """Return the sentence on what only a kept process had as it ended; "" where it had nothing of its own."""
    left = ", ".join((job.result or {}).get("left", {}).get("changed", ()))
    return say("left_there", names=left, job=job.id) if left else ""


def free(kernel: Kernel) -> str:
    """Let the kept process go and return the sentence that says so."""
    from dure.client import DureError
    from dure.client.words import end_line

    kept, kernel.kept = kernel.kept, None
    if kept is None:
        return say("nothing_kept")
    client = context.client()
    try:
        client.finish(kept.job.id)
    except DureError as error:
        if error.code not in _GONE:
            raise
    for item in client.stream(kept.job.id, kept.cursor):
        found = getattr(item, "job", None)
        if found is not None and found.phase in ENDED:
            return f"{end_line(found, context.language())}\n{_left_there(found)}".rstrip()
    return say("asked_to_free", job=kept.job.id)


def _finish(client: Client, job_id: str) -> None:
    with contextlib.suppress(Exception):  # it has ended, or ends by itself when its time is over
        client.finish(job_id)


def _at_exit(kernel: Kernel) -> None:
    if not kernel.frees_at_exit:
        kernel.frees_at_exit = True
        atexit.register(_free_at_exit, kernel, os.getpid())


def _free_at_exit(kernel: Kernel, pid: int) -> None:
    from dure.client import Client, find_login

    if kernel.kept is None or os.getpid() != pid:  # in a child that was forked from this kernel
        return
    with contextlib.suppress(Exception), Client(find_login(), retry_s=0, timeout_s=_EXIT_TIMEOUT_S) as client:
        client.finish(kernel.kept.job.id)
