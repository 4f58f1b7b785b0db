"""What surrounds a job: its claim, its environment, and the limits of time, memory, output and disk."""

from __future__ import annotations

import json
import resource
import socket
import stat
import subprocess

import pytest

from dure.worker.forkserver import ALREADY_SERVED
from tests.worker.conftest import STUBBORN, leftovers


def value_of(attempt):
    assert attempt.result()["status"] == "ok", attempt.messages()
    return attempt.of_type("execute_result")[0]["data"]["text/plain"]


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
