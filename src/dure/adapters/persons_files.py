"""Reads and makes files in folders that belong to other accounts, which may have put anything there.

Attempt folders and blobs belong to people, and with --system-users root reads them. The trap: a link, a pipe or a
device where a file is expected would make root read, write or hang on what a person could not, so nothing is followed
and only regular files of the folder's own owner count.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
import time
from pathlib import Path
from typing import IO, Any

JSON_BYTES_MAX = 32 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV)
_NOT_FOLLOWED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_regular(path: Path, *, owner_of: Path | None = None) -> IO[bytes]:
    """Open a regular file for reading, of the same owner as `owner_of` when that is given (root's own count, too).

    Raises FileNotFoundError for whatever is no such file, so that callers see it as absent.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOT_FOLLOWED)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NO_FILE:
            raise FileNotFoundError(error.errno, "not a regular file", str(path)) from error
        raise
    about = os.fstat(descriptor)
    owners = {about.st_uid} if owner_of is None else {owner_of.lstat().st_uid, os.geteuid()}
    if not stat.S_ISREG(about.st_mode) or about.st_uid not in owners:
        os.close(descriptor)
        raise FileNotFoundError(_NO_FILE[0], "not a regular file of its folder's owner", str(path))
    return os.fdopen(descriptor, "rb")


def make_empty(path: Path) -> None:
    """Make an empty file, or leave what is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _NOT_FOLLOWED, 0o600)
    os.close(descriptor)


def peer_uid(connection: socket.socket) -> int | None:
    """Return the account at a unix socket's other end, None where the system does not tell (outside Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def receive_line(connection: socket.socket, timeout_s: float) -> bytes:
    """Return one line from a peer that may send it drop by drop; raises TimeoutError when all of it took too long."""
    deadline = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(1 << 16)
        if not data:
            break
        line += data
    return line


def read_json(data: bytes) -> Any:
    """Return what a person's program wrote as JSON; half characters (lone surrogates), which no text may hold, are "?".

    Raises ValueError or RecursionError for what is no JSON.
    """
    content = json.loads(data)
    return _whole(content) if b"\\ud" in data or b"\\uD" in data else content


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def check_peer(connection: socket.socket, uid: int) -> None:
    """Raise ConnectionRefusedError unless the account `uid` listens at the other end, whatever the path says."""
    found = peer_uid(connection)
    if found not in (None, uid):
        raise ConnectionRefusedError(f"account {found} answers where account {uid} should")
