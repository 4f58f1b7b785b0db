"""The pages of use and reservations as plain HTML: numbers and bars, the calendar, making and releasing by forms."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.portal.conftest import ADA, ALICE
from tests.portal.lively import make_lively


@pytest.fixture
def lively(plane):
    return make_lively(plane)


def typed(plane, begins_s, ends_s, **more):
    now = plane.queries.queue(ADA, "en").now
    times = {"begins": now + begins_s, "ends": now + ends_s}
    fields = {name: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M") for name, at in times.items()}
    return {"team": ALICE.teams[0], "tier": "gold", "gpus": "1", "note": "<b>thesis</b>", **fields, **more}


def test_use_is_shown_by_team_and_person_and_in_korean(plane, lively):
    page = plane.http().get("usage").text
    assert "Usage and limits" in page
    assert ALICE.teams[0] in page
    assert '<th scope="row">alice</th>' in page
    korean = plane.http(**{"accept-language": "ko"}).get("usage").text
    assert "사용량과 한도" in korean
    assert "Usage and limits" not in korean


def test_an_administrator_makes_a_reservation_and_releases_it(plane, lively):
    http = plane.http(ADA)
    made = http.post("reservations", data=typed(plane, 3600, 7200), headers={"Origin": plane.url.rstrip("/")})
    assert made.status_code in {200, 303}, made.text
    page = http.get("reservations").text + http.get(made.headers.get("location", "reservations")).text
    assert "&lt;b&gt;thesis&lt;/b&gt;" in page
    (found,) = set(re.findall(r"/reservations/(r-[^/\"]+)/release", page))
    assert "Release this reservation?" in http.get(f"reservations/{found}/release").text
    http.post(f"reservations/{found}/release", headers={"Origin": plane.url.rstrip("/")})
    listed = plane.commands.reservations.listed(ADA, None, None).reservations
    assert [one.phase for one in listed] == ["released"]


def test_a_refused_one_comes_back_with_the_sentence_and_what_was_typed(plane, lively):
    http = plane.http(ADA)
    for fields, said in (({"gpus": "99"}, "cannot be reserved then"), ({"begins": "never"}, "begins_at")):
        answer = http.post(
            "reservations", data=typed(plane, 3600, 7200, **fields), headers={"Origin": plane.url.rstrip("/")}
        )
        assert answer.status_code in {409, 422}
        assert said in answer.text
        assert "&lt;b&gt;thesis&lt;/b&gt;" in answer.text


def test_members_see_the_calendar_and_no_form(plane, lively):
    http = plane.http()
    page = http.get("reservations?week=2026-01-01").text
    assert "2025-12-29" in page
    assert "Administrators reserve GPUs" in page
    assert "<select" not in page
    answer = http.post("reservations", data=typed(plane, 3600, 7200), headers={"Origin": plane.url.rstrip("/")})
    assert answer.status_code == 403
    for odd in ("9999-12-31", "0001-01-01", "soon"):
        assert http.get(f"reservations?week={odd}").status_code == 200


def test_times_are_of_the_readers_zone_and_typed_in_it(plane, lively):
    http = plane.http(ADA)
    http.cookies.set("dure-zone", "Asia/Seoul")
    page = http.get("reservations").text
    assert "All times are of the zone Asia/Seoul." in page
    assert '<input type="hidden" name="zone" value="Asia/Seoul">' in page
    assert "Asia/Seoul 기준" in http.get("reservations?lang=ko").text
    there = datetime.fromtimestamp(plane.queries.queue(ADA, "en").now, UTC) + timedelta(days=2)
    there = there.replace(hour=17, minute=0, second=0, microsecond=0)
    here = there.astimezone(ZoneInfo("Asia/Seoul"))
    fields = {"begins": f"{here:%Y-%m-%dT%H:%M}", "ends": f"{here:%Y-%m-%d}T04:00", "zone": "Asia/Seoul"}
    http.post("reservations", data=typed(plane, 0, 0, **fields), headers={"Origin": plane.url.rstrip("/")})
    (made,) = plane.commands.reservations.listed(ADA, None, None).reservations
    assert (made.begins_at, made.ends_at) == (there.timestamp(), there.timestamp() + 7200.0)
    assert f"{here:%Y-%m-%d} 02:00" in http.get(f"reservations?week={here:%Y-%m-%d}").text
    plain = plane.http(ADA).get(f"reservations?week={there:%Y-%m-%d}").text  # without the script: UTC, said to be so
    assert f"{there:%Y-%m-%d} 17:00" in plain
    assert "All times are of the zone UTC." in plain


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "UTC/", "a" * 500, "Asia"])
def test_a_zone_that_is_none_is_utc(plane, lively, zone):
    http = plane.http(ADA)
    http.cookies.set("dure-zone", zone)
    page = http.get("reservations")
    assert page.status_code == 200
    assert "All times are of the zone UTC." in page.text
