"""Runs attempts as processes of this machine: accepts durably, starts by fork servers, reports what folders say.

Everything an executor promises rests on the attempt folders, so a new control plane adopts what an old one started.
The trap: `start` only accepts; a background thread hands attempts to fork servers, because booting one takes longer
than a tick may.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dure.adapters.executors.attempts import (
    CONTROL_SOCKET,
    READY_AT,
    SPEC,
    Attempt,
    write_json,
)
from dure.adapters.executors.forkservers import OWN_ACCOUNT, Account, ForkServerError, ForkServers, unix_address
from dure.core.model import WHOLE_GPU_MILLI, Environment, GpuShare, Node
from dure.ports import (
    BlobStores,
    Clock,
    ExecutorUnavailableError,
    Launch,
    Observation,
    StaleFenceError,
    StartRefusedError,
)
from dure.worker import processes

log = logging.getLogger("dure.executor")

_SEND_S = 3.0
_KILL_MARGIN_S = 5.0
_RESEND_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What one local cluster needs to know. Folders are absolute; `provision_s` simulates a cloud's delay."""

    cluster: str
    folder: Path
    notify: Path | None = None
    provision_s: float = 0.0
    umask: str = "077"
    home_of: Callable[[str], Path | None] = lambda _user: None
    account_of: Callable[[str], Account] = lambda _user: OWN_ACCOUNT


@dataclass(slots=True)
class _Known:
    attempt: Attempt
    environment: Environment | None = None
    account: Account = OWN_ACCOUNT
    sent_at: float = float("-inf")
    stop_at: float | None = None
    killed: bool = False
    refused: str | None = None


@dataclass(slots=True)
class _Book:
    lock: threading.Lock = field(default_factory=threading.Lock)
    known: dict[tuple[str, int], _Known] = field(default_factory=dict)


class LocalExecutor:
    """The Executor port on this machine."""

    def __init__(self, settings: LocalSettings, servers: ForkServers, blobs: BlobStores, clock: Clock) -> None:
        self._settings = settings
        self._servers = servers
        self._blobs = blobs
        self._clock = clock
        self._attempts = settings.folder / "attempts"
        self._attempts.mkdir(parents=True, exist_ok=True)
        self._book = _Book()
        self._queue: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._adopt()
        self._thread = threading.Thread(target=self._launch_all, name=f"dure-launch-{settings.cluster}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop handing out attempts; those that run go on."""
        self._queue.put(None)
        self._thread.join(_SEND_S)

    def fence(self, number: int) -> None:
        """Refuse lower numbers from now on, durably."""
        if number > self._fence_number():
            write_json(self._settings.folder / "fence.json", {"fence": number})

    def start(self, launch: Launch, fence: int) -> None:
        """Accept the attempt: its specification is on disk when this returns."""
        if fence < self._fence_number():
            raise StaleFenceError(f"fence {fence} is older than {self._fence_number()}")
        job = launch.job
        key = (job.id, job.attempt)
        attempt = Attempt(self._attempts / f"{job.id}.{job.attempt}", *key)
        account = self._account(job.user)
        with self._book.lock:
            known = self._book.known.setdefault(key, _Known(attempt))
            known.environment, known.account = launch.environment, account
        try:
            self._accept(attempt, launch, account)
        except OSError as error:
            raise ExecutorUnavailableError(f"{attempt.folder}: {error}") from error
        self._resend(known)

    def stop(self, job_id: str, attempt: int, grace_s: float) -> None:
        """Ask for the end; called again every tick, it turns to SIGKILL when the grace is over."""
        known = self._known(job_id, attempt)
        if known.attempt.result() is not None:
            return
        known.attempt.folder.mkdir(exist_ok=True)
        if known.attempt.claim_for_nobody():
            known.attempt.write_result({"status": "killed", "changed": [], "deleted": [], "artifacts": []})
            return
        now = self._clock.now()
        if known.stop_at is None:
            known.stop_at = now
            self._tell(known.attempt, {"op": "stop", "grace_s": grace_s})
        elif now > known.stop_at + grace_s + _KILL_MARGIN_S and not known.killed:
            known.killed = True
            self._kill(known.attempt)

    def send(self, job_id: str, attempt: int, message: Mapping[str, Any]) -> bool:
        """Pass a message to the attempt's runner; False when it has none that listens."""
        with self._book.lock:
            known = self._book.known.get((job_id, attempt))
        return known is not None and self._tell(known.attempt, message)

    def observe(self) -> Sequence[Observation]:
        """Read every attempt's folder."""
        with self._book.lock:
            everything = list(self._book.known.values())
        return [self._observation(known) for known in everything]

    def forget(self, job_id: str, attempt: int) -> None:
        """The end is on record."""
        with self._book.lock:
            known = self._book.known.pop((job_id, attempt), None)
        if known is not None:
            known.attempt.forget()

    def discard(self, ended_before: float) -> int:
        """Delete the folders of forgotten attempts that ended before this time; return how many."""
        gone = 0
        for folder in self._attempts.iterdir():
            attempt = Attempt.at(folder)
            if attempt is None or not attempt.forgotten or folder.stat().st_mtime > ended_before:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
        return gone

    def _adopt(self) -> None:
        for folder in self._attempts.iterdir():
            attempt = Attempt.at(folder)
            if attempt is not None and not attempt.forgotten:
                self._book.known[attempt.job_id, attempt.number] = _Known(attempt)

    def _known(self, job_id: str, number: int) -> _Known:
        attempt = Attempt(self._attempts / f"{job_id}.{number}", job_id, number)
        with self._book.lock:
            return self._book.known.setdefault((job_id, number), _Known(attempt))

    def _fence_number(self) -> int:
        try:
            return int(json.loads((self._settings.folder / "fence.json").read_bytes())["fence"])
        except FileNotFoundError:
            return 0

    def _account(self, user: str) -> Account:
        try:
            return self._settings.account_of(user)
        except (LookupError, OSError, RuntimeError) as error:
            raise StartRefusedError(f"{user} has no account on this machine: {error}") from error

    def _accept(self, attempt: Attempt, launch: Launch, account: Account) -> None:
        if attempt.accepted:
            return
        attempt.folder.mkdir(mode=0o700, exist_ok=True)
        if self._settings.provision_s > 0:
            (attempt.folder / READY_AT).write_text(str(self._clock.now() + self._settings.provision_s))
        write_json(attempt.folder / SPEC, self._spec(launch))
        if account.uid is not None:
            for path in (*attempt.folder.iterdir(), attempt.folder):
                os.chown(path, account.uid, account.gid if account.gid is not None else -1)

    def _spec(self, launch: Launch) -> dict[str, Any]:
        job, lease = launch.job, launch.lease
        home = self._settings.home_of(job.user)
        return {
            "job": job.id,
            "attempt": job.attempt,
            "kind": job.kind.value,
            "user": job.user,
            "team": job.team,
            "environment": launch.environment.name,
            "cluster": lease.cluster,
            "tier": lease.tier,
            "node": lease.node,
            "gpus": [_gpu(launch.node, gpu) for gpu in lease.gpus],
            "simulated": launch.node.simulated,
            "python": job.payload.get("python"),
            "env": {"HOME": str(home)} if home else {},
            "cwd": None,
            "umask": self._settings.umask,
            "limits": {
                "timeout_s": launch.timeout_s,
                "memory_bytes": job.request.memory_bytes,
                "output_bytes": launch.output_bytes,
                "grace_s": launch.grace_s,
            },
            "blobs": dict(self._blobs.access(job.team)),
            "notify": str(self._settings.notify) if self._settings.notify else None,
            "payload": dict(job.payload),
        }

    def _resend(self, known: _Known) -> None:
        """Hand the attempt to the launcher unless it was handed over a moment ago or its node is not ready."""
        now = self._clock.now()
        if now < known.attempt.ready_at() or now - known.sent_at < _RESEND_S:
            return
        known.sent_at = now
        self._queue.put((known.attempt.job_id, known.attempt.number))

    def _launch_all(self) -> None:
        while (key := self._queue.get()) is not None:
            with self._book.lock:
                known = self._book.known.get(key)
            if known is None or known.environment is None or known.attempt.runner() is not None:
                continue
            try:
                self._servers.start(known.environment, known.account, known.attempt.folder)
            except ForkServerError as error:
                log.warning("attempt.refused", extra={"job": key[0], "error": str(error)})
                self._refuse(known.attempt, str(error))
            except (OSError, ValueError, TypeError) as error:
                # The fork server died under the request: a later tick asks again; the claim stops a second run.
                log.warning("forkserver.lost", extra={"job": key[0], "error": str(error)})
                known.sent_at = float("-inf")

    def _refuse(self, attempt: Attempt, why: str) -> None:
        if attempt.claim_for_nobody():
            error = {"ename": "EnvironmentError", "evalue": why}
            attempt.write_result({"status": "refused", "error": error, "changed": [], "deleted": [], "artifacts": []})

    def _observation(self, known: _Known) -> Observation:
        attempt = known.attempt
        alive = attempt.runner_alive()  # before the result: a runner that just ended has written it by then
        began_at = attempt.began_at()
        result = attempt.result()
        key = (attempt.job_id, attempt.number)
        if result is not None:
            return Observation(*key, "ended", began_at is not None, began_at, result)
        if alive:
            return Observation(*key, "running" if began_at else "pending", began_at is not None, began_at)
        if attempt.runner() is None and attempt.accepted:
            self._resend_adopted(known)
            return Observation(*key, "pending")
        if attempt.runner() is None:
            # The folder was made but accepting stopped half-way: as if it had never been asked.
            return Observation(*key, "lost")
        processes.sweep(attempt.folder)
        return Observation(*key, "lost", began_at is not None, began_at)

    def _resend_adopted(self, known: _Known) -> None:
        if known.environment is not None:
            self._resend(known)

    def _tell(self, attempt: Attempt, message: Mapping[str, Any]) -> bool:
        try:
            with unix_address(attempt.folder / CONTROL_SOCKET) as address, socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SEND_S)
                connection.connect(address)
                connection.sendall(json.dumps(message).encode() + b"\n")
                with connection.makefile("rb") as replies:
                    return bool(replies.readline())
        except OSError:
            return False

    def _kill(self, attempt: Attempt) -> None:
        log.warning("attempt.killed", extra={"job": attempt.job_id, "attempt": attempt.number})
        processes.sweep(attempt.folder, runner_too=True)


def _gpu(node: Node, gpu: GpuShare) -> dict[str, Any]:
    """What a worker is told of one GPU: a real one goes by its uuid, so that other programs' order cannot shift it."""
    uuid = node.uuids[gpu.index] if gpu.index < len(node.uuids) else None
    share = gpu.share_milli / WHOLE_GPU_MILLI
    return {"index": gpu.index, "uuid": uuid, "share": share, "memory_bytes": node.gpu_memory_bytes}
