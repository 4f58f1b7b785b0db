"""Our own words in the data of a refusal, in Korean. The trap: each is found by its field and its English."""

from __future__ import annotations

from typing import Any

from dure.wire.retold import retold

_KOREAN = {
    "place cluster": "클러스터",
    "tier any tier": "모든 티어의",
    "kind cell": "셀",
    "kind function": "함수",
    "kind command": "명령",
    "action cancel": "취소",
    "action interrupt": "중단",
    "action send this job input": "입력 보내기",
    "action read the output of this job": "출력 보기",
    "action read the artifacts of this job": "산출물 보기",
    "action reserve GPUs": "GPU 예약",
    "action release": "예약 해제",
    "action share this session": "세션 공유",
    "action delete this session": "세션 삭제",
    "action label this session's versions": "세션 버전에 이름표 달기",
    "action rename this": "이름 변경",
    "action copy this": "복사",
    "action see what this session holds": "세션 내용 보기",
    "who administrators": "관리자",
    "phase succeeded": "성공",
    "phase failed": "실패",
    "phase cancelled": "취소됨",
    "what request": "요청",
    "what cell": "셀",
    "what function": "함수",
    "what command": "명령",
    "where the database's folder": "데이터베이스 폴더",
    "where the platform's folder": "플랫폼 폴더",
    "choices none": "없음",
}
_KOREAN_ENDS = {" and administrators": "님과 관리자", " and whom it is shared with": "님과 공유받은 사람"}


def korean(name: str, value: Any) -> Any:
    """Return what the Korean sentence has for `{name}`; names of people and things stay as they are."""
    for end, korean_end in _KOREAN_ENDS.items():
        if name == "who" and str(value).endswith(end):
            return f"{str(value).removesuffix(end)}{korean_end}"
    told = retold(value, "ko") if name == "problem" and isinstance(value, str) else value
    return _KOREAN.get(f"{name} {value}", told)
