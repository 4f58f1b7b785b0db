"""`dure simulate`: what would have happened to a trace's jobs, under each of several policies, side by side.

Needs no running platform: the production decisions run here, in simulated time. The trap: a trace with broken rows
stops unless it is said that they be left out; a result that silently lacks jobs would be believed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import click

from dure.cli.telling import AS_JSON, connect, lang_of, option, print_json, table, warn
from dure.client.config import platform_folder

_SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line."""

    trace: Path | None
    format_name: str | None
    policies: tuple[str, ...]
    settings: tuple[str, ...]
    nodes: int | None
    gpus: int | None
    since: str | None
    state_dir: Path | None
    begins: str | None
    ends: str | None
    prediction_error: float
    seed: int
    checkpoint: str | None
    skip_broken: bool
    as_json: bool
    report: Path | None


_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    option("--trace", type=_FILE, en="The jobs: a file in a known format.", ko="작업이 담긴 트레이스 파일."),
    option("--format", "format_name", en="The trace's format, if not recognised.", ko="트레이스 형식(보통 자동 인식)."),
    option(
        "--policy",
        "policies",
        multiple=True,
        en="A platform file (or a part of one), or fifo, sjf, srtf, tiresias; repeat to compare.",
        ko="플랫폼 파일(일부도 가능)이나 fifo, sjf, srtf, tiresias. 여러 번 쓰면 비교합니다.",
    ),
    option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        en="What if: burst.wait=fixed:30m, teams.vision.weight=2. Shown beside the file as it is.",
        ko="바꿔 보기: burst.wait=fixed:30m, teams.vision.weight=2. 원래 파일과 나란히 봅니다.",
    ),
    option(
        "--nodes",
        type=click.IntRange(1, 100_000),
        en="Private machines, with --gpus.",
        ko="자체 기계 수 (--gpus와 함께).",
    ),
    option("--gpus", type=click.IntRange(1, 1024), en="GPUs of each machine.", ko="기계당 GPU 수."),
    option(
        "--since",
        metavar="TIME",
        en="This platform's own jobs of so long, such as 7d.",
        ko="이 플랫폼의 최근 작업. 예: 7d.",
    ),
    option(
        "--dir",
        "state_dir",
        type=_FOLDER,
        en="With --since: the platform's folder, instead of the one that you are signed in to.",
        ko="--since와 함께: 로그인한 플랫폼 대신 읽을 플랫폼 폴더.",
    ),
    option("--from", "begins", metavar="TIME", en="Only jobs submitted from then on.", ko="이 시각부터 제출된 작업만."),
    option("--to", "ends", metavar="TIME", en="Only jobs submitted before then.", ko="이 시각 전에 제출된 작업만."),
    option(
        "--prediction-error",
        type=click.FloatRange(0, 1000),
        default=0.0,
        metavar="PERCENT",
        en="How far predicted run times are off (standard deviation).",
        ko="실행 시간 예측의 오차(표준편차, %).",
    ),
    option("--seed", type=int, default=1, en="Seed of these errors.", ko="오차의 시드."),
    option(
        "--checkpoint",
        metavar="TIME",
        en="How often jobs save their work (default: never).",
        ko="작업 저장 주기(기본: 없음).",
    ),
    option("--skip-broken", is_flag=True, en="Leave broken rows out.", ko="잘못된 행을 빼고 실행합니다."),
    option("--report", type=_FILE, en="Write an HTML report with plots.", ko="그림이 있는 HTML 보고서를 씁니다."),
    AS_JSON,
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


@click.command()
@_with_options
@click.pass_context
def simulate(ctx: click.Context, /, **given: Any) -> None:
    """Replay a trace under policies and compare: waits, completion, use, fairness, cloud GPU-hours, money."""
    from dure.adapters.platform_file import PlatformFileError
    from dure.sim import words
    from dure.sim.formats import TraceError
    from dure.sim.policies import PolicyError
    from dure.wire.platform_told import platform_told

    lang = lang_of(ctx)
    try:
        _Simulation(ctx, Asked(**given), lang).run()
    except TraceError as error:
        warn(words.say(words.TRACE_ERRORS, error.code, lang, **error.data))
        sys.exit(1)
    except PolicyError as error:
        data = dict(error.data)
        if error.row is not None:
            data["what"] = words.say(words.BROKEN, error.row.code, lang, **error.row.data)
        warn(words.say(words.POLICY_ERRORS, error.code, lang, **data))
        sys.exit(1)
    except PlatformFileError as error:
        warn(platform_told(str(error), lang))
        sys.exit(1)


class _Simulation:
    """One call of the command."""

    def __init__(self, ctx: click.Context, asked: Asked, lang: str) -> None:
        self._ctx = ctx
        self._asked = asked
        self._lang = lang
        self._notes: list[str] = []

    def run(self) -> None:
        from dure.sim.figures import figures
        from dure.sim.policies import Size, policies, span_s
        from dure.sim.replay import Beliefs, replay
        from dure.sim.report import Result, html, table_rows

        asked = self._asked
        if (asked.nodes is None) != (asked.gpus is None):
            self._refuse("half_size")
        size = None if asked.nodes is None or asked.gpus is None else Size(asked.nodes, asked.gpus)
        trace, names = self._trace()
        read = self._note("read", jobs=f"{len(trace.jobs):,}", file=trace.name, format=trace.format)
        self._tell_left_out(trace)
        if trace.reservations:
            self._note("reservations", count=len(trace.reservations))
        chosen = policies(names, asked.settings, size, trace)
        for policy in chosen:
            for code, data in policy.notes:
                self._note(code, **data)
        beliefs = Beliefs(
            asked.prediction_error / 100.0, asked.seed, span_s(asked.checkpoint) if asked.checkpoint else None
        )
        self._tell_beliefs(trace, beliefs.error)
        results = []
        for policy in chosen:
            with _Bar(policy.name, len(trace.jobs)) as bar:
                began = time.perf_counter()
                history = replay(trace, policy, beliefs, bar.show)
                took_s = time.perf_counter() - began
            found = figures(history)
            results.append(Result(history, found))
            rate = len(trace.jobs) / max(took_s, 1e-9)
            self._note("speed", policy=policy.name, seconds=took_s, rate=rate)
            self._tell_stranded(history.outcomes, policy.name, found.never_ran)
        self._note_fairness(results[0].figures.fairness_over)
        if asked.report is not None:
            self._write(asked.report, html(results, read, self._notes[1:], self._lang))
        if asked.as_json:
            print_json(self._document(trace, [result.figures.document() for result in results]))
            return
        head, *rows = table_rows([result.figures for result in results], self._lang)
        for note in self._notes:
            warn(note)
        table(head, rows, "")
        if asked.report is not None:
            warn(self._say("report", path=asked.report))

    def _trace(self) -> tuple[Any, tuple[str, ...]]:
        """Return the trace, cut to what was asked for, and the names of the policies."""
        from dure.sim.formats import TraceError, read_trace

        asked, names = self._asked, self._asked.policies
        if asked.trace is not None:
            trace = read_trace(asked.trace, asked.format_name)
        elif asked.since is not None:
            trace, names = self._own()
        else:
            self._refuse("no_trace")
        if trace.broken:
            for broken in trace.broken[:_SHOWN_ROWS]:
                warn(self._say("line", file=trace.name, line=broken.line, what=self._broken(broken)))
            if len(trace.broken) > _SHOWN_ROWS:
                warn(self._say("more_broken", count=len(trace.broken) - _SHOWN_ROWS))
            rows = len(trace.jobs) + len(trace.broken) + sum(trace.left_out.values())
            if not asked.skip_broken:
                raise TraceError("broken", count=len(trace.broken), rows=rows, file=trace.name)
        begins, ends = (None if text is None else self._moment(text) for text in (asked.begins, asked.ends))
        jobs = tuple(
            job
            for job in trace.jobs
            if (begins is None or job.submitted_at >= begins) and (ends is None or job.submitted_at < ends)
        )
        if not jobs:
            raise TraceError("empty", file=trace.name, left_out=self._left_out(trace))
        return replace(trace, jobs=jobs), names

    def _own(self) -> tuple[Any, tuple[str, ...]]:
        """Return the platform's own jobs, and its platform file where no other policy was named."""
        from dure.main import own_log
        from dure.settings import read_settings
        from dure.sim.policies import span_s

        asked = self._asked
        since = time.time() - span_s(asked.since or "")
        folder = (asked.state_dir or platform_folder()).resolve()
        settings = read_settings(folder, os.environ, port=0)
        names = asked.policies
        if not names and settings.platform_file.is_file():
            names = (str(settings.platform_file),)
        if asked.state_dir is None and self._signed_in():
            return own_log.of_platform(connect(self._ctx, retry_s=5), since), names
        return own_log.of_folder(folder, settings.database_url, since), names

    def _signed_in(self) -> bool:
        from dure.client.config import find_login
        from dure.client.errors import DureError

        try:
            find_login()
        except DureError:
            return False
        return True

    def _tell_left_out(self, trace: Any) -> None:
        if trace.left_out:
            self._note("left_out", what=self._left_out(trace))
        if trace.broken:
            self._note("skipped", count=f"{len(trace.broken):,}")

    def _left_out(self, trace: Any) -> str:
        from dure.sim import words

        return ", ".join(
            self._say("left_out_some", count=f"{count:,}", what=words.say(words.LEFT_OUT, reason, self._lang))
            for reason, count in trace.left_out.items()
        )

    def _tell_beliefs(self, trace: Any, error: float) -> None:
        if any(job.predicted_s is None for job in trace.jobs):
            told = self._say("with_error", percent=error * 100.0) if error else ""
            self._note("predictions", error=told)

    def _tell_stranded(self, outcomes: Sequence[Any], policy: str, count: int) -> None:
        if count:
            first = next(outcome.job for outcome in outcomes if outcome.ended_at is None)
            self._note("never_ran", policy=policy, count=count, example=first.id, gpus=first.gpus)

    def _note_fairness(self, over: str) -> None:
        from dure.sim import words
        from dure.sim.figures import LEAST_RUN_S

        self._note("fairness", group=words.say(words.REPORT, over, self._lang), least=LEAST_RUN_S)

    def _broken(self, broken: Any) -> str:
        from dure.sim import words

        return words.say(words.BROKEN, broken.code, self._lang, **broken.data)

    def _document(self, trace: Any, found: list[dict[str, Any]]) -> dict[str, Any]:
        broken = [{"line": row.line, "problem": self._broken(row)} for row in trace.broken]
        about = {"name": trace.name, "format": trace.format, "jobs": len(trace.jobs)}
        return {
            "trace": about | {"left_out": dict(trace.left_out), "broken": broken},
            "notes": self._notes,
            "policies": found,
        }

    def _write(self, path: Path, text: str) -> None:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            self._refuse("unwritable", path=path, why=error.strerror or str(error))

    def _moment(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self._refuse("bad_time", text=text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def _refuse(self, code: str, **data: Any) -> Any:
        from dure.sim.policies import PolicyError

        raise PolicyError(code, **data)

    def _note(self, code: str, **data: Any) -> str:
        self._notes.append(self._say(code, **data))
        return self._notes[-1]

    def _say(self, code: str, **data: Any) -> str:
        from dure.sim import words

        return words.say(words.NOTES, code, self._lang, **data)


class _Bar:
    """A bar on stderr with the time left; silent where stderr is no terminal."""

    def __init__(self, name: str, jobs: int) -> None:
        self._name = name
        self._jobs = jobs
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
            self._task = self._progress.add_task(self._name, total=self._jobs)
        return self

    def show(self, ended: int) -> None:
        """Show how many jobs have ended."""
        if self._progress is not None and ended % 20 == 0:
            self._progress.update(self._task, completed=ended)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
