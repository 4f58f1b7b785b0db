"""Sessions: who may keep, read, share and delete them, and what goes when time or quota runs out.

Values never pass here: a version is the digest of a document among the team's blobs. The trap: administrators may
delete and see sizes, but a digest is a key to the contents, so it is told only to those who may read them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from dure.control import access
from dure.control.platform_holder import PlatformHolder
from dure.core.events import Draft
from dure.core.session import (
    EVERYONE_IN_TEAM,
    MAX_SESSIONS,
    MAX_VERSIONS,
    Holding,
    Session,
    Surplus,
    Version,
    may_read,
    renamed,
    surplus,
)
from dure.ports import BlobStoreError, BlobStores, Clock, Principal, SessionStore, VersionConflictError
from dure.state.inspection import diff, size_text
from dure.state.manifest import MANIFEST_BYTES, ManifestError, Snapshot
from dure.wire.problems import CodedError
from dure.wire.sessions import (
    ContentView,
    DiffView,
    LabelRequest,
    RenameRequest,
    RestoredRequest,
    SavedView,
    SaveRequest,
    SessionDetail,
    SessionDocument,
    SessionList,
    SessionPolicyView,
    SessionView,
    ShareRequest,
    VariableView,
    VersionView,
)

_RETRIES = 8
_LISTED = 2000  # looked at for one list; what is shared with others of a team is passed over
_TOLD_EVERY_S = 3600.0  # the log says that a session is saved at most this often, not once a cell


class Sessions:
    """The one way to sessions, for API and portal. Thread-safe; raises CodedError for every refusal."""

    def __init__(
        self,
        store: SessionStore,
        blobs: BlobStores,
        platform: PlatformHolder,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
        *,
        may_sign_in: Callable[[str], bool] = lambda _person: True,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._platform = platform
        self._clock = clock
        self._changed = changed
        self._may_sign_in = may_sign_in

    def listed(self, principal: Principal, limit: int, user: str | None = None, name: str | None = None) -> SessionList:
        """Return the sessions that the caller may see: their own, those shared with them, all for administrators."""
        teams = None if principal.admin else principal.teams
        known = self._store.listed(principal.name, teams, _LISTED, owner=user, name=name)
        seen = [session for session in known if self._sees(principal, session)]
        found = seen[:limit]
        held = self._store.holdings(session_ids=[session.id for session in found])
        return SessionList(
            sessions=[self._view(principal, session, held.get(session.id, Holding())) for session in found],
            more=len(seen) - len(found),
            policy=self.policy(),
            held_bytes=sum(each.held_bytes for each in self._store.holdings(user=principal.name).values()),
        )

    def policy(self) -> SessionPolicyView:
        """Return what the platform file says of sessions."""
        policy = self._platform.current.sessions
        return SessionPolicyView(save=policy.save, ttl_days=policy.ttl_days, quota_bytes=policy.quota_bytes)

    def detail(self, principal: Principal, session_id: str) -> SessionDetail:
        """Return a session with its versions, newest first."""
        session = self._seen(principal, session_id)
        chain = self._chains([session.id]).get(session.id, [])
        readable = may_read(session, principal.name, principal.teams)
        shown = [_version_view(version, readable=readable) for version in reversed(chain)]
        held = self._store.holdings(session_ids=[session.id]).get(session.id, Holding())
        return SessionDetail(session=self._view(principal, session, held), versions=shown)

    def save(self, principal: Principal, request: SaveRequest) -> SavedView:
        """Keep a new version; the same again is kept once. Raises `session_moved` when it does not follow the newest.

        Older versions go where quota or time to live leave no room; the newest of a session never does.
        """
        if not self._platform.current.sessions.save:
            raise CodedError("sessions_off")
        asked = request.team
        if asked is None and principal.teams:
            asked = principal.teams[0]
        team = access.team_of(principal, asked, tuple(t.name for t in self._platform.current.teams))
        for _ in range(_RETRIES):
            try:
                return self._save(principal, team, request)
            except VersionConflictError:
                continue
        raise CodedError("busy")

    def _save(self, principal: Principal, team: str, request: SaveRequest) -> SavedView:
        now = self._clock.now()
        session = self._meant(principal.name, team, request)
        policy = self._platform.current.sessions
        held = self._store.holdings(user=principal.name)
        if session is None and len(held) >= MAX_SESSIONS:
            raise CodedError("too_many_sessions", user=principal.name, limit=MAX_SESSIONS)
        session_id = session.id if session is not None else self._new_id(principal.name, team, request.name)
        name = session.name if session is not None else request.name
        newest = session.newest if session is not None else 0
        number = request.parent + 1
        if newest != request.parent:
            chain = self._chains([session_id]).get(session_id, [])
            kept = next((version for version in chain if version.number == number), None)
            if kept is not None and (kept.kernel, kept.document) == (request.kernel, request.document):
                return SavedView(session=session_id, team=team, number=number, name=name)
            raise CodedError("session_moved", session=session_id, newest=newest)
        version = _version_of(request, session_id, now)
        mine = held.get(session_id, Holding())
        gone = self._room(principal.name, version, held, now)
        if gone.stays_bytes > policy.quota_bytes and version.new_bytes > 0:
            sizes = {"held": size_text(gone.stays_bytes), "limit": size_text(policy.quota_bytes)}
            raise CodedError("session_quota", **sizes)
        if session is None:
            session = Session(
                id=session_id, user=principal.name, team=team, name=request.name, created_at=now, used_at=now
            )
        due = not mine.versions or (now - session.created_at >= _TOLD_EVERY_S and _hour(mine.saved_at) != _hour(now))
        events = [self._draft("session.saved", session, versions=mine.versions + 1)] if due else []
        dropped = sum(map(len, gone.dropped.values()))
        self._store.save(replace(session, newest=number, used_at=now), version, gone.dropped, events)
        if events:
            self._changed()
        return SavedView(session=session_id, team=team, number=number, dropped=dropped, name=name)

    def _meant(self, user: str, team: str, request: SaveRequest) -> Session | None:
        known = self._store.get(request.session) if request.session else None
        if known is not None and (known.user, known.team) == (user, team):
            return known
        return self._store.find(user, team, request.name)

    def _new_id(self, user: str, team: str, name: str) -> str:
        """Return an id for a session that begins; one that had this name before keeps its own."""
        ids = (_session_id(user, team, name, again) for again in itertools.count())
        return next(each for each in ids if self._store.get(each) is None)

    def _room(self, user: str, version: Version, held: Mapping[str, Holding], now: float) -> Surplus:
        """Return what goes for `version`. Versions are only read where there are too many of them or too many bytes."""
        policy = self._platform.current.sessions
        mine = held.get(version.session, Holding())
        added = version.new_bytes if mine.versions else version.size_bytes
        total = sum(each.held_bytes for each in held.values()) + added
        if total > policy.quota_bytes:
            return surplus([*self._store.versions_of(user), version], policy, now)
        if mine.versions < MAX_VERSIONS:
            return Surplus(stays_bytes=total)
        return surplus([*self._store.versions([version.session]), version], policy, now)

    def share(self, principal: Principal, session_id: str, request: ShareRequest) -> SessionDetail:
        """Let these people of the session's team read it from now on, and nobody else."""
        session = self._own(principal, session_id, "share this session")
        shared = tuple(dict.fromkeys(person for person in request.people if person != session.user))
        added = [person for person in shared if person not in (*session.shared, EVERYONE_IN_TEAM)]
        if unknown := [person for person in added if not self._may_sign_in(person)]:
            raise CodedError("unknown_person", people=", ".join(unknown))
        draft = self._draft("session.shared", session, shared=list(shared))
        self._store.share(session.id, shared, [draft], self._clock.now(), principal.name)
        self._changed()
        return self.detail(principal, session_id)

    def rename(self, principal: Principal, request: RenameRequest) -> None:
        """Let the caller's sessions follow their notebook, or all notebooks of a folder, to another name.

        What is deleted keeps its session under a name that says so, and a new notebook begins anew.
        """
        for _ in range(_RETRIES):
            mine = self._store.listed(principal.name, (), _LISTED, owner=principal.name)
            names = renamed(mine, request.before, request.after)
            drafts = [self._draft("session.renamed", session) for session in mine if session.id in names]
            with contextlib.suppress(VersionConflictError):
                if names:
                    self._store.rename(names, drafts, self._clock.now(), principal.name)
                    self._changed()
                return
        raise CodedError("busy")

    def restored(self, principal: Principal, session_id: str, request: RestoredRequest) -> None:
        """Note that a version was brought back; an unused session's time to live begins anew."""
        session = self._read(principal, session_id)
        self._numbered(principal, session, request.number)
        now = self._clock.now()
        draft = self._draft(
            "session.restored", session, number=request.number, restored=request.restored, lost=request.lost
        )
        self._store.use(session.id, [draft], now, principal.name)
        self._changed()

    def label(self, principal: Principal, session_id: str, number: int, request: LabelRequest) -> None:
        """Put a label on a version. No version comes by it, so that a kernel that runs goes on saving after it."""
        session = self._own(principal, session_id, "label this session's versions")
        self._numbered(principal, session, number)
        self._store.label(session.id, number, request.label, self._clock.now())

    def delete(self, principal: Principal, session_id: str, number: int | None = None) -> None:
        """Delete a session, or one of its older versions; its bytes go with the next garbage collection."""
        session = self._seen(principal, session_id)
        access.require_acting(principal, "delete this session", session.user)
        chain = self._chains([session.id]).get(session.id, [])
        now = self._clock.now()
        if number is None:
            draft = self._draft("session.deleted", session, versions=len(chain))
            self._store.delete([session.id], [draft], now, principal.name)
        else:
            self._numbered(principal, session, number)
            if number == session.newest:
                raise CodedError("version_newest", session=_typed(session, principal.name), number=number)
            draft = self._draft("session.deleted", session, versions=1)
            self._store.drop({session.id: [number]}, [draft], now, principal.name)
        self._changed()

    def content(self, principal: Principal, session_id: str, number: int) -> ContentView:
        """Return the variables of a version, largest first, for those who may read it."""
        document, snapshot = self._opened(principal, session_id, number)
        saved = sorted(snapshot.variables.items(), key=lambda item: (-item[1].size_bytes, item[0]))
        found = [
            VariableView(name=name, type=held.type, size_bytes=held.size_bytes, cell=document.made.get(name))
            for name, held in saved
        ]
        lost = [
            VariableView(name=name, lost=reason, cell=document.made.get(name))
            for name, reason in sorted(snapshot.unsaved.items())
        ]
        return ContentView(session=session_id, number=number, variables=[*found, *lost])

    def differences(self, principal: Principal, session_id: str, before: int, after: int) -> DiffView:
        """Return which names came, went and differ from one version to another, for those who may read them."""
        _, old = self._opened(principal, session_id, before)
        _, new = self._opened(principal, session_id, after)
        found = diff(old, new)
        return DiffView(
            session=session_id,
            before=before,
            after=after,
            added=list(found.added),
            removed=list(found.removed),
            changed=list(found.changed),
        )

    def expire(self) -> int:
        """Delete the sessions that nobody has used for the time to live, and older versions; return how many went."""
        now = self._clock.now()
        policy = self._platform.current.sessions
        unused = self._store.unused(now - policy.ttl_s)
        chains = self._chains([session.id for session in unused])
        count = 0
        for session in unused:
            gone = len(chains.get(session.id, ()))
            draft = self._draft("session.deleted", session, versions=gone, why="expired")
            self._store.delete([session.id], [draft], now, "system")
            count += gone
        for user in self._store.users():
            dropped = surplus(self._store.versions_of(user), policy, now).dropped
            if dropped:
                self._store.drop(dropped, [], now, "system")
                count += sum(map(len, dropped.values()))
        return count

    def documents(self) -> frozenset[str]:
        """Return the digests of the documents that must stay, with all that they reach."""
        return self._store.documents()

    def _opened(self, principal: Principal, session_id: str, number: int) -> tuple[SessionDocument, Snapshot]:
        session = self._read(principal, session_id)
        version = self._numbered(principal, session, number)

        def unreadable(problem: str) -> CodedError:
            called = _typed(session, principal.name)
            return CodedError("contents_unreadable", session=called, number=number, problem=problem)

        try:
            data = self._blobs.read(session.team, version.document, MANIFEST_BYTES)
            if data is None:
                raise unreadable("its blobs are gone")
            document = SessionDocument.model_validate(json.loads(data))
            manifest = self._blobs.read(session.team, document.snapshot, MANIFEST_BYTES)
            if manifest is None:
                raise unreadable("its blobs are gone")
            return document, Snapshot.from_json(manifest)
        except BlobStoreError as error:
            raise unreadable(str(error)) from error
        except (ValueError, RecursionError, ValidationError, ManifestError) as error:
            raise unreadable("it is encrypted, or was written by another Dure") from error

    def _numbered(self, principal: Principal, session: Session, number: int) -> Version:
        for version in self._store.versions([session.id]):
            if version.number == number:
                return version
        raise CodedError("version_not_found", session=_typed(session, principal.name), number=number)

    def _sees(self, principal: Principal, session: Session) -> bool:
        return principal.admin or may_read(session, principal.name, principal.teams)

    def _seen(self, principal: Principal, session_id: str) -> Session:
        session = self._store.get(session_id)
        if session is None or not self._sees(principal, session):
            raise CodedError("session_not_found", session=session_id)
        return session

    def _read(self, principal: Principal, session_id: str) -> Session:
        session = self._seen(principal, session_id)
        if not may_read(session, principal.name, principal.teams):
            who = f"{session.user} and whom it is shared with"
            raise CodedError("not_allowed", user=principal.name, action="see what this session holds", who=who)
        return session

    def _own(self, principal: Principal, session_id: str, action: str) -> Session:
        session = self._seen(principal, session_id)
        if session.user != principal.name:
            raise CodedError("not_allowed", user=principal.name, action=action, who=session.user)
        return session

    def _chains(self, session_ids: Sequence[str]) -> dict[str, list[Version]]:
        return _by_session(self._store.versions(session_ids)) if session_ids else {}

    def _view(self, principal: Principal, session: Session, held: Holding) -> SessionView:
        ttl_s = self._platform.current.sessions.ttl_s
        return SessionView(
            id=session.id,
            user=session.user,
            team=session.team,
            name=session.name,
            newest=session.newest,
            versions=held.versions,
            created_at=session.created_at,
            saved_at=held.saved_at or session.created_at,
            used_at=session.used_at,
            expires_at=session.used_at + ttl_s,
            size_bytes=held.size_bytes,
            held_bytes=held.held_bytes,
            shared=list(session.shared) if access.acts_for(principal, session.user) else [],
            readable=may_read(session, principal.name, principal.teams),
        )

    @staticmethod
    def _draft(kind: str, session: Session, **data: object) -> Draft:
        # Not its name: the log outlives the session. Who may see it at all: access.may_see_event.
        return Draft(kind, session.id, {"user": session.user, "team": session.team, **data})


def _version_of(request: SaveRequest, session_id: str, now: float) -> Version:
    return Version(
        session=session_id,
        number=request.parent + 1,
        parent=request.parent,
        at=now,
        kernel=request.kernel,
        cell=request.cell,
        document=request.document,
        size_bytes=request.size_bytes,
        new_bytes=request.new_bytes,
        variables=request.variables,
        unsaved=request.unsaved,
        python=request.python,
        label=request.label,
        origin=request.origin,
        changed=request.changed,
    )


def _version_view(version: Version, *, readable: bool) -> VersionView:
    return VersionView(
        number=version.number,
        parent=version.parent,
        at=version.at,
        kernel=version.kernel,
        cell=version.cell,
        size_bytes=version.size_bytes,
        new_bytes=version.new_bytes,
        variables=version.variables,
        unsaved=version.unsaved,
        python=version.python,
        label=version.label if readable else "",
        origin=version.origin,
        document=version.document if readable else None,
        changed=version.changed if readable else "",
    )


def _by_session(versions: Sequence[Version]) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for version in sorted(versions, key=lambda version: version.number):
        found.setdefault(version.session, []).append(version)
    return found


def _session_id(user: str, team: str, name: str, again: int = 0) -> str:
    """Return the same id for the same session, so that two kernels that begin at once begin one session."""
    number = f"\0{again}" if again else ""
    digest = hashlib.blake2b(f"{user}\0{team}\0{name}{number}".encode("utf-8", "surrogatepass"), digest_size=8)
    return f"s-{digest.hexdigest()}"


def _hour(at: float) -> int:
    return int(at // _TOLD_EVERY_S)


def _typed(session: Session, user: str) -> str:
    """Return a session's name as a person types it."""
    return shlex.quote(session.name if session.user == user else f"{session.user}/{session.name}")
