"""How attempts end: by signals, by the sudden death of any process, and with nothing left over."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from dure.worker import processes
from tests.worker.conftest import STUBBORN, gone, wait_until

# --- signals ---------------------------------------------------------------------------------------------------------


def test_interrupt_reaches_the_cell_and_its_children(server):
    attempt = server.cell("import subprocess\nprint('go')\nx = 1\nsubprocess.run(['sleep', '600'])")
    attempt.wait_text("go")
    wait_until(lambda: processes.descendants([attempt.user_pid()], processes.table()))
    assert attempt.send(op="interrupt", id="i1")["ok"]
    assert attempt.send(op="interrupt", id="i1")["again"]  # a repeated delivery is no second interrupt
    result = attempt.result()
    assert (result["status"], result["snapshot"]) == ("interrupted", None)
    assert attempt.of_type("error")[0]["ename"] == "KeyboardInterrupt"
    gone(attempt)


@pytest.mark.parametrize("wait", ["import asyncio; await asyncio.sleep(600)", "input()", "%%bash sleep 600"])
def test_interrupt_ends_every_kind_of_waiting(server, wait):
    code = "%%bash\necho go; sleep 600" if "bash" in wait else f"print('go')\n{wait}"
    attempt = server.cell(code)
    attempt.wait_text("go")
    if "input" in wait:
        attempt.wait_message("input_request")
    attempt.send(op="interrupt")
    assert attempt.result()["status"] in ({"error", "interrupted"} if "bash" in wait else {"interrupted"})
    gone(attempt)


def test_interrupt_ends_a_shell_line_and_the_cell_goes_on_as_in_jupyter(server):
    attempt = server.cell("print('go')\n!sleep 600\nprint('after')")
    attempt.wait_text("go")
    wait_until(lambda: processes.descendants([attempt.user_pid()], processes.table()))
    attempt.send(op="interrupt")
    attempt.result()
    gone(attempt)


def test_interrupting_while_much_is_printed_breaks_nothing(server):
    code = "import sys\nprint('go')\nwhile True:\n    print('x'); print('y', file=sys.stderr); display(1)"
    for _ in range(5):
        attempt = server.cell(code)
        attempt.wait_text("go")
        attempt.send(op="interrupt")
        assert attempt.result()["status"] == "interrupted"
        assert attempt.of_type("error")[0]["ename"] == "KeyboardInterrupt"


def test_a_second_interrupt_kills(server):
    attempt = server.cell(STUBBORN)
    attempt.wait_text("go")
    attempt.send(op="interrupt")
    attempt.wait_text("no")
    attempt.send(op="interrupt")
    result = attempt.result()
    assert result["status"] == "interrupted"
    assert "twice" in result["error"]["evalue"]


def test_stop_lets_the_program_finish_within_its_grace(server):
    script = "trap 'echo saved; exit 0' TERM; echo go; while true; do sleep 0.05; done"
    attempt = server.command("bash", "-c", script)
    attempt.wait_text("go")
    attempt.send(op="stop", grace_s=30)
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("killed", 0)
    assert "saved" in attempt.text()


def test_stop_kills_after_its_grace(server):
    attempt = server.command("bash", "-c", "trap '' TERM; echo go; while true; do sleep 0.05; done")
    attempt.wait_text("go")
    attempt.send(op="stop", grace_s=0.2)
    assert attempt.result()["status"] == "killed"
    gone(attempt)


def test_kill(server):
    attempt = server.cell("print('go')\nimport time\ntime.sleep(600)")
    attempt.wait_text("go")
    attempt.send(op="kill")
    assert attempt.result()["status"] == "killed"


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        open(sys.argv[1], 'w').write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
"""


def test_daemons_are_ended_with_the_job(server, tmp_path):
    note = tmp_path / "pid"
    code = f"""
import subprocess, sys, time, os
subprocess.run([sys.executable, '-c', {DAEMON!r}, {str(note)!r}])
subprocess.Popen(['setsid', 'nohup', 'sleep', '600'], stdout=subprocess.DEVNULL)
while not (os.path.exists({str(note)!r}) and open({str(note)!r}).read()): time.sleep(0.01)
"""
    attempt = server.cell(code)
    assert attempt.result()["status"] == "ok"
    gone(attempt, int(note.read_text()))


# --- sudden deaths ---------------------------------------------------------------------------------------------------

FORKED_DAEMON = f"""
import os, sys, time
sys.argv = ['', NOTE]
{DAEMON.strip()}
while not (os.path.exists(NOTE) and open(NOTE).read()): time.sleep(0.01)
print('go')
time.sleep(600)
"""


def test_jobs_outlive_the_fork_server(new_server):
    server = new_server()
    attempt = server.cell("input()\nx = 5")
    attempt.wait_message("input_request")
    server.process.kill()
    server.process.wait()
    attempt.send(op="stdin", text="")
    assert attempt.result()["status"] == "ok"
    assert attempt.values()["x"] == 5


def test_a_killed_runner_takes_all_with_it(server, tmp_path):
    note = tmp_path / "pid"
    attempt = server.cell(FORKED_DAEMON.replace("NOTE", repr(str(note))))
    attempt.wait_text("go")
    user = attempt.user_pid()
    os.kill(json.loads((attempt.folder / "runner.json").read_text())["pid"], signal.SIGKILL)
    gone(attempt, user, int(note.read_text()))
    assert not attempt.ended()


def test_sweep_finds_what_is_left_when_fork_server_and_runner_are_dead(new_server, tmp_path):
    server = new_server()
    note = tmp_path / "pid"
    attempt = server.cell(FORKED_DAEMON.replace("NOTE", repr(str(note))))
    attempt.wait_text("go")
    assert processes.sweep(attempt.folder) == []  # its runner lives and looks after it
    server.process.kill()
    server.process.wait()
    os.kill(json.loads((attempt.folder / "runner.json").read_text())["pid"], signal.SIGKILL)
    daemon = int(note.read_text())
    wait_until(lambda: not processes.runner_alive(attempt.folder))
    assert processes.process(daemon)
    assert daemon in processes.sweep(attempt.folder)
    gone(attempt, daemon, attempt.user_pid())


def test_sweep_removes_no_cgroup_of_an_attempt_whose_number_begins_alike(tmp_path):
    folder = tmp_path / "job.1"
    folder.mkdir()
    groups = [tmp_path / name for name in ("dure-job.1-0", "dure-job.1-1", "dure-job.10", "x-job.1")]
    for group in groups:
        group.mkdir()
    first, *others = ({"cgroup": str(group)} for group in groups)
    (folder / processes.PROCESSES_FILE).write_text(json.dumps({**first, "others": others}))
    assert processes.sweep(folder) == []
    assert [group.exists() for group in groups] == [False, False, True, True]


def test_sweep_may_end_a_living_runner(server):
    attempt = server.cell("print('go')\nimport time\ntime.sleep(600)")
    attempt.wait_text("go")
    assert processes.sweep(attempt.folder, runner_too=True)
    gone(attempt)


def test_a_killed_user_process_is_told(server):
    attempt = server.cell("print('go')\nimport time\ntime.sleep(600)")
    attempt.wait_text("go")
    os.kill(attempt.user_pid(), signal.SIGKILL)
    result = attempt.result()
    assert result["status"] == "killed"
    assert "memory" in result["error"]["evalue"]


def claim_for_nobody(claim):
    with contextlib.suppress(FileExistsError):
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


@pytest.mark.parametrize("victim", ["server", "runner", "user"])
def test_death_at_any_moment_leaves_an_end_or_nothing_running(new_server, victim):
    dice = random.Random(victim)
    for _ in range(6):
        server = new_server()
        attempt = server.make("cell", {"code": "import subprocess\nsubprocess.run(['sleep', '0.03'])\nx = 1"})
        server.request(op="start", folder=str(attempt.folder))
        time.sleep(dice.random() * 0.08)
        if victim == "server":
            pid = server.process.pid
        elif victim == "runner":
            pid = processes.read_record(attempt.folder / "runner.json").get("pid", 0)
        else:
            pid = processes.read_record(attempt.folder / "processes.json").get("user_pid", 0)
        if pid:
            processes.kill(pid)
        claim = attempt.folder / "runner.json"
        if victim == "server":
            claim_for_nobody(claim)  # as the executor does: a runner that was just forked must not begin any more
        wait_until(claim.exists, "a claim")
        wait_until(functools.partial(lambda folder: not processes.runner_alive(folder), attempt.folder))
        if victim != "runner" and claim.read_bytes():
            assert attempt.result()["status"] in {"ok", "killed"}
        processes.sweep(attempt.folder)
        gone(attempt)


def test_an_interrupt_that_python_drops_strikes_again_however_busy_the_machine_is():
    """The one that strikes again came while the first was being dropped still, and was dropped with it."""
    program = """
import os, signal, threading, time
from dure.worker.channel import Interrupts

Interrupts().install()
start = threading.Thread.start
threading.Thread.start = lambda thread: (start(thread), time.sleep(0.1))

class Drops:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

try:
    Drops()
    time.sleep(60)
except KeyboardInterrupt:
    print("heard")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=90)
    assert done.stdout == "heard\n", done.stderr
