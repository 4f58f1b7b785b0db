"""An extension of the Jupyter server: sessions follow their notebooks when these are renamed, moved or deleted in it.

Workspaces have it switched on; elsewhere `jupyter server extension enable dure.notebook.following` does. The trap: the
server only tells of what is done through it; who moves files with `mv` types `dure sessions rename`.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
_PATIENCE_S = 600.0  # a platform that is away is told later, in the order in which things happened


class Follower:
    """Tells the platform what became of notebooks, one after another, while the server goes on."""

    def __init__(self, root: str, log: Any) -> None:
        self._root = Path(root)
        self._log = log
        self._moves: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="dure-following", daemon=True).start()

    async def heard(self, logger: Any, schema_id: str, data: Any) -> None:  # noqa: ARG002 -- the event logger's signature
        """Take an event of the contents service."""
        if data["action"] == "rename":
            self._moves.put((self._name(data["source_path"]), self._name(data["path"])))
        elif data["action"] == "delete":
            self._moves.put((self._name(data["path"]), None))

    def _name(self, path: str) -> str:
        from dure.notebook.context import below_home

        return below_home(str(self._root / path.strip("/")))

    def _work(self) -> None:
        while True:
            before, after = self._moves.get()
            try:
                self._tell(before, after)
            except Exception as error:
                self._log.warning("Dure: the session of %s does not follow it (%s)", before, error)

    def _tell(self, before: str, after: str | None) -> None:
        from dure.client import Client, find_login
        from dure.notebook.context import language

        with Client(find_login(), lang=language(), retry_s=_PATIENCE_S) as client:
            client.rename_sessions(before, after)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "dure.notebook.following"}]


def _load_jupyter_server_extension(server: Any) -> None:
    follower = Follower(server.root_dir, server.log)
    server.event_logger.add_listener(schema_id=CONTENTS, listener=follower.heard)
