"""What JupyterHub's own scripts write on its pages, in Korean: the page of people, and what its dialogs say.

`page.html` says them where they appear. The trap: JupyterHub keeps these sentences in its scripts, in English only;
tests/hub/test_pages.py finds each there, so that another version of it shows what is to be said anew.
"""

from __future__ import annotations

from collections.abc import Mapping

# {n} is a number.
KOREAN: Mapping[str, str] = {
    "Start All": "모두 시작",
    "Start all default servers on the current page": "이 페이지의 작업 공간을 모두 시작합니다",
    "Stop All": "모두 중지",
    "Stop all servers including named servers on the current page": "이 페이지의 작업 공간을 모두 중지합니다",
    "Shutdown Hub": "허브 종료",
    "Search Users": "사용자 검색",
    "user-search": "사용자 검색",
    "Only Active Servers": "실행 중인 것만",
    "check to only show running servers, otherwise show all": "실행 중인 작업 공간만 표시합니다",
    "User": "사용자",
    "Server": "작업 공간",
    "Last Activity": "마지막 활동",
    "Server Start Time": "시작 시각",
    "Profile": "프로필",
    "Actions": "작업",
    "Never": "없음",
    "Start Server": "시작",
    "Stop Server": "중지",
    "Delete Server": "삭제",
    "Server is pending": "준비 중",
    "Spawn Page": "시작 페이지",
    "Access Server": "열기",
    "Edit User": "편집",
    "Editing user": "사용자 편집:",
    "updated username": "새 사용자 이름",
    "Admin": "관리자",
    "Apply": "적용",
    "Back": "뒤로",
    "Delete user": "사용자 삭제",
    "Displaying": "표시:",
    "of {n}": "/ {n}",
    "Previous": "이전",
    "Next": "다음",
    "Items per page:": "페이지당 항목 수:",
    "pagination-limit": "페이지당 항목 수",
    "{n} seconds ago": "{n}초 전",
    "{n} minutes ago": "{n}분 전",
    "{n} hours ago": "{n}시간 전",
    "{n} days ago": "{n}일 전",
    "{n} months ago": "{n}개월 전",
    "{n} years ago": "{n}년 전",
    "Failed to start {n} server. Is it  already running?": "{n}개를 시작하지 못했습니다. 이미 실행 중인가요?",
    "Failed to start {n} servers. Are they  already running?": "{n}개를 시작하지 못했습니다. 이미 실행 중인가요?",
    "Failed to start servers.": "작업 공간을 시작하지 못했습니다.",
    "Failed to stop {n} server. Is it  already stopped?": "{n}개를 중지하지 못했습니다. 이미 중지되었나요?",
    "Failed to stop {n} servers. Are they  already stopped?": "{n}개를 중지하지 못했습니다. 이미 중지되었나요?",
    "Failed to stop servers.": "작업 공간을 중지하지 못했습니다.",
    "Failed to start server.": "작업 공간을 시작하지 못했습니다.",
    "Failed to stop server.": "작업 공간을 중지하지 못했습니다.",
    "Failed to update user list.": "사용자 목록을 새로 고치지 못했습니다.",
    "Could not update users list.": "사용자 목록을 새로 고치지 못했습니다.",
    "Failed to edit user.": "사용자를 편집하지 못했습니다.",
    "Error": "오류",
    "OK": "확인",
    "Close": "닫기",
    "Toggle navigation": "메뉴",
}
