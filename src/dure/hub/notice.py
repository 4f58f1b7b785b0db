"""The plain sentence about what separates the people on this platform, in every language that Dure speaks.

Shown by `dure up` at start and by the portal. Trap: it must stay true; whoever changes the spawner changes it here.
"""

from __future__ import annotations

from typing import Literal

Isolation = Literal["accounts", "shared", "shared-root"]

SENTENCES: dict[str, dict[Isolation, str]] = {
    "en": {
        "accounts": "Each person's workspace runs under an operating-system account of its own.",
        "shared": (
            "All workspaces share one operating-system account: everyone here can read and change everyone else's"
            " files and programs. For a group that trusts each other only."
            " For real separation: sudo dure up --system-users"
        ),
        "shared-root": (
            "All workspaces share the root account of this machine: everyone here can read and change everything on it."
            " For trying out, or for people who have root anyway. For real separation: dure up --system-users"
        ),
    },
    "ko": {
        "accounts": "각 사용자의 작업 공간은 자기만의 운영체제 계정으로 실행됩니다.",
        "shared": (
            "모든 작업 공간이 운영체제 계정 하나를 함께 씁니다."
            " 누구나 다른 사람의 파일과 프로그램을 읽고 바꿀 수 있으니"
            " 서로 믿는 그룹에서만 쓰세요. 실제로 분리하려면: sudo dure up --system-users"
        ),
        "shared-root": (
            "모든 작업 공간이 이 컴퓨터의 root 계정을 함께 씁니다."
            " 누구나 이 컴퓨터의 모든 것을 읽고 바꿀 수 있으니"
            " 시험용이거나 이미 root 권한이 있는 사람끼리만 쓰세요. 실제로 분리하려면: dure up --system-users"
        ),
    },
}


def isolation_of(*, system_users: bool, root: bool) -> Isolation:
    """Return what separates workspaces, from how the platform was started."""
    if system_users:
        return "accounts"
    return "shared-root" if root else "shared"


def isolation_notice(lang: str, isolation: Isolation) -> str:
    """Return the sentence in `lang` (`en`, `ko`, or a tag such as `ko-KR`); English where the language is unknown."""
    return SENTENCES.get(lang.lower()[:2], SENTENCES["en"])[isolation]
