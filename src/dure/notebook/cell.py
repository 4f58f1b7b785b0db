"""Runs a `%%gpu` cell: captures what it reads, queues it, follows it, and commits what it changed.

The trap: nothing is queued before everything that can be known to fail has been checked: options, syntax, and values
that cannot be sent.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.notebook import keeping, records, session
from dure.notebook.delivery import Before, Delivered, FreshKernel, deliver
from dure.notebook.ending import failure_of
from dure.notebook.failures import QuietError, RemoteInterrupt, shown_as, syntax_error, told_plainly
from dure.notebook.line import StatusLine
from dure.notebook.replay import Replay, set_last_value
from dure.notebook.sources import keep_source, sources_of
from dure.notebook.watching import Answers, Follower, Outcome, Watch, at_cell_end, plain_interrupts
from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.client import Client
    from dure.client.options import JobOptions
    from dure.state import Blobs
    from dure.wire.messages import JobRequest, JobView, NextCell

PROVIDE_TIMEOUT_S = 30
DETACHED_PROVIDE_TIMEOUT_S = 10


@dataclass(slots=True)
class Sent:
    """A cell that left this kernel: what delivering its results needs to know."""

    before: Before
    team: str | None = None
    blobs: Blobs | None = None
    code: str = ""
    number: int = 1
    delivered: bool = False
    last_value: Any = None
    next_cell: NextCell | None = None


@dataclass(slots=True)
class Kernel:
    """The state of one kernel: its shell, the cells that left it, by job, and the process kept for its next cell."""

    shell: Any
    sent: dict[str, Sent] = field(default_factory=dict)
    kept: keeping.Kept | None = None
    frees_at_exit: bool = False

    def note(self, text: str) -> None:
        """Say something of our own beside the cell's output."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201


@told_plainly
def run_cell(kernel: Kernel, line: str, body: str) -> Any:
    """Run `body` on a GPU as the options in `line` say. Returns a handle with --detach, else None after the end."""
    from dure.client.options import help_text, parse_words, wants_help

    lang = session.language()
    words = split_words(line)
    if wants_help(words):
        print(help_text("%%gpu", lang))  # noqa: T201 -- help is for the reader
        return None
    options = parse_words(words, now=time.time(), lang=lang, program="%%gpu")
    if not body.strip():
        raise QuietError(say("empty_cell"))
    if options.keep_s and options.detach:
        raise QuietError(say("keep_detached"))
    for note in options.notes:
        print(note, file=sys.stderr)  # noqa: T201
    code = numbered_as_shown(line, body)
    check_syntax(kernel.shell, code)
    client = session.client()
    status = StatusLine(None if options.detach else kernel.shell)
    status.show(say("submitting"))
    request, sent = _prepared(kernel, client, code, options, status)
    if options.detach:
        from dure.notebook.handle import detach

        return detach(kernel, client, request, sent)
    follower = Follower(client, lambda: keeping.begin(kernel, client, request, sent), last=at_cell_end)
    replay = Replay(kernel.shell, status)
    outcome = Watch(follower, status, replay, answers_from(kernel.shell.user_ns, sent.blobs, replay)).run()
    keeping.note_end(kernel, client, outcome, options)
    finish(kernel, client, outcome, sent, status)
    return None


def _prepared(
    kernel: Kernel, client: Client, code: str, options: JobOptions, status: StatusLine
) -> tuple[JobRequest, Sent]:
    """As `prepare`; an absent platform shows in `status`, and ■ stops it without a trace of ours."""
    session.hear_outages(lambda retry: status.show(retry.sentence if retry is not None else say("submitting")))
    try:
        with plain_interrupts():
            return prepare(kernel, client, code, options)
    except KeyboardInterrupt:
        status.show(say("not_queued"))
    except BaseException:
        status.show(say("not_queued"))
        raise
    finally:
        session.hear_outages(None)
    raise RemoteInterrupt(say("left_preparing"))


def split_words(line: str) -> list[str]:
    """Return the words of a magic's line as a shell splits them."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise QuietError(say("bad_quotes", problem=error)) from None


def numbered_as_shown(line: str, body: str) -> str:
    """Return the code with a first line in place of `%%gpu`, so that tracebacks count lines as the notebook does."""
    first = body.lstrip().partition("\n")[0]
    if first.startswith("%%"):
        return body
    return f"# %%gpu {line}".rstrip() + "\n" + body


def check_syntax(shell: Any, code: str) -> None:
    """Raise what shows the ordinary traceback when `code` cannot be compiled."""
    import ast

    try:
        compile(
            shell.transform_cell(code), f"In[{shell.displayhook.prompt_count}]", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
    except (SyntaxError, ValueError, OverflowError) as error:
        problem = error if isinstance(error, SyntaxError) else SyntaxError(str(error))
        lines = shell.SyntaxTB.structured_traceback(type(problem), problem, [])
        shown = syntax_error(problem, lines)
    else:
        return
    raise shown


def prepare(kernel: Kernel, client: Client, code: str, options: JobOptions) -> tuple[JobRequest, Sent]:
    """Capture what the code reads and return the submission; raises QuietError when a needed value cannot be sent."""
    from dure.client.options import job_request
    from dure.notebook.reads import cell_reads

    namespace = kernel.shell.user_ns
    reads = cell_reads(code, namespace)
    wanted = set(reads.reads)
    if options.detach and reads.dynamic:
        wanted |= {word for word in re.findall(r"\w+", code) if word in namespace and not word.startswith("_")}
    blobs = client.blobs(options.team)
    digest, references = capture_names(namespace, sorted(wanted), blobs)
    name = f"In[{kernel.shell.displayhook.prompt_count}]"
    notebook = session.notebook_id(namespace)
    payload = {
        "code": code,
        "snapshot": digest,
        "cell_name": name,
        "kernel_cwd": os.getcwd(),  # noqa: PTH109 -- a text for JSON
        "notebook": notebook,
        "sources": sources_of(kernel.shell, [namespace.get(name) for name in sorted(wanted)]),
        "provide_timeout_s": DETACHED_PROVIDE_TIMEOUT_S if options.detach else PROVIDE_TIMEOUT_S,
    }
    request = job_request(
        options,
        kind="cell",
        name=f"{os.path.basename(notebook)} {name}",  # noqa: PTH119 -- also of a path of another system
        payload=payload,
        references=references,
        python=session.python_minor(),
        lang=session.language(),
    )
    before = Before(namespace, sorted({*wanted, *reads.writes}))
    sent = Sent(before, options.team, blobs, code, kernel.shell.displayhook.prompt_count)
    sent.next_cell = keeping.next_cell(kernel, client, options, request, blobs)
    return request, sent


def capture_names(
    namespace: dict[str, Any], names: Sequence[str], blobs: Blobs, refusal: str = "unpicklable"
) -> tuple[str | None, list[str]]:
    """Store `names`; return the manifest's digest and all digests to keep. QuietError names what cannot go."""
    from dure.state import capture

    if not names:
        return None, []
    snapshot = capture(namespace, names, blobs=blobs)
    refused = {name: reason for name, reason in snapshot.unsaved.items() if name in names}
    if refused:
        reasons = [say("unpicklable_reason", name=name, reason=reason) for name, reason in sorted(refused.items())]
        raise QuietError(say(refusal, names=", ".join(sorted(refused)), reasons="\n".join(reasons)))
    digest = snapshot.store(blobs)
    return digest, [digest, *sorted(snapshot.references())]


def submit(kernel: Kernel, client: Client, request: JobRequest, sent: Sent, *, detached: bool) -> JobView:
    """Queue the job and note on disk that its results are not here yet."""
    job: JobView = client.submit(request, uuid.uuid4().hex)
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
            pid_ticks=records.own_ticks(),
        )
    )


def answers_from(namespace: dict[str, Any], blobs: Blobs | None, replay: Replay | None) -> Answers:
    """Return what answers a running cell that misses names: captures those that exist, and what they read."""

    def answer(names: Sequence[str]) -> tuple[dict[str, str | None], str | None]:
        from dure.notebook.reads import cell_reads
        from dure.state import capture

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
                    replay.note(say("need_refused", name=name, reason=snapshot.unsaved[name]))
        saved = set(snapshot.names)
        return {name: digest if name in saved else None for name in names}, digest

    return answer


def finish(
    kernel: Kernel,
    client: Client,
    outcome: Outcome,
    sent: Sent | None,
    status: StatusLine,
    *,
    overwrite: bool = False,
    watching_only: bool = False,
) -> Any:
    """Commit a job's results and show its last line, or raise what shows how it failed. Returns the last value."""
    from dure.client.words import end_line

    job, lang = outcome.job, session.language()
    if outcome.left or outcome.problem is not None or job is None:
        if job is None:
            status.show(say("not_queued"))
        raise _not_ended(outcome, watching_only=watching_only)
    end = outcome.end or job.result or {}
    kept = keeping.is_kept(job, end)
    line = keeping.kept_line(job, end) if kept else end_line(job, lang)
    left_kept = (say("kept_ended"),) if sent is not None and sent.next_cell is not None and not kept else ()
    if (end.get("status") != "ok") if kept else (job.phase != "succeeded"):
        records.forget(job.id)
        details = (say("nothing_committed"),) if job.kind == "cell" and outcome.error else ()
        status.show(line, (*details, *left_kept))
        raise failure_of(outcome, job, end)
    delivered = _deliver(kernel, client, job, end, sent, overwrite=overwrite)
    records.forget(job.id)
    status.show(line, left_kept)
    for note in delivered.notes:
        print(note, file=sys.stderr)  # noqa: T201
    set_last_value(kernel.shell, delivered.last_value)
    return delivered.last_value


def _deliver(
    kernel: Kernel, client: Client, job: JobView, end: dict[str, Any], sent: Sent | None, *, overwrite: bool
) -> Delivered:
    from dure.state.blobs import BlobError
    from dure.state.manifest import ManifestError

    if job.kind != "cell" or (sent is not None and sent.delivered and not overwrite):
        return Delivered(last_value=sent.last_value if sent is not None else None)
    try:
        with plain_interrupts():
            blobs = client.blobs(job.team) if end.get("snapshot") else None
            before = sent.before if sent is not None else FreshKernel()
            done = deliver(end, blobs, kernel.shell.user_ns, before, job=job.id, overwrite=overwrite)
    except KeyboardInterrupt:
        shown: BaseException = RemoteInterrupt(say("load_interrupted", job=job.id))
    except (BlobError, ManifestError) as error:
        shown = QuietError(say("load_failed", job=job.id, reason=error))
    else:
        if done.conflicts:
            kernel.sent[job.id] = sent or Sent(before, job.team)
        elif sent is not None:
            sent.delivered, sent.last_value = True, done.last_value
        if sent is not None and sent.code:
            keep_source(kernel.shell, sent.code, sent.number)
        return done
    raise shown


def _not_ended(outcome: Outcome, *, watching_only: bool) -> BaseException:
    """Return what says why the cell is over although its job is not."""
    job = outcome.job
    if job is None:
        return shown_as(outcome.problem) if outcome.problem else RemoteInterrupt(say("left_submitting"))
    if outcome.problem is not None:
        return QuietError(say("lost_stream", sentence=outcome.problem, job=job.id))
    if watching_only:
        return RemoteInterrupt(say("left_attached", job=job.id))
    return RemoteInterrupt(say("left_running" if outcome.interrupts < 2 else "left_stopping", job=job.id))
