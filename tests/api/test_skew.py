"""A newer or older client than the platform: one sentence that says which side to update, and how."""

import pytest

from dure.client import Client, DureError
from dure.client.config import Login
from dure.wire.messages import Health, JobList, JobView
from tests.api.plane import token

JOB = {"kind": "command", "name": "n", "payload": {"argv": ["true"]}}


@pytest.fixture(params=["this server", "a server of before"])
def transport(running, request):
    client = Client(Login(running.url, token("alice")), lang="en", retry_s=0)
    if request.param == "a server of before":  # it answered `invalid_request` whoever asked
        client._transport.http.headers["User-Agent"] = "somebody"
    yield client._transport
    client.close()


def refused(transport, *call, model=JobView, **request):
    with pytest.raises(DureError) as caught:
        transport.call(model, *call, **request)
    return caught.value


def test_a_newer_client_is_told_to_have_the_platform_updated(transport):
    error = refused(transport, "POST", "jobs", json=JOB | {"colour": "red"})
    assert error.code == "platform_older"
    assert "body.colour" in str(error)
    assert "pip install -U 'dure[server,hub]'" in str(error)


def test_a_newer_word_is_told_too(transport):
    assert refused(transport, "POST", "jobs", json=JOB | {"kind": "dream"}).code == "platform_older"


@pytest.mark.parametrize("call", [("GET", "dreams"), ("GET", "jobs/j-1/dream"), ("DELETE", "jobs")])
def test_what_the_platform_has_not_yet_is_told_too(transport, call):
    assert refused(transport, *call).code == "platform_older"


def test_an_older_client_is_told_to_update(transport):
    error = refused(transport, "POST", "jobs", json={"kind": "command"})
    assert error.code == "client_older"
    assert "`pip install -U dure`" in str(error)


def test_in_korean():
    from dure.client.errors import failure

    assert "업데이트" in str(failure("platform_older", "ko", problem="body.colour"))
    assert "커널" in str(failure("client_older", "ko", problem="body.colour"))


@pytest.mark.parametrize("call", [("GET", "jobs?limit=501"), ("GET", "jobs?cursor=x"), ("GET", "jobs?phase=asleep")])
def test_a_wrong_question_stays_one(transport, call):
    assert refused(transport, *call).code == "invalid_request"


def test_a_name_that_leads_elsewhere_is_no_question_of_age(transport):
    assert refused(transport, "GET", "jobs/a%2Fb").code == "not_found"


def test_another_programs_misspelt_option_stays_invalid(http):
    answer = http("alice").post("/api/jobs", json=JOB | {"teir": "gold"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("model", "content", "code"),
    [
        (Health, b'{"status": "ok"}', "platform_older"),
        (Health, b'{"status": "dreaming", "version": "9"}', "client_older"),
        (Health, b'{"status": "ok", "version": "9", "colour": "red"}', None),
        (Health, b"{}", "not_dure"),
        (Health, b"<html>", "not_dure"),
        (JobList, b'{"jobs": [{"id": "j-1"}]}', "platform_older"),
    ],
)
def test_an_answer_of_another_version(transport, model, content, code):
    if code is None:
        transport.parsed(model, content)
        return
    with pytest.raises(DureError) as caught:
        transport.parsed(model, content)
    assert caught.value.code == code
