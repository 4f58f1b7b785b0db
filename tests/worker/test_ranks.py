"""A command over several nodes: one process each, that find each other, print as one, and end together."""

import functools
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from dure.worker import processes
from dure.worker.meeting import arrange
from dure.worker.ranks import Forked, Merged
from dure.worker.spec import SpecError
from tests.worker.conftest import leftovers, wait_until

OTHER = {"node": "node-2", "gpus": [{"index": 0, "uuid": None, "share": 1.0}], "simulated": True}
THIRD = {"node": "node-3", "gpus": [{"index": 1, "uuid": None, "share": 1.0}], "simulated": True}
SLEEPS = "import os, time; print('go', flush=True); time.sleep(600)"


def gang(server, code, *arguments, others=(OTHER,), **spec):
    return server.command(sys.executable, "-c", code, *arguments, others=list(others), **spec)


def pids(attempt):
    record = wait_until(lambda: processes.read_record(attempt.folder / "processes.json"), "processes.json")
    return [record["user_pid"], *(other["user_pid"] for other in record["others"])]


def gone(attempt):
    wait_until(lambda: not leftovers(attempt), "everything of the attempt to be gone")


def started(server, **spec):
    attempt = gang(server, SLEEPS, others=(OTHER, THIRD), **spec)
    wait_until(lambda: attempt.text().count("go") == 3, "all ranks")
    return attempt


def test_each_rank_is_told_its_node_its_gpus_and_where_to_meet(server):
    names = ["RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    names += ["DURE_NODE", "DURE_NODES", "DURE_NODE_RANK", "DURE_GPUS", "PET_NNODES", "PET_NPROC_PER_NODE"]
    names += ["PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT", "DURE_SIMULATED"]
    note = "import json, os, sys; path = os.environ['DURE_OUTPUT_DIR'] + '/' + os.environ['RANK']"
    attempt = gang(server, f"{note}; open(path, 'w').write(json.dumps([os.environ[n] for n in {names}]))")
    assert attempt.result()["status"] == "ok"
    first, second = (
        dict(zip(names, json.loads((attempt.folder / "output" / rank).read_text()), strict=True)) for rank in "01"
    )
    assert (first["RANK"], first["NODE_RANK"], first["DURE_NODE_RANK"], first["PET_NODE_RANK"]) == ("0",) * 4
    assert (second["RANK"], second["NODE_RANK"], second["DURE_NODE_RANK"], second["PET_NODE_RANK"]) == ("1",) * 4
    assert (first["DURE_NODE"], first["DURE_GPUS"]) == ("node-1", "3")
    assert (second["DURE_NODE"], second["DURE_GPUS"]) == ("node-2", "0")
    same = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    same |= {"DURE_NODES": "node-1,node-2", "PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "DURE_SIMULATED": "1"}
    assert same.items() <= first.items()
    assert same.items() <= second.items()
    assert first["MASTER_PORT"] == second["MASTER_PORT"] == first["PET_MASTER_PORT"]
    assert int(first["MASTER_PORT"]) > 0


MEET = """
import os, socket
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(place) as door:
        for _ in range(size - 1):
            door.accept()[0].sendall(b"sum")
    print("met", size)
else:
    while True:
        try:
            print(socket.create_connection(place).recv(3).decode())
            break
        except ConnectionRefusedError:
            pass
"""


def test_the_ranks_meet_and_print_as_one_with_their_rank(server):
    result = (attempt := gang(server, MEET, others=(OTHER, THIRD))).result()
    assert (result["status"], result["exit_code"]) == ("ok", 0)
    assert sorted(attempt.text().splitlines()) == ["[rank1]: sum", "[rank2]: sum", "met 3"]


def test_each_rank_works_in_a_folder_of_its_own(server, tmp_path):
    path = tmp_path / "folder.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("train.py", "import os; open('own', 'x'); print(os.listdir())")
    from dure.state import open_blobs

    digest = open_blobs(server.blobs).put_file(path)
    attempt = server.command(sys.executable, "train.py", folder=digest, others=[OTHER])
    assert attempt.result()["status"] == "ok", attempt.text("stderr")
    assert attempt.text().count("'own'") == 2


def test_the_first_rank_that_fails_ends_all_and_is_named(server):
    code = "import os, time; time.sleep(0.1); os._exit(7) if os.environ['RANK'] == '1' else time.sleep(600)"
    attempt = gang(server, code, others=(OTHER, THIRD))
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("exit", 7)
    assert result["error"]["evalue"] == "Rank 1 on node node-2: The process ended with exit code 7."
    assert attempt.of_type("error")
    gone(attempt)


def test_a_rank_that_never_came_to_its_code_ends_all_before_theirs_begins(server):
    attempt = server.command("no-such-program", others=[OTHER])
    result = attempt.result()
    assert result["error"]["ename"] == "NotStarted"
    assert "Rank" in result["error"]["evalue"]
    assert not (attempt.folder / "started").exists()
    gone(attempt)


def test_ranks_that_end_well_wait_for_the_others(server):
    code = "import os, time; time.sleep(0.3 * int(os.environ['RANK'])); print('done')"
    attempt = gang(server, code)
    assert attempt.result()["status"] == "ok"
    assert sorted(attempt.text().splitlines()) == ["[rank1]: done", "done"]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_kill_nine_of_any_rank_ends_all(server, rank):
    attempt = started(server)
    os.kill(pids(attempt)[rank], signal.SIGKILL)
    result = attempt.result()
    assert result["status"] == "killed"
    assert result["error"]["evalue"].startswith(f"Rank {rank} on node node-{rank + 1}: ")
    gone(attempt)


def test_kill_nine_of_the_runner_ends_all(server):
    attempt = started(server)
    os.kill(json.loads((attempt.folder / "runner.json").read_text())["pid"], signal.SIGKILL)
    gone(attempt)
    assert not attempt.ended()


def test_ranks_that_hide_are_found_when_all_others_are_dead(new_server):
    server = new_server()
    hide = "import os, subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True); print('go', flush=True)"
    attempt = gang(server, f"{hide}; import time; time.sleep(600)")
    wait_until(lambda: attempt.text().count("go") == 2, "both ranks")
    server.process.kill()
    server.process.wait()
    os.kill(json.loads((attempt.folder / "runner.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: not processes.runner_alive(attempt.folder), "the runner's end")
    processes.sweep(attempt.folder)
    gone(attempt)


@pytest.mark.parametrize("what", ["stop", "interrupt", "timeout"])
def test_an_end_that_was_asked_for_ends_all(server, what):
    if what == "timeout":
        attempt = gang(server, SLEEPS, others=(OTHER, THIRD), limits={"timeout_s": 1.0})
    else:
        attempt = started(server)
        attempt.send(op=what)
    result = attempt.result()
    assert result["status"] == {"stop": "killed", "interrupt": "interrupted", "timeout": "timeout"}[what]
    gone(attempt)


TOLD_ONCE = """
import os, signal, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("go", flush=True)
while not told:
    time.sleep(0.01)
if os.environ["RANK"] == "1":
    time.sleep(0.2)
    os._exit(1)
time.sleep(1.0)  # it saves its work, while the other rank goes
print("told", len(told))
"""


def test_a_rank_that_saves_its_work_is_told_to_end_once_though_the_others_go_at_once(server):
    attempt = gang(server, TOLD_ONCE)
    wait_until(lambda: attempt.text().count("go") == 2, "both ranks")
    attempt.send(op="stop")
    assert attempt.result()["status"] == "killed"
    assert "told 1\n" in attempt.text()


def test_ranks_that_ignore_the_end_are_killed(server):
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print('go', flush=True); time.sleep(600)"
    attempt = gang(server, f"{code} if os.environ['RANK'] == '0' else os._exit(1)", limits={"grace_s": 0.2})
    assert attempt.result()["exit_code"] == 1
    gone(attempt)


def test_each_node_has_the_memory_limit_for_itself(server):
    code = "import os, time; hog = bytearray((300 if os.environ['RANK'] == '1' else 40) << 20); time.sleep(600)"
    attempt = gang(server, code, limits={"memory_bytes": 200 << 20})
    result = attempt.result()
    assert result["status"] == "memory"
    assert result["error"]["evalue"].startswith("Rank 1 on node node-2: ")
    gone(attempt)


def test_death_at_any_moment_leaves_nothing_running(new_server):
    dice = random.Random("ranks")
    server = new_server()
    for _ in range(8):
        attempt = gang(server, "import subprocess; subprocess.run(['sleep', '0.03'])", others=(OTHER, THIRD))
        time.sleep(dice.random() * 0.15)
        record = processes.read_record(attempt.folder / "processes.json")
        ranks = [record.get("user_pid", 0), *(other["user_pid"] for other in record.get("others", ()))]
        runner = processes.read_record(attempt.folder / "runner.json").get("pid", 0)
        victim = dice.choice([*ranks, runner])
        if victim:
            processes.kill(victim)
        wait_until((attempt.folder / "runner.json").exists, "a claim")
        wait_until(functools.partial(lambda folder: not processes.runner_alive(folder), attempt.folder), "its end")
        processes.sweep(attempt.folder)
        gone(attempt)


# --- how streams are merged ------------------------------------------------------------------------------------------


def merged():
    written: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    ends = []

    def write(name, data, *, final=False):
        written[name] += data
        ends.extend([name] if final else [])

    return Merged(write), written, ends


def test_a_line_of_another_rank_waits_until_it_is_whole_and_ends_what_rank_0_left_open():
    streams, written, ends = merged()
    zero, one = streams.writer(0, "stdout"), streams.writer(1, "stdout")
    one(b"ha")
    zero(b"50%")
    one("lf\nmüs".encode()[:-2])
    zero(b"\rdone\n")
    one("müs".encode()[-2:] + b"li")
    one(b"", final=True)
    assert ends == []
    zero(b"", final=True)
    assert written["stdout"].decode() == "50%\n[rank1]: half\n\rdone\n[rank1]: müsli\n"
    assert ends == ["stdout"]


def test_a_bar_shows_its_last_state_and_a_line_without_end_does_not_stay_for_ever():
    streams, written, _ = merged()
    one = streams.writer(1, "stderr")
    one(b"\r10%\r100%\r\n")
    one(b"x" * 20_000)
    assert written["stderr"].startswith(b"[rank1]: 100%\n[rank1]: xxx")
    assert written["stderr"].count(b"\n") == 3


def test_no_two_jobs_get_one_port_and_none_that_is_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = taken.getsockname()[1]
        spare = next(port for port in range(20_000, 30_000) if free(port))
        meeting = arrange([used, spare])
        assert meeting.port == spare
        with pytest.raises(SpecError, match="Run it again"):
            arrange([used, spare])
        with socket.create_server(("127.0.0.1", meeting.port), reuse_port=False):
            pass  # rank 0 can listen there while it is held
        meeting.hold.close()
        arrange([spare]).hold.close()


def free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_port_is_none_that_a_program_is_given_which_asks_for_any():
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    meetings = [arrange() for _ in range(20)]
    ports = {meeting.port for meeting in meetings}
    assert len(ports) == 20
    assert not any(low <= port <= high for port in ports)
    for meeting in meetings:
        meeting.hold.close()


def test_a_process_that_is_ended_before_its_order_leaves_the_next_one_its_ends():
    process = subprocess.Popen([sys.executable, "-c", ""])
    pairs = [socket.socketpair() for _ in range(3)]
    order, *outputs = (os.dup(0) for _ in range(3))
    ended = Forked(process.pid, order, {"stdout": outputs[0], "stderr": outputs[1]}, *(ours for ours, _ in pairs))
    ended.end()
    process.wait()
    for _, theirs in pairs:
        theirs.close()
    next_ones = [os.dup(0) for _ in range(8)]  # under the numbers that are free now
    pairs.clear()
    del ended
    gc.collect()
    for fd in next_ones:
        os.close(fd)
    os.close(order)
