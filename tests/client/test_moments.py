"""Moments in the platform's sentences are shown in the reader's own zone."""

import time
from datetime import datetime

import pytest

from dure.amounts import moment, moment_at
from dure.client.moments import own_times


@pytest.fixture(autouse=True)
def _seoul(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_moment_is_written_in_this_machine_s_zone_with_the_date_unless_it_is_today():
    assert own_times("reserved until 2020-05-01T20:30Z.") == "reserved until 2020-05-02 05:30."
    now = datetime.now().astimezone().replace(hour=12, minute=0, second=0, microsecond=0).timestamp()
    assert own_times("2020-05-01T20:30Z까지") == "2020-05-02 05:30까지"
    assert own_times(f"until {moment(now)}, and") == "until 12:00, and"
    assert moment_at(moment(now)) == now


@pytest.mark.parametrize("text", ["2020-05-01", "2020-13-45T20:30Z", "x2020-05-01T20:30Z", "2020-05-01T20:30Zulu", ""])
def test_what_is_no_moment_stays(text):
    assert own_times(text) == text
