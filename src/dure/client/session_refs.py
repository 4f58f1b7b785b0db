"""How a person names a session and a version: `train.ipynb@12`, `kim/train.ipynb`, `s-0123…@3`, or a number alone.

The trap: a notebook's path holds slashes, too, so `kim/` before a name means a person only where such a session is
seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dure.client.errors import failure

if TYPE_CHECKING:
    from dure.client.client import Client
    from dure.wire.sessions import SessionView

_LISTED = 500
_VERSION = re.compile(r"(.*?)@(\d+)")


@dataclass(frozen=True, slots=True)
class Reference:
    """What was typed: a session's name ("" is the notebook's own) and a version's number (None: the newest)."""

    name: str = ""
    number: int | None = None


def parsed(text: str) -> Reference:
    """Return the parts of what a person typed."""
    if text.isdigit():
        return Reference("", int(text))
    found = _VERSION.fullmatch(text)
    return Reference(found[1], int(found[2])) if found else Reference(text)


def found(client: Client, name: str) -> SessionView:
    """Return the session that `name` means: its id, its name, the end of its name, or `person/` before one of these.

    Raises DureError `session_not_found` when there is none, `session_ambiguous` when there are several.
    """
    sessions = client.sessions(limit=_LISTED).sessions
    me = client.me().name
    for candidates in (
        [session for session in sessions if session.id == name],
        [session for session in sessions if session.user == me and session.name == name],
        [session for session in sessions if f"{session.user}/{session.name}" == name],
        [session for session in sessions if session.user == me and session.name.endswith(f"/{name}")],
        [session for session in sessions if _theirs(session, name)],
    ):
        if len(candidates) > 1:
            choices = ", ".join(f"{shown(session, me)} ({session.id})" for session in candidates[:5])
            raise failure("session_ambiguous", client.lang, session=name, choices=choices)
        if candidates:
            return candidates[0]
    raise failure("session_not_found", client.lang, session=name)


def shown(session: SessionView, me: str) -> str:
    """Return a session's name as `me` would type it."""
    return session.name if session.user == me else f"{session.user}/{session.name}"


def newest_before(versions: Sequence[tuple[int, float]], at: float) -> int | None:
    """Return the number of the newest of `(number, at)` that was saved at `at` or before; None when there is none."""
    earlier = [number for number, saved_at in versions if saved_at <= at]
    return max(earlier) if earlier else None


def _theirs(session: SessionView, name: str) -> bool:
    user, _, rest = name.partition("/")
    return bool(rest) and session.user == user and session.name.endswith(f"/{rest}")
