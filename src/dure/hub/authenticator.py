"""Local sign-in: one-time links, passwords, and groups that follow the teams of the platform file.

Touches the account file only (dure.hub.accounts). Trap: opening a link does not spend it; the page that it
shows posts it back. So a chat program that previews links, or a browser that loads pages ahead, cannot use up
somebody's invitation.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers.base import BaseHandler
from tornado import web
from traitlets import Unicode, default

from dure.hub import accounts

# Each scrypt takes 32 MiB and a core: more people than this at once wait for each other.
HASHES_AT_ONCE = 2


class DureAuthenticator(Authenticator):
    """Signs in members of the platform file and invited people, by one-time link or by password."""

    state_dir = Unicode(help="Dure's state folder, where the account file is.").tag(config=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    @default("manage_groups")  # type: ignore[untyped-decorator, unused-ignore]
    def _groups_follow_teams(self) -> bool:
        return True

    @default("auth_refresh_strict")  # type: ignore[untyped-decorator, unused-ignore]
    def _removed_means_out(self) -> bool:
        return True

    def check_allow_config(self) -> None:
        """Accept the configuration as it is: who may enter is in the account and platform files, not in traits."""

    async def authenticate(self, handler: Any, data: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Return the Hub's model of who this link or password signs in, or None."""
        if "link_token" in data:
            name = accounts.use_link(self.folder, data["link_token"])
            return None if name is None else self.auth_model(name)
        name = self.normalize_username(data.get("username", ""))
        wait_s = accounts.begin_attempt(self.folder, name)
        if wait_s > 0:
            minutes = math.ceil(wait_s / 60)
            raise web.HTTPError(
                429,
                f"Too many wrong passwords. Wait {minutes} min, or ask an administrator for a new sign-in link"
                " (dure user add NAME).",
            )
        # scrypt takes a core for a fifth of a second: in a thread, the Hub goes on serving the others.
        async with self.hashing:
            right = await asyncio.to_thread(accounts.verify, self.folder, name, data.get("password", ""))
        return self.auth_model(name) if right else None

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:  # noqa: ARG002
        """Return whether the person is a member of a team or was invited."""
        return accounts.may_enter(self.folder, username)

    async def refresh_user(self, user: Any, handler: Any = None) -> dict[str, Any] | bool:  # noqa: ARG002
        """Return the person's groups and rights as they are now, or False for somebody who is no longer let in."""
        if not accounts.may_enter(self.folder, user.name):
            return False
        return self.auth_model(user.name)

    def auth_model(self, name: str) -> dict[str, Any]:
        """Return what the Hub keeps of a person."""
        account = accounts.find(self.folder, name)
        return {
            "name": name,
            "admin": bool(account and account.admin) or name in accounts.read_members(self.folder).admins,
            "groups": accounts.teams_of(self.folder, name),
        }

    def get_handlers(self, app: Any) -> list[tuple[str, type[BaseHandler]]]:
        """Add the pages for links and passwords to the Hub's own login page."""
        return [*super().get_handlers(app), (r"/link", LinkHandler), (r"/password", PasswordHandler)]

    @property
    def folder(self) -> Path:
        """The state folder."""
        return Path(self.state_dir)


class PageHandler(BaseHandler):
    """What the two pages share: no traces of secrets in other places."""

    async def show(self, template: str, *, status: int = 200, **about: Any) -> None:
        """Write one of our templates."""
        self.set_status(status)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        chars = accounts.PASSWORD_CHARS_MIN
        self.finish(await self.render_template(template, chars=chars, no_spawner_check=True, **about))


class LinkHandler(PageHandler):
    """`/hub/link?token=…`: asks the browser to post the token back at once, and then signs in."""

    async def get(self) -> None:
        """Show whom the link signs in, with a form that sends itself; the link is not spent yet."""
        token = self.get_query_argument("token", "")
        user = accounts.link_user(self.authenticator.folder, token)
        if user is None:
            await self.refuse()
        else:
            await self.show("link.html", link_user=user, token=token)

    async def post(self) -> None:
        """Spend the link and sign its person in, whoever was signed in here before."""
        user = await self.login_user({"link_token": self.get_body_argument("token", "")})
        if user is None:
            await self.refuse()
            return
        self._jupyterhub_user = user
        self.redirect(self.get_next_url(user))

    async def refuse(self) -> None:
        """Say that the link is of no use, and what is."""
        await self.show("link.html", status=403, link_user="", token="")


class PasswordHandler(PageHandler):
    """`/hub/password`: a signed-in person sets their own password."""

    @web.authenticated
    async def get(self) -> None:
        """Show the form."""
        await self.show("password.html", user=self.current_user, problem="", saved=False)

    @web.authenticated
    async def post(self) -> None:
        """Take the new password, typed twice."""
        first, second = (self.get_body_argument(name, "", strip=False) for name in ("password", "again"))
        problem = ""
        if first != second:
            problem = "differ"
        else:
            try:
                name = self.current_user.name
                async with self.authenticator.hashing:
                    await asyncio.to_thread(accounts.set_password, self.authenticator.folder, name, first)
            except accounts.AccountError as error:
                problem = str(error)
        await self.show(
            "password.html",
            status=400 if problem else 200,
            user=self.current_user,
            problem=problem,
            saved=not problem,
        )
