"""`dure usage` and `dure reserve`: what was used, how much is left, and GPUs kept for a time.

The trap: times are typed in the local zone, days and months of limits are UTC's; what is shown says which.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from dure.amounts import duration, money
from dure.cli.telling import AS_JSON, ToldCommand, connect, lang_of, option, print_json, say, table, when, zone_name
from dure.client.errors import failure
from dure.client.times import parse_deadline

if TYPE_CHECKING:
    from dure.wire.usage import PersonUsage, ReservationView, TeamUsage

_PHASES_KO = {
    "planned": "예정",
    "on": "시작됨",
    "used": "사용 중",
    "released": "해제됨",
    "unused": "미사용 해제",
    "ended": "끝남",
}


@click.command()
@AS_JSON
@click.pass_context
def usage(ctx: click.Context, *, as_json: bool) -> None:
    """Show use and limits."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    found = client.usage()
    if as_json:
        print_json(found)
        return
    korean = lang == "ko"
    columns = (
        ("팀", "사용자", "오늘 GPU시간", "이번 달", "비용", "실행", "한도")
        if korean
        else ("TEAM", "USER", "GPU-HOURS TODAY", "THIS MONTH", "COST", "RUNS", "LIMITS")
    )
    rows = []
    for team in found.teams:
        rows.append(_used(team.team, "-", team, found.currency, lang))
        rows += [_used(team.team, person.user, person, found.currency, lang) for person in team.people]
    table(columns, rows, "속한 팀이 없습니다." if korean else "You are in no team.")


def _used(team: str, user: str, used: TeamUsage | PersonUsage, currency: str, lang: str) -> tuple[str, ...]:
    limits = "; ".join(f"{limit.label}: {limit.used_words} / {limit.most_words}" for limit in used.limits)
    return (
        team,
        user,
        f"{used.day_gpu_hours:.2f}",
        f"{used.month_gpu_hours:.2f}",
        money(used.month_cost, currency, lang),
        str(used.running),
        limits or "-",
    )


@click.group()
def reserve() -> None:
    """Keep GPUs for a time."""


@reserve.command("list", cls=ToldCommand, ko="지금 유효하거나 다가올 예약을 봅니다.")
@AS_JSON
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List reservations that are on or to come."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    found = client.reservations()
    if as_json:
        print_json(found)
        return
    korean = lang == "ko"
    columns = (
        ("예약", "누구", "GPU", "시작", "끝", "상태", "메모")
        if korean
        else ("RESERVATION", "FOR", "GPUS", "FROM", "TO", "STATE", "NOTE")
    )
    rows = [_row(one, lang) for one in found.reservations]
    table(columns, rows, "예약이 없습니다." if korean else "Nothing is reserved.")
    if rows:
        say(f"시각은 {zone_name()} 기준입니다." if korean else f"Times are {zone_name()}.")


@reserve.command("add", cls=ToldCommand, ko="정한 시간 동안 GPU를 예약합니다.")
@option("--tier", "-t", required=True, metavar="NAME", en="Tier of the GPUs.", ko="GPU 티어")
@option("--gpus", "-g", default=1, type=click.IntRange(min=1), en="How many; 1 unless said.", ko="GPU 개수(기본 1)")
@option("--from", "begins", default="", metavar="WHEN", en="18:00, 2h or 2026-05-01T18:00; now unless said.",
        ko="시작: 18:00, 2h, 2026-05-01T18:00(기본 지금)")  # fmt: skip
@option("--to", "ends", required=True, metavar="WHEN", en="When it ends, told likewise.", ko="끝나는 시각")
@option("--team", metavar="NAME", en="For which team.", ko="팀")
@option("--user", metavar="NAME", en="For this person of the team only.", ko="팀의 이 사용자만")
@option("--note", default="", metavar="TEXT", en="What it is for.", ko="메모")
@AS_JSON
@click.pass_context
def add(
    ctx: click.Context, *, tier: str, gpus: int, begins: str, ends: str, team: str | None, user: str | None,
    note: str, as_json: bool,
) -> None:  # fmt: skip
    """Keep GPUs from one time to another."""
    from dure.wire.usage import ReservationRequest

    lang, now = lang_of(ctx), time.time()
    begins_at = parse_deadline(begins, now, lang=lang)[0] if begins else now
    # A clock time of the end is the first one after the beginning.
    ends_at = parse_deadline(ends, begins_at, lang=lang)[0]
    request = ReservationRequest(
        tier=tier, gpus=gpus, begins_at=begins_at, ends_at=ends_at, team=team, user=user, note=note
    )
    made = connect(ctx, retry_s=5).reserve(request)
    if as_json:
        print_json(made)
        return
    span = f"{when(made.begins_at)} – {when(made.ends_at)} {zone_name()}"
    if lang == "ko":
        say(f"{made.id}: {made.tier} GPU {made.gpus:g}개를 {made.team} 팀에 예약했습니다({span}).")
        say(f"{duration(made.grace_s, 'ko')} 안에 쓰지 않으면 해제됩니다. 취소: dure reserve release {made.id}")
        return
    count = "1 GPU" if made.gpus == 1 else f"{made.gpus:g} GPUs"
    say(f"{made.id}: {count} of {made.tier} reserved for team {made.team}, {span}.")
    say(f"Unused for {duration(made.grace_s)}, it is released. To release it: dure reserve release {made.id}")


@reserve.command("release", cls=ToldCommand, ko="예약한 GPU를 돌려줍니다.")
@click.argument("reservation")
@click.pass_context
def release(ctx: click.Context, reservation: str) -> None:
    """Give a reservation's GPUs back."""
    lang = lang_of(ctx)
    if not reservation.strip():
        expected = "r-로 시작하는 예약 ID" if lang == "ko" else "a reservation's id, such as r-7k2m9x4q"
        raise failure("invalid_option", lang, option="RESERVATION", value=reservation, expected=expected)
    connect(ctx, retry_s=5).release(reservation)
    say(f"{reservation} 예약을 해제했습니다." if lang == "ko" else f"{reservation} is released.")


def _row(one: ReservationView, lang: str) -> tuple[str, ...]:
    return (
        one.id,
        f"{one.team}/{one.user}" if one.user else one.team,
        f"{one.gpus:g} × {one.tier}",
        when(one.begins_at),
        when(one.ends_at),
        _PHASES_KO.get(one.phase, one.phase) if lang == "ko" else one.phase,
        one.note,
    )
