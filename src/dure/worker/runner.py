"""Supervises one attempt from its claim to result.json: output, limits, signals, questions, and a clean end.

The runner is a fork of the fork server and outlives it and the control plane; it has one thread and one loop. It
never runs user code. The trap: the attempt's state is its files, so their order is the protocol: runner.json first,
`started` right before user code, result.json last, when no process of the attempt is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dure.worker import artifacts, processes, ranks
from dure.worker.batch import Batch
from dure.worker.channel import ACK, ASK, CELL_END, END, READY, TOO_LARGE
from dure.worker.channel import MESSAGE as MESSAGE_FRAME
from dure.worker.control import Door, listen
from dure.worker.keeping import Keeping
from dure.worker.outcome import Facts, outcome
from dure.worker.pipes import Pipes
from dure.worker.prepared import Prepared
from dure.worker.questions import QUESTIONS, Questions
from dure.worker.ranks import Rank
from dure.worker.spec import AttemptSpec, SpecError, read_spec
from dure.worker.spool import Spool, SpoolError

EXIT_S = 10.0
PREPARE_S = 1800.0
DRAIN_S = 2.0
_SHOWN = frozenset({"display_data", "execute_result", "update_display_data", "clear_output", "error"})
_MESSAGES = _SHOWN | {"comm_open", "comm_msg", "comm_close"}


def run_attempt(order: int, prepared: Prepared) -> None:
    """Fork a user process, wait until the pipe `order` names an attempt's folder, claim it and see it through.

    Returns when it has ended, when another runner has it, and when the fork server goes without having named one.
    """
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    theirs, process = processes.descriptors() - {order}, None
    with contextlib.suppress(OSError):  # no room: it is forked, or told that it cannot be, once there is a job
        process = ranks.fork(prepared, theirs)
    folder = Path(os.fsdecode(os.read(order, 4096)))  # PATH_MAX, which a pipe takes and gives as one
    os.close(order)
    if not folder.is_absolute() or not processes.claim(folder):
        return  # and with us ends the user process
    try:
        spec = read_spec(folder)
    except SpecError as error:
        job, _, attempt = folder.name.rpartition(".")
        spec = AttemptSpec(job=job, attempt=int(attempt) if attempt.isdigit() else 0, kind="command")
        Spool(folder, spec).end(outcome(Facts(refusal=str(error))))
        return
    Runner(folder, spec, partial(ranks.start, spec, folder, prepared, process, theirs)).run()


class Runner:
    """The loop. Its callbacks note what happened; `_tick` acts on time; `outcome` makes the result of the notes."""

    def __init__(self, folder: Path, spec: AttemptSpec, start: Callable[[], list[Rank]]) -> None:
        self._folder = folder
        self._spec = spec
        self._start = start
        self._spool = Spool(folder, spec)
        self._facts = Facts(kind=spec.kind, limits=spec.limits)
        self._selector = selectors.DefaultSelector()
        self._batch = Batch(self._spool, self._check_spool)
        self._pipes = Pipes(self._selector)
        self._questions = Questions(self._spool)
        self._seen: set[str] = set()
        self._ranks: list[Rank] = []
        self._running: dict[int, Rank] = {}
        self._memory_at = 0.0
        self._keeping = Keeping.of(spec)
        self._began: float | None = None
        self._cell_began: float | None = None
        self._ended: float | None = None
        self._kill_at = time.monotonic() + PREPARE_S
        self._timeout_at = float("inf")
        self._drain_until = float("inf")

    def run(self) -> None:
        """Run the attempt to its end and write the result."""
        try:
            self._spec.check_python()
            self._listen()
            self._order()
            while self._running or self._pipes.open:
                for key, _ in self._selector.select(self._wait_s()):
                    key.data()
                self._tick()
        except SpecError as error:
            self._facts.refusal = str(error)
        except Exception as error:
            traceback.print_exc()
            self._facts.refusal = (
                f"The runner of this job failed ({type(error).__name__}: {error}). See the log of the fork server."
            )
        self._end()

    # --- beginning -------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        for name in ("output", "work"):
            (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        processes.become_subreaper()
        wakeup_r, wakeup_w = socket.socketpair()
        for end in (wakeup_r, wakeup_w):
            end.setblocking(False)
        signal.set_wakeup_fd(wakeup_w.fileno(), warn_on_full_buffer=False)
        self._wakeup = (wakeup_r, wakeup_w)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self._selector.register(wakeup_r, selectors.EVENT_READ, self._on_signal)
        self._door = Door(listen(self._folder / "control.sock"), self._selector, self._obey)

    def _order(self) -> None:
        self._ranks = self._start()
        self._running = {rank.pid: rank for rank in self._ranks}
        merged = ranks.Merged(self._batch.text)
        for rank in self._ranks:
            for name, reader in rank.process.outputs.items():
                alone = len(self._ranks) == 1
                writer = partial(self._batch.text, name) if alone else merged.writer(rank.spec.rank, name)
                self._pipes.add(reader, writer)
            for channel, end in (("messages", rank.process.messages), ("questions", rank.process.questions)):
                end.setblocking(False)
                self._selector.register(end, selectors.EVENT_READ, partial(self._on_frames, rank, channel, end))
        first, *others = (rank.record for rank in self._ranks)
        record = {**first, **({"others": others} if others else {})}
        (self._folder / processes.PROCESSES_FILE).write_text(json.dumps(record))

    # --- output and messages ---------------------------------------------------------------------------------------

    def _on_frames(self, rank: Rank, name: str, end: socket.socket) -> None:
        try:
            data = end.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        understood = bool(data)
        try:
            for kind, content in rank.frames[name].feed(data):
                self._on_frame(rank, kind, content)
        except (ValueError, KeyError, TypeError, AttributeError):
            understood = False
        if not understood:  # the user process is ending, or no longer keeps to the protocol
            self._selector.unregister(end)
            end.close()

    def _on_frame(self, rank: Rank, kind: bytes, content: Any) -> None:
        if kind == ASK:
            self._on_question(content)
            return
        self._pipes.drain()
        if kind == READY:
            rank.ready = True
            if not all(one.ready for one in self._ranks) or not self._begin():
                return
        elif kind == MESSAGE_FRAME and content["type"] in _MESSAGES:
            self._say(content["type"], dict(content["content"]))
        elif kind == TOO_LARGE:
            self._batch.flush()
            self._spool.drop(int(content))
        elif kind == CELL_END:
            self._rest(dict(content))
        elif kind == END:
            self._facts.report = dict(content)
            self._pipes.finish()
            self._kill_at = min(self._kill_at, time.monotonic() + EXIT_S)
            self._timeout_at = float("inf")
            self._end_others(rank)
        self._check_spool()
        for one in self._ranks if kind == READY else (rank,):
            with contextlib.suppress(OSError):
                one.process.messages.send(ACK)
        if kind == READY and self._facts.interrupts:  # it came while a kept process took the cell, deaf to signals
            self._signal(signal.SIGINT)

    def _say(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "error":
            self._batch.flush()
            self._spool.message(kind, content)
        else:
            self._batch.message(kind, content, len(str(content.get("data") or "")))

    def _begin(self) -> bool:
        """Let user code begin, once its `started` mark is there; False when it must not any more."""
        if self._began is None:
            if self._facts.stopping or self._facts.interrupts:
                return False
            try:
                self._spool.started()
            except SpoolError as error:
                self._facts.refusal = str(error)
                self._kill()
                return False
            self._began = time.monotonic()
        self._cell_began = time.monotonic()
        if not self._facts.stopping:
            self._kill_at = float("inf")
        if self._facts.limits.timeout_s:
            self._timeout_at = self._cell_began + self._facts.limits.timeout_s
        return True

    # --- kept for a next cell --------------------------------------------------------------------------------------

    def _rest(self, report: dict[str, Any]) -> None:
        """A cell of a kept process has ended; it waits for the next, unless it is to end."""
        self._facts.report = report
        result = outcome(self._facts)
        self._kill_at = self._timeout_at = float("inf")
        now = time.monotonic()
        result["ran_s"] = round(now - (self._cell_began or now), 6)
        self._keeping.rest(result, now)
        self._batch.flush()
        if self._facts.stopping or self._keeping.keep_s <= 0:
            self._go()
        else:
            self._spool.cell_end({**result, "kept_until": round(time.time() + self._keeping.keep_s, 3)})
            self._spool.kept(round(time.time(), 3), self._keeping.cells)

    def _go(self) -> None:
        """End the keep: the process leaves, with its exit handlers run."""
        self._keeping.go()
        if self._keeping.going:
            self._kill_at = min(self._kill_at, time.monotonic() + EXIT_S)
            self._answer_next()

    def _take_cell(self, order: dict[str, Any]) -> str | None:
        now = time.monotonic()
        refusal = self._keeping.refusal(now - (self._began or now), self._spool.size_bytes)
        if refusal:
            return refusal
        limits = self._spec.limits
        self._facts.limits = replace(limits, timeout_s=order.get("timeout_s") or limits.timeout_s)
        self._facts.report, self._facts.interrupts, self._facts.timed_out = None, 0, False
        self._cell_began, self._kill_at = None, now + PREPARE_S
        self._keeping.take({**order, "code": str(order["code"])})
        self._spool.kept(None, self._keeping.cells)
        self._answer_next()
        return None

    def _answer_next(self) -> None:
        told = self._keeping.answer()
        if told is not None and not self._ranks[0].answer(told):  # it is going, or takes no orders any more
            self._kill()

    def _on_question(self, content: dict[str, Any]) -> None:
        if content["type"] == "next":
            self._keeping.question = int(content["id"])
            self._answer_next()
        elif content["type"] in QUESTIONS:
            self._pipes.drain()
            self._batch.flush()
            self._questions.ask(self._ranks[0], content)
            self._check_spool()

    def _check_spool(self) -> None:
        if self._spool.failure and not self._facts.unwritable:
            self._facts.unwritable = self._spool.failure
            self._kill()

    # --- control ---------------------------------------------------------------------------------------------------

    def _obey(self, message: dict[str, Any]) -> dict[str, Any]:
        known = None if message.get("id") is None else str(message["id"])
        if known in self._seen:
            return {"ok": True, "again": True}  # a repeated request must not count as a second interrupt
        operations: dict[str, Callable[[], str | None]] = {
            "interrupt": self._interrupt,
            "stop": lambda: self._stop(float(message.get("grace_s", self._spec.limits.grace_s))),
            "kill": lambda: self._stop(0.0),
            "cell": lambda: self._take_cell(dict(message["cell"])),
            "finish": self._go,
            "comm": lambda: self._pass_on(dict(message["comm"])),
            "stdin": lambda: self._questions.type(message["text"]),
            "provide": lambda: self._questions.provide(message["names"], message.get("snapshot")),
        }
        operation = operations.get(str(message["op"]))
        if operation is None:
            return {"ok": False, "error": f"'{message['op']}' is none of {', '.join(operations)}."}
        problem = operation()
        if known and problem is None and len(self._seen) < 10_000:
            self._seen.add(known)
        return {"ok": problem is None, **({"error": problem} if problem else {})}

    def _pass_on(self, said: dict[str, Any]) -> str | None:
        """Give the cell what a widget's end in the browser said."""
        if self._cell_began is None or self._keeping.rests:
            return "No cell runs that could hear it."
        return None if self._ranks[0].hear(said) else "The cell does not listen."

    def _interrupt(self) -> None:
        if self._keeping.rests:
            return
        self._facts.interrupts += 1
        if self._facts.interrupts > 1 or self._began is None:
            self._kill()
        else:
            self._signal(signal.SIGINT)

    def _stop(self, grace_s: float) -> None:
        self._facts.stopping = True
        if grace_s <= 0 or self._began is None:
            self._kill()
        elif self._keeping.rests:
            self._go()
        else:
            self._signal(signal.SIGTERM)
            self._kill_at = min(self._kill_at, time.monotonic() + grace_s)

    def _signal(self, number: int) -> None:
        for pid in self._running:
            processes.kill_group(pid, number)

    def _kill(self) -> None:
        """SIGKILL the user processes and their groups; what else there is goes when they have been reaped."""
        self._signal(signal.SIGKILL)
        for pid in self._running:
            processes.kill(pid)

    def _end_others(self, failed: Rank) -> None:
        """The first rank that fails ends all, and is the one that is told of."""
        if len(self._ranks) == 1 or self._facts.failed is not None:
            return
        self._facts.failed = failed.spec.rank, failed.spec.node
        if self._began is None:
            self._kill()
            return
        if not (self._facts.stopping or self._facts.timed_out):  # else told already: twice may break off a checkpoint
            for pid in self._running.keys() - {failed.pid}:
                processes.kill_group(pid, signal.SIGTERM)
        self._kill_at = min(self._kill_at, time.monotonic() + self._spec.limits.grace_s)

    # --- time and children -----------------------------------------------------------------------------------------

    def _wait_s(self) -> float:
        until = min(self._kill_at, self._timeout_at, self._drain_until, self._keeping.until or float("inf"))
        until = min(until, self._pipes.resume_at, self._batch.due_at)
        if self._facts.limits.memory_bytes and self._running:
            until = min(until, self._memory_at)
        return max(0.0, min(until - time.monotonic(), 60.0))

    def _tick(self) -> None:
        now = time.monotonic()
        if now >= self._pipes.resume_at:
            self._pipes.resume()
        if now >= self._batch.due_at:
            self._batch.flush()
        if self._keeping.until is not None and now >= self._keeping.until:
            self._go()
        if now >= self._timeout_at:
            self._timeout_at = float("inf")
            self._facts.timed_out = True
            self._signal(signal.SIGTERM if self._spec.kind == "command" else signal.SIGINT)
            self._kill_at = min(self._kill_at, now + self._spec.limits.grace_s)
        if now >= self._kill_at:
            self._kill_at = float("inf")
            if self._cell_began is None and not (self._facts.report or self._facts.stopping):
                self._facts.refusal = f"The job's data could not be restored within {PREPARE_S:.0f} s. Run it again."
            self._kill()
        if self._facts.limits.memory_bytes and self._running and now >= self._memory_at:
            self._memory_at = now + self._check_memory()
        if now >= self._drain_until:  # somebody outside the job holds our pipe open
            self._pipes.close()

    def _check_memory(self) -> float:
        """End all when one is over its limit; return in how many seconds to look again."""
        limits = [(rank, rank.memory) for rank in self._running.values() if rank.memory]
        for rank, limit in () if self._facts.over_memory else limits:
            if limit.over(rank.pid):
                self._facts.over_memory = True
                self._end_others(rank)
                self._kill()
                break
        return min((limit.again_s for _, limit in limits), default=float("inf"))

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            numbers = self._wakeup[0].recv(4096)
            if signal.SIGTERM in numbers:
                self._stop(self._spec.limits.grace_s)
            if signal.SIGCHLD in numbers:
                self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._running:
                self._on_exit(self._running.pop(pid), status)

    def _on_exit(self, rank: Rank, status: int) -> None:
        self._ended = time.monotonic()
        if not self._facts.exit_status:  # of several, the first that failed says how it went
            self._facts.exit_status = status
        if rank.memory and rank.memory.killed():  # of a subprocess too, whose end the cell may have overlooked
            self._facts.over_memory = True
        processes.kill_group(rank.pid, signal.SIGKILL)
        if status or not rank.ready or self._facts.over_memory:
            self._end_others(rank)
        if self._running:
            return
        processes.end_children()
        self._pipes.finish()
        self._kill_at = self._timeout_at = float("inf")
        self._drain_until = time.monotonic() + DRAIN_S

    # --- end -------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._kill()
        for pid in self._running:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._running = {}
        processes.end_children()
        self._batch.flush()
        self._facts.unwritable = self._facts.unwritable or self._spool.failure
        result = self._keeping.result or outcome(self._facts)
        if self._facts.report and self._facts.report.get("left"):
            result["left"] = self._facts.report["left"]
        result.pop("held", None)  # it speaks of a process that is gone
        for rank in self._ranks:
            if rank.memory:
                rank.memory.close()
        if self._began is not None:
            result["ran_s"] = round((self._ended or time.monotonic()) - self._began, 6)
            kept = artifacts.collect(self._folder / "output", self._spec.blobs)
            result["artifacts"] = kept.kept
            if kept.failed:
                result["artifacts_failed"] = kept.failed
                lines = [f"Dure could not keep {name}: {reason}\n" for name, reason in kept.failed.items()]
                self._spool.text("stderr", "".join(lines).encode("utf-8", "replace"))
        error = result["error"]
        if error and not self._facts.report and result["status"] != "killed":
            self._spool.message("error", {**error, "traceback": [f"{error['ename']}: {error['evalue']}"]})
        self._spool.end(result)
        with contextlib.suppress(OSError):
            (self._folder / "control.sock").unlink()
        sys.stderr.flush()
