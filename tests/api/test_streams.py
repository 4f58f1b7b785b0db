"""Streams over a real server: order, resumption, slow readers, limits, restarts; with jobs that really run."""

import json
import socket
import sys
import threading
from typing import Any

import httpx
import pytest

from dure.api.streams import Streams
from dure.client import Client, DureError, Login
from dure.client.streams import JobChanged, Output, sse
from dure.wire.messages import JobRequest
from tests.api.plane import Plane, served, token, until

COUNT = "import time\nfor i in range({n}):\n    print('line', i, flush=True)\n    time.sleep({pause})"


def command(code: str, **fields: Any) -> JobRequest:
    return JobRequest(kind="command", name="n", payload={"argv": [sys.executable, "-c", code]}, team="vision", **fields)


def client_of(server, name="alice", **settings) -> Client:
    return Client(Login(server.url, token(name)), lang="en", **settings)


def text_of(items: list[Output | JobChanged]) -> str:
    return "".join(i.message["text"] for i in items if isinstance(i, Output) and i.type == "stream")


def test_a_job_streams_its_output_and_ends_with_its_end(running):
    with client_of(running) as client:
        job = client.submit(command(COUNT.format(n=20, pause=0.01) + "\nprint('\\u2028 두레')"))
        items = list(client.stream(job.id))
    assert text_of(items) == "".join(f"line {i}\n" for i in range(20)) + "\u2028 두레\n"
    phases = [item.job.phase for item in items if isinstance(item, JobChanged)]
    assert phases[-1] == "succeeded"
    assert isinstance(items[-1], JobChanged)
    outputs = [item for item in items if isinstance(item, Output)]
    assert outputs[-1].type == "end"
    assert [item.message["seq"] for item in outputs] == list(range(1, len(outputs) + 1))


def test_a_stream_resumes_after_any_message(running):
    with client_of(running) as client:
        job = client.submit(command(COUNT.format(n=5, pause=0)))
        whole = [item for item in client.stream(job.id) if isinstance(item, Output)]
        for at, item in enumerate(whole):
            rest = [other for other in client.stream(job.id, item.cursor) if isinstance(other, Output)]
            assert [other.cursor for other in rest] == [other.cursor for other in whole[at + 1 :]]


def test_the_query_and_the_header_both_resume(running):
    headers = {"Authorization": f"Bearer {token('alice')}"}
    with client_of(running) as client:
        job = client.submit(command("print('a')"))
        last = [item for item in client.stream(job.id) if isinstance(item, Output)][-1]
    url = f"{running.url}/api/jobs/{job.id}/stream"
    for params, more in (({"cursor": last.cursor}, {}), ({}, {"Last-Event-ID": last.cursor})):
        answer = httpx.get(url, params=params, headers=headers | more, timeout=60)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert [sent.event for sent in sse(iter([answer.content]))] == ["job"]


def test_nothing_is_lost_or_doubled_when_the_control_plane_restarts(tmp_path):
    plane = Plane(tmp_path, executing=True)
    told: list[Any] = []
    try:
        with served(plane.app) as server, client_of(server, progress=told.append) as client:
            job = client.submit(command(COUNT.format(n=60, pause=0.02)))
            items = []
            for item in client.stream(job.id):
                items.append(item)
                if isinstance(item, Output) and item.message["seq"] in {5, 25}:
                    server.stop()
                    threading.Timer(0.3, server.start).start()
    finally:
        plane.close()
    assert text_of(items) == "".join(f"line {i}\n" for i in range(60))
    assert told[0].sentence.startswith("The Dure platform does not answer")
    assert None in told


def test_a_submission_is_repeated_over_a_restart_and_makes_one_job(tmp_path):
    plane = Plane(tmp_path, executing=False)
    try:
        with served(plane.app) as server, client_of(server) as client:
            server.stop()
            threading.Timer(0.5, server.start).start()
            job = client.submit(command("pass"), key="only-once")
            assert client.submit(command("pass"), key="only-once").id == job.id
            assert len(client.jobs().jobs) == 1
            server.stop()
            with pytest.raises(DureError, match="does not answer") as caught, client_of(server, retry_s=0.3) as brief:
                brief.me()
            assert (caught.value.code, caught.value.status) == ("unreachable", 0)
            server.start()
    finally:
        plane.close()


def test_a_reader_that_does_not_read_holds_up_nobody(running):
    with client_of(running) as client:
        job = client.submit(command("for i in range(3000): print('x' * 1000)"))
        stalled = socket.create_connection(("127.0.0.1", running.port))
        request = f"GET /api/jobs/{job.id}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('alice')}\r\n\r\n"
        stalled.sendall(request.encode())
        try:
            items = list(client.stream(job.id))
            assert len(text_of(items)) == 3000 * 1001
        finally:
            stalled.close()
    until(lambda: not running.app.state.streams._open)


def test_a_waiting_job_shows_why_and_a_cancel_ends_the_stream(running):
    with client_of(running) as client:
        blocker = client.submit(command("import time; time.sleep(600)", tier="silver"))
        job = client.submit(command("pass", tier="silver"))
        stream = client.stream(job.id)
        told = next(item.job.verdict for item in stream if isinstance(item, JobChanged) and item.job.verdict)
        assert told.sentence
        client.cancel(job.id)
        assert [item.job.phase for item in stream if isinstance(item, JobChanged)][-1] == "cancelled"
        client.cancel(blocker.id)
        ended = [item.job.phase for item in client.stream(blocker.id) if isinstance(item, JobChanged)]
        assert ended[-1] == "cancelled"


def test_events_stream_from_a_number_and_from_now(running):
    with client_of(running) as client:
        before = client.events(limit=500).last_seq
        job = client.submit(command("pass"))
        list(client.stream(job.id))
        kinds = []
        for event in client.event_stream(before, job.id):
            kinds.append(event.kind)
            assert event.sentence
            if event.kind == "job.succeeded":
                break
        assert kinds[0] == "job.submitted"
        assert "job.running" in kinds
        seen = []
        reader = threading.Thread(target=lambda: seen.append(next(client.event_stream())))
        reader.start()
        until(lambda: running.app.state.streams._open["alice"])
        later: list[str] = []

        def heard() -> bool:  # where it starts is read after it is counted, so the first may come too early for it
            later.append(client.submit(command("pass")).id)
            reader.join(0.5)
            return bool(seen)

        until(heard)
        assert seen[0].subject in later
        assert client.events(after=0, limit=1).events[0].seq == 1


def test_a_person_has_a_bounded_number_of_streams(tmp_path, monkeypatch):
    plane = Plane(tmp_path, executing=False)

    def app():
        made = plane.app()
        made.state.streams = Streams(plane.stream_hints, per_user=2)
        return made

    headers = {"Authorization": f"Bearer {token('alice')}"}
    try:
        with served(app) as server:
            url = f"{server.url}/api/events/stream"
            with (
                httpx.stream("GET", url, headers=headers, timeout=60) as one,
                httpx.stream("GET", url, headers=headers, timeout=60) as two,
            ):
                assert (one.status_code, two.status_code) == (200, 200)
                third = httpx.get(url, headers=headers, timeout=60)
                assert (third.status_code, third.json()["code"]) == (429, "too_many_streams")
                others = {"Authorization": f"Bearer {token('mate')}"}
                with httpx.stream("GET", url, headers=others, timeout=60) as four:
                    assert four.status_code == 200
            until(lambda: not server.app.state.streams._open)
    finally:
        plane.close()


def test_trouble_in_the_middle_of_a_stream_is_its_last_event(running, monkeypatch):
    headers = {"Authorization": f"Bearer {token('alice')}"}
    with client_of(running) as client:
        job = client.submit(command("import time; time.sleep(600)"))
        real = running.plane.queries.job

        def fail(*arguments):
            if arguments[1] == job.id:
                raise RuntimeError("broken")
            return real(*arguments)

        monkeypatch.setattr(running.plane.queries, "job", fail)
        answer = httpx.get(f"{running.url}/api/jobs/{job.id}/stream", headers=headers, timeout=60)
        last = list(sse(iter([answer.content])))[-1]
        assert (last.event, json.loads(last.data)["code"]) == ("problem", "internal_error")
        monkeypatch.undo()
        client.cancel(job.id)


def test_artifacts_are_listed_and_downloaded(running, tmp_path):
    code = (
        "import os\nroot = os.environ['DURE_OUTPUT_DIR']\nos.makedirs(root + '/a b')\n"
        "open(root + '/a b/두레.html', 'w').write('<script>1</script>')"
    )
    with client_of(running) as client:
        job = client.submit(command(code))
        list(client.stream(job.id))
        (artifact,) = client.artifacts(job.id)
        assert artifact.path == "a b/두레.html"
        assert client.save_artifact(job.id, artifact.path, tmp_path / "x" / "y.html") == artifact.size_bytes
        assert (tmp_path / "x" / "y.html").read_text() == "<script>1</script>"
        headers = {"Authorization": f"Bearer {token('alice')}"}
        answer = httpx.get(f"{running.url}/api/jobs/{job.id}/artifacts/{artifact.path}", headers=headers, timeout=60)
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        with pytest.raises(DureError, match="has no artifact"):
            client.artifact(job.id, "etc/passwd")
