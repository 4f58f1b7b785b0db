"""One fixed token, for `dure up --no-hub`: one person's own platform, and tests.

Trap: tokens are compared in constant time; an empty configured token would let everybody in and is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from dure.ports import Principal


class TokenIdentity:
    """Knows a few tokens and whose they are."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        """Take token to principal; ValueError for a token shorter than 16 characters."""
        self.replace(principals)

    def replace(self, principals: Mapping[str, Principal]) -> None:
        """Know these from now on, and no others."""
        if any(len(token) < 16 for token in principals):
            raise ValueError("A token must have at least 16 characters. Let `dure up --no-hub` make one.")
        self.known = [(token.encode(), principal) for token, principal in principals.items()]

    def principal(
        self,
        token: str | None,
        headers: Mapping[str, str],  # noqa: ARG002 - the port's signature
        peer: str | None,  # noqa: ARG002
    ) -> Principal | None:
        """Return whose token this is, or None."""
        if token is None:
            return None
        given = token.encode()
        found = None
        # All are compared, so that the time tells nothing about which one was near.
        for known, principal in self.known:
            if hmac.compare_digest(known, given):
                found = principal
        return found
