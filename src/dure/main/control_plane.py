"""One control plane in this process: composes it, serves HTTP, ends cleanly on SIGTERM.

The trap: the state folder's database may be led by another control plane for a few seconds more (one that was killed);
this one serves requests at once and begins to act when leadership has run out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from dure.main import cycles
from dure.main.compose import Composition, compose
from dure.main.serving import application
from dure.main.succession import Succession
from dure.main.watch import Chores
from dure.settings import Settings

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_SHUTDOWN_S = 3


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _Server(uvicorn.Server):
    """Ends open streams as soon as it is told to end: it would wait for them as for any request under way."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then do what uvicorn does."""
        self._end_streams()
        await super().shutdown(sockets)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `compose` raises."""
    os.umask(0o077)  # what it writes is its own; what others may pass or share is opened to them one by one
    _log_to_stderr(settings.log_level)
    parts: Composition = compose(settings)
    chores = Chores(parts)
    web = application(parts)
    config = uvicorn.Config(
        web,
        host=settings.address,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        proxy_headers=False,
        server_header=False,
    )
    # Kept for as long as this process lives: the lock in it says that we do.
    succession = Succession(settings.state_dir)
    succession.follow(parts.holder, parts.store)
    parts.start()
    chores.start()
    cycles.look_seldom()
    try:
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after a clean end
            _Server(config, web.state.streams.close).run()
    finally:
        chores.close()
        parts.close()
        succession.close()


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel("WARNING")
    logging.getLogger("httpx").setLevel("WARNING")
    logging.getLogger("alembic").setLevel("WARNING")
