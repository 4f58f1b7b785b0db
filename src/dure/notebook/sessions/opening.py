"""Finds what is saved of a notebook, aside, while the kernel starts: from the platform, else from this machine's disk.

The trap: a kernel that died may have left versions that the platform never heard of; they are sent first, or the
newest state would seem lost.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.notebook.sessions.ended import Ended, unsaved
from dure.notebook.sessions.journal import Journal, left_behind
from dure.wire.skew import SKEW

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dure.client import Client
    from dure.notebook.sessions.restoring import Brought
    from dure.state import Blobs, Snapshot
    from dure.wire.sessions import SessionDetail, SessionDocument, SessionPolicyView, VersionView

_ASK_S = 5.0
_LISTED = 100
_LOOKED_BACK = 20  # versions, where the newest cannot be read
_LOOKED_AT_BYTES = 8 * 1024**2
_RAN = re.compile(rb'"execution_count": *\d')
AWAY = SKEW | {"unreachable", "busy", "not_dure", "not_signed_in", "disk_full", "internal_error"}


@dataclass(slots=True)
class Saved:
    """A version's content, not loaded yet."""

    number: int
    at: float
    digest: str
    document: SessionDocument
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Damaged:
    """The newest version cannot be read: its number, the last cell of the one that is restored, its own, and why."""

    number: int
    before: int
    cell: int
    reason: str


class KeyChangedError(Exception):
    """The platform was started with another blob key: what is saved under it is lost when the former one is back."""


@dataclass(slots=True)
class Opened:
    """What was found: how to reach the blobs, the session's newest version, and whether to bring it back unasked."""

    name: str
    team: str | None
    session: str | None
    newest: int
    blobs: Blobs | None
    access: dict[str, Any] | None
    policy: SessionPolicyView | None
    saved: Saved | None = None
    fresh: bool = False
    off: bool = False
    ended: list[Ended] = field(default_factory=list)  # cells of dead kernels that no version holds
    taken: list[Journal] = field(default_factory=list)  # of dead kernels, whose place this one takes
    damaged: Damaged | None = None
    versions: list[VersionView] = field(default_factory=list)  # newest first
    pending: list[dict[str, Any]] = field(default_factory=list)  # what they saved and the platform does not know
    moved_from: str = ""  # the session that may be this notebook's, by the name it had before


def a_client() -> Client:
    """Return a client that gives up soon: whoever waits for it is a person, and there is another time."""
    from dure.client import Client, find_login
    from dure.notebook.context import language

    return Client(find_login(), lang=language(), retry_s=0, timeout_s=_ASK_S)


def open_session(client: Client, name: str, connection: str, take_over: Callable[[list[Ended]], None]) -> Opened:
    """Return what is known of the notebook `name`. Raises DureError or BlobError when neither platform nor disk can
    tell. `connection` is the kernel's connection file: a kernel that is started again, by the person or after a crash,
    has the same, and the name that it was started with; it goes on with its session, whatever that is called by now.
    `take_over` notes the cells that no version holds before what dead kernels noted of them goes.
    """
    from dure.client import DureError

    left = left_behind(name, client.login.url, connection)
    fresh = any(journal.fresh and journal.connection == connection for journal in left)
    last = next((journal for journal in reversed(left) if journal.opened), None)
    own = last.session if last is not None and connection and last.connection == connection else None
    try:
        opened = _asked(client, name, own, left)
    except DureError as error:
        remembered = _remembered(left) if error.code in AWAY else None
        if remembered is None:
            raise
        opened = remembered
    opened.fresh, opened.off = fresh, last is not None and last.off
    if opened.ended and not opened.off:
        take_over(opened.ended)
    for journal in opened.taken:
        journal.forget_ended()
        if opened.policy is not None:  # the platform knows all that it knew; what it wanted is in `opened`
            journal.remove()
    return opened


def report_restored(opened: Opened, brought: Brought) -> None:
    """Tell the platform, aside, how many variables came back."""
    if opened.session is None:
        return
    counts = (opened.session, brought.saved.number, len(brought.names), len(brought.lost))

    def report() -> None:
        with contextlib.suppress(Exception), a_client() as client:
            client.session_restored(*counts)

    threading.Thread(target=report, name="dure-session-told", daemon=True).start()


def load(blobs: Blobs, digest: str, number: int, at: float) -> Saved:
    """Return a version's content. Raises BlobError, ManifestError or ValueError when its blobs do not say it."""
    from dure.state import Snapshot
    from dure.wire.sessions import SessionDocument

    document = SessionDocument.model_validate_json(blobs.get(digest))
    return Saved(number, at, digest, document, Snapshot.load(document.snapshot, blobs))


def import_aside(snapshot: Snapshot) -> threading.Thread:
    """Import the packages of arrays and models that the variables need, where they are here, while nobody waits.
    Returns the started thread; whoever imports one of them meanwhile waits for it.
    """
    from dure.state.identity import imported_aside

    def run() -> None:
        for name in imported_aside(snapshot.modules):
            with contextlib.suppress(Exception):  # the restore will say it
                importlib.import_module(name)

    importing = threading.Thread(target=run, name="dure-session-imports", daemon=True)
    importing.start()
    return importing


def _asked(client: Client, name: str, own: str | None, left: list[Journal]) -> Opened:
    from dure.state import open_blobs

    me = client.me()
    for journal in left:
        _send_left(client, journal)
    listing = client.sessions(user=me.name, name=name)
    detail = _detail(client, me.name, own)
    if detail is None and listing.sessions:
        detail = client.session(listing.sessions[0].id)
    found = detail.session if detail is not None else None
    name = found.name if found is not None else name
    team = found.team if found is not None else next(iter(me.teams), None)
    if team is None or not listing.policy.save:
        return Opened(name, team, None, 0, None, None, listing.policy)
    access = client.blob_access(team).model_dump(exclude_none=True, exclude_defaults=True)
    if access.pop("key_changed", False):
        raise KeyChangedError
    blobs = open_blobs(access)
    opened = Opened(name, team, None, 0, blobs, access, listing.policy)
    if detail is not None:
        newest = detail.versions[0]
        opened.session, opened.newest, opened.versions = detail.session.id, newest.number, detail.versions
        if newest.document is not None:
            opened.saved, opened.damaged = _newest_readable(blobs, detail.versions)
    elif _has_run(Path.home() / name):
        opened.moved_from = _without_notebook(client, me.name, name)
    opened.taken = left
    opened.ended = list(dict.fromkeys(each for journal in left for each in unsaved(journal, journal.ended)))
    return opened


def _newest_readable(blobs: Blobs, versions: Sequence[VersionView]) -> tuple[Saved, Damaged | None]:
    """Return the newest version that can be read, and what is wrong with the newest of all where that is another one.
    Raises what the newest raises where none can: then the store is away, or the key another one.
    """
    from dure.state import BlobError, ManifestError
    from dure.state.store.blobs import StoreAwayError

    newest = versions[0]
    assert newest.document is not None
    problem: Exception | None = None
    for version in versions[:_LOOKED_BACK]:
        try:
            assert version.document is not None
            saved = load(blobs, version.document, version.number, version.at)
            if problem is None:
                return saved, None
            with contextlib.suppress(BlobError, ManifestError, ValueError):  # a store that did not answer for a moment
                return load(blobs, newest.document, newest.number, newest.at), None
            return saved, Damaged(newest.number, version.cell, newest.cell, str(problem))
        except StoreAwayError:
            raise  # none of them can be read now, and what is newest is so tomorrow
        except (BlobError, ManifestError, ValueError) as error:
            problem = problem or error
    assert problem is not None
    raise problem


def saved_like_here(opened: Opened, names: Collection[str]) -> tuple[Saved, list[str]] | None:
    """Return the newest version that an environment like this one saved and that holds some of `names`, with these;
    None where there is none among the last.
    """
    from dure.notebook.sessions.restoring import moved
    from dure.state import fingerprint

    for version in opened.versions[:_LOOKED_BACK]:
        if opened.blobs is None or version.document is None or version.python != fingerprint()["python"]:
            continue
        with contextlib.suppress(Exception):  # a version that cannot be read is not this one
            saved = load(opened.blobs, version.document, version.number, version.at)
            held = sorted(set(names) & saved.snapshot.variables.keys())
            if held and not moved(saved.snapshot.fingerprint):
                return saved, held
    return None


def _has_run(notebook: Path) -> bool:
    """Return whether this file is a notebook whose cells were run: a new one has no earlier name."""
    with contextlib.suppress(OSError), notebook.open("rb") as file:
        return _RAN.search(file.read(_LOOKED_AT_BYTES)) is not None
    return False


def _without_notebook(client: Client, me: str, name: str) -> str:
    """Return the session whose notebook is not there any more: one of the same file's name, else the only one."""
    mine = client.sessions(user=me, limit=_LISTED).sessions
    gone = [each.name for each in mine if each.name.endswith(".ipynb") and not (Path.home() / each.name).exists()]
    file = name.rpartition("/")[2]
    likely = [each for each in gone if each.rpartition("/")[2] == file] or gone
    return likely[0] if len(likely) == 1 else ""


def _detail(client: Client, me: str, session_id: str | None) -> SessionDetail | None:
    """Return a session; None where it is deleted, or not this person's."""
    from dure.client import DureError

    if session_id is None:
        return None
    try:
        detail: SessionDetail = client.session(session_id)
    except DureError as error:
        if error.code != "session_not_found":
            raise
        return None
    return detail if detail.session.user == me else None


def _send_left(client: Client, journal: Journal) -> None:
    """Tell the platform of versions that a dead kernel could not; those that another kernel overtook are let go."""
    from dure.client import DureError
    from dure.wire.sessions import SaveRequest

    while journal.pending:
        try:
            client.save_session(SaveRequest(**journal.pending[0], parent=journal.newest, session=journal.session))
        except DureError as error:
            if error.code in AWAY:
                raise
            return
        journal.confirmed(journal.newest + 1)


def _remembered(left: list[Journal]) -> Opened | None:
    """Return what the last kernel of this machine knew, where the blobs can be reached without the platform."""
    from dure.state import open_blobs

    known = [journal for journal in left if journal.document is not None and journal.access is not None]
    if not known:
        return None
    last = known[-1]
    assert last.access is not None
    assert last.document is not None
    blobs = open_blobs(last.access)
    opened = Opened(last.name, last.team, last.session, last.newest, blobs, last.access, None)
    opened.saved = load(blobs, last.document, last.number, last.at)
    opened.taken, opened.pending = [last], last.pending
    opened.ended = unsaved(last, max([last.ended, *last.covers]))
    return opened
