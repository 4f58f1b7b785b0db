"""`dure jobs | logs | why | cancel`: one's jobs from the terminal. Each prints JSON with `--json`.

The trap: `jobs` shows the whole team's, of which only one's own can be read or cancelled.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from dure.amounts import duration, money
from dure.cli.completion import job_ids
from dure.cli.telling import AS_JSON, Line, connect, lang_of, option, print_json, say, table, warn, when
from dure.client.errors import DureError
from dure.client.words import end_line, gpus_word, missing_lines, sooner_lines, state_word, waiting_line

if TYPE_CHECKING:
    from dure.client import Client
    from dure.wire.messages import JobView, WhyView

PHASES = ("queued", "admitted", "starting", "running", "succeeded", "failed", "cancelled")
JOB = click.argument("job_id", metavar="JOB", shell_complete=job_ids)


@click.command()
@option("--phase", "phases", multiple=True, type=click.Choice(PHASES), en="Only these phases.", ko="이 상태만")
@option("--mine", is_flag=True, en="Only your own.", ko="내 작업만")
@option("--user", en="Only this person's.", ko="이 사용자만")
@option("--team", en="Only this team's.", ko="이 팀만")
@option("--limit", type=click.IntRange(1, 500), default=30, show_default=True, en="How many.", ko="개수")
@option("--cursor", en="Continue where an earlier list ended.", ko="이전 목록에 이어서")
@AS_JSON
@click.pass_context
def jobs(
    ctx: click.Context,
    *,
    phases: tuple[str, ...],
    mine: bool,
    user: str | None,
    team: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List jobs."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    if mine:
        user = client.me().name
    found = client.jobs(phases=phases, user=user, team=team, limit=limit, cursor=cursor)
    if as_json:
        print_json(found)
        return
    korean = lang == "ko"
    columns = (
        ("작업", "이름", "소유자", "상태", "티어", "GPU", "대기", "실행", "비용", "제출", "예상 시작")
        if korean
        else ("JOB", "NAME", "OWNER", "PHASE", "TIER", "GPUS", "WAITED", "RAN", "COST", "SUBMITTED", "ETA")
    )
    spare = (9, 6, 5)  # submitted, waited, gpus
    table(columns, [_row(job, lang) for job in found.jobs], "작업이 없습니다." if korean else "No jobs.", spare)
    if found.next:
        warn(f"더 보기: --cursor {found.next}" if korean else f"More: --cursor {found.next}")


def _row(job: JobView, lang: str) -> tuple[str, ...]:
    return (
        job.id,
        job.name if len(job.name) <= 40 else job.name[:39] + "…",
        job.user,
        state_word(job, lang),
        job.tier or "-",
        gpus_word(job.gpus, job.nodes),
        duration(job.waited_s, lang),
        duration(job.ran_s, lang),
        money(job.cost, job.currency, lang),
        when(job.submitted_at),
        job.eta.short if job.eta else "-",
    )


@click.command()
@JOB
@option("--follow", "-f", is_flag=True, en="Go on to the job's end.", ko="작업이 끝날 때까지 계속 봅니다.")
@option("--json", "as_json", is_flag=True, en="Print one JSON message a line.", ko="한 줄에 JSON 메시지 하나씩")
@click.pass_context
def logs(ctx: click.Context, job_id: str, *, follow: bool, as_json: bool) -> None:
    """Show what a job printed."""
    from dure.cli.following import Screen
    from dure.cli.following import follow as follow_job
    from dure.client.streams import Output

    lang = lang_of(ctx)
    client = connect(ctx, retry_s=60 if follow else 5)
    screen = Screen(lang, as_json=as_json)
    if follow:
        follow_job(client, job_id, screen)
        return
    cursor: str | None = None
    while True:
        page = client.output(job_id, cursor)
        for message in page.messages:
            screen.output(Output(message, int(message.get("attempt", 1)), page.cursor))
        if page.cursor == cursor or page.done:
            return
        cursor = page.cursor


@click.command()
@JOB
@AS_JSON
@click.pass_context
def why(ctx: click.Context, job_id: str, *, as_json: bool) -> None:
    """Tell a job's story."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    if as_json:
        print_json(client.why(job_id))
        return
    story = client.why(job_id, at_once=True)
    job = story.job
    # When it starts has a line of its own below.
    say(end_line(job, lang) if job.ended_at else waiting_line(job.model_copy(update={"eta": None}), lang))
    if job.reason_sentence:
        say(job.reason_sentence)
    if job.phase == "queued":
        known = missing_lines(story, lang)
        for line in known:
            say(line)
        for line in _sooner(client, story, known, lang):
            say(line)
    for event in story.events:
        say(f"{when(event.at)}  {event.sentence}")


def _sooner(client: Client, story: WhyView, known: list[str], lang: str) -> list[str]:
    """Return the rest of a waiting job's story, which may have to be found out; a line says so meanwhile."""
    if story.pending is None:
        return sooner_lines(story)
    waiting = Line()
    waiting.show(story.pending)
    try:
        whole = client.why(story.job.id)
    finally:
        waiting.show("")
    if whole.job.phase != "queued":
        return [waiting_line(whole.job, lang) if whole.job.ended_at is None else end_line(whole.job, lang)]
    estimated = [] if story.job.eta else [line for line in missing_lines(whole, lang) if line not in known]
    return [*estimated, *sooner_lines(whole, story.job)]


@click.command()
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=job_ids)
@AS_JSON
@click.pass_context
def cancel(ctx: click.Context, job_ids: tuple[str, ...], *, as_json: bool) -> int:
    """Cancel jobs."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    failed = 0
    for job_id in job_ids:
        try:
            job = client.cancel(job_id)
        except DureError as error:
            failed += 1
            warn(str(error))
            if as_json:
                click.echo(json.dumps({"id": job_id, "problem": error.problem.model_dump(mode="json")}))
            continue
        if as_json:
            print_json(job)
        else:
            say(waiting_line(job, lang) if job.ended_at is None else end_line(job, lang))
    return 1 if failed else 0
