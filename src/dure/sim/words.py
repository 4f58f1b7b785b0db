"""What the simulator says to people, in English and Korean: broken rows, refusals, headings, notes.

The trap: a code without a sentence would reach a person as a code; tests/sim/test_words.py holds that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Sentences = Mapping[str, tuple[str, str]]

BROKEN: Sentences = {
    "missing": (
        "{column} is empty; fill it in, or delete the row",
        "{column} 값이 비었습니다. 값을 채우거나 행을 지우세요",
    ),
    "not_number": (
        "{column} {value!r} is not a number; write a number such as 3600",
        "{column} 값 {value!r}은(는) 숫자가 아닙니다. 3600처럼 숫자로 쓰세요",
    ),
    "too_small": (
        "{column} is {value}, and must be a finite number of at least {least:g}; correct it, or delete the row",
        "{column} 값이 {value}입니다. {least:g} 이상의 유한한 수여야 합니다. 고치거나 행을 지우세요",
    ),
    "too_large": (
        "{column} is {value}, which is more than there can be; correct it, or delete the row",
        "{column} 값 {value}은(는) 너무 큽니다. 고치거나 행을 지우세요",
    ),
    "not_time": (
        "{column} {value!r} is not a time; write 2026-11-22T09:30:00 (UTC unless it names a zone) or seconds",
        "{column} 값 {value!r}은(는) 시각이 아닙니다. 2026-11-22T09:30:00(시간대가 없으면 UTC) 또는 초로 쓰세요",
    ),
    "not_span": (
        "{column} {value!r} is not a span of time; Slurm writes days-hours:minutes:seconds",
        "{column} 값 {value!r}은(는) 시간 길이가 아닙니다. Slurm은 일-시:분:초로 씁니다",
    ),
    "not_flag": (
        "{column} {value!r} is not yes or no; write true or false",
        "{column} 값 {value!r} 대신 true나 false로 쓰세요",
    ),
    "not_budget": (
        "{column} {value!r} is unknown; write flex or strict",
        "{column} 값 {value!r} 대신 flex나 strict로 쓰세요",
    ),
    "not_list": (
        "{column} is not a list of objects; export the log again",
        "{column} 값이 객체 목록이 아닙니다. 기록을 다시 내보내세요",
    ),
    "not_object": (
        "this is not a JSON object; delete it, or export the log again",
        "JSON 객체가 아닙니다. 지우거나 기록을 다시 내보내세요",
    ),
    "part_of_several": (
        "{column} is {value}: a part of a GPU must be below 1, several must be a whole number",
        "{column} 값이 {value}입니다. GPU 일부는 1보다 작아야 하고 여러 개는 정수여야 합니다",
    ),
    "part_of_one": (
        "{column} is {value}: one GPU has 1000 thousandths; correct it, or ask for more GPUs",
        "{column} 값이 {value}입니다. GPU 하나는 1000 이하여야 합니다. 고치거나 GPU 수를 늘리세요",
    ),
    "uneven_nodes": (
        "{column} is {value}, among which the GPUs do not divide evenly; correct it, or leave it empty",
        "{column} 값 {value}(으)로 GPU가 고르게 나뉘지 않습니다. 고치거나 비워 두세요",
    ),
    "no_such": (
        "there is no {column} {value!r}; write one of {choices}",
        "{column} {value!r}은(는) 없습니다. {choices} 중 하나로 쓰세요",
    ),
    "not_reservation": (
        "this is no reservation; write {{tier: gold, gpus: 2, team: vision, from: …, to: …}} and, for one person, user",
        "예약이 아닙니다. {{tier: gold, gpus: 2, team: vision, from: …, to: …}}처럼 쓰고 한 사람이면 user도 쓰세요",
    ),
    "ends_before": (
        "{column} {value!r} is before the start; correct one of the two, or delete the row",
        "{column} 값 {value!r}이(가) 시작보다 앞섭니다. 둘 중 하나를 고치거나 행을 지우세요",
    ),
    "fields": (
        "there are {found} fields under {wanted} headings; a field with the delimiter in it must stand in quotes",
        "열 이름은 {wanted}개인데 값은 {found}개입니다. 구분자가 든 값은 따옴표로 감싸세요",
    ),
    "csv": ("this row is no CSV ({why}); correct its quotes", "CSV 행이 아닙니다({why}). 따옴표를 고치세요"),
    "json": (
        "this is no JSON ({why}); delete it, or export the log again",
        "JSON이 아닙니다({why}). 지우거나 다시 내보내세요",
    ),
    "kueue": (
        "this is no generator of Kueue's performance test ({why}); compare it with its configs/baseline/generator.yaml",
        "Kueue 성능 시험의 생성기 파일이 아닙니다({why}). configs/baseline/generator.yaml과 비교하세요",
    ),
}

LEFT_OUT: Sentences = {
    "cpu_only": ("asked for no GPU", "GPU를 요청하지 않음"),
    "never_ran": ("never ran", "실행되지 않음"),
    "unfinished": ("had not ended", "끝나지 않음"),
    "no_times": ("have attempts without times", "시각이 없는 시도가 있음"),
    "began_before": ("were submitted before the log begins", "기록 시작 전에 제출됨"),
    "step": ("are steps of a job", "작업의 단계임"),
}

TRACE_ERRORS: Sentences = {
    "unreadable": (
        "{file}: cannot be read: {why}. Check the path and its permissions.",
        "{file}: 읽을 수 없습니다: {why}. 경로와 권한을 확인하세요.",
    ),
    "too_large": (
        "{file}: is larger than {most} bytes. Cut a part of it out.",
        "{file}: {most}바이트보다 큽니다. 일부만 잘라 쓰세요.",
    ),
    "too_many": (
        "{file}: has more than {most} jobs. Cut a part of it out.",
        "{file}: 작업이 {most}개보다 많습니다. 일부만 잘라 쓰세요.",
    ),
    "nothing": (
        "{file}: is empty. Export the trace again, or name another file with --trace.",
        "{file}: 비어 있습니다. 트레이스를 다시 내보내거나 --trace로 다른 파일을 지정하세요.",
    ),
    "unknown_format": (
        "{file}: its format is not known (it begins with {header!r}). Name it with --format ({names}).",
        "{file}: 형식을 알 수 없습니다(첫 줄 {header!r}). --format으로 지정하세요({names}).",
    ),
    "no_such_format": (
        "There is no format {name!r}. Known are {names}.",
        "{name!r} 형식은 없습니다. 사용 가능: {names}.",
    ),
    "columns": (
        "{file}: has no column {columns}, which {format} needs. Leave out --format, or add the columns.",
        "{file}: {format} 형식에 필요한 열 {columns}이(가) 없습니다. --format을 빼거나 열을 추가하세요.",
    ),
    "empty": (
        "{file}: has no job to simulate. {left_out}",
        "{file}: 시뮬레이션할 작업이 없습니다. {left_out}",
    ),
    "broken": (
        "{file}: broken rows: {count} of {rows}. Mend them, or leave them out with --skip-broken.",
        "{file}의 {rows}개 행 가운데 {count}개가 잘못되었습니다. 고치거나 --skip-broken으로 빼고 실행하세요.",
    ),
}

POLICY_ERRORS: Sentences = {
    "unknown": (
        "There is no policy {name!r}: neither a file nor one of {names}.",
        "{name!r} 정책은 없습니다. 파일도 아니고 {names} 중 하나도 아닙니다.",
    ),
    "no_cluster": (
        "{name} says nothing of a cluster. Say how large it is: --nodes 8 --gpus 4.",
        "{name}에는 클러스터가 없습니다. --nodes 8 --gpus 4처럼 크기를 지정하세요.",
    ),
    "bad_set": (
        "--set {text!r} is not KEY=VALUE, such as burst.wait=fixed:30m.",
        "--set {text!r}은(는) KEY=VALUE 꼴이 아닙니다. 예: burst.wait=fixed:30m.",
    ),
    "no_place": (
        "--set {text!r}: there is no {part!r} in {inside}. {choices}",
        "--set {text!r}: {inside}에 {part!r}이(가) 없습니다. {choices}",
    ),
    "bad_wait": (
        "--set {text!r}: a wait is RULE:TIME, such as fixed:30m or proportional:5m.",
        "--set {text!r}: 대기는 규칙:시간 꼴로 씁니다. 예: fixed:30m, proportional:5m.",
    ),
    "set_plain": (
        "--set changes platform files, and {name} is a plain policy. Name a platform.yaml with --policy.",
        "--set은 플랫폼 파일을 바꿉니다. {name}은(는) 단순 정책이므로 --policy로 platform.yaml을 지정하세요.",
    ),
    "bad_reservation": (
        "{file}: reservations.calendar, number {number}: {what}.",
        "{file}의 reservations.calendar {number}번째: {what}.",
    ),
    "none": (
        "No policy was named. Add --policy platform.yaml, or one of {names}.",
        "정책이 없습니다. --policy platform.yaml 또는 {names} 중 하나를 추가하세요.",
    ),
    "no_trace": (
        "No trace was named. Add --trace FILE, or --since 7d for this platform's own jobs.",
        "트레이스가 없습니다. --trace FILE 또는 이 플랫폼의 작업을 쓰는 --since 7d를 추가하세요.",
    ),
    "bad_span": (
        "{text!r} is not a span of time. Write 30m, 12h or 7d.",
        "{text!r}은(는) 시간 길이가 아닙니다. 30m, 12h, 7d처럼 쓰세요.",
    ),
    "bad_time": (
        "{text!r} is not a time. Write 2026-11-22 or 2026-11-22T09:30:00.",
        "{text!r}은(는) 시각이 아닙니다. 2026-11-22나 2026-11-22T09:30:00처럼 쓰세요.",
    ),
    "half_size": (
        "--nodes and --gpus belong together: --nodes 8 --gpus 4 is eight machines with four GPUs each.",
        "--nodes와 --gpus는 함께 씁니다. --nodes 8 --gpus 4는 GPU 4개인 기계 8대입니다.",
    ),
    "unwritable": (
        "{path}: cannot be written: {why}. Name another file with --report.",
        "{path}: 쓸 수 없습니다: {why}. --report로 다른 파일을 지정하세요.",
    ),
    "no_log": (
        "There is no event log of a platform in {folder}. Name its folder with --dir.",
        "{folder}에 플랫폼의 이벤트 기록이 없습니다. --dir로 폴더를 지정하세요.",
    ),
}

NOTES: Sentences = {
    "read": ("Jobs read from {file}: {jobs} (format: {format})", "{file}에서 작업 {jobs}개 (형식: {format})"),
    "left_out": ("Left out: {what}", "제외: {what}"),
    "left_out_some": ("{count} {what}", "{what} {count}개"),
    "skipped": ("Broken rows left out: {count}", "잘못된 행 {count}개를 제외했습니다"),
    "more_broken": ("and {count} more", "외 {count}개"),
    "line": ("{file}:{line}: {what}", "{file}:{line}: {what}"),
    "teams_added": (
        "{policy}: teams of the trace that are not in the file were added without quotas: {count}",
        "{policy}: 트레이스의 팀 {count}개가 파일에 없어 할당량 없이 추가했습니다",
    ),
    "tiers_dropped": (
        "{policy}: jobs that name a tier that the file has not take any: {count}",
        "{policy}: 작업 {count}개의 티어가 파일에 없어 아무 티어나 씁니다",
    ),
    "predictions": (
        "Where the trace predicts no run time, the platform is taken to predict the true one{error}",
        "트레이스에 없는 실행 시간 예측은 실제 값을 씁니다{error}",
    ),
    "with_error": (", each off by a normal error of {percent:g} %", ", 각각 표준편차 {percent:g}%의 정규 오차"),
    "reservations": (
        "Reservations of the trace, replayed under every platform file: {count}",
        "트레이스의 예약 {count}개를 모든 플랫폼 파일에서 재현했습니다",
    ),
    "plain": (
        "{policy}: a plain policy, {nodes} × {gpus} GPUs, whole GPUs and whole seconds",
        "{policy}: 단순 정책, GPU {gpus}개 노드 {nodes}대, GPU와 초는 정수 단위",
    ),
    "speed": (
        "{policy}: replayed in {seconds:.1f} s, {rate:,.0f} jobs a second",
        "{policy}: {seconds:.1f}초에 재생, 초당 작업 {rate:,.0f}개",
    ),
    "report": ("The report is in {path}", "보고서: {path}"),
    "fairness": (
        "Fairness is Jain's index of the mean slowdown by {group} (completion / run time of {least:g} s on): 1 is even",
        "공정성은 {group}별 평균 지연 배수(완료 시간 / 실행 시간, {least:g}초 이상)의 Jain 지수이며 1이면 고릅니다",
    ),
    "never_ran": (
        "{policy}: jobs that fit nowhere and never ran: {count}, such as {example} (GPUs: {gpus:g})",
        "{policy}: 작업 {count}개는 들어갈 곳이 없어 실행되지 않았습니다. 예: {example} (GPU {gpus:g}개)",
    ),
}

FIGURES: Sentences = {
    "policy": ("policy", "정책"),
    "jobs": ("jobs that ended", "끝난 작업"),
    "mean_wait_s": ("mean wait", "평균 대기"),
    "p50_wait_s": ("p50 wait", "대기 p50"),
    "p90_wait_s": ("p90 wait", "대기 p90"),
    "p99_wait_s": ("p99 wait", "대기 p99"),
    "mean_completion_s": ("mean completion", "평균 완료 시간"),
    "p50_completion_s": ("p50 completion", "완료 시간 p50"),
    "p90_completion_s": ("p90 completion", "완료 시간 p90"),
    "p99_completion_s": ("p99 completion", "완료 시간 p99"),
    "utilisation": ("utilisation", "이용률"),
    "fairness": ("fairness", "공정성"),
    "preemptions": ("preemptions", "선점"),
    "cloud_jobs": ("jobs in the cloud", "클라우드 작업"),
    "cloud_gpu_hours": ("cloud GPU-hours", "클라우드 GPU 시간"),
    "cloud_cost": ("cloud cost", "클라우드 비용"),
    "private_cost": ("private cost", "자체 비용"),
    "deadlines_met": ("deadlines met", "기한 준수"),
    "never_ran": ("never ran", "실행 안 됨"),
    "makespan_s": ("first arrival to last end", "첫 도착부터 마지막 종료까지"),
}

REPORT: Sentences = {
    "title": ("What would have happened", "이랬다면 어땠을까"),
    "figures": ("Figures", "지표"),
    "busy": ("GPUs in use", "사용 중인 GPU"),
    "busy_about": (
        "Private GPUs in use over time; the dotted line is all there are.",
        "시간에 따라 사용 중인 자체 GPU입니다. 점선은 전체 수입니다.",
    ),
    "cloud": ("GPUs in the cloud", "클라우드 GPU"),
    "waits": ("How long jobs waited", "작업이 기다린 시간"),
    "waits_about": (
        "The share of jobs that had waited at most so long. Higher and farther left is better.",
        "이 시간 이하로 기다린 작업의 비율입니다. 높고 왼쪽일수록 좋습니다.",
    ),
    "wait": ("wait", "대기"),
    "time": ("time since the first job", "첫 작업 이후 시간"),
    "teams": ("By team", "팀별"),
    "notes": ("Notes", "참고"),
    "team": ("team", "팀"),
    "user": ("user", "사용자"),
    "slowdown": ("mean slowdown", "평균 지연 배수"),
    "gpu_hours": ("GPU-hours", "GPU 시간"),
    "table_of": ("The same as a table", "표로 보기"),
}


def say(sentences: Sentences, code: str, lang: str, /, **data: Any) -> str:
    """Return the sentence of a code in a language, filled in."""
    return sentences[code][lang == "ko"].format(**data)
