"""Turns a fork of the runner into the process in which a person's code runs, and never returns.

Own session, dies with its runner, scrubbed environment, fresh randomness, output through the runner. What needs no
order is done before it comes. The trap: it is a fork, so whatever the fork server holds (exit handlers, seeds, signal
settings, sys.path) is here until replaced.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import faulthandler
import getpass
import logging
import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from dure.worker import cell, command, environ, function, processes
from dure.worker.channel import END, Outlet, input_from, replace_streams
from dure.worker.environ import own_packages
from dure.worker.failing import failed
from dure.worker.memory import MemoryLimit
from dure.worker.prepared import Prepared
from dure.worker.spec import AttemptSpec, SpecError


@dataclass(frozen=True, slots=True)
class UserEnds:
    """The user process's ends: where its order comes from, write ends of stdout and stderr, sockets for messages,
    questions, what comes in.
    """

    order: int
    outputs: list[int]
    messages: socket.socket
    questions: socket.socket
    incoming: socket.socket


@dataclass(frozen=True, slots=True)
class UserOrder:
    """What the user process is to do, where, and with how much memory."""

    folder: Path
    spec: AttemptSpec
    memory: MemoryLimit | None


def become_user_process(runner: int, prepared: Prepared, ends: UserEnds) -> NoReturn:
    """Wait for an order, do it in this process and exit; called right after the fork."""
    try:
        _get_ready(runner, ends)
        with open(ends.order, "rb") as pipe:  # noqa: PTH123 -- a descriptor
            order = _read_order(pipe)
        if order is None:
            os._exit(0)
        _settle(order, prepared)
        outlet = Outlet(ends.messages, ends.questions, ends.incoming, order.spec.limits.output_bytes)
        try:
            report = _work(order.folder, order.spec, prepared, outlet)
        except SpecError as error:
            report = _refusal(outlet, "NotStarted", str(error))
        except KeyboardInterrupt:
            report = failed("interrupted", 130, "KeyboardInterrupt", "The job was interrupted.")
        except Exception as error:
            report = _refusal(outlet, type(error).__name__, str(error))
        with outlet.interrupts:  # from here on an interrupt comes too late
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            outlet.report(END, report)
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()  # noqa: SLF001 -- what user code registered (wandb, loggers)
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        os._exit(70)
    os._exit(0)


def _refusal(outlet: Outlet, ename: str, sentence: str) -> dict[str, Any]:
    outlet.message("error", {"ename": ename, "evalue": sentence, "traceback": [f"{ename}: {sentence}"]})
    return failed("error", 1, ename, sentence)


def _work(folder: Path, spec: AttemptSpec, prepared: Prepared, outlet: Outlet) -> dict[str, Any]:
    if spec.kind == "command":
        command.run(spec, folder, outlet)
    outlet.interrupts.install()
    replace_streams(outlet)
    builtins.input, getpass.getpass = input_from(outlet)
    _enter_folder(spec, folder)
    run = cell.run if spec.kind == "cell" else function.run
    return run(spec, prepared.shell, outlet)


def _enter_folder(spec: AttemptSpec, folder: Path) -> None:
    """Go where the notebook is, when the node has that folder; else to work/, and say so."""
    if spec.cwd:
        command.enter(spec.cwd)
        return
    wanted = spec.payload.get("kernel_cwd")
    try:
        os.chdir(wanted or folder / "work")
    except OSError as error:
        sys.stderr.write(f"Dure: the folder {wanted} is not on this node ({error.strerror}); the cell runs in work/.\n")
        os.chdir(folder / "work")


def _get_ready(runner: int, ends: UserEnds) -> None:
    processes.die_with(runner)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (ends.outputs[0], 1), (ends.outputs[1], 2)):
        os.dup2(source, target)
        os.close(source)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- lives as long as the process
    processes.print_by_lines()
    faulthandler.enable(2)
    _renew()


def _read_order(pipe: BinaryIO) -> UserOrder | None:
    """Return the order; None when the runner has gone without giving one."""
    data = pipe.read()
    order: UserOrder | None = pickle.loads(data) if data else None
    return order


def _settle(order: UserOrder, prepared: Prepared) -> None:
    spec = order.spec
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # the kernel shall rather take us than the fork server
    if order.memory:
        order.memory.join()
    os.umask(spec.umask)
    marks = {"DURE_JOB": spec.job, "DURE_ATTEMPT_ID": processes.attempt_id(order.folder)}
    environ.replace_environment(environ.user_environment(spec, order.folder, prepared.environ), marks)
    time.tzset()
    if spec.kind != "command":
        _add_own_packages(spec)


def _add_own_packages(spec: AttemptSpec) -> None:
    """Let the person's own packages be found (`%gpu install`), after those that the environment has for all."""
    own = own_packages(spec.user, spec.environment)
    if own.is_dir():
        sys.path.append(str(own))


def _renew() -> None:
    """Replace what must not be shared by all forks of one server."""
    atexit._clear()  # noqa: SLF001 -- the fork server's handlers are its own
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.atexit = False
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]  # noqa: SLF001 -- for TemporaryDirectory
    atexit.register(logging.shutdown)
    if "multiprocessing.util" in sys.modules:
        atexit.register(sys.modules["multiprocessing.util"]._exit_function)  # noqa: SLF001
    if "numpy.random" in sys.modules:  # Python's own generator is reseeded by its fork hook
        sys.modules["numpy.random"].seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
    tempfile.tempdir = None  # or TMPDIR would count for nothing
    sys.path[:] = ["", *(path for path in sys.path if path)]
    sys.argv = [""]
