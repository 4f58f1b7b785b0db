"""The job options: one definition for cell, command and function; each mistake is one sentence."""

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies

from dure.client import DureError
from dure.client.options import (
    OF_FUNCTIONS,
    OPTIONS,
    JobOptions,
    complete,
    help_text,
    job_request,
    parse_values,
    parse_words,
    wants_help,
)
from dure.client.times import parse_deadline, parse_duration
from dure.wire.messages import EnvironmentView, PlatformView, TierView

NOON = datetime(2026, 5, 1, 12, 0, 0).astimezone().timestamp()
TIER: dict[str, Any] = {"description": "", "total": 1, "free": 1, "prices": {}, "simulated": True}
PLATFORM = PlatformView(
    name="p", version="1", currency="KRW", simulated=True,
    tiers=[TierView(name=n, **TIER) for n in ("silver", "gold")],
    teams=["vision"], priorities=["high", "normal"],
    data_classes=["open"], environments=[EnvironmentView(name="torch")],
)  # fmt: skip


def local(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def test_every_option_of_a_cell():
    line = (
        "--tier gold --gpus 0.5 --priority=high --budget 1500 --deadline 18:00 --no-burst --data open --env torch "
        "--timeout 1h30m --keep 5m --team vision --retries 2 -d"
    )
    found = parse_words(line.split(), now=NOON)
    assert found == JobOptions(
        tier="gold", gpus=0.5, priority="high", budget=1500.0, deadline_at=NOON + 6 * 3600, burst=False, data="open",
        env="torch", timeout_s=5400.0, keep_s=300.0, team="vision", retries=2, detach=True,
    )  # fmt: skip
    assert found.notes == ()
    request = job_request(
        replace(found, retries=0), kind="cell", name=" In[7]\n ", payload={"code": "1"}, python="3.11"
    )
    assert (request.name, request.environment, request.deadline_at) == ("In[7]", "torch", NOON + 6 * 3600)


def test_several_nodes_are_for_commands():
    found = parse_words(["--nodes", "2", "--gpus", "4"])
    request = job_request(found, kind="command", name="train", payload={"argv": ["torchrun"]})
    assert (request.nodes, request.gpus) == (2, 4)
    for kind in ("cell", "function"):
        with pytest.raises(DureError, match="dure run --nodes 2 -- torchrun"):
            job_request(found, kind=kind, name="train", payload={})
    with pytest.raises(DureError, match="a whole number from 1 to 1024"):
        parse_words(["--nodes", "0"])


def test_a_gpu_is_kept_for_cells_only_and_not_for_long():
    kept = parse_words(["--keep", "1h"])
    assert job_request(kept, kind="cell", name="n", payload={"code": "1"}).keep_s == 3600
    with pytest.raises(DureError, match="use it in a %%gpu cell"):
        job_request(kept, kind="function", name="n", payload={"call": "1"})
    with pytest.raises(DureError, match="without --retries"):
        job_request(replace(kept, retries=1), kind="cell", name="n", payload={"code": "1"})
    with pytest.raises(DureError, match="at most 1h"):
        parse_words(["--keep", "61m"])


def test_functions_take_pythons_own_values():
    asked = {"gpus": 2, "timeout": timedelta(minutes=5), "keep": 60, "burst": True, "tier": None, "detach": False}
    found = parse_values(asked | {"deadline": datetime(2026, 5, 1, 13, 0)}, now=NOON)  # noqa: DTZ001 - a person's own
    assert (found.gpus, found.timeout_s, found.keep_s, found.burst, found.tier) == (2, 300, 60, True, None)
    assert found.deadline_at == NOON + 3600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("5min", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


def test_a_deadline_that_has_passed_today_is_tomorrow_and_says_so():
    at, note = parse_deadline("11:30", NOON)
    assert local(at) == "2026-05-02 11:30:00"
    assert note == "11:30 has passed today, so the deadline is tomorrow, 2026-05-02 11:30."
    assert "내일" in str(parse_deadline("11:30", NOON, lang="ko")[1])
    assert parse_deadline("2h", NOON) == (NOON + 7200, None)
    assert local(parse_deadline("2026-05-03T08:00", NOON)[0]) == "2026-05-03 08:00:00"
    assert parse_deadline("2026-05-03T08:00+00:00", NOON)[0] == 1777795200.0


@pytest.mark.parametrize(
    "words",
    [
        "--teir gold", "gold", "--tier", "--tier --gpus 1", "--gpus 0", "--gpus nan", "--gpus 1e9", "--budget free",
        "--budget -1", "--deadline yesterday", "--deadline 25:00", "--deadline 2020-01-01T00:00",
        "--deadline 2026-05-02",
        "--deadline 0s", "--timeout 5x", "--timeout 0", "--timeout -5", "--retries 11", "--retries 1.5", "--burst=yes",
        "--detach=1", "--deadline 9999999999d",
    ],
)  # fmt: skip
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_mistake_is_one_sentence(words, lang):
    with pytest.raises(DureError) as caught:
        parse_words(words.split(), now=NOON, lang=lang)
    assert caught.value.code in {"unknown_option", "invalid_option"}
    assert str(caught.value).endswith(".")


def test_the_nearest_option_is_named():
    with pytest.raises(DureError, match="did you mean --tier"):
        parse_words(["--teir", "gold"])
    with pytest.raises(DureError, match="did you mean timeout"):
        parse_values({"time_out": 5})


def test_a_name_that_cannot_exist_is_told_before_it_is_sent():
    with pytest.raises(DureError, match="--env cannot be 'a b'"):
        job_request(parse_values({"env": "a b"}), kind="cell", name="n", payload={})
    with pytest.raises(DureError, match="cannot be submitted"):
        job_request(JobOptions(), kind="cell", name="n", payload={}, references=["no digest"])


def test_completion_knows_flags_and_the_platforms_names():
    assert complete("%%gpu --t", PLATFORM) == ["--tier", "--timeout", "--team"]
    assert complete("%%gpu --tier ", PLATFORM) == ["silver", "gold"]
    assert complete("%%gpu --tier s", PLATFORM) == ["silver"]
    assert complete("%%gpu --tier=g", PLATFORM) == ["--tier=gold"]
    assert complete("%%gpu --env ", PLATFORM) == ["torch"]
    assert complete("%%gpu --budget ", None) == ["flex", "strict"]
    assert "--tier" not in complete("%%gpu --tier gold --", PLATFORM)
    assert complete("%%gpu --tier gold --no", PLATFORM) == ["--no-burst"]


def test_help_names_every_option_in_both_languages():
    for lang in ("en", "ko"):
        text = help_text("%%gpu", lang)
        assert all(flag in text for option in OPTIONS for flag in option.flags)
        assert all(option.told(lang) in text for option in OPTIONS)
    assert wants_help(["--tier", "gold", "--help"])


@given(strategies.text(max_size=20))
def test_no_text_breaks_the_parsers(text):
    for word in (f"--deadline={text}", f"--timeout={text}", f"--gpus={text}", f"--budget={text}", text):
        with contextlib.suppress(DureError):
            parse_words([word], now=NOON)


def test_functions_are_not_offered_a_plan():
    with pytest.raises(DureError) as refused:
        parse_values({"plan": True}, names=OF_FUNCTIONS)
    assert refused.value.code == "unknown_option"
    assert ", plan" not in str(refused.value)
    assert parse_values({"plan": True}).plan
