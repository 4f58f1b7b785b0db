"""What holds for every snapshot that hypothesis can think of, and what every offered help really does."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dure.core.model import ClusterKind, Phase
from dure.core.queueing.decide import decide
from tests.core.builders import FLEX, NOW, STRICT, a_cloud, a_job, a_lab, a_node, a_platform, a_snapshot, a_team, amount

TIERS = ("bronze", "silver", "gold")
REQUESTS = (100, 250, 500, 700, 1000, 1000, 2000, 3000, 4000, 9000)


@st.composite
def platforms(draw):
    sizes = draw(st.lists(st.tuples(st.sampled_from(TIERS), st.integers(1, 4)), min_size=1, max_size=5))
    lab = a_lab(*(a_node(f"n{index}", tier, gpus) for index, (tier, gpus) in enumerate(sizes)))
    clusters = [lab, a_cloud(draw(st.integers(1, 3)), price=draw(st.sampled_from([0.0, 1.0, 3600.0])))]
    if draw(st.booleans()):
        clusters.append(a_lab(a_node("m", draw(st.sampled_from(TIERS)), 2), name="annex"))
    quota = st.dictionaries(st.sampled_from(TIERS), st.sampled_from([0, 500, 1000, 2000, 8000]), max_size=3)
    teams = [a_team(name, draw(quota), draw(st.sampled_from([None, 0.0, 700.0, 1e9]))) for name in ("vision", "speech")]
    return a_platform(*clusters, teams=teams)


@st.composite
def queued_jobs(draw):
    count = draw(st.integers(0, 14))
    return [
        a_job(
            f"j-{index:02}",
            gpus=draw(st.sampled_from(REQUESTS)) / 1000,
            tier=draw(st.sampled_from([*TIERS, None])),
            at=NOW - draw(st.integers(0, 120)),
            team=draw(st.sampled_from(["vision", "speech"])),
            priority_value=draw(st.sampled_from([0, 0, 100])),
            budget=draw(st.sampled_from([STRICT, FLEX, amount(500.0)])),
            data_class=draw(st.sampled_from(["open", "open", "private"])),
            burstable=draw(st.sampled_from([True, True, False])),
        )
        for index in range(count)
    ]


@st.composite
def snapshots(draw):
    """Jobs that run are such as an earlier decision admitted."""
    platform = draw(platforms())
    jobs = draw(queued_jobs())
    earlier = decide(a_snapshot(*jobs, platform=platform, now=NOW - 10))
    kept = {a.job_id: a.lease for a in earlier.admissions if draw(st.booleans())}
    gone = {a.job_id for a in earlier.admissions} - set(kept)
    now_jobs = [
        replace(job, phase=Phase.RUNNING, lease=kept[job.id], attempt=1, admitted_at=NOW - 10, began_at=NOW - 9)
        if job.id in kept
        else job
        for job in jobs
        if job.id not in gone
    ]
    more = [replace(job, id=f"k-{job.id}") for job in draw(queued_jobs())]
    unavailable = frozenset(draw(st.sets(st.sampled_from(["annex", "cloud"]), max_size=1)))
    return a_snapshot(*now_jobs, *more, platform=platform, unavailable=unavailable)


def held_leases(snapshot, plan):
    by_id = {job.id: job for job in snapshot.jobs}
    running = [(job, job.lease) for job in snapshot.jobs if job.lease is not None]
    return running + [(by_id[admission.job_id], admission.lease) for admission in plan.admissions]


def kinds(snapshot):
    return {cluster.name: cluster.kind for cluster in snapshot.platform.clusters}


@given(snapshots())
def test_placed_and_explained_are_exactly_the_queued_ones(snapshot):
    decide(snapshot).check(snapshot)


@given(snapshots())
def test_no_gpu_is_given_away_twice_and_every_lease_is_what_was_asked_for(snapshot):
    plan = decide(snapshot)
    nodes = {(c.name, n.name): n for c in snapshot.platform.clusters for n in c.nodes}
    used = defaultdict(list)
    for job, lease in held_leases(snapshot, plan):
        node = nodes[lease.cluster, lease.node]
        assert lease.gpus_milli == job.request.gpus_milli
        assert job.request.tier in (None, lease.tier)
        assert node.tier == lease.tier
        for gpu in lease.gpus:
            assert 0 <= gpu.index < node.gpus
            used[lease.cluster, lease.node, gpu.index].append(gpu.share_milli)
    for shares in used.values():
        assert sum(shares) <= 1000
        assert 1000 not in shares or len(shares) == 1


@given(snapshots())
def test_no_team_exceeds_its_quota_on_private_clusters(snapshot):
    plan = decide(snapshot)
    quotas = {team.name: team.borrowing_milli for team in snapshot.platform.teams}
    used: defaultdict[tuple[str, str], int] = defaultdict(int)
    for job, lease in held_leases(snapshot, plan):
        if kinds(snapshot)[lease.cluster] is ClusterKind.PRIVATE:
            used[job.team, lease.tier] += lease.gpus_milli
    for (team, tier), milli in used.items():
        assert milli <= quotas[team].get(tier, milli)


@given(snapshots())
def test_what_may_not_leave_or_cost_never_goes_public(snapshot):
    by_id = {job.id: job for job in snapshot.jobs}
    for admission in decide(snapshot).admissions:
        job = by_id[admission.job_id]
        public = kinds(snapshot)[admission.lease.cluster] is ClusterKind.PUBLIC
        assert public == (admission.burst is not None)
        if public:
            assert job.budget is not STRICT
            assert job.data_class == "open"
            assert job.burstable
            assert admission.burst is not None
            assert job.budget.limit is None or admission.burst["predicted_cost"] <= job.budget.limit


@given(snapshots())
def test_a_teams_month_is_never_promised_twice(snapshot):
    plan = decide(snapshot)
    by_id = {job.id: job for job in snapshot.jobs}
    promised: defaultdict[str, float] = defaultdict(float)
    for admission in plan.admissions:
        if admission.burst:
            promised[by_id[admission.job_id].team] += admission.burst["predicted_cost"]
    for team in snapshot.platform.teams:
        if team.budget_per_month is not None:
            assert promised[team.name] <= team.budget_per_month + 1e-6


@given(snapshots())
def test_nobody_is_overtaken_by_a_later_job_of_the_same_shape(snapshot):
    """On private GPUs: into the cloud goes first whose wait is over first."""
    plan = decide(snapshot)
    placed = {admission.job_id for admission in plan.admissions if admission.burst is None}
    queued = [job for job in snapshot.jobs if job.phase is Phase.QUEUED]
    queued.sort(key=lambda job: (-job.priority_value, job.submitted_at, job.id))
    waiting = set()
    for job in queued:
        shape = (job.team, job.request, job.budget, job.data_class, job.burstable)
        assert not (job.id in placed and shape in waiting)
        if job.id in plan.verdicts:
            waiting.add(shape)


@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan_in_any_order(snapshot):
    assert decide(snapshot) == decide(replace(snapshot, jobs=tuple(reversed(snapshot.jobs))))


@given(snapshots())
def test_following_an_offered_help_admits_the_job(snapshot):
    """`tier` and `fewer_gpus` are promises: the same snapshot with that one change places the job."""
    plan = decide(snapshot)
    for job_id, verdict in plan.verdicts.items():
        for told in verdict.helps:
            if told["code"] == "tier":
                changed = {"tier": told["tier"]}
            elif told["code"] == "fewer_gpus" and told["now"]:
                changed = {"gpus_milli": told["gpus_milli"]}
            else:
                continue
            jobs = tuple(
                replace(job, request=replace(job.request, **changed)) if job.id == job_id else job
                for job in snapshot.jobs
            )
            again = decide(replace(snapshot, jobs=jobs))
            assert job_id in {admission.job_id for admission in again.admissions}, (job_id, told)


@given(snapshots())
def test_a_burst_that_falls_due_happens_or_is_waited_for_at_its_hour(snapshot):
    """`wake_at` is in the future and the very moment at which the plan can change by time alone."""
    plan = decide(snapshot)
    due = [told["due_at"] for v in plan.verdicts.values() for told in v.helps if told["code"] == "burst"]
    assert plan.wake_at == min((at for at in due if at > snapshot.now), default=None)


@given(snapshots())
def test_verdicts_are_plain_data(snapshot):
    import json

    for verdict in decide(snapshot).verdicts.values():
        json.dumps([verdict.code, dict(verdict.data), list(verdict.blockers), [dict(h) for h in verdict.helps]])
