"""`dure sessions list | show | diff | save | fork | restore | undo | share | unshare | rename | delete`: from outside.

The trap: deleting cannot be taken back, so on a terminal it asks first, and elsewhere it wants `--yes`.
"""

from __future__ import annotations

import shlex
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dure.cli.telling import AS_JSON, ToldCommand, connect, lang_of, option, print_json, say, table, warn, when
from dure.client.errors import DureError, failure
from dure.client.session_refs import (
    checked_label,
    checked_name,
    checked_people,
    found,
    moment_of,
    newest_before,
    parsed,
    shown,
    state_before,
)
from dure.state.inspection import size_text
from dure.wire.retold import retold
from dure.wire.sessions import DiffView, SaveRequest, SessionView, VersionView

if TYPE_CHECKING:
    from dure.client import Client

SESSION = click.argument("name", metavar="SESSION")


@click.group(invoke_without_command=True)
@click.pass_context
def sessions(ctx: click.Context) -> None:
    """See, compare, share and delete what notebooks hold."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@sessions.command("list", cls=ToldCommand, ko="볼 수 있는 세션의 목록을 봅니다.")
@option("--user", en="Only this person's.", ko="이 사용자의 세션만 봅니다.")
@option("--limit", default=100, type=click.IntRange(1, 500), en="At most so many.", ko="최대 개수")
@AS_JSON
@click.pass_context
def list_(ctx: click.Context, user: str | None = None, limit: int = 100, *, as_json: bool = False) -> None:
    """List the sessions that you may see."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    listing = client.sessions(user=user, limit=limit)
    if as_json:
        print_json(listing)
        return
    rows = [
        (
            each.id,
            each.name,
            each.user,
            when(each.saved_at),
            str(each.versions),
            size_text(each.held_bytes),
            ", ".join(each.shared).replace("*", "팀 전체" if korean else "the team"),
            when(each.expires_at),
        )
        for each in listing.sessions
    ]
    columns = (
        ("세션", "이름", "소유자", "저장", "버전", "크기", "공유", "만료")
        if korean
        else ("SESSION", "NAME", "OWNER", "SAVED", "VERSIONS", "SIZE", "SHARED", "EXPIRES")
    )
    table(columns, rows, "세션이 없습니다." if korean else "No sessions.", spare=(4,))
    if listing.more:
        told = f"{listing.more} more: name a person with --user, or more of them with --limit."
        warn(f"{listing.more}개 더 있습니다. --user나 --limit을 쓰세요." if korean else told)
    held, limit_bytes = size_text(listing.held_bytes), size_text(listing.policy.quota_bytes)
    if rows and sys.stdout.isatty():
        warn(f"내 세션 {held} / 한도 {limit_bytes}." if korean else f"Yours hold {held} of {limit_bytes}.")


@sessions.command("show", cls=ToldCommand, ko="세션의 버전 목록을, SESSION@N이면 버전 N의 내용을 봅니다.")
@SESSION
@AS_JSON
@click.pass_context
def show(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Show a session's versions, or with SESSION@N what version N holds."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    reference = parsed(name)
    session = found(client, reference.name)
    if reference.number is not None:
        content = client.session_content(session.id, reference.number)
        if as_json:
            print_json(content)
            return
        held = [
            (
                each.name,
                each.type,
                "" if each.lost else size_text(each.size_bytes),
                str(each.cell or ""),
                retold(each.lost or "", lang_of(ctx)),
            )
            for each in content.variables
        ]
        columns = (
            ("변수", "형식", "크기", "셀", "저장 안 됨") if korean else ("NAME", "TYPE", "SIZE", "CELL", "NOT SAVED")
        )
        table(columns, held, "변수가 없습니다." if korean else "No variables.")
        return
    detail = client.session(session.id)
    if as_json:
        print_json(detail)
        return
    heads = (
        ("버전", "저장", "셀", "변수", "크기", "추가", "변경", "이름표")
        if korean
        else ("VERSION", "SAVED", "CELL", "VARIABLES", "SIZE", "NEW", "CHANGED", "LABEL")
    )
    table(heads, [_row(version, korean=korean) for version in detail.versions], "", spare=(5, 3))


def _row(version: VersionView, *, korean: bool) -> tuple[str, ...]:
    origin = version.origin
    origin_word = (f"버전 {origin}에서" if korean else f"from version {origin}") if origin else ""
    return (
        str(version.number),
        when(version.at),
        str(version.cell),
        str(version.variables),
        size_text(version.size_bytes),
        size_text(version.new_bytes),
        version.changed,
        version.label or origin_word,
    )


@sessions.command(
    "diff", cls=ToldCommand, ko="SESSION@N에서 버전 AFTER까지 달라진 점을 봅니다(AFTER 생략: 최신, N 생략: 그 직전)."
)
@SESSION
@click.argument("after", required=False, type=click.IntRange(1))
@option("--since", metavar="HH:MM", en="What changed since this time of day.", ko="이 시각 이후 달라진 점")
@AS_JSON
@click.pass_context
def diff(ctx: click.Context, name: str, after: int | None, since: str | None, *, as_json: bool) -> None:
    """Show what changed from SESSION@N to version AFTER (the newest when left out; N: the one before)."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    reference = parsed(name)
    session = found(client, reference.name)
    last = after or session.newest
    first = reference.number or max(1, last - 1)
    if since is not None:
        if reference.number is not None:
            told = "--since says which version to begin with: leave it out, or @N."
            raise click.UsageError("--since가 시작 버전을 정합니다. --since나 @N 하나만 쓰세요." if korean else told)
        first = _saved_by(ctx, client.session(session.id).versions, since)
    differing = client.session_diff(session.id, first, last)
    if as_json:
        print_json(differing)
        return
    words = ("추가", "변경", "삭제") if korean else ("new", "changed", "gone")
    lists = (differing.added, differing.changed, differing.removed)
    rows = [(each, word) for word, names in zip(words, lists, strict=True) for each in names]
    none = (
        f"버전 {first}과 버전 {last}은 같습니다." if korean else f"Nothing differs between versions {first} and {last}."
    )
    if rows:
        warn(f"버전 {first} → 버전 {last}" if korean else f"From version {first} to version {last}")
    table(("변수", "내용") if korean else ("NAME", "WHAT"), rows, none)


def _saved_by(ctx: click.Context, versions: Sequence[VersionView], since: str) -> int:
    korean, moment = lang_of(ctx) == "ko", moment_of(since)
    if moment is None:
        told = f"{since!r} is no time of day such as 14:02."
        raise click.UsageError(f"{since!r}은(는) 14:02와 같은 시각이 아닙니다." if korean else told)
    number = newest_before([(version.number, version.at) for version in versions], moment)
    if number is None:
        told = f"Nothing was saved before {since}: name a later time, or a version as SESSION@N."
        later = f"{since} 이전에 저장된 버전이 없습니다. 더 늦은 시각이나 SESSION@N을 쓰세요."
        raise click.UsageError(later if korean else told)
    return number


@sessions.command("fork", cls=ToldCommand, ko="세션 또는 SESSION@N의 상태를 별도의 세션으로 보관합니다.")
@SESSION
@click.argument("to", metavar="NEW_NAME")
@click.pass_context
def fork(ctx: click.Context, name: str, to: str) -> None:
    """Keep the state of SESSION, or of SESSION@N, as a session of its own."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    session, version, _ = _own_version(ctx, client, name, "copy this")
    _free_name(ctx, client, session.user, to)
    client.save_session(_again(session, version, name=to, parent=0))
    typed = f"%session restore {shlex.quote(to)}"
    say(f"{to}: `{typed}`로 복원할 수 있습니다." if korean else f"{to} holds version {version.number}: `{typed}`.")


@sessions.command("restore", cls=ToldCommand, ko="SESSION@N을 최신 버전으로 만들어 다음에 노트북을 열 때 복원합니다.")
@SESSION
@click.pass_context
def restore(ctx: click.Context, name: str) -> None:
    """Make SESSION@N the newest version: the notebook has it when it is opened the next time."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    if parsed(name).number is None:
        told = f"Say which version: `dure sessions restore {shlex.quote(name)}@N`."
        raise click.UsageError(f"버전을 지정하세요: `dure sessions restore {shlex.quote(name)}@N`" if korean else told)
    session, version, _ = _own_version(ctx, client, name, "copy this")
    say(_made_newest(client, session, version, korean=korean))


@sessions.command(
    "undo", cls=ToldCommand, ko="마지막으로 변수를 바꾼 셀 이전 상태를, 다음에 노트북을 열 때 복원합니다."
)
@SESSION
@click.pass_context
def undo(ctx: click.Context, name: str) -> None:
    """Have the notebook open with the variables as before the last cell that changed any; again for the one before."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    if parsed(name).number is not None:
        told = (
            f"Undo begins with the newest version; to have this one back: `dure sessions restore {shlex.quote(name)}`."
        )
        typed = f"최신 버전부터 되돌립니다. 이 버전을 쓰려면: `dure sessions restore {shlex.quote(name)}`"
        raise click.UsageError(typed if korean else told)
    session, newest, versions = _own_version(ctx, client, name, "undo this")
    earlier, differing = state_before(newest, versions), None
    while earlier is not None:
        differing = _differing(client, session, earlier.number)
        if differing is None or differing.added or differing.changed or differing.removed:
            break
        earlier = state_before(earlier, versions)
    if earlier is None:
        told = f"No earlier version of {session.name} holds anything else, so there is nothing to undo."
        raise click.ClickException(
            f"{session.name}에 내용이 다른 이전 버전이 없어 되돌릴 것이 없습니다." if korean else told
        )
    say(_made_newest(client, session, earlier, korean=korean))
    if differing is not None:
        names = ", ".join(sorted([*differing.added, *differing.changed, *differing.removed]))
        say(f"되돌린 변수: {names}" if korean else f"Undone: {names}.")
    typed = f"dure sessions restore {shlex.quote(f'{session.name}@{newest.number}')}"
    say(f"취소하려면: `{typed}`" if korean else f"To take this back: `{typed}`.")


def _differing(client: Client, session: SessionView, number: int) -> DiffView | None:
    """Return what the newest version changed since version `number`; None where only a notebook can read them."""
    try:
        return client.session_diff(session.id, number, session.newest)
    except DureError as error:
        if error.code != "contents_unreadable":
            raise
        return None


def _made_newest(client: Client, session: SessionView, version: VersionView, *, korean: bool) -> str:
    """Make a version the newest, and return the sentence that says so."""
    again = _again(session, version, name=session.name, parent=session.newest)
    again.session, again.origin, again.label = session.id, version.number, ""  # the label stays where it is
    number = client.save_session(again).number
    if korean:
        return (
            f"{session.name}의 버전 {number}은(는) 버전 {version.number}({when(version.at)} 저장)과(와) 같습니다. "
            "실행 중인 커널은 변수를 그대로 유지하며, 그 커널에서 `%session restore`를 입력하면 이 버전을 가져옵니다."
        )
    return (
        f"Version {number} of {session.name} is version {version.number} again, as of {when(version.at)}. "
        "A kernel that runs keeps its variables: `%session restore` there takes this version."
    )


@sessions.command("save", cls=ToldCommand, ko="마지막 셀 뒤에 저장된 상태(SESSION@N이면 버전 N)에 이름표를 붙입니다.")
@SESSION
@click.argument("label", nargs=-1, metavar="[LABEL]")
@click.pass_context
def save(ctx: click.Context, name: str, label: tuple[str, ...]) -> None:
    """Put a label on what was saved after the last cell, or on version N with SESSION@N."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    text = checked_label(" ".join(label), lang_of(ctx))
    session, version, _ = _own_version(ctx, client, name, "label this")
    at, number = when(version.at), version.number
    if not text.strip():
        typed = f"dure sessions save {shlex.quote(name)} LABEL"
        told = (
            f"Version {number} of {session.name} was saved at {at}, after cell {version.cell}. To label it: `{typed}`."
        )
        kept = f"{session.name}의 버전 {number}은(는) 셀 {version.cell} 뒤 {at}에 저장되었습니다. 이름표: `{typed}`"
        say(kept if korean else told)
        return
    client.label_version(session.id, number, text)
    told = f"Version {number} of {session.name}, saved at {at} after cell {version.cell}, is labelled: {text}"
    kept = f"{session.name}의 버전 {number}(셀 {version.cell} 뒤 {at} 저장)의 이름표: {text}"
    if version.label not in {"", text}:
        told, kept = f"{told} (before: {version.label})", f"{kept} (이전: {version.label})"
    say(kept if korean else told)


def _own_version(
    ctx: click.Context, client: Client, name: str, action: str
) -> tuple[SessionView, VersionView, dict[int, VersionView]]:
    """Return one's own session, the version that `name` means (the newest when it names none), and all of them."""
    reference = parsed(name)
    session = found(client, reference.name)
    if session.user != client.me().name:
        raise failure("not_allowed", lang_of(ctx), user=client.me().name, action=action, who=session.user)
    detail = client.session(session.id)
    versions = {version.number: version for version in detail.versions}
    wanted = reference.number or detail.session.newest
    if wanted not in versions:
        raise failure("version_not_found", lang_of(ctx), session=shlex.quote(session.name), number=wanted)
    return detail.session, versions[wanted], versions


def _again(session: SessionView, version: VersionView, *, name: str, parent: int) -> SaveRequest:
    kept = version.model_dump(include={"cell", "size_bytes", "variables", "unsaved", "python", "label"})
    document = version.document or ""  # one's own are always told
    kernel = f"cli-{uuid.uuid4().hex}"
    return SaveRequest(name=name, team=session.team, parent=parent, kernel=kernel, document=document, **kept)


def _free_name(ctx: click.Context, client: Client, user: str, to: str) -> None:
    """Raise where a session cannot get this name."""
    if client.sessions(user=user, name=checked_name(to, lang_of(ctx))).sessions:
        typed = f"dure sessions delete {shlex.quote(to)}"
        taken = f"You have a session {to} already: choose another name, or delete it with `{typed}`."
        if lang_of(ctx) == "ko":
            taken = f"{to} 세션이 이미 있습니다. 다른 이름을 쓰거나 `{typed}`로 먼저 삭제하세요."
        raise click.UsageError(taken)


@sessions.command("share", cls=ToldCommand, ko="세션을 팀의 다른 사람이 읽을 수 있게 합니다.")
@SESSION
@click.argument("people", nargs=-1)
@option("--team", is_flag=True, en="Everyone in the session's team.", ko="세션의 팀 전원")
@click.pass_context
def share(ctx: click.Context, name: str, people: tuple[str, ...], *, team: bool) -> None:
    """Let people of the session's team read it."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    if not people and not team:
        raise click.UsageError("사람 이름 또는 --team이 필요합니다." if korean else "Name people, or use --team.")
    session = found(client, parsed(name).name)
    named = checked_people(people, lang_of(ctx))
    detail = client.share_session(session.id, [*session.shared, *named, *(["*"] if team else [])])
    shown, group = ", ".join(detail.session.shared), f"팀 {session.team}" if korean else f"team {session.team}"
    typed = f"%session restore {shlex.quote(f'{session.user}/{session.name}')}"
    if "*" in detail.session.shared:
        say(f"{group} 전체가 읽을 수 있습니다: `{typed}`" if korean else f"All of {group} may read it: `{typed}`.")
    elif korean:
        say(f"{shown}: {group}에 있는 동안 읽을 수 있습니다: `{typed}`")
    else:
        say(f"{shown} may read it while in {group}: `{typed}`.")


@sessions.command("unshare", cls=ToldCommand, ko="세션을 본인만 읽을 수 있게 합니다.")
@SESSION
@click.argument("people", nargs=-1)
@click.pass_context
def unshare(ctx: click.Context, name: str, people: tuple[str, ...]) -> None:
    """Let PEOPLE, or nobody else when none are named, read the session any more."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    session = found(client, parsed(name).name)
    if absent := ", ".join(person for person in people if person not in session.shared):
        told = f"{session.name} is not shared with {absent}."
        raise click.UsageError(f"{session.name}은(는) {absent}님과 공유되어 있지 않습니다." if korean else told)
    left = [person for person in session.shared if people and person not in people]
    client.share_session(session.id, left)
    if left:
        shown = ", ".join(left).replace("*", "팀 전체" if korean else "the whole team")
        say(f"{session.name}: 공유 대상 {shown}." if korean else f"{session.name} is still shared with {shown}.")
    else:
        say(f"{session.name}: 공유를 해제했습니다." if korean else f"Only you may read {session.name} now.")


@sessions.command("rename", cls=ToldCommand, ko="세션의 이름을 바꿉니다. NEW_NAME은 홈 폴더 아래 노트북의 경로입니다.")
@SESSION
@click.argument("to", metavar="NEW_NAME")
@click.pass_context
def rename(ctx: click.Context, name: str, to: str) -> None:
    """Give your session another name: NEW_NAME is its notebook's path below your home."""
    client = connect(ctx, retry_s=5)
    session = found(client, parsed(name).name)
    if session.user != client.me().name:
        raise failure("not_allowed", lang_of(ctx), user=client.me().name, action="rename this", who=session.user)
    _free_name(ctx, client, session.user, to)
    client.rename_sessions(session.name, to)
    say(f"{session.name} → {to}")


@sessions.command("delete", cls=ToldCommand, ko="세션을, SESSION@N이면 이전 버전 하나를 삭제합니다.")
@SESSION
@option("--yes", "-y", is_flag=True, en="Do not ask.", ko="묻지 않고 삭제합니다.")
@click.pass_context
def delete(ctx: click.Context, name: str, *, yes: bool) -> None:
    """Delete a session, or with SESSION@N one of its older versions."""
    korean, client = lang_of(ctx) == "ko", connect(ctx, retry_s=5)
    reference = parsed(name)
    session = found(client, reference.name)
    if reference.number == session.newest:
        called = shlex.quote(shown(session, client.me().name))
        raise failure("version_newest", lang_of(ctx), session=called, number=session.newest)
    what = f"{session.user}/{session.name}" + (f"@{reference.number}" if reference.number else "")
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--yes가 필요합니다." if korean else "Say --yes: this cannot be taken back.")
        click.confirm(f"{what}을(를) 삭제할까요?" if korean else f"Delete {what}? It cannot be taken back.", abort=True)
    client.delete_session(session.id, reference.number)
    say(f"{what} 삭제됨." if korean else f"{what} is deleted.")
