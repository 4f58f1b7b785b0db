"""Delete what no snapshot needs any more: the old blobs of a team that no manifest reaches.

It is safe beside running jobs because whoever puts a blob anew makes it young again. The trap: whatever cannot be read
must count as needed, so any doubt ends a collection early instead of deleting.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from dure.ports import BlobStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dure.state.store.sealing import Seal

_DIGEST_INSIDE = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NOTHING: frozenset[str] = frozenset()
_KNOWN_MAX = 500_000  # digests of one team that are remembered from one collection to the next


class Team(Protocol):
    """One team's blobs as a collection needs them. Ages are counted by the clock that dates the blobs."""

    seal: Seal

    def ages(self) -> Iterator[tuple[str, float]]:
        """Return stored name and age in seconds of every blob."""

    def head(self, digest: str) -> bytes | None:
        """Return the blob when it may be a manifest (small and begins with a brace), b"" if not, None if absent."""

    def remove(self, name: str, older_than_s: float) -> bool:
        """Delete the blob unless it has become young since; return whether it went."""

    def mark(self) -> str | None:
        """Return what was noted of the key that names the blobs, None where nothing was."""

    def set_mark(self, text: str) -> None:
        """Note it."""

    @property
    def where(self) -> str:
        """Where it is noted."""


def collected(team: Team, needed: Iterable[str], older_than_s: float, known: dict[str, frozenset[str]]) -> int:
    """Delete the team's blobs that are older and that nothing in `needed` reaches; return how many went.

    `known` is the team's own memory of what its manifests name, from one collection to the next.
    """
    if key_changed(team):
        # under another key every blob has another name, so all would look like garbage
        raise BlobStoreError(
            "These blobs were written with another DURE_BLOB_KEY_FILE, so none is collected: put that key back, or, "
            f"to give them up, remove {team.where}."
        )
    old = [name for name, age_s in team.ages() if age_s >= older_than_s]
    if not old:
        return 0
    found = _reached(team, needed, known)
    if sum(map(len, known.values())) > _KNOWN_MAX:
        known.clear()
    reached = found | {team.seal.name(digest) for digest in found} if team.seal.encrypts else found
    return sum(team.remove(name, older_than_s) for name in old if name not in reached)


def key_changed(team: Team) -> bool:
    """Note by which key the team's blobs have their names, unless that was noted before; whether it is another one."""
    held = team.mark()
    if not held and team.seal.encrypts:
        held = _name_of(team.seal)
        team.set_mark(held)
    return (held or "") != _name_of(team.seal)


def _name_of(seal: Seal) -> str:
    return seal.name("0" * 64) if seal.encrypts else ""


def _reached(team: Team, needed: Iterable[str], known: dict[str, frozenset[str]]) -> set[str]:
    """Return `needed` and every digest that a manifest among them names, and so on.

    Any 64 hexadecimal digits in a JSON blob count, so that a manifest of a format that is not known yet keeps its blobs
    too. `known` remembers what each blob names, which never changes; it is this team's own, since what another team has
    under the same name may be damaged.
    """
    reached = set(needed)
    waiting = list(reached)
    while waiting:
        digest = waiting.pop()
        if digest not in known:
            content = team.head(digest)
            if content is None:
                continue
            known[digest] = frozenset(m.decode() for m in _DIGEST_INSIDE.findall(content)) if content else _NOTHING
        fresh = known[digest] - reached
        reached |= fresh
        waiting += fresh
    return reached
