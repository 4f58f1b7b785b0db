"""What is said of a command line that is not understood, in the reader's language, with the command that was meant.

The trap: click words its errors in English and tells them apart by class only in part, so what is not known here is
told in its words rather than not at all.
"""

from __future__ import annotations

import re

import click

# what other tools call our commands
MEANT = {
    "cancel": ("kill", "stop", "rm", "scancel"),
    "jobs": ("ps", "status", "list", "ls"),
    "logs": ("log", "tail"),
    "queue": ("squeue", "top"),
    "run": ("submit", "exec", "sbatch", "srun"),
}
_COMMAND = re.compile(r"No such command ['\"](?P<name>[^'\"]*)['\"]")
_RANGE = re.compile(r"is not in the range (?P<range>.*)\.$")
_EXTRA = re.compile(r"Got unexpected extra arguments? \((?P<words>.*)\)$")


def sentence(error: click.UsageError, lang: str) -> str:
    """Return what is wrong as a sentence."""
    said = (_korean(error) if lang == "ko" else None) or " ".join(error.format_message().split())
    return said if said.endswith((".", "?")) else f"{said}."


def meant(error: click.UsageError, lang: str) -> str | None:
    """Return what to type instead, as a sentence, where another tool's word stands for one of our commands."""
    unknown = _COMMAND.match(error.message)
    of_group = error.ctx is None or error.ctx.parent is None
    ours = next((ours for ours, theirs in MEANT.items() if unknown and unknown["name"] in theirs), None)
    if ours is None or not of_group:
        return None
    return f"`dure {ours}` 명령을 쓰세요." if lang == "ko" else f"Type `dure {ours}`."


def _korean(error: click.UsageError) -> str | None:
    if isinstance(error, click.NoSuchOption):
        near = f" 비슷한 옵션: {', '.join(sorted(error.possibilities))}." if error.possibilities else ""
        return f"{error.option_name} 옵션은 없습니다.{near}"
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name} 옵션의 값이 없거나 쓸 수 없는 값입니다."
    if isinstance(error, click.MissingParameter):
        return f"{_place(error)} 값이 필요합니다."
    if isinstance(error, click.BadParameter):
        kind = error.param.type if error.param else None
        choices = f" 사용 가능: {', '.join(map(str, kind.choices))}." if isinstance(kind, click.Choice) else ""
        if span := _RANGE.search(error.message):
            choices = f" 가능한 범위: {span['range']}."
        elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
            choices = " 숫자를 쓰세요."
        return f"{_place(error)} 값이 올바르지 않습니다.{choices or f' ({error.message.rstrip(chr(46))})'}"
    if unknown := _COMMAND.match(error.message):
        return f"{unknown['name']} 명령은 없습니다."
    if extra := _EXTRA.match(error.message):
        return f"남는 인자가 있습니다: {extra['words']}."
    return None


def _place(error: click.BadParameter) -> str:
    """Return the option or argument as a person types it: `--lines`, `JOB`."""
    param = error.param
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    if param is not None:
        return param.make_metavar(error.ctx) if error.ctx else str(param.name).upper()
    return str(error.param_hint or "").strip("'")
