"""Starts the Hub with its proxy and the control plane, waits until people can sign in, and ends all of it again.

Touches the state folder and the processes that carry its mark. Trap: an answer on the public port proves nothing by
itself, since an old proxy may give it; leftovers are ended first, and the ports must be free before the Hub is
started.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dure.adapters import processes
from dure.hub import accounts, hub_settings, notice, system_users

READY_TIMEOUT_S = 90.0
READY_POLL_S = 0.2
STOP_GRACE_S = 20.0
HEALTH_TIMEOUT_S = 2.0
LOG_LINES_SHOWN = 12


class FrontDoorError(RuntimeError):
    """The platform could not be started; the text says why and where to look."""


@dataclass(frozen=True, kw_only=True)
class FrontDoor:
    """What `serve` needs to know.

    `control_command` gets "{control_port}" replaced. `health_path` is where the control plane says that it is well,
    below its service prefix. `port` None means the remembered or a free one. `teams` maps each team to its members.
    """

    state_dir: Path
    control_command: Sequence[str]
    control_environment: Mapping[str, str] = field(default_factory=dict)
    workspace_environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    address: str = "127.0.0.1"
    base_url: str = "/"
    health_path: str = "healthz"
    system_users: bool = False
    admins: Sequence[str] = ()
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    authenticator: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    lang: str = "en"


@dataclass
class Running:
    """A platform that people can sign in to. End it with `stop`; `wait` returns when it ended by itself."""

    front: FrontDoor
    ports: Mapping[str, int]
    url: str
    hub: subprocess.Popen[bytes]
    lock: processes.Lock

    @property
    def portal_url(self) -> str:
        """Where the portal is."""
        return f"{self.url}services/dure/"

    @property
    def control_url(self) -> str:
        """Where programs on this machine reach the control plane, past proxy and Hub."""
        return control_url(self.front, self.ports)

    def sign_in_link(self, user: str, *, admin: bool = False, teams: Sequence[str] = ()) -> str:
        """Return a new link that signs `user` in once."""
        token = accounts.create_link(self.front.state_dir, user, admin=admin, teams=teams)
        return link_url(self.url, token)

    def wait(self) -> int:
        """Return the Hub's exit code when it has ended: by `stop` from elsewhere, or because it died."""
        return processes.wait_trimming(self.hub, log_path(self.front.state_dir))

    def stop(self) -> list[processes.Process]:
        """End the Hub and all that it started, then give the folder free; return what had to be ended by force."""
        with undisturbed():
            return self.stop_now()

    def stop_now(self) -> list[processes.Process]:
        """Do what `stop` says; a signal in between would leave processes behind."""
        if self.hub.poll() is None:
            self.hub.send_signal(signal.SIGTERM)
            try:
                self.hub.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                self.hub.kill()
                self.hub.wait()
        left = processes.end_leftovers(self.front.state_dir, processes.EVERYTHING)
        self.lock.release()
        return left


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore further Ctrl-C and SIGTERM meanwhile: whoever asks twice wants it ended, not half ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def link_url(url: str, token: str) -> str:
    """Return the address that a one-time link's secret belongs to."""
    return f"{url}hub/link?token={token}"


def serve(front: FrontDoor, say: Callable[[str], None] = lambda _line: None) -> Running:
    """Start everything and return when people can sign in.

    Raises AlreadyRunningError, PortTakenError, SystemUserError or FrontDoorError; then nothing is left running.
    """
    state_dir = front.state_dir
    prepare_folder(state_dir, front)
    lock = processes.Lock(state_dir).acquire()
    try:
        ended = processes.end_leftovers(state_dir)
        if ended:
            say(f"Ended {len(ended)} processes that an earlier run had left behind.")
        ports = processes.ports_for(
            state_dir,
            {"public": front.port, "hub": None, "proxy": None, "control": None},
            address=front.address,
        )
        url = public_url(front.address, ports["public"], front.base_url)
        lock.describe(url, hub=True)
        isolation = notice.isolation_of(system_users=front.system_users, root=os.geteuid() == 0)
        say(notice.isolation_notice(front.lang, isolation))
        settings = hub_settings_for(front, ports, url)
        path = accounts.hub_dir(state_dir) / "hub.json"
        hub_settings.write(settings, path)
        hub = start_hub(front, path, ports)
        running = Running(front, ports, url, hub, lock)
        try:
            wait_ready(running, say)
        except BaseException:
            running.stop()
            raise
    except BaseException:
        lock.release()
        raise
    return running


def prepare_folder(state_dir: Path, front: FrontDoor) -> None:
    """Make the state folder for its owner alone; with accounts of their own, people must at least pass through it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    if front.system_users:
        system_users.check_possible(front.python)
    state_dir.chmod(0o711 if front.system_users else 0o700)
    if front.system_users and (closed := system_users.first_closed(state_dir / "homes")):
        raise system_users.SystemUserError(
            f"Homes in {state_dir} could not be reached, because {closed} is closed to other accounts."
            " Type: dure up --system-users --dir /var/lib/dure"
        )


def control_url(front: FrontDoor, ports: Mapping[str, int]) -> str:
    """Return the control plane's own address, without "/" at its end; the path is the same as through the Hub."""
    return f"http://127.0.0.1:{ports['control']}{front.base_url}services/dure"


def public_url(address: str, port: int, base_url: str = "/") -> str:
    """Return what people open; where Dure listens on every address, this machine's own is as good as any."""
    host = "127.0.0.1" if address in ("0.0.0.0", "::", "") else address  # noqa: S104 - compared, not bound
    return f"http://{host}:{port}{base_url}"


def hub_settings_for(front: FrontDoor, ports: Mapping[str, int], url: str) -> hub_settings.HubSettings:
    """Return what the Hub is told; secrets of a run are new, but the cookie secret stays, so that sign-ins do."""
    state_dir = front.state_dir.resolve()
    return hub_settings.HubSettings(
        state_dir=str(state_dir),
        python=front.python,
        address=front.address,
        port=ports["public"],
        hub_port=ports["hub"],
        proxy_port=ports["proxy"],
        control_port=ports["control"],
        base_url=front.base_url,
        control_command=[part.replace("{control_port}", str(ports["control"])) for part in front.control_command],
        control_environment={
            **front.control_environment,
            processes.MARK: processes.mark(state_dir, "control"),
            "DURE_PUBLIC_URL": url,
        },
        workspace_environment={
            "DURE_URL": control_url(front, ports),
            **front.workspace_environment,
            processes.MARK: processes.mark(state_dir, "workspace"),
        },
        service_token=secrets.token_hex(32),
        proxy_token=secrets.token_hex(32),
        cookie_secret=cookie_secret(state_dir),
        system_users=front.system_users,
        authenticator=front.authenticator,
        teams=front.teams,
        admins=front.admins,
    )


def cookie_secret(state_dir: Path) -> str:
    """Return the folder's own cookie secret, 64 hex digits, made once."""
    path = accounts.hub_dir(state_dir) / "cookie_secret"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        fresh = secrets.token_hex(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(fresh)
        return fresh


def start_hub(front: FrontDoor, settings: Path, ports: Mapping[str, int]) -> subprocess.Popen[bytes]:
    """Start the Hub, which starts the proxy and the control plane."""
    programs = Path(front.python).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_"))}
    environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment[hub_settings.ENV] = str(settings)
    config = Path(__file__).with_name("jupyterhub_config.py")
    close_database(settings.with_name("jupyterhub.sqlite"))
    child, _record = processes.start(
        front.state_dir,
        "hub",
        [front.python, "-m", "jupyterhub", "-f", str(config)],
        role="hub",
        environment=environment,
        log=log_path(front.state_dir),
        ports=ports,
    )
    return child


def close_database(path: Path) -> None:
    """Make the Hub's database its owner's alone before SQLite makes it everybody's to read; its journals follow it.

    A umask would do so too, but workspaces would inherit it, and files that people mean to share would be closed.
    """
    path.touch(mode=0o600)
    path.chmod(0o600)


def log_path(state_dir: Path) -> Path:
    """Return where the Hub, the proxy, the control plane and the workspaces write what they say."""
    return state_dir / "log" / "hub.log"


def wait_ready(running: Running, say: Callable[[str], None]) -> None:
    """Return when the login page and the control plane answer through the proxy; FrontDoorError when they do not."""
    say("Starting the Hub, its proxy and the control plane …")
    steps = [
        ("The Hub can be signed in to.", f"{running.url}hub/login"),
        ("The control plane answers.", f"{running.portal_url}{running.front.health_path}"),
    ]
    deadline = time.monotonic() + READY_TIMEOUT_S
    with httpx.Client(timeout=HEALTH_TIMEOUT_S, trust_env=False) as client:
        for done, url in steps:
            while not answers(client, url):
                code = running.hub.poll()
                if code is not None:
                    raise FrontDoorError(f"The Hub ended with code {code} while starting. {log_tail(running)}")
                if time.monotonic() > deadline:
                    raise FrontDoorError(f"{url} did not answer within {READY_TIMEOUT_S:.0f} s. {log_tail(running)}")
                time.sleep(READY_POLL_S)
            say(done)


def answers(client: httpx.Client, url: str) -> bool:
    """Return whether the address gives a good answer now."""
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def log_tail(running: Running) -> str:
    """Return the end of the log, and where all of it is."""
    path = log_path(running.front.state_dir)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return f"The whole log is {path}; its end:\n" + "\n".join(lines)


def stop(state_dir: Path) -> list[processes.Process]:
    """End the platform of this folder, whoever started it and however it is; return what was found running.

    Asks the `dure up` that holds the folder to end by itself first, and afterwards looks for everything that is left.
    """
    found = processes.marked(state_dir)
    about = processes.holder(state_dir)
    if about is not None:
        keeper = processes.Process(about["pid"], about["start_ticks"], "up")
        if keeper.pid != os.getpid():
            processes.send(keeper, signal.SIGTERM)
            processes.wait_until(lambda: not processes.alive(keeper), STOP_GRACE_S + processes.GRACE_S)
            if processes.alive(keeper):
                processes.end([keeper])
            found.append(keeper)
    processes.end_leftovers(state_dir, processes.EVERYTHING)
    return found
