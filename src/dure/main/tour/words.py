"""What the tour says, in English and Korean. A test holds that both languages have every sentence and its blanks."""

from __future__ import annotations

WORDS: dict[str, tuple[str, str]] = {
    "signed_in": ("{name} signed in with a one-time link.", "{name}님이 일회용 링크로 로그인했습니다."),
    "workspace": ("{name}'s workspace was ready after {took}.", "{name}님의 작업 공간이 {took} 만에 준비되었습니다."),
    "no_torch": (
        "The PyTorch notebook is left out: this environment has no torch (pip install torch adds it).",
        "이 환경에 torch가 없어 PyTorch 노트북은 건너뜁니다(pip install torch로 추가).",
    ),
    "killed": (
        "The control plane was killed (kill -9, {count} process) while jobs ran and waited.",
        "작업이 실행되고 대기하는 동안 제어부를 강제 종료했습니다(kill -9, 프로세스 {count}개).",
    ),
    "stopped": ("{name} pressed ■ on a running cell.", "{name}님이 실행 중인 셀에서 ■를 눌렀습니다."),
    "failed": ("The tour failed: {error}", "둘러보기가 실패했습니다: {error}"),
    "log_kept": ("The platform's log was kept: {path}", "플랫폼 로그를 남겼습니다: {path}"),
    "left": (
        "Executed notebooks and the report with the timeline are in {folder}: open {report}",
        "실행된 노트북과 시간표 보고서가 {folder}에 있습니다. 열기: {report}",
    ),
    "what_happened": ("What happened", "있었던 일"),
    "line": (
        "{phase}: waited {waited}, ran {ran}, {cost}, {where}",
        "{phase}: 대기 {waited}, 실행 {ran}, {cost}, {where}",
    ),
    "nowhere": ("nowhere", "실행되지 않음"),
    "where": ("{tier} on {place} (simulated)", "{place}의 {tier} (시뮬레이션)"),
    "why": ("why: {sentence}", "이유: {sentence}"),
    "burst": ("burst: {sentence}", "클라우드: {sentence}"),
    "end": ("end: {sentence}", "끝: {sentence}"),
    "total": ("All together {cost} in {took}.", "모두 합해 {cost}, {took} 걸렸습니다."),
    "checks": ("Checks", "확인"),
    "nothing_left": ("stopping leaves no process running", "종료 후 남은 프로세스가 없음"),
    "notebook_ends": ("{notebook} ends as it should", "{notebook}이(가) 예정대로 끝남"),
    "errors": ("errors: {errors}", "오류: {errors}"),
    "no_errors": ("no errors", "오류 없음"),
    "all_ended": ("every job ended", "모든 작업이 끝남"),
    "jobs": ("{count} jobs", "작업 {count}개"),
    "some_waited": ("some cells waited, each with a reason", "일부 셀이 이유와 함께 대기함"),
    "waited": ("{count} waited", "{count}개 대기"),
    "one_burst": (
        "exactly one cell went to the public cloud and was charged for it",
        "정확히 한 셀이 공용 클라우드로 갔고 비용이 청구됨",
    ),
    "one_stopped": ("exactly one cell was stopped", "정확히 한 셀이 중단됨"),
    "one_failed": ("exactly one cell failed by its own error", "정확히 한 셀이 자체 오류로 실패함"),
    "one_kill": ("the control plane was killed once", "제어부가 한 번 강제 종료됨"),
    "ran_once": ("every job ran exactly once", "모든 작업이 정확히 한 번 실행됨"),
    "all_free": ("every GPU is free", "모든 GPU가 비어 있음"),
    "title": ("What the tour did", "둘러보기에서 있었던 일"),
    "intro": (
        "Real JupyterHub workspaces, kernels and processes; simulated GPUs, so code ran on the CPU. It took {took}.",
        "실제 JupyterHub 작업 공간, 커널, 프로세스입니다. GPU는 시뮬레이션이라 코드는 CPU에서 돌았습니다. {took} 소요.",
    ),
    "timeline": ("Timeline", "시간표"),
    "timeline_label": (
        "Timeline of {count} jobs over {took}; the table below has the same numbers.",
        "작업 {count}개의 {took} 동안의 시간표. 아래 표에 같은 수치가 있습니다.",
    ),
    "key_waited": ("waited", "대기"),
    "key_lab": ("ran in the lab", "연구실에서 실행"),
    "key_cloud": ("ran in the public cloud", "공용 클라우드에서 실행"),
    "job_heading": ("Jobs", "작업"),
    "columns": (
        "Who|What|End|Waited|Ran|Cost|Where|Why it waited, how it ended",
        "누가|무엇|결과|대기|실행|비용|장소|대기 이유와 끝난 까닭",
    ),
}


def say(lang: str, key: str, **blanks: object) -> str:
    """Return the sentence in `lang` ("en" or "ko") with its blanks filled."""
    english, korean = WORDS[key]
    return (korean if lang == "ko" else english).format(**blanks)
