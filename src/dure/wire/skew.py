"""Which side is older when a client and a platform of different versions do not understand each other.

The trap: servers of all versions are read here, the oldest of which say what is wrong in pydantic's words only.
"""

from __future__ import annotations

SKEW = frozenset({"platform_older", "client_older"})  # the codes of the catalogue
_WORDS = {
    "Extra inputs are not permitted": "platform_older",
    "Input should be '": "platform_older",
    "Field required": "client_older",
}


def skew(problem: str) -> str | None:
    """Return the code of `SKEW` for what is wrong with a body that one of our own clients made; None: another fault."""
    found = [(problem.find(words), code) for words, code in _WORDS.items() if words in problem]
    return min(found)[1] if found and problem.startswith("body.") else None
