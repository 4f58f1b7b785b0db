"""The composition root: reads settings once, makes every adapter, and hands them to the control plane.

The trap: executors come and go with the platform file, so the mapping of executors is one mutable dict that the loop
reads each tick and only `Composition.take_platform` writes.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dure
from dure.adapters import platform_file
from dure.adapters.blobs import FolderBlobStores, S3BlobStores
from dure.adapters.executors.forkservers import OWN_ACCOUNT, Account, ForkServers
from dure.adapters.executors.local import LocalExecutor, LocalSettings
from dure.adapters.executors.notify import HintSocket
from dure.adapters.identity.header import HeaderIdentity
from dure.adapters.identity.hub import HubAccess, HubIdentity
from dure.adapters.identity.token import TokenIdentity
from dure.adapters.outputs import SpoolOutputs
from dure.adapters.processes import MARK, mark
from dure.adapters.store import SqlStore
from dure.adapters.system import SystemClock, SystemIds
from dure.control.changes import Changes
from dure.control.commands import Commands
from dure.control.loop import Loop, LoopSettings
from dure.control.platform_holder import PlatformHolder
from dure.control.queries import Queries
from dure.core.events import Draft
from dure.core.model import Platform
from dure.hub import notice, system_users
from dure.main.loop_thread import LoopThread
from dure.ports import BlobStores, Executor, Identity, Ports, Principal
from dure.ports import Changes as StoreChanges
from dure.settings import Settings

log = logging.getLogger("dure.main")


@dataclass(slots=True)
class Composition:
    """One running control plane's parts."""

    settings: Settings
    store: SqlStore
    ports: Ports
    platform: PlatformHolder
    changes: Changes
    commands: Commands
    queries: Queries
    loop: LoopThread
    servers: ForkServers
    hints: HintSocket
    executors: dict[str, LocalExecutor]
    holder: str

    def start(self) -> None:
        """Begin to listen to runners and to run the loop."""
        self.hints.start()
        self.loop.start()

    def close(self) -> None:
        """Give leadership up and stop all threads; jobs go on."""
        self.loop.close()
        self.hints.close()
        for executor in self.executors.values():
            executor.close()
        self.store.close()

    def take_platform(self, platform: Platform) -> None:
        """Use an edited platform file: new clusters get an executor, and the log says that it was loaded."""
        for cluster in platform.clusters:
            if cluster.name not in self.executors:
                self.executors[cluster.name] = _executor(self, cluster.name, cluster.provision_s)
        self.platform.replace(platform)
        told = Draft("platform.loaded", "platform", {"digest": platform.digest})
        self.store.commit(StoreChanges((), (told,)), self.ports.clock.now())
        self.loop.hint()

    def refuse_platform(self, error: str) -> None:
        """Keep the old platform and say why, in the log and to administrators."""
        self.platform.refuse(error)
        told = Draft("platform.refused", "platform", {"error": error})
        self.store.commit(StoreChanges((), (told,)), self.ports.clock.now())
        self.changes.notify()


def compose(settings: Settings) -> Composition:
    """Return a control plane that is ready to start. Raises PlatformFileError or a store's error with one sentence."""
    platform = PlatformHolder(platform_file.load(settings.platform_file))
    run = settings.state_dir / "run"
    logs = settings.state_dir / "log"
    for folder in (run, logs, settings.clusters_folder):
        folder.mkdir(parents=True, exist_ok=True)
    store = SqlStore(settings.database_url)
    store.migrate()
    clock = SystemClock()
    blobs = _blobs(settings)
    executors: dict[str, LocalExecutor] = {}
    ports = Ports(
        store=store,
        executors=_as_executors(executors),
        outputs=SpoolOutputs(settings.clusters_folder),
        blobs=blobs,
        identity=_identity(settings, platform, clock),
        clock=clock,
        ids=SystemIds(),
    )
    changes = Changes()
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    loop = LoopThread(Loop(ports, platform, LoopSettings(holder), month_start, changes.notify))
    composition = Composition(
        settings=settings,
        store=store,
        ports=ports,
        platform=platform,
        changes=changes,
        commands=Commands(ports, platform, loop.hint),
        queries=Queries(ports, platform, dure.__version__, loop.current_plan, _notices(settings, platform)),
        loop=loop,
        servers=ForkServers(run, logs, {MARK: mark(settings.state_dir, "job")}),
        hints=HintSocket(run / "hints.sock", changes.notify, loop.hint),
        executors=executors,
        holder=holder,
    )
    for cluster in platform.current.clusters:
        executors[cluster.name] = _executor(composition, cluster.name, cluster.provision_s)
    return composition


def month_start(now: float) -> float:
    """Return when the UTC month of `now` began (seconds since the epoch): budgets begin anew there."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def _as_executors(executors: dict[str, LocalExecutor]) -> dict[str, Executor]:
    return executors  # type: ignore[return-value]  # the dict is shared on purpose; LocalExecutor is an Executor


def _executor(parts: Composition, cluster: str, provision_s: float) -> LocalExecutor:
    settings = parts.settings
    local = LocalSettings(
        cluster=cluster,
        folder=settings.clusters_folder / cluster,
        notify=parts.hints.path,
        provision_s=provision_s,
        home_of=_home_of(settings),
        account_of=_account_of(settings, parts.platform),
    )
    return LocalExecutor(local, parts.servers, parts.ports.blobs, parts.ports.clock)


def _blobs(settings: Settings) -> BlobStores:
    if settings.s3 is not None:
        return S3BlobStores(settings.s3, settings.state_dir)
    return FolderBlobStores(settings.state_dir / "blobs")


def _identity(settings: Settings, platform: PlatformHolder, clock: SystemClock) -> Identity:
    def teams_of(name: str) -> tuple[str, ...]:
        return platform.current.teams_of(name)

    if settings.identity == "hub":
        return HubIdentity(
            HubAccess.from_environment(),
            clock=clock.now,
            teams_of=teams_of,
            team_exists=lambda name: any(team.name == name for team in platform.current.teams),
        )
    if settings.identity == "header":
        admins = platform.current.admins
        return HeaderIdentity(settings.trusted_proxies, admins=admins, teams_of=teams_of)
    return TokenIdentity({settings.token_file.read_text().strip(): owner(platform)})


def owner(platform: PlatformHolder) -> Principal:
    """Return the one person of `dure up --no-hub`: the first administrator of the platform file, in every team."""
    current = platform.current
    name = current.admins[0] if current.admins else "me"
    return Principal(
        name, admin=True, teams=current.teams_of(name) or tuple(t.name for t in current.teams), via="token"
    )


def _home_of(settings: Settings) -> Callable[[str], Path | None]:
    def home(user: str) -> Path | None:
        folder = settings.state_dir / "homes" / user
        return folder if folder.is_dir() else None

    return home


def _account_of(settings: Settings, platform: PlatformHolder) -> Callable[[str], Account]:
    def account(user: str) -> Account:
        if not settings.system_users:
            return OWN_ACCOUNT
        found = system_users.ensure(user, settings.state_dir, platform.current.teams_of(user))
        groups = tuple(os.getgrouplist(found.account, found.gid))
        return Account(found.account, found.uid, found.gid, groups, str(found.home))

    return account


def _notices(settings: Settings, platform: PlatformHolder) -> Callable[[str], list[str]]:
    def notices(lang: str) -> list[str]:
        found = []
        if settings.identity == "hub":
            isolation = notice.isolation_of(system_users=settings.system_users, root=os.geteuid() == 0)
            found.append(notice.isolation_notice(lang, isolation))
        if any(node.simulated for cluster in platform.current.clusters for node in cluster.nodes):
            found.append(_SIMULATED["ko" if lang == "ko" else "en"])
        return found

    return notices


_SIMULATED = {
    "en": "Some GPUs here are simulated: they queue, lease and cost like real ones, but the code runs on the CPU.",
    "ko": "이곳의 일부 GPU는 시뮬레이션입니다. 대기, 할당, 비용은 실제와 같지만 코드는 CPU에서 실행됩니다.",
}
