"""How a person names a session and a version: `train.ipynb@12`, `kim/train.ipynb`, `s-0123…@3`, or a number alone.

The trap: a notebook's path holds slashes, too, so `kim/` before a name means a person only where such a session is
seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dure.client.errors import failure

if TYPE_CHECKING:
    from dure.client.client import Client
    from dure.wire.sessions import SessionView, VersionView

_LISTED = 500  # as many as one person may have
_ID = re.compile(r"s-[0-9a-f]{16}")
_VERSION = re.compile(r"(.*?)@(\d+)")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_PERSON = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
MAX_NAME = 1024
MAX_LABEL = 200


@dataclass(frozen=True, slots=True)
class Reference:
    """What was typed: a session's name ("" is the notebook's own) and a version's number (None: the newest)."""

    name: str = ""
    number: int | None = None


def parsed(text: str) -> Reference:
    """Return the parts of what a person typed."""
    if text.isdecimal():
        return Reference("", int(text))
    found = _VERSION.fullmatch(text)
    return Reference(found[1], int(found[2])) if found else Reference(text)


def found(client: Client, name: str) -> SessionView:
    """Return the session that `name` means: its id, its name, the end of its name, or `person/` before one of these.

    Raises DureError `session_not_found` when there is none, `session_ambiguous` when there are several.
    """
    me = client.me().name
    if _ID.fullmatch(name):
        return client.session(name).session
    # Only theirs whom the name may mean: among all that an administrator sees, any one may be beyond the list's end.
    person, slash, _ = name.partition("/")
    whose = (me, person) if slash and person != me and _PERSON.fullmatch(person) else (me,)
    sessions = [session for user in whose for session in client.sessions(user=user, limit=_LISTED).sessions]
    for candidates in (
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


def checked_name(text: str, lang: str) -> str:
    """Return a name for a session. Raises DureError `invalid_option` for one that none can have, or that would mean a
    version wherever it is typed: `dure sessions delete x@3` deletes version 3 of x.
    """
    if 0 < len(text) <= MAX_NAME and text.isprintable() and parsed(text) == Reference(text):
        return text
    expected = f"a name of 1 to {MAX_NAME} letters that is no version, as 3 and x@3 are"
    if lang == "ko":
        expected = f"3이나 x@3처럼 버전을 뜻하지 않는 1~{MAX_NAME}자의 이름"
    raise failure("invalid_option", lang, option="NAME", value=text[:40], expected=expected)


def checked_label(text: str, lang: str) -> str:
    """Return a label for a version. Raises DureError `invalid_option` for one that is too long: none is cut short."""
    if len(text) <= MAX_LABEL:
        return text
    expected = f"{MAX_LABEL}자 이하의 글" if lang == "ko" else f"at most {MAX_LABEL} letters"
    raise failure("invalid_option", lang, option="LABEL", value=f"{text[:40]}…", expected=expected)


def checked_people(people: Sequence[str], lang: str) -> list[str]:
    """Return the people, `*` being the whole team. Raises DureError `invalid_option` for what is no person's name."""
    for person in people:
        if not _PERSON.fullmatch(person):
            expected = "로그인 이름" if lang == "ko" else "the name that a person signs in with"
            raise failure("invalid_option", lang, option="PERSON", value=person[:40], expected=expected)
    return list(people)


def moment_of(text: str) -> float | None:
    """Return the moment that a time of day means, `14:02` or `14:02:30`; None when the text is none. What is still to
    come is yesterday's; a minute that is over means its end, so that a version listed as of 14:02 is the one of 14:02.
    """
    at = _CLOCK.fullmatch(text)
    if at is None:
        return None
    now, present = time.time(), time.localtime()
    hour, minute, second = (int(part or 0) for part in at.groups())
    begins = time.mktime((*present[:3], hour, minute, second, 0, 0, -1))
    if begins > now:
        begins = time.mktime((present[0], present[1], present[2] - 1, hour, minute, second, 0, 0, -1))
    ends = begins + 59.999999  # a version of its last moment is listed as of this minute, too
    return ends if at[3] is None and ends <= now else begins


def newest_before(versions: Sequence[tuple[int, float]], at: float) -> int | None:
    """Return the number of the newest of `(number, at)` that was saved at `at` or before; None when there is none."""
    earlier = [number for number, saved_at in versions if saved_at <= at]
    return max(earlier) if earlier else None


def came_from(version: VersionView, versions: Mapping[int, VersionView]) -> VersionView:
    """Return the version whose state an undo or a restore brought back in this one; most often itself."""
    while (before := versions.get(version.origin or 0)) is not None and before.number < version.number:
        version = before
    return version


def state_before(version: VersionView, versions: Mapping[int, VersionView]) -> VersionView | None:
    """Return the version that an undo of this one goes to; None when nothing older is kept."""
    earlier = [number for number in versions if number < came_from(version, versions).number]
    return versions[max(earlier)] if earlier else None


def _theirs(session: SessionView, name: str) -> bool:
    user, _, rest = name.partition("/")
    return bool(rest) and session.user == user and session.name.endswith(f"/{rest}")
