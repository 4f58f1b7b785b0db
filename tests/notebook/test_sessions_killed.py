"""kill -9 at any moment around a cell's end: what finished is back, or named and run again by `%session rerun`.

DURE_KILLS rounds (six without it); the seed of each is in its failure.
"""

import json
import os
import random
import signal
import time

from tests.notebook.desk import desk, pid_of, plane, server, settled, told

__all__ = ["desk", "plane", "server"]

ROUNDS = int(os.environ.get("DURE_KILLS", "6"))
SLOW = """import os, time
class Slow:
    def __reduce__(self):
        time.sleep(float(os.environ.get('SLOW', 0)))
        return Slow, ()
"""
LARGE = "; large = __import__('os').urandom(20_000_000)"


def test_what_finished_before_kill_nine_is_back_or_named(desk):
    finished = 0
    named = 0
    for seed in range(ROUNDS):
        chance = random.Random(seed)
        kernel = desk.open()
        if seed == 0:
            assert kernel.run("steps = []").ok
        named += "finished, but the kernel ended" in told(kernel.loaded)
        kernel.run("%session rerun")
        steps = json.loads(kernel.value("steps") or "")
        # what ended without a reply may be there, and nothing is there twice or out of its turn
        assert steps == list(range(len(steps))), (seed, told(kernel.loaded))
        assert finished <= len(steps) <= finished + 1, (seed, finished, told(kernel.loaded))
        finished = len(steps)
        for _ in range(chance.randint(0, 3)):
            assert kernel.run(f"steps.append({finished}){LARGE if chance.random() < 0.3 else ''}").ok
            finished += 1
        if chance.random() < 0.5:
            kernel.start(f"steps.append({finished})")  # at a moment before, in or after its end
            time.sleep(chance.uniform(0, 0.05))
        else:
            time.sleep(chance.choice([0, chance.uniform(0, 0.02), chance.uniform(0, 0.3)]))
        os.kill(pid_of(kernel), signal.SIGKILL)
    assert named or ROUNDS < 50, "no round killed a kernel before its last save: this proves nothing"


def test_a_cell_whose_save_was_not_written_is_named_and_run_again_alone(desk):
    kernel = desk.open(SLOW="60")
    assert kernel.run("calls = []; x = 1").ok
    settled(desk)
    assert kernel.run(f"{SLOW}calls.append('again'); x = 2; slow = Slow()").ok
    os.kill(pid_of(kernel), signal.SIGKILL)
    kernel = desk.open()
    line = told(kernel.loaded)
    assert line.startswith("Restored 2 variables of train.ipynb"), line
    assert (
        "Cell 3 finished, but the kernel ended before its result was saved. `%session rerun` runs only cell 3" in line
    )
    assert kernel.value("calls, x") == "([], 1)"
    assert "There again: Slow, os, slow, time, x." in told(kernel.run("%session rerun"))
    assert kernel.value("calls, x") == "(['again'], 2)"
    assert "Nothing is missing" in told(kernel.run("%session rerun"))
    assert kernel.run("In[3].splitlines()[-1][:14]").result == '"calls.append(\'"'


def test_what_sets_a_secret_is_named_and_written_nowhere(desk):
    kernel = desk.open(SLOW="60")
    assert kernel.run(f"{SLOW}slow = Slow(); password = 'hunter2-of-alice'").ok
    os.kill(pid_of(kernel), signal.SIGKILL)
    files = [path for path in (desk.home / ".local").rglob("*") if path.is_file()]
    assert any(path.parent.name == "ended" for path in files)
    assert not any(b"hunter2" in path.read_bytes() for path in files)
    line = told(desk.open().loaded)
    assert (
        "Cell 2 finished, but the kernel ended before its result was saved. Run cell 2 again by hand: its code" in line
    )


def test_while_the_kernel_is_alone_and_after_a_save_nothing_is_named(desk):
    kernel = desk.open()
    assert kernel.run("x = 1").ok
    settled(desk)
    assert kernel.run("%session list").ok  # shows only
    os.kill(pid_of(kernel), signal.SIGKILL)
    assert "finished, but" not in told(desk.open().loaded)
