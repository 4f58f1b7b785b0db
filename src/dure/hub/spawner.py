"""Starts a person's JupyterLab: CPU only, with `%%gpu` ready, under one shared account or under one of their own.

Touches homes under `<state>/homes` and, with --system-users, the machine's accounts. Trap: a process id alone
is not a process. After a crash the Hub's database may name an id that somebody else has by now, so its start
time is kept, too.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner, set_user_setuid
from tornado import web
from traitlets import Unicode

from dure.adapters.processes import start_ticks
from dure.hub import accounts, system_users

# No GPU may be visible in a workspace: GPUs are leased per cell, and the lease is what makes them fair.
NO_GPU = {
    "CUDA_VISIBLE_DEVICES": "",
    "NVIDIA_VISIBLE_DEVICES": "void",
    "ROCR_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
}
STARTUP = Path(__file__).with_name("kernel_startup.py")
# No news and updates from the internet, and kernels' ports encrypted: every account of the machine can connect to them,
# and a kernel's outputs go to whoever does. Terminals are no login shells: Debian's /etc/profile would take `dure` and
# the kernels' Python from $PATH. A person's own configuration still counts more.
LAB_CONFIG = Path(__file__).with_name("workspace_config")


class WorkspaceSpawner(LocalProcessSpawner):
    """What both kinds of workspace share: the environment and the check of recovered processes."""

    state_dir = Unicode(help="Dure's state folder.").tag(config=True)

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace: the Hub's kept part, ours on top, no GPU."""
        env: dict[str, str] = super().get_env()
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        return (
            env
            | NO_GPU
            | {
                "DURE_WORKSPACE": "1",
                "PYTHONSTARTUP": str(STARTUP),
                "JUPYTER_CONFIG_PATH": str(LAB_CONFIG),
            }
        )

    async def _signal(self, sig: int) -> bool:
        """Send SIGTERM where JupyterHub begins with SIGINT: without a terminal a Jupyter server dies of it at once,
        and its kernels with it, before they could save.
        """
        exists: bool = await super()._signal(signal.SIGTERM if sig == signal.SIGINT else sig)
        return exists

    def get_state(self) -> dict[str, Any]:
        """Keep the start time beside the process id."""
        state: dict[str, Any] = super().get_state()
        if self.pid:
            state["start_ticks"] = start_ticks(self.pid)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take a recorded process over only when it still is the same one."""
        super().load_state(state)
        if self.pid and state.get("start_ticks") != start_ticks(self.pid):
            self.clear_state()


class SharedAccountSpawner(WorkspaceSpawner):
    """All workspaces under the account that started Dure, each with a home folder of its own. No isolation."""

    def make_preexec_fn(self, name: str) -> Callable[[], None]:  # noqa: ARG002 - the Hub's signature
        """Return what makes the new process begin in its home."""
        home = self.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return lambda: os.chdir(home)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Set the home and the name."""
        return env | {"USER": self.user.name, "HOME": str(self.home), "SHELL": os.environ.get("SHELL", "/bin/bash")}

    @property
    def home(self) -> Path:
        """The home folder."""
        return system_users.shared_home(Path(self.state_dir), self.user.name)


class SystemUserSpawner(WorkspaceSpawner):
    """Each workspace under an account of the person's own, made when it is first needed."""

    person: system_users.SystemUser | None = None

    async def start(self) -> tuple[str, int]:
        """Make sure of the account, then start; the page says in one sentence why an account is refused."""
        folder = Path(self.state_dir)
        known = accounts.read_members(folder).teams
        teams = {group.name for group in self.user.groups} | set(accounts.teams_of(folder, self.user.name))
        try:
            self.person = system_users.ensure(self.user.name, folder, teams & set(known))
        except (system_users.SystemUserError, OSError) as error:
            refused: Any = web.HTTPError(500, str(error))
            refused.jupyterhub_message = str(error)
            raise refused from error
        address: tuple[str, int] = await super().start()
        return address

    def make_preexec_fn(self, name: str) -> Callable[[], None]:  # noqa: ARG002 - the Hub's signature
        """Return what turns the new process into the person's, with their groups and no others."""
        assert self.person is not None
        become: Callable[[], None] = set_user_setuid(self.person.account)

        def preexec() -> None:
            become()
            os.umask(0o077)

        return preexec

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Set the account's home and name."""
        assert self.person is not None
        names = {"USER": self.person.account, "LOGNAME": self.person.account}
        return env | names | {"HOME": str(self.person.home), "SHELL": "/bin/bash"}
