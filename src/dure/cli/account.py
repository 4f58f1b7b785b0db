"""`dure login | logout | whoami`: which platform this account talks to, and as whom.

The trap: a token on the command line is seen by other people's `ps`, so it is asked for when it is not given.
"""

from __future__ import annotations

import sys

import click

from dure.cli.telling import AS_JSON, connect, lang_of, option, print_json, say, warn
from dure.client.config import Login, config_path, forget_login, save_login
from dure.client.errors import DureError, failure

_HUB_PATH = "/services/dure"


@click.command()
@click.argument("url", metavar="URL")
@option(
    "--token",
    en="The token; '-' reads it from stdin (asked for when left out).",
    ko="토큰. '-'는 표준 입력에서 읽음(생략하면 물어봄)",
)
@AS_JSON
@click.pass_context
def login(ctx: click.Context, url: str, token: str | None, *, as_json: bool) -> None:
    """Remember a platform and a token."""
    lang = lang_of(ctx)
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    url = _found(url.removesuffix("/api"), lang)
    place = f"{url.removesuffix(_HUB_PATH)}/hub/token" if url.endswith(_HUB_PATH) else "`dure up`"
    if token == "-":  # noqa: S105 - a dash means stdin
        token = sys.stdin.readline().strip()
    if not token:
        warn(f"{place}에 나오는 토큰을 붙여 넣으세요." if lang == "ko" else f"Paste the token that {place} shows.")
        token = click.prompt("Token", hide_input=True, err=True)
    from dure.client import Client

    with Client(Login(url, str(token), "file"), lang=lang, retry_s=2) as client:
        try:
            me = client.me()
        except DureError as error:
            if error.code != "not_signed_in":
                raise
            raise failure("token_refused", lang, url=url, place=place) from None
    path = save_login(url, str(token))
    if as_json:
        print_json({"url": url, "file": str(path), **me.model_dump(mode="json")})
        return
    say(f"{me.name}(으)로 로그인했습니다: {url}" if lang == "ko" else f"Signed in to {url} as {me.name}.")


@click.command()
@click.pass_context
def logout(ctx: click.Context) -> None:
    """Forget platform and token."""
    korean = lang_of(ctx) == "ko"
    if forget_login():
        click.echo("로그인 정보를 지웠습니다." if korean else f"Forgotten: {config_path()}")
    else:
        warn("저장된 로그인이 없습니다." if korean else "There was no login to forget.")


@click.command()
@AS_JSON
@click.pass_context
def whoami(ctx: click.Context, *, as_json: bool) -> None:
    """Show who you are and where."""
    lang = lang_of(ctx)
    client = connect(ctx, retry_s=2)
    known, me = client.login, client.me()
    if as_json:
        print_json({"url": known.url, "source": known.source, **me.model_dump(mode="json")})
        return
    korean = lang == "ko"
    admin = ("관리자" if korean else "administrator") if me.admin else ""
    teams = ", ".join(me.teams) or ("팀 없음" if korean else "no team")
    say("  ".join(part for part in (me.name, admin, teams, known.url) if part))


def _found(url: str, lang: str) -> str:
    """Return where the control plane is: at `url`, or behind the Hub that answers there."""
    from dure.client import Client

    first: DureError | None = None
    for candidate in (url, url + _HUB_PATH):
        try:
            with Client(Login(candidate, "", "file"), lang=lang, retry_s=0, timeout_s=10) as client:
                client.health()
        except DureError as error:
            first = first or error
        else:
            return candidate
    assert first is not None
    raise first
