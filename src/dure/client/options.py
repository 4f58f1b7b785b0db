"""The job options, defined once for `%%gpu`, `dure run` and `@dure.gpu`: parsing, help, completion, the request.

Standard library only until a request is built, so that help and completion are instant. The trap: an option is added in
one place, `OPTIONS`, and what it takes decides how its value is read; how times are read is in `times`.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from dure.client.errors import failure
from dure.client.times import deadline_of, number_of, parse_duration
from dure.wire.cells import MAX_KEEP_S

if TYPE_CHECKING:
    from dure.client.errors import DureError
    from dure.wire.messages import JobRequest, PlatformView

Takes = Literal["text", "gpus", "budget", "deadline", "duration", "count", "choice", "switch", "flag"]
Choices = Literal["tiers", "priorities", "data_classes", "environments", "teams"]

CONFLICTS = ("keep", "take", "both", "fail")
MAX_GPUS = 1024
MAX_NODES = 1024
MAX_RETRIES = 10
_COUNTS = {"nodes": (1, MAX_NODES), "retries": (0, MAX_RETRIES)}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `name` is the keyword of `@dure.gpu`, `flags` are the words (the negative one last for a switch)."""

    name: str
    flags: tuple[str, ...]
    takes: Takes
    metavar: str
    help_en: str
    help_ko: str
    choices: Choices | None = None
    examples: tuple[str, ...] = ()
    cells_only: bool = False
    commands_only: bool = False

    @property
    def valued(self) -> bool:
        """True when a value follows the flag."""
        return self.takes not in {"switch", "flag"}

    def told(self, lang: str) -> str:
        """Return the option's help in `lang`."""
        return self.help_ko if lang == "ko" else self.help_en


OPTIONS: tuple[Option, ...] = (
    Option(
        "tier",
        ("--tier",),
        "text",
        "TIER",
        "kind of GPU; any when left out (`dure tiers`)",
        "GPU 티어. 생략하면 모든 티어 (`dure tiers`)",
        "tiers",
    ),
    Option(
        "gpus",
        ("--gpus",),
        "gpus",
        "N",
        "how many GPUs (on each node), or a part of one such as 0.5; 1 when left out",
        "(노드마다) 쓸 GPU 수. 0.5처럼 일부만도 가능. 생략하면 1",
        examples=("1", "2", "0.5"),
    ),
    Option(
        "nodes",
        ("--nodes",),
        "count",
        "N",
        "`dure run`: on N nodes at once, a process on each (torchrun starts one for each GPU); 1 when left out",
        "`dure run`: 노드 N개에서 동시에 실행, 노드마다 프로세스 하나(torchrun은 GPU마다 하나). 생략하면 1",
        examples=("2", "4"),
        commands_only=True,
    ),
    Option(
        "required_topology",
        ("--required-topology",),
        "text",
        "LEVEL",
        "`dure run`: all nodes in one domain of this level of the topology, such as one rack",
        "`dure run`: 모든 노드를 이 토폴로지 단계에서 같은 곳(예: 한 rack)에 배치",
        examples=("rack",),
        commands_only=True,
    ),
    Option(
        "preferred_topology",
        ("--preferred-topology",),
        "text",
        "LEVEL",
        "`dure run`: nodes in one domain of this level if that can be, else as near as can be",
        "`dure run`: 가능하면 이 토폴로지 단계에서 같은 곳에, 아니면 최대한 가까운 노드에 배치",
        examples=("rack",),
        commands_only=True,
    ),
    Option(
        "priority",
        ("--priority",),
        "text",
        "PRIORITY",
        "who goes first: high, normal or low",
        "먼저 시작할 순서: high, normal, low",
        "priorities",
    ),
    Option(
        "budget",
        ("--budget",),
        "budget",
        "flex|strict|AMOUNT",
        "flex: may cost money within the team's budget; strict: never; AMOUNT: at most this much",
        "flex: 팀 예산 안에서 비용 허용, strict: 비용 없음, AMOUNT: 최대 금액",
        examples=("flex", "strict"),
    ),
    Option(
        "deadline",
        ("--deadline",),
        "deadline",
        "WHEN",
        "when it should be done: 18:00, 2h or 2026-05-01T18:00",
        "완료 희망 시각: 18:00, 2h 또는 2026-05-01T18:00",
        examples=("18:00", "2h"),
    ),
    Option(
        "burst",
        ("--burst", "--no-burst"),
        "switch",
        "",
        "may (not) go to a public cloud when the policy says so",
        "정책에 따라 퍼블릭 클라우드로 보낼 수 있음(없음)",
    ),
    Option(
        "data",
        ("--data",),
        "text",
        "CLASS",
        "data class, which says whether the data may leave the house",
        "데이터 등급(외부 반출 가능 여부)",
        "data_classes",
    ),
    Option(
        "env",
        ("--env",),
        "text",
        "ENV",
        "environment (Python and packages) to run in",
        "실행 환경(Python과 패키지)",
        "environments",
    ),
    Option(
        "timeout",
        ("--timeout",),
        "duration",
        "TIME",
        "end it after running this long: 5m, 1h30m",
        "실행 시간 제한: 5m, 1h30m",
        examples=("5m", "1h"),
    ),
    Option(
        "keep",
        ("--keep",),
        "duration",
        "TIME",
        "keep the GPU this long for the next cell of this notebook: 5m",
        "이 노트북의 다음 셀을 위해 GPU를 유지할 시간: 5m",
        examples=("5m",),
        cells_only=True,
    ),
    Option(
        "on_conflict",
        ("--on-conflict",),
        "choice",
        "keep|take|both|fail",
        "a name that changed here meanwhile: keep ours (default), take the cell's, both (NAME_from_gpu), or fail",
        "그동안 여기서 바뀐 이름: keep 유지(기본), take 셀의 값, both 둘 다(NAME_from_gpu), fail 실패",
        examples=CONFLICTS,
        cells_only=True,
    ),
    Option(
        "keep_partial",
        ("--keep-partial",),
        "flag",
        "",
        "bring what the cell had changed also when it fails or is interrupted",
        "셀이 실패하거나 중단되어도 그때까지 바뀐 이름을 가져오기",
        cells_only=True,
    ),
    Option(
        "team",
        ("--team",),
        "text",
        "TEAM",
        "team whose queue and quota are used",
        "사용할 팀의 큐와 할당량",
        "teams",
    ),
    Option(
        "retries",
        ("--retries",),
        "count",
        "N",
        "start again up to N times (0 to 10) when the worker is lost",
        "워커가 사라지면 최대 N번(0~10) 다시 시작",
        examples=("1", "3"),
    ),
    Option(
        "detach",
        ("--detach", "-d"),
        "flag",
        "",
        "submit and return at once",
        "제출만 하고 바로 돌아오기",
    ),
    Option(
        "plan",
        ("--plan",),
        "flag",
        "",
        "show when it would start, how long it runs and what it costs, per tier; submit nothing",
        "제출하지 않고 티어별 예상 시작, 실행 시간, 비용 보기",
    ),
)
BY_NAME: Mapping[str, Option] = {option.name: option for option in OPTIONS}
OF_FUNCTIONS: Mapping[str, Option] = {name: option for name, option in BY_NAME.items() if name != "plan"}
BY_FLAG: Mapping[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a person asked of the queue. `notes` are sentences to show once before submitting."""

    tier: str | None = None
    gpus: float = 1
    nodes: int = 1
    required_topology: str | None = None
    preferred_topology: str | None = None
    priority: str | None = None
    budget: Literal["flex", "strict"] | float | None = None
    deadline_at: float | None = None
    burst: bool | None = None
    data: str | None = None
    env: str | None = None
    timeout_s: float | None = None
    keep_s: float = 0
    on_conflict: str = CONFLICTS[0]
    keep_partial: bool = False
    team: str | None = None
    retries: int = 0
    detach: bool = False
    plan: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)


_OWN = frozenset({"env", "detach", "plan", "notes", "on_conflict", "keep_partial"})  # not asked of the queue
_FIELD_OF = {"deadline": "deadline_at", "timeout": "timeout_s", "keep": "keep_s"}


def parse_words(
    words: Sequence[str], *, now: float | None = None, lang: str = "en", program: str = "%%gpu"
) -> JobOptions:
    """Return the options that shell-split `words` ask for; the last of a repeated one counts.

    Raises DureError `unknown_option` or `invalid_option`. `now` is seconds since the epoch, the clock's when None.
    """
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        option = BY_FLAG.get(flag)
        if option is None:
            raise unknown(flag, lang, program)
        if not option.valued:
            if equals:
                raise failure("invalid_option", lang, option=flag, value=value, expected=f"{flag} without a value")
            values[option.name] = flag == option.flags[0] or option.takes == "flag"
        elif equals:
            values[option.name] = value
        elif rest and rest[0] not in BY_FLAG:
            values[option.name] = rest.pop(0)
        else:
            raise failure("invalid_option", lang, option=flag, value="", expected=f"{flag} {option.metavar}")
    return parse_values(values, now=now, lang=lang)


def parse_values(
    values: Mapping[str, Any], *, now: float | None = None, lang: str = "en", names: Mapping[str, Option] = BY_NAME
) -> JobOptions:
    """Return the options for keyword `values`, texts or Python values; None means left out.

    Raises DureError `unknown_option` or `invalid_option`.
    """
    now = time.time() if now is None else now
    parsed: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in values.items():
        option = names.get(name)
        if option is None:
            raise unknown(name, lang, "@dure.gpu", flags=False)
        if value is None:
            continue
        if option.takes == "deadline":
            parsed["deadline_at"], note = deadline_of(value, now, lang)
            notes += [note] if note else []
        else:
            choice = option.takes == "choice"
            parsed[_FIELD_OF.get(name, name)] = (_choice_of if choice else _value_of)(option, value, lang)
    return JobOptions(**parsed, notes=tuple(notes))


def unknown(word: str, lang: str, program: str, *, flags: bool = True) -> DureError:
    """Return the error for an option that does not exist, naming the nearest one that does."""
    near = difflib.get_close_matches(word, BY_FLAG if flags else OF_FUNCTIONS, n=1)
    see = f"`{program} --help`" if flags else ", ".join(OF_FUNCTIONS)
    if near:
        hint = f"{near[0]}을(를) 뜻했나요? 전체 목록: {see}" if lang == "ko" else f"did you mean {near[0]}? All: {see}"
    else:
        hint = f"전체 목록: {see}" if lang == "ko" else f"the options are listed by {see}" if flags else f"use {see}"
    return failure("unknown_option", lang, option=word, hint=hint)


def wants_help(words: Sequence[str]) -> bool:
    """Tell whether help is asked for anywhere in `words`."""
    return "--help" in words or "-h" in words


def help_text(program: str, lang: str = "en") -> str:
    """Return the whole help of `program`, one option a line."""
    usage = f"{'사용법' if lang == 'ko' else 'Usage'}: {program} [{'옵션' if lang == 'ko' else 'options'}]"
    left = [f"  {', '.join(o.flags)}{' ' + o.metavar if o.valued else ''}" for o in OPTIONS]
    width = max(len(text) for text in left)
    lines = [f"{text:<{width}}  {option.told(lang)}" for text, option in zip(left, OPTIONS, strict=True)]
    return "\n".join([usage, "", *lines])


def complete(line: str, platform: PlatformView | None = None) -> list[str]:
    """Return what the last word of `line` may become: option names, or values where `platform` knows them."""
    words = line.split()
    last = "" if not line or line[-1].isspace() else words.pop() if words else ""
    flag, equals, begun = last.partition("=")
    if equals and flag in BY_FLAG:
        return [f"{flag}={value}" for value in values_of(BY_FLAG[flag], platform) if value.startswith(begun)]
    before = BY_FLAG.get(words[-1]) if words else None
    if before is not None and before.valued:
        return [value for value in values_of(before, platform) if value.startswith(last)]
    used = {BY_FLAG[word.partition("=")[0]].name for word in words if word.partition("=")[0] in BY_FLAG}
    cells = [option for option in OPTIONS if not option.commands_only]
    flags = [flag for option in cells if option.name not in used for flag in option.flags]
    return [flag for flag in [*flags, "--help"] if flag.startswith(last)]


def values_of(option: Option, platform: PlatformView | None) -> list[str]:
    """Return the values worth offering for `option`: the platform's names, or examples."""
    if option.choices is None or platform is None:
        return list(option.examples)
    found: Sequence[Any] = getattr(platform, option.choices)
    return [item if isinstance(item, str) else item.name for item in found]


def job_request(
    options: JobOptions,
    *,
    kind: Literal["cell", "command", "function"],
    name: str,
    payload: dict[str, Any],
    references: Sequence[str] = (),
    inputs: Mapping[str, int] | None = None,
    python: str | None = None,
    memory_bytes: int | None = None,
    lang: str = "en",
) -> JobRequest:
    """Return the submission. Raises DureError `invalid_option` for a name that cannot exist, else `payload_invalid`."""
    from pydantic import ValidationError

    from dure.wire.messages import JobRequest

    if kind != "cell" and (options.on_conflict != CONFLICTS[0] or options.keep_partial):
        expected = (
            "%%gpu 셀에서만 쓸 수 있는" if lang == "ko" else "it in a %%gpu cell, since only a cell brings names back"
        )
        flag = "--keep-partial" if options.keep_partial else "--on-conflict"
        raise failure("invalid_option", lang, option=flag, value="", expected=expected)
    if options.nodes > 1 and kind != "command":
        raise failure("one_node", lang, kind=kind, nodes=options.nodes)
    if options.keep_s and (kind != "cell" or options.retries):
        expected = "it in a %%gpu cell, without --retries: what is kept there for the next cell cannot be started again"
        if lang == "ko":
            expected = "--retries 없이 %%gpu 셀에서만 쓸 수 있는"
        raise failure("invalid_option", lang, option="--keep", value=f"{options.keep_s:g}s", expected=expected)
    asked = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in _OWN}
    try:
        return JobRequest(
            kind=kind,
            name=" ".join(name.split())[:200] or kind,
            payload=payload,
            environment=options.env,
            references=list(references),
            inputs=dict(inputs or {}),
            python=python,
            memory_bytes=memory_bytes,
            **asked,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "request"
        if where in {"tier", "priority", "data", "team", "environment"}:
            flag = "--env" if where == "environment" else f"--{where}"
            expected = "한 단어 이름" if lang == "ko" else "a name of letters, digits and . _ @ -"
            raise failure("invalid_option", lang, option=flag, value=first["input"], expected=expected) from error
        raise failure("payload_invalid", lang, kind=kind, problem=f"{where}: {first['msg']}") from error


def _value_of(option: Option, value: Any, lang: str) -> Any:
    if option.takes in {"switch", "flag"}:
        if isinstance(value, bool):
            return value
        expected = "True or False"
    elif option.takes == "gpus":
        number = number_of(value)
        if number is not None and 0 < number <= MAX_GPUS:
            return number
        expected = (
            f"1~{MAX_GPUS} 또는 0.5 같은 수" if lang == "ko" else f"a number up to {MAX_GPUS}, or a part such as 0.5"
        )
    elif option.takes == "count":
        number, (least, most) = number_of(value), _COUNTS[option.name]
        if number is not None and number == int(number) and least <= number <= most:
            return int(number)
        expected = f"{least}~{most}의 정수" if lang == "ko" else f"a whole number from {least} to {most}"
    elif option.takes == "budget":
        number = number_of(value)
        if value in {"flex", "strict"}:
            return value
        if number is not None and number >= 0:
            return number
        expected = "flex, strict 또는 금액" if lang == "ko" else "flex, strict or an amount of money"
    elif option.takes == "duration":
        return _duration_of(option, value, lang)
    elif isinstance(value, str) and value.strip():
        return value.strip()
    else:
        expected = "이름" if lang == "ko" else "a name"
    raise failure("invalid_option", lang, option=option.flags[0], value=value, expected=expected)


def _choice_of(option: Option, value: Any, lang: str) -> Any:
    if value in option.examples:
        return value
    raise failure("invalid_option", lang, option=option.flags[0], value=value, expected=", ".join(option.examples))


def _duration_of(option: Option, value: Any, lang: str) -> float:
    text = f"{value.total_seconds()}s" if isinstance(value, timedelta) else str(value)
    seconds = parse_duration(text, option=option.flags[0], lang=lang)
    if option.name == "timeout" and seconds <= 0:
        expected = "0보다 긴 시간" if lang == "ko" else "a time longer than 0"
        raise failure("invalid_option", lang, option=option.flags[0], value=value, expected=expected)
    if option.name == "keep" and seconds > MAX_KEEP_S:
        expected = "최대 1시간의 시간(예: 5m)" if lang == "ko" else "at most 1h, since a kept GPU is used by nobody: 5m"
        raise failure("invalid_option", lang, option=option.flags[0], value=str(value), expected=expected)
    return seconds
