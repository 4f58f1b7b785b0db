"""Keeps the platform file as it was last accepted, so that a restart in the middle of a bad edit goes on with it.

Touches `<state>/platform.accepted.yaml`. The trap: `dure up` itself refuses a broken file, so that whoever types it
learns at once; only a control plane that comes back by itself takes the old one.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from blake3 import blake3

from dure.adapters import platform_file
from dure.control.platform_holder import PlatformHolder
from dure.core.model import Platform
from dure.settings import Settings

log = logging.getLogger("dure.main")


def load(settings: Settings) -> PlatformHolder:
    """Return the platform of the file, or the accepted one with the file's errors noted.

    Raises PlatformFileError when the file is wrong and none was accepted before.
    """
    try:
        platform = platform_file.load(settings.platform_file)
    except platform_file.PlatformFileError as error:
        if not _copy(settings).exists():
            raise
        holder = PlatformHolder(platform_file.load(_copy(settings), alone=True))
        holder.refuse(str(error))
        log.warning("platform.refused", extra={"error": str(error)})
        return holder
    remember(settings, platform)
    return PlatformHolder(platform)


def remember(settings: Settings, platform: Platform) -> None:
    """Keep the text of the file, and of what it names, when it still is what `platform` was read from."""
    text = platform_file.text(settings.platform_file)
    if blake3(text).hexdigest() != platform.digest:
        return
    temporary = _copy(settings).with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
    temporary.replace(_copy(settings))


def _copy(settings: Settings) -> Path:
    return settings.state_dir / "platform.accepted.yaml"
