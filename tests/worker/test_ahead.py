"""A runner and its user process are forked before their job comes: it starts in them, and their death costs no job."""

import os
import resource
import signal
from pathlib import Path

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


def replace_spare(server, descriptors):
    """Kill the processes that wait, so that the server has to fork anew with this number of descriptors more."""
    pids = waiting(server)
    has = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (has + descriptors, before[1]))
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: not any(map(processes.process, pids)), "the server's notice")
    return before


def test_where_no_process_can_be_forked_ahead_the_server_lives_and_a_job_has_its_own(new_server):
    server = new_server()
    before = replace_spare(server, -1)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
    assert server.cell("print('ran')").result()["status"] == "ok"


def test_a_runner_whose_user_process_cannot_be_forked_ahead_waits_for_its_job_nevertheless(new_server):
    server = new_server()
    before = replace_spare(server, 4)  # enough for a runner's pipe, too few for all that a user process needs

    def waits():
        alone = [processes.process(pid) for pid in processes.tree(server.process.pid) - {server.process.pid}]
        return alone[0] if [one.session == one.pid and one.state == "S" for one in alone if one] == [True] else None

    runner = wait_until(waits, "a runner that waits alone").pid
    for pid in (server.process.pid, runner):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    code = "import os; print(os.getppid(), *sorted(os.listdir('/proc/self/fd'), key=int))"
    attempts = [server.cell(code) for _ in range(2)]
    assert {attempt.result()["status"] for attempt in attempts} == {"ok"}
    (parent, *late), (_, *usual) = (attempt.text().split() for attempt in attempts)
    assert parent == str(runner)
    assert len(late) == len(usual), "nothing of its runner's"


def test_a_folder_for_temporary_files_counts_though_the_server_has_used_another(server, tmp_path):
    code = f"import os, tempfile; os.environ['TMPDIR'] = {str(tmp_path)!r}; print(tempfile.gettempdir())"
    attempt = server.cell(code)
    attempt.result()
    assert attempt.text() == f"{tmp_path}\n"
