"""The key that a team's blobs are encrypted with: derived from one secret file by the team's name, so that no team can
open or look for another's.

The one trap: whoever loses the file loses every blob, and a changed file opens nothing that was written before.
"""

from __future__ import annotations

import base64
import binascii
import stat
from typing import TYPE_CHECKING

from dure.ports import BlobStoreError
from dure.state.store.sealing import KEY_BYTES, Seal

if TYPE_CHECKING:
    from pathlib import Path


def _make(path: Path) -> str:
    return f"(umask 077; head -c 32 /dev/urandom | base64 > {path})"


class BlobKey:
    """The platform's blob key, or none: then blobs are not encrypted."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret
        self._seals: dict[str, Seal] = {}

    def __repr__(self) -> str:
        return f"BlobKey({'set' if self._secret else 'none'})"

    @classmethod
    def read(cls, path: Path) -> BlobKey:
        """Read the file that `DURE_BLOB_KEY_FILE` names: 32 bytes in base64, for its owner alone."""
        try:
            mode = path.stat().st_mode
            text = path.read_bytes()
        except OSError as error:
            raise BlobStoreError(
                f"The blob key {path} cannot be read: {error.strerror}. To make a new one type: {_make(path)}"
            ) from None
        if stat.S_IMODE(mode) & 0o077:
            raise BlobStoreError(f"Others may read the blob key {path}. Type: chmod 600 {path}")
        try:
            secret = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise BlobStoreError(
                f"The blob key {path} is not {KEY_BYTES} bytes in base64. Put back the file that was used until now; "
                f"if there was none, type: {_make(path)}"
            )
        return cls(secret)

    def access(self, team: str) -> dict[str, str]:
        """Return what a BlobAccess says of the key: nothing where there is none."""
        return {} if self._secret is None else {"key": base64.b64encode(self._of(self._secret, team)).decode()}

    def seal(self, team: str) -> Seal:
        """Return how this team's blobs are sealed."""
        if team not in self._seals:
            self._seals[team] = Seal(None if self._secret is None else self._of(self._secret, team))
        return self._seals[team]

    @staticmethod
    def _of(secret: bytes, team: str) -> bytes:
        """RFC 5869."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"dure blobs of team " + team.encode()).derive(secret)
