"""The user processes of an attempt: one for each node of its lease; rank 0, forked ahead, is on the first node.

All nodes of a local cluster are this machine, so one runner has them all. The trap: no rank's code begins before all
are ready, and none outlives the first that fails, so whoever waits for the others waits for somebody.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pickle
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dure.worker import processes
from dure.worker.channel import ACK, COMM, Frames, frame
from dure.worker.meeting import Meeting, arrange
from dure.worker.memory import MemoryLimit, limit_memory
from dure.worker.prepared import Prepared
from dure.worker.spec import AttemptSpec
from dure.worker.spool import STREAMS
from dure.worker.userprocess import UserEnds, UserOrder, become_user_process

ANSWER_S = 2.0
LINE_CHARS = 8192  # a longer line of a rank is written in pieces


@dataclass(frozen=True, slots=True)
class Forked:
    """A user process and the runner's ends of what joins them. It is forked before anybody knows for what, and reads
    its order from a pipe. `outputs` are the read ends of stdout and stderr, by name.
    """

    pid: int
    order: int
    outputs: dict[str, int]
    messages: socket.socket
    questions: socket.socket
    incoming: socket.socket

    def give(self, order: UserOrder) -> bool:
        """Tell it what to do, once; False when somebody has ended it meanwhile."""
        try:
            with open(self.order, "wb") as pipe:  # noqa: PTH123 -- a descriptor
                pickle.dump(order, pipe)
        except BrokenPipeError:
            self.end()
            return False
        return True

    def end(self) -> None:
        """End it: there is nothing to do for it."""
        processes.kill(self.pid)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        for fd in self.outputs.values():
            os.close(fd)
        for end in (self.messages, self.questions, self.incoming):
            end.close()


def fork(prepared: Prepared, theirs: Collection[int]) -> Forked:
    """Return a new user process, which waits for its order and of the descriptors that there are has only `theirs`."""
    order = os.pipe()
    outputs = [os.pipe() for _ in STREAMS]
    messages, questions, incoming = socket.socketpair(), socket.socketpair(), socket.socketpair()
    ends = UserEnds(order[0], [writer for _, writer in outputs], messages[1], questions[1], incoming[1])
    readers = {name: reader for (reader, _), name in zip(outputs, STREAMS, strict=True)}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    runner = os.getpid()
    pid = os.fork()
    forked = Forked(pid, order[1], readers, messages[0], questions[0], incoming[0])
    if pid == 0:
        own = [order[0], *ends.outputs, *(pair[1].fileno() for pair in (messages, questions, incoming))]
        for fd in processes.descriptors().difference(theirs, own):
            os.close(fd)
        become_user_process(runner, prepared, ends)
    for fd in (order[0], *ends.outputs):
        os.close(fd)
    for pair in (messages, questions, incoming):
        pair[1].close()
    return forked


@dataclass(slots=True, eq=False)
class Rank:
    """One user process as its runner sees it."""

    spec: AttemptSpec
    process: Forked
    memory: MemoryLimit | None
    meeting: Meeting | None
    frames: dict[str, Frames] = field(default_factory=lambda: {"messages": Frames(), "questions": Frames()})
    ready: bool = False

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    @property
    def record(self) -> dict[str, Any]:
        """What must be known to end it when its runner is dead."""
        found: dict[str, Any] = {"user_pid": self.pid, "user_ticks": processes.start_ticks(self.pid)}
        if self.memory and self.memory.group:
            found["cgroup"] = str(self.memory.group)
        return found

    def answer(self, told: dict[str, Any]) -> bool:
        """Answer what the process asked; False when it does not take it."""
        questions = self.process.questions
        try:
            questions.settimeout(ANSWER_S)
            questions.sendall(frame(ACK, told))
            questions.setblocking(False)
        except OSError:
            return False
        return True

    def hear(self, said: dict[str, Any]) -> bool:
        """Give the process what a widget's end in the browser said; False when it does not listen."""
        try:
            self.process.incoming.settimeout(ANSWER_S)
            self.process.incoming.sendall(frame(COMM, said))
        except OSError:
            return False
        return True


def start(
    spec: AttemptSpec, folder: Path, prepared: Prepared, first: Forked | None, theirs: Collection[int]
) -> list[Rank]:
    """Give the user processes of an attempt, `first` and those forked now, their orders; return them by rank."""
    meeting = arrange() if spec.others else None
    found: list[Rank] = []
    for one in of_nodes(spec, meeting.port if meeting else 0):
        memory = _memory_limit(one, prepared)
        process = None if found else first
        while process is None or not process.give(UserOrder(folder, one, memory)):
            process = fork(prepared, theirs)
        found.append(Rank(one, process, memory, meeting))
    return found


def of_nodes(spec: AttemptSpec, port: int) -> list[AttemptSpec]:
    """Return the order of each rank: its node and GPUs, and where rank 0 may be met."""
    if not spec.others:
        return [spec]
    names = (spec.node, *(other.node for other in spec.others))
    gang = replace(spec, others=(), nodes=names, port=port)
    return [
        gang,
        *(
            replace(gang, rank=rank, node=other.node, gpus=other.gpus, simulated=other.simulated)
            for rank, other in enumerate(spec.others, 1)
        ),
    ]


def _memory_limit(spec: AttemptSpec, prepared: Prepared) -> MemoryLimit | None:
    if not spec.limits.memory_bytes:
        return None
    name = f"dure-{spec.job}.{spec.attempt}" + (f"-{spec.rank}" if spec.nodes else "")
    return limit_memory(name, spec.limits.memory_bytes, cgroups=prepared.cgroups)


class Merged:
    """The streams of several ranks as one of each name, by lines: those of rank 1 and on begin with `[rank1]: `.

    Rank 0 is written at once, so that its progress shows; a line of another one first ends what it left open.
    """

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._decoders: dict[tuple[int, str], codecs.IncrementalDecoder] = {}
        self._lines: dict[tuple[int, str], str] = {}
        self._inside: dict[str, bool] = {}

    def writer(self, rank: int, name: str) -> Callable[..., None]:
        """Return where one rank's stream is to be written: bytes, and whether it ends."""
        self._decoders[rank, name] = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines[rank, name] = ""

        def write(data: bytes, *, final: bool = False) -> None:
            self._add(rank, name, data, final=final)

        return write

    def _add(self, rank: int, name: str, data: bytes, *, final: bool) -> None:
        text = self._decoders[rank, name].decode(data, final)
        if rank:
            text = "".join(self._whole_lines(rank, name, text, final=final))
        if text:
            if rank and self._inside.get(name):
                text = "\n" + text
            self._inside[name] = not text.endswith("\n")
            self._write(name, text.encode())
        if final:
            del self._decoders[rank, name]
            if all(other != name for _, other in self._decoders):
                self._write(name, b"", final=True)

    def _whole_lines(self, rank: int, name: str, text: str, *, final: bool) -> Iterator[str]:
        *whole, rest = (self._lines[rank, name] + text).split("\n")
        while len(rest) > LINE_CHARS:
            whole.append(rest[:LINE_CHARS])
            rest = rest[LINE_CHARS:]
        if final and rest:
            whole.append(rest)
            rest = ""
        self._lines[rank, name] = rest
        for line in whole:  # of a bar that overwrites itself, its last state
            yield f"[rank{rank}]: {line.rstrip(chr(13)).rpartition(chr(13))[2]}\n"
