"""One plain sentence for every code and kind, in both languages, whatever the data lacks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.core import spoken_english, spoken_korean
from dure.core.events import KINDS, Event
from dure.core.queueing.decide import decide
from dure.core.queueing.explain import visible
from dure.core.reasons import Ended, Verdict, Waiting
from dure.core.sentences import ended_sentence, event_sentence, help_sentence, verdict_sentence
from tests.core.builders import FLEX, NOW, a_job, a_lab, a_node, a_platform, a_snapshot, a_team, running

HELPS = ("tier", "fewer_gpus", "burst", "budget_flex", "wait")
HANGUL = re.compile("[가-힣]")
HELD = running(a_job("j-held", user="bob", team="speech"), "lab", "n3", 0)


def the_verdict(job, *others, platform=None):
    return decide(a_snapshot(HELD, *others, job, platform=platform)).verdicts[job.id]


# --- complete ---


@pytest.mark.parametrize("spoken", [spoken_english, spoken_korean])
def test_every_code_kind_and_help_has_a_sentence_in_each_language(spoken):
    assert set(spoken.WAITING) == {code.value for code in Waiting}
    assert set(spoken.ENDED) == {code.value for code in Ended}
    assert set(spoken.EVENTS) == set(KINDS)
    assert set(spoken.HELPS) == set(HELPS)


def all_sentences(data):
    for lang in ("en", "ko"):
        for code in Waiting:
            yield lang, verdict_sentence(Verdict(code, 2, data), lang)
        for ending in Ended:
            yield lang, ended_sentence(ending, data, lang)
        for kind in sorted(KINDS):
            yield lang, event_sentence(Event(1, NOW, "alice", "j-1", kind, data), lang)
        for offered in HELPS:
            yield lang, help_sentence({**data, "code": offered}, lang)


@pytest.mark.parametrize(("lang", "sentence"), list(all_sentences({})))
def test_without_any_data_there_is_still_one_plain_sentence(lang, sentence):
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    assert "None" not in sentence
    assert "  " not in sentence
    assert "{" not in sentence
    assert bool(HANGUL.search(sentence)) == (lang == "ko")


KEYS = [
    *("why", "tier", "tiers", "gpus_milli", "free_milli", "total_milli", "used_milli", "quota_milli", "largest_milli"),
    *("most_milli", "team", "user", "name", "holders", "holder_count", "clusters", "burst", "what", "choices", "queue"),
    *("code", "position", "reason", "ename", "evalue", "exit_code", "timeout_s", "memory_bytes", "cluster", "node"),
    *("waited_s", "ran_s", "cost", "error", "holder", "count", "digest", "price", "in_s", "busy", "now"),
    *("predicted_cost", "allowed_wait_s", "lost_s", "rule"),
]
ODD = st.one_of(
    st.none(),
    st.integers(-5, 9000),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-10, max_value=1e9),
    st.text(max_size=8),
    st.booleans(),
    st.lists(st.one_of(st.text(max_size=3), st.dictionaries(st.sampled_from(KEYS), st.text(max_size=4)))),
    st.dictionaries(
        st.sampled_from(["failing", "cluster", "price"]), st.one_of(st.none(), st.text(), st.lists(st.text()))
    ),
)


@given(st.dictionaries(st.sampled_from(KEYS), ODD, max_size=8))
def test_odd_data_never_breaks_a_sentence(data):
    for _, sentence in all_sentences(data):
        assert sentence


def test_an_unknown_code_is_told_by_its_name():
    assert "SomethingNew" in ended_sentence("SomethingNew", {}, "en")
    assert "SomethingNew" in ended_sentence("SomethingNew", {}, "ko")


# --- as people read them ---


def test_second_in_line_with_the_holder_and_what_helps():
    verdict = the_verdict(a_job("j-2", at=NOW + 1), a_job("j-1"))
    assert verdict_sentence(verdict, "en") == (
        "2nd in line for gold: the only GPU of gold is in use by bob's j-held; silver is free now: add --tier silver."
    )
    assert verdict_sentence(verdict, "ko") == (
        "gold 티어 대기 2번째: gold 티어의 GPU 1개가 사용 중입니다(사용: bob님의 j-held); "
        "지금 silver 티어가 비어 있습니다: --tier silver."
    )


def test_holders_of_other_teams_stay_anonymous():
    verdict = visible(the_verdict(a_job()), lambda _job: False)
    assert "in use by team speech;" in verdict_sentence(verdict, "en")
    assert "(사용: speech 팀)" in verdict_sentence(verdict, "ko")


def test_many_holders_are_counted():
    lab = a_lab(a_node("n1", "gold", 4))
    held = [running(a_job(f"r{n}", user="bob"), "lab", "n1", n) for n in range(4)]
    verdict = decide(a_snapshot(*held, a_job(), platform=a_platform(lab))).verdicts["j-1"]
    assert "all 4 GPUs of gold are in use by bob's r0, bob's r1 and 2 more jobs" in verdict_sentence(verdict, "en")
    assert "GPU 4개가 모두 사용 중입니다(사용: bob님의 r0, bob님의 r1 외 2건)" in verdict_sentence(verdict, "ko")


def test_a_burst_is_told_with_its_time_and_price():
    silver = a_lab(a_node("n3", "gold"))
    verdict = the_verdict(a_job(budget=FLEX), platform=a_platform(silver, a_platform().clusters[1]))
    assert "it goes to cloud in 1 min for about ₩603 unless a GPU is free here first" in verdict_sentence(verdict, "en")
    assert "먼저 비는 GPU가 없으면 1분 뒤 약 603원에 cloud로 보냅니다" in verdict_sentence(verdict, "ko")


def test_data_that_must_stay_is_told():
    verdict = the_verdict(a_job(budget=FLEX, data_class="private"))
    assert "it cannot go to cloud: its data must stay here" in verdict_sentence(verdict, "en")


def test_a_used_up_quota_is_told_with_numbers():
    platform = a_platform(teams=[a_team("vision", {"bronze": 1000}), a_team("speech")])
    mine = running(a_job("r", tier="bronze"), "lab", "n1", 0)
    verdict = the_verdict(a_job(tier="bronze"), mine, platform=platform)
    told = "1st in line for bronze: team vision uses 1 GPU of its quota of 1 GPU; taken by alice's r"
    assert told in verdict_sentence(verdict, "en")
    assert "vision 팀이 할당량 GPU 1개 중 GPU 1개를 사용 중입니다" in verdict_sentence(verdict, "ko")


def test_an_exception_is_told_in_one_line():
    data = {"ename": "ValueError", "evalue": "bad\nshape."}
    assert ended_sentence("Error", data, "en") == "It raised ValueError: bad shape."
    assert ended_sentence("Error", data, "ko") == "ValueError 오류가 발생했습니다: bad shape."


@pytest.mark.parametrize(("code", "told"), [(1, "1로"), (2, "2로"), (3, "3으로"), (137, "137로"), (6, "6으로")])
def test_exit_codes_take_the_right_particle(code, told):
    assert told in ended_sentence("ExitCode", {"exit_code": code}, "ko")


def test_the_end_of_a_job_accounts_for_it():
    data = {"waited_s": 3.2, "ran_s": 125, "cost": 12.4, "reason": "Timeout", "timeout_s": 120}
    event = Event(1, NOW, "loop", "j-1", "job.failed", data)
    assert event_sentence(event, "en") == (
        "Failed (waited 3 s, ran 2 min 5 s, cost ₩12): "
        "it was stopped at its time limit of 2 min: use a longer --timeout."
    )
    assert event_sentence(event, "ko").startswith(
        "실패했습니다(대기 3초, 실행 2분 5초, 비용 12원): 제한 시간 2분에 도달해"
    )
    assert "cost $12.40" in event_sentence(event, "en", "USD")
