"""Small secrets in the state folder: made once, readable by their owner alone."""

from __future__ import annotations

import os
from pathlib import Path


def write_once(path: Path, content: str) -> str:
    """Return what the file holds, writing `content` with mode 0600 when there is no such file yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    return content
