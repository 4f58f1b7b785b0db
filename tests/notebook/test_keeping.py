"""`--keep`: the next cell runs in the process of the last one, on what the notebook holds now."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.measuring import running

from dure.client import Client, DureError
from dure.client.config import Login
from dure.client.options import JobOptions
from dure.notebook import keeping
from dure.state import Blobs, capture
from dure.wire.messages import JobView, NextCell
from tests.notebook.conftest import DEADLINE_S, NotebookKernel

KEEP = "%%gpu --tier silver --keep 10m --no-burst\n"
NEXT = "%%gpu --tier silver --no-burst\n"
SILVER = {"tier": "silver"}


@pytest.fixture
def client(platform: running.Running) -> Iterator[Client]:
    with Client(Login(platform.url, platform.token), lang="en") as found:
        yield found


@pytest.fixture
def freed(kernel: NotebookKernel) -> Iterator[None]:
    """However the test goes, the platform's only silver GPU is free after it."""
    yield
    kernel.run("%gpu free")


def job_of(line: str) -> str:
    return line.split(maxsplit=1)[0].rstrip(":")


def wait_for(client: Client, job: str, *phases: str) -> JobView:
    deadline = time.monotonic() + DEADLINE_S
    while (found := client.job(job)).phase not in phases:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.mark.usefixtures("freed")
def test_the_next_cell_runs_in_the_kept_process(kernel: NotebookKernel, client: Client):
    first = kernel.run(KEEP + "import os\npid = os.getpid()\ndata = [1]\nopened = open('/dev/null')")
    assert first.ok, first.traceback
    line = first.lines[-1]
    assert "GPU kept until" in line
    assert "costs go on" in line
    assert "`%gpu free`" in line
    job = job_of(line)
    assert client.job(job).phase == "running"
    assert [g.free for g in client.queue().gpus if g.tier == "silver"] == [0.0]
    second = kernel.run(KEEP + "data.append(2)\nsame = os.getpid() == pid\nopened.closed, data")
    assert second.ok, second.traceback
    assert second.result == "(False, [1, 2])"
    assert job_of(second.lines[-1]) == job
    assert kernel.value("same, data") == "(True, [1, 2])"
    freed = kernel.run("%gpu free")
    assert "GPU freed" in freed.stream()
    ended = client.job(job)
    assert ended.phase == "succeeded"
    assert ended.lease is not None
    assert ended.began_at is not None
    assert ended.ended_at is not None
    assert ended.ran_s == pytest.approx(ended.ended_at - ended.began_at)
    assert [g.free for g in client.queue().gpus if g.tier == "silver"] == [1.0]
    assert "keeps no GPU" in kernel.run("%gpu free").stream()


@pytest.mark.usefixtures("freed")
def test_what_the_notebook_changed_in_between_is_what_the_cell_sees(kernel: NotebookKernel):
    assert kernel.run(KEEP + "import numpy as np\narray = np.zeros(3)\ntext = 'a'\nstays = [1]\nwho = id(stays)").ok
    assert kernel.run("array[1] = 5\ntext = 'b'\ndef shown(): return text + suffix\nsuffix = '!'").ok
    second = kernel.run(KEEP + "print(array.tolist(), shown(), id(stays) == who)\narray += 1")
    assert second.ok, second.traceback
    assert second.stream() == "[0.0, 5.0, 0.0] b! True\n"
    assert kernel.value("array.tolist()") == "[1.0, 6.0, 1.0]"
    assert kernel.run("suffix = '?'\ndel text").ok
    third = kernel.run(KEEP + "print(eval('suf' + 'fix'), array.sum())\nshown()")
    assert third.stream() == "? 8.0\n"
    assert third.error is not None
    assert third.error["ename"] == "NameError"


@pytest.mark.usefixtures("freed")
def test_a_failed_cell_commits_nothing_and_the_process_stays(kernel: NotebookKernel):
    assert kernel.run(KEEP + "import os\npid, numbers = os.getpid(), [1]").ok
    failed = kernel.run(KEEP + "numbers.append(2)\n1 / 0")
    assert not failed.ok
    assert failed.error is not None
    assert failed.error["ename"] == "ZeroDivisionError"
    assert "GPU kept until" in failed.lines[-1]
    assert "Nothing in the notebook was changed" in failed.lines[-1]
    assert kernel.value("numbers") == "[1]"
    again = kernel.run(KEEP + "print(numbers, os.getpid() == pid)")
    assert again.stream() == "[1] True\n"


@pytest.mark.usefixtures("freed")
def test_what_a_failed_cell_left_does_not_replace_what_the_notebook_made(kernel: NotebookKernel):
    assert not kernel.run(KEEP + "made = 'there'\n1 / 0").ok
    assert kernel.run("made = 'here'").ok
    assert kernel.run(KEEP + "print(eval('ma' + 'de'))").stream() == "here\n"
    assert kernel.value("made") == "'here'"


@pytest.mark.usefixtures("freed")
def test_a_cell_without_keep_uses_the_process_and_frees_the_gpu(kernel: NotebookKernel, client: Client):
    first = kernel.run(KEEP + "import os\npid = os.getpid()")
    second = kernel.run(NEXT + "os.getpid() == pid")
    assert second.result == "True"
    assert "GPU freed" in second.lines[-1]
    assert "has ended with it" in second.lines[-1]
    assert client.job(job_of(first.lines[-1])).phase == "succeeded"


@pytest.mark.usefixtures("freed")
def test_a_cell_queues_when_the_kept_process_is_gone(kernel: NotebookKernel, client: Client):
    first = kernel.run(KEEP + "import os\npid, numbers = os.getpid(), [3]")
    job = job_of(first.lines[-1])
    client.cancel(job)
    assert wait_for(client, job, "succeeded").goal == "cancel"
    second = kernel.run(NEXT + "print(numbers, os.getpid() == pid)")
    assert second.ok, second.traceback
    assert second.stream() == "[3] False\n"
    assert job_of(second.lines[-1]) != job


def test_a_cell_after_a_kept_process_was_killed_runs_as_a_job_of_its_own_and_says_so(
    kernel: NotebookKernel, client: Client
):
    first = kernel.run(KEEP + "import os\nstate = {'a': 1}\npid = os.getpid()")
    job = job_of(first.lines[-1])
    os.kill(int(kernel.value("pid") or 0), signal.SIGKILL)
    wait_for(client, job, "succeeded")
    second = kernel.run(NEXT + "state['a'] += 1\nos.getpid() == pid")
    assert second.ok, second.traceback
    assert second.result == "False"
    assert f"The kept process of {job} had ended" in second.lines[-1]
    assert kernel.value("state") == "{'a': 2}"


def test_a_job_that_is_not_kept_refuses_a_next_cell(kernel: NotebookKernel, client: Client, home: Path):
    gate = home / "gate-kept"
    cell = kernel.start(
        f"{NEXT}import os, time\nprint('on')\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    )
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    with pytest.raises(DureError) as refused:
        client.next_cell(job_of(cell.shown.lines[-1]), NextCell(code="1"), "k1")
    assert (refused.value.code, refused.value.status) == ("not_running", 409)
    gate.touch()
    assert cell.wait().ok


@pytest.mark.usefixtures("freed")
def test_an_interrupt_ends_the_cell_and_not_the_process(kernel: NotebookKernel):
    assert kernel.run(KEEP + "import os, time\npid = os.getpid()").ok
    cell = kernel.start(KEEP + "print('on')\ntime.sleep(600)")
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    shown = cell.wait()
    assert shown.error is not None
    assert "KeyboardInterrupt" in shown.traceback
    assert "GPU kept until" in shown.lines[-1]
    assert " cancelled · " in shown.lines[-1], "as of a process that is not kept"
    assert kernel.run(KEEP + "print(os.getpid() == pid)").stream() == "True\n"


@pytest.mark.usefixtures("freed")
def test_other_options_queue_and_leave_the_kept_process(kernel: NotebookKernel):
    first = kernel.run(KEEP + "a = 1")
    other = kernel.run("%%gpu --tier bronze\nprint(a)")
    assert other.stream() == "1\n"
    assert "does not fit" in other.stream("stderr")
    assert job_of(other.lines[-1]) != job_of(first.lines[-1])
    assert "GPU freed" in kernel.run("%gpu free").stream()


@pytest.mark.usefixtures("freed")
def test_input_and_output_of_the_next_cell_are_its_own(kernel: NotebookKernel):
    assert kernel.run(KEEP + "print('first')").stream() == "first\n"
    second = kernel.run(KEEP + "print(input('Who? '))\n'last'", "Ada")
    assert second.stream() == "Ada\n"
    assert second.result == "'last'"


def test_a_kept_job_can_be_attached_to_without_waiting_for_its_end(new_kernel: Callable[..., NotebookKernel]):
    here, there = new_kernel("kept.ipynb"), new_kernel("kept.ipynb")
    job = job_of(here.run(KEEP + "print('said')\nvalue = 4").lines[-1])
    shown = there.run(f"%gpu attach {job}")
    assert shown.stream() == "said\n"
    assert there.value("value") == "4"
    assert "GPU freed" in here.run("%gpu free").stream()


def test_the_end_of_a_kernel_frees_its_gpu(new_kernel: Callable[..., NotebookKernel], client: Client):
    kernel = new_kernel("short.ipynb")
    job = job_of(kernel.run(KEEP + "a = 1").lines[-1])
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=False)
    assert wait_for(client, job, "succeeded").goal == "run"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--keep 2h", "at most 1h"),
        ("--keep 5m --retries 2", "without --retries"),
        ("--keep 5m --detach", "do not go together"),
    ],
)
def test_what_cannot_be_kept_is_one_sentence(kernel: NotebookKernel, line: str, sentence: str):
    shown = kernel.run(f"%%gpu {line}\n1")
    assert sentence in shown.traceback
    assert len(shown.traceback.splitlines()) == 1


def test_only_what_differs_from_what_is_held_is_sent(blobs: Blobs):
    namespace: dict[str, Any] = {"a": [1], "b": {"x": [2]}, "left": 1}
    namespace["inner"] = namespace["b"]["x"]
    held = capture(namespace, ["a", "b", "inner", "left"], blobs=blobs).store(blobs)
    namespace |= {"a": [1], "new": 5}
    wanted = capture(namespace, ["a", "b"], blobs=blobs).store(blobs)
    assert keeping._difference(held, wanted, namespace, blobs) == (None, {"a", "b", "inner"})
    namespace["inner"].append(3)
    wanted = capture(namespace, ["a", "b", "new"], blobs=blobs).store(blobs)
    digest, names = keeping._difference(held, wanted, namespace, blobs)
    assert names == {"a", "b", "inner", "new"}
    assert keeping._held(digest, blobs).names == ("b", "inner", "new")
    everything = keeping._difference("0" * 64, wanted, namespace, blobs)
    assert everything == (wanted, {"a", "b", "new"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"tier": "gold", "env": "default", "team": "vision", "timeout_s": 60}, True),
        ({"tier": "silver"}, False),
        ({"gpus": 2}, False),
        ({"env": "torch"}, False),
        ({"team": "speech"}, False),
        ({"data": "secret"}, False),
        ({"timeout_s": 7200}, False),
        ({"retries": 1}, False),
        ({"burst": False}, False),
        ({"budget": "strict"}, False),
    ],
)
def test_which_cells_fit_a_kept_process(options: dict[str, object], expected: bool):
    lease = {
        "cluster": "cloud", "cluster_kind": "public", "node": "n", "tier": "gold", "gpus": [0], "share": 1,
        "price_per_gpu_hour": 4, "simulated": True,
    }  # fmt: skip
    job = JobView.model_validate({
        "id": "j-1", "name": "n", "kind": "cell", "user": "a", "team": "vision", "phase": "running", "goal": "run",
        "attempt": 1, "tier": "gold", "gpus": 1, "priority": "normal", "environment": "default", "budget": "flex",
        "burst": True, "data": "open", "deadline_at": None, "timeout_s": 3600, "submitted_at": 0, "admitted_at": 0,
        "began_at": 0, "ended_at": None, "waited_s": 0, "ran_s": 0, "cost": 0, "currency": "USD", "lease": lease,
    })  # fmt: skip
    kept = keeping.Kept(job, "http://here", "1.1", 0.0, None)
    assert keeping.fits(kept, JobOptions(**options)) is expected  # type: ignore[arg-type]


def test_a_kept_process_is_shown_as_idle_and_each_of_its_cells_is_an_event(
    new_kernel: Callable[..., NotebookKernel], home: Path
):
    kernel = new_kernel("shown.ipynb")
    assert kernel.run("%%gpu --keep 5m\nfirst = 1").ok
    assert kernel.run(
        "import dure.notebook.context as s, time\nclient = s.client()\njob = client.jobs(limit=1).jobs[0].id"
    ).ok
    wait = "while client.job(job).kept_since is None: time.sleep(0.02)"
    assert kernel.run(wait).ok
    assert "kept, idle since" in kernel.run("%gpu status").stream() + str(kernel.run("%gpu status").messages)
    assert kernel.run("%%gpu --keep 5m\nsecond = first + 1").ok
    assert kernel.run(wait).ok
    shown = kernel.run("[event.kind for event in client.why(job).events if event.kind in {'job.kept', 'job.resumed'}]")
    assert shown.result is not None
    assert shown.result.count("job.kept") == 2
    assert kernel.run("%gpu free").ok
    assert kernel.value("client.job(job).kept_since is None") == "True"


def test_what_only_the_kept_process_had_is_saved_when_it_ends(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("left.ipynb")
    assert not kernel.run("%%gpu --keep 5m\nweights = [1, 2, 3]\n1 / 0").ok
    assert kernel.value("'weights' in dir()") == "False"
    freed = kernel.run("%gpu free").stream()
    assert "Only its process had weights" in freed
    assert kernel.run("import dure.notebook.context as s\njob = s.client().jobs(limit=1).jobs[0].id").ok
    shown = kernel.run("%gpu attach {job}")
    assert "Brought what only the kept process had: weights" in shown.stream("stderr")
    assert "Nothing in the notebook was changed" not in shown.lines[-1]
    assert kernel.value("weights") == "[1, 2, 3]"
