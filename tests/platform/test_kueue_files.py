"""`kueue:` of platform.yaml: objects of an existing cluster decide, and what cannot be taken is named, all at once."""

import random
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from dure.adapters import platform_file
from dure.adapters.platform_template import initial_text
from dure.core.model import Phase, Platform
from dure.core.platform import parse
from dure.core.queueing.compile import RESOURCE, compiled
from dure.core.queueing.decide import Decider
from dure.core.queueing.render import kueue_documents
from dure.core.reasons import Waiting
from dure.main import accepted
from dure.settings import read_settings
from tests.core.builders import NOW, a_job

PLATFORM = """
clusters:
  - name: lab
    kind: private
    nodes:
      - {name: n1, tier: gold, gpus: 4, simulated: true}
      - {name: n2, tier: silver, gpus: 4, simulated: true}
tiers: [{name: gold, price_per_gpu_hour: 4}, {name: silver, price_per_gpu_hour: 1}]
teams: [{name: vision, members: ["*"]}, {name: speech, members: ["*"]}]
environments: [{name: default, python: python3}]
burst: {enabled: false}
kueue: [objects.yaml]
"""
FLAVORS = """
apiVersion: kueue.x-k8s.io/v1beta1
kind: ResourceFlavor
metadata: {name: a100}
spec: {nodeLabels: {dure.dev/tier: gold, cloud.google.com/gke-accelerator: nvidia-tesla-a100}}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: silver}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: cpu-only}
"""
QUEUES = """
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: vision-cq}
spec:
  cohort: research
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: vision}}
  preemption: {withinClusterQueue: LowerPriority, reclaimWithinCohort: Any}
  flavorFungibility: {whenCanBorrow: TryNextFlavor, whenCanPreempt: Preempt}
  fairSharing: {weight: 2}
  resourceGroups:
    - coveredResources: [cpu, nvidia.com/gpu]
      flavors:
        - name: a100
          resources: [{name: cpu, nominalQuota: 64}, {name: nvidia.com/gpu, nominalQuota: 2, borrowingLimit: 1}]
        - name: silver
          resources: [{name: cpu, nominalQuota: 64}, {name: nvidia.com/gpu, nominalQuota: "1"}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: speech-cq}
spec:
  cohortName: research
  namespaceSelector: {}
  queueingStrategy: StrictFIFO
  admissionScope: {admissionMode: UsageBasedAdmissionFairSharing}
  resourceGroups:
    - coveredResources: [nvidia.com/gpu]
      flavors:
        - {name: a100, resources: [{name: nvidia.com/gpu, nominalQuota: 2, lendingLimit: 1}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {namespace: vision, name: main}
spec: {clusterQueue: vision-cq}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {namespace: nlp, name: speech}
spec: {clusterQueue: speech-cq, stopPolicy: Hold}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: WorkloadPriorityClass
metadata: {name: urgent}
value: 1000
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "platform.yaml").write_text(PLATFORM, encoding="utf-8")
    (tmp_path / "objects.yaml").write_text(FLAVORS + QUEUES, encoding="utf-8")
    return tmp_path


def the_errors(folder, platform=PLATFORM, objects=FLAVORS + QUEUES):
    (folder / "platform.yaml").write_text(platform, encoding="utf-8")
    (folder / "objects.yaml").write_text(objects, encoding="utf-8")
    with pytest.raises(platform_file.PlatformFileError) as caught:
        platform_file.load(folder / "platform.yaml")
    return caught.value.lines


def plan_of(platform, *jobs):
    decider = Decider(platform)
    for job in jobs:
        decider.put(job)
    return decider.decide(NOW)


def tiers_of(plan):
    return {one.job_id: one.lease.tier for one in plan.admissions}


# --- what is taken ---


def test_objects_of_both_versions_are_the_queueing_of_the_platform(folder):
    platform = platform_file.load(folder / "platform.yaml")
    objects = compiled(platform)
    assert [flavor.name for flavor in objects.flavors] == ["gold", "silver"]
    vision, speech = objects.queues
    gold = vision.quotas["gold", RESOURCE]
    assert (gold.nominal, gold.borrowing_limit, gold.lending_limit) == (2000, 1000, None)
    assert set(vision.quotas) == {("gold", RESOURCE), ("silver", RESOURCE)}
    assert (vision.cohort, vision.weight, speech.strategy) == ("research", 2.0, "StrictFIFO")
    assert vision.preemption.within_queue == "LowerPriority"
    assert {(queue.team, queue.name, queue.stopped) for queue in platform.queues} == {
        ("vision", "main", False),
        ("speech", "speech", True),
    }
    assert {one.name: one.value for one in platform.priorities} == {"urgent": 1000, "normal": 0}
    assert {team.name: dict(team.quota_milli) for team in platform.teams}["vision"] == {"gold": 2000, "silver": 1000}


def test_quota_of_the_objects_decides(folder):
    platform = platform_file.load(folder / "platform.yaml")
    jobs = [a_job(f"j-{index}", tier="gold", at=NOW + index) for index in range(4)]
    assert len(plan_of(platform, *jobs).admissions) == 3, "two of its own, and one borrowed"


def test_flavors_are_tried_in_the_order_of_the_queue_and_the_next_one_before_borrowing(folder):
    """By price silver would be first; after two of gold and one of silver of its own it borrows gold."""
    platform = platform_file.load(folder / "platform.yaml")
    jobs = [a_job(f"j-{index}", tier=None, at=NOW + index) for index in range(5)]
    assert tiers_of(plan_of(platform, *jobs)) == {"j-0": "gold", "j-1": "gold", "j-2": "silver", "j-3": "gold"}


def test_a_stopped_local_queue_admits_nothing(folder):
    platform = platform_file.load(folder / "platform.yaml")
    plan = plan_of(platform, a_job("j-1", team="speech"))
    assert not plan.admissions
    assert plan.verdicts["j-1"].code is Waiting.ON_HOLD


def test_teams_may_share_a_cluster_queue(folder):
    objects = FLAVORS + QUEUES.replace("clusterQueue: speech-cq, stopPolicy: Hold", "clusterQueue: vision-cq")
    objects = objects.replace("{matchLabels: {kubernetes.io/metadata.name: vision}}", "{}")
    (folder / "objects.yaml").write_text(objects, encoding="utf-8")
    platform = platform_file.load(folder / "platform.yaml")
    jobs = [a_job(f"j-{n}", at=NOW + n, team=("vision", "speech")[n % 2]) for n in range(4)]
    assert len(plan_of(platform, *jobs).admissions) == 3


def test_past_use_counts_only_where_the_queue_says_so(folder):
    (folder / "objects.yaml").write_text(FLAVORS + QUEUES.replace(", stopPolicy: Hold", ""), encoding="utf-8")
    platform = platform_file.load(folder / "platform.yaml")
    assert platform.kueue is not None
    assert platform.kueue.memoryless == {"vision"}
    for team, first in (("vision", "early"), ("speech", "late")):
        decider = Decider(platform)
        decider.put(a_job("early", gpus=2, team=team, user="greedy"))
        decider.put(a_job("late", gpus=2, at=NOW + 1, team=team, user="modest"))
        plan = decider.decide(NOW + 2, used={(team, "greedy"): 90_000.0})
        assert plan.admissions[0].job_id == first


# --- what is not ---


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("kind: ClusterQueue", "kind: ClusterQeue", "'ClusterQeue' is not a kind of Kueue's; right would be"),
        (
            "coveredResources: [nvidia.com/gpu]",
            "coveredResources: [amd.com/gpu]",
            "nvidia.com/gpu has quota and is not in",
        ),
        ("namespaceSelector: {}", "namespaceSelector: null", "it has no namespaceSelector, and so takes no namespace"),
    ],
)
def test_what_kueue_would_not_take_is_named_with_what_mends_it(folder, before, after, words):
    objects = FLAVORS + QUEUES
    assert before in objects, objects
    assert any(words in line for line in the_errors(folder, objects=objects.replace(before, after, 1)))


def test_a_file_with_nothing_in_it_is_said_to_be_empty_and_nothing_else(folder):
    (line,) = the_errors(folder, objects="# nothing yet\n")
    assert "objects.yaml is empty; right would be a file of Kueue's objects" in line


def test_every_problem_is_told_at_once_with_file_object_field_and_remedy(folder):
    objects = FLAVORS.replace("dure.dev/tier: gold", "dure.dev/tier: platinum") + QUEUES.replace(
        "queueingStrategy: StrictFIFO", "admissionChecks: [provisioning]"
    ).replace("namespace: nlp, name: speech", "namespace: nlp, name: audio")
    lines = the_errors(folder, objects=objects)
    assert any("objects.yaml:5: ResourceFlavor a100 spec: no tier" in line and "gold, silver" in line for line in lines)
    assert any("ClusterQueue speech-cq spec: nothing here answers admission checks" in line for line in lines)
    assert any("LocalQueue nlp/audio metadata: no team" in line for line in lines)
    assert any(line.startswith("platform.yaml:") and "team 'speech' has no LocalQueue" in line for line in lines)
    assert all("right would be" in line for line in lines)
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("nominalQuota: 2, borrow", "nominalQouta: 2, borrow", "nominalQouta' is not a field here"),
        ('nominalQuota: "1"', 'nominalQuota: "much"', "nominalQuota: 'much' is not a quantity"),
        ("LowerPriority, recl", "LowerPrio, recl", "preemption.withinClusterQueue: 'LowerPrio' is not allowed"),
        ("clusterQueue: vision-cq", "clusterQueue: vison-cq", "LocalQueue vision/main: clusterQueue"),
        ("lendingLimit: 1", "lendingLimit: 9", "lends 9 but owns 2"),
        ("clusterQueue: speech-cq, stopPolicy: Hold", "clusterQueue: speech-cq, stopPolicy: HoldAndDrain", "drained"),
        ("name: vision}}", "name: other}}", "namespaceSelector does not take namespace 'vision'"),
        ("v1beta2\nkind: LocalQueue", "v1\nkind: LocalQueue", "kueue.x-k8s.io/v1"),
        ("whenCanPreempt: Preempt", "preference: PreemptionOverBorrowing", "flavorFungibility.preference"),
        ("[nvidia.com/gpu]\n", "[nvidia.com/gpu\n", "is not valid YAML"),
        ("name: silver}\n", "name: silver}\nspec: {nodeTaints: [{key: spot, effect: NoSchedule}]}\n", "tolerations"),
        ("name: main}", "name: [main]}", "metadata.name: ['main'] is not text"),
        ("{namespace: vision, name: main}", "5", "metadata: 5 is not a mapping"),
    ],
)
def test_what_cannot_be_taken_is_named(folder, old, new, told):
    objects = FLAVORS + QUEUES
    assert old in objects
    lines = the_errors(folder, objects=objects.replace(old, new, 1))
    assert any(told in line and "objects.yaml:" in line for line in lines), lines


def test_what_the_objects_say_may_not_stand_in_the_platform_file_too(folder):
    platform = PLATFORM.replace('[{name: vision, members: ["*"]}', '[{name: vision, members: ["*"], weight: 2}')
    lines = the_errors(folder, platform + "queueing: {strategy: StrictFIFO}\n")
    assert [line.split(":")[2].strip() for line in lines] == ["teams[0].weight", "queueing.strategy"]


def test_a_file_that_is_not_there_is_told_with_its_line(folder):
    lines = the_errors(folder, PLATFORM.replace("[objects.yaml]", "[objects.yaml, more.yaml]"))
    assert "platform.yaml:12: kueue[1]" in lines[0]


def test_a_bad_edit_of_a_kueue_file_leaves_the_last_good_platform_in_force(folder):
    settings = read_settings(folder, {}, port=0)
    good = accepted.load(settings)
    assert good.error is None
    (folder / "objects.yaml").write_text("kind: [", encoding="utf-8")
    again = accepted.load(settings)
    assert "objects.yaml" in str(again.error)
    assert again.current.kueue == good.current.kueue


# --- there and back ---


SPEECH_ALONE = """
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: alone}
spec:
  namespaceSelector: {}
  queueingStrategy: StrictFIFO
  preemption: {withinClusterQueue: LowerOrNewerEqualPriority}
  flavorFungibility: {whenCanBorrow: MayStopSearch, whenCanPreempt: MayStopSearch}
  resourceGroups:
    - coveredResources: [nvidia.com/gpu]
      flavors:
        - {name: silver, resources: [{name: nvidia.com/gpu, nominalQuota: 2}]}
        - {name: a100, resources: [{name: nvidia.com/gpu, nominalQuota: 1}]}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {namespace: robots, name: main}
spec: {clusterQueue: alone}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {namespace: lab, name: main}
spec: {clusterQueue: vision-cq}
"""


def test_quotas_of_several_trees_hold_and_a_decider_told_of_changes_agrees_with_a_new_one(folder):
    platform = PLATFORM.replace("teams: [", 'teams: [{name: lab, members: ["*"]}, {name: robots, members: ["*"]}, ')
    objects = (FLAVORS + QUEUES).replace(", stopPolicy: Hold", "")
    objects = objects.replace("{matchLabels: {kubernetes.io/metadata.name: vision}}", "{}")
    (folder / "platform.yaml").write_text(platform, encoding="utf-8")
    (folder / "objects.yaml").write_text(objects + SPEECH_ALONE, encoding="utf-8")
    read = platform_file.load(folder / "platform.yaml")
    most = {
        ("lab vision", "gold"): 3000,
        ("lab vision", "silver"): 1000,
        ("speech", "silver"): 0,
        ("speech lab vision", "gold"): 4000,
        ("robots", "gold"): 1000,
        ("robots", "silver"): 2000,
    }
    admitted = preempted = 0
    for seed in range(40):

        def check(held, seed=seed):
            for (teams, tier), milli in most.items():
                used = [j.lease.gpus_milli for j in held if j.team in teams.split() and j.lease.tier == tier]
                assert sum(used) <= milli, (seed, teams, tier)

        plans = plays(read, seed, check)
        admitted += sum(len(plan[0]) for plan in plans)
        preempted += sum(len(plan[1]) for plan in plans)
    assert admitted > 200
    assert preempted > 10


def test_rendered_and_read_back_the_template_decides_the_same(tmp_path):
    gpus = """
      - {name: n2, tier: gold, gpus: 4, simulated: true}
      - {name: n3, tier: bronze, gpus: 3, simulated: true}
"""
    content = YAML(typ="safe", pure=True).load(initial_text([], "root"))
    content["clusters"][0]["nodes"] += YAML(typ="safe", pure=True).load(gpus)
    content["environments"] = [{"name": "default", "python": "python3"}]
    content["teams"] = [
        {"name": "lab", "members": ["*"], "nominal_quota": {"gold": 2}, "weight": 2},
        {"name": "vision", "members": ["*"], "nominal_quota": {"bronze": 1}, "borrowing_limit": {"gold": 2}},
        {"name": "speech", "members": ["*"], "cohort": "science"},
    ]
    content["cohorts"] = [{"name": "science", "nominal_quota": {"gold": 1}, "lending_limit": {"gold": 0}}]
    content["queueing"]["preemption"] = {"within_cluster_queue": "LowerPriority", "reclaim_within_cohort": "Any"}
    own = parse(content)
    assert isinstance(own, Platform)
    dump = YAML(typ="safe", pure=True)
    with (tmp_path / "kueue.yaml").open("w", encoding="utf-8") as file:
        dump.dump_all(kueue_documents(own), file)
    left = {key: value for key, value in content.items() if key not in {"queues", "cohorts", "priorities"}}
    left["teams"] = [{"name": team["name"], "members": team["members"]} for team in content["teams"]]
    left["queueing"] = {key: content["queueing"][key] for key in ("fair_sharing", "backfill")}
    left["kueue"] = ["kueue.yaml"]
    with (tmp_path / "platform.yaml").open("w", encoding="utf-8") as file:
        dump.dump(left, file)
    read = platform_file.load(tmp_path / "platform.yaml", lambda content, _files: content)
    assert read.kueue is not None
    admitted = preempted = 0
    for seed in range(40):
        ours, theirs = plays(own, seed), plays(read, seed)
        assert ours == theirs, seed
        admitted += sum(len(plan[0]) for plan in ours)
        preempted += sum(len(plan[1]) for plan in ours)
    assert admitted > 200
    assert preempted > 10


def plays(platform, seed, check=None):
    """The plans of some steps with random jobs, of which each step begins what the one before it admitted.

    `check` sees all that hold GPUs after each step, and the plan is that of a decider which sees everything anew.
    """
    teams = [team.name for team in platform.teams]
    tiers = [tier.name for tier in platform.tiers]
    rng = random.Random(seed)
    deciders, plans, known = Decider(platform), [], {}
    for step in range(6):
        now = NOW + 100.0 * step
        for index in range(rng.randint(1, 5)):
            priority = rng.choice([("high", 100), ("normal", 0), ("low", -100)])
            job = a_job(
                f"j-{step}-{index}",
                gpus=rng.choice([0.5, 1, 1, 2, 3]),
                tier=rng.choice([None, "gold", *tiers]),
                at=now + index,
                team=rng.choice(teams),
                user=rng.choice(["a", "b"]),
                priority=priority[0],
                priority_value=priority[1],
            )
            known[job.id] = job
        ends = [key for key, job in known.items() if job.lease is not None and rng.random() < 0.2]
        for key in ends:
            deciders.drop(key)
            del known[key]
        for job in known.values():
            deciders.put(job)
        plan = deciders.decide(now + 50)
        plans.append(
            (
                [(one.job_id, one.lease) for one in plan.admissions],
                list(plan.preemptions),
                {key: (plan.verdicts[key].code, plan.verdicts[key].data) for key in sorted(plan.verdicts)},
            )
        )
        if check is not None:
            anew = Decider(platform)
            for job in known.values():
                anew.put(job)
            again = anew.decide(now + 50)
            assert (again.admissions, again.preemptions) == (plan.admissions, plan.preemptions), seed
        for one in plan.admissions:
            job = known[one.job_id]
            known[job.id] = replace(
                job, phase=Phase.RUNNING, lease=one.lease, attempt=1, admitted_at=now + 50, began_at=now + 50
            )
        for gone in plan.preemptions:
            known.pop(gone.job_id)
            deciders.drop(gone.job_id)
        if check is not None:
            check([job for job in known.values() if job.lease is not None])
    return plans
