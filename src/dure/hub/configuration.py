"""JupyterHub's configuration, from the one file that `dure up` writes.

Trap: a role that names a service which is not defined stops the Hub at start, so both stand side by side here.
"""

from __future__ import annotations

import inspect
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from traitlets.utils.importstring import import_item

from dure.hub import accounts, hub_settings, wording
from dure.hub.authenticator import DureAuthenticator
from dure.hub.services import watch_services
from dure.hub.spawner import SharedAccountSpawner, SystemUserSpawner

SERVICE = "dure"
ACCESS = f"access:services!service={SERVICE}"


def configure(c: Any, settings: hub_settings.HubSettings) -> None:
    """Set everything on the configuration object."""
    hub_dir = Path(settings.state_dir) / "hub"
    base = settings.base_url
    c.JupyterHub.bind_url = f"http://{settings.address}:{settings.port}{base}"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_port}"
    c.JupyterHub.default_url = f"{base}services/{SERVICE}/"
    c.JupyterHub.db_url = f"sqlite:///{hub_dir / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret = bytes.fromhex(settings.cookie_secret)
    c.JupyterHub.template_paths = [str(Path(__file__).with_name("templates"))]
    c.JupyterHub.template_vars = wording.template_vars(base, system_users=settings.system_users)
    c.JupyterHub.logo_file = str(Path(__file__).parents[1] / "portal" / "static" / "dure.svg")
    # At INFO the Hub writes several lines a request; what matters would drown, and the log has a limit.
    c.JupyterHub.log_level = "WARN"
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True
    c.ConfigurableHTTPProxy.command = [settings.python, "-m", "dure.hub.proxy"]
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_port}"
    c.ConfigurableHTTPProxy.auth_token = settings.proxy_token
    c.ConfigurableHTTPProxy.pid_file = str(hub_dir / "proxy.pid")
    c.ConfigurableHTTPProxy.check_running_interval = 2
    configure_service(c, settings)
    configure_login(c, settings)
    configure_workspaces(c, settings)


def configure_service(c: Any, settings: hub_settings.HubSettings) -> None:
    """Run the control plane as a managed service, with the rights that it needs and no more."""
    watch_services()
    c.JupyterHub.services = [
        {
            "name": SERVICE,
            "url": f"http://127.0.0.1:{settings.control_port}",
            "command": list(settings.control_command),
            "cwd": settings.state_dir,
            "environment": dict(settings.control_environment),
            "api_token": settings.service_token,
            "oauth_no_confirm": True,
        }
    ]
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": ["self", ACCESS]},
        # The token inside a workspace may also speak to the control plane, in its owner's name.
        {"name": "server", "scopes": ["users:activity!user", "access:servers!server", ACCESS]},
        {
            "name": SERVICE,
            "services": [SERVICE],
            "scopes": ["list:users", "read:users", "read:groups", "list:groups", "servers", ACCESS],
        },
    ]


def configure_login(c: Any, settings: hub_settings.HubSettings) -> None:
    """Sign in locally, or by whatever authenticator the platform file names."""
    chosen = settings.authenticator
    c.Authenticator.refresh_pre_spawn = True  # so that a workspace starts with the teams of now
    if not chosen:
        c.JupyterHub.authenticator_class = DureAuthenticator
        c.DureAuthenticator.state_dir = settings.state_dir
        c.Authenticator.auth_refresh_age = 60
        return
    authenticator = load_authenticator(chosen["class"])
    given = {name: from_environment(value) for name, value in dict(chosen.get("settings", {})).items()}
    others = any(name.startswith("allow") for name in given)
    if not others:
        c.Authenticator.allow_all = False  # the Hub asks this first, and some classes begin with True
    c.JupyterHub.authenticator_class = with_members(authenticator, Path(settings.state_dir), others=others)
    c.Authenticator.admin_users = set(settings.admins)
    for name, value in given.items():
        c[authenticator.__name__][name] = value


def with_members(authenticator: type[Any], state_dir: Path, *, others: bool) -> type[Any]:
    """Return the class, letting in the platform file's members as they are now; with `others` whom it allows, too.

    Without `allow…` settings it is not asked at all.
    """

    class MembersToo(authenticator):
        def check_allow_config(self) -> None:
            """Accept settings that allow nobody: the platform file does."""

        async def check_allowed(self, username: str, authentication: Any = None) -> bool:
            """Return whether the person may enter."""
            if accounts.may_enter(state_dir, username):
                return True
            if not others:
                return False
            allowed = super().check_allowed(username, authentication)
            return bool(await allowed if inspect.isawaitable(allowed) else allowed)

    MembersToo.__name__ = f"{authenticator.__name__}WithMembers"
    return MembersToo


def load_authenticator(name: str) -> type[Any]:
    """Return the class for an installed name (`github`, `google`, `generic-oauth`) or a dotted path."""
    for found in entry_points(group="jupyterhub.authenticators"):
        if found.name == name.lower():
            loaded: type[Any] = found.load()
            return loaded
    imported: type[Any] = import_item(name)
    return imported


def from_environment(value: Any) -> Any:
    """Return a setting, taking `${NAME}` from the environment so that secrets stay out of the platform file."""
    if isinstance(value, dict):
        return {name: from_environment(content) for name, content in value.items()}
    if isinstance(value, list):
        return [from_environment(content) for content in value]
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        name = value[2:-1]
        if name not in os.environ:
            raise SystemExit(f"The platform file's authenticator needs ${name}. Type: export {name}=… and start again.")
        return os.environ[name]
    return value


def configure_workspaces(c: Any, settings: hub_settings.HubSettings) -> None:
    """Start JupyterLab on CPU, with the control plane's address in its environment."""
    c.JupyterHub.spawner_class = SystemUserSpawner if settings.system_users else SharedAccountSpawner
    c.WorkspaceSpawner.state_dir = settings.state_dir
    c.Spawner.cmd = [settings.python, "-m", "jupyterhub.singleuser"]
    c.Spawner.default_url = "/lab"
    c.Spawner.environment = dict(settings.workspace_environment)
    c.JupyterHub.implicit_spawn_seconds = 0.2  # "My notebook" starts a workspace that does not run, without asking
    c.Spawner.start_timeout = 120
    c.Spawner.http_timeout = 60
    c.Spawner.poll_interval = 5
    c.LocalProcessSpawner.interrupt_timeout = 15  # its kernels save what they hold before they end (workspace_config)
    c.LocalProcessSpawner.term_timeout = 5
    if os.geteuid() == 0 and not settings.system_users:
        c.Spawner.args = ["--allow-root"]
