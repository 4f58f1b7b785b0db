"""The command group: finds commands lazily, speaks two languages, and turns every failure into one sentence.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted; `dure run` passes on the program's own. The
trap: names and short helps of the server's commands are written here, since asking the server part would import it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import click

from dure.cli import misuse
from dure.cli.telling import ToldFormatter, ToldOption, lang_of, warn
from dure.client.config import language
from dure.client.errors import DureError, failure
from dure.wire.language import LANGUAGES

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

USAGE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
SERVER_GROUP = "dure.commands"
SERVER_NEEDS = ("fastapi", "sqlalchemy", "uvicorn")  # what `dure[server]` brings and the light side does not


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that is known before it is loaded: `place` is "module:name", empty for the server's."""

    place: str
    en: str
    ko: str

    def told(self, lang: str) -> str:
        """Return the command's help in `lang`."""
        return self.ko if lang == "ko" else self.en


COMMANDS: dict[str, Entry] = {
    "run": Entry(
        "dure.cli.run:run",
        "Run a command on a GPU, with this folder, and see its output live.",
        "이 폴더와 함께 명령을 GPU에서 실행하고 출력을 실시간으로 봅니다.",
    ),
    "jobs": Entry("dure.cli.jobs:jobs", "List jobs, newest first.", "작업 목록을 최신순으로 봅니다."),
    "logs": Entry("dure.cli.jobs:logs", "Show what a job printed.", "작업의 출력을 봅니다."),
    "why": Entry(
        "dure.cli.jobs:why",
        "Tell why a job waits or how it ended, and its whole story.",
        "작업이 기다리는 이유나 끝난 경위를 모두 봅니다.",
    ),
    "cancel": Entry("dure.cli.jobs:cancel", "Cancel jobs.", "작업을 취소합니다."),
    "queue": Entry(
        "dure.cli.platform:queue",
        "Show what waits and why, what runs, and every GPU.",
        "대기 작업과 이유, 실행 작업, 모든 GPU를 봅니다.",
    ),
    "tiers": Entry(
        "dure.cli.platform:tiers",
        "List the kinds of GPU with what is free and what they cost.",
        "GPU 티어별 여유와 가격을 봅니다.",
    ),
    "usage": Entry(
        "dure.cli.allowance:usage",
        "Show what teams and people used and how far limits are used up.",
        "팀과 사용자의 사용량과 한도를 봅니다.",
    ),
    "reserve": Entry(
        "dure.cli.allowance:reserve",
        "Keep GPUs for a time: add, list, release.",
        "GPU를 예약하고 목록을 보고 해제합니다.",
    ),
    "events": Entry("dure.cli.platform:events", "Show the event log.", "이벤트 기록을 봅니다."),
    "artifacts": Entry(
        "dure.cli.artifacts:artifacts", "List and download a job's files.", "작업이 남긴 파일을 보고 내려받습니다."
    ),
    "sessions": Entry(
        "dure.cli.sessions:sessions",
        "See, compare, share and delete what notebooks hold.",
        "노트북에 저장된 변수를 보고 비교하고 공유하고 삭제합니다.",
    ),
    "login": Entry("dure.cli.account:login", "Remember a platform and a token.", "플랫폼 주소와 토큰을 저장합니다."),
    "logout": Entry("dure.cli.account:logout", "Forget platform and token.", "저장된 주소와 토큰을 지웁니다."),
    "whoami": Entry("dure.cli.account:whoami", "Show who you are and where.", "현재 사용자와 플랫폼을 봅니다."),
    "completion": Entry(
        "dure.cli.completion:completion", "Print the shell's completion script.", "셸 자동 완성 스크립트를 출력합니다."
    ),
    "up": Entry(
        "", "Start the platform and print one link that signs you in.", "플랫폼을 시작하고 로그인 링크를 출력합니다."
    ),
    "down": Entry("", "End the platform of a folder; state is kept.", "플랫폼을 종료합니다. 상태는 보존됩니다."),
    "init": Entry(
        "", "Write a commented platform.yaml from what is here.", "이 컴퓨터에 맞는 platform.yaml을 만듭니다."
    ),
    "doctor": Entry(
        "", "Check this machine, with a fix for what is wrong.", "이 컴퓨터를 점검하고 해결 방법을 알려 줍니다."
    ),
    "demo": Entry("", "The scripted tour in a temporary folder.", "임시 폴더에서 시연을 실행합니다."),
    "simulate": Entry(
        "", "What would have happened to past jobs under other rules.", "다른 규칙이었다면 지난 작업이 어땠을지 봅니다."
    ),
    "render": Entry(
        "",
        "Write the queueing rules of platform.yaml as Kueue's documents.",
        "platform.yaml의 대기열 규칙을 Kueue 문서로 씁니다.",
    ),
    "user": Entry("", "Invite people and see who may sign in.", "사용자를 초대하고 목록을 봅니다."),
}


_ABOUT = "Notebooks stay on CPU; a cell, a function or a command takes a GPU only while it runs."
_ABOUT_KO = "노트북은 CPU에서 돌고, 셀이나 함수나 명령이 실행되는 동안에만 GPU를 씁니다."


class Dure(click.Group):
    """The `dure` group. Commands are loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading its module; None when there is no such command anywhere."""
        entry = COMMANDS.get(cmd_name)
        if entry is None or not entry.place:
            command = _server_command(cmd_name, lang_of(ctx), known=entry is not None)
        else:
            module, _, name = entry.place.partition(":")
            command = getattr(import_module(module), name)
        if command is not None and entry is not None:
            command.help = entry.told(lang_of(ctx))
        return command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what all of it is for."""
        self.help = _ABOUT_KO if lang_of(ctx) == "ko" else _ABOUT
        super().format_help_text(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and helps from the table, without loading anything."""
        lang = lang_of(ctx)
        parts = (("사용" if lang == "ko" else "Use", True), ("운영" if lang == "ko" else "Operate", False))
        for title, ours in parts:
            rows = [(name, entry.told(lang)) for name, entry in COMMANDS.items() if bool(entry.place) is ours]
            with formatter.section(title):
                formatter.write_dl(rows)


def _print_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click's
    if asked:
        import dure

        click.echo(f"dure {dure.__version__}")
        ctx.exit()


GROUP = Dure(
    "dure",
    help=_ABOUT,
    params=[
        ToldOption(
            ["--lang"],
            type=click.Choice(LANGUAGES),
            is_eager=True,
            help="Language, 언어 (default: DURE_LANG, else the locale's).",
            ko="언어, language (기본: DURE_LANG, 없으면 로캘의 언어)",
        ),
        ToldOption(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Print the version.",
            ko="버전을 출력합니다.",
        ),
    ],
    callback=lambda lang: None,  # noqa: ARG005 - read from the context by lang_of
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run `dure` with `argv` (the process's own when None) and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A job may print what the terminal's encoding does not have.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_run(words))


def _run(words: list[str]) -> int:
    click.Context.formatter_class = ToldFormatter
    try:
        result = GROUP.main(args=words, prog_name="dure", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return USAGE
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        warn(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, which is its right; Python would complain once more at exit, so stdout leads nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except DureError as error:
        warn(str(error))
        return 1
    return result if isinstance(result, int) else 0


def _usage(error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx else "dure"
    lang = lang_of(error.ctx) if error.ctx else language()
    see = misuse.meant(error, lang) or (f"`{path} --help`를 참고하세요." if lang == "ko" else f"See `{path} --help`.")
    warn(f"{misuse.sentence(error, lang)} {see}")
    return error.exit_code


def _server_command(name: str, lang: str, *, known: bool) -> click.Command | None:
    if not all(find_spec(package) for package in SERVER_NEEDS):
        if known:
            raise failure("server_not_installed", lang, command=name)
        return None
    for point in _entry_points():
        for command in point.load()():
            if command.name == name:
                found: click.Command = command
                return found
    return None


def _entry_points() -> Sequence[EntryPoint]:
    from importlib.metadata import entry_points

    found: Any = entry_points(group=SERVER_GROUP)
    return tuple(found)
