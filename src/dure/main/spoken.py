"""What running a platform prints, in Korean, and the function that prints it in the reader's language.

The trap: a sentence is found by its English, so one that is changed where it is made must be changed here, too;
tests/architecture/test_retold.py finds each.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from dure.cli.telling import lang_of
from dure.client.config import language
from dure.wire.platform_told import platform_told
from dure.wire.retelling import Retelling

_RUNNING: Mapping[str, str] = {
    "Starting the Hub, its proxy and the control plane …": "Hub와 프록시, 제어부를 시작하는 중 …",
    "The Hub can be signed in to.": "Hub에 로그인할 수 있습니다.",
    "The control plane answers.": "제어부가 응답합니다.",
    "Ending …": "종료하는 중 …",
    "Ended {count} processes that an earlier run had left behind.": "이전 실행이 남긴 프로세스 {count}개를 끝냈습니다.",
    "Ready. This link signs {name} in as administrator, once: {link}": (
        "준비되었습니다. {name}님을 관리자로 한 번 로그인시키는 링크: {link}"
    ),
    "Ready. Portal: {link}": "준비되었습니다. 포털: {link}",
    "From your own Jupyter or shell: {typed}": "내 Jupyter나 셸에서: {typed}",
    "Nobody has an account yet. Invite people: {typed}": "아직 계정이 없습니다. 초대: {typed}",
    "Invite others: {typed}": "다른 사람 초대: {typed}",
    "This link signs {name} in, once: {link}": "{name}님을 한 번 로그인시키는 링크: {link}",
    "Wrote {path} (this machine has {why}). Edit it at any time; then: {typed}": (
        "{path} 파일을 썼습니다(이 컴퓨터: {why}). 언제든지 고칠 수 있습니다. 다음 명령: {typed}"
    ),
    "{count} NVIDIA GPUs": "NVIDIA GPU {count}개",
    "no NVIDIA GPU, so it has simulated ones, which run code on the CPU": (
        "NVIDIA GPU가 없어 시뮬레이션 GPU를 두며 코드는 CPU에서 실행됩니다"
    ),
    "Nothing was running in {path}.": "{path}에서 실행 중인 것이 없었습니다.",
    "Ended what was running in {path}, {count} running jobs among it. State is kept; start again with: {typed}": (
        "{path}에서 실행 중이던 것을 모두 끝냈습니다(작업 {count}개 포함). 상태는 보존됩니다. 다시 시작: {typed}"
    ),
    "Ended what was running in {path}. State is kept; start again with: {typed}": (
        "{path}에서 실행 중이던 것을 모두 끝냈습니다. 상태는 보존됩니다. 다시 시작: {typed}"
    ),
}

_REFUSED: Mapping[str, str] = {
    "The disk is full{where}. Free some space, then type the command again.": (
        "디스크가 가득 찼습니다{where}. 공간을 확보한 뒤 명령을 다시 입력하세요."
    ),
    "The disk is full. Free some space, then type the command again.": (
        "디스크가 가득 찼습니다. 공간을 확보한 뒤 명령을 다시 입력하세요."
    ),
    "The system refused: {problem}. Mend that, then type the command again.": (
        "시스템이 거절했습니다: {problem}. 문제를 고친 뒤 명령을 다시 입력하세요."
    ),
    "The account file cannot be used: {problem}. Check the disk with: {typed}": (
        "계정 파일을 쓸 수 없습니다: {problem}. 디스크를 점검하세요: {typed}"
    ),
    "There is no team {team} in platform.yaml; there are: {names}.": (
        "platform.yaml에 {team} 팀이 없습니다. 있는 팀: {names}."
    ),
    "No platform runs in {path}. Start it first: {typed}": "{path}에서 실행 중인 플랫폼이 없습니다. 시작: {typed}",
    "{path}: there is no such file; `dure init` writes one": "{path} 파일이 없습니다. `dure init`으로 만드세요",
    "{user} cannot be a user name: use 1 to 32 lower-case letters, digits, '.', '_' or '-', beginning with a letter.": (
        "{user}은(는) 사용자 이름이 될 수 없습니다. 글자로 시작하여 소문자, 숫자, '.', '_', '-'로 1~32자를 쓰세요."
    ),
    "Dure already runs in {path} (process {pid}). To end it, type: {typed}": (
        "{path}에서 Dure가 이미 실행 중입니다(프로세스 {pid}). 종료: {typed}"
    ),
    "Dure already runs in {path} (process {pid}) at {link}. To end it, type: {typed}": (
        "{path}에서 Dure가 이미 실행 중입니다(프로세스 {pid}, {link}). 종료: {typed}"
    ),
    "Somebody else is starting Dure in {path} right now. Wait, or type: {typed}": (
        "지금 다른 사람이 {path}에서 Dure를 시작하고 있습니다. 기다리거나 다음을 입력하세요: {typed}"
    ),
    "Port {port} is taken by {owner}. End that, or choose another port: {typed}": (
        "포트 {port}은(는) 사용 중입니다({owner}). 그것을 끝내거나 다른 포트를 고르세요: {typed}"
    ),
    "Port {port} is taken. End that, or choose another port: {typed}": (
        "포트 {port}은(는) 사용 중입니다. 그것을 끝내거나 다른 포트를 고르세요: {typed}"
    ),
    "Port {port}, which this folder's links name, is taken by {owner}. End that, or choose another port: {typed}": (
        "이 폴더의 링크에 적힌 포트 {port}은(는) 사용 중입니다({owner}). 그것을 끝내거나 다른 포트를 고르세요: {typed}"
    ),
    "Port {port}, which this folder's links name, is taken. End that, or choose another port: {typed}": (
        "이 폴더의 링크에 적힌 포트 {port}은(는) 사용 중입니다. 그것을 끝내거나 다른 포트를 고르세요: {typed}"
    ),
    "The section `authenticator` of platform.yaml needs {names}. Type: {typed}; then dure up again.": (
        "platform.yaml의 `authenticator`에 {names}이(가) 필요합니다. {typed}을(를) 입력한 뒤 dure up을 다시 실행하세요."
    ),
    "The Hub ended with code {code} while starting. {log}": "Hub가 시작하는 중에 코드 {code}(으)로 끝났습니다. {log}",
    "The Hub ended with code {code}. {log}": "Hub가 코드 {code}(으)로 끝났습니다. {log}",
    "{link} did not answer within {seconds} s. {log}": "{link}이(가) {seconds}초 안에 응답하지 않았습니다. {log}",
    "The control plane ended {count} times in a row; its last words: {log}": (
        "제어부가 잇따라 {count}번 끝났습니다. 마지막 출력: {log}"
    ),
    "The control plane did not start: {log}": "제어부가 시작하지 못했습니다: {log}",
    "The control plane did not answer within {seconds} s: {log}": "제어부가 {seconds}초 안에 응답하지 않음: {log}",
    "--system-users needs root, to act as each person. Type: {typed}": (
        "--system-users는 각 사람의 계정으로 실행하므로 root 권한이 필요합니다. 입력: {typed}"
    ),
}

_DOCTOR: Mapping[str, str] = {
    "Hub and server": "Hub와 서버",
    "State folder": "상태 폴더",
    "Disk": "디스크",
    "NVIDIA GPUs": "NVIDIA GPU",
    "GPU sharing (MPS)": "GPU 공유(MPS)",
    "Memory limits": "메모리 한도",
    "Platform": "플랫폼",
    "Clock": "시계",
    "Leftover processes": "남은 프로세스",
    "Environment {name}": "환경 {name}",
    "installed": "설치됨",
    "missing: {names}": "없음: {names}",
    "{path} cannot be written": "{path}에 쓸 수 없음",
    "{size} GiB free for {path}": "{path}에 {size} GiB 남음",
    "not written yet": "아직 없음",
    "edit {path}": "{path} 파일을 고치세요",
    "valid: {gpus} GPU ({simulated} simulated), {teams} team": (
        "올바름: GPU {gpus}개(시뮬레이션 {simulated}개), 팀 {teams}개"
    ),
    "valid: {gpus} GPUs ({simulated} simulated), {teams} team": (
        "올바름: GPU {gpus}개(시뮬레이션 {simulated}개), 팀 {teams}개"
    ),
    "valid: {gpus} GPU ({simulated} simulated), {teams} teams": (
        "올바름: GPU {gpus}개(시뮬레이션 {simulated}개), 팀 {teams}개"
    ),
    "valid: {gpus} GPUs ({simulated} simulated), {teams} teams": (
        "올바름: GPU {gpus}개(시뮬레이션 {simulated}개), 팀 {teams}개"
    ),
    "none found by NVML; simulated GPUs are used and said to be so": "NVML이 찾은 GPU가 없어 시뮬레이션 GPU를 씁니다",
    "needs a real GPU": "실제 GPU가 필요함",
    "nvidia-cuda-mps-control is not on PATH": "PATH에 nvidia-cuda-mps-control이 없음",
    "install the NVIDIA driver's MPS tools": "NVIDIA 드라이버의 MPS 도구를 설치하세요",
    "its daemon does not run": "데몬이 실행되지 않음",
    "its daemon runs": "데몬 실행 중",
    "by cgroup": "cgroup으로 제한",
    "by watching the jobs' memory (cgroups are not ours to write)": "작업의 메모리를 지켜봄(cgroup에 쓸 수 없음)",
    "not running": "실행 중이 아님",
    "answers at {link}": "{link}에서 응답함",
    "process {pid} runs but does not answer at {link}": "프로세스 {pid}이(가) 실행 중이지만 {link}에서 응답하지 않음",
    "it went back by {seconds} s since Dure last wrote": "Dure가 마지막으로 쓴 뒤 {seconds}초 되돌아감",
    "the platform runs; its processes are its own": "플랫폼 실행 중(프로세스는 플랫폼의 것)",
    "{count} of an earlier run ({pids}); starting again ends them and adopts the jobs that run": (
        "이전 실행의 프로세스 {count}개({pids}). 다시 시작하면 끝내고 실행 중인 작업을 이어받습니다"
    ),
    "none (this host: {host})": "없음(이 호스트: {host})",
    "{path} has no dure": "{path}에 dure가 없음",
    "{path} did not answer within 30 s": "{path}이(가) 30초 안에 응답하지 않음",
    "set its `python` in platform.yaml": "platform.yaml에서 `python`을 지정하세요",
}

_retold = Retelling(_RUNNING, _REFUSED, _DOCTOR)


def retold(text: str, lang: str) -> str:
    """Return what a command prints in `lang`: one of its own sentences, or the errors of a platform file."""
    told = _retold(text, lang)
    return platform_told(text, lang) if told == text else told


def spoken() -> str:
    """Return the language of the command that runs: its own `--lang`, `dure --lang`, else the environment's."""
    context = click.get_current_context(silent=True)
    if context is None:
        return language()
    return context.params.get("lang") or lang_of(context)


def echo(sentence: str, *, err: bool = False) -> None:
    """Print a sentence in the language of the command that runs."""
    click.echo(retold(sentence, spoken()), err=err)
