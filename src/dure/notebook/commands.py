"""`%gpu …`: what waits and runs, one's own jobs, why something waits, cancelling, attaching, tiers, the language.

The trap: tables show what other people called their jobs, so nothing of it reaches the page unescaped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dure.client.moments import own_times
from dure.notebook import context, fitting, keeping, records
from dure.notebook.attaching import attach_job
from dure.notebook.cell import split_words
from dure.notebook.failures import QuietError, told_plainly
from dure.notebook.kernel import Kernel
from dure.notebook.tables import Table, show
from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.wire.messages import JobView

_HISTORY = 20
_SHOWN_EARLIER = 5
_PENDING = ("queued", "admitted", "starting", "running")
_HELP = {
    "en": """%gpu status          your jobs that have not ended, and what is free
%gpu queue           everything that waits and runs, and who holds which GPU
%gpu history         your latest jobs
%gpu why [JOB]       a job's story, and why it waits (by default your latest)
%gpu cancel JOB      end a job
%gpu free            free the GPU that a cell with --keep keeps for this notebook's next cell
%gpu attach [JOB]    show what a job printed while you were away and bring its results;
                     without JOB: all of this notebook's that were not brought yet.
                     --on-conflict take|both|keep|fail: names that changed here
%gpu install PKG     install a package beside the environment (--env), for you alone
%gpu tiers           the kinds of GPU, what is free and what they cost
%gpu lang en|ko      the language of all this
%%gpu [options]      at the top of a cell: run the cell on a GPU; %%gpu --help lists the options""",
    "ko": """%gpu status          끝나지 않은 내 작업과 남은 GPU
%gpu queue           대기·실행 중인 모든 작업과 GPU 사용 현황
%gpu history         최근 내 작업
%gpu why [JOB]       작업의 경과와 대기 이유(기본: 가장 최근 작업)
%gpu cancel JOB      작업 종료
%gpu free            --keep으로 다음 셀을 위해 유지하던 GPU 반납
%gpu attach [JOB]    자리를 비운 동안의 출력과 결과를 가져옵니다. JOB이 없으면 이 노트북에서
                     아직 가져오지 않은 모든 작업.
                     --on-conflict take|both|keep|fail: 그동안 여기서 바뀐 이름
%gpu install PKG     환경(--env) 옆에 나만 쓰는 패키지 설치
%gpu tiers           GPU 종류, 남은 수, 가격
%gpu lang en|ko      언어 선택
%%gpu [옵션]         셀 맨 위에: 셀을 GPU에서 실행합니다. 옵션은 %%gpu --help""",
}


@told_plainly
def run_line(kernel: Kernel, line: str) -> None:
    """Do what the words after `%gpu` say; without any, show the status."""
    words = split_words(line)
    if not words:
        words = ["status"]
    command, *rest = words
    if command in {"help", "-h", "--help"} or "--help" in rest:
        print(_HELP[context.language()])  # noqa: T201 -- help is for the reader
        return
    if command not in COMMANDS:
        raise QuietError(say("unknown_command", command=command, choices=", ".join(COMMANDS)))
    COMMANDS[command](kernel, rest)


def _status(kernel: Kernel, _: Sequence[str]) -> None:
    client = context.client()
    mine = client.jobs(user=client.me().name, phases=_PENDING).jobs
    show(kernel.shell, _job_table(say("your_jobs"), mine, say("none_of_yours")), _tier_table())


def _queue(kernel: Kernel, _: Sequence[str]) -> None:
    view = context.client().queue()
    jobs = _job_table(say("title_queue"), [*view.running, *view.waiting], say("none_waiting"))
    if view.others_waiting:
        jobs.below.append(say("others_waiting", count=view.others_waiting))
    columns = [say(f"column_{name}") for name in ("where", "tier", "model", "free", "holders")]
    rows = [
        (
            f"{gpu.cluster}/{gpu.node}:{gpu.index}",
            gpu.tier,
            say("simulated_short") if gpu.simulated else gpu.model,
            f"{gpu.free:g}",
            ", ".join(_holder(holder) for holder in gpu.holders),
        )
        for gpu in view.gpus
    ]
    show(kernel.shell, jobs, Table(say("title_gpus"), columns, rows, frozenset({columns[3]})))


def _holder(holder: Mapping[str, Any]) -> str:
    parts = [str(holder[key]) for key in ("user", "job") if holder.get(key)] or [str(holder.get("team", "?"))]
    return " ".join(parts)


def _history(kernel: Kernel, _: Sequence[str]) -> None:
    client = context.client()
    jobs = client.jobs(user=client.me().name, limit=_HISTORY).jobs
    show(kernel.shell, _job_table(say("title_history"), jobs, say("no_jobs")))


def _why(kernel: Kernel, rest: Sequence[str]) -> None:
    from dure.client.words import why_lines

    client = context.client()
    job_id = rest[0] if rest else _latest(kernel)
    story = client.why(job_id)
    job = story.job
    sentence = own_times(job.verdict.sentence if job.verdict else job.reason_sentence or _phase(job))
    below = why_lines(story, context.language()) if job.phase == "queued" else []
    below = [line.replace(f"dure why {job.id}", f"%gpu why {job.id}") for line in below]
    columns = [say("column_at"), say("column_event")]
    rows = [(time.strftime("%H:%M:%S", time.localtime(event.at)), own_times(event.sentence)) for event in story.events]
    show(kernel.shell, Table(say("title_why", job=job.id, sentence=sentence), columns, rows, below=below))


def _cancel(_: Kernel, rest: Sequence[str]) -> None:
    if not rest:
        raise QuietError(say("job_needed", command="cancel"))
    for job_id in rest:
        context.client().cancel(job_id)
        print(say("asked_to_cancel", job=job_id))  # noqa: T201


def _free(kernel: Kernel, _: Sequence[str]) -> None:
    print(keeping.free(kernel))  # noqa: T201


def _attach(kernel: Kernel, rest: Sequence[str]) -> None:
    client = context.client()
    asked, on_conflict = _conflict_option(rest)
    if not asked:
        notebook = context.notebook_id(kernel.shell.user_ns)
        asked = [record.job for record in records.undelivered(notebook, client.login.url, time.time())]
    if not asked and kernel.sent:
        *earlier, last = list(kernel.sent)[-_SHOWN_EARLIER:]
        print(say("shown_again", job=last, earlier=", ".join(earlier) or "-"))  # noqa: T201
        asked = [last]
    if not asked:
        print(say("nothing_to_attach"))  # noqa: T201
        return
    failed: list[BaseException] = []
    for job_id in asked:
        try:
            attach_job(kernel, client, job_id, on_conflict)
        except KeyboardInterrupt:
            raise
        except Exception as error:
            failed.append(error)
            if len(asked) > 1:
                print(*_lines(error), sep="\n", file=sys.stderr)  # noqa: T201
    if failed:
        raise failed[0]


def _conflict_option(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the jobs, and what `--on-conflict` says."""
    from dure.client.options import parse_words

    rest, option = _taken_out("--on-conflict", words)
    choice = parse_words(option, lang=context.language(), program="%gpu attach").on_conflict if option else None
    return [word for word in rest if not word.startswith("-")], choice


def _taken_out(flag: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words without an option and its value, and these two."""
    begin = next((index for index, word in enumerate(words) if word.partition("=")[0] == flag), len(words))
    end = begin + (1 if begin < len(words) and "=" in words[begin] else 2)
    return [*words[:begin], *words[end:]], list(words[begin:end])


def _lines(error: Exception) -> list[str]:
    render = getattr(error, "_render_traceback_", None)
    return list(render()) if render is not None else [f"{type(error).__name__}: {error}"]


def _install(kernel: Kernel, rest: Sequence[str]) -> None:
    from dure.client.options import parse_words

    packages, option = _taken_out("--env", rest)
    environment = parse_words(option, lang=context.language(), program="%gpu install").env if option else None
    if not packages or any(word.startswith("-") for word in packages):
        raise QuietError(say("packages_needed"))
    fitting.install(kernel, context.client(), packages, environment)


def _tiers(kernel: Kernel, _: Sequence[str]) -> None:
    show(kernel.shell, _tier_table())


def _lang(_: Kernel, rest: Sequence[str]) -> None:
    if len(rest) != 1 or rest[0] not in {"en", "ko"}:
        raise QuietError(say("language_needed"))
    context.set_language(rest[0])
    print(say("language_set"))  # noqa: T201


COMMANDS: Mapping[str, Callable[[Kernel, Sequence[str]], None]] = {
    "status": _status,
    "queue": _queue,
    "history": _history,
    "why": _why,
    "cancel": _cancel,
    "free": _free,
    "attach": _attach,
    "install": _install,
    "tiers": _tiers,
    "lang": _lang,
}


def _latest(kernel: Kernel) -> str:
    if kernel.sent:
        return list(kernel.sent)[-1]
    client = context.client()
    jobs = client.jobs(user=client.me().name, limit=1).jobs
    if not jobs:
        raise QuietError(say("job_needed", command="why"))
    return jobs[0].id


def _phase(job: JobView) -> str:
    from dure.client.words import state_word

    return state_word(job, context.language())


def _job_table(title: str, jobs: Sequence[JobView], empty: str) -> Table:
    from dure.amounts import duration, money
    from dure.client.words import gpus_word, told

    lang = context.language()
    keys = ("job", "name", "phase", "who", "gpus", "tier", "where", "waited", "ran", "cost", "why")
    columns = [say(f"column_{key}") for key in keys]
    numbers = frozenset(columns[index] for index in (4, 7, 8, 9))
    rows = [
        (
            job.id,
            job.name,
            _phase(job),
            job.user,
            gpus_word(job.gpus, job.nodes),
            job.lease.tier if job.lease else job.tier or "",
            _place(job),
            duration(job.waited_s, lang),
            duration(job.ran_s, lang) if job.ran_s else "",
            money(job.cost, job.currency, lang) if job.cost else "",
            told(job, lang),
        )
        for job in jobs
    ]
    return Table(title, columns, rows, numbers, empty)


def _place(job: JobView) -> str:
    if job.lease is None:
        return ""
    from dure.client.words import nodes_word

    simulated = f" ({say('simulated_short')})" if job.lease.simulated else ""
    return f"{nodes_word(job.lease)}{simulated}"


def _tier_table() -> Table:
    from dure.amounts import money

    view, lang = context.client().platform(), context.language()
    columns = [say(f"column_{key}") for key in ("tier", "free", "total", "prices", "description")]
    rows = [
        (
            tier.name,
            f"{tier.free:g}",
            f"{tier.total:g}",
            ", ".join(
                f"{cluster} {money(price, view.currency, lang)}" for cluster, price in sorted(tier.prices.items())
            ),
            tier.description + (f" ({say('simulated_short')})" if tier.simulated else ""),
        )
        for tier in view.tiers
    ]
    return Table(say("title_tiers"), columns, rows, frozenset({columns[1], columns[2]}))
