"""`dure queue | tiers | events`: the platform as a whole. Each prints JSON with `--json`.

The trap: other teams' jobs appear as their team's name only; that is the server's doing and complete here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dure.amounts import duration, money
from dure.cli.completion import job_ids
from dure.cli.telling import AS_JSON, connect, lang_of, option, print_json, say, table, when
from dure.client.moments import own_times
from dure.client.words import gpus_word, place, state_word

if TYPE_CHECKING:
    from dure.wire.messages import EventView, GpuView, QueueView, TierView


@click.command()
@AS_JSON
@click.pass_context
def queue(ctx: click.Context, *, as_json: bool) -> None:
    """Show the queue."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    found = client.queue()
    if as_json:
        print_json(found)
        return
    korean = lang == "ko"
    _waiting(found, lang)
    if found.others_waiting:
        n = found.others_waiting
        click.echo(f"다른 팀의 대기 작업 {n}개" if korean else f"{n} more of other teams wait.")
    click.echo()
    columns = (
        ("작업", "이름", "소유자", "상태", "위치", "실행")
        if korean
        else ("JOB", "NAME", "OWNER", "PHASE", "WHERE", "FOR")
    )
    rows = [
        (
            job.id,
            job.name[:40],
            job.user,
            state_word(job, lang),
            place(job, lang),
            _for(found, job.began_at, lang),
        )
        for job in found.running
    ]
    table(columns, rows, "실행 중인 작업이 없습니다." if korean else "Nothing runs.")
    click.echo()
    columns = (
        ("GPU", "티어", "모델", "여유", "사용", "시간당")
        if korean
        else ("GPU", "TIER", "MODEL", "FREE", "HELD BY", "PER HOUR")
    )
    platform = client.platform()
    gpus = [_gpu_row(gpu, platform.currency, lang) for gpu in found.gpus]
    table(columns, gpus, "GPU 없음" if korean else "No GPUs.")
    for tier in platform.tiers:
        for told in tier.kept:
            say(told)


def _waiting(found: QueueView, lang: str) -> None:
    korean = lang == "ko"
    columns = (
        ("#", "작업", "이름", "소유자", "예상 시작", "이유") if korean else ("#", "JOB", "NAME", "OWNER", "ETA", "WHY")
    )
    rows = [
        (
            str(job.verdict.position) if job.verdict else "-",
            job.id,
            job.name[:40],
            job.user,
            job.eta.short if job.eta else "-",
            own_times(job.verdict.sentence) if job.verdict else "",
        )
        for job in found.waiting
    ]
    table(columns, rows, "대기 중인 작업이 없습니다." if korean else "Nothing waits.")


def _for(found: QueueView, began_at: float | None, lang: str) -> str:
    return duration(found.now - began_at, lang) if began_at else "-"


def _gpu_row(gpu: GpuView, currency: str, lang: str) -> tuple[str, ...]:
    simulated = "시뮬레이션" if lang == "ko" else "simulated"
    model = simulated if gpu.model == "simulated" else gpu.model + (f" ({simulated})" if gpu.simulated else "")
    holders = ", ".join(str(held.get("job") or held.get("team") or "?") for held in gpu.holders)
    return (
        f"{gpu.cluster}/{gpu.node}:{gpu.index}",
        gpu.tier,
        model,
        gpus_word(gpu.free),
        holders or "-",
        money(gpu.price_per_gpu_hour, currency, lang),
    )


@click.command()
@AS_JSON
@click.pass_context
def tiers(ctx: click.Context, *, as_json: bool) -> None:
    """List the tiers."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    found = client.platform()
    if as_json:
        print_json([tier.model_dump(mode="json") for tier in found.tiers])
        return
    korean = lang == "ko"
    columns = (
        ("티어", "여유", "전체", "시간당 가격", "설명")
        if korean
        else ("TIER", "FREE", "TOTAL", "PRICE PER HOUR", "WHAT")
    )
    rows = []
    for tier in found.tiers:
        prices = ", ".join(f"{cluster}: {money(price, found.currency, lang)}" for cluster, price in tier.prices.items())
        simulated = (" (시뮬레이션)" if korean else " (simulated)") if tier.simulated else ""
        rows.append((tier.name, _free(tier, lang), gpus_word(tier.total), prices or "-", tier.description + simulated))
    table(columns, rows, "티어가 없습니다." if korean else "No tiers.")
    for tier in found.tiers:
        for told in tier.kept:
            say(told)


def _free(tier: TierView, lang: str) -> str:
    if not tier.reserved:
        return gpus_word(tier.free)
    kept = gpus_word(min(tier.reserved, tier.free))
    return f"{gpus_word(tier.free)}(예약 {kept})" if lang == "ko" else f"{gpus_word(tier.free)} ({kept} reserved)"


@click.command()
@option("--after", type=click.IntRange(0), en="Only those after this number.", ko="이 번호 이후만")
@option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, en="How many.", ko="개수")
@option("--subject", shell_complete=job_ids, en="Only those of one job.", ko="한 작업의 이벤트만")
@option("--follow", "-f", is_flag=True, en="Go on as they come (Ctrl-C ends).", ko="계속 봅니다(Ctrl-C로 끝냄).")
@AS_JSON
@click.pass_context
def events(
    ctx: click.Context, *, after: int | None, limit: int, subject: str | None, follow: bool, as_json: bool
) -> None:
    """Show the event log: the last ones, or those after a number."""
    client = connect(ctx, retry_s=60 if follow else 5)
    page = client.events(
        after=-limit if after is None and subject is None else after or 0, limit=limit, subject=subject
    )
    if as_json and not follow:
        print_json(page)
        return
    for event in page.events:
        _tell(event, as_json=as_json)
    if follow:
        for event in client.event_stream(page.last_seq, subject):
            _tell(event, as_json=as_json)


def _tell(event: EventView, *, as_json: bool) -> None:
    if as_json:
        click.echo(event.model_dump_json())
    else:
        say(f"{event.seq:>7}  {when(event.at)}  {event.sentence}")
