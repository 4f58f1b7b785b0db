"""Bad input to a running platform: one clear sentence, nothing queued, nothing left.

What a notebook shows of the same refusals: tests/notebook/test_cells.py; stale logins, taken ports and broken platform
files at the start: tests/main.
"""

from __future__ import annotations

import os
import signal

import pytest

from dure.client import DureError
from dure.worker.processes import read_record
from tests.inputs.conftest import Desk, until


@pytest.mark.parametrize(
    ("asked", "code", "sentence"),
    [
        (
            {"tier": "platinum"},
            "unknown_tier",
            (
                "There is no tier 'platinum' on this platform; there are: bronze, silver, gold. "
                "Use one of them with --tier, or leave it out."
            ),
        ),
        (
            {"environment": "nowhere"},
            "unknown_environment",
            "There is no environment 'nowhere'; there are: default. Use one of them with --env.",
        ),
        (
            {"tier": "gold", "gpus": 99},
            "too_many_gpus",
            "99 GPUs of gold on one node do not exist on this platform; the most is 2. Ask for at most 2.",
        ),
        (
            {"gpus": 1.5},
            "bad_fraction",
            "1.5 is not a possible number of GPUs: use a whole number, or a part of one such as 0.5 (steps of 0.001).",
        ),
    ],
)
def test_what_does_not_exist_is_refused_and_nothing_is_queued(desk: Desk, asked, code, sentence):
    before = desk.jobs()
    with pytest.raises(DureError) as caught:
        desk.submit("true", **asked)
    assert (caught.value.code, str(caught.value)) == (code, sentence)
    assert desk.jobs() == before


def test_a_gigabyte_of_output_takes_little_disk_and_its_place_is_marked(desk: Desk):
    job = desk.submit(
        "sh", "-c", "head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo the end; echo kept > $DURE_OUTPUT_DIR/result"
    )
    assert desk.end(job).phase == "succeeded"
    on_disk = sum(path.stat().st_size for path in desk.attempt(job).rglob("*") if path.is_file())
    assert on_disk < 24 * 1024 * 1024
    messages = list(until(lambda: _whole_output(desk, job), "the whole output"))
    kinds = [message["type"] for message in messages]
    assert kinds.count("cut") == 1
    assert kinds[-2:] == ["cut", "end"]
    assert messages[-1]["tail"]["stdout"].endswith("the end\n")
    assert messages[-1]["dropped_bytes"] > 900_000_000
    assert desk.client.artifact(job, "result") == b"kept\n"
    desk.unharmed(job)


def _whole_output(desk: Desk, job: str) -> list[dict]:
    messages, cursor = [], None
    while True:
        page = desk.client.output(job, cursor)
        messages += page.messages
        cursor = page.cursor
        if page.done:
            return messages
        if not page.messages:
            return []


def test_a_time_limit_ends_all_of_the_job(desk: Desk):
    job = desk.submit("sh", "-c", "trap '' TERM; setsid sleep 600 & sleep 600", timeout_s=0.5)
    ended = desk.end(job)
    assert (ended.phase, ended.reason) == ("failed", "Timeout")
    assert ended.reason_sentence == "It was stopped at its time limit of 0.5 s: use a longer --timeout."
    desk.unharmed(job)


def test_a_memory_limit_ends_all_of_the_job(desk: Desk):
    code = "held = []\nwhile True: held.append(b'x' * 10_000_000)"
    job = desk.submit("python3", "-c", code, memory_bytes=300_000_000)
    ended = desk.end(job)
    assert (ended.phase, ended.reason) == ("failed", "OutOfMemory")
    assert str(ended.reason_sentence).startswith("It needed more memory than its limit of 0.3 GB")
    desk.unharmed(job)


def test_a_killed_worker_is_told_and_its_gpu_is_free(desk: Desk):
    job = desk.submit("sh", "-c", "setsid sleep 600 & sleep 600")
    desk.phase(job, "running")
    os.kill(read_record(desk.attempt(job) / "runner.json")["pid"], signal.SIGKILL)
    ended = desk.end(job)
    assert (ended.phase, ended.reason) == ("failed", "WorkerLost")
    assert ended.reason_sentence == (
        "Its worker was lost, so it is unknown how far it came: submit it again, or use --retries."
    )
    desk.unharmed(job)


def test_a_killed_program_is_told_and_what_it_printed_is_kept(desk: Desk):
    job = desk.submit("sh", "-c", "echo before; kill -9 $$")
    ended = desk.end(job)
    assert ended.phase == "failed"
    assert ended.reason in {"Killed", "ExitCode"}
    assert any(message.get("text") == "before\n" for message in _whole_output(desk, job))
    desk.unharmed(job)


def test_a_program_that_is_not_there_is_told(desk: Desk):
    job = desk.submit("no-such-program-here")
    ended = desk.end(job)
    assert ended.phase == "failed"
    text = str(_whole_output(desk, job))
    assert "no-such-program-here" in text
    desk.unharmed(job)


def test_a_broken_edit_of_the_platform_file_keeps_the_old_one_and_says_why(desk: Desk):
    path = desk.platform.state_dir / "platform.yaml"
    good = path.read_text()
    running = desk.submit("sh", "-c", "sleep 600")
    desk.phase(running, "running")
    path.write_text(good.replace("tier: gold", "tier: glod") + "\nunknown: 1\n")

    def refused() -> str | None:
        return next((notice for notice in desk.client.platform().notices if "glod" in notice), None)

    told = until(refused, "the edit to be refused")
    assert "unknown" in told, "all errors at once"
    assert "platform.yaml" in told
    assert "line" in told or ":" in told
    assert desk.client.job(running).phase == "running"
    assert desk.end(desk.submit("true", tier="gold")).phase == "succeeded"
    path.write_text(good)
    until(lambda: refused() is None, "the good file to be taken")
    desk.client.cancel(running)
    assert desk.end(running).phase == "cancelled"
    desk.unharmed(running)
