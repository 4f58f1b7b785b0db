"""Slow chores beside the loop: the platform file's edits, fork servers kept warm, and garbage collected.

Each runs in a thread of its own, so that one that hangs holds up nobody. The trap: an editor writes a file in several
steps, so an edit counts when its content is the same twice in a row.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from dure.adapters import platform_file
from dure.adapters.executors.forkservers import ForkServerError
from dure.core.events import Draft
from dure.main import cycles
from dure.main.compose import Composition
from dure.main.failing import Failing
from dure.ports import BlobStoreError, Changes
from dure.wire.cells import MAX_KEEP_S

log = logging.getLogger("dure.watch")

_FILE_EVERY_S = 1.0
_WARM_EVERY_S = 3.0
_COLLECT_EVERY_S = 600.0  # and not before: kernels first tell what they saved while the platform was away
_CYCLES_EVERY_S = 600.0
_DAY_S = 86_400.0
_YOUNG_BLOB_S = 2 * MAX_KEEP_S  # what a kept cell left is on record only when the keep has ended


class Chores:
    """The chores' threads."""

    def __init__(self, parts: Composition) -> None:
        self._parts = parts
        self._stopping = threading.Event()
        chores = (
            (self._follow_file, _FILE_EVERY_S, 0.0),
            (self._keep_warm, _WARM_EVERY_S, 0.0),
            (self._collect, _COLLECT_EVERY_S, _COLLECT_EVERY_S),
            (cycles.look_through, _CYCLES_EVERY_S, 0.0),
        )
        self._threads = [threading.Thread(target=self._repeat, args=chore, daemon=True) for chore in chores]
        self._main = ""
        self._files: tuple[Path, ...] = ()
        self._taken = self._digest()
        self._seen = self._taken

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop after the step under way."""
        self._stopping.set()

    def _repeat(self, chore: Callable[[], None], every_s: float, first_s: float) -> None:
        failing = Failing(log, f"chore.{chore.__name__.lstrip('_')}.failed")
        self._stopping.wait(first_s)
        while not self._stopping.is_set():
            try:
                chore()
            except Exception as error:  # noqa: BLE001 - logged there; the chore is done again
                failing.failed(error)
            else:
                failing.succeeded()
            self._stopping.wait(every_s)

    def _follow_file(self) -> None:
        path = self._parts.settings.platform_file
        digest = self._digest()
        settled, self._seen = digest == self._seen, digest
        if not settled or digest == self._taken:
            return
        try:
            self._parts.take_platform(platform_file.load(path))
        except platform_file.PlatformFileError as error:
            self._parts.refuse_platform(str(error))
            log.warning("platform.refused", extra={"error": str(error)})
        self._taken = digest  # only now: what could not be recorded (a full disk) is tried again

    def _digest(self) -> str:
        """Return what changes with the platform file and with the files that it names."""
        path = self._parts.settings.platform_file
        main, before = _digest(path), self._main
        if main != before:
            self._main, self._files = main, platform_file.kueue_files(path)
        return " ".join([main, *map(_digest, self._files)])

    def _keep_warm(self) -> None:
        for environment in self._parts.platform.current.environments:
            try:
                hello = self._parts.servers.ensure(environment)
            except ForkServerError as error:
                self._parts.platform.learn_environment(environment.name, {"error": str(error)})
                continue
            except ConnectionResetError:
                continue  # it was killed while it started; the next round starts another
            told = hello.get("fingerprint", hello)
            self._parts.platform.learn_environment(environment.name, told)

    def _collect(self) -> None:
        parts = self._parts
        now = parts.ports.clock.now()
        oldest = now - parts.settings.retention_days * _DAY_S
        for executor in tuple(parts.executors.values()):
            executor.discard(oldest)
        parts.sessions.expire()
        needed = parts.store.references(oldest) | parts.sessions.documents()
        # Blobs carry no owner, so what any team's job needs is kept in every team's folder.
        gone = 0
        for team in parts.platform.current.teams:
            try:
                gone += parts.ports.blobs.collect({team.name: needed}, _YOUNG_BLOB_S)
            except BlobStoreError as error:  # one that a person of this team damaged must not keep all others' garbage
                log.warning("blobs.uncollected", extra={"team": team.name, "error": str(error)})
        if gone:
            log.info("blobs.collected", extra={"count": gone})
            parts.store.commit(Changes((), (Draft("blobs.collected", "blobs", {"count": gone}),)), now)


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return "absent"
