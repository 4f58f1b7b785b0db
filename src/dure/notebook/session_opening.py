"""Finds what is saved of a notebook, aside, while the kernel starts: from the platform, else from this machine's disk.

The trap: a kernel that died may have left versions that the platform never heard of; they are sent first, or the
newest state would seem lost.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.notebook.session_journal import Journal, left_behind
from dure.wire.skew import SKEW

if TYPE_CHECKING:
    from dure.client import Client
    from dure.state import Blobs, Snapshot
    from dure.wire.sessions import SessionDetail, SessionDocument, SessionPolicyView

_ASK_S = 5.0
_LISTED = 100
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


@dataclass(slots=True)
class Opened:
    """What was found: how to reach the blobs, the session's newest version, and whether to bring it back unasked."""

    name: str
    me: str
    team: str | None
    session: str | None
    newest: int
    blobs: Blobs | None
    access: dict[str, Any] | None
    policy: SessionPolicyView | None
    saved: Saved | None = None
    fresh: bool = False
    off: bool = False
    moved_from: str = ""  # the session that may be this notebook's, by the name it had before


def a_client() -> Client:
    """Return a client that gives up soon: whoever waits for it is a person, and there is another time."""
    from dure.client import Client, find_login
    from dure.notebook.session import language

    return Client(find_login(), lang=language(), retry_s=0, timeout_s=_ASK_S)


def open_session(client: Client, name: str, connection: str) -> Opened:
    """Return what is known of the notebook `name`. Raises DureError or BlobError when neither platform nor disk can
    tell. `connection` is the kernel's connection file: a kernel that is started again, by the person or after a crash,
    has the same, and the name that it was started with; it goes on with its session, whatever that is called by now.
    """
    from dure.client import DureError

    left = left_behind(name, client.login.url, connection)
    fresh = any(journal.fresh and journal.connection == connection for journal in left)
    off = bool(left) and left[-1].off
    own = left[-1].session if left and connection and left[-1].connection == connection else None
    try:
        opened = _asked(client, name, own, left)
    except DureError as error:
        remembered = _remembered(left) if error.code in AWAY else None
        if remembered is None:
            raise
        opened = remembered
    opened.fresh, opened.off = fresh, off
    return opened


def load(blobs: Blobs, digest: str, number: int, at: float) -> Saved:
    """Return a version's content. Raises BlobError, ManifestError or ValueError when its blobs do not say it."""
    from dure.state import Snapshot
    from dure.wire.sessions import SessionDocument

    document = SessionDocument.model_validate_json(blobs.get(digest))
    return Saved(number, at, digest, document, Snapshot.load(document.snapshot, blobs))


def import_packages(snapshot: Snapshot) -> None:
    """Import the packages of arrays and models that the variables need, where they are here."""
    from dure.state.identity import imported_aside

    for name in imported_aside(snapshot.modules):
        with contextlib.suppress(Exception):  # the restore will say it
            importlib.import_module(name)


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
        return Opened(name, me.name, team, None, 0, None, None, listing.policy)
    access = client.blob_access(team).model_dump(exclude_none=True)
    blobs = open_blobs(access)
    opened = Opened(name, me.name, team, None, 0, blobs, access, listing.policy)
    if detail is not None:
        newest = detail.versions[0]
        opened.session, opened.newest = detail.session.id, newest.number
        if newest.document is not None:
            opened.saved = load(blobs, newest.document, newest.number, newest.at)
    elif _has_run(Path.home() / name):
        opened.moved_from = _without_notebook(client, me.name, name)
    for journal in left:  # all that it knew is known to the platform now; what it wanted is remembered by the caller
        journal.remove()
    return opened


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
        journal.pending.pop(0)
        journal.newest += 1


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
    opened = Opened(last.name, "", last.team, last.session, last.newest, blobs, last.access, None)
    opened.saved = load(blobs, last.document, last.number, last.at)
    return opened
