"""The composition root: reads settings once, makes every adapter, and hands them to the control plane.

The trap: executors come and go with the platform file, so the mapping of executors is one mutable dict that the loop
reads each tick and only `Composition.take_platform` writes.
"""

from __future__ import annotations

import grp
import logging
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dure
from dure.adapters.blob_key import BlobKey
from dure.adapters.blobs import FolderBlobStores, S3BlobStores
from dure.adapters.executors.forkservers import OWN_ACCOUNT, Account, ForkServers
from dure.adapters.executors.local import LocalExecutor, LocalSettings
from dure.adapters.executors.notify import HintSocket
from dure.adapters.identity.header import SECRET_HEADER, HeaderIdentity
from dure.adapters.identity.hub import HubAccess, HubIdentity
from dure.adapters.identity.token import TokenIdentity
from dure.adapters.outputs import SpoolOutputs
from dure.adapters.processes import MARK, mark
from dure.adapters.store import SqlStore
from dure.adapters.system import SystemClock, SystemIds
from dure.control.commands import Commands
from dure.control.forecasts import Forecasts
from dure.control.loop import Loop, LoopSettings
from dure.control.platform_holder import PlatformHolder
from dure.control.queries import Queries
from dure.control.sessions import Sessions
from dure.control.stream_hints import StreamHints
from dure.core.events import Draft
from dure.core.model import Platform
from dure.core.usage import month_of
from dure.hub import accounts, notice, system_users
from dure.main import accepted
from dure.main.forecast_thread import ForecastThread
from dure.main.loop_thread import LoopThread
from dure.ports import BlobStoreError, BlobStores, Changes, Executor, Identity, Ports, Principal
from dure.settings import Settings, SettingsError

log = logging.getLogger("dure.main")


@dataclass(slots=True)
class Composition:
    """One running control plane's parts."""

    settings: Settings
    store: SqlStore
    ports: Ports
    platform: PlatformHolder
    stream_hints: StreamHints
    commands: Commands
    queries: Queries
    sessions: Sessions
    forecasts: Forecasts
    loop: LoopThread
    forecasting: ForecastThread
    servers: ForkServers
    hints: HintSocket
    executors: dict[str, LocalExecutor]
    holder: str

    def start(self) -> None:
        """Begin to listen to runners and to run the loop."""
        self.hints.start()
        self.loop.start()
        self.forecasting.start(self.forecasts)

    def close(self) -> None:
        """Give leadership up and stop all threads; jobs go on."""
        self.forecasting.close()
        self.loop.close()
        self.hints.close()
        for executor in self.executors.values():
            executor.close()
        self.store.close()

    def take_platform(self, platform: Platform) -> None:
        """Use an edited platform file: its clusters have executors, its members may sign in, the log says so."""
        for cluster in platform.clusters:
            if cluster.name in self.executors:
                self.executors[cluster.name].provision_in(cluster.provision_s)
            else:
                self.executors[cluster.name] = _executor(self, cluster.name, cluster.provision_s)
        self.platform.replace(platform)
        accepted.remember(self.settings, platform)
        identity = self.ports.identity
        if isinstance(identity, HubIdentity):
            accounts.write_teams(self.settings.state_dir, platform.members(), platform.admins)
            identity.forget_all()
        elif isinstance(identity, TokenIdentity):
            identity.replace(_tokens(self.settings, self.platform))
        elif isinstance(identity, HeaderIdentity):
            identity.admins = frozenset(platform.admins)
        told = Draft("platform.loaded", "platform", {"digest": platform.digest})
        self.store.commit(Changes((), (told,)), self.ports.clock.now())
        self.loop.hint()

    def refuse_platform(self, error: str) -> None:
        """Keep the old platform and say why, in the log and to administrators."""
        self.platform.refuse(error)
        told = Draft("platform.refused", "platform", {"error": error})
        self.store.commit(Changes((), (told,)), self.ports.clock.now())
        self.stream_hints.notify()


def compose(settings: Settings) -> Composition:
    """Return a control plane that is ready to start. Raises PlatformFileError or a store's error with one sentence."""
    platform = accepted.load(settings)
    run = settings.state_dir / "run"
    logs = settings.state_dir / "log"
    # People's accounts pass through what their jobs use, and read none of it: its entries have modes of their own.
    passed = 0o711 if settings.system_users else 0o700
    for folder, mode in ((run, passed), (logs, 0o700), (settings.clusters_folder, passed)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    for database in settings.state_dir.glob("dure.sqlite*"):
        database.chmod(0o600)
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
    stream_hints = StreamHints()
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    loop = LoopThread(Loop(ports, platform, LoopSettings(holder), month_of, stream_hints.notify))
    forecasting = ForecastThread()

    def between() -> None:
        forecasting.check()
        loop.give_way()

    forecasts = Forecasts(ports, platform, store.estimates, month_of, leads=lambda: loop.leads, between=between)
    may_sign_in = partial(_may_sign_in, settings, platform)
    composition = Composition(
        settings=settings,
        store=store,
        ports=ports,
        platform=platform,
        stream_hints=stream_hints,
        commands=Commands(ports, platform, loop.hint, predict=forecasts.predicted),
        queries=Queries(
            ports,
            platform,
            dure.__version__,
            loop.current_plan,
            _notices(settings, platform, platform.current),
            forecasts=forecasts,
        ),
        sessions=Sessions(store.sessions, blobs, platform, clock, stream_hints.notify, may_sign_in=may_sign_in),
        forecasts=forecasts,
        loop=loop,
        forecasting=forecasting,
        servers=ForkServers(run, logs, {MARK: mark(settings.state_dir, "job")}),
        hints=HintSocket(run / "hints.sock", stream_hints.notify, loop.hint),
        executors=executors,
        holder=holder,
    )
    # Attempts may still run on a cluster that the platform file no longer has.
    left = {folder.parent.name: 0.0 for folder in settings.clusters_folder.glob("*/attempts")}
    for name, provision_s in (left | {c.name: c.provision_s for c in platform.current.clusters}).items():
        executors[name] = _executor(composition, name, provision_s)
    return composition


def _as_executors(executors: dict[str, LocalExecutor]) -> dict[str, Executor]:
    return executors  # type: ignore[return-value]  # the dict is shared on purpose; LocalExecutor is an Executor


def _executor(parts: Composition, cluster: str, provision_s: float) -> LocalExecutor:
    settings = parts.settings
    local = LocalSettings(
        cluster=cluster,
        folder=settings.clusters_folder / cluster,
        notify=parts.hints.path,
        provision_s=provision_s,
        folder_mode=0o711 if settings.system_users else 0o700,
        home_of=_home_of(settings),
        account_of=_account_of(settings, parts.platform),
        changed=parts.loop.hint,
    )
    return LocalExecutor(local, parts.servers, parts.ports.blobs, parts.ports.clock)


def _blobs(settings: Settings) -> BlobStores:
    try:
        key = BlobKey() if settings.blob_key_file is None else BlobKey.read(settings.blob_key_file)
    except BlobStoreError as error:
        raise SettingsError(str(error)) from None
    if settings.s3 is not None:
        return S3BlobStores(settings.s3, settings.state_dir, key=key)
    group_of = _team_gid if settings.system_users else None
    return FolderBlobStores(settings.state_dir / "blobs", group_of, key)


def _team_gid(team: str) -> int:
    """Return the group that a team's people share their blobs by, made when it is not there."""
    try:
        return grp.getgrnam(system_users.ensure_group(team)).gr_gid
    except system_users.SystemUserError as error:
        raise BlobStoreError(str(error)) from error


def _identity(settings: Settings, platform: PlatformHolder, clock: SystemClock) -> Identity:
    def teams_of(name: str) -> tuple[str, ...]:
        return platform.current.teams_of(name)

    if settings.identity == "hub":
        try:
            access = HubAccess.from_environment()
        except KeyError as error:
            raise SettingsError(
                f"--identity hub is for control planes that the Hub starts: {error.args[0]} is not set."
                f" Type: dure up --dir {settings.state_dir}"
            ) from None
        return HubIdentity(
            access,
            clock=clock.now,
            teams_of=partial(_teams_of, settings, platform),
            team_exists=lambda name: _is_outside_team(platform.current, name),
        )
    if settings.identity == "header":
        admins = platform.current.admins
        try:
            return HeaderIdentity(settings.trusted_proxies, settings.proxy_secret, admins=admins, teams_of=teams_of)
        except ValueError as error:
            raise SettingsError(
                f"--identity header believes one proxy only, but {error}. Type: export DURE_TRUSTED_PROXIES=10.0.0.5/32"
                f' DURE_PROXY_SECRET="$(openssl rand -hex 16)"; the proxy sends that secret as {SECRET_HEADER}.'
            ) from None
    return TokenIdentity(_tokens(settings, platform))


def _tokens(settings: Settings, platform: PlatformHolder) -> dict[str, Principal]:
    try:
        token = settings.token_file.read_text().strip()
    except FileNotFoundError:
        raise SettingsError(
            f"There is no token in {settings.token_file}, so nobody could sign in."
            f" Type: dure up --no-hub --dir {settings.state_dir}"
        ) from None
    return {token: owner(platform)}


def owner(platform: PlatformHolder) -> Principal:
    """Return the one person of `dure up --no-hub`: the first administrator of the platform file, in every team."""
    current = platform.current
    name = current.admins[0] if current.admins else "me"
    return Principal(
        name, admin=True, teams=current.teams_of(name) or tuple(t.name for t in current.teams), via="token"
    )


def _teams_of(settings: Settings, platform: PlatformHolder, user: str) -> tuple[str, ...]:
    """Return a person's teams by the platform file and by their invitation, as both are now."""
    invited = accounts.teams_of(settings.state_dir, user)
    current = platform.current
    return tuple(team.name for team in current.teams if team.name in {*invited, *current.teams_of(user)})


def _may_sign_in(settings: Settings, platform: PlatformHolder, user: str) -> bool:
    """Return whether `user` may be somebody: only our own sign-in knows everyone, with others anybody may come yet."""
    if settings.identity != "hub" or platform.current.authenticator is not None:
        return True
    return accounts.may_enter(settings.state_dir, user)


def _is_outside_team(platform: Platform, group: str) -> bool:
    """Return whether a group of the Hub is a team that an outside `authenticator` may put people into.

    Those of our own sign-in follow the platform file a minute late, so they say nothing that is not known better here.
    """
    return platform.authenticator is not None and any(team.name == group for team in platform.teams)


def _home_of(settings: Settings) -> Callable[[str], Path | None]:
    """Jobs have the home of their person's workspace; without the Hub that is the one of whoever started Dure."""

    def home(user: str) -> Path | None:
        if settings.identity != "hub" or settings.system_users:
            return None  # with accounts of their own, the fork server has the account's home already
        folder = system_users.shared_home(settings.state_dir, user)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    return home


def _account_of(settings: Settings, platform: PlatformHolder) -> Callable[[str, str], Account]:
    def account(user: str, team: str) -> Account:
        if not settings.system_users:
            return OWN_ACCOUNT
        # An outside authenticator may have put the person into the job's team; ours does not.
        teams = {*_teams_of(settings, platform, user), *([team] if _is_outside_team(platform.current, team) else [])}
        found = system_users.ensure(user, settings.state_dir, teams)
        groups = tuple(os.getgrouplist(found.account, found.gid))
        return Account(found.account, found.uid, found.gid, groups, str(found.home))

    return account


def _notices(settings: Settings, platform: PlatformHolder, started_with: Platform) -> Callable[[str], list[str]]:
    def notices(lang: str) -> list[str]:
        found = []
        if settings.identity == "hub":
            isolation = notice.isolation_of(system_users=settings.system_users, root=os.geteuid() == 0)
            found.append(notice.isolation_notice(lang, isolation))
        if any(node.simulated for cluster in platform.current.clusters for node in cluster.nodes):
            found.append(_SIMULATED["ko" if lang == "ko" else "en"])
        if settings.identity == "hub" and platform.current.authenticator != started_with.authenticator:
            found.append(_SIGN_IN_CHANGED["ko" if lang == "ko" else "en"])
        return found

    return notices


_SIMULATED = {
    "en": "Some GPUs here are simulated: they queue, lease and cost like real ones, but the code runs on the CPU.",
    "ko": "이곳의 일부 GPU는 시뮬레이션입니다. 대기, 할당, 비용은 실제와 같지만 코드는 CPU에서 실행됩니다.",
}
_SIGN_IN_CHANGED = {
    "en": "The section `authenticator` of platform.yaml was changed: it counts from the next `dure up`.",
    "ko": "platform.yaml의 `authenticator` 항목이 바뀌었습니다. 다음 `dure up`부터 적용됩니다.",
}
