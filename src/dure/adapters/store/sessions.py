"""Sessions and their versions in the database: rows in, rows out.

The trap: `save` checks the newest number inside its transaction. Whoever decided on an older one gets
VersionConflictError and decides anew; without it, two kernels of one notebook would write over each other.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from dure.adapters.store.tables import session_versions as versions
from dure.adapters.store.tables import sessions
from dure.core.session import Holding, Session, Version, left_bytes
from dure.ports import VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Row

    from dure.core.events import Draft

    Opened = Callable[[], AbstractContextManager[Connection]]
    Log = Callable[[Connection, tuple[Draft, ...], float, str], object]

_PUBLIC = tuple(versions.c)
_NOBODY = "[]"


class SqlSessions:
    """ports.SessionStore beside the jobs, with the same write lock and the same event log."""

    def __init__(self, reading: Opened, writing: Opened, log: Log) -> None:
        self._reading = reading
        self._writing = writing
        self._log = log

    def get(self, session_id: str) -> Session | None:
        """Return the session or None."""
        with self._reading() as connection:
            row = connection.execute(select(sessions).where(sessions.c.id == session_id)).one_or_none()
        return None if row is None else _session(row)

    def find(self, user: str, team: str, name: str) -> Session | None:
        """Return a person's session of that name in a team, or None."""
        wanted = and_(sessions.c.user == user, sessions.c.team == team, sessions.c.name == name)
        with self._reading() as connection:
            row = connection.execute(select(sessions).where(wanted)).one_or_none()
        return None if row is None else _session(row)

    def listed(
        self,
        user: str | None,
        teams: Sequence[str] | None,
        limit: int,
        *,
        owner: str | None = None,
        name: str | None = None,
    ) -> Sequence[Session]:
        """Return sessions, the latest used first: those of `user`, and those of `teams` that are shared."""
        chosen = select(sessions).order_by(sessions.c.used_at.desc(), sessions.c.id).limit(limit)
        if teams is not None:
            shared = and_(sessions.c.team.in_(list(teams)), sessions.c.shared != _NOBODY)
            chosen = chosen.where(or_(sessions.c.user == user, shared))
        if owner is not None:
            chosen = chosen.where(sessions.c.user == owner)
        if name is not None:
            chosen = chosen.where(sessions.c.name == name)
        with self._reading() as connection:
            return [_session(row) for row in connection.execute(chosen)]

    def versions(self, session_ids: Sequence[str]) -> Sequence[Version]:
        """Return all versions of these sessions, by session and number."""
        wanted = select(versions).where(versions.c.session.in_(list(session_ids)))
        with self._reading() as connection:
            return [_version(row) for row in connection.execute(wanted.order_by(versions.c.session, versions.c.number))]

    def versions_of(self, user: str) -> Sequence[Version]:
        """Return all versions of all sessions of a person."""
        wanted = select(*_PUBLIC).join(sessions, sessions.c.id == versions.c.session).where(sessions.c.user == user)
        with self._reading() as connection:
            return [_version(row) for row in connection.execute(wanted)]

    def save(
        self, session: Session, version: Version, dropped: Mapping[str, Sequence[int]], events: Sequence[Draft]
    ) -> None:
        """Add `version` to `session` (made when this is its first) and drop others, or write nothing.

        Raises VersionConflictError when the session's newest is no longer `version.parent`.
        """
        row = _session_row(session)
        try:
            with self._writing() as connection:
                self._log(connection, tuple(events), version.at, session.user)
                if version.number == 1:
                    connection.execute(sessions.insert(), row)
                else:
                    moved = update(sessions).where(sessions.c.id == session.id, sessions.c.newest == version.number - 1)
                    done = connection.execute(moved.values(newest=session.newest, used_at=session.used_at))
                    if done.rowcount != 1:
                        raise VersionConflictError(f"session {session.id} moved on")
                connection.execute(versions.insert(), _version_row(version))
                _drop(connection, dropped)
        except IntegrityError as error:
            raise VersionConflictError(f"session {session.id} was made a moment ago") from error

    def drop(self, dropped: Mapping[str, Sequence[int]], events: Sequence[Draft], at: float, actor: str) -> None:
        """Delete versions."""
        with self._writing() as connection:
            self._log(connection, tuple(events), at, actor)
            _drop(connection, dropped)

    def delete(self, session_ids: Sequence[str], events: Sequence[Draft], at: float, actor: str) -> None:
        """Delete sessions with all their versions."""
        with self._writing() as connection:
            self._log(connection, tuple(events), at, actor)
            connection.execute(delete(versions).where(versions.c.session.in_(list(session_ids))))
            connection.execute(delete(sessions).where(sessions.c.id.in_(list(session_ids))))

    def share(self, session_id: str, shared: Sequence[str], events: Sequence[Draft], at: float, actor: str) -> None:
        """Write whom a session is shared with."""
        self._set(session_id, {"shared": json.dumps(list(shared))}, events, at, actor)

    def rename(self, names: Mapping[str, str], events: Sequence[Draft], at: float, actor: str) -> None:
        """Give sessions other names, one after another; raises VersionConflictError when one is taken."""
        try:
            with self._writing() as connection:
                self._log(connection, tuple(events), at, actor)
                for session_id, name in names.items():
                    connection.execute(update(sessions).where(sessions.c.id == session_id).values(name=name))
        except IntegrityError as error:
            raise VersionConflictError("a session of that name was made a moment ago") from error

    def use(self, session_id: str, events: Sequence[Draft], at: float, actor: str) -> None:
        """Note that a session is used: its time to live begins anew."""
        self._set(session_id, {"used_at": at}, events, at, actor)

    def label(self, session_id: str, number: int, label: str, at: float) -> None:
        """Put a label on a version, which is a use of its session."""
        wanted = and_(versions.c.session == session_id, versions.c.number == number)
        with self._writing() as connection:
            connection.execute(update(versions).where(wanted).values(label=label))
            connection.execute(update(sessions).where(sessions.c.id == session_id).values(used_at=at))

    def _set(self, session_id: str, values: dict[str, Any], events: Sequence[Draft], at: float, actor: str) -> None:
        with self._writing() as connection:
            self._log(connection, tuple(events), at, actor)
            connection.execute(update(sessions).where(sessions.c.id == session_id).values(**values))

    def holdings(self, *, user: str | None = None, session_ids: Sequence[str] | None = None) -> Mapping[str, Holding]:
        """Return what each session of `user`, or each of these, holds, by its id; one without a version is absent."""
        chains = select(
            versions.c.session,
            func.min(versions.c.number).label("first"),
            func.max(versions.c.number).label("last"),
            func.count().label("versions"),
            func.sum(versions.c.new_bytes).label("new_bytes"),
        ).group_by(versions.c.session)
        if user is not None:
            chains = chains.join(sessions, sessions.c.id == versions.c.session).where(sessions.c.user == user)
        if session_ids is not None:
            chains = chains.where(versions.c.session.in_(list(session_ids)))
        chain, oldest, newest = chains.subquery(), versions.alias(), versions.alias()
        wanted = (
            select(
                chain.c.session,
                chain.c.versions,
                (chain.c.new_bytes - oldest.c.new_bytes + oldest.c.size_bytes).label("held_bytes"),
                newest.c.at.label("saved_at"),
                newest.c.size_bytes,
            )
            .join(oldest, and_(oldest.c.session == chain.c.session, oldest.c.number == chain.c.first))
            .join(newest, and_(newest.c.session == chain.c.session, newest.c.number == chain.c.last))
        )
        with self._reading() as connection:
            return {
                row.session: Holding(row.versions, int(row.held_bytes), row.saved_at, row.size_bytes)
                for row in connection.execute(wanted)
            }

    def unused(self, since: float) -> Sequence[Session]:
        """Return the sessions that nobody has saved or restored after `since`."""
        with self._reading() as connection:
            return [_session(row) for row in connection.execute(select(sessions).where(sessions.c.used_at < since))]

    def users(self) -> Sequence[str]:
        """Return everyone who has a session."""
        with self._reading() as connection:
            return [row.user for row in connection.execute(select(sessions.c.user).distinct())]

    def documents(self) -> frozenset[str]:
        """Return the digests of all versions' documents: what they reach must stay."""
        with self._reading() as connection:
            return frozenset(row.document for row in connection.execute(select(versions.c.document).distinct()))


def _drop(connection: Connection, dropped: Mapping[str, Sequence[int]]) -> None:
    for session_id, numbers in dropped.items():
        _count_between(connection, session_id, numbers)
        gone = and_(versions.c.session == session_id, versions.c.number.in_(list(numbers)))
        connection.execute(delete(versions).where(gone))


def _count_between(connection: Connection, session_id: str, gone: Sequence[int]) -> None:
    """Have the version that follows dropped ones count what they added, where an older one stays before them."""
    wanted = select(versions).where(versions.c.session == session_id)
    kept, owed_bytes = False, 0
    for row in connection.execute(wanted.order_by(versions.c.number)).all():
        if row.number in gone:
            owed_bytes += row.new_bytes if kept else 0
        else:
            if owed_bytes:
                same = and_(versions.c.session == session_id, versions.c.number == row.number)
                new_bytes = left_bytes(_version(row), owed_bytes)
                connection.execute(update(versions).where(same).values(new_bytes=new_bytes))
            kept, owed_bytes = True, 0


def _session(row: Row[*tuple[Any, ...]]) -> Session:
    values = row._asdict()
    return Session(**{**values, "shared": tuple(json.loads(values["shared"]))})


def _session_row(session: Session) -> dict[str, Any]:
    row = {column.name: getattr(session, column.name) for column in sessions.c}
    return row | {"shared": json.dumps(session.shared)}


def _version(row: Row[*tuple[Any, ...]]) -> Version:
    return Version(**row._asdict())


def _version_row(version: Version) -> dict[str, Any]:
    return {column.name: getattr(version, column.name) for column in versions.c}
