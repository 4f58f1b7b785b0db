"""The sentences of sessions in English and Korean.

The trap: every key needs both languages (tests/notebook checks it), and a sentence says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.notebook.words import said

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
    "results_back": (
        "Results in `Out` again: {count}.",
        "`Out`에 다시 있는 결과: {count}개.",
    ),
    "held_earlier": (
        "The newest with variables is of {at}: `%session restore @{number}`.",
        "변수가 있는 가장 최근 버전은 {at}에 저장되었습니다: `%session restore @{number}`",
    ),
    "importing": (
        "Importing the packages that the variables of {name} need …",
        "{name}의 변수에 필요한 패키지를 불러오는 중 …",
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
    "of_modules": (
        "Belongs to a module: {names}.",
        "모듈의 객체인 변수: {names}.",
    ),
    "edited": (
        "Edited since: {module}, so its code as of now is what {names} has.",
        "저장 이후 {module}의 코드가 바뀌었습니다. {names}에는 지금의 코드가 적용됩니다.",
    ),
    "apart": (
        "Left as they are, now apart from the restored variables that they shared memory or objects with: {names}.",
        "복원한 변수와 메모리나 객체를 공유했지만 복원하지 않아 이제 따로인 변수: {names}.",
    ),
    "together": (
        "`%session restore {reference} {names}` restores them together.",
        "`%session restore {reference} {names}`를 실행하면 함께 복원합니다.",
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
    "ended_unsaved": (
        "Cell {cells} finished, but the kernel ended before its result was saved.",
        "셀 {cells}은(는) 끝났지만 결과를 저장하기 전에 커널이 종료되었습니다.",
    ),
    "ended_unsaved_many": (
        "Cells {cells} finished, but the kernel ended before their results were saved.",
        "셀 {cells}은(는) 끝났지만 결과를 저장하기 전에 커널이 종료되었습니다.",
    ),
    "ended_by_hand": (
        "Run cell {cells} again by hand: its code sets a secret or is too long to be noted.",
        "셀 {cells}은(는) 직접 다시 실행하세요. 비밀 값을 설정하거나 너무 길어 코드를 기록하지 않았습니다.",
    ),
    "moved": ("The environment is another one: {differences}.", "환경이 바뀌었습니다: {differences}."),
    "moved_back": (
        "What this environment cannot load stays saved: it is back when the notebook is opened in the former one.",
        "이 환경에서 불러오지 못한 변수는 저장된 채 남아 있으며, 이전 환경에서 노트북을 열면 복원됩니다.",
    ),
    "saved_like_here": (
        "An environment like this one saved them at {at}, as they were then: `%session restore @{number} {names}`.",
        "이와 같은 환경에서 {at}에 저장한 값이 있습니다. 그때의 값으로 복원: `%session restore @{number} {names}`",
    ),
    "extras_lost": ("Not put back: {names}.", "되돌리지 못한 항목: {names}."),
    "fresh": (
        "The kernel was restarted, so it begins empty. `%session restore @{number}` brings back {name} as of {at}.",
        "커널을 다시 시작하여 비어 있습니다. `%session restore @{number}`로 {name}의 {at} 상태를 복원할 수 있습니다.",
    ),
    "moved_from": (
        "Nothing is saved of {name}. If it is {before}, moved in a terminal: `%session restore {typed}`.",
        "{name}은(는) 저장된 것이 없습니다. 터미널에서 옮긴 {before}이라면 `%session restore {typed}`를 실행하세요.",
    ),
    "late": (
        "The platform has not answered yet, so nothing is restored yet: run another cell in a moment.",
        "플랫폼이 아직 응답하지 않아 복원하지 못했습니다. 잠시 후 다른 셀을 실행하세요.",
    ),
    "late_found": (
        "What {name} held is found only now: it comes back with the next cell that you run.",
        "{name}의 저장된 상태를 지금 찾았습니다. 다음 셀을 실행하면 복원합니다.",
    ),
    "not_opened": (
        (
            "What {name} held cannot be opened, so it is neither restored nor saved over; it is tried again every 30 "
            "seconds. Ask an administrator whether the blob key was changed, or begin anew: `%session on NAME`. "
            "({reason})"
        ),
        (
            "{name}에 저장된 상태를 열 수 없어 복원하지 않으며, 그 위에 새로 저장하지도 않습니다. 30초마다 다시 "
            "시도합니다. 관리자에게 블롭 키가 바뀌었는지 물어보거나 `%session on NAME`으로 새로 시작하세요. ({reason})"
        ),
    ),
    "key_changed": (
        (
            "{name} is neither restored nor saved: the platform was started with another blob key, and what is saved "
            "under it could not be opened when the former one is back. Ask an administrator to put that key back; it "
            "is tried again every 30 seconds."
        ),
        (
            "{name}을(를) 복원하지도 저장하지도 않습니다. 플랫폼이 다른 블롭 키로 시작되어, 지금 저장하면 이전 키로 "
            "돌아갔을 때 열 수 없기 때문입니다. 관리자에게 이전 키를 되돌려 달라고 하세요. 30초마다 다시 시도합니다."
        ),
    ),
    "damaged": (
        (
            "Version {number} cannot be read ({reason}), so what the cells after cell {cell} did is missing: run them "
            "again. It is kept for the administrator."
        ),
        (
            "버전 {number}을(를) 읽을 수 없어({reason}) 셀 {cell} 이후의 결과가 없습니다. 그 셀들을 다시 실행하세요. "
            "그 버전은 관리자를 위해 남겨 두었습니다."
        ),
    ),
    "damaged_same": (
        "Version {number} cannot be read ({reason}): this is the one before. It is kept for the administrator.",
        "버전 {number}을(를) 읽을 수 없어({reason}) 이전 버전을 복원했습니다. 그 버전은 관리자를 위해 남깁니다.",
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
    "would_be_lost": (
        (
            "Nothing was done, or what the last cell left would be lost (`%session off` gives that up). It is not "
            "saved yet: {reason}"
        ),
        (
            "아무것도 하지 않았습니다. 마지막 셀의 상태가 아직 저장되지 않아 사라지기 때문입니다(포기하려면 "
            "`%session off`). 저장되지 않은 이유: {reason}"
        ),
    ),
    "store_refuses": (
        "the store of values cannot be written ({problem}). It is tried again every 20 seconds.",
        "값 저장소에 쓸 수 없습니다({problem}). 20초마다 다시 시도합니다.",
    ),
    "store_away": (
        "{reason} It is tried again every 20 seconds.",
        "{reason} 20초마다 다시 시도합니다.",
    ),
    "away_at_opening": (
        (
            "What {name} held cannot be read now, so it is neither restored nor saved over; it is tried again every 30 "
            "seconds, and comes back with the next cell when that is over. {reason}"
        ),
        (
            "{name}에 저장된 상태를 지금 읽을 수 없어 복원하지 않으며, 그 위에 새로 저장하지도 않습니다. 30초마다 다시 "
            "시도하고, 읽을 수 있게 되면 다음 셀에서 복원합니다. {reason}"
        ),
    ),
    "home_refuses": (
        (
            "{where} cannot be written ({problem}): free some space in your home. Variables are saved on the platform "
            "all the same, but cells that finish right before a crash would be lost without being named."
        ),
        (
            "{where}에 쓸 수 없습니다({problem}). 홈 폴더의 공간을 확보하세요. 변수는 플랫폼에 계속 저장되지만, 비정상 "
            "종료 직전에 끝난 셀은 알림 없이 사라질 수 있습니다."
        ),
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
    "outputs_on": (
        "{name} is saved with `Out` and `_`, the results of its cells. `%session outputs off` ends that.",
        "{name}은(는) 셀의 결과인 `Out`과 `_`도 함께 저장합니다. `%session outputs off`로 끌 수 있습니다.",
    ),
    "outputs_off": (
        "{name} is saved without `Out` and `_`, the results of its cells. `%session outputs on` saves them, too.",
        "{name}은(는) 셀의 결과인 `Out`과 `_` 없이 저장합니다. `%session outputs on`으로 함께 저장할 수 있습니다.",
    ),
    "outputs_choice": (
        "`%session outputs` is followed by on or off, not by {word}.",
        "`%session outputs` 뒤에는 {word}이(가) 아니라 on이나 off를 쓰세요.",
    ),
    "switched_on": ("{name} is saved after each cell from now on.", "이제 셀을 실행할 때마다 {name}을(를) 저장합니다."),
    "switched_off": (
        (
            "{name} is no longer saved, nor restored when it is opened again. What is saved stays: "
            "`dure sessions delete {typed}` deletes it."
        ),
        (
            "이제 {name}을(를) 저장하지 않으며 다시 열어도 복원하지 않습니다. 저장된 내용은 남아 있으며 "
            "`dure sessions delete {typed}`로 삭제할 수 있습니다."
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
    "left_as_is": (
        "Not undone, since that cannot be saved: {names}.",
        "저장할 수 없어 되돌리지 않은 변수: {names}.",
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
        "Version {number} is kept as the session {fork}, too: `%session restore {typed}` brings it back.",
        "버전 {number}을(를) {fork} 세션으로도 저장했습니다. `%session restore {typed}`로 복원할 수 있습니다.",
    ),
    "fork_taken": (
        "You have a session {fork} already: take another name, or `dure sessions delete {typed}` first.",
        "{fork} 세션이 이미 있습니다. 다른 이름을 쓰거나 먼저 `dure sessions delete {typed}`로 삭제하세요.",
    ),
    "not_in_version": (
        "Version {number} does not hold {names}.",
        "버전 {number}에 없는 변수: {names}.",
    ),
    "forked_away": (
        "This kernel is saved as the session {fork} from now on: `%session restore {typed}` brings it back.",
        "이제 이 커널은 {fork} 세션으로 저장합니다. `%session restore {typed}`로 복원할 수 있습니다.",
    ),
    "shared": (
        "{name} is shared with {people}, who can read it while in team {team}: `%session restore {reference}`.",
        "{name}을(를) {people}님과 공유합니다. {team} 팀에 있는 동안 `%session restore {reference}`로 읽습니다.",
    ),
    "shared_all": (
        "Everyone in team {team} may read {name}: `%session restore {reference}`.",
        "{team} 팀 전원이 {name}을(를) 읽을 수 있습니다: `%session restore {reference}`",
    ),
    "unshared": ("Only you may read {name} now.", "이제 {name}은(는) 본인만 읽을 수 있습니다."),
    "unshared_some": ("{name} is still shared with {readers}.", "{name}은(는) 아직 {readers}와(과) 공유되어 있습니다."),
    "not_shared_with": (
        "{name} is not shared with {people}, but with {readers}.",
        "{name}은(는) {people}님과 공유되어 있지 않습니다. 공유 대상: {readers}.",
    ),
    "nobody": ("nobody", "없음"),
    "person_needed": (
        "Name a team mate, or the whole team: `%session share PERSON` or `%session share --team`.",
        "같은 팀의 다른 사람이나 팀 전체를 지정하세요: `%session share 사람` 또는 `%session share --team`",
    ),
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
    "no_version": (
        "{name} has no version {number} (any more), its newest is {newest}: `%session list` shows this notebook's.",
        "{name}에 버전 {number}이(가) 없습니다. 가장 최근은 {newest}입니다. 이 노트북의 버전: `%session list`",
    ),
    "no_session": (
        "Nothing of this notebook is saved: run a cell, or `%session list --all` shows other sessions.",
        "이 노트북은 저장된 것이 없습니다. 셀을 실행하거나 `%session list --all`로 다른 세션을 확인하세요.",
    ),
    "unknown_command": (
        "There is no `%session {command}`; there are: {choices}. `%session --help` explains them.",
        "`%session {command}`은(는) 없습니다. 사용할 수 있는 명령: {choices}. `%session --help`를 참고하세요.",
    ),
    "surplus_words": (
        (
            "`%session {command}` has no use for: {words}. Nothing was done; `%session --help` shows what it takes, "
            "and a name with spaces needs quotes."
        ),
        (
            "`%session {command}`에 쓸 수 없는 말입니다: {words}. 아무것도 하지 않았습니다. 사용법은 "
            "`%session --help`에 있으며, 공백이 있는 이름은 따옴표로 묶으세요."
        ),
    ),
    "neither_held": (
        (
            "Version {number} holds no variable {name}, and there is no session of that name. `%session list` shows "
            "the earlier versions: `%session restore @N {name}`."
        ),
        (
            "버전 {number}에 {name} 변수가 없고 그런 이름의 세션도 없습니다. `%session list`에서 이전 버전을 찾아 "
            "다음을 실행하세요: `%session restore @N {name}`"
        ),
    ),
    "held_nothing": (
        "Version {number} of {name} ({at}) holds no variables: nothing was restored.",
        "{name}의 버전 {number}({at})에는 변수가 없어 복원한 것이 없습니다.",
    ),
    "held_others": ("`%session list` shows the others.", "`%session list`에서 다른 버전을 고르세요."),
    "more_variables": (
        "{count} smaller variables are saved, too.",
        "그 밖에 더 작은 변수 {count}개도 저장되어 있습니다.",
    ),
    "on_existing": (
        (
            "{name} holds another kernel's variables, as version {number} ({at}), so nothing is saved until you "
            "choose: `%session restore @{number}` brings them here, `%session save` goes on with what is here; both "
            "keep the other."
        ),
        (
            "{name}에는 다른 커널의 변수가 버전 {number}({at})으로 있어, 선택하기 전까지 저장하지 않습니다. "
            "`%session restore @{number}`로 그 변수를 가져오거나 `%session save`로 지금 변수를 이어서 저장하세요. "
            "어느 쪽이든 나머지도 남습니다."
        ),
    ),
    "being_saved": (
        "What the last cell left is being written still.",
        "마지막 셀의 상태를 아직 쓰는 중입니다.",
    ),
    "being_saved_first": (
        "Waiting until what the last cell left is written …",
        "마지막 셀의 상태를 다 쓸 때까지 기다리는 중 …",
    ),
    "saved_only_here": (
        "The platform does not answer; versions on this machine only, sent when it does: {count}.",
        "플랫폼이 응답하지 않습니다. 버전 {count}개가 이 컴퓨터에만 있으며, 응답하면 전송합니다.",
    ),
    "more_versions": (
        "Older ones ({count}): `dure sessions show {typed}`",
        "이전 버전({count}개): `dure sessions show {typed}`",
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
    "column_changed": ("changed", "변경"),
    "column_label": ("label", "이름표"),
    "column_session": ("session", "세션"),
    "column_name": ("name", "이름"),
    "column_owner": ("owner", "소유자"),
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


HELP: Mapping[str, str] = {
    "en": """%session                     what is saved of this notebook, and what is not
%session save [LABEL]        save now, under a label if you like
%session list [--all]        this notebook's versions; --all: all sessions that you may see
%session restore [SESSION[@N]] [NAME …]
                             bring a version back: all of it, or some names
%session diff [A] [B]        what changed: since the last cell, since version A or a time (14:02), or from A to B
%session undo                bring the variables back to before the last cell that changed any
%session rerun               run the cells again that made what could not be restored
%session fork NAME           keep the state as a session of its own
%session share PERSON …|--team
                             let people of your team read it; `%session unshare [PERSON …]` ends that
%session outputs [on|off]    save `Out` and `_` with the variables, too
%session off | on [NAME]     stop saving this notebook, or begin""",
    "ko": """%session                     이 노트북의 저장 상태와 저장되지 않은 변수
%session save [이름표]       지금 저장
%session list [--all]        이 노트북의 버전 목록. --all: 볼 수 있는 모든 세션
%session restore [세션[@N]] [변수 …]
                             버전 전체 또는 일부 변수를 복원
%session diff [A] [B]        달라진 점: 마지막 셀, 버전 A나 시각(14:02) 이후, 또는 A에서 B까지
%session undo                마지막으로 변수를 바꾼 셀 이전으로 되돌리기
%session rerun               복원하지 못한 변수를 만든 셀만 다시 실행
%session fork NAME           현재 상태를 별도의 세션으로 보관
%session share 사람 …|--team
                             같은 팀에 읽기 전용으로 공유. `%session unshare [사람 …]`으로 해제
%session outputs [on|off]    셀의 결과인 `Out`과 `_`도 함께 저장
%session off | on [NAME]     이 노트북 저장을 끄거나 켜기""",
}


def say(key: str, /, **data: Any) -> str:
    """Return the sentence `key` in the person's language; a `reason` is said in it, too."""
    return said(SENTENCES[key], data)
