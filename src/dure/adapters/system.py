"""The real clock and the real randomness; everything else takes them as arguments (rule 9)."""

from __future__ import annotations

import secrets
import time

# Crockford's base 32: no i, l, o, u, so that an id can be read aloud and typed.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARS = 8


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()


class SystemIds:
    """Ids from the operating system's randomness."""

    def job_id(self) -> str:
        """Return `j-` and 8 characters (40 random bits); the store refuses the rare one that exists already."""
        return "j-" + "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))
