"""Runs attempts as processes of this machine: accepts durably, starts by fork servers, reports what folders say.

Everything an executor promises rests on the attempt folders, so a new control plane adopts what an old one started.
The trap: the loop calls this, and a tick must not stall. So `start` only accepts and `stop` only asks; accounts, fork
servers, runners that hang and the killing of what is left are errands beside it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dure.adapters.executors.attempts import (
    CONTROL_SOCKET,
    READY_AT,
    SPEC,
    WORK,
    Attempt,
    write_json,
)
from dure.adapters.executors.errands import Errands
from dure.adapters.executors.forkservers import OWN_ACCOUNT, Account, ForkServerError, ForkServers
from dure.adapters.persons_files import check_peer, receive_line
from dure.core.model import WHOLE_GPU_MILLI, Environment, GpuShare, Kind, Node
from dure.ports import (
    AttemptState,
    BlobStoreError,
    BlobStores,
    Clock,
    ExecutorUnavailableError,
    Launch,
    Observation,
    StaleFenceError,
    StartRefusedError,
)
from dure.wire.messages import MAX_KEPT_SESSION_S
from dure.worker import processes
from dure.worker.control import short_path

log = logging.getLogger("dure.executor")

_SEND_S = 3.0
_LAST_ACT_S = 0.05
_KILL_MARGIN_S = 5.0
_RESEND_S = 2.0
_SWEEPERS = 4
_SWEEPS = 3
_MAY_REFUSE = frozenset({"cell", "stdin"})  # whoever sends it must know whether it was taken


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What one local cluster needs to know. Folders are absolute; `provision_s` simulates a cloud's delay."""

    cluster: str
    folder: Path
    notify: Path | None = None
    provision_s: float = 0.0
    umask: str = "077"
    folder_mode: int = 0o700
    home_of: Callable[[str], Path | None] = lambda _user: None
    account_of: Callable[[str, str], Account] = lambda _user, _team: OWN_ACCOUNT
    changed: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Known:
    attempt: Attempt
    environment: Environment | None = None
    user: str = ""
    team: str = ""
    sent_at: float = float("-inf")
    launching: bool = False
    claim: tuple[int, int] | None = None
    stop_at: float | None = None
    ending: bool = False
    swept: bool = False


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
        for folder in (settings.folder, self._attempts):
            folder.chmod(settings.folder_mode)
        self._provision_s = settings.provision_s
        self._book = _Book()
        self._errands = Errands(f"dure-errands-{settings.cluster}")
        self._adopt()

    def provision_in(self, seconds: float) -> None:
        """Let nodes of later attempts take this long to be ready."""
        self._provision_s = seconds

    def close(self) -> None:
        """Stop handing out attempts; those that run go on."""
        self._errands.close(_SEND_S)

    def fence(self, number: int) -> None:
        """Refuse lower numbers from now on, durably, and look at what earlier leaders started meanwhile."""
        try:
            if number > self._fence_number():
                write_json(self._settings.folder / "fence.json", {"fence": number})
            self._adopt()
        except OSError as error:
            raise ExecutorUnavailableError(f"{self._settings.folder}: {error}") from error

    def start(self, launch: Launch, fence: int) -> None:
        """Accept the attempt: its specification is on disk when this returns."""
        self._check(fence)
        job = launch.job
        if launch.lease.others and job.kind is not Kind.COMMAND:
            raise StartRefusedError(f"job {job.id} is a {job.kind.value}, which runs on one node: submit a command")
        key = (job.id, job.attempt)
        attempt = Attempt(self._attempts / f"{job.id}.{job.attempt}", *key)
        with self._book.lock:
            known = self._book.known.setdefault(key, _Known(attempt))
            known.environment, known.user, known.team = launch.environment, job.user, job.team
        try:
            self._accept(attempt, launch)
        except (OSError, BlobStoreError) as error:
            raise ExecutorUnavailableError(f"{attempt.folder}: {error}") from error
        self._hand_over(known)

    def stop(self, job_id: str, attempt: int, grace_s: float, fence: int) -> None:
        """Ask for the end; called again every tick, it turns to SIGKILL when the grace is over."""
        self._check(fence)
        known = self._known(job_id, attempt)
        if known.attempt.result() is not None:
            return
        try:
            known.attempt.folder.mkdir(mode=0o700, exist_ok=True)
            if known.attempt.claim_for_nobody():
                known.attempt.write_result(_killed())
                return
        except OSError as error:
            raise ExecutorUnavailableError(f"{known.attempt.folder}: {error}") from error
        now = self._clock.now()
        if known.stop_at is None:
            known.stop_at = now
            self._in_background(known, lambda: self._tell(known.attempt, {"op": "stop", "grace_s": grace_s}))
        elif now > known.stop_at + grace_s + _KILL_MARGIN_S:
            self._in_background(known, lambda: self._kill(known))

    def send(self, job_id: str, attempt: int, message: Mapping[str, Any]) -> bool:
        """Pass a message to the attempt's runner; False when it has none that listens."""
        with self._book.lock:
            known = self._book.known.get((job_id, attempt))
        return known is not None and self._tell(known.attempt, message)

    def observe(self) -> Sequence[Observation]:
        """Read every attempt's folder."""
        with self._book.lock:
            everything = list(self._book.known.values())
        return [seen for known in everything if (seen := self._observation(known)) is not None]

    def forget(self, job_id: str, attempt: int, fence: int) -> None:
        """The end is on record."""
        self._check(fence)
        with self._book.lock:
            known = self._book.known.pop((job_id, attempt), None)
        if known is not None:
            try:
                known.attempt.forget()
            except OSError as error:
                raise ExecutorUnavailableError(f"{known.attempt.folder}: {error}") from error

    def discard(self, ended_before: float) -> int:
        """Delete the folders of attempts that are over and older than this time; return how many.

        The working folder of any attempt whose end is on record goes at once: nobody can read it any more.
        """
        gone = 0
        for folder in tuple(self._attempts.iterdir()):
            attempt = Attempt.at(folder)
            if attempt is None or not attempt.over:
                continue
            if folder.stat().st_mtime > ended_before:
                shutil.rmtree(folder / WORK, ignore_errors=True)
                continue
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
        return gone

    def _adopt(self) -> None:
        for folder in self._attempts.iterdir():
            attempt = Attempt.at(folder)
            if attempt is not None and not attempt.forgotten:
                with self._book.lock:
                    self._book.known.setdefault((attempt.job_id, attempt.number), _Known(attempt))

    def _check(self, fence: int) -> None:
        try:
            newest = self._fence_number()
        except OSError as error:
            raise ExecutorUnavailableError(f"{self._settings.folder}: {error}") from error
        if fence < newest:
            raise StaleFenceError(f"fence {fence} is older than {newest}")

    def _known(self, job_id: str, number: int) -> _Known:
        attempt = Attempt(self._attempts / f"{job_id}.{number}", job_id, number)
        with self._book.lock:
            return self._book.known.setdefault((job_id, number), _Known(attempt))

    def _fence_number(self) -> int:
        try:
            return int(json.loads((self._settings.folder / "fence.json").read_bytes())["fence"])
        except FileNotFoundError:
            return 0

    def _accept(self, attempt: Attempt, launch: Launch) -> None:
        if attempt.accepted:
            return
        attempt.folder.mkdir(mode=0o700, exist_ok=True)
        if self._provision_s > 0:
            (attempt.folder / READY_AT).write_text(str(self._clock.now() + self._provision_s))
        write_json(attempt.folder / SPEC, self._spec(launch))

    def _spec(self, launch: Launch) -> dict[str, Any]:
        job, lease = launch.job, launch.lease
        parts = [
            {"node": share.node, "gpus": [_gpu(node, gpu) for gpu in share.gpus], "simulated": node.simulated}
            for share, node in zip(lease.shares, launch.nodes, strict=True)
        ]
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
            **parts[0],
            "others": parts[1:],
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
            "keep_s": job.keep_s,
            "keep_session_s": MAX_KEPT_SESSION_S,
        }

    def _hand_over(self, known: _Known) -> None:
        """Ask a fork server for the attempt, unless that was done a moment ago or its node is not ready."""
        now = self._clock.now()
        environment = known.environment
        if environment is None or now < known.attempt.ready_at() or now - known.sent_at < _RESEND_S:
            return
        with self._book.lock:
            if known.launching:
                return
            known.sent_at, known.launching = now, True
        lane = ("launch", environment.name, known.user)
        self._errands.run(lane, lambda: self._launch(known, environment))

    def _launch(self, known: _Known, environment: Environment) -> None:
        attempt = known.attempt
        try:
            if attempt.runner() is not None:
                return
            account = self._settings.account_of(known.user, known.team)
            _give(attempt.folder, account)
            self._servers.start(environment, account, attempt.folder)
        except (LookupError, RuntimeError, subprocess.SubprocessError) as error:
            self._refuse(attempt, f"{known.user} has no account on this machine: {error}")
        except ForkServerError as error:
            self._refuse(attempt, str(error))
        except (OSError, ValueError, TypeError) as error:
            # The fork server died under the request: a later tick asks again; the claim stops a second run.
            log.warning("forkserver.lost", extra={"job": attempt.job_id, "error": str(error)})
            known.sent_at = float("-inf")
        finally:
            known.launching = False

    def _refuse(self, attempt: Attempt, why: str) -> None:
        log.warning("attempt.refused", extra={"job": attempt.job_id, "error": why})
        if attempt.claim_for_nobody():
            error = {"ename": "EnvironmentError", "evalue": why}
            attempt.write_result(_killed() | {"status": "refused", "error": error})
        self._settings.changed()

    def _observation(self, known: _Known) -> Observation | None:
        attempt = known.attempt
        # In the opposite order of writing (claim, `started`, result): what is read later is at least as new, so that
        # a runner that comes or goes in between is never taken for one that was lost.
        claim = attempt.runner()
        if known.claim is None and claim is not None and claim[0] > 0:
            known.claim = claim  # the folder is the person's: what is written there later does not count
        alive = known.claim is not None and processes.alive(*known.claim)
        began_at = attempt.began_at()
        result = attempt.result()
        began = began_at is not None
        key = (attempt.job_id, attempt.number)
        if result is not None and not (alive and known.claim and _stays(known.claim)):
            return Observation(*key, "ended", began, began_at, result)
        if result is not None:
            # A runner ends right after its result. Beside one that lives on, the result is not its word.
            self._in_background(known, lambda: self._sweep(known, runner_too=True))
            return Observation(*key, "running" if began else "pending", began, began_at)
        accepted_at = attempt.accepted_at()
        if claim is None and accepted_at is None:
            return None  # accepting stopped half-way, which is as if it had never been asked
        if claim is None:
            self._hand_over(known)
            return Observation(*key, "pending", accepted_at=accepted_at)
        if not alive and known.swept:
            return Observation(*key, "lost", began, began_at)
        if not alive:
            self._in_background(known, lambda: self._sweep(known))
        kept_since, cells = attempt.kept() if began else (None, 0)
        state: AttemptState = "running" if began else "pending"
        saved_at = attempt.checkpointed_at() if began else None
        return Observation(*key, state, began, began_at, None, accepted_at, kept_since, cells, saved_at)

    def _in_background(self, known: _Known, call: Callable[[], object]) -> None:
        """Do something about an attempt's processes beside the tick; one thing at a time for each attempt."""
        with self._book.lock:
            if known.ending:
                return
            known.ending = True

        def errand() -> None:
            try:
                call()
            finally:
                known.ending = False

        # A lane of its own for each person: whoever makes the ending of their jobs slow does so for themselves.
        self._errands.run(("end", known.user, hash(known.attempt.job_id) % _SWEEPERS), errand)

    def _sweep(self, known: _Known, *, runner_too: bool = False) -> None:
        """End what a dead runner left; only when nothing is left are its GPUs free."""
        for _ in range(_SWEEPS):
            if not processes.sweep(known.attempt.folder, runner_too=runner_too):
                known.swept = True
                self._settings.changed()
                return
        log.warning("attempt.not_swept", extra={"job": known.attempt.job_id, "attempt": known.attempt.number})

    def _tell(self, attempt: Attempt, message: Mapping[str, Any]) -> bool:
        try:
            with short_path(attempt.folder / CONTROL_SOCKET) as address, socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SEND_S)
                connection.connect(address)
                check_peer(connection, attempt.folder.stat().st_uid)
                connection.sendall(json.dumps(message).encode() + b"\n")
                reply = receive_line(connection, _SEND_S)
            return bool(reply) and (message.get("op") not in _MAY_REFUSE or json.loads(reply).get("ok") is True)
        except (OSError, ValueError):
            return False

    def _kill(self, known: _Known) -> None:
        log.warning("attempt.killed", extra={"job": known.attempt.job_id, "attempt": known.attempt.number})
        self._sweep(known, runner_too=True)
        if known.swept and known.attempt.result() is None:
            known.attempt.write_result(_killed())


def _stays(claim: tuple[int, int]) -> bool:
    """Return whether the process outlives the moment that a runner needs to end after its last act."""
    deadline = time.monotonic() + _LAST_ACT_S
    while processes.alive(*claim):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.001)
    return False


def _killed() -> dict[str, Any]:
    """The end message of an attempt that has no runner to write one."""
    return {"status": "killed", "changed": [], "deleted": [], "artifacts": []}


def _give(folder: Path, account: Account) -> None:
    """Let the folder belong to the account; itself last: as long as it is ours, nobody can put a link into it."""
    if account.uid is None or folder.stat().st_uid == account.uid:
        return
    for path in (*folder.iterdir(), folder):
        os.chown(path, account.uid, account.gid if account.gid is not None else -1, follow_symlinks=False)


def _gpu(node: Node, gpu: GpuShare) -> dict[str, Any]:
    """What a worker is told of one GPU: a real one goes by its uuid, so that other programs' order cannot shift it."""
    uuid = node.uuids[gpu.index] if gpu.index < len(node.uuids) else None
    share = gpu.share_milli / WHOLE_GPU_MILLI
    return {
        "index": gpu.index,
        "uuid": uuid,
        "share": share,
        "memory_bytes": node.gpu_memory_bytes,
        "sharing": node.sharing,
    }
