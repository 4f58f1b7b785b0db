"""Traces: every format is recognised by what is in it, and every broken row is named with its line."""

import json
from pathlib import Path

import pytest

from dure.sim.formats import FORMAT_NAMES, TraceError, read_trace
from dure.sim.traces import Trace, TraceJob
from dure.sim.words import BROKEN, LEFT_OUT, say

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces"
KUEUE = """\
cohorts:
- className: cohort
  count: 2
  queuesSets:
  - className: cq
    count: 3
    nominalQuota: 20
    borrowingLimit: 100
    reclaimWithinCohort: Any
    withinClusterQueue: LowerPriority
    workloadsSets:
    - count: 4
      creationIntervalMs: 100
      workloads:
      - {className: small, runtimeMs: 200, priority: 50, request: 1}
    - count: 1
      creationIntervalMs: 1200
      workloads:
      - {className: large, runtimeMs: 1000, priority: 200, request: 20}
"""
SACCT = """\
JobID|JobName|User|Account|Submit|Start|End|Elapsed|State|AllocTRES|NNodes|Timelimit
101|train|ann|vision|2026-01-05T10:00:00|2026-01-05T10:01:00|2026-01-06T11:01:30|1-01:00:30|COMPLETED|cpu=8,gres/gpu=4,gres/gpu:a100=4|1|2-00:00:00
101.batch|batch|||2026-01-05T10:00:00|2026-01-05T10:01:00|2026-01-06T11:01:30|1-01:00:30|COMPLETED|cpu=8|1|
102|cpu|ann|vision|2026-01-05T10:00:00|2026-01-05T10:01:00|2026-01-05T10:02:00|00:01:00|COMPLETED|cpu=8|1|UNLIMITED
103|wide|bob|speech|2026-01-05T12:00:00|2026-01-05T12:00:01|2026-01-05T12:30:01|30:00|CANCELLED by 7|gres/gpu=16|2|1:00:00
104|late|bob|speech|2026-01-05T13:00:00|Unknown|Unknown|00:00:00|PENDING|gres/gpu=1|1|1:00:00
"""
PHILLY_JSON = [
    {
        "status": "Pass", "vc": "ee9e8c", "jobid": "application_1", "user": "u1", "submitted_time": "2017-10-07 01:11:39",
        "attempts": [
            {"start_time": "2017-10-07 01:12:09", "end_time": "2017-10-07 01:13:23", "detail": [{"ip": "m47", "gpus": ["gpu0", "gpu1"]}]},
            {"start_time": "2017-10-07 01:13:30", "end_time": "2017-10-07 01:14:00", "detail": [{"ip": "m2", "gpus": ["gpu0", "gpu1"]}]},
        ],
    },
    {"status": "Killed", "vc": "x", "jobid": "application_2", "user": "u1", "submitted_time": "2017-10-07 01:11:39", "attempts": []},
    {
        "status": "Pass", "vc": "x", "jobid": "application_3", "user": "u", "submitted_time": "soon",
        "attempts": [{"start_time": "2017-10-07 01:12:09", "end_time": "2017-10-07 01:13:23", "detail": [{"ip": "m", "gpus": ["gpu0"]}]}],
    },
]  # fmt: skip
EVENTS = [
    {"seq": 1, "at": 100.0, "actor": "ann", "subject": "j-1", "kind": "job.submitted",
     "data": {"name": "a", "user": "ann", "team": "vision", "tier": "gold", "gpus_milli": 2000, "priority": "high",
              "budget": "strict", "burstable": False, "deadline_at": 900.0, "predicted_s": 40.0, "nodes": 1}},
    {"seq": 2, "at": 101.0, "actor": "loop", "subject": "j-1", "kind": "job.admitted", "data": {}},
    {"seq": 3, "at": 160.0, "actor": "loop", "subject": "j-1", "kind": "job.failed", "data": {"ran_s": 55.5}},
    {"seq": 4, "at": 161.0, "actor": "loop", "subject": "j-0", "kind": "job.succeeded", "data": {"ran_s": 5.0}},
    {"seq": 5, "at": 162.0, "actor": "ann", "subject": "j-2", "kind": "job.submitted", "data": {"gpus_milli": 500}},
]  # fmt: skip


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str, format_name: str | None = None) -> Trace:
    return read_trace(written(folder, text), format_name)


def test_our_own_format_knows_all_that_a_job_may_say(tmp_path):
    trace = read(
        tmp_path,
        "id,submitted_at,run_s,gpus,nodes,tier,user,team,name,priority,deadline_at,timeout_s,predicted_s,burstable,budget\n"
        "b,2026-01-01T00:00:10,5,16,2,gold,ann,Vision Lab,train,high,1767225700,60,4.5,no,strict\n"
        "a,1767225600,7.5,0.25,,,,,,,,,,,\n",
    )
    assert trace.format == "dure"
    assert trace.jobs == (
        TraceJob(id="a", submitted_at=1767225600.0, run_s=7.5, gpus_milli=250),
        TraceJob(
            id="b", submitted_at=1767225610.0, run_s=5.0, gpus_milli=16_000, nodes=2, tier="gold", user="ann",
            team="vision-lab", name="train", priority="high", deadline_at=1767225700.0, timeout_s=60.0, predicted_s=4.5,
            burstable=False, budget="strict",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("x,5,1", "not_time"), ("0,abc,1", "not_number"), ("0,-1,1", "too_small"), ("0,nan,1", "missing"), ("0,inf,1", "too_small"),
        ("0,5,1.5", "part_of_several"), ("0,5", "fields"), ("0,5,1,2,3", "fields"), (",5,1", "missing"), ("0,5,-2", "too_small"),
        ("0,1e308,1", "too_large"), ("0,5,1e308", "too_large"), ("0,1e20,1", "too_large"),
    ],
)  # fmt: skip
def test_each_broken_row_is_named_with_its_line_and_what_to_do(tmp_path, row, code):
    trace = read(tmp_path, f"submitted_at,run_s,gpus\n0,5,1\n{row}\n7,5,2\n")
    assert [(broken.line, broken.code) for broken in trace.broken] == [(3, code)]
    assert len(trace.jobs) == 2
    for lang in ("en", "ko"):
        assert "{" not in say(BROKEN, code, lang, **trace.broken[0].data)


def test_what_is_no_gpu_work_is_left_out_and_counted(tmp_path):
    trace = read(tmp_path, "submitted_at,run_s,gpus\n0,5,0\n0,5,1\n")
    assert trace.left_out == {"cpu_only": 1}
    assert len(trace.jobs) == 1


@pytest.mark.parametrize(
    ("header", "row", "format_name", "expected"),
    [
        (
            "timestamp,duration,num_gpus,gpu_time,cluster", "2017-10-09 07:01:55,66.7,1,66.0,11cb48", "philly-csv",
            TraceJob(id="philly-2", submitted_at=1507532515.0, run_s=66.0, team="11cb48"),
        ),
        (
            "job_id,user,vc,gpu_num,cpu_num,node_num,state,submit_time,start_time,end_time,duration,queue",
            "1,uXBbc,vcJkd,16,1,2,COMPLETED,2020-06-09 18:41:01,2020-06-09 18:41:01,2020-06-10 04:55:09,36848,0", "helios",
            TraceJob(id="1", submitted_at=1591728061.0, run_s=36848.0, gpus_milli=16_000, nodes=2, user="uXBbc", team="vcjkd"),
        ),
        (
            "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,start_time,end_time,duration,queue,gpu_time",
            "5778432,u5907,1,8,128,Other,FAILED,2023-03-01 00:18:22+08:00,2023-03-01 00:18:54+08:00,2023-03-01 00:20:51+08:00,117,32,936.0",
            "acme", TraceJob(id="5778432", submitted_at=1677601102.0, run_s=117.0, gpus_milli=8000, user="u5907", team="other"),
        ),
        (
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time",
            "openb-pod-0001,6000,12288,1,460,V100M16,LS,Running,427061,12902960,427061", "openb",
            TraceJob(id="openb-pod-0001", submitted_at=427061.0, run_s=12475899.0, gpus_milli=460, tier="v100m16", team="ls"),
        ),
    ],
)  # fmt: skip
def test_public_tables_are_read_as_their_publishers_wrote_them(tmp_path, header, row, format_name, expected):
    trace = read(tmp_path, f"{header}\n{row}\n")
    assert (trace.format, trace.broken) == (format_name, ())
    assert trace.jobs == (expected,)
    assert read(tmp_path, f"{header}\n{row}\n", format_name).jobs == trace.jobs


def test_slurm_accounting_is_read_without_its_steps(tmp_path):
    trace = read(tmp_path, SACCT)
    assert trace.format == "sacct"
    assert trace.left_out == {"step": 1, "cpu_only": 1, "never_ran": 1}
    first, second = trace.jobs
    assert (first.id, first.run_s, first.gpus_milli, first.tier, first.timeout_s) == (
        "101",
        90_030.0,
        4000,
        "a100",
        172_800.0,
    )
    assert (second.id, second.run_s, second.nodes, second.tier) == ("103", 1800.0, 2, None)


@pytest.mark.parametrize("indent", [None, 1])
def test_phillys_job_log_adds_up_attempts_and_names_lines(tmp_path, indent):
    text = json.dumps(PHILLY_JSON, indent=indent)
    trace = read(tmp_path, text)
    assert trace.format == "philly-json"
    assert [(job.id, job.run_s, job.gpus_milli, job.team) for job in trace.jobs] == [
        ("application_1", 104.0, 2000, "ee9e8c")
    ]
    assert trace.left_out == {"never_ran": 1}
    [broken] = trace.broken
    assert broken.code == "not_time"
    begins = text.rindex("{", 0, text.rindex('"status"'))
    line, column = 1 + text[:begins].count("\n"), begins - text.rfind("\n", 0, begins)
    assert broken.line == (f"{line}:{column}" if indent is None else line)


@pytest.mark.parametrize("gpus", [2, "gpu0", {"a": 1}])
def test_gpus_that_are_no_list_are_a_broken_row_of_phillys_log(tmp_path, gpus):
    attempt = {"start_time": "2017-10-07 01:00:00", "end_time": "2017-10-07 02:00:00", "detail": [{"gpus": gpus}]}
    job = {"jobid": "a", "attempts": [attempt], "submitted_time": "2017-10-07 00:00:00"}
    assert [broken.code for broken in read(tmp_path, json.dumps([job])).broken] == ["not_list"]


@pytest.mark.parametrize(("count", "milli", "code"), [("1", "1500", "part_of_one"), ("1.7", "500", "part_of_several")])
def test_a_pod_of_openb_has_no_more_than_its_gpu(tmp_path, count, milli, code):
    head = "name,num_gpu,gpu_milli,creation_time,deletion_time,scheduled_time"
    [broken] = read(tmp_path, f"{head}\np,{count},{milli},10,500,12\n").broken
    assert (broken.code, broken.line) == (code, 2)


@pytest.mark.parametrize("form", ["lines", "page", "list"])
def test_our_event_log_becomes_jobs(tmp_path, form):
    text = {
        "lines": "\n".join(json.dumps(event) for event in EVENTS),
        "page": json.dumps({"events": EVENTS, "last_seq": 5}),
        "list": json.dumps(EVENTS),
    }[form]
    trace = read(tmp_path, text)
    assert trace.format == "events"
    assert trace.left_out == {"began_before": 1, "unfinished": 1}
    assert trace.jobs == (
        TraceJob(
            id="j-1", submitted_at=100.0, run_s=55.5, gpus_milli=2000, tier="gold", user="ann", team="vision", name="a",
            priority="high", deadline_at=900.0, predicted_s=40.0, burstable=False, budget="strict",
        ),
    )  # fmt: skip


def test_what_an_attempt_lost_is_no_part_of_its_jobs_run_and_its_checkpoints_are_known(tmp_path):
    story = [
        (0, "submitted", {"gpus_milli": 1000}), (1, "running", {}), (11, "checkpointed", {"saved_at": 11}),
        (31, "checkpointed", {"saved_at": 21}), (41, "requeued", {"ran_s": 40.0}),  # 20 s of 40 were saved
        (50, "running", {}), (60, "requeued", {"ran_s": 50.0}),  # nothing of 10 s was
        (70, "running", {}), (80, "checkpointed", {"saved_at": 80}), (95, "succeeded", {"ran_s": 75.0}),
    ]  # fmt: skip
    lines = [json.dumps({"at": at, "subject": "j", "kind": f"job.{kind}", "data": data}) for at, kind, data in story]
    [job] = read(tmp_path, "\n".join(lines)).jobs
    assert job.run_s == 20.0 + 25.0
    assert job.checkpoint_s == pytest.approx((10 + 10 + 10) / 3)


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [(("01:00:00", None), ("01:05:00", "01:06:00"), "no_times"), (("None", "01:01:00"), ("01:05:00", "01:06:00"), "no_times"),
     (("01:00:00", "01:01:00"), ("01:05:00", "None"), "unfinished")],
)  # fmt: skip
def test_phillys_attempts_without_times_are_left_out_for_what_they_are(tmp_path, first, last, reason):
    day, where = "2017-10-02 ", [{"ip": "m1", "gpus": ["gpu0"]}]
    times = [[day + time if time and time != "None" else time for time in pair] for pair in (first, last)]
    attempts = [{"start_time": begins, "end_time": ends, "detail": where} for begins, ends in times]
    job = {"vc": "TXT_2_IMG", "jobid": "a", "submitted_time": day + "00:59:00", "user": "u", "attempts": attempts}
    whole = job | {"attempts": attempts[1:] if reason == "no_times" else attempts[:1]}
    trace = read(tmp_path, json.dumps([job, whole], indent=4))
    assert trace.left_out == {reason: 1}
    assert [(one.team, one.run_s) for one in trace.jobs] == [("txt-2-img", 60.0)]


def test_kueues_generator_is_expanded_with_its_queues(tmp_path):
    trace = read(tmp_path, KUEUE)
    assert trace.format == "kueue"
    assert len(trace.jobs) == 2 * 3 * 5
    assert trace.jobs[0].submitted_at == 0.1
    assert {job.priority for job in trace.jobs} == {50, 200}
    assert len(trace.document["teams"]) == 6
    assert trace.document["teams"][0]["nominal_quota"] == {"gpu": 20}
    assert sum(node["gpus"] for node in trace.document["clusters"][0]["nodes"]) == 120


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a,b\n1,2\n", "unknown_format"),
        ("", "nothing"),
        ("{}", "unknown_format"),
        ("\x00\x01", "unknown_format"),
    ],
)
def test_what_is_no_trace_is_refused_as_a_whole(tmp_path, text, code):
    with pytest.raises(TraceError) as caught:
        read(tmp_path, text)
    assert caught.value.code == code


def test_a_format_that_does_not_fit_or_does_not_exist_is_refused(tmp_path):
    path = written(tmp_path, "submitted_at,run_s,gpus\n0,5,1\n")
    with pytest.raises(TraceError, match="columns"):
        read_trace(path, "helios")
    with pytest.raises(TraceError, match="no_such_format"):
        read_trace(path, "excel")
    with pytest.raises(TraceError, match="unreadable"):
        read_trace(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "text", ["[1, 2", '{"kind": "x", "subject": 1}\nnot json\n', '[{"kind": "a", "subject": "b"}, 7]']
)
def test_broken_json_is_named_and_never_raises(tmp_path, text):
    trace = read(tmp_path, text, "events")
    assert trace.broken
    assert not trace.jobs


def test_a_broken_generator_is_named(tmp_path):
    trace = read(tmp_path, "cohorts:\n- queuesSets:\n  - count: 1\n", "kueue")
    assert [broken.code for broken in trace.broken] == ["kueue"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [("nominalQuota: ", "nominalQuota: many", "nominalQuota is 'many"), ("runtimeMs: ", "runtimeMs: soon", "runtimeMs is 'soon"),
     ("nominalQuota: ", "quota: ", "it has no 'nominalQuota'"), ("count: ", "count: [", ""),
     ("runtimeMs: ", "runtimeMs: -", "which is not between 0 and 1e+11"),
     ("request: ", "request: 0.", "which is not between 1 and 1e+11"),
     ("creationIntervalMs: ", "creationIntervalMs: 999999999999", "which is not between 0 and 1e+11")],
)  # fmt: skip
def test_what_is_wrong_in_a_generator_is_told_with_its_line(tmp_path, old, new, why):
    text = KUEUE.replace(old, new, 1)
    [broken] = read(tmp_path, text, "kueue").broken
    assert why in broken.data["why"]
    line = 1 + text[: text.index(new)].count("\n")
    assert broken.line == (1 if "no '" in why else line) or (not why and int(broken.line) >= line)


def test_a_generator_without_a_borrowing_limit_may_borrow_everything(tmp_path):
    import re

    trace = read(tmp_path, re.sub(r"(?m)^\s*borrowingLimit:.*\n", "", KUEUE), "kueue")
    assert not trace.broken
    assert all("borrowing_limit" not in team for team in trace.document["teams"])


def test_every_reason_and_format_has_words():
    assert {"cpu_only", "never_ran", "unfinished", "no_times", "began_before", "step"} == set(LEFT_OUT)
    assert len(set(FORMAT_NAMES)) == len(FORMAT_NAMES) == 11


@pytest.mark.skipif(not DATA.is_dir(), reason="the public traces are not here (../shared/data/traces)")
@pytest.mark.parametrize(
    ("name", "format_name", "jobs"),
    [
        ("philly.csv", "philly-csv", 82_247), ("openb_pod_list_default.csv", "openb", 6_203),
        ("chronus-philly-slo.csv", "chronus", 30_735), ("nrel-eagle-sample.csv", "nrel", 4),
    ],
)  # fmt: skip
def test_the_given_traces_are_read_whole(name, format_name, jobs):
    trace = read_trace(DATA / name)
    assert (trace.format, len(trace.jobs), trace.broken) == (format_name, jobs, ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("count: 3", "count: 1000000000000"),
        ("count: 2", "count: 1000000000000"),
        ("count: 4", "count: 1000000000000"),
        ("nominalQuota: 20", "nominalQuota: 1000000000000000"),
        ("nominalQuota: 20", "nominalQuota: .inf"),
        ("count: 2", "count: 20000"),
        ("request: 20", "request: .inf"),
    ],
)
def test_a_generator_that_asks_for_a_world_is_a_broken_row(tmp_path, old, new):
    trace = read(tmp_path, KUEUE.replace(old, new, 1), "kueue")
    assert [broken.code for broken in trace.broken] == ["kueue"]


@pytest.mark.parametrize("name", ["events", "philly-json"])
def test_json_nested_without_end_is_a_broken_row(tmp_path, name):
    trace = read(tmp_path, '[{"attempts": ' + "[" * 200_000, name)
    assert [broken.code for broken in trace.broken] == ["json"]
    trace = read(tmp_path, '{"a": 1}\n{"b": ' + "[" * 200_000, name)
    assert "json" in [broken.code for broken in trace.broken]


@pytest.mark.parametrize("at", ["inf", "-inf", "-nan", "1e300", "1e12"])
def test_a_time_that_no_date_has_is_a_broken_row(tmp_path, at):
    trace = read(tmp_path, f"submitted_at,run_s,gpus\n{at},10,1\n", "dure")
    assert [broken.code for broken in trace.broken] == ["not_time"]


def test_a_header_of_a_megabyte_is_told(tmp_path):
    with pytest.raises(TraceError) as refused:
        read(tmp_path, "submitted_at,run_s,gpus," + "x" * 1_000_000 + "\n", "dure")
    assert refused.value.code == "columns"


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_file_is_told_as_empty(tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert refused.value.code == "nothing"
