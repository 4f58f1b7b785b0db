"""A platform document as plain data: every rule, its path, and all problems at once."""

from copy import deepcopy
from datetime import date
from typing import Any

import pytest

from dure.core.model import EVERYONE, Authenticator, ClusterKind, Platform
from dure.core.platform import Problem, parse

GOOD = {
    "name": "Lab",
    "currency": "USD",
    "admins": ["root"],
    "default_timeout_s": 3600,
    "clusters": [
        {"name": "lab", "kind": "private", "nodes": [{"name": "n1", "tier": "gold", "gpus": 2, "model": "A30"}]},
        {
            "name": "cloud",
            "kind": "public",
            "provision_s": 3,
            "prices": {"gold": 4.5},
            "nodes": [{"name": "n1", "tier": "gold", "gpus": 1, "simulated": True}],
        },
    ],
    "tiers": [{"name": "silver"}, {"name": "gold", "price_per_gpu_hour": 1.5, "description": "large"}],
    "teams": [
        {"name": "vision", "members": ["alice", "bob"], "nominal_quota": {"gold": 1.5, "silver": None}, "weight": 2},
        {"name": "all", "members": ["*"], "budget_per_month": 100},
    ],
    "queues": [{"name": "q", "team": "vision", "stop_policy": "Hold"}],
    "priorities": [{"name": "normal", "value": 0}, {"name": "urgent", "value": 1000}],
    "burst": {"enabled": True, "rule": "fixed", "wait_s": 60},
    "data_classes": [{"name": "open", "may_leave": True}],
    "environments": [{"name": "default", "python": "python3", "preimports": ["numpy", "os.path"]}],
}
SMALL = {key: GOOD[key] for key in ("clusters", "tiers", "teams", "environments")}


def changed(path, value):
    """GOOD with `value` at `path`; the value `...` removes what is there."""
    document = deepcopy(GOOD)
    *parents, last = path
    inner: Any = document
    for part in parents:
        inner = inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return document


def problems(document):
    found = parse(document)
    assert isinstance(found, tuple)
    return found


def test_a_good_document_is_a_platform():
    platform = parse(GOOD, digest="d")
    assert isinstance(platform, Platform)
    assert platform.digest == "d"
    assert platform.default_timeout_s == 3600
    assert [cluster.kind for cluster in platform.clusters] == [ClusterKind.PRIVATE, ClusterKind.PUBLIC]
    assert platform.clusters[0].nodes[0].model == "A30"
    assert platform.clusters[1].nodes[0].model == "simulated"
    assert platform.clusters[1].prices == {"gold": 4.5}
    assert platform.teams[0].quota_milli == {"gold": 1500}
    assert platform.teams[0].weight == 2
    assert platform.queues[0].stopped
    assert platform.burst.rule == "fixed"


def test_what_is_left_out_has_a_usual_value():
    platform = parse(SMALL)
    assert isinstance(platform, Platform)
    assert (platform.name, platform.currency, platform.default_timeout_s) == ("Dure", "KRW", None)
    assert [(queue.name, queue.team, queue.stopped) for queue in platform.queues] == [
        ("vision", "vision", False),
        ("all", "all", False),
    ]
    assert [(p.name, p.value) for p in platform.priorities] == [("high", 100), ("normal", 0), ("low", -100)]
    assert [(d.name, d.may_leave) for d in platform.data_classes] == [("open", True), ("private", False)]
    assert platform.burst.enabled


def test_a_team_that_no_queue_names_gets_one_of_its_own():
    platform = parse(GOOD)
    assert isinstance(platform, Platform)
    assert [(queue.name, queue.team) for queue in platform.queues] == [("q", "vision"), ("all", "all")]


def test_everyone_is_a_member_of_a_team_that_says_so():
    platform = parse(GOOD)
    assert isinstance(platform, Platform)
    assert platform.teams_of("alice") == ("vision", "all")
    assert platform.teams_of("zoe") == ("all",)
    assert EVERYONE == "*"


def test_a_person_may_be_in_no_team_and_in_several():
    document = changed(("teams", 1, "members"), ["alice"])
    platform = parse(document)
    assert isinstance(platform, Platform)
    assert platform.teams_of("alice") == ("vision", "all")
    assert platform.teams_of("zoe") == ()


def test_stop_policy_none_may_be_yamls_null_too():
    platform = parse(changed(("queues", 0, "stop_policy"), None))
    assert isinstance(platform, Platform)
    assert not platform.queues[0].stopped


N = ("clusters", 0, "nodes", 0)
CASES = [
    # path of the change, new value, path of the problem (None: the same), words of the problem
    (("currencey",), "KRW", None, "did you mean 'currency'?"),
    (("currency",), "won", None, "ISO 4217"),
    (("currency",), 3, None, "is not text"),
    (("name",), "", None, "not allowed"),
    (("admins",), "root", None, "is not a list"),
    (("admins",), ["*"], ("admins", 0), "user name"),
    (("admins",), ["a", "a"], ("admins", 1), "listed twice"),
    (("default_timeout_s",), 0, None, "too small"),
    (("default_timeout_s",), "1h", None, "is not a number"),
    (("clusters",), [], None, "is not a list with entries"),
    (("clusters",), ..., None, "is missing"),
    (("clusters", 0), "lab", None, "is not a mapping"),
    (("clusters", 0, "name"), "Lab!", None, "lower-case letters"),
    (("clusters", 0, "name"), ..., None, "is missing"),
    (("clusters", 0, "name"), 7, None, "in quotes: '7'"),
    (("clusters", 0, "kind"), "pubic", None, "did you mean 'public'?"),
    (("clusters", 0, "prices"), {"gold": 1}, None, "a private cluster has no prices"),
    (("clusters", 1, "name"), "lab", None, "taken already by clusters[0]"),
    (("clusters", 1, "provision_s"), -1, None, "is negative"),
    (("clusters", 1, "prices"), ..., ("clusters", 1), "without a price"),
    (("clusters", 1, "prices"), {}, None, "without a price"),
    (("clusters", 1, "prices"), {"gold": "4"}, ("clusters", 1, "prices", "gold"), "is not a number"),
    (("clusters", 1, "prices"), {"gold": -4}, ("clusters", 1, "prices", "gold"), "is negative"),
    (("clusters", 1, "prices"), {"gold": 4, "goldd": 4}, ("clusters", 1, "prices", "goldd"), "did you mean 'gold'?"),
    (("clusters", 0, "nodes"), {}, None, "is not a list"),
    ((*N, "tier"), "platinum", None, "right would be one of silver, gold"),
    ((*N, "tier"), "glod", None, "did you mean 'gold'?"),
    ((*N, "tier"), ..., None, "is missing"),
    ((*N, "gpus"), 0, None, "from 1 to 1024"),
    ((*N, "gpus"), 2.5, None, "is not a whole number"),
    ((*N, "gpus"), True, None, "is not a whole number"),
    ((*N, "gpus"), ..., None, "is missing"),
    ((*N, "gpu"), 2, None, "did you mean 'gpus'?"),
    ((*N, "simulated"), "yes", None, "true or false"),
    ((*N, "gpu_memory_bytes"), -1, None, "out of range"),
    ((*N, "uuids"), ["GPU-0123456789"], None, "1 UUIDs for 2 GPUs"),
    ((*N, "uuids"), ["GPU-0123456789", "1"], (*N, "uuids", 1), "nvidia-smi -L"),
    (("tiers", 0, "price_per_gpu_hour"), float("nan"), None, "is not a number"),
    (("tiers",), [{"name": n} for n in ("gold", "silver", "gold")], ("tiers", 2, "name"), "taken already by tiers[0]"),
    (("teams", 0, "members"), "alice", None, "is not a list"),
    (("teams", 0, "members"), ["al ice"], ("teams", 0, "members", 0), "for everyone who is signed in"),
    (("teams", 0, "quota"), {"gold": 1}, None, "is not a key here"),
    (("teams", 0, "nominal_quota"), {"bronze": 1}, ("teams", 0, "nominal_quota", "bronze"), "is not a tier"),
    (("teams", 0, "nominal_quota"), {"gold": -1}, ("teams", 0, "nominal_quota", "gold"), "is negative"),
    (("teams", 0, "weight"), -1, None, "is negative"),
    (("teams", 0, "budget_per_month"), "much", None, "is not a number"),
    (("queues", 0, "team"), "visoin", None, "did you mean 'vision'?"),
    (("queues", 0, "stop_policy"), "hold", None, "right would be one of None, Hold"),
    (("queues",), [{"name": n, "team": "all"} for n in "ab"], ("queues", 1, "team"), "has a queue already (queues[0])"),
    (("priorities", 0, "value"), "high", None, "is not a whole number"),
    (("priorities",), [{"name": "urgent", "value": 1}], None, "there is no priority 'normal'"),
    (("burst", "rule"), "linear", None, "fixed, proportional"),
    (("burst", "wait"), 3, None, "did you mean 'wait_s'?"),
    (("burst", "min_wait_s"), 99999, None, "more than max_wait_s"),
    (("burst",), [], None, "is not a mapping"),
    (("data_classes", 0, "may_leave"), ..., None, "is missing"),
    (("environments", 0, "python"), ..., None, "is missing"),
    (("environments", 0, "preimports"), ["import os"], ("environments", 0, "preimports", 0), "a module's name"),
    (("environments", 0, "name"), "torch", ("environments",), "there is no environment 'default'"),
]


@pytest.mark.parametrize(("path", "value", "where", "words"), CASES)
def test_each_mistake_is_told_once_at_its_path(path, value, where, words):
    (problem,) = problems(changed(path, value))
    assert problem.path == (where or path)
    assert words in str(problem)
    assert problem.wrong
    assert problem.right


def test_all_mistakes_are_told_at_once():
    document = changed((*N, "tier"), "platinum")
    document["teams"][0]["weight"] = "heavy"
    document["clusters"][1]["prices"] = {}
    document["environments"][0]["python"] = 3
    assert [problem.where for problem in problems(document)] == [
        "clusters[0].nodes[0].tier",
        "clusters[1].prices",
        "teams[0].weight",
        "environments[0].python",
    ]


def test_a_section_that_cannot_be_read_is_one_problem_and_not_one_for_each_line_that_names_it():
    assert [problem.where for problem in problems(changed(("tiers",), "gold"))] == ["tiers"]
    assert [problem.where for problem in problems(changed(("teams",), ...))] == ["teams"]


def test_an_interpreter_is_checked_by_who_can_see_it():
    found = parse(GOOD, check_python=lambda python: Problem((), f"no {python}", "another"))
    assert isinstance(found, tuple)
    assert str(found[0]) == "environments[0].python: no python3; right would be another"


def test_keys_that_are_no_names_are_told():
    (problem,) = problems({**GOOD, 7: "seven"})
    assert problem.path == ("7",)


def test_an_empty_document_misses_what_is_needed():
    assert {problem.where for problem in problems({})} == {"clusters", "tiers", "teams", "environments"}


GITHUB: dict[str, Any] = {
    "class": "github",
    "settings": {"client_id": "x", "client_secret": "${GITHUB_SECRET}", "scope": ["a", 1]},
}


def test_an_authenticator_is_taken_with_its_references_as_they_stand():
    found = parse(SMALL | {"authenticator": GITHUB})
    assert isinstance(found, Platform)
    assert found.authenticator == Authenticator("github", GITHUB["settings"])
    assert getattr(parse(SMALL), "authenticator", "") is None


@pytest.mark.parametrize(
    ("change", "where", "told"),
    [
        ({"class": "Git Hub"}, "authenticator.class", "generic-oauth"),
        ({"klass": "github"}, "authenticator.klass", "did you mean 'class'?"),
        ({"settings": ["client_id"]}, "authenticator.settings", "is not a mapping"),
        ({"settings": {"client_secret": "abc"}}, "authenticator.settings.client_secret", "${DURE_CLIENT_SECRET}"),
        ({"settings": {"extra": {"password": "abc"}}}, "authenticator.settings.extra.password", "a secret stands"),
        ({"settings": {"url": "https://x/${HOST}"}}, "authenticator.settings.url", "is no reference"),
        ({"settings": {"since": date(2026, 1, 1)}}, "authenticator.settings.since", "is not allowed"),
    ],
)
def test_what_is_wrong_with_an_authenticator_is_told_at_its_place(change, where, told):
    found = problems(SMALL | {"authenticator": GITHUB | change})
    assert [problem.where for problem in found] == [where]
    assert told in str(found[0])


def test_a_secret_in_the_file_is_never_repeated_in_the_error():
    found = problems(SMALL | {"authenticator": {"class": "github", "settings": {"client_secret": "hunter2"}}})
    assert "hunter2" not in str(found[0])


# --- queueing ---


def test_quotas_cohorts_and_policies_are_read_with_kueues_words():
    document = changed(("cohorts",), [{"name": "science", "nominal_quota": {"gold": 0.5}}])
    document["queueing"] = {
        "preemption": {"within_cluster_queue": "LowerPriority"},
        "fair_sharing": {"half_life_s": 60},
    }
    document["teams"][0] |= {"cohort": "science", "borrowing_limit": {"gold": 0}, "lending_limit": {"gold": 0.5}}
    platform = parse(document)
    assert isinstance(platform, Platform), platform
    team = platform.teams[0]
    assert (team.cohort, dict(team.borrowing_milli), dict(team.lending_milli)) == (
        "science",
        {"gold": 0},
        {"gold": 500},
    )
    assert platform.cohorts[0].quota_milli == {"gold": 500}
    assert (platform.queueing.within_cluster_queue, platform.queueing.half_life_s) == ("LowerPriority", 60)
    assert platform.queueing.reclaim_within_cohort == "Any"


@pytest.mark.parametrize(
    ("key", "value", "where", "wrong"),
    [
        ("cohorts", [{"name": "dure"}], "cohorts[0].name", "the platform's own cohort"),
        ("cohorts", [{"name": "a", "parent": "b"}], "cohorts[0].parent", "is not a cohort"),
        ("cohorts", [{"name": "a", "parent": "a"}], "cohorts[0].parent", "a > a"),
        (
            "cohorts",
            [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}],
            "cohorts[0].parent",
            "go round in a circle: a > b > a",
        ),
        ("cohorts", [{"name": "a", "nominal_quota": {"gold": 99}}], "cohorts[0].nominal_quota.gold", "are guaranteed"),
        ("queueing", {"strategy": "FIFO"}, "queueing.strategy", "is not allowed"),
        (
            "queueing",
            {"preemption": {"reclaim_within_cohort": "Some"}},
            "queueing.preemption.reclaim_within_cohort",
            "not",
        ),
        ("queueing", {"fair_sharing": {"half_life_s": -1}}, "queueing.fair_sharing.half_life_s", "is negative"),
        (
            "queueing",
            {"fair_sharing": {"enabled": False, "preemption": True}},
            "queueing.fair_sharing.preemption",
            "cannot preempt",
        ),
    ],
)
def test_contradictions_of_queueing_are_named_with_their_place(key, value, where, wrong):
    found = problems(changed((key,), value))
    assert found[0].where == where
    assert wrong in found[0].wrong


def test_mig_needs_the_names_of_its_instances():
    node = ("clusters", 0, "nodes", 0)
    (problem,) = problems(changed((*node, "sharing"), "mig"))
    assert problem.path == (*node, "sharing")
    assert "`uuids` with the MIG-… names" in problem.right
    (wrong,) = problems(changed((*node, "sharing"), "halves"))
    assert "time-slice" in wrong.right


def test_a_node_says_how_its_gpus_are_shared():
    for document, sharing in ((GOOD, "time-slice"), (changed(("clusters", 0, "nodes", 0, "sharing"), "mps"), "mps")):
        platform = parse(document)
        assert isinstance(platform, Platform)
        assert platform.clusters[0].nodes[0].sharing == sharing
