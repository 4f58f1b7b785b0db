"""A notebook's saved state over time: a session is a chain of versions, and this decides which of them may go.

A version never changes; only the newest one has a right to stay. The trap: versions share bytes, so what dropping one
frees is not its size: the oldest that stays is counted whole, every later one by what it added to the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

MAX_VERSIONS = 200  # of one session
MAX_SESSIONS = 500  # of one person
MAX_NAME = 1024  # letters
EVERYONE_IN_TEAM = "*"
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """`sessions` of the platform file: whether kernels are saved, for how long unused, and how much one may keep."""

    save: bool = True
    ttl_days: float = 30.0
    quota_bytes: int = 50 * 1024**3

    @property
    def ttl_s(self) -> float:
        """How long an unused session or an old version is kept, in seconds."""
        return self.ttl_days * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The saved state of one notebook (or fork) of one person. `name` is the notebook's path, or a fork's name.

    `newest` is the number of the newest version: who saves must say which one theirs follows, so that two kernels of
    one notebook never write over each other. `shared` names who may read it; `*` is the whole team.
    """

    id: str
    user: str
    team: str
    name: str
    created_at: float
    used_at: float
    newest: int = 0
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A saved namespace. `document` is the digest of what describes it; the platform sees sizes, never values.

    `cell` is the execution count of the last cell that it holds, `origin` the version whose state it brought back (by
    undo, restore or fork), `new_bytes` what it added to the version before it, `changed` some names that differ.
    """

    session: str
    number: int
    parent: int
    at: float
    kernel: str
    cell: int
    document: str
    size_bytes: int
    new_bytes: int
    variables: int
    unsaved: int
    python: str = ""
    label: str = ""
    origin: int | None = None
    changed: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a session's versions are together: how many, what they hold, and the newest one's time and size."""

    versions: int = 0
    held_bytes: int = 0
    saved_at: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Surplus:
    """What a person's quota and the time to live do not leave room for, and the bytes that stay without it."""

    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    stays_bytes: int = 0


def surplus(versions: Sequence[Version], policy: SessionPolicy, now: float) -> Surplus:
    """Return which of one person's versions go: too old, too many of one session, or beyond the quota.

    The newest of a session never goes. Labelled ones go by time with their session only, and else after all others.
    Beyond the quota the oldest go first, whosever session they are of.
    """
    chains: dict[str, list[Version]] = {}
    for version in sorted(versions, key=lambda version: version.number):
        chains.setdefault(version.session, []).append(version)
    dropped: dict[str, list[int]] = {}

    def drop(chain: list[Version], index: int = 0) -> None:
        gone = chain.pop(index)
        if index:
            chain[index] = replace(chain[index], new_bytes=left_bytes(chain[index], gone.new_bytes))
        dropped.setdefault(gone.session, []).append(gone.number)

    for chain in chains.values():
        for index in reversed(range(len(chain) - 1)):
            if chain[index].at < now - policy.ttl_s and not chain[index].label:
                drop(chain, index)
        while len(chain) > MAX_VERSIONS:
            drop(chain, _first(chain))
    total = {session: held_bytes(chain) for session, chain in chains.items()}
    while sum(total.values()) > policy.quota_bytes:
        longer = [chain for chain in chains.values() if len(chain) > 1]
        if not longer:
            break
        chain = min(longer, key=lambda chain: (bool(chain[_first(chain)].label), chain[_first(chain)].at))
        drop(chain, _first(chain))
        total[chain[0].session] = held_bytes(chain)
    return Surplus({session: tuple(sorted(numbers)) for session, numbers in dropped.items()}, sum(total.values()))


def _first(chain: Sequence[Version]) -> int:
    """Return which of a session's versions goes first: the oldest without a label, else the oldest."""
    return next((index for index, version in enumerate(chain[:-1]) if not version.label), 0)


def left_bytes(after: Version, gone_bytes: int) -> int:
    """Return what a version adds to the one before it once those between, which added `gone_bytes`, are gone."""
    return min(after.size_bytes, after.new_bytes + gone_bytes)


def held_bytes(chain: Sequence[Version]) -> int:
    """Return the bytes that a session's versions, oldest first, hold together."""
    if not chain:
        return 0
    return chain[0].size_bytes + sum(version.new_bytes for version in chain[1:])


def renamed(sessions: Sequence[Session], before: str, after: str | None) -> dict[str, str]:
    """Return the new names of one person's sessions, by id, when the notebook or folder `before` is now `after`, or is
    deleted (None). In this order no two have one name at a time: what had a name before makes way first.
    """
    moving = [each for each in sessions if each.name == before or each.name.startswith(f"{before}/")]
    taken = {(each.team, each.name) for each in sessions}
    if after is None:
        return {each.id: _aside(each, taken) for each in moving}
    moved = {each.id: after + each.name[len(before) :] for each in moving}
    moving = [each for each in moving if len(moved[each.id]) <= MAX_NAME]
    # where a folder goes below itself, or comes up, one's new name may be another's old one: that one leaves first
    moving.sort(key=lambda each: len(each.name), reverse=len(after) > len(before))
    taken.update((each.team, moved[each.id]) for each in moving)
    ids = {each.id for each in moving}
    staying = {(each.team, each.name): each for each in sessions if each.id not in ids}
    names: dict[str, str] = {}
    for session in moving:
        if other := staying.get((session.team, moved[session.id])):
            names[other.id] = _aside(other, taken)
        names[session.id] = moved[session.id]
    return names


def _aside(session: Session, taken: set[tuple[str, str]]) -> str:
    """Return what a session is called whose notebook is gone: a new notebook of that name begins anew."""
    for number in range(1, len(taken) + 2):
        name = f"{session.name[: MAX_NAME - 24]} (deleted{f' {number}' if number > 1 else ''})"
        if (session.team, name) not in taken:
            break
    taken.add((session.team, name))
    return name


def may_read(session: Session, user: str, teams: Sequence[str]) -> bool:
    """Return whether a person may read the contents: the owner, and whom it is shared with while in its team."""
    if session.user == user:
        return True
    return session.team in teams and (EVERYONE_IN_TEAM in session.shared or user in session.shared)
