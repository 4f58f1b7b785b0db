"""`dure simulate`: policies side by side through the production decisions, refusals, report, our own log."""

import json
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.adapters.store import SqlStore
from dure.cli.app import GROUP
from dure.core import lifecycle
from dure.core.events import Draft
from dure.core.model import Platform
from dure.core.platform import parse
from dure.sim.figures import busy_curve, figures, jain, quantile
from dure.sim.policies import Policy, span_s
from dure.sim.replay import Beliefs, replay
from dure.sim.traces import Trace, TraceJob
from dure.sim.words import BROKEN, FIGURES, LEFT_OUT, NOTES, POLICY_ERRORS, REPORT, TRACE_ERRORS
from tests.core.builders import a_job
from tests.examples import examples
from tests.sim.test_traces import KUEUE

POLICY = """\
clusters:
  - name: lab
    nodes: [{name: n1, tier: gold, gpus: 2}]
  - name: cloud
    kind: public
    provision_s: 60
    prices: {gold: 3600}
    nodes: [{name: c1, tier: gold, gpus: 8}]
tiers: [{name: gold, price_per_gpu_hour: 360}]
burst: {rule: fixed, wait_s: 600}
"""
TRACE = """\
id,submitted_at,run_s,gpus,team,deadline_at
a,0,3600,2,vision,
b,10,1800,1,speech,2000
c,20,60,1,<b>bold</b>,9000
d,30,60,16,speech,
"""


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DURE_LANG", "en")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("DURE_URL", "DURE_TOKEN", "DURE_DIR", "DURE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    Path("lab.yaml").write_text(POLICY)
    Path("trace.csv").write_text(TRACE)
    return tmp_path


def dure(*words: str) -> Result:
    return CliRunner().invoke(GROUP, list(words), standalone_mode=False, catch_exceptions=True)


def simulated(*words: str) -> dict:
    result = dure("simulate", *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*words: str) -> str:
    result = dure("simulate", *words)
    assert result.exit_code == 1, result.output
    return result.stderr


def test_a_trace_is_replayed_under_a_platform_file_and_beside_a_plain_policy(files):
    found = simulated("--trace", "trace.csv", "--policy", "lab.yaml", "--policy", "fifo")
    ours, plain = found["policies"]
    assert found["trace"] | {"name": 0} == {"name": 0, "format": "dure", "jobs": 4, "left_out": {}, "broken": []}
    # a holds both GPUs for an hour; c leaves after ten minutes, b just in time for its deadline, both pay for the
    # minute of provisioning too
    assert (ours["jobs"], ours["never_ran"], ours["cloud_jobs"]) == (3, 1, 2)
    assert ours["cloud_cost"] == pytest.approx(1860 + 120)
    assert ours["private_cost"] == pytest.approx(360 * 2)
    assert ours["cloud_gpu_hours"] == pytest.approx((1860 + 120) / 3600)
    assert ours["mean_wait_s"] == pytest.approx((130 + 600) / 3)
    assert (ours["deadlines"], ours["deadlines_met"]) == (2, 2)
    assert ours["currency"] == "KRW"
    assert (plain["jobs"], plain["cloud_cost"], plain["mean_wait_s"]) == (3, None, pytest.approx((3590 + 3580) / 3))
    assert any("teams of the trace that are not in the file" in note for note in found["notes"])
    assert any("16" in note and "never ran" in note for note in found["notes"])


def test_what_if_is_shown_beside_the_file_as_it_is(files):
    asked = ("--trace", "trace.csv", "--policy", "lab.yaml")
    before, after = simulated(*asked, "--set", "burst.wait=fixed:30m")["policies"]
    assert (before["policy"], after["policy"]) == ("lab", "lab burst.wait=fixed:30m")
    assert (before["mean_wait_s"], after["mean_wait_s"]) == (
        pytest.approx((130 + 600) / 3),
        pytest.approx((130 + 1800) / 3),
    )
    _, never = simulated(*asked, "--set", "burst.enabled=false", "--set", "tiers.gold.price_per_gpu_hour=100")[
        "policies"
    ]
    assert (never["cloud_jobs"], never["private_cost"]) == (0, pytest.approx(100 * (2 + 0.5 + 1 / 60)))


def test_the_size_of_the_private_cluster_may_be_given(files):
    assert (
        simulated("--trace", "trace.csv", "--policy", "sjf", "--nodes", "2", "--gpus", "8")["policies"][0]["jobs"] == 4
    )
    ours = simulated("--trace", "trace.csv", "--policy", "lab.yaml", "--nodes", "3", "--gpus", "8")["policies"][0]
    assert (ours["jobs"], ours["cloud_jobs"], ours["mean_wait_s"]) == (4, 0, 0)


def test_a_part_of_a_platform_file_is_a_policy(files):
    Path("part.yaml").write_text("burst: {enabled: false}\n")
    assert "--nodes 8 --gpus 4" in refused("--trace", "trace.csv", "--policy", "part.yaml")
    found = simulated("--trace", "trace.csv", "--policy", "part.yaml", "--nodes", "1", "--gpus", "2")
    assert found["policies"][0]["jobs"] == 3


def test_kueues_generator_brings_its_queues_along(files):
    Path("generator.yaml").write_text(KUEUE)
    Path("part.yaml").write_text("burst: {enabled: false}\n")
    found = simulated("--trace", "generator.yaml", "--policy", "part.yaml", "--policy", "fifo")
    assert [policy["jobs"] for policy in found["policies"]] == [30, 30]


def test_a_time_window_cuts_the_trace(files):
    found = simulated("--trace", "trace.csv", "--policy", "lab.yaml", "--from", "5", "--to", "1970-01-01T00:00:25")
    assert found["trace"]["jobs"] == 2


def test_broken_rows_stop_unless_they_are_to_be_left_out(files):
    Path("trace.csv").write_text(TRACE + "e,soon,1,1,x,\n" + "f,1,1\n")
    told = refused("--trace", "trace.csv", "--policy", "lab.yaml")
    assert "trace.csv:6: submitted_at 'soon' is not a time" in told
    assert "trace.csv:7: there are 3 fields under 6 headings" in told
    assert "trace.csv: broken rows: 2 of 6." in told
    found = simulated("--trace", "trace.csv", "--policy", "lab.yaml", "--skip-broken")
    assert [broken["line"] for broken in found["trace"]["broken"]] == [6, 7]
    assert found["trace"]["jobs"] == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--policy", "lab.yaml"), "--since 7d"),
        (("--trace", "trace.csv"), "--policy platform.yaml"),
        (("--trace", "trace.csv", "--policy", "none.yaml"), "neither a file nor one of fifo"),
        (("--trace", "trace.csv", "--policy", "fifo"), "--nodes 8 --gpus 4"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--nodes", "3"), "belong together"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--set", "burst"), "KEY=VALUE"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--set", "burst.wait=30m"), "RULE:TIME"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--set", "burst.waits_s=3"), "did you mean 'wait_s'"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--set", "tiers.blue.price_per_gpu_hour=3"), "there is no 'blue' in tiers"),
        (("--trace", "trace.csv", "--policy", "fifo", "--nodes", "1", "--gpus", "1", "--set", "a.b=3"), "plain policy"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--from", "tomorrow"), "is not a time"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--from", "2030-01-01"), "has no job"),
        (("--trace", "lab.yaml", "--policy", "lab.yaml"), "its format is not known"),
        (("--trace", "none.csv", "--policy", "lab.yaml"), "cannot be read"),
        (("--trace", "trace.csv", "--policy", "trace.csv"), "trace.csv:1"),
        (("--since", "soon", "--policy", "lab.yaml"), "is not a span of time"),
        (("--since", "7d", "--dir", "none", "--policy", "lab.yaml"), "There is no event log"),
        (("--trace", "trace.csv", "--policy", "lab.yaml", "--report", "no/such/r.html"), "cannot be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_with_what_to_do(files, words, told):
    assert told in refused(*words)


def test_a_policy_file_that_is_wrong_is_named_with_its_line(files):
    Path("lab.yaml").write_text(POLICY.replace("gpus: 8", "gpus: eight"))
    assert "lab.yaml:8: clusters[1].nodes[0].gpus" in refused("--trace", "trace.csv", "--policy", "lab.yaml")


class _Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.mark.parametrize(("lang", "word"), [("en", "What would have happened"), ("ko", "이랬다면 어땠을까")])
def test_the_report_is_one_file_with_pictures_tables_and_no_outside_parts(files, lang, word):
    result = dure("--lang", lang, "simulate", "--trace", "trace.csv", "--policy", "lab.yaml", "--policy", "srtf", "--report", "r.html")  # fmt: skip
    assert result.exit_code == 0, result.output
    text = Path("r.html").read_text()
    parts = _Parts()
    parts.feed(text)
    assert word in text
    assert f'<html lang="{lang}">' in text
    assert (parts.outside, "script" in parts.tags, "<b>bold" in text) == ([], False, False)
    assert parts.tags.count("polyline") >= 4
    assert text.count('role="img" aria-label="') == parts.tags.count("figure") == 3
    assert "prefers-color-scheme: dark" in text


def test_korean_words_reach_the_terminal(files):
    result = dure("--lang", "ko", "simulate", "--trace", "trace.csv", "--policy", "lab.yaml")
    assert "평균 대기" in result.stdout
    assert "없는 실행 시간 예측은" in result.stderr


def test_our_own_last_week_is_read_from_the_platforms_folder(files):
    now = time.time()
    store = SqlStore(f"sqlite:///{files / 'state' / 'dure.sqlite'}")
    (files / "state").mkdir()
    store.migrate()
    for i, (at, ran_s) in enumerate([(now - 9 * 86_400, 50.0), (now - 3600, 60.0), (now - 3500, 70.0)]):
        job = a_job(f"j-{i}", tier="gold", at=at, team="vision", deadline_at=now)
        store.submit(job, [lifecycle.submitted(job)], at)
        store.submit(a_job(f"x-{i}"), [Draft("job.succeeded", job.id, {"team": "vision", "ran_s": ran_s})], at + ran_s)
    store.close()
    (files / "state" / "platform.yaml").write_text(POLICY)
    found = simulated("--since", "7d", "--dir", "state", "--set", "burst.wait=fixed:30m")
    assert (found["trace"]["format"], found["trace"]["jobs"]) == ("events", 2)
    assert [policy["deadlines"] for policy in found["policies"]] == [2, 2]
    assert simulated("--since", "30d", "--dir", "state")["trace"]["jobs"] == 3


def test_predictions_that_are_off_change_when_jobs_leave_and_the_seed_decides(files):
    Path("lab.yaml").write_text(POLICY.replace("rule: fixed, wait_s: 600", "rule: proportional, wait_s: 600"))
    asked = ("--trace", "trace.csv", "--policy", "lab.yaml")
    exact = simulated(*asked)["policies"]
    off = simulated(*asked, "--prediction-error", "100", "--seed", "3")["policies"]
    assert off == simulated(*asked, "--prediction-error", "100", "--seed", "3")["policies"]
    assert off != exact


PLATFORM = parse(
    {
        "clusters": [
            {"name": "lab", "nodes": [{"name": f"n{i}", "tier": "gold", "gpus": 4} for i in range(2)]},
            {"name": "cloud", "kind": "public", "prices": {"gold": 10}, "nodes": [{"name": "c", "tier": "gold", "gpus": 4}]},
        ],
        "tiers": [{"name": "gold"}],
        "teams": [{"name": "a", "members": ["*"]}, {"name": "b", "members": ["*"]}],
        "environments": [{"name": "default", "python": "python3"}],
    }
)  # fmt: skip


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.integers(1, 300), st.sampled_from([250, 1000, 2000, 4000, 8000]), st.sampled_from("ab")),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_every_job_ends_and_no_more_gpus_are_used_than_there_are(drawn):
    assert isinstance(PLATFORM, Platform)
    jobs = tuple(
        TraceJob(id=f"j{i}", submitted_at=float(at), run_s=float(run_s), gpus_milli=milli, team=team)
        for i, (at, run_s, milli, team) in enumerate(sorted(drawn))
    )
    trace, policy = Trace("drawn", "dure", jobs), Policy("p", platform=PLATFORM)
    history = replay(trace, policy, Beliefs())
    assert history == replay(trace, policy, Beliefs())
    for public, most in ((False, 8.0), (True, 4.0)):
        changes = sorted(
            change
            for one in history.outcomes
            for spell in one.spells
            if spell.public is public
            for change in ((spell.from_s, one.job.gpus), (spell.to_s, -one.job.gpus))
        )
        used = 0.0
        for _, gpus in changes:
            used += gpus
            assert used <= most
        assert all(0 <= gpus <= most + 1e-6 for _, gpus in busy_curve(history, public=public))
    for one in history.outcomes:
        assert one.ended_at is not None
        ran_s = sum(spell.to_s - spell.from_s for spell in one.spells)
        assert ran_s == pytest.approx(one.job.run_s)
        assert one.completion_s == pytest.approx(one.waited_s + ran_s)
    told = figures(history)
    assert 0 <= told.utilisation <= 1 + 1e-9
    assert 0 < told.fairness <= 1 + 1e-9


def test_arithmetic_of_figures():
    assert [quantile([1, 2, 3, 4], share) for share in (0.0, 0.25, 0.5, 0.9, 1.0)] == [1, 1, 2, 4, 4]
    assert quantile([], 0.5) == 0
    assert jain([1, 1, 1]) == 1
    assert jain([1, 0, 0]) == pytest.approx(1 / 3)
    assert [span_s(text) for text in ("90", "30m", "1.5h", "7d", "10 min")] == [90, 1800, 5400, 604_800, 600]


@pytest.mark.parametrize("sentences", [BROKEN, FIGURES, LEFT_OUT, NOTES, POLICY_ERRORS, REPORT, TRACE_ERRORS])
def test_every_sentence_asks_for_the_same_particulars_in_both_languages(sentences):
    import string

    for code, told in sentences.items():
        fields = [{field for _, field, _, _ in string.Formatter().parse(text) if field} for text in told]
        assert fields[0] == fields[1], code


BUNDLE = """\
apiVersion: kueue.x-k8s.io/v1beta1
kind: ResourceFlavor
metadata: {name: gold}
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: vision-cq}
spec:
  namespaceSelector: {}
  resourceGroups:
    - coveredResources: [nvidia.com/gpu]
      flavors: [{name: gold, resources: [{name: nvidia.com/gpu, nominalQuota: %s}]}]
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: LocalQueue
metadata: {namespace: vision, name: main}
spec: {clusterQueue: vision-cq}
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: LocalQueue
metadata: {namespace: speech, name: main}
spec: {clusterQueue: vision-cq}
"""


@pytest.mark.usefixtures("files")
def test_kueues_objects_are_a_policy_alone_or_named_by_a_platform_file():
    Path("tight.yaml").write_text(BUNDLE % 1)
    Path("wide.yaml").write_text(BUNDLE % 4)
    Path("lab2.yaml").write_text(POLICY.replace("gpus: 2}", "gpus: 4}") + "kueue: [wide.yaml]\n")
    asked = ("--trace", "trace.csv", "--policy", "tight.yaml", "--policy", "wide.yaml")
    tight, wide = simulated(*asked, "--nodes", "1", "--gpus", "4")["policies"]
    [named] = simulated("--trace", "trace.csv", "--policy", "lab2.yaml", "--set", "burst.enabled=false")["policies"][1:]
    assert tight["never_ran"] == 2, "jobs a and d want more than the quota of 1"
    assert (wide["never_ran"], named["never_ran"]) == (1, 1)
    assert tight["mean_wait_s"] > wide["mean_wait_s"]
    assert wide["mean_wait_s"] == named["mean_wait_s"]


@pytest.mark.usefixtures("files")
def test_a_bundle_that_cannot_be_taken_is_told_with_line_and_object():
    Path("bad.yaml").write_text(BUNDLE.replace("nominalQuota", "nominal") % 1)
    result = dure("simulate", "--trace", "trace.csv", "--policy", "bad.yaml", "--nodes", "1", "--gpus", "4")
    assert result.exit_code == 1
    assert "bad.yaml:12: ClusterQueue vision-cq spec.resourceGroups[0]" in result.output


def test_limits_by_day_and_budgets_of_a_month_count_what_has_ended():
    """A day of an hour's work for a person, and a month of an hour's for the team, however many GPUs are free."""
    cluster = {"name": "lab", "nodes": [{"name": "n1", "tier": "gold", "gpus": 8}]}
    day_s, hour_s = 86_400.0, 3600.0
    jobs = tuple(
        TraceJob(id=f"j{n}", submitted_at=2 * n * hour_s, run_s=hour_s, team="t", user="ada", predicted_s=hour_s)
        for n in range(3)
    )
    began = {}
    bounds: dict[str, dict[str, object]] = {
        "day": {"user_limits": {"gpu_hours_per_day": 1}},
        "month": {"budget_gpu_hours_per_month": 1, "budget_action": "hard"},
    }
    for name, bound in bounds.items():
        environments = [{"name": "default", "python": "python3"}]
        team = {"name": "t", "members": ["*"]} | bound
        platform = parse(
            {"clusters": [cluster], "tiers": [{"name": "gold"}], "teams": [team], "environments": environments}
        )
        assert isinstance(platform, Platform), platform
        found = replay(Trace("t", "dure", jobs), Policy("lab", platform), Beliefs())
        began[name] = [outcome.spells[0].from_s for outcome in found.outcomes]
    assert began["day"] == [0.0, day_s, 2 * day_s]
    assert began["month"] == [0.0, 31 * day_s, (31 + 28) * day_s]


HELD = """\
clusters:
  - name: lab
    nodes: [{name: n1, tier: gold, gpus: 1}]
tiers: [{name: gold}]
teams: [{name: vision, members: ["*"]}, {name: speech, members: ["*"]}]
"""


@pytest.mark.usefixtures("files")
def test_reservations_of_the_log_and_of_a_policy_are_replayed_and_end_unused_as_the_policy_says():
    made = {"team": "speech", "tier": "gold", "gpus_milli": 1000, "begins_at": 0, "ends_at": 7200}
    job = {"gpus_milli": 1000, "tier": "gold", "team": "vision", "user": "ada"}
    log = [
        {"seq": 1, "at": 0, "kind": "reservation.made", "subject": "r-1", "data": made},
        {"seq": 2, "at": 10, "kind": "job.submitted", "subject": "j-1", "data": job},
        {"seq": 3, "at": 960, "kind": "reservation.released", "subject": "r-1", "data": made | {"why": "unused"}},
        {"seq": 4, "at": 1020, "kind": "job.succeeded", "subject": "j-1", "data": {"ran_s": 60}},
    ]
    by_hand = [*log[:2], {"seq": 3, "at": 130, "kind": "reservation.released", "subject": "r-1", "data": made}, log[3]]
    Path("unused.jsonl").write_text("\n".join(map(json.dumps, log)))
    Path("given.jsonl").write_text("\n".join(map(json.dumps, by_hand)))
    Path("plain.csv").write_text("id,submitted_at,run_s,gpus,team\nj-1,10,60,1,vision\n")
    Path("held.yaml").write_text(HELD)
    calendar = "reservations: {calendar: [{tier: gold, team: speech, from: 0, to: 600}]}\n"
    Path("calendar.yaml").write_text(HELD + calendar)

    def waits(trace: str, policy: str, *more: str) -> list[float]:
        return [one["mean_wait_s"] for one in simulated("--trace", trace, "--policy", policy, *more)["policies"]]

    assert waits("unused.jsonl", "held.yaml", "--set", "reservations.grace_s=300") == [890.0, 290.0]
    assert waits("given.jsonl", "held.yaml") == [120.0]
    assert waits("plain.csv", "held.yaml") == [0.0]
    assert waits("plain.csv", "calendar.yaml") == [590.0]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{tier: gold, team: nobody, from: 0, to: 9}", "there is no team 'nobody'; write one of vision, speech"),
        ("{tier: gold, team: speech, from: 9, to: 9}", "to '9' is before the start"),
        ("{tier: gold, team: speech, from: 0, to: soon}", "to 'soon' is not a time"),
        ("{tier: gold, team: speech, from: 0, to: 9, gpus: 1.5}", "must be a whole number"),
        ("{tier: gold, team: speech, when: 0}", "this is no reservation"),
    ],
)
def test_a_reservation_of_a_policy_that_is_none_is_named_with_its_place(entry, told):
    good = "{tier: gold, team: speech, from: 0, to: 600}"
    Path("bad.yaml").write_text(HELD + f"reservations: {{calendar: [{good}, {entry}]}}\n")
    said = refused("--trace", "trace.csv", "--policy", "bad.yaml")
    assert "bad.yaml: reservations.calendar, number 2: " in said
    assert told in said
