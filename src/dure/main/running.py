"""Starts, ends and furnishes a platform from the command line.

`up` keeps the control plane alive: with the Hub, the Hub restarts it; without, this process does. The trap: whatever
goes wrong must end in one sentence and exit code 1, never in a traceback, and must leave nothing running.
"""

from __future__ import annotations

import errno
import getpass
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import click
import httpx

from dure.adapters import platform_file, processes
from dure.adapters.gpus import find_gpus
from dure.cli.telling import table
from dure.client.config import language
from dure.core.model import Platform
from dure.hub import accounts, front_door, system_users
from dure.main.private_file import write_once
from dure.main.spoken import echo, retold, spoken
from dure.ports import StoreError
from dure.settings import SettingsError, read_settings
from dure.worker import processes as attempt_processes

_READY_S = 60.0
_REFERENCE = re.compile(r"\$\{(\w+)\}")
_POLL_S = 0.05
_RESTART_S = 0.2
_QUICK_DEATH_S = 3.0
_QUICK_DEATHS_MAX = 5
_FAILURES = (
    platform_file.PlatformFileError,
    processes.AlreadyRunningError,
    processes.PortTakenError,
    front_door.FrontDoorError,
    system_users.SystemUserError,
    accounts.AccountError,
    StoreError,
    SettingsError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `dure up` was asked."""

    state_dir: Path
    port: int | None = None
    address: str = "127.0.0.1"
    no_hub: bool = False
    system_users: bool = False
    lang: str | None = None


@contextmanager
def told() -> Iterator[None]:
    """Turn every expected failure into its sentence on stderr and exit code 1."""
    try:
        yield
    except _FAILURES as error:
        echo(str(error), err=True)
        sys.exit(1)
    except sqlite3.Error as error:
        echo(f"The account file cannot be used: {error}. Check the disk with: dure doctor", err=True)
        sys.exit(1)
    except BrokenPipeError:
        raise  # who read our output has seen enough: the command line ends without a word
    except OSError as error:
        echo(refusal(error), err=True)
        sys.exit(1)


def refusal(error: OSError) -> str:
    """Return what the operating system refused, and what to do, in one sentence."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk is full{place}. Free some space, then type the command again."
    return f"The system refused: {error.strerror or error}{place}. Mend that, then type the command again."


def up(options: UpOptions, ready: Callable[[str], None] = lambda _link: None) -> None:
    """Start the platform, print the link, and stay until it ends or Ctrl-C ends it."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    (_up_alone if options.no_hub else _up_with_hub)(options, ready)


def up_detached(options: UpOptions) -> None:
    """Start the platform in the background and return when it is ready; its words come here until then."""
    argv = [sys.executable, "-m", "dure.cli", "up", "--dir", str(options.state_dir), "--address", options.address]
    argv += ["--port", str(options.port)] if options.port else []
    argv += ["--no-hub"] if options.no_hub else []
    argv += ["--system-users"] if options.system_users else []
    argv += ["--lang", spoken()]
    options.state_dir.mkdir(parents=True, exist_ok=True)
    log, errors = options.state_dir / "up.log", options.state_dir / "up.errors.log"
    with _private(log) as out, _private(errors) as err:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
    shown = 0
    while True:
        ended = child.poll()  # before reading, so that its last words are in what is read
        text = log.read_text(errors="replace")
        click.echo(text[shown:], nl=False)
        shown = len(text)
        if ended is not None:
            click.echo(errors.read_text(errors="replace"), nl=False, err=True)
            sys.exit(ended or 1)
        if text.partition("token=")[2].count("\n") > 1:  # the line with the link, and the one after it
            return
        time.sleep(_POLL_S)


def _private(path: Path) -> IO[bytes]:
    """Make a file anew for its owner alone: what `up` says has the sign-in link in it."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def down(state_dir: Path) -> None:
    """End everything that belongs to the folder, running attempts too."""
    found = front_door.stop(state_dir)
    attempts = end_attempts(state_dir)
    if not found and not attempts:
        echo(f"Nothing was running in {state_dir}.")
        return
    jobs = f", {attempts} running jobs among it" if attempts else ""
    echo(f"Ended what was running in {state_dir}{jobs}. State is kept; start again with: dure up --dir {state_dir}")


def init(state_dir: Path) -> Path:
    """Write platform.yaml and say what is in it; return its path."""
    path = state_dir / "platform.yaml"
    state_dir.mkdir(parents=True, exist_ok=True)
    gpus = find_gpus()
    platform_file.write_initial(path, gpus, getpass.getuser())
    found = f"{len(gpus)} NVIDIA GPUs" if gpus else "no NVIDIA GPU, so it has simulated ones, which run code on the CPU"
    echo(f"Wrote {path} (this machine has {found}). Edit it at any time; then: dure up --dir {state_dir}")
    return path


def invite(state_dir: Path, name: str, teams: tuple[str, ...], *, admin: bool) -> None:
    """Print a link that signs a person in once."""
    platform = platform_file.load(state_dir / "platform.yaml")
    known = [team.name for team in platform.teams]
    for team in teams:
        if team not in known:
            raise accounts.AccountError(f"There is no team {team!r} in platform.yaml; there are: {', '.join(known)}.")
    holder = processes.holder(state_dir)
    if holder is None:
        raise accounts.AccountError(f"No platform runs in {state_dir}. Start it first: dure up --dir {state_dir}")
    token = accounts.create_link(state_dir, name, admin=admin, teams=teams)
    echo(f"This link signs {name} in, once: {front_door.link_url(holder['link'], token)}")


def list_users(state_dir: Path) -> None:
    """Print every account, one a line."""
    korean = spoken() == "ko"
    roles = ("사용자", "관리자") if korean else ("user", "administrator")
    rows = [
        (account.name, roles[account.admin], ", ".join(accounts.teams_of(state_dir, account.name)))
        for account in accounts.list_accounts(state_dir)
    ]
    nobody = f"Nobody has an account yet. Invite people: dure user add NAME --dir {state_dir}"
    table(("이름", "역할", "팀") if korean else ("NAME", "ROLE", "TEAMS"), rows, retold(nobody, spoken()))


def waiting_workloads(state_dir: Path, platform: Platform) -> list[dict[str, Any]]:
    """Return the waiting jobs as Kueue's Workload documents; those that ask for a part of a GPU are left out."""
    from dure.adapters.store import SqlStore
    from dure.core.model import Phase
    from dure.core.queueing.render import kueue_workload

    store = SqlStore(read_settings(state_dir, os.environ, port=0).database_url)
    try:
        store.migrate()
        waiting = [job for job in store.active()[0] if job.phase is Phase.QUEUED]
    finally:
        store.close()
    waiting.sort(key=lambda job: (job.submitted_at, job.id))
    return [document for job in waiting if (document := kueue_workload(platform, job)) is not None]


def platform_of(state_dir: Path) -> Platform:
    """Return the folder's platform, writing an initial file where there is none."""
    path = state_dir / "platform.yaml"
    if not path.exists():
        init(state_dir)
    return platform_file.load(path)


def front_of(options: UpOptions, platform: Platform) -> front_door.FrontDoor:
    """Return what the front door needs to know of this platform."""
    command = [sys.executable, "-m", "dure.main", "--dir", str(options.state_dir), "--port", "{control_port}"]
    command += ["--identity", "hub", "--base-path", "/services/dure"]
    command += ["--system-users"] if options.system_users else []
    return front_door.FrontDoor(
        state_dir=options.state_dir,
        control_command=command,
        control_environment=_passed_on(),
        port=options.port,
        address=options.address,
        health_path="api/health",
        system_users=options.system_users,
        admins=platform.admins,
        teams=platform.members(),
        authenticator=_authenticator(platform),
        lang=options.lang or language(),
    )


def _authenticator(platform: Platform) -> dict[str, Any]:
    """Return what the Hub is told about signing in. Raises FrontDoorError for variables that are not set."""
    chosen = platform.authenticator
    if chosen is None:
        return {}
    missing = sorted(name for name in set(_REFERENCE.findall(str(chosen.settings))) if name not in os.environ)
    if missing:
        names = ", ".join(f"${name}" for name in missing)
        raise front_door.FrontDoorError(
            f"The section `authenticator` of platform.yaml needs {names}. "
            f"Type: {'; '.join(f'export {name}=…' for name in missing)}; then dure up again."
        )
    return {"class": chosen.kind, "settings": dict(chosen.settings)}


def _up_with_hub(options: UpOptions, ready: Callable[[str], None]) -> None:
    platform = platform_of(options.state_dir)
    front = front_of(options, platform)
    running = front_door.serve(front, echo)
    try:
        first = platform.admins[0] if platform.admins else getpass.getuser()
        link = running.sign_in_link(first, admin=True)
        echo(f"Ready. This link signs {first} in as administrator, once: {link}")
        echo(f"Invite others: dure user add NAME --team {platform.teams[0].name} --dir {options.state_dir}")
        ready(link)
        code = running.wait()
        if code not in {0, -signal.SIGTERM}:
            raise front_door.FrontDoorError(f"The Hub ended with code {code}. {front_door.log_tail(running)}")
    except KeyboardInterrupt:
        echo("Ending …")
    finally:
        running.stop()
        end_attempts(options.state_dir)


def _up_alone(options: UpOptions, ready: Callable[[str], None]) -> None:
    state_dir = options.state_dir
    platform_of(state_dir)
    lock = processes.Lock(state_dir).acquire()
    try:
        state_dir.chmod(0o700)
        processes.end_leftovers(state_dir)
        port = processes.ports_for(state_dir, {"public": options.port}, address=options.address)["public"]
        token = write_once(state_dir / "token", secrets.token_urlsafe(24))
        url = front_door.public_url(options.address, port)
        lock.describe(url)
        _keep_running(options, port, url, token, ready)
    except KeyboardInterrupt:
        echo("Ending …")
    finally:
        processes.end_leftovers(state_dir, processes.EVERYTHING)
        end_attempts(state_dir)
        lock.release()


def _keep_running(options: UpOptions, port: int, url: str, token: str, ready: Callable[[str], None]) -> None:
    """Start the control plane, again whenever it dies, until it cannot stay up or we are told to end."""
    quick_deaths = 0
    first = True
    while True:
        child = _start_control(options, port)
        started = time.monotonic()
        try:
            if first:
                _wait_ready(child, url, options.state_dir)
                echo(f"Ready. Portal: {url}?token={token}")
                echo(f"From your own Jupyter or shell: dure login {url} --token {token}")
                ready(url)
                first = False
            processes.wait_trimming(child, _log_path(options.state_dir))
        except KeyboardInterrupt:
            child.terminate()
            child.wait(processes.GRACE_S)
            raise
        # Only an end of its own counts: one that was killed (a negative code) comes back however often that happens.
        quick = (child.returncode or 0) > 0 and time.monotonic() - started < _QUICK_DEATH_S
        quick_deaths = quick_deaths + 1 if quick else 0
        if quick_deaths >= _QUICK_DEATHS_MAX:
            raise front_door.FrontDoorError(
                f"The control plane ended {quick_deaths} times in a row; its last words: {_tail(options.state_dir)}"
            )
        time.sleep(_RESTART_S)


def _start_control(options: UpOptions, port: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "dure.main", "--dir", str(options.state_dir), "--port", str(port)]
    argv += ["--address", options.address]
    environment = dict(os.environ)
    log = _log_path(options.state_dir)
    child, _ = processes.start(options.state_dir, "control", argv, role="control", environment=environment, log=log)
    return child


def _wait_ready(child: subprocess.Popen[bytes], url: str, state_dir: Path) -> None:
    deadline = time.monotonic() + _READY_S
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while not front_door.answers(client, f"{url}api/health"):
            if child.poll() is not None:
                raise front_door.FrontDoorError(f"The control plane did not start: {_tail(state_dir)}")
            if time.monotonic() > deadline:
                raise front_door.FrontDoorError(
                    f"The control plane did not answer within {_READY_S:.0f} s: {_tail(state_dir)}"
                )
            time.sleep(_POLL_S)


def _log_path(state_dir: Path) -> Path:
    return state_dir / "log" / "control.log"


def _tail(state_dir: Path) -> str:
    try:
        return _log_path(state_dir).read_text(errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return "it said nothing"


def _passed_on() -> dict[str, str]:
    """Settings of the control plane that come from our environment; nothing else of it goes to the Hub's service."""
    return {name: value for name, value in os.environ.items() if name.startswith("DURE_")}


def end_attempts(state_dir: Path) -> int:
    """Kill the attempts that still run; the next start finds them lost and tells their owners."""
    ended = 0
    for folder in (state_dir / "clusters").glob("*/attempts/*.*"):
        if attempt_processes.runner_alive(folder):
            attempt_processes.sweep(folder, runner_too=True)
            ended += 1
    return ended


def _as_interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
