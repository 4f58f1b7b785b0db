"""How the isolation of a part of a GPU is said, in English and Korean: one sentence, the same wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.core.wording import Told, gpus

_HALF_MILLI = 500


def shared(isolation: Mapping[str, Any], lang: str) -> str:
    """Return what keeps the holder of a part of a GPU apart from the others on it; `isolation.isolation` made it."""
    told = Told(isolation)
    limit = told.number("memory_bytes")
    how = told.text("sharing") if limit is None else f"{told.text('sharing')} limited"
    memory = f"{(limit or 0) / 1e9:.3g} GB"
    milli = told.number("gpus_milli")
    if lang == "ko":
        part = "GPU 절반" if milli == _HALF_MILLI else gpus(milli, "ko")
        return f"{part}, {_KOREAN.get(how, how).format(memory=memory)}."
    part = "half a GPU" if milli == _HALF_MILLI else gpus(milli)
    sentence = f"{part}, {_ENGLISH.get(how, how).format(memory=memory)}."
    return sentence[:1].upper() + sentence[1:]


_ENGLISH = {
    "time-slice": "time-sliced: no isolation of memory",
    "mps": "by MPS: its share of computing, no limit of memory, faults are shared",
    "mps limited": "by MPS: its share of computing and at most {memory} of memory, faults are shared",
    "mig": "of a MIG instance: isolated from other instances, time-sliced within it",
    "simulated": "simulated: nothing is really shared",
}
_KOREAN = {
    "time-slice": "시분할: 메모리가 격리되지 않습니다",
    "mps": "MPS: 연산만 나누며 메모리 제한이 없고 오류가 함께 퍼집니다",
    "mps limited": "MPS: 연산을 나누고 메모리는 {memory}까지이며 오류가 함께 퍼집니다",
    "mig": "MIG 인스턴스: 다른 인스턴스와 격리되고 그 안에서는 시분할됩니다",
    "simulated": "시뮬레이션: 실제로 나누는 것은 없습니다",
}
