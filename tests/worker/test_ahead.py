"""A runner and its user process are forked before their job comes: it starts in them, and their death costs no job."""

import os
import signal

import pytest

from dure.worker import processes
from tests.worker.conftest import running, wait_until


def waiting(server):
    """Pids of the runner that has no attempt, and of its user process."""

    def found():
        runners = [one.pid for one in processes.table().values() if one.ppid == server.process.pid]
        pids = [*runners, *processes.descendants(runners, processes.table())]
        return pids if len(runners) == 1 and len(pids) == 2 else None

    return wait_until(found, "a runner and a user process that wait")


def test_a_job_starts_in_the_processes_that_waited_for_it(new_server):
    server = new_server()
    runner, user = waiting(server)
    attempt = server.cell("import os; print(os.getpid(), os.getppid())")
    assert attempt.result()["status"] == "ok"
    assert attempt.text() == f"{user} {runner}\n"
    assert not {runner, user} & set(waiting(server))


@pytest.mark.parametrize("victim", [0, 1], ids=["runner", "user process"])
def test_a_process_that_is_killed_while_it_waits_costs_no_job(new_server, victim):
    server = new_server()
    pids = waiting(server)
    os.kill(server.process.pid, signal.SIGSTOP)  # so that it cannot know of the death before the job comes
    os.kill(pids[victim], signal.SIGKILL)
    wait_until(lambda: not running(pids[1]), "the end")
    os.kill(server.process.pid, signal.SIGCONT)
    assert server.cell("print('ran')").result()["status"] == "ok"


@pytest.mark.parametrize("end", ["exit", "retire", "kill"])
def test_nobody_waits_any_more_when_the_server_goes(new_server, end):
    server = new_server()
    pids = waiting(server)
    if end == "kill":
        server.process.kill()
    else:
        server.request(op=end)
    server.process.wait(30)
    wait_until(lambda: not any(map(running, pids)), "the end of all processes")


def test_jobs_that_come_at_once_each_have_processes_of_their_own(new_server):
    server = new_server()
    waiting(server)
    attempts = [server.cell("import os; print(os.getpid(), os.urandom(4).hex())") for _ in range(4)]
    assert {attempt.result()["status"] for attempt in attempts} == {"ok"}
    assert len({attempt.text().split()[0] for attempt in attempts}) == 4
