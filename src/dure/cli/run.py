"""`dure run`: ships the current folder, runs a command on a GPU, and behaves like the command itself.

The trap: the program's own options must reach it untouched, so ours end at the first word that is not an option.
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dure.cli.completion import option_values
from dure.cli.telling import AS_JSON, Line, ToldOption, connect, lang_of, option, print_json, say, table, warn
from dure.client.errors import failure
from dure.client.options import OPTIONS, job_request, parse_values
from dure.client.words import size_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.client import Client
    from dure.client.options import JobOptions, Option
    from dure.wire.plans import PlanView

DEFAULT_MAX_SIZE = "200MB"
_SIZES = {"": 1, "B": 1, "K": 10**3, "KB": 10**3, "M": 10**6, "MB": 10**6, "G": 10**9, "GB": 10**9}


def _job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for one in reversed(OPTIONS):
        if one.cells_only:
            continue
        command = _decorated(one)(command)
    return command


def _decorated(one: Option) -> Callable[[Any], Any]:
    if one.takes == "switch":
        return option("/".join(one.flags), one.name, default=None, en=one.help_en, ko=one.help_ko)
    if one.takes == "flag":
        return option(*one.flags, one.name, is_flag=True, en=one.help_en, ko=one.help_ko)
    return click.option(
        *one.flags,
        one.name,
        cls=ToldOption,
        metavar=one.metavar,
        help=one.help_en,
        ko=one.help_ko,
        shell_complete=option_values(one),
    )


@click.command(context_settings={"allow_interspersed_args": False})
@_job_options
@option("--name", metavar="NAME", en="name shown in lists (default: the command).", ko="목록에 보일 이름(기본값: 명령)")
@option(
    "--max-size",
    default=DEFAULT_MAX_SIZE,
    metavar="SIZE",
    en=f"ship at most this much of the folder ({DEFAULT_MAX_SIZE})",
    ko=f"보낼 폴더의 최대 크기({DEFAULT_MAX_SIZE})",
)
@option("--no-folder", is_flag=True, en="do not ship the current folder", ko="현재 폴더를 보내지 않음")
@AS_JSON
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- COMMAND [ARGUMENTS]...")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    argv: tuple[str, ...],
    *,
    name: str | None,
    max_size: str,
    no_folder: bool,
    as_json: bool,
    **values: Any,
) -> int:
    """Run a command on a GPU."""
    from dure.cli.following import Interrupts, Screen, exit_code_of, follow

    lang = lang_of(ctx)
    options = parse_values(values, lang=lang)
    limit_bytes = _size(max_size, lang)
    for note in options.notes:
        warn(note)
    client = connect(ctx)
    payload: dict[str, Any] = {"argv": list(argv)}
    if options.plan:
        request = job_request(options, kind="command", name=name or shlex.join(argv), payload=payload, lang=lang)
        _show_plan(client.plan(request), lang, as_json=as_json)
        return 0
    if not no_folder:
        payload["folder"] = _ship(client, options, limit_bytes, lang)
    references = [payload["folder"]] if "folder" in payload else []
    request = job_request(
        options, kind="command", name=name or shlex.join(argv), payload=payload, references=references, lang=lang
    )
    if options.detach:
        job = client.submit(request)
        if as_json:
            print_json(job)
        else:
            click.echo(job.id)
            warn(f"출력 보기: dure logs -f {job.id}" if lang == "ko" else f"Follow it with: dure logs -f {job.id}")
        return 0
    interrupts = Interrupts(client, lang)
    with interrupts.caught():
        job = client.submit(request)
        interrupts.submitted(job.id)
        try:
            ended = follow(client, job.id, Screen(lang, as_json=as_json))
        except KeyboardInterrupt:
            interrupts.settle()
            warn(
                f"취소가 진행 중입니다: dure why {job.id}"
                if lang == "ko"
                else f"Its end was asked for: dure why {job.id}"
            )
            raise
    return exit_code_of(ended)


def _show_plan(plan: PlanView, lang: str, *, as_json: bool) -> None:
    from dure.client.plans import plan_below, plan_columns, plan_rows, plan_title

    if as_json:
        print_json(plan)
        return
    say(plan_title(plan, lang))
    nowhere = "어느 클러스터에서도 시작할 수 없습니다." if lang == "ko" else "No cluster has GPUs for it."
    table(plan_columns(plan, lang), plan_rows(plan, lang), nowhere)
    for sentence in plan_below(plan, lang):
        say(sentence)


def _ship(client: Client, options: JobOptions, limit_bytes: int, lang: str) -> str:
    """Return the digest of the current folder's zip in the team's blob store."""
    from dure.cli.folder import look, pack
    from dure.state.store.blobs import BlobError

    line = Line()
    folder = look(Path.cwd(), limit_bytes, lang)
    if folder.left:
        named = ", ".join(folder.left[:5]) + (" …" if len(folder.left) > 5 else "")
        warn(
            f"보내지 않음(링크 또는 특수 파일): {named}"
            if lang == "ko"
            else f"Not shipped (links to folders, special files): {named}"
        )
    what = f"{len(folder.files)} · {size_word(folder.size_bytes)}"
    line.show(f"폴더를 보내는 중: {what}" if lang == "ko" else f"Shipping this folder: {what}")
    try:
        with tempfile.TemporaryDirectory(prefix="dure-") as scratch:
            archive = Path(scratch, "folder.zip")
            pack(folder, archive, lang)
            return client.blobs(options.team).put_file(archive)
    except BlobError as error:
        raise failure("blobs_failed", lang, problem=str(error)) from error
    except OSError as error:
        problem = error.strerror or "no reason given"
        raise failure("target_unwritable", lang, path=tempfile.gettempdir(), problem=problem) from error
    finally:
        line.show("")


def _size(text: str, lang: str) -> int:
    clean = text.strip().upper().replace(" ", "")
    number = clean.rstrip("BKMG")
    unit = clean[len(number) :]
    try:
        return int(float(number) * _SIZES[unit])
    except (ValueError, KeyError, OverflowError):
        expected = "200MB 또는 1GB 같은 크기" if lang == "ko" else "a size such as 200MB or 1GB"
        raise failure("invalid_option", lang, option="--max-size", value=text, expected=expected) from None
