"""`dure run` with real processes: output, exit codes, the folder, Ctrl-C, detaching, a broken pipe."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from dure.client import Client, Login
from tests.api.plane import token, until

PY = sys.executable


def test_it_behaves_like_the_command_itself(dure, tmp_path):
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = dure("run", "--", PY, "-c", code)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.startswith("err\n")
    assert "GPU freed" in done.stderr.splitlines()[-1]
    assert "simulated" in done.stderr.splitlines()[-1]


def test_the_folder_travels_and_its_options_reach_the_command(dure, tmp_path):
    here = tmp_path / "project"
    (here / "package").mkdir(parents=True)
    (here / "train.py").write_text("import sys, package.model as m; print(m.NAME, *sys.argv[1:])")
    (here / "package" / "model.py").write_text("NAME = '두레'")
    (here / "secret.txt").write_text("x")
    (here / ".gitignore").write_text("secret.txt\n")
    done = dure("run", "--gpus", "0.5", "--tier", "bronze", PY, "train.py", "--epochs", "3", "--tier", "mine", cwd=here)
    assert (done.returncode, done.stdout) == (0, "두레 --epochs 3 --tier mine\n")
    done = dure("run", "--", PY, "-c", "import os; print(sorted(os.listdir()))", cwd=here)
    assert done.stdout == "['.gitignore', 'package', 'train.py']\n"
    done = dure("run", "--no-folder", "--", PY, "-c", "import os; print(sorted(os.listdir()))", cwd=here)
    assert done.stdout == "[]\n"


def test_a_detached_job_prints_its_id_and_the_next_command(dure):
    done = dure("run", "-d", "--", PY, "-c", "print('later')")
    job = done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, f"Follow it with: dure logs -f {job}\n")
    assert dure("logs", "-f", job).stdout == "later\n"
    assert dure("logs", job).stdout == "later\n"
    lines = [json.loads(line) for line in dure("logs", "--json", job).stdout.splitlines()]
    assert "".join(line["text"] for line in lines[:-1]) == "later\n"
    assert {line["type"] for line in lines[:-1]} == {"stream"}
    assert lines[-1]["type"] == "end"
    assert json.loads(dure("run", "-d", "--json", "--", "true").stdout)["phase"] == "queued"


def test_ctrl_c_cancels_and_the_output_goes_on_to_the_end(environment, platform, tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: (print('cleaned up', flush=True), sys.exit(3)))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    process = _started(environment(), tmp_path, "run", "--", PY, "-c", code)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert (process.returncode, out) == (130, "cleaned up\n")
    assert "Cancelling" in err
    with Client(Login(platform.url, token("alice"))) as client:
        assert client.jobs(limit=1).jobs[0].phase == "cancelled"


def test_a_second_ctrl_c_leaves_at_once(environment, platform, tmp_path):
    ignores = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"{ignores}; print('ready', flush=True); time.sleep(600)"
    process = _started(environment(), tmp_path, "run", "--", PY, "-c", code)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    with Client(Login(platform.url, token("alice"))) as client:
        process.send_signal(signal.SIGINT)
        until(lambda: client.jobs(limit=1).jobs[0].goal == "cancel")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=90)
        assert process.returncode == 130
        assert "Its end was asked for" in err
        until(lambda: client.jobs(limit=1).jobs[0].phase == "cancelled")


def test_a_broken_pipe_is_quiet(environment, tmp_path):
    command = f"{PY} -m dure.cli run -- {PY} -c 'for i in range(50000): print(i)' | head -1"
    done = subprocess.run(
        ["sh", "-c", command], env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=90, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_terminal_shows_one_waiting_line(environment, platform, tmp_path):
    with Client(Login(platform.url, token("alice"))) as client:
        blocker = subprocess.run(
            [PY, "-m", "dure.cli", "run", "-d", "--tier", "silver", "--", "sleep", "600"],
            env=environment(), cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        until(lambda: client.job(blocker).phase == "running")
        shown = _on_a_terminal(environment(), tmp_path, "run", "--tier", "silver", "--", "echo", "done")
        until(lambda: "1st in line for silver" in "".join(shown))
        client.cancel(blocker)
        until(lambda: "GPU freed" in "".join(shown))
    text = "".join(shown)
    assert "\r\x1b[K" in text
    assert text.index("done\r\n") < text.index("GPU freed")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--tier", "platinum", "--", "true"], 1, "There is no tier 'platinum'"),
        (["--env", "none", "--", "true"], 1, "There is no environment 'none'"),
        (["--gpus", "64", "--", "true"], 1, "64 GPUs"),
        (["--gpus", "many", "--", "true"], 1, "--gpus cannot be 'many'"),
        (["--deadline", "1999-01-01T00:00", "--", "true"], 1, "a time to come"),
        (["--max-size", "huge", "--", "true"], 1, "--max-size cannot be 'huge'"),
        (["--", "no-such-program"], 1, "no-such-program"),
        (["--teir", "gold", "--", "true"], 2, "--teir"),
        ([], 2, "COMMAND"),
    ],
)
def test_bad_input_is_one_sentence(dure, words, code, sentence):
    done = dure("run", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("was not found") <= 1, "said once"


def test_a_program_that_runs_too_long_ends_like_timeout(dure):
    done = dure("run", "--timeout", "300ms", "--", "sleep", "60")
    assert done.returncode == 124, done.stderr


def test_a_program_that_a_signal_ended_has_the_shells_exit_code(dure):
    done = dure("run", "--no-folder", "--", PY, "-c", "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 137, done.stderr


def _started(env, cwd, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PY, "-m", "dure.cli", *words],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _on_a_terminal(env, cwd, *words: str) -> list[str]:
    """Start `dure` on a terminal of its own; what it shows is added to the list as it comes."""
    shown: list[str] = []
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [PY, "-m", "dure.cli", *words], env=env | {"TERM": "xterm", "COLUMNS": "200"}, cwd=cwd,
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)

    def read() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(leader, 65536):
                shown.append(data.decode("utf-8", "replace"))
        os.close(leader)
        process.wait()

    threading.Thread(target=read, daemon=True).start()
    return shown


def test_a_plan_is_shown_for_every_tier_and_nothing_is_submitted(dure):
    before = json.loads(dure("jobs", "--json").stdout)["jobs"]
    done = dure("run", "--plan", "--tier", "bronze", "--deadline", "2h", "--", PY, "-c", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "Nothing was submitted" in lines[0]
    assert lines[1].split() == ["TIER", "WHERE", "ASKED", "STARTS", "IN", "RUNS", "COST", "IN", "TIME", "NOTE"]
    assert lines[2].startswith("bronze")
    assert "yes" in lines[2]
    assert "simulated" in lines[2]
    assert {line.split()[0] for line in lines[2:]} >= {"bronze", "silver", "Runs"}
    plan = json.loads(dure("run", "--plan", "--json", "--", PY, "-c", "1").stdout)
    assert plan["deadline_at"] is None
    assert all(row["asked"] for row in plan["rows"])
    assert all(row["cost_p50"] <= row["cost_p90"] for row in plan["rows"])
    assert any(row["eta"] and row["eta"]["short"] == "now" for row in plan["rows"]), plan["rows"]  # a free GPU's
    assert json.loads(dure("jobs", "--json").stdout)["jobs"] == before
    korean = dure("--lang", "ko", "run", "--plan", "--", PY, "-c", "1").stdout
    assert "제출하지 않았습니다" in korean
