"""The notebook's own sentences in English and Korean; those of the platform come from the server in the asked language.

The trap: every key needs both languages (tests/notebook checks it), and a sentence says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.notebook import context
from dure.wire.retold import retold

SENTENCES: Mapping[str, tuple[str, str]] = {
    "submitting": ("Sending the cell…", "셀을 보내는 중…"),
    "not_queued": ("Not queued.", "제출되지 않았습니다."),
    "left_preparing": (
        "Interrupted before anything was queued.",
        "작업이 등록되기 전에 중단되었습니다.",
    ),
    "attached": ("Attached to {job} ({name}).", "{job}({name})에 연결했습니다."),
    "helps": ("Would help, too: {helps}", "다른 방법: {helps}"),
    "again": (
        "The job was moved and starts again (attempt {attempt}).",
        "작업이 옮겨져 다시 시작합니다(시도 {attempt}).",
    ),
    "cut": (
        "… output cut here: the limit is reached. Its last lines follow when the job has ended.",
        "… 출력 한도에 도달하여 여기서 잘렸습니다. 마지막 줄은 작업이 끝나면 표시됩니다.",
    ),
    "tail": (
        (
            "… {dropped} of output were not shown; write large results to a file under $DURE_OUTPUT_DIR, or print "
            "less. The last of it:"
        ),
        "… 출력 {dropped}가 생략되었습니다. 큰 결과는 $DURE_OUTPUT_DIR 아래 파일로 저장하세요. 마지막 출력:",
    ),
    "interrupting": (
        "Interrupting; press ■ again to end it at once…",
        "중단하는 중입니다. 즉시 끝내려면 ■를 한 번 더 누르세요…",
    ),
    "killing": ("Ending it…", "종료하는 중…"),
    "cancelled_queued": (
        "Cancelled while it waited; it never started.",
        "대기 중에 취소되어 시작되지 않았습니다.",
    ),
    "interrupted": ("The cell was interrupted.", "셀이 중단되었습니다."),
    "left_stopping": (
        (
            "Interrupted; {job} is still stopping in the background and frees its GPU when it has ended. "
            "The kernel is free. `%gpu why {job}` tells how it ends."
        ),
        (
            "중단되었습니다. {job}은(는) 백그라운드에서 종료 중이며 끝나면 GPU를 반환합니다. 커널은 바로 "
            "사용할 수 있습니다. `%gpu why {job}`로 확인하세요."
        ),
    ),
    "left_running": (
        (
            "Interrupted, but the code of {job} goes on. The kernel is free: `%gpu attach {job}` follows "
            "it and brings its names, `%gpu cancel {job}` ends it."
        ),
        (
            "중단 신호를 보냈지만 {job}의 코드가 계속 실행 중입니다. 커널은 사용할 수 있습니다. `%gpu "
            "attach {job}`로 이어서 보고, `%gpu cancel {job}`로 끝낼 수 있습니다."
        ),
    ),
    "left_submitting": (
        ("Interrupted before the platform answered; if the job reached it, it is cancelled in the background."),
        "플랫폼이 응답하기 전에 중단되었습니다. 작업이 접수되었다면 백그라운드에서 취소합니다.",
    ),
    "left_attached": (
        ("No longer watching {job}, which goes on. `%gpu attach {job}` follows it again, `%gpu cancel {job}` ends it."),
        (
            "{job}은(는) 계속 실행되며 보기만 중단했습니다. `%gpu attach {job}`로 다시 보고, `%gpu "
            "cancel {job}`로 끝낼 수 있습니다."
        ),
    ),
    "lost_stream": (
        (
            "{sentence} The job {job} goes on without this cell: `%gpu attach {job}` shows what it does "
            "and brings its results."
        ),
        (
            "{sentence} 작업 {job}은(는) 이 셀과 상관없이 계속됩니다. `%gpu attach {job}`로 출력과 "
            "결과를 가져올 수 있습니다."
        ),
    ),
    "unpicklable": (
        (
            "The cell needs {names}, which cannot be sent to the GPU, so nothing was queued: make or "
            "open it inside the %%gpu cell instead, or give what the cell needs of it a name here first "
            "(rate = slider.value).\n{reasons}"
        ),
        (
            "셀에 필요한 {names}을(를) GPU로 보낼 수 없어 작업을 등록하지 않았습니다. %%gpu 셀 안에서 "
            "만들거나 열고, 필요한 값만 있으면 여기서 먼저 이름을 붙이세요(rate = slider.value).\n{reasons}"
        ),
    ),
    "unpicklable_call": (
        (
            "The call of {names} cannot be sent to the GPU, so nothing was queued: pass values that can "
            "be pickled, and open files or connections inside the function.\n{reasons}"
        ),
        (
            "{names} 호출을 GPU로 보낼 수 없어 작업을 등록하지 않았습니다. 피클 가능한 값을 전달하고 "
            "파일이나 연결은 함수 안에서 여세요.\n{reasons}"
        ),
    ),
    "unpicklable_reason": ("  {name}: {reason}", "  {name}: {reason}"),
    "function_lacks": (
        (
            "The function looks names up while it runs (globals(), eval or the like), so all variables go with it "
            "but these, which cannot: {names}."
        ),
        (
            "함수가 실행 중에 이름을 찾으므로(globals(), eval 등) 모든 변수를 함께 보내지만, "
            "다음 변수는 보낼 수 없습니다: {names}."
        ),
    ),
    "died": (
        "The process died of {signal}, a crash in compiled code or a signal: the end of its output may tell more.",
        "프로세스가 {signal}(으)로 죽었습니다(컴파일된 코드의 오류 또는 신호). 출력의 끝부분을 확인하세요.",
    ),
    "killed_outside": (
        "The process was killed from outside (SIGKILL): usually the machine ran out of memory. Work on less at a time.",
        "프로세스가 밖에서 강제 종료되었습니다(SIGKILL). 보통 메모리 부족이므로 한 번에 더 적은 데이터를 다루세요.",
    ),
    "need_all_refused": (
        (
            "The cell looks at all variables at once (globals(), dir() or the like); it did not get {names}, so it may "
            "take them for missing:\n{reasons}"
        ),
        (
            "셀이 모든 변수를 한꺼번에 살펴봅니다(globals(), dir() 등). {names}은(는) 보내지 못해 없는 것으로 "
            "처리될 수 있습니다:\n{reasons}"
        ),
    ),
    "need_refused": (
        "{name}, which the cell asked for while it ran, cannot be sent: {reason}",
        "실행 중에 필요했던 {name}을(를) 보낼 수 없습니다: {reason}",
    ),
    "nothing_committed": (
        "Nothing in the notebook was changed: a cell that fails brings its names back only with --keep-partial.",
        "노트북의 변수는 바뀌지 않았습니다. 실패한 셀은 --keep-partial일 때만 이름을 가져옵니다.",
    ),
    "unsaved": (
        "{name} stayed behind on the worker: {reason}",
        "{name}은(는) 가져오지 못했습니다: {reason}",
    ),
    "settings_unsent": (
        "Settings of libraries (matplotlib, pandas, …) do not go along with this cell: {reason}",
        "라이브러리(matplotlib, pandas 등)의 설정이 이 셀과 함께 전달되지 않습니다: {reason}",
    ),
    "settings_unsaved": (
        "Settings of libraries that the cell made were not brought: {reason}",
        "셀이 바꾼 라이브러리 설정을 가져오지 못했습니다: {reason}",
    ),
    "labels_unsaved": (
        "Labels of pandas that the cell renamed are not renamed in this notebook; rename them here, too: {reason}",
        "셀이 바꾼 pandas 라벨의 이름을 이 노트북으로 가져오지 못했으니 여기서도 바꾸세요: {reason}",
    ),
    "setting_failed": (
        "The cell's setting {name} is not in force here: {reason}. It goes along with the next cells.",
        "셀이 바꾼 설정 {name}은(는) 여기에 적용되지 않았습니다: {reason}. 다음 GPU 셀에는 전달됩니다.",
    ),
    "left_in_process": (
        "The cell set in its own process, and the notebook does not have: {what}. Set it in each cell that needs it.",
        "셀이 자기 프로세스에만 설정하여 노트북에는 없습니다: {what}. 필요한 셀마다 설정하세요.",
    ),
    "left_environment": ("environment variables {names}", "환경 변수 {names}"),
    "left_logging": ("logging of {names}", "{names}의 로깅"),
    "left_locale": ("the locale {names}", "로캘 {names}"),
    "left_folder": ("the folder {names}", "폴더 {names}"),
    "folder_kept": (
        "The cell went to the folder {folder}; the notebook was in another by then and stays there: %cd {folder}",
        "셀이 {folder} 폴더로 이동했지만 그때 노트북은 다른 폴더에 있었으므로 그대로 둡니다: %cd {folder}",
    ),
    "folder_not_here": (
        "The cell went to the folder {folder}, which is not here ({reason}): the notebook stays in its own.",
        "셀이 이동한 {folder} 폴더가 여기에 없어({reason}) 노트북의 폴더를 그대로 둡니다.",
    ),
    "threads_ended": (
        (
            "Still at work when the cell ended, and ended with it: {names}. Wait for it in the cell "
            "(`thread.join()`, `executor.shutdown()`, `await task`)."
        ),
        (
            "셀이 끝날 때 아직 실행 중이어서 셀과 함께 종료되었습니다: {names}. 셀 안에서 끝날 때까지 기다리세요"
            "(`thread.join()`, `executor.shutdown()`, `await task`)."
        ),
    ),
    "of_module": (
        "{name} belongs to a module: {reason}.",
        "{name}은(는) 모듈의 객체입니다: {reason}.",
    ),
    "unloadable": (
        "{name} came back but cannot be loaded in this kernel: {reason}",
        "{name}을(를) 이 커널에서 읽을 수 없습니다: {reason}",
    ),
    "stayed": (
        "<a {kind} that stayed on the GPU: give it a name in its cell to have it here>",
        "<GPU에 남은 {kind} 값: 그 셀에서 이름을 붙이면 여기서 쓸 수 있습니다>",
    ),
    "still_held": (
        (
            "The cell changed {name} in place without {holders}, which has something of it and keeps that as it was: "
            "set {holders} anew, or name {holders} in the cell, too."
        ),
        (
            "셀이 {name}의 내용을 바꾸었지만, 셀이 언급하지 않은 {holders}에는 함께 쓰던 값이 바뀌기 전 그대로 "
            "있습니다. {holders}을(를) 다시 만들거나 셀에서 함께 언급하세요."
        ),
    ),
    "conflict": (
        (
            "{names} changed in the notebook while the cell was away, so the notebook's own was kept. To "
            "take the job's: `%gpu attach {job} --on-conflict take`, to have both: `--on-conflict both`."
        ),
        (
            "셀이 실행되는 동안 노트북에서 {names}이(가) 바뀌어 노트북의 값을 유지했습니다. 작업의 값을 "
            "쓰려면 `%gpu attach {job} --on-conflict take`, 둘 다 두려면 `--on-conflict both`를 실행하세요."
        ),
    ),
    "conflict_both": (
        "{names} changed in the notebook while the cell was away, so both are here: {pairs}.",
        "셀이 실행되는 동안 노트북에서 {names}이(가) 바뀌어 둘 다 두었습니다: {pairs}.",
    ),
    "conflict_fail": (
        (
            "{names} changed in the notebook while the cell was away, so nothing of {job} was brought. To keep yours "
            "and bring the rest: `%gpu attach {job}`; to take the job's: `%gpu attach {job} --on-conflict take`."
        ),
        (
            "셀이 실행되는 동안 노트북에서 {names}이(가) 바뀌어 {job}의 결과를 가져오지 않았습니다. 노트북의 값을 "
            "유지하고 나머지를 가져오려면 `%gpu attach {job}`, 작업의 값을 쓰려면 `%gpu attach {job} --on-conflict "
            "take`를 쓰세요."
        ),
    ),
    "graphs_left": (
        "Brought without the autograd graph, so .backward() works in the cell alone: {names}.",
        "autograd 그래프 없이 값만 왔으므로 .backward()는 그 셀 안에서만 됩니다: {names}.",
    ),
    "partial_committed": (
        "It did not end well; what it had changed by then was brought (--keep-partial): {names}.",
        "정상적으로 끝나지 않았지만 그때까지 바뀐 이름을 가져왔습니다(--keep-partial): {names}.",
    ),
    "partial_nothing": (
        "It did not end well and had changed nothing by then.",
        "정상적으로 끝나지 않았고 그때까지 바뀐 것이 없습니다.",
    ),
    "load_interrupted": (
        (
            "Interrupted while the results were being loaded; nothing in the notebook was changed. `%gpu "
            "attach {job}` loads them again."
        ),
        ("결과를 읽는 중에 중단되어 노트북은 바뀌지 않았습니다. `%gpu attach {job}`로 다시 읽을 수 있습니다."),
    ),
    "load_failed": (
        (
            "The cell ended well but its results cannot be read ({reason}); nothing in the notebook was "
            "changed. `%gpu attach {job}` tries again."
        ),
        (
            "셀은 정상 종료되었지만 결과를 읽을 수 없습니다({reason}). 노트북은 바뀌지 않았습니다. `%gpu "
            "attach {job}`로 다시 시도하세요."
        ),
    ),
    "missing_package": (
        (
            "Package {package!r} is missing in environment {environment!r}, where the cell ran: choose "
            "an environment that has it (--env NAME), or have it added to {environment!r} (`pip "
            "install {package}` there)."
        ),
        (
            "셀이 실행된 {environment!r} 환경에 {package!r} 패키지가 없습니다. 패키지가 있는 환경을 "
            "고르거나(--env NAME) {environment!r} 환경에 추가하세요(그 환경에서 `pip install "
            "{package}`)."
        ),
    ),
    "lacks": (
        (
            "The cell needs {names}, which environment {environment!r} does not have, so nothing was queued. To "
            "install it there for you alone: `%gpu install {packages}` (by the package's name, if that is another)."
        ),
        (
            "셀에 필요한 {names}이(가) {environment!r} 환경에 없어 등록하지 않았습니다. 나만 쓰도록 설치하려면 `%gpu "
            "install {packages}`를 실행하세요(패키지 이름이 다르면 그 이름으로)."
        ),
    ),
    "lacks_other": (
        (
            "The cell needs {names}, which environment {environment!r} does not have, so nothing was queued. Use one "
            "that has it (--env {others}), or install it for you alone: `%gpu install {packages}`."
        ),
        (
            "셀에 필요한 {names}이(가) {environment!r} 환경에 없어 등록하지 않았습니다. 있는 환경을 쓰거나(--env "
            "{others}), 나만 쓰도록 `%gpu install {packages}`로 설치하세요."
        ),
    ),
    "installed": (
        "{packages}: installed for you, beside environment {environment!r}; your next cell finds it.",
        "{packages}: {environment!r} 환경 옆에 설치했습니다. 다음 셀부터 쓸 수 있습니다.",
    ),
    "not_installed": (
        "{packages} could not be installed beside environment {environment!r}: see pip's message above.",
        "{packages}을(를) {environment!r} 환경 옆에 설치하지 못했습니다. 위의 pip 메시지를 확인하세요.",
    ),
    "packages_needed": (
        "Say what to install: `%gpu install PACKAGE [PACKAGE …] [--env NAME]`.",
        "설치할 패키지를 적으세요: `%gpu install PACKAGE [PACKAGE …] [--env NAME]`.",
    ),
    "exited": (
        "The code ended its process with exit code {code}, so there is nothing to bring back.",
        "코드가 종료 코드 {code}(으)로 프로세스를 끝내 가져올 결과가 없습니다.",
    ),
    "exited_partial": (
        "The code ended its process with exit code {code}.",
        "코드가 종료 코드 {code}(으)로 프로세스를 끝냈습니다.",
    ),
    "kept_line": (
        (
            "{job} {outcome} · {place} · waited {waited} · ran {ran} · GPU kept until {until} for the next cell "
            "(costs go on); free it now: `%gpu free`"
        ),
        (
            "{job} {outcome} · {place} · 대기 {waited} · 실행 {ran} · 다음 셀을 위해 {until}까지 GPU 유지(비용 계속 "
            "발생). 바로 반납: `%gpu free`"
        ),
    ),
    "cell_done": ("succeeded", "성공"),
    "cell_failed": ("failed", "실패"),
    "cell_cancelled": ("cancelled", "취소됨"),
    "kept_ended": (
        "It ran in the kept process, which has ended with it; `--keep 5m` on a cell keeps it for the next.",
        "유지하던 프로세스에서 실행되었고 이제 종료되었습니다. 다음 셀까지 유지하려면 셀에 `--keep 5m`을 쓰세요.",
    ),
    "kept_gone": (
        "The kept process of {job} had ended, so the cell ran as a job of its own, from what the notebook holds.",
        "유지하던 {job}의 프로세스가 이미 끝나 있어, 셀을 노트북의 값으로 새 작업에서 실행했습니다.",
    ),
    "keep_misfit": (
        "The GPU kept by {job} does not fit this cell's options, so the cell queues; `%gpu free` frees the kept one.",
        "{job}이(가) 유지하는 GPU가 이 셀의 옵션과 맞지 않아 셀을 새로 등록합니다. `%gpu free`로 반납할 수 있습니다.",
    ),
    "keep_detached": (
        "--keep and --detach do not go together, since only a cell that is waited for has a next one: leave one out.",
        "--keep과 --detach는 함께 쓸 수 없습니다. 기다리는 셀만 다음 셀로 이어집니다. 하나를 빼세요.",
    ),
    "left_there": (
        "Only its process had {names}; they are saved: `%gpu attach {job}` brings them.",
        "{names}은(는) 그 프로세스에만 있어 저장했습니다. `%gpu attach {job}`로 가져올 수 있습니다.",
    ),
    "left_brought": (
        "Brought what only the kept process had: {names}.",
        "유지하던 프로세스에만 있던 이름을 가져왔습니다: {names}.",
    ),
    "nothing_kept": ("This notebook keeps no GPU.", "이 노트북이 유지하는 GPU가 없습니다."),
    "asked_to_free": ("{job} is being freed.", "{job}을(를) 반납하는 중입니다."),
    "ended": ("The job ended as {phase}. {reason}", "작업이 {phase} 상태로 끝났습니다. {reason}"),
    "no_input": (
        ("The job asks for input, but here nobody can answer; it was interrupted. Run it in a notebook or a terminal."),
        ("작업이 입력을 요청했지만 여기서는 답할 수 없어 중단했습니다. 노트북이나 터미널에서 실행하세요."),
    ),
    "not_brought": (
        "Sent from this notebook before and not brought yet: {jobs}. `%gpu attach` brings their output and results.",
        "이 노트북에서 보냈지만 아직 가져오지 않은 작업: {jobs}. `%gpu attach`로 출력과 결과를 가져오세요.",
    ),
    "shown_again": (
        "All of this notebook's jobs have been brought. What {job} printed, again (earlier jobs: {earlier}):",
        "이 노트북의 작업은 모두 가져왔습니다. {job}의 출력을 다시 보여 줍니다(이전 작업: {earlier}).",
    ),
    "nothing_to_attach": (
        ("This notebook has no job to attach to; `%gpu history` lists yours, and `%gpu attach JOB` takes any of them."),
        ("이 노트북에 연결할 작업이 없습니다. `%gpu history`로 목록을 보고 `%gpu attach JOB`으로 연결하세요."),
    ),
    "empty_cell": (
        "There is no code below %%gpu: write it on the next lines.",
        "%%gpu 아래에 코드가 없습니다. 다음 줄에 코드를 작성하세요.",
    ),
    "unknown_command": (
        "%gpu has no command {command!r}; there are: {choices}.",
        "%gpu에는 {command!r} 명령이 없습니다. 사용할 수 있는 명령: {choices}.",
    ),
    "job_needed": (
        "Say which job: `%gpu {command} JOB`; `%gpu history` lists them.",
        "작업을 지정하세요: `%gpu {command} JOB`. `%gpu history`로 목록을 볼 수 있습니다.",
    ),
    "language_set": ("Language: English.", "언어: 한국어."),
    "language_needed": (
        "Say which language: `%gpu lang en` or `%gpu lang ko`.",
        "언어를 지정하세요: `%gpu lang en` 또는 `%gpu lang ko`.",
    ),
    "asked_to_cancel": ("{job} is being cancelled.", "{job}을(를) 취소하는 중입니다."),
    "bad_quotes": (
        "The options cannot be read: close every quote.",
        "옵션을 읽을 수 없습니다. 따옴표를 닫으세요.",
    ),
    "none_waiting": ("Nothing waits and nothing runs.", "대기 중이거나 실행 중인 작업이 없습니다."),
    "others_waiting": ("{count} more of other teams wait.", "다른 팀의 작업 {count}개가 대기 중입니다."),
    "none_of_yours": ("None of your jobs waits or runs.", "대기 중이거나 실행 중인 내 작업이 없습니다."),
    "no_jobs": ("No jobs yet.", "아직 작업이 없습니다."),
    "not_done": (
        "{job} has not ended within {seconds} s.",
        "{job}이(가) {seconds}초 안에 끝나지 않았습니다.",
    ),
    "no_result": (
        "{job} ended well but left no result that can be read: {reason}",
        "{job}은(는) 정상 종료되었지만 읽을 수 있는 결과가 없습니다: {reason}",
    ),
    "not_callable": (
        '@dure.gpu takes a function; write `@dure.gpu` or `@dure.gpu(tier="gold")` above a `def`.',
        ('@dure.gpu는 함수에만 쓸 수 있습니다. `def` 위에 `@dure.gpu` 또는 `@dure.gpu(tier="gold")`를 쓰세요.'),
    ),
    "column_job": ("job", "작업"),
    "column_name": ("name", "이름"),
    "column_phase": ("phase", "상태"),
    "column_who": ("owner", "소유자"),
    "column_gpus": ("GPUs", "GPU"),
    "column_tier": ("tier", "티어"),
    "column_where": ("where", "위치"),
    "column_waited": ("waited", "대기"),
    "column_ran": ("ran", "실행"),
    "column_cost": ("cost", "비용"),
    "column_why": ("why", "이유"),
    "column_free": ("free", "여유"),
    "column_total": ("total", "전체"),
    "column_prices": ("price per GPU hour", "GPU 시간당 가격"),
    "column_description": ("what", "설명"),
    "column_at": ("at", "시각"),
    "column_event": ("what happened", "내용"),
    "column_model": ("model", "모델"),
    "column_holders": ("held by", "사용"),
    "title_gpus": ("GPUs", "GPU"),
    "title_queue": ("Waiting and running", "대기 및 실행 중"),
    "title_history": ("Your jobs, newest first", "내 작업(최신순)"),
    "title_tiers": ("Tiers", "티어"),
    "simulated_short": ("simulated", "시뮬레이션"),
    "title_why": ("{job}: {sentence}", "{job}: {sentence}"),
    "your_jobs": ("Your jobs that have not ended", "아직 끝나지 않은 내 작업"),
}


def without_name(name: str, reason: str) -> str:
    """Return the reason without `name: ` before it, where the sentence has the name already."""
    return reason.removeprefix(f"{name}: ")


def say(key: str, /, **data: Any) -> str:
    """Return the sentence `key` in the person's language; a `reason` is said in it, too."""
    return said(SENTENCES[key], data)


def said(sentence: tuple[str, str], data: dict[str, Any]) -> str:
    """Return a sentence, of which English and Korean are given, in the person's language with `data` in it."""
    lang = context.language()
    told = {name: retold(str(value), lang) if name == "reason" else value for name, value in data.items()}
    return sentence[lang == "ko"].format(**told)
