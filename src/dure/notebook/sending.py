"""What leaves the kernel: values as blobs, the job, and later the names that a running cell turns out to miss.

The trap: a job that was queued must be findable again by the next kernel, so it is noted on disk at once.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dure.notebook import records
from dure.notebook.failures import QuietError
from dure.notebook.words import say, without_name
from dure.wire.cells import EVERYTHING
from dure.worker.processes import start_ticks

if TYPE_CHECKING:
    from dure.client import Client
    from dure.notebook.kernel import Kernel, Sent
    from dure.notebook.replay import Replay
    from dure.notebook.watching import Answers
    from dure.state import Blobs, Snapshot
    from dure.wire.messages import JobRequest, JobView


def capture_names(
    namespace: dict[str, Any],
    names: Sequence[str],
    blobs: Blobs,
    refusal: str = "unpicklable",
    may_lack: Collection[str] = (),
    *,
    beside: dict[str, Any] | None = None,
) -> tuple[str | None, list[str], Snapshot | None]:
    """Store `names`; return the manifest's digest, all digests to keep, and the snapshot.

    Raises QuietError, which names what cannot go; names in `may_lack` are left out then. `beside` goes as extras.
    """
    from dure.state import capture

    if not names and not beside:
        return None, [], None
    snapshot = capture(namespace, names, blobs=blobs, extras=beside)
    refused = {name: reason for name, reason in snapshot.unsaved.items() if name in names and name not in may_lack}
    if refused:
        raise QuietError(_told(refusal, refused))
    digest = snapshot.store(blobs)
    return digest, [digest, *sorted(snapshot.references())], snapshot


def submit(kernel: Kernel, client: Client, request: JobRequest, sent: Sent, *, detached: bool) -> JobView:
    """Queue the job and note on disk that its results are not here yet."""
    job = client.submit(request, uuid.uuid4().hex)
    remember(kernel, client, job, request, sent, detached=detached)
    return job


def remember(kernel: Kernel, client: Client, job: JobView, request: JobRequest, sent: Sent, *, detached: bool) -> None:
    """Note, here and on disk, that the results of `job` are not here yet."""
    kernel.sent[job.id] = sent
    records.remember(
        records.Record(
            job=job.id,
            url=client.login.url,
            notebook=str(request.payload.get("notebook", "")),
            cell=str(request.payload.get("cell_name", "")),
            submitted_at=job.submitted_at,
            detached=detached,
            pid=os.getpid(),
            pid_ticks=start_ticks(os.getpid()),
        )
    )


def answers_from(namespace: dict[str, Any], blobs: Blobs | None, replay: Replay | None) -> Answers:
    """Return what answers a running cell that misses names: captures those that exist, and what they read."""

    def answer(names: Sequence[str]) -> tuple[dict[str, str | None], str | None]:
        from dure.notebook.reads import cell_reads
        from dure.state import capture

        if EVERYTHING in names:
            return _everything(namespace, blobs, replay)
        present = [name for name in names if name in namespace]
        if not present or blobs is None:
            return dict.fromkeys(names), None
        try:
            wanted = cell_reads("\n".join(present), namespace).reads
            snapshot = capture(namespace, sorted({*present, *wanted}), blobs=blobs)
            digest = snapshot.store(blobs)
        except Exception as error:  # whatever goes wrong with a name here, the cell there must get an answer
            if replay is not None:
                replay.note(say("need_refused", name=", ".join(present), reason=error))
            return dict.fromkeys(names), None
        if replay is not None:
            for name in present:
                if name in snapshot.unsaved:
                    replay.note(say("need_refused", name=name, reason=without_name(name, snapshot.unsaved[name])))
        saved = set(snapshot.names)
        return {name: digest if name in saved else None for name in names}, digest

    return answer


def _everything(
    namespace: dict[str, Any], blobs: Blobs | None, replay: Replay | None
) -> tuple[dict[str, str | None], str | None]:
    """Capture all that the notebook has but secrets, and name in the output what cannot go."""
    from dure.state import capture

    refused: dict[str, str] = {}
    digest = None
    if blobs is not None:
        try:
            snapshot = capture(namespace, blobs=blobs)
            digest, refused = snapshot.store(blobs), dict(snapshot.unsaved)
        except Exception as error:  # as above: the cell must get an answer
            refused = {EVERYTHING: str(error) or type(error).__name__}
    if refused and replay is not None:
        replay.note(_told("need_all_refused", refused))
    return {EVERYTHING: digest}, digest


def _told(key: str, refused: Mapping[str, str]) -> str:
    """Return the sentence on names that cannot be sent, with a line for each that says why."""
    reasons = [
        say("unpicklable_reason", name=name, reason=without_name(name, reason))
        for name, reason in sorted(refused.items())
    ]
    return say(key, names=", ".join(sorted(refused)), reasons="\n".join(reasons))
