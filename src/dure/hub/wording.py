"""What the Hub's pages say, in English and Korean: ours, and those of JupyterHub that people meet on their way.

The trap: JupyterHub hands templates no request; its `static_url` is a method of the handler, which has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from dure.hub import notice, theirs
from dure.wire.language import LANGUAGE_COOKIE, chosen_language

TEXTS: Mapping[str, tuple[str, str]] = {
    "portal": ("Queue and GPUs", "대기열과 GPU"),
    "notebook": ("My notebook", "내 노트북"),
    "workspaces": ("Workspaces", "작업 공간"),
    "token": ("Tokens", "토큰"),
    "admin": ("People", "사용자 관리"),
    "password": ("Password", "비밀번호"),
    "sign_in": ("Sign in", "로그인"),
    "sign_in_with": ("Sign in with {service}", "{service}(으)로 로그인"),
    "sign_out": ("Sign out", "로그아웃"),
    "signed_out": (
        "You are signed out. Your workspace and your jobs go on.",
        "로그아웃했습니다. 작업 공간과 작업은 계속됩니다.",
    ),
    "colours": ("Light or dark", "밝게 또는 어둡게"),
    "username": ("Username", "사용자 이름"),
    "wrong": ("Name or password is wrong.", "이름 또는 비밀번호가 맞지 않습니다."),
    "no_password": (
        "No password yet, or forgotten? An administrator makes a sign-in link: dure user add NAME",
        "비밀번호가 없거나 잊었다면 관리자에게 로그인 링크를 요청하세요: dure user add NAME",
    ),
    "insecure": (
        "This page is not encrypted: on a network that others use, too, ask for an https address.",
        "암호화되지 않은 페이지입니다. 다른 사람도 쓰는 네트워크라면 https 주소를 요청하세요.",
    ),
    "stopped": ("Your workspace is not running", "작업 공간이 실행 중이 아닙니다"),
    "starts_itself": (
        "It starts by itself now; what your notebooks held comes back with their first cells.",
        "지금 저절로 시작됩니다. 노트북의 변수는 첫 셀을 실행하면 복원됩니다.",
    ),
    "failed": ("Your workspace did not start", "작업 공간을 시작하지 못했습니다"),
    "failed_ask": (
        "Try again; when it fails again, show an administrator this sentence:",
        "다시 시도하세요. 또 실패하면 관리자에게 다음 문장을 보여 주세요:",
    ),
    "failed_log": (
        "Try again; when it fails again, ask an administrator: log/hub.log in Dure's folder says why.",
        "다시 시도하세요. 또 실패하면 관리자에게 문의하세요. 이유는 Dure 폴더의 log/hub.log에 있습니다.",
    ),
    "start": ("Start my workspace", "작업 공간 시작"),
    "open": ("Open my notebook", "내 노트북 열기"),
    "stop": ("Stop my workspace", "작업 공간 중지"),
    "starting": ("Your workspace is starting …", "작업 공간을 시작하는 중 …"),
    "starting_on": ("This page goes on by itself when it is ready.", "준비되면 저절로 넘어갑니다."),
    "stopping": ("Your workspace is stopping …", "작업 공간을 중지하는 중 …"),
    "stopping_on": (
        "It saves what your notebooks hold first. This page looks again every 5 seconds.",
        "노트북의 변수를 먼저 저장합니다. 이 페이지는 5초마다 다시 확인합니다.",
    ),
    "look_again": ("Look again", "다시 확인"),
    "not_found": ("There is no such page", "그런 페이지가 없습니다"),
    "not_found_why": (
        "The address may be mistyped, or what it showed is gone.",
        "주소가 잘못되었거나 더 이상 없는 페이지입니다.",
    ),
    "token_what": (
        "With a token, another computer or a program acts in your name: type the line that appears there.",
        "토큰이 있으면 다른 컴퓨터나 프로그램이 내 이름으로 작업합니다. 나타나는 명령을 그곳에서 실행하세요.",
    ),
    "token_note": ("What it is for", "용도"),
    "token_note_example": ("my laptop", "내 노트북 컴퓨터"),
    "token_expires": ("Valid for", "유효 기간"),
    "hour": ("1 hour", "1시간"),
    "day": ("1 day", "1일"),
    "week": ("1 week", "7일"),
    "month": ("30 days", "30일"),
    "year": ("1 year", "1년"),
    "for_ever": ("no limit", "제한 없음"),
    "token_scopes": (
        "Only some rights (JupyterHub scopes, with spaces between)",
        "일부 권한만 (JupyterHub 스코프, 공백으로 구분)",
    ),
    "token_make": ("Make a token", "토큰 만들기"),
    "token_new": ("Your new token", "새 토큰"),
    "token_once": (
        "It is shown only this once. On the other computer, type:",
        "지금 한 번만 보입니다. 다른 컴퓨터에서 실행하세요:",
    ),
    "token_yours": ("Your tokens", "내 토큰"),
    "token_signed_in": ("Where you are signed in", "로그인된 곳"),
    "token_rights": ("Rights", "권한"),
    "token_used": ("Last used", "마지막 사용"),
    "token_made": ("Made", "만든 때"),
    "token_ends": ("Ends", "만료"),
    "token_revoke": ("Revoke", "폐기"),
    "token_of_workspace": ("Workspace ", "작업 공간 "),
    "never": ("never", "없음"),
    "details": ("Details", "자세히"),
    "invite": (
        "Administrators are in platform.yaml. To invite people, type on the machine itself:",
        "관리자는 platform.yaml에 적습니다. 사용자를 초대하려면 서버에서 직접 실행하세요:",
    ),
    "link_title": ("Sign in to Dure", "Dure 로그인"),
    "link_go": ("Sign in as {user}", "{user}(으)로 로그인"),
    "link_spent": (
        "This link has been used, or is too old. Each link works once.",
        "이미 사용했거나 기한이 지난 링크입니다. 링크는 한 번만 쓸 수 있습니다.",
    ),
    "link_again": (
        "Ask an administrator for a new one, or on the machine itself type: dure user add NAME",
        "관리자에게 새 링크를 요청하거나, 서버에서 직접 입력하세요: dure user add NAME",
    ),
    "login": ("Sign in with a password", "비밀번호로 로그인"),
    "password_title": ("Your password", "비밀번호"),
    "password_why": (
        "With a password you can sign in from any browser, without a link.",
        "비밀번호를 정하면 링크 없이 어느 브라우저에서나 로그인할 수 있습니다.",
    ),
    "password_new": ("New password (at least {chars} characters)", "새 비밀번호 ({chars}자 이상)"),
    "password_again": ("The same again", "한 번 더 입력"),
    "password_differ": ("The two are not the same. Type both again.", "두 비밀번호가 다릅니다. 다시 입력하세요."),
    "password_save": ("Save the password", "비밀번호 저장"),
    "password_saved": (
        "Saved. From now on, sign in with your name and this password.",
        "저장했습니다. 이제 이름과 이 비밀번호로 로그인하세요.",
    ),
}


def template_vars(base_url: str, *, system_users: bool) -> dict[str, Any]:
    """Return what the Hub's templates get: `texts(static_url)` in the reader's language, and the portal's address."""
    isolation = notice.isolation_of(system_users=system_users, root=os.geteuid() == 0)

    def texts(static_url: Callable[..., str]) -> dict[str, Any]:
        request = static_url.__self__.request  # type: ignore[attr-defined]
        cookie = request.cookies.get(LANGUAGE_COOKIE)
        lang = chosen_language(cookie.value if cookie else None, request.headers.get("Accept-Language", ""))
        own = {key: korean if lang == "ko" else english for key, (english, korean) in TEXTS.items()}
        said = theirs.KOREAN if lang == "ko" else theirs.ENGLISH
        return {**own, "lang": lang, "isolation": notice.isolation_notice(lang, isolation), "theirs": said}

    return {"texts": lambda _user: texts, "portal_url": f"{base_url}services/dure/"}  # the Hub calls each with the user
