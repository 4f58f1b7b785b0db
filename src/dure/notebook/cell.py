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
from typing import TYPE_CHECKING, Any

from dure.notebook import context, keeping
from dure.notebook.delivery import Before
from dure.notebook.failures import QuietError, RemoteInterrupt, syntax_error, told_plainly
from dure.notebook.finishing import finish
from dure.notebook.fitting import check
from dure.notebook.handle import detach
from dure.notebook.kernel import Kernel, Sent
from dure.notebook.line import StatusLine
from dure.notebook.replay import Replay
from dure.notebook.sending import answers_from, capture_names
from dure.notebook.sources import sources_of
from dure.notebook.tables import Table, show
from dure.notebook.watching import Follower, Watch, at_cell_end, plain_interrupts
from dure.notebook.words import say
from dure.wire.cells import PROVIDE_TIMEOUT_S

if TYPE_CHECKING:
    from dure.client import Client
    from dure.client.options import JobOptions
    from dure.wire.messages import JobRequest

DETACHED_PROVIDE_TIMEOUT_S = 10


@told_plainly
def run_cell(kernel: Kernel, line: str, body: str) -> Any:
    """Run `body` on a GPU as the options in `line` say. Returns a handle with --detach, else None after the end."""
    from dure.state.extras import random_states

    random = random_states()
    from dure.client.options import help_text, parse_words, wants_help

    lang = context.language()
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
    client = context.client()
    if options.plan:
        return _plan(kernel, client, code, options)
    status = StatusLine(None if options.detach else kernel.shell)
    status.show(say("submitting"))
    request, sent = _prepared(kernel, client, code, options, status, random=random)
    if options.detach:
        return detach(kernel, client, request, sent)
    follower = Follower(client, lambda: keeping.begin(kernel, client, request, sent), last=at_cell_end)
    replay = Replay(kernel.shell, status)
    answers = answers_from(kernel.shell.user_ns, sent.blobs, replay)
    outcome = Watch(follower, status, replay, answers, meanwhile=kernel.meanwhile).run()
    keeping.note_end(kernel, client, outcome, options)
    finish(kernel, client, outcome, sent, status)
    return None


def _plan(kernel: Kernel, client: Client, code: str, options: JobOptions) -> None:
    """Show what would become of the cell; nothing is sent but its code."""
    from dure.client.options import job_request
    from dure.client.plans import plan_below, plan_columns, plan_rows, plan_title

    lang = context.language()
    notebook = os.path.basename(context.notebook_id(kernel.shell.user_ns))  # noqa: PTH119 -- as in `prepare`
    name = f"{notebook} In[{kernel.shell.displayhook.prompt_count}]"
    request = job_request(
        options, kind="cell", name=name, payload={"code": code}, python=context.python_minor(), lang=lang
    )
    plan = client.plan(request)
    below = plan_below(plan, lang)
    columns = [name.lower() for name in plan_columns(plan, lang)]  # as in every other table of a notebook
    show(kernel.shell, Table(plan_title(plan, lang), columns, plan_rows(plan, lang), below=below))


def _prepared(
    kernel: Kernel, client: Client, code: str, options: JobOptions, status: StatusLine, *, random: dict[str, Any]
) -> tuple[JobRequest, Sent]:
    """As `prepare`; an absent platform shows in `status`, and ■ stops it without a trace of ours."""
    context.hear_outages(lambda retry: status.show(retry.sentence if retry is not None else say("submitting")))
    try:
        with plain_interrupts() as interrupts:
            prepared = prepare(kernel, client, code, options, random)
        if not interrupts:
            return prepared
        status.show(say("not_queued"))
    except KeyboardInterrupt:
        status.show(say("not_queued"))
    except BaseException:
        status.show(say("not_queued"))
        raise
    finally:
        context.hear_outages(None)
    raise RemoteInterrupt(say("left_preparing"))


def split_words(line: str) -> list[str]:
    """Return the words of a magic's line as a shell splits them."""
    try:
        return shlex.split(line)
    except ValueError:
        raise QuietError(say("bad_quotes")) from None


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


def prepare(
    kernel: Kernel, client: Client, code: str, options: JobOptions, random: dict[str, Any]
) -> tuple[JobRequest, Sent]:
    """Capture what the code reads and return the submission; raises QuietError when a needed value cannot be sent.

    `random`: the states that the cell's random generators begin with.
    """
    from dure.client.options import job_request
    from dure.notebook.reads import cell_reads
    from dure.state.extras import FOLDER, RANDOM, SETTINGS, packed, parted
    from dure.state.libraries.settings import read_settings
    from dure.wire.messages import MAX_INPUTS

    namespace = kernel.shell.user_ns
    reads = cell_reads(code, namespace)
    wanted = set(reads.reads)
    if options.detach and reads.dynamic:
        wanted |= {word for word in re.findall(r"\w+", code) if word in namespace and not word.startswith("_")}
    blobs, settings = client.blobs(options.team), read_settings()
    plain, others = parted(settings)
    beside = {SETTINGS: others} if others else None
    digest, references, snapshot = capture_names(namespace, sorted(wanted), blobs, beside=beside)
    folder = os.getcwd()  # noqa: PTH109 -- a text for JSON
    extras = blobs.put(packed({RANDOM: random, SETTINGS: plain, FOLDER: folder}))
    if snapshot is not None and SETTINGS in snapshot.unsaved:
        kernel.note(say("settings_unsent", reason=snapshot.unsaved[SETTINGS]))
    check(kernel, client, code, options.env, snapshot)
    name = f"In[{kernel.shell.displayhook.prompt_count}]"
    notebook = context.notebook_id(namespace)
    payload = {
        "code": code,
        "snapshot": digest,
        "extras": extras,
        "cell_name": name,
        "kernel_cwd": folder,
        "notebook": notebook,
        "sources": sources_of(kernel.shell, [namespace.get(name) for name in sorted(wanted)]),
        "keep_partial": options.keep_partial,
        "provide_timeout_s": DETACHED_PROVIDE_TIMEOUT_S if options.detach else PROVIDE_TIMEOUT_S,
    }
    request = job_request(
        options,
        kind="cell",
        name=f"{os.path.basename(notebook)} {name}",  # noqa: PTH119 -- also of a path of another system
        payload=payload,
        references=[extras, *references],
        inputs=snapshot.largest(MAX_INPUTS) if snapshot is not None else None,
        python=context.python_minor(),
        lang=context.language(),
    )
    unread = sorted(set(reads.writes) - wanted) if options.detach else ()
    before = Before(namespace, sorted({*wanted, *reads.writes}), snapshot, unread)
    number = kernel.shell.displayhook.prompt_count
    sent = Sent(
        before, options.team, blobs, code, number, options.on_conflict, random=random, settings=settings, folder=folder
    )
    sent.next_cell = keeping.next_cell(kernel, client, options, request, blobs)
    return request, sent
