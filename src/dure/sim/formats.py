"""Which formats of traces are known, how each is recognised by what is in the file, and how a row becomes a job.

Public traces keep their publishers' columns, so a file is used as it was downloaded. The trap: several formats share
columns; the first in `CSV_FORMATS` whose columns are all there is taken, so the more particular ones stand first.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dure.sim.documents import DOCUMENT_FORMATS, read_document, recognised_document
from dure.sim.traces import MAX_JOBS, WHOLE_GPU_MILLI, BadRow, Gathering, LeftOut, Row, Trace, TraceJob, label

MAX_FILE_BYTES = 2 * 1024**3
_HEAD_BYTES = 64 * 1024
_GRES = re.compile(r"gres/gpu(?::(?P<model>[^=,]+))?=(?P<count>\d+)")
_OLD_GRES = re.compile(r"gpu(?::(?P<model>[^:,(]+))?:(?P<count>\d+)")
_DAYS = re.compile(r"(?:(?P<d>\d+)-)?(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+)(?:\.\d+)?")


class TraceError(Exception):
    """The file as a whole cannot be used: a code of `words.TRACE_ERRORS` and the particulars."""

    def __init__(self, code: str, **data: object) -> None:
        super().__init__(code)
        self.code = code
        self.data = data


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """A table: the columns by which it is known and how a row becomes a job."""

    name: str
    columns: frozenset[str]
    job: Callable[[Row, int], TraceJob]
    delimiter: str = ","
    any_of: frozenset[str] = frozenset()

    def knows(self, header: Sequence[str]) -> bool:
        """Return whether a file with this header is of the format."""
        return self.columns <= set(header) and (not self.any_of or bool(self.any_of & set(header)))


def read_trace(path: Path, format_name: str | None = None) -> Trace:
    """Return the trace in a file; its format is recognised unless named. Raises TraceError for what is no trace."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
        if size > MAX_FILE_BYTES:
            raise TraceError("too_large", file=path.name, most=MAX_FILE_BYTES)
        if not head.strip():
            raise TraceError("nothing", file=path.name)
        known = format_name or recognised(head)
        if known is None:
            first = head.splitlines()[0][:200] if head else ""
            raise TraceError("unknown_format", file=path.name, header=first, names=", ".join(FORMAT_NAMES))
        if known in DOCUMENT_FORMATS:
            return read_document(path.name, path.read_text("utf-8-sig", errors="replace"), known)
        for kind in CSV_FORMATS:
            if kind.name == known:
                with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                    return _read_csv(path.name, file, kind)
    except OSError as error:
        raise TraceError("unreadable", file=str(path), why=error.strerror or str(error)) from None
    raise TraceError("no_such_format", name=known, names=", ".join(FORMAT_NAMES))


def recognised(head: str) -> str | None:
    """Return the name of the format of a file that begins with `head`, or None."""
    found = recognised_document(head)
    if found is not None:
        return found
    first = head.lstrip().split("\n", 1)[0].strip()
    for kind in CSV_FORMATS:
        header = next(csv.reader(io.StringIO(first), delimiter=kind.delimiter), [])
        if kind.knows([name.strip() for name in header]):
            return kind.name
    return None


def _read_csv(name: str, file: Iterator[str], kind: CsvFormat) -> Trace:
    rows = csv.reader(file, delimiter=kind.delimiter)
    try:
        header = [column.strip() for column in next(rows, [])]
    except csv.Error:  # a field of megabytes, say
        header = []
    missing = sorted(kind.columns - set(header))
    if missing:
        raise TraceError("columns", file=name, format=kind.name, columns=", ".join(missing))
    gathering = Gathering()
    while True:
        try:
            values = next(rows, None)
            if values is None:
                break
            if not values:
                continue
            if len(values) != len(header):
                raise BadRow("fields", found=len(values), wanted=len(header))  # noqa: TRY301 - one place for all
            gathering.jobs.append(kind.job(Row(dict(zip(header, values, strict=True))), rows.line_num))
        except LeftOut as why:
            gathering.left_out[why.reason] += 1
        except BadRow as error:
            gathering.bad(rows.line_num, error)
        except csv.Error as error:
            gathering.bad(rows.line_num, BadRow("csv", why=str(error)))
        if len(gathering.jobs) > MAX_JOBS:
            raise TraceError("too_many", file=name, most=MAX_JOBS)
    return gathering.trace(name, kind.name)


def _own(row: Row, line: int) -> TraceJob:
    budget = row.text("budget", "flex")
    if budget not in ("flex", "strict"):
        raise BadRow("not_budget", column="budget", value=budget[:60])
    nodes = row.optional("nodes")
    gpus_milli = row.gpus_milli("gpus")
    if nodes is not None and (nodes < 1 or gpus_milli % (nodes * WHOLE_GPU_MILLI)):
        raise BadRow("uneven_nodes", column="nodes", value=row.text("nodes")[:60])
    return TraceJob(
        id=row.text("id", f"line-{line}"),
        submitted_at=row.time("submitted_at"),
        run_s=row.number("run_s"),
        gpus_milli=gpus_milli,
        nodes=None if nodes is None else int(nodes),
        tier=row.text("tier", "") or None,
        user=row.text("user", ""),
        team=label(row.text("team", "")),
        name=row.text("name", ""),
        priority=row.text("priority", "") or None,
        deadline_at=row.time_or_none("deadline_at"),
        timeout_s=row.optional("timeout_s"),
        predicted_s=row.optional("predicted_s"),
        checkpoint_s=row.optional("checkpoint_s"),
        burstable=row.flag("burstable", default=True),
        budget=budget,
        data_class=row.text("data_class", "") or None,
    )


def _philly(row: Row, line: int) -> TraceJob:
    return TraceJob(
        id=f"philly-{line}",
        submitted_at=row.time("timestamp"),
        run_s=float(int(row.number("duration"))),
        gpus_milli=row.gpus_milli("num_gpus"),
        team=label(row.text("cluster")),
    )


def _chronus(row: Row, _line: int) -> TraceJob:
    submitted_at = row.time("submit_time")
    strict = row.text("best_effort", "0") in ("0", "0.0")
    return TraceJob(
        id=row.text("job_id"),
        submitted_at=submitted_at,
        run_s=row.number("duration"),
        gpus_milli=row.gpus_milli("num_gpu"),
        team=label(row.text("user")),
        name=row.text("model_name", ""),
        deadline_at=submitted_at + row.number("expect_time_list") if strict else None,
    )


@dataclass(frozen=True, slots=True)
class ClusterLog:
    """What a publisher calls the columns that logs of clusters have in common; None for what it has not."""

    gpus: str
    nodes: str
    run: str
    team: str
    needs_team: bool = False
    name: str | None = None
    limit: str | None = None
    began: str | None = None

    def job(self, row: Row, _line: int) -> TraceJob:
        """Return the job of a row; its nodes are None where its GPUs do not divide evenly among them."""
        gpus_milli = row.gpus_milli(self.gpus)
        if self.began and not row.has(self.began):
            raise LeftOut("never_ran")
        nodes = int(row.optional(self.nodes) or 0)
        return TraceJob(
            id=row.text("job_id"),
            submitted_at=row.time("submit_time"),
            run_s=row.number(self.run),
            gpus_milli=gpus_milli,
            nodes=nodes if nodes > 1 and gpus_milli % (nodes * WHOLE_GPU_MILLI) == 0 else None,
            user=row.text("user", ""),
            team=label(row.text(self.team, None if self.needs_team else "")),
            name=row.text(self.name, "") if self.name else "",
            timeout_s=row.optional(self.limit) if self.limit else None,
        )


def _openb(row: Row, _line: int) -> TraceJob:
    gpus_milli = row.gpus_milli("num_gpu")
    if gpus_milli == WHOLE_GPU_MILLI:
        gpus_milli = int(row.number("gpu_milli", least=1))
    if gpus_milli > WHOLE_GPU_MILLI and row.number("num_gpu") == 1:
        raise BadRow("part_of_one", column="gpu_milli", value=row.text("gpu_milli"))
    if not row.has("scheduled_time"):
        raise LeftOut("never_ran")
    models = row.text("gpu_spec", "").split("|")
    run_s = _between_s(row, "scheduled_time", "deletion_time")
    return TraceJob(
        id=row.text("name"),
        submitted_at=row.time("creation_time"),
        run_s=run_s,
        gpus_milli=gpus_milli,
        tier=label(models[0]) if len(models) == 1 and models[0] else None,
        team=label(row.text("qos", "")),
    )


def _between_s(row: Row, start: str, end: str) -> float:
    ends, starts = row.time(end), row.time(start)
    if ends < starts:
        raise BadRow("ends_before", column=end, value=row.text(end)[:60])
    return ends - starts


def _sacct(row: Row, _line: int) -> TraceJob:
    job_id = row.text("JobID")
    if "." in job_id:
        raise LeftOut("step")
    gpus, model = _slurm_gpus(row)
    if gpus == 0:
        raise LeftOut("cpu_only")
    if not row.has("Start"):
        raise LeftOut("never_ran")
    if row.has("End") or row.text("State", "") not in ("RUNNING", "PENDING"):
        run_s = _slurm_run_s(row)
    else:
        raise LeftOut("unfinished")
    nodes = int(row.optional("NNodes") or 0)
    return TraceJob(
        id=job_id,
        submitted_at=row.time("Submit"),
        run_s=run_s,
        gpus_milli=gpus * WHOLE_GPU_MILLI,
        nodes=nodes if nodes > 1 and gpus % nodes == 0 else None,
        tier=label(model) if model else None,
        user=row.text("User", ""),
        team=label(row.text("Account", "")),
        name=row.text("JobName", ""),
        timeout_s=_slurm_limit_s(row),
    )


def _slurm_gpus(row: Row) -> tuple[int, str | None]:
    """Return how many GPUs a job had, and their model where it names exactly one."""
    for column, pattern in (("AllocTRES", _GRES), ("ReqTRES", _GRES), ("AllocGRES", _OLD_GRES), ("ReqGRES", _OLD_GRES)):
        found = [(match["model"], int(match["count"])) for match in pattern.finditer(row.text(column, ""))]
        if found:
            typed = {model: count for model, count in found if model}
            total = next((count for model, count in found if not model), sum(typed.values()))
            return total, next(iter(typed)) if len(typed) == 1 else None
    return 0, None


def _slurm_run_s(row: Row) -> float:
    if row.has("ElapsedRaw"):
        return row.number("ElapsedRaw")
    if row.has("Elapsed"):
        return _span_s(row, "Elapsed")
    return _between_s(row, "Start", "End")


def _slurm_limit_s(row: Row) -> float | None:
    if row.has("TimelimitRaw") and row.text("TimelimitRaw").isdigit():
        return row.number("TimelimitRaw") * 60.0
    limit = row.text("Timelimit", "UNLIMITED")
    return None if limit in ("UNLIMITED", "Partition_Limit") else _span_s(row, "Timelimit")


def _span_s(row: Row, column: str) -> float:
    """Return seconds of Slurm's `days-hours:minutes:seconds`."""
    text = row.text(column)
    match = _DAYS.fullmatch(text)
    if match is None:
        raise BadRow("not_span", column=column, value=text[:60])
    days, hours = int(match["d"] or 0), int(match["h"] or 0)
    return float(((days * 24 + hours) * 60 + int(match["m"])) * 60 + int(match["s"]))


_HELIOS = ClusterLog("gpu_num", "node_num", "duration", team="vc", needs_team=True, name="jobname")
_ACME = ClusterLog("gpu_num", "node_num", "duration", team="type", began="start_time")
_NREL = ClusterLog("gpus_req", "nodes_req", "run_time", team="account", name="name", limit="wallclock_req")
_SLURM_GPUS = frozenset({"AllocTRES", "ReqTRES", "AllocGRES", "ReqGRES"})
CSV_FORMATS: tuple[CsvFormat, ...] = (
    CsvFormat("dure", frozenset({"submitted_at", "run_s", "gpus"}), _own),
    CsvFormat("philly-csv", frozenset({"timestamp", "duration", "num_gpus", "gpu_time", "cluster"}), _philly),
    CsvFormat(
        "chronus", frozenset({"job_id", "user", "num_gpu", "submit_time", "duration", "expect_time_list"}), _chronus
    ),
    CsvFormat("helios", frozenset({"job_id", "vc", "gpu_num", "submit_time", "duration"}), _HELIOS.job),
    CsvFormat(
        "acme", frozenset({"job_id", "type", "node_num", "gpu_num", "submit_time", "start_time", "duration"}), _ACME.job
    ),
    CsvFormat(
        "openb",
        frozenset({"name", "num_gpu", "gpu_milli", "creation_time", "deletion_time", "scheduled_time"}),
        _openb,
    ),
    CsvFormat("nrel", frozenset({"job_id", "gpus_req", "submit_time", "run_time"}), _NREL.job),
    CsvFormat("sacct", frozenset({"JobID", "Submit", "Start"}), _sacct, "|", _SLURM_GPUS),
)
FORMAT_NAMES: tuple[str, ...] = (*(kind.name for kind in CSV_FORMATS), *DOCUMENT_FORMATS)
