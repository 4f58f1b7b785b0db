"""The sentences of sessions in English and Korean.

The trap: every key needs both languages (tests/notebook checks it), and a sentence says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.notebook import session
from dure.wire.retold import retold

SENTENCES: Mapping[str, tuple[str, str]] = {
    "restored": (
        "Restored {count} variables of {name} as of {at} (version {number}, {size}).",
        "{name}의 변수 {count}개를 {at} 상태로 복원했습니다(버전 {number}, {size}).",
    ),
    "restored_one": (
        "Restored 1 variable of {name} as of {at} (version {number}, {size}).",
        "{name}의 변수 1개를 {at} 상태로 복원했습니다(버전 {number}, {size}).",
    ),
    "restored_nothing": (
        "{name} was opened again; version {number} of {at} held no variables.",
        "{name}을(를) 다시 열었습니다. {at}에 저장된 버전 {number}에는 변수가 없습니다.",
    ),
    "later": (
        "Still being read: {names} ({size}); a cell that names one waits for it.",
        "아직 읽는 중: {names}({size}). 이 변수를 쓰는 셀은 다 읽을 때까지 기다립니다.",
    ),
    "reading": (
        "Reading {names}: {done} of {size}. Interrupting the kernel gives up this cell, not the variable.",
        "{names} 읽는 중: {size} 중 {done}. 커널을 중단하면 이 셀만 취소되고 변수는 계속 읽습니다.",
    ),
    "read": (
        "Waited {seconds} s until {names} had been read ({size}).",
        "{names}({size})을(를) 읽는 동안 {seconds}초 기다렸습니다.",
    ),
    "late_lost": (
        "Not restored: {names}. `%session restore @{number} {first}` tries again.",
        "복원하지 못한 변수: {names}. `%session restore @{number} {first}`로 다시 시도하세요.",
    ),
    "asked_unseen": (
        "{name} was still being read when this cell looked it up: run the cell again.",
        "이 셀이 {name}을(를) 찾을 때 아직 읽는 중이었습니다. 셀을 다시 실행하세요.",
    ),
    "lost": (
        "Not restored: {names}.",
        "복원하지 못한 변수: {names}.",
    ),
    "damaged_later": (
        "Damaged in the store, do not use: {names}. `%session list` shows versions to restore instead.",
        "저장소에서 손상되어 사용하면 안 되는 변수: {names}. `%session list`에서 대신 복원할 버전을 고르세요.",
    ),
    "lost_one": ("{name} ({cell}{reason})", "{name}({cell}{reason})"),
    "lost_cell": ("cell {cell}: ", "셀 {cell}: "),
    "rerun_offer": (
        "`%session rerun` runs only cell {cells} again.",
        "`%session rerun`을 실행하면 셀 {cells}만 다시 실행합니다.",
    ),
    "rerun_offer_many": (
        "`%session rerun` runs only cells {cells} again.",
        "`%session rerun`을 실행하면 셀 {cells}만 다시 실행합니다.",
    ),
    "moved": ("The environment is another one: {differences}.", "환경이 바뀌었습니다: {differences}."),
    "moved_back": (
        "Version {number} still has what this environment cannot load: `%session restore @{number}` in the former one.",
        (
            "이 환경에서 불러오지 못한 변수는 버전 {number}에 남아 있습니다. "
            "이전 환경에서 `%session restore @{number}`를 실행하세요."
        ),
    ),
    "extras_lost": ("Not put back: {names}.", "되돌리지 못한 항목: {names}."),
    "fresh": (
        "The kernel was restarted, so it begins empty. `%session restore @{number}` brings back {name} as of {at}.",
        "커널을 다시 시작하여 비어 있습니다. `%session restore @{number}`로 {name}의 {at} 상태를 복원할 수 있습니다.",
    ),
    "late": (
        "The platform has not answered yet, so nothing is restored yet: run another cell in a moment.",
        "플랫폼이 아직 응답하지 않아 복원하지 못했습니다. 잠시 후 다른 셀을 실행하세요.",
    ),
    "late_found": (
        "What {name} held is found only now: it comes back with the next cell that you run.",
        "{name}의 저장된 상태를 지금 찾았습니다. 다음 셀을 실행하면 복원합니다.",
    ),
    "restore_failed": (
        "The session of {name} could not be restored ({reason}): `%session restore` tries again.",
        "{name}의 세션을 복원하지 못했습니다({reason}). `%session restore`로 다시 시도하세요.",
    ),
    "not_saved_names": (
        "Not saved in the session: {names}.",
        "세션에 저장되지 않는 변수: {names}.",
    ),
    "not_saved": (
        "The session is not being saved: {reason}",
        "세션을 저장하지 못하고 있습니다: {reason}",
    ),
    "saved": (
        "Saved as version {number} of {name}: {count} variables, {size}.",
        "{name}의 버전 {number}(으)로 저장했습니다. 변수 {count}개, {size}.",
    ),
    "saved_here": (
        "Saved on this machine: {count} variables, {size}. The platform is told of it when it answers again.",
        "이 컴퓨터에 저장했습니다. 변수 {count}개, {size}. 플랫폼이 다시 응답하면 전송합니다.",
    ),
    "status": (
        "{name}: version {number}, saved {at}; kept for {days} days after its last use.",
        "{name}: 버전 {number}, {at} 저장. 마지막 사용 후 {days}일 동안 보관합니다.",
    ),
    "status_none": (
        "{name}: nothing is saved yet; it is saved after the next cell.",
        "{name}: 아직 저장된 것이 없습니다. 다음 셀을 실행하면 저장합니다.",
    ),
    "no_name": (
        "This kernel belongs to no notebook that is known here, so nothing is saved: `%session on NAME` begins.",
        "이 커널의 노트북을 알 수 없어 저장하지 않습니다. `%session on NAME`으로 시작하세요.",
    ),
    "is_off": (
        "Saving is off for {name}: `%session on` switches it on.",
        "{name}의 저장이 꺼져 있습니다. `%session on`으로 켤 수 있습니다.",
    ),
    "switched_on": ("{name} is saved after each cell from now on.", "이제 셀을 실행할 때마다 {name}을(를) 저장합니다."),
    "switched_off": (
        (
            "{name} is no longer saved, nor restored when it is opened again. What is saved stays: "
            "`dure sessions delete {name}` deletes it."
        ),
        (
            "이제 {name}을(를) 저장하지 않으며 다시 열어도 복원하지 않습니다. 저장된 내용은 남아 있으며 "
            "`dure sessions delete {name}`으로 삭제할 수 있습니다."
        ),
    ),
    "platform_off": (
        "Sessions are switched off on this platform; an administrator sets `sessions: save: true` in platform.yaml.",
        "이 플랫폼에서는 세션 저장이 꺼져 있습니다. 관리자가 platform.yaml에 `sessions: save: true`를 넣어야 합니다.",
    ),
    "undone": (
        "Undid {cells}: {names}. Files and everything else outside the notebook are as they are.",
        "{cells}을(를) 되돌렸습니다: {names}. 파일 등 노트북 밖의 변경은 되돌리지 않습니다.",
    ),
    "undone_cell": ("cell {first}", "셀 {first}"),
    "undone_cells": ("cells {first} to {last}", "셀 {first}–{last}"),
    "nothing_to_undo": (
        "No earlier version holds anything else, so there is nothing to undo.",
        "이전 버전과 다른 점이 없어 되돌릴 것이 없습니다.",
    ),
    "nothing_lost": (
        "Nothing is missing, so there is nothing to run again.",
        "빠진 변수가 없어 다시 실행할 셀이 없습니다.",
    ),
    "rerunning": ("Running cell {cell} again:", "셀 {cell}을(를) 다시 실행합니다:"),
    "rerun_back": ("There again: {names}.", "다시 만든 변수: {names}."),
    "rerun_anew": (
        "What else these cells set was set anew: {names}. `%session undo` brings back what was restored.",
        "이 셀들이 다른 변수도 새로 설정했습니다: {names}. 복원한 값은 `%session undo`로 되돌릴 수 있습니다.",
    ),
    "forked": (
        "Version {number} is kept as the session {fork}, too: `%session restore {fork}` brings it back.",
        "버전 {number}을(를) {fork} 세션으로도 저장했습니다. `%session restore {fork}`로 복원할 수 있습니다.",
    ),
    "fork_taken": (
        "You have a session {fork} already: take another name, or `dure sessions delete {fork}` first.",
        "{fork} 세션이 이미 있습니다. 다른 이름을 쓰거나 먼저 `dure sessions delete {fork}`로 삭제하세요.",
    ),
    "not_in_version": (
        "Version {number} does not hold {names}.",
        "버전 {number}에 없는 변수: {names}.",
    ),
    "forked_away": (
        "This kernel is saved as the session {fork} from now on: `%session restore {fork}` brings it back.",
        "이제 이 커널은 {fork} 세션으로 저장합니다. `%session restore {fork}`로 복원할 수 있습니다.",
    ),
    "shared": (
        "{people} of team {team} may read {name}: `%session restore {me}/{name}`.",
        "{team} 팀의 {people}님이 {name}을(를) 읽을 수 있습니다: `%session restore {me}/{name}`",
    ),
    "shared_all": (
        "Everyone in team {team} may read {name}: `%session restore {me}/{name}`.",
        "{team} 팀 전원이 {name}을(를) 읽을 수 있습니다: `%session restore {me}/{name}`",
    ),
    "unshared": ("Only you may read {name} now.", "이제 {name}은(는) 본인만 읽을 수 있습니다."),
    "trust_needed": (
        (
            "Loading what {user} saved runs code that {user} wrote, with your rights and in your name. If you trust "
            "{user}: `%session restore {reference} --trust {user}`"
        ),
        (
            "{user}님이 저장한 것을 불러오면 {user}님이 쓴 코드가 본인의 권한과 이름으로 실행됩니다. 신뢰한다면 "
            "`%session restore {reference} --trust {user}`를 실행하세요."
        ),
    ),
    "no_difference": (
        "Nothing differs between {before} and {after}.",
        "{before}과(와) {after} 사이에 다른 점이 없습니다.",
    ),
    "version_word": ("version {number} ({at})", "버전 {number}({at})"),
    "now_word": ("now", "현재"),
    "no_version_at": (
        "Nothing was saved before {at}: `%session list` shows the versions.",
        "{at} 이전에 저장된 버전이 없습니다. `%session list`로 버전을 확인하세요.",
    ),
    "no_session": (
        "Nothing of this notebook is saved: run a cell, or `%session list --all` shows other sessions.",
        "이 노트북은 저장된 것이 없습니다. 셀을 실행하거나 `%session list --all`로 다른 세션을 확인하세요.",
    ),
    "unknown_command": (
        "There is no `%session {command}`; there are: {choices}. `%session --help` explains them.",
        "`%session {command}`은(는) 없습니다. 사용할 수 있는 명령: {choices}. `%session --help`를 참고하세요.",
    ),
    "name_needed": (
        "Name it: `%session {command} NAME`.",
        "이름을 지정하세요: `%session {command} NAME`",
    ),
    "bad_time": (
        "{text!r} is neither a version's number nor a time such as 14:02.",
        "{text!r}은(는) 버전 번호도 14:02와 같은 시각도 아닙니다.",
    ),
    "saved_over": (
        "{dropped} older versions went to make room.",
        "공간을 확보하려고 이전 버전 {dropped}개를 삭제했습니다.",
    ),
    "title_versions": ("{name}: versions, newest first", "{name}: 버전(최신순)"),
    "title_sessions": ("Sessions", "세션"),
    "title_diff": ("From {before} to {after}", "{before} → {after}"),
    "none_yet": ("none yet", "아직 없음"),
    "column_version": ("version", "버전"),
    "column_at": ("saved", "저장"),
    "column_cell": ("cell", "셀"),
    "column_variables": ("variables", "변수"),
    "column_size": ("size", "크기"),
    "column_new": ("new", "추가"),
    "column_label": ("label", "이름표"),
    "column_session": ("session", "세션"),
    "column_name": ("name", "이름"),
    "column_owner": ("whose", "소유자"),
    "column_versions": ("versions", "버전 수"),
    "column_shared": ("shared with", "공유 대상"),
    "column_what": ("what", "내용"),
    "column_type": ("type", "형식"),
    "what_added": ("new", "추가"),
    "what_removed": ("gone", "삭제"),
    "what_changed": ("changed", "변경"),
    "what_lost": ("not saved", "저장 안 됨"),
    "from_version": ("from version {origin}", "버전 {origin}에서"),
    "everyone": ("the whole team", "팀 전체"),
}


def say(key: str, /, **data: Any) -> str:
    """Return the sentence `key` in the person's language; a `reason` is said in it, too."""
    chosen = session.language()
    english, korean = SENTENCES[key]
    if "reason" in data:
        data["reason"] = retold(str(data["reason"]), chosen)
    return (korean if chosen == "ko" else english).format(**data)
