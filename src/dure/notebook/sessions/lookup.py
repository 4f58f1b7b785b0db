"""What a `%session` command means by its words: the notebook's saver, its session, a version by number or by time;
and what a command waits for before it does anything: that the last cell is saved.

The trap: a minute that is over means its end, so that a version listed as of 14:02 is the one of 14:02; of the present
minute it is the beginning, or nothing could have changed since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dure.client.session_refs import moment_of, newest_before, parsed
from dure.notebook import context
from dure.notebook.failures import QuietError
from dure.notebook.sessions.restoring import short
from dure.notebook.sessions.words import say

if TYPE_CHECKING:
    from dure.notebook.sessions.opening import Saved
    from dure.notebook.sessions.saving import Saver
    from dure.notebook.sessions.session import NotebookSession
    from dure.wire.sessions import SessionDetail, VersionView


PATIENCE_S = 1.0  # longer than this nobody waits without being told for what


def saver_of(notebook: NotebookSession) -> Saver:
    """Return the saver; raises what tells why there is none."""
    if notebook.name is None:
        raise QuietError(say("no_name"))
    if not notebook.ready():
        if notebook.failure is not None:
            if (key := untold(notebook.failure)) == "key_changed":
                raise QuietError(say(key, name=short(notebook.name or "")))
            raise notebook.failure
        opened = notebook.opened
        off = opened is not None and opened.policy is not None and not opened.policy.save
        raise QuietError(say("platform_off") if off else say("late"))
    assert notebook.saver is not None
    return notebook.saver


def flushed(notebook: NotebookSession) -> bool:
    """Save what the last cell left, and return whether it is written; who waits for long is told for what."""
    if notebook.saver is not None and notebook.saver.fenced:
        notebook.show(notebook.saver.problem)  # what follows is about the other kernel's versions
        return True
    if notebook.flush(PATIENCE_S):
        return True
    if notebook.saver is not None and notebook.saver.behind:
        return False
    notebook.show(say("being_saved_first"))
    return notebook.flush()


def nothing_lost(notebook: NotebookSession, saver: Saver) -> None:
    """Save what the last cell left and tell the platform, or raise: what follows replaces it by what is known there."""
    if not flushed(notebook):
        raise QuietError(say("would_be_lost", reason=saver.problem or say("being_saved")))
    if saver.journal.pending:
        saver.send()
        saver.wait()
    if saver.journal.pending:
        raise QuietError(saver.problem or say("saved_only_here", count=len(saver.journal.pending)))


def detail_of(notebook: NotebookSession) -> SessionDetail:
    """Return this notebook's session as the platform has it."""
    client = context.client()
    session_id = notebook.journal.session if notebook.journal is not None else None
    if session_id is None:
        mine = client.sessions(user=client.me().name, name=notebook.name).sessions if notebook.name else []
        if not mine:
            raise QuietError(say("no_session"))
        session_id = mine[0].id
    return client.session(session_id)


def numbered(detail: SessionDetail, number: int | None) -> VersionView:
    """Return the version of that number, the newest for None; raises what tells that there is none."""
    for version in detail.versions:
        if number is None or version.number == number:
            return version
    if not detail.versions:
        raise QuietError(say("no_session"))
    newest = detail.versions[0].number
    raise QuietError(say("no_version", name=short(detail.session.name), number=number, newest=newest))


def meant(text: str, detail: SessionDetail) -> VersionView:
    """Return the version that a number or a time of day means; a time that is still to come is yesterday's."""
    moment = moment_of(text)
    if moment is None:
        reference = parsed(text)
        if reference.name or reference.number is None:
            raise QuietError(say("bad_time", text=text))
        return numbered(detail, reference.number)
    number = newest_before([(version.number, version.at) for version in detail.versions], moment)
    if number is None:
        raise QuietError(say("no_version_at", at=text))
    return numbered(detail, number)


def saved_version(notebook: NotebookSession, version: VersionView) -> Saved:
    """Return what a version holds, not loaded yet."""
    from dure.notebook.sessions.opening import load

    assert notebook.saver is not None
    assert version.document is not None
    return load(notebook.saver.blobs, version.document, version.number, version.at)


def untold(failure: BaseException) -> str:
    """Return the sentence for what did not open; "" for a platform that is away, no news to who works without it."""
    from dure.client import DureError
    from dure.notebook.sessions.opening import AWAY, KeyChangedError
    from dure.state.store.blobs import StoreAwayError

    if isinstance(failure, KeyChangedError):
        return "key_changed"
    if isinstance(failure, StoreAwayError):
        return "away_at_opening"
    if not isinstance(failure, DureError):
        return "not_opened"
    return "" if failure.code in AWAY else "not_saved"
