"""Traces that are documents, not tables: Philly's job log, this platform's event log, Kueue's baseline generator.

The trap: an event log may begin in the middle of a job's life; a job whose submission or end is not in it is left out
and counted, since nobody knows how long it would have waited or run. What an attempt lost is no part of the run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dure.core.reservations import Reservation
from dure.sim.traces import (
    MAX_AT,
    MAX_JOBS,
    WHOLE_GPU_MILLI,
    BadRow,
    Gathering,
    LeftOut,
    Place,
    Row,
    Trace,
    TraceJob,
    label,
)

PHILLY_JSON, EVENTS, KUEUE = "philly-json", "events", "kueue"
DOCUMENT_FORMATS = (PHILLY_JSON, EVENTS, KUEUE)
_ENDS = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
_COURSE = frozenset({"job.running", "job.checkpointed", "job.requeued"})
_CALENDAR = frozenset({"reservation.made", "reservation.released", "reservation.ended"})
_MAX_QUEUES = 10_000
_MAX_GPUS = 10_000_000
_NODE_GPUS = 1000  # the generator's quota has no machines: it becomes nodes of so many GPUs at most


def recognised_document(head: str) -> str | None:
    """Return the name of the document format of a file that begins with `head`, or None."""
    start = head.lstrip()
    if start[:1] in "[{" and start:
        if '"attempts"' in head or '"submitted_time"' in head:
            return PHILLY_JSON
        return EVENTS if '"kind"' in head and '"subject"' in head else None
    return KUEUE if re.search(r"^\s*-?\s*(queuesSets|workloadsSets):", head, re.MULTILINE) else None


def read_document(name: str, text: str, kind: str) -> Trace:
    """Return the trace that a document of the given format holds."""
    if kind == KUEUE:
        return _read_kueue(name, text)
    gathering = Gathering()
    records = _records(text, gathering)
    if kind == EVENTS:
        return events_trace(name, records, gathering)
    for place, record in records:
        try:
            gathering.jobs.append(_philly_job(Row(record), place))
        except LeftOut as why:
            gathering.left_out[why.reason] += 1
        except BadRow as error:
            gathering.bad(place, error)
    return gathering.trace(name, PHILLY_JSON)


def _records(text: str, gathering: Gathering) -> Sequence[tuple[Place, Mapping[str, Any]]]:
    """Return the objects of a JSON array, of `{"events": […]}` or of one object a line, each with its place."""
    found: list[tuple[Place, Any]] = []
    try:
        whole = json.loads(text)
    except RecursionError:
        gathering.bad(1, BadRow("json", why="nested too deeply"))
        return []
    except json.JSONDecodeError as error:
        lines = text.splitlines()
        if not lines or not lines[0].lstrip().startswith("{") or len(lines) == 1:
            gathering.bad(error.lineno, BadRow("json", why=error.msg))
            return []
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    found.append((number, json.loads(line)))
            except json.JSONDecodeError as broken:
                gathering.bad(number, BadRow("json", why=broken.msg))
            except RecursionError:
                gathering.bad(number, BadRow("json", why="nested too deeply"))
    else:
        if isinstance(whole, dict):
            whole = whole.get("events", [whole])
        found = list(zip(_places_of(text, len(whole)), whole, strict=False))
    records = []
    for place, record in found:
        if isinstance(record, dict):
            records.append((place, record))
        else:
            gathering.bad(place, BadRow("not_object"))
    return records


def _places_of(text: str, count: int) -> list[Place]:
    """Return where each object of an array begins; 1, 2, 3 … where that cannot be told."""
    decoder, found, at, line = json.JSONDecoder(), [], text.find("[") + 1, 1 + text.count("\n", 0, text.find("[") + 1)
    for _ in range(count):
        skipped = re.compile(r"[\s,]*").match(text, at)
        begins = skipped.end() if skipped else at
        line += text.count("\n", at, begins)
        found.append((line, begins - text.rfind("\n", 0, begins)))
        try:
            _, at = decoder.raw_decode(text, begins)
        except json.JSONDecodeError:
            return list(range(1, count + 1))
        line += text.count("\n", begins, at)
    shared = Counter(line for line, _ in found)
    return [line if shared[line] == 1 else f"{line}:{column}" for line, column in found]


def _philly_job(row: Row, line: Place) -> TraceJob:
    attempts = [Row(attempt) for attempt in row_list(row, "attempts")]
    if not attempts:
        raise LeftOut("never_ran")
    if not attempts[-1].has("end_time"):
        raise LeftOut("unfinished")
    run_s, gpus, nodes = 0.0, 0, 0
    for tried in attempts:
        starts, ends = tried.time_or_none("start_time"), tried.time_or_none("end_time")
        if starts is None or ends is None:
            raise LeftOut("no_times")
        if ends < starts:
            raise BadRow("ends_before", column="end_time", value=tried.text("end_time"))
        run_s += ends - starts
        detail = row_list(tried, "detail")
        gpus = max(gpus, sum(len(_texts(machine, "gpus")) for machine in detail))
        nodes = max(nodes, len(detail))
    if gpus == 0:
        raise LeftOut("cpu_only")
    return TraceJob(
        id=row.text("jobid", f"line-{line}"),
        submitted_at=row.time("submitted_time"),
        run_s=run_s,
        gpus_milli=gpus * WHOLE_GPU_MILLI,
        user=row.text("user", ""),
        team=label(row.text("vc", "")),
    )


def _texts(holder: Mapping[str, Any], column: str) -> list[Any]:
    value = holder.get(column) or []
    if not isinstance(value, list):
        raise BadRow("not_list", column=column)
    return value


def row_list(row: Row, column: str) -> list[Mapping[str, Any]]:
    """Return a list of objects; BadRow when it is none."""
    value = row.raw(column)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRow("not_list", column=column)
    return value


def events_trace(
    name: str, events: Iterable[tuple[Place, Mapping[str, Any]]], gathering: Gathering | None = None
) -> Trace:
    """Return the jobs that an event log of this platform tells of, each event with the place to name it by."""
    gathering = gathering or Gathering()
    submitted: dict[str, _Life] = {}
    reserved: dict[str, Reservation] = {}
    for line, event in events:
        row = Row(event)
        try:
            kind, subject, at = row.text("kind"), row.text("subject"), row.time("at")
            data = event.get("data") or {}
            if not isinstance(data, Mapping):
                raise BadRow("not_object")  # noqa: TRY301 - one place for all
            if kind == "job.submitted":
                submitted[subject] = _Life(at, Row(data))
            elif kind in _CALENDAR:
                _reserve(reserved, kind, subject, at, Row(data))
            elif kind in _COURSE and subject in submitted:
                submitted[subject].follow(kind, at, Row(data))
            elif kind in _ENDS:
                life = submitted.pop(subject, None)
                if life is None:
                    gathering.left_out["began_before"] += 1
                    continue
                gathering.jobs.append(_event_job(subject, life, Row(data)))
        except LeftOut as why:
            gathering.left_out[why.reason] += 1
        except BadRow as error:
            gathering.bad(line, error)
    if submitted:
        gathering.left_out["unfinished"] += len(submitted)
    return replace(gathering.trace(name, EVENTS), reservations=tuple(reserved.values()))


def _reserve(reserved: dict[str, Reservation], kind: str, name: str, at: float, data: Row) -> None:
    """Take note of a reservation: one whose making is not in the log is older. Who releases it here is a person."""
    if name not in reserved:
        begins_at, ends_at = data.time("begins_at"), data.time("ends_at")
        if ends_at <= begins_at:
            raise BadRow("ends_before", column="ends_at", value=data.text("ends_at"))
        reserved[name] = Reservation(
            id=name,
            team=data.text("team"),
            tier=data.text("tier"),
            gpus_milli=int(data.number("gpus_milli", least=1)),
            begins_at=begins_at,
            ends_at=ends_at,
            made_by="",
            made_at=at if kind == "reservation.made" else float("-inf"),
            user=data.text("for_user", "") or None,
        )
    if kind == "reservation.released" and data.text("why", "released") == "released":
        reserved[name] = replace(reserved[name], freed_at=at, freed_why="released")


@dataclass(slots=True)
class _Life:
    """What a log told so far of a job that has not ended: its submission, and what its attempts ran and lost."""

    at: float
    row: Row
    ran_s: float = 0.0
    lost_s: float = 0.0
    began_at: float | None = None
    saved_at: float | None = None
    saves: int = 0
    saved_s: float = 0.0

    def follow(self, kind: str, at: float, data: Row) -> None:
        """Take note of an attempt's beginning, of a checkpoint, or that it gave its GPUs back before it was done."""
        if kind == "job.running":
            self.began_at, self.saved_at = at, None
        elif kind == "job.checkpointed":
            saved_at = data.time("saved_at")
            before = self.saved_at or self.began_at or saved_at
            self.saves, self.saved_s = self.saves + 1, self.saved_s + max(0.0, saved_at - before)
            self.saved_at = saved_at
        else:
            ran_s = data.number("ran_s", self.ran_s)
            kept_s = 0.0 if self.saved_at is None or self.began_at is None else self.saved_at - self.began_at
            self.lost_s += max(0.0, ran_s - self.ran_s - max(0.0, kept_s))
            self.ran_s, self.began_at, self.saved_at = ran_s, None, None


def _event_job(job_id: str, life: _Life, end: Row) -> TraceJob:
    run_s = end.number("ran_s", 0.0) - life.lost_s
    if run_s <= 0.0:
        raise LeftOut("never_ran")
    row = life.row
    nodes = int(row.number("nodes", 1.0))
    return TraceJob(
        id=job_id,
        submitted_at=life.at,
        run_s=run_s,
        gpus_milli=int(row.number("gpus_milli", WHOLE_GPU_MILLI, least=1)),
        nodes=nodes if nodes > 1 else None,
        tier=row.text("tier", "") or None,
        user=row.text("user", ""),
        team=row.text("team", ""),
        name=row.text("name", ""),
        priority=row.text("priority", "") or None,
        deadline_at=row.time_or_none("deadline_at"),
        timeout_s=row.optional("timeout_s"),
        predicted_s=row.optional("predicted_s"),
        checkpoint_s=life.saved_s / life.saves if life.saves else None,
        burstable=row.flag("burstable", default=True),
        budget="strict" if row.text("budget", "flex") == "strict" else "flex",
        data_class=row.text("data_class", "") or None,
    )


def _read_kueue(name: str, text: str) -> Trace:
    """Expand Kueue's generator: cohorts of queues, each with streams of equal workloads at fixed intervals.

    As in Kueue's harness the n-th workload of a stream comes after n intervals; here a microsecond apart by queue, so
    that their order is one. A request counts as so many GPUs.
    """
    gathering = Gathering()
    try:
        document = YAML(typ="safe", pure=True).load(text)
        groups = document["cohorts"] if isinstance(document, dict) else document
        teams = list(_kueue_teams(groups, gathering))
        total = sum(team["nominal_quota"]["gpu"] for team in teams)
        if not 0 < total <= _MAX_GPUS:
            told = f"quotas of {total} together, which is not between 1 and {_MAX_GPUS}"
            raise ValueError(told)  # noqa: TRY301 - one place for all
    except (YAMLError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        told = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        gathering.bad(_line_of(text, error), BadRow("kueue", why=told))
        return gathering.trace(name, KUEUE)
    sizes = [min(_NODE_GPUS, total - at) for at in range(0, int(total), _NODE_GPUS)]
    nodes = [{"name": f"quota-{i + 1}", "tier": "gpu", "gpus": size} for i, size in enumerate(sizes)]
    first: Mapping[str, Any] = groups[0]["queuesSets"][0]
    sections = {
        "clusters": [{"name": "quota", "kind": "private", "nodes": nodes}],
        "tiers": [{"name": "gpu"}],
        "cohorts": [{"name": cohort} for cohort in dict.fromkeys(team["cohort"] for team in teams)],
        "teams": teams,
        "queueing": {
            "preemption": {
                "within_cluster_queue": first.get("withinClusterQueue", "Never"),
                "reclaim_within_cohort": first.get("reclaimWithinCohort", "Never"),
            },
            "fair_sharing": {"enabled": False},
        },
    }
    return gathering.trace(name, KUEUE, sections)


class _NoNumberError(ValueError):
    """A value of the generator that is no number, or one that cannot be."""

    def __init__(self, key: str, value: object, why: str) -> None:
        super().__init__(f"{key} is {str(value)[:60]!r}, which is {why}")
        self.pair = re.compile(rf"\b{key}:\s*[\"']?{re.escape(str(value))}")


def _line_of(text: str, error: Exception) -> int:
    """Return the line that an error is about, as far as it is known; else the first."""
    if isinstance(error, _NoNumberError):
        return next((at for at, line in enumerate(text.splitlines(), start=1) if error.pair.search(line)), 1)
    mark = getattr(error, "problem_mark", None)
    return 1 if mark is None else int(mark.line) + 1


def _number(part: Mapping[str, Any], key: str, least: float = 0.0) -> float:
    """Return a number of the generator, from `least` to MAX_AT; KeyError without it."""
    value = part[key]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _NoNumberError(key, value, "no number") from None
    if not least <= number <= MAX_AT:
        raise _NoNumberError(key, value, f"not between {least:g} and {MAX_AT:g}")
    return number


def _kueue_teams(groups: Iterable[Mapping[str, Any]], gathering: Gathering) -> Iterable[dict[str, Any]]:
    """Yield each queue as a team of a platform file; its workloads go to `gathering`."""
    place = 0
    for group in groups:
        for number in range(_times(group)):
            cohort = f"{group['className']}-{number}"
            for queues in group["queuesSets"]:
                for index in range(_times(queues)):
                    if place >= _MAX_QUEUES:
                        raise ValueError(f"more than {_MAX_QUEUES} queues")
                    team = f"{cohort}-{queues['className']}-{index}"
                    for stream in queues["workloadsSets"]:
                        for job in _kueue_jobs(team, place, stream):
                            gathering.jobs.append(job)
                            if len(gathering.jobs) > MAX_JOBS:
                                raise ValueError(f"more than {MAX_JOBS} workloads")
                    place += 1
                    limited = "borrowingLimit" in queues
                    limit = {"borrowing_limit": {"gpu": int(_number(queues, "borrowingLimit"))}} if limited else {}
                    yield {
                        "name": team,
                        "members": ["*"],
                        "cohort": cohort,
                        "nominal_quota": {"gpu": int(_number(queues, "nominalQuota"))},
                        **limit,
                    }


def _times(part: Mapping[str, Any]) -> int:
    count = int(_number({"count": 1} | dict(part), "count"))
    if count > MAX_JOBS:
        raise ValueError(f"a count of {count}, which is more than {MAX_JOBS}")
    return count


def _kueue_jobs(team: str, place: int, stream: Mapping[str, Any]) -> Iterable[TraceJob]:
    interval_s = _number(stream, "creationIntervalMs") / 1000.0
    for number in range(_times(stream)):
        for workload in stream["workloads"]:
            yield TraceJob(
                id=f"{team}-{workload['className']}-{number}",
                submitted_at=(number + 1) * interval_s + place * 1e-6,
                run_s=_number(workload, "runtimeMs") / 1000.0,
                gpus_milli=int(_number(workload, "request", 1.0)) * WHOLE_GPU_MILLI,
                nodes=1,
                team=team,
                name=workload["className"],
                priority=int(_number({"priority": 0} | dict(workload), "priority", -MAX_AT)),
                burstable=False,
            )
