"""What surrounds a job: its claim, environment, limits, signals, output bounds, artifacts, and no process left over."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import resource
import signal
import socket
import stat
import subprocess
import time
import zipfile

import pytest

from dure.state import open_blobs
from dure.worker import processes
from dure.worker.command import unpack
from dure.worker.forkserver import ALREADY_SERVED
from dure.worker.spec import SpecError
from tests.worker.conftest import leftovers, wait_until


def value_of(attempt):
    assert attempt.result()["status"] == "ok", attempt.messages()
    return attempt.of_type("execute_result")[0]["data"]["text/plain"]


def running(pid):
    found = processes.process(pid)
    return found is not None and found.state not in "ZX"


def gone(attempt, *pids):
    wait_until(lambda: not any(running(pid) for pid in pids), "the end of all processes")
    assert leftovers(attempt) == []


STUBBORN = """
import time
print('go')
while True:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        print('no')
"""


# --- starting --------------------------------------------------------------------------------------------------------


def test_starting_twice_starts_once(server):
    attempt = server.make("cell", {"code": "print('once')\ninput()"})
    first = server.request(op="start", folder=str(attempt.folder))
    second = server.request(op="start", folder=str(attempt.folder))
    assert first["ok"]
    assert second["ok"]
    attempt.wait_message("input_request")
    third = server.request(op="start", folder=str(attempt.folder))
    assert third["again"] is True
    assert third["pid"] in {first["pid"], second["pid"]}  # whichever claimed the attempt; the other ended at once
    attempt.send(op="stdin", text="")
    attempt.result()
    assert attempt.text() == "once\n"
    assert server.request(op="start", folder=str(attempt.folder))["again"] is True


def test_stopping_before_user_code_begins(server):
    asks_beforehand = "print('never')\ntable.query('a > @x')"
    attempt = server.cell(asks_beforehand, payload={"provide_timeout_s": 60})
    attempt.wait_message("need")
    assert attempt.send(op="stop", grace_s=30)["ok"]
    assert attempt.result()["status"] == "killed"
    assert not (attempt.folder / "started").exists()
    assert attempt.text() == ""


def test_attempt_folders_may_lie_deeper_than_a_socket_path_reaches(server, tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    attempt = server.make("cell", {"code": "input()"})
    attempt.folder = attempt.folder.rename(deep / attempt.folder.name)
    server.start(attempt)
    attempt.wait_message("input_request")
    assert attempt.send(op="stdin", text="x")["ok"]
    assert attempt.result()["status"] == "ok"


def test_hello_tells_what_the_server_is(new_server):
    server = new_server("--preimport", "json,dure_no_such_module", "--environment", "torch")
    assert server.hello["environment"] == "torch"
    assert server.hello["preimported"] == ["json"]
    assert "ModuleNotFoundError" in server.hello["failed"]["dure_no_such_module"]
    assert server.hello["fingerprint"]["python"].startswith("3.")
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
    assert server.request(op="sing")["ok"] is False
    assert server.request(op="start", folder="/nowhere")["ok"] is False


def test_a_second_server_on_the_same_socket_refuses(server):
    command = [server.process.args[0], "-m", "dure.worker.forkserver", "--socket", str(server.socket)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == ALREADY_SERVED
    assert "already listens" in second.stderr
    assert server.request(op="hello")["ok"]


def test_exit_and_idle_timeout_end_the_server(new_server):
    server = new_server()
    assert server.request(op="exit")["ok"]
    assert server.process.wait(30) == 0
    assert not server.socket.exists()
    assert new_server("--idle-timeout", "0.2").process.wait(30) == 0


def test_notify_sends_hints(server, tmp_path):
    hints = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hints.settimeout(30)
    hints.bind(str(tmp_path / "n.sock"))
    attempt = server.cell("print(1)", notify=str(tmp_path / "n.sock"))
    seen = []
    while "ended" not in seen:
        hint = json.loads(hints.recv(1000))
        assert (hint["job"], hint["attempt"]) == (attempt.spec["job"], 1)
        seen.append(hint["what"])
    assert seen[0] == "started"
    assert "output" in seen
    hints.close()


# --- environment -----------------------------------------------------------------------------------------------------


def test_the_environment_is_scrubbed(server):
    attempt = server.cell("import os; dict(os.environ)", env={"MY": "own", "DURE_JOB": "forged"})
    found = eval(value_of(attempt))
    assert "JUPYTERHUB_API_TOKEN" not in found
    assert "DURE_TOKEN" not in found
    assert "secret" not in " ".join(found.values())
    assert (found["MY"], found["DURE_JOB"], found["DURE_ATTEMPT"]) == ("own", attempt.spec["job"], "1")
    assert (found["DURE_TIER"], found["DURE_CLUSTER"], found["DURE_NODE"], found["DURE_GPUS"]) == (
        "gold", "lab", "node-1", "3",
    )  # fmt: skip
    assert (found["CUDA_VISIBLE_DEVICES"], found["DURE_SIMULATED"]) == ("", "1")
    assert found["DURE_OUTPUT_DIR"] == str(attempt.folder / "output")


def test_neither_c_nor_proc_show_the_servers_environment(server):
    code = """
import ctypes, os, subprocess
libc = ctypes.CDLL(None); libc.getenv.restype = ctypes.c_char_p
(libc.getenv(b'DURE_TOKEN'), libc.getenv(b'DURE_TIER'), open('/proc/self/environ').read(),
 open(f'/proc/{os.getppid()}/environ').read(), subprocess.run(['env'], capture_output=True, text=True).stdout)
"""
    token, tier, own, runner, child = eval(value_of(server.cell(code)))
    assert (token, tier) == (None, b"gold")
    assert "secret" not in own + runner + child
    assert "DURE_JOB=" in own


def test_real_gpus_are_given_by_uuid_and_shares_by_mps(server):
    gpu = {"index": 1, "uuid": "GPU-abc", "share": 0.5, "memory_bytes": 16 * 2**30, "sharing": "mps"}
    attempt = server.cell("import os; dict(os.environ)", simulated=False, gpus=[gpu])
    found = eval(value_of(attempt))
    assert found["CUDA_VISIBLE_DEVICES"] == "GPU-abc"
    assert "DURE_SIMULATED" not in found
    assert found["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50"
    assert found["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=8192M"
    assert found["CUDA_MPS_PIPE_DIRECTORY"]


def test_shares_that_take_turns_are_not_told_of_mps(server):
    gpu = {"index": 1, "uuid": "GPU-abc", "share": 0.5, "memory_bytes": 16 * 2**30, "sharing": "time-slice"}
    found = eval(value_of(server.cell("import os; dict(os.environ)", simulated=False, gpus=[gpu])))
    assert found["CUDA_VISIBLE_DEVICES"] == "GPU-abc"
    assert not [name for name in found if "MPS" in name]


def test_umask_and_folder(server, tmp_path):
    code = "import os; open('made', 'w').close(); (os.getcwd(), oct(os.stat('made').st_mode & 0o777))"
    assert eval(value_of(server.cell(code, umask="027", cwd=str(tmp_path)))) == (str(tmp_path), "0o640")
    attempt = server.cell(code)
    assert eval(value_of(attempt)) == (str(attempt.folder / "work"), "0o600")
    attempt = server.cell(code, payload={"kernel_cwd": "/no/such/folder"})
    assert eval(value_of(attempt))[0] == str(attempt.folder / "work")
    assert "/no/such/folder" in attempt.text("stderr")
    attempt = server.cell(code, cwd="/no/such/folder")
    assert "/no/such/folder" in attempt.result()["error"]["evalue"]
    assert not (attempt.folder / "started").exists()


def test_the_folder_in_which_the_server_was_started_is_no_place_for_modules(new_server, tmp_path):
    (tmp_path / "json5x.py").write_text("")
    server = new_server("--preimport", "json5x", cwd=tmp_path)
    assert "json5x" in server.hello["failed"]
    attempt = server.cell("import sys; sys.path")
    assert str(tmp_path) not in eval(value_of(attempt))


def test_modules_beside_the_notebook_can_be_imported(server, tmp_path):
    (tmp_path / "beside.py").write_text("x = 5")
    assert value_of(server.cell("import beside; beside.x", payload={"kernel_cwd": str(tmp_path)})) == "5"


def test_each_fork_has_its_own_randomness(server):
    code = "import random, numpy; (random.random(), numpy.random.rand())"
    assert len({value_of(server.cell(code)) for _ in range(3)}) == 3


def test_numpy_computes_with_its_threads_after_the_fork(server):
    code = "import numpy\na = numpy.ones((700, 700))\nfloat((a @ a)[0, 0])"
    assert value_of(server.cell(code)) == "700.0"


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_gigabyte_of_output_is_cut_with_a_mark_and_does_not_stall(server):
    code = (
        "import os\nline = b'x' * 99999 + b'\\n'\nfor _ in range(10000):\n    os.write(1, line)\nprint('the last line')"
    )
    attempt = server.cell(code, limits={"output_bytes": 1 << 20})
    result = attempt.result()
    assert result["status"] == "ok", result
    assert (attempt.folder / "output.jsonl").stat().st_size < (1 << 20) + (1 << 18)
    kinds = [message["type"] for message in attempt.messages()]
    assert kinds[-2:] == ["cut", "end"]
    assert kinds.count("cut") == 1
    assert result["dropped_bytes"] > 990_000_000
    assert result["tail"]["stdout"].endswith("the last line\n")


def test_after_the_cut_errors_and_questions_still_come(server):
    code = "print('x' * 200000)\ninput('still? ')\ndisplay('dropped')\n1 / 0"
    attempt = server.cell(code, limits={"output_bytes": 10_000})
    attempt.wait_message("input_request")
    attempt.send(op="stdin", text="")
    assert attempt.result()["error"]["ename"] == "ZeroDivisionError"
    kinds = [message["type"] for message in attempt.messages()]
    assert kinds == ["stream", "cut", "input_request", "error", "end"]


def test_one_display_that_is_too_large_is_cut(server):
    attempt = server.cell("display({'text/plain': 'y' * 5_000_000}, raw=True)\n1", limits={"output_bytes": 100_000})
    assert attempt.result()["dropped_bytes"] > 4_000_000
    assert attempt.of_type("cut")


def test_a_cells_time_limit_interrupts_it(server):
    attempt = server.cell("import time\ntime.sleep(600)", limits={"timeout_s": 0.3})
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("timeout", 124)
    assert "0.3 s" in result["error"]["evalue"]
    assert attempt.of_type("error")[0]["ename"] == "KeyboardInterrupt"


def test_a_time_limit_that_is_ignored_kills(server):
    attempt = server.cell(STUBBORN, limits={"timeout_s": 0.3, "grace_s": 0.3})
    assert attempt.result()["status"] == "timeout"
    assert "no" in attempt.text()


@pytest.mark.parametrize("arguments", [(), ("--no-cgroups",)])
def test_the_memory_limit(new_server, arguments):
    server = new_server(*arguments)
    limits = {"memory_bytes": 300 * 2**20}
    attempt = server.cell("held = []\nwhile True:\n    held.append(bytearray(b'x' * 2**23))", limits=limits)
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("memory", 137), attempt.messages()
    assert "0.29 GiB" in result["error"]["evalue"]
    hungry = "x = [b'x' * 2**23 + bytes(i) for i in range(10**6)]"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {hungry!r}])"
    assert server.cell(code, limits=limits).result()["status"] == "memory"
    assert server.cell("small = bytearray(2**20)", limits=limits).result()["status"] == "ok"


def small_disk(tmp_path):
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    return mounted


def test_a_full_disk_ends_the_job_with_a_sentence(server, tmp_path):
    disk = small_disk(tmp_path)
    try:
        attempt = server.make("cell", {"code": "while True:\n    print('x' * 1000)"})
        folder = disk / attempt.folder.name
        folder.mkdir(mode=0o700)
        (folder / "spec.json").write_bytes((attempt.folder / "spec.json").read_bytes())
        attempt.folder = folder
        server.start(attempt)
        result = attempt.result()
        assert result["status"] == "error"
        assert "No space left" in result["error"]["evalue"]
        assert "df -h" in result["error"]["evalue"]
        assert leftovers(attempt) == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_output_that_cannot_be_written_ends_the_job_with_a_sentence(new_server):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    server = new_server(preexec_fn=small_files)
    attempt = server.cell("while True:\n    print('x' * 1000)")
    result = attempt.result()
    assert (result["status"], result["error"]["ename"]) == ("error", "DiskFull")
    assert "could not be written" in result["error"]["evalue"]
    assert attempt.messages()[-1]["type"] in {"stream", "error", "end"}  # no torn line before the end
    assert leftovers(attempt) == []


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


# --- commands --------------------------------------------------------------------------------------------------------


def pack(server, tmp_path, **files):
    path = tmp_path / "folder.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name.replace("__", "/"), content)
    return open_blobs(server.blobs).put_file(path)


def test_a_command_runs_in_its_folder_and_passes_its_exit_code(server, tmp_path):
    script = "import os, sys, time\nprint(os.path.basename(os.getcwd()), open('data/a.txt').read())\nsys.exit(7)"
    digest = pack(server, tmp_path, **{"train.py": script, "data__a.txt": "content"})
    attempt = server.command("python", "train.py", folder=digest)
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("exit", 7)
    assert attempt.text() == "work content\n"


def test_a_commands_output_is_live(server):
    attempt = server.command("python", "-c", "print('go'); import time; time.sleep(600)")
    attempt.wait_text("go")
    attempt.send(op="interrupt")
    assert attempt.result()["status"] == "interrupted"
    assert "KeyboardInterrupt" in attempt.text("stderr")


def test_a_commands_time_limit(server):
    result = server.command("sleep", "600", limits={"timeout_s": 0.2}).result()
    assert (result["status"], result["exit_code"]) == ("timeout", 124)


def test_a_program_that_is_not_there(server):
    attempt = server.command("no-such-program")
    assert "no-such-program" in attempt.result()["error"]["evalue"]
    assert not (attempt.folder / "started").exists()
    assert server.command().result()["status"] == "error"


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", link("inside")])
def test_a_zip_may_not_leave_its_folder(server, tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(name, "/etc/passwd")
    (tmp_path / "work").mkdir()
    with pytest.raises(SpecError, match="refused"):
        unpack(path, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
    attempt = server.command("true", folder=open_blobs(server.blobs).put_file(path))
    assert "refused" in attempt.result()["error"]["evalue"]
    assert not (attempt.folder / "started").exists()


def test_a_zip_may_not_unpack_without_bound(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(10**7))
    with pytest.raises(SpecError, match="more than is allowed"):
        unpack(path, tmp_path / "work", limit_bytes=10**6)
    path.write_bytes(b"no zip")
    with pytest.raises(SpecError, match="no readable zip"):
        unpack(path, tmp_path / "work")


def test_executable_bits_survive(tmp_path):
    path = tmp_path / "folder.zip"
    info = zipfile.ZipInfo("run.sh")
    info.external_attr = (stat.S_IFREG | 0o755) << 16
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(info, "#!/bin/sh\n")
        packed.writestr("empty/", "")
    assert unpack(path, tmp_path / "work") == 10
    assert os.access(tmp_path / "work" / "run.sh", os.X_OK)
    assert (tmp_path / "work" / "empty").is_dir()


# --- artifacts -------------------------------------------------------------------------------------------------------


def test_artifacts_are_kept_and_links_are_not_followed(server):
    code = """
import os
out = os.environ['DURE_OUTPUT_DIR']
os.makedirs(f'{out}/sub')
open(f'{out}/model.bin', 'wb').write(b'weights')
open(f'{out}/sub/두레.txt', 'w').write('x')
os.symlink('/etc/passwd', f'{out}/link')
os.symlink('/etc', f'{out}/folder')
os.mkfifo(f'{out}/pipe')
"""
    attempt = server.cell(code + "raise RuntimeError('the files are kept all the same')")
    kept = {artifact["path"]: artifact for artifact in attempt.result()["artifacts"]}
    assert sorted(kept) == ["model.bin", "sub/두레.txt"]
    assert kept["model.bin"]["size_bytes"] == 7
    assert open_blobs(server.blobs).get(kept["model.bin"]["digest"]) == b"weights"


def test_an_artifact_that_cannot_be_kept_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    blobs = {"kind": "folder", "root": str(tmp_path / "file" / "impossible")}
    attempt = server.command("sh", "-c", "echo x > $DURE_OUTPUT_DIR/a", blobs=blobs)
    result = attempt.result()
    assert (result["exit_code"], result["artifacts"]) == (0, [])
    assert result["artifacts_failed"]
    assert "could not keep" in attempt.text("stderr")
