"""The other commands as real processes: what people see, `--json`, languages, signing in, completion, failures."""

import json
import os
import stat
import subprocess
import sys

import pytest

from dure.cli import misuse
from dure.cli.app import COMMANDS, main
from dure.main import commands as server_commands
from tests.api.plane import served, token

PY = sys.executable


@pytest.fixture(scope="module")
def ended(platform, tmp_path_factory) -> str:
    """A job of alice's that ended and left two files."""
    code = (
        "import os; root = os.environ['DURE_OUTPUT_DIR']; os.makedirs(root + '/sub')\n"
        "open(root + '/a.txt', 'w').write('A'); open(root + '/sub/b.txt', 'w').write('BB')"
    )
    env = os.environ | {"DURE_URL": platform.url, "DURE_TOKEN": token("alice")}
    words = [PY, "-m", "dure.cli", "run", "--no-folder", "--name", "leaves files", "--json", "--", PY, "-c", code]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["id"]


def test_jobs_lists_what_the_team_did(dure, ended):
    lines = dure("jobs").stdout.splitlines()
    columns = ["JOB", "NAME", "OWNER", "PHASE", "TIER", "GPUS", "WAITED", "RAN", "COST", "SUBMITTED", "ETA"]
    assert lines[0].split() == columns
    assert any(ended in line and "leaves files" in line and "succeeded" in line for line in lines)
    assert ended in dure("jobs", who="mate").stdout
    assert ended not in dure("jobs", "--mine", who="mate").stdout
    assert ended not in dure("jobs", who="other").stdout
    found = json.loads(dure("jobs", "--json", "--phase", "succeeded", "--limit", "1").stdout)
    assert len(found["jobs"]) == 1
    assert dure("jobs", "--phase", "asleep").returncode == 2


def test_why_tells_the_whole_story(dure, ended):
    lines = dure("why", ended).stdout.splitlines()
    assert lines[0].startswith(f"{ended} succeeded · ")
    assert len(lines) >= 4
    story = json.loads(dure("why", "--json", ended).stdout)
    assert [event["kind"] for event in story["events"]][-1] == "job.succeeded"
    assert "성공" in dure("--lang", "ko", "why", ended).stdout


def test_cancel_takes_several_and_tells_of_each(dure, ended):
    waiting = dure("run", "-d", "--", "sleep", "60").stdout.strip()
    done = dure("cancel", waiting, ended, "j-none")
    assert done.returncode == 1
    assert waiting in done.stdout
    assert done.stderr.splitlines() == [
        f"Job {ended} has already ended (succeeded); there is nothing to cancel.",
        "There is no job 'j-none' that you can see: list yours with `dure jobs`.",
    ]
    assert dure("logs", "-f", waiting).returncode == 0


def test_queue_tiers_and_events_show_the_platform(dure, environment, ended):
    queue = dure("queue").stdout
    assert "lab/n1:0" in queue
    assert json.loads(dure("queue", "--json").stdout)["gpus"]
    tiers = dure("tiers").stdout
    assert "bronze" in tiers
    assert "simulated" in tiers
    assert {tier["name"] for tier in json.loads(dure("tiers", "--json").stdout)} == {"bronze", "silver", "gold"}
    told = dure("events", "--subject", ended).stdout.splitlines()
    assert len(told) >= 4
    last = json.loads(dure("events", "--json", "--limit", "2").stdout)
    assert last["events"][-1]["seq"] == last["last_seq"]
    follower = subprocess.Popen(
        [PY, "-m", "dure.cli", "events", "-f", "--json", "--after", "0"],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout
    assert json.loads(follower.stdout.readline())["seq"] >= 1
    follower.send_signal(2)
    assert follower.wait(20) == 130
    follower.stdout.close()


def test_artifacts_are_listed_and_never_replace_a_file_unasked(dure, ended, tmp_path):
    assert [line.split()[0] for line in dure("artifacts", "list", ended).stdout.splitlines()] == [
        "PATH",
        "a.txt",
        "sub/b.txt",
    ]
    target = tmp_path / "got"
    done = dure("artifacts", "get", ended, "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert ((target / "a.txt").read_text(), (target / "sub" / "b.txt").read_text()) == ("A", "BB")
    again = dure("artifacts", "get", ended, "a.txt", "-o", str(target))
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert dure("artifacts", "get", ended, "a.txt", "-o", str(target), "--force").returncode == 0
    assert dure("artifacts", "get", ended, "nothing").returncode == 1
    assert dure("artifacts", "get", ended, who="mate").returncode == 1


def test_login_remembers_privately_and_logout_forgets(dure, platform, tmp_path):
    nowhere = {"DURE_URL": "", "DURE_TOKEN": ""}
    before = dure("jobs", env=nowhere)
    assert (before.returncode, before.stderr.count("\n")) == (1, 1)
    assert "dure login URL" in before.stderr
    assert "설정되지 않았습니다" in dure("--lang", "ko", "whoami", env=nowhere).stderr
    done = dure("login", platform.url.removeprefix("http://"), "--token", "-", env=nowhere, stdin=token("mate") + "\n")
    assert done.stdout == f"Signed in to {platform.url} as mate.\n", done.stderr
    file = tmp_path / "config" / "dure" / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert dure("whoami", env=nowhere).stdout.split()[0] == "mate"
    file.write_text(file.read_text().replace("token-of-mate", "stale-token"))
    stale = dure("jobs", env=nowhere)
    assert (stale.returncode, "run `dure login`" in stale.stderr) == (1, True)
    file.write_text("nonsense")
    assert "config.toml cannot be used" in dure("jobs", env=nowhere).stderr
    assert dure("logout", env=nowhere).returncode == 0
    assert not file.exists()
    refused = dure("login", platform.url, "--token", "wrong-wrong-wrong-wrong", env=nowhere)
    assert refused.returncode == 1
    assert f"{platform.url} does not take this token" in refused.stderr
    assert "Type the line that `dure up` shows." in refused.stderr
    assert not file.exists()


def test_login_finds_the_platform_behind_its_hub(dure, platform):
    with served(lambda: platform.plane.app(base_path="/services/dure")) as hub:
        done = dure("login", hub.url, "--token", token("alice"))
        assert done.stdout == f"Signed in to {hub.url}/services/dure as alice.\n", done.stderr
    assert dure("login", "http://127.0.0.1:9", "--token", "x").returncode == 1


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://[x", "file:///etc"])
def test_what_is_no_address_is_said_to_be_none_before_anything_is_called(dure, address):
    for said in (dure("login", address, "--token", "x"), dure("jobs", env={"DURE_URL": address})):
        assert (said.returncode, said.stderr.count("\n")) == (1, 1), said.stderr
        assert "begins with http:// or https://" in said.stderr


def test_a_platform_that_does_not_answer_is_one_sentence(dure):
    done = dure("jobs", env={"DURE_URL": "http://127.0.0.1:9"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The Dure platform at http://127.0.0.1:9 does not answer")
    assert dure("jobs", env={"DURE_URL": "no address"}).returncode == 1


def test_completion_offers_commands_tiers_and_jobs(dure, ended):
    def offered(line: str, **env: str) -> list[str]:
        words = line.split(" ")
        told = {"_DURE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        out = dure(env=told | env).stdout
        return [item.partition(",")[2] for item in out.splitlines()]

    assert offered("dure art") == ["artifacts"]
    assert offered("dure sessions uns") == ["unshare"]
    assert offered("dure user ", DURE_LANG="ko") == ["add", "list"]
    assert offered("dure run --tier s") == ["silver"]
    assert offered("dure run --budget ") == ["flex", "strict"]
    assert "--deadline" in offered("dure run --de")
    assert ended in offered("dure logs j-")
    assert offered("dure logs j-", DURE_URL="http://127.0.0.1:9") in ([], [""])
    for shell in ("bash", "zsh", "fish"):
        script = dure("completion", shell)
        assert (script.returncode, "_DURE_COMPLETE" in script.stdout) == (0, True)


def test_help_loads_nothing_heavy_and_speaks_both_languages(dure):
    done = dure("--help")
    assert all(name in done.stdout for name in COMMANDS)
    assert "작업을 취소합니다" in dure("--lang", "ko", "--help").stdout
    assert "GPU 티어" in dure("--lang", "ko", "run", "--help").stdout
    assert "--no-burst" in dure("run", "--help").stdout
    check = (
        "import sys, dure.cli.app as app\n"
        "assert app._run(['--help']) == 0\n"
        "heavy = {'httpx', 'pydantic', 'rich', 'IPython', 'fastapi', 'sqlalchemy', 'obstore', 'pathspec'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([PY, "-c", check], check=True, capture_output=True)


def test_the_servers_commands_are_those_of_the_table():
    hidden = {command.name for command in server_commands() if command.hidden}
    ours = {name for name, entry in COMMANDS.items() if not entry.place}
    assert {command.name for command in server_commands()} - hidden == ours


def test_without_the_server_its_commands_say_what_to_install(dure, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    # What an environment without these packages finds: no such module.
    absent = "import sys\nsys.modules |= dict.fromkeys(('fastapi', 'sqlalchemy', 'uvicorn'))\n"
    (site / "sitecustomize.py").write_text(absent)
    done = dure("up", env={"PYTHONPATH": str(site)})
    assert (done.returncode, "pip install 'dure[server,hub]'" in done.stderr) == (1, True), done.stderr


def test_wrong_usage_is_one_sentence_and_exit_code_2(dure):
    for words in (["nonsense"], ["jobs", "--nonsense"], ["why"], ["completion"]):
        done = dure(*words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


@pytest.mark.parametrize(
    ("words", "english", "korean"),
    [
        (["ps"], "No such command 'ps'. Type `dure jobs`.", "ps 명령은 없습니다. `dure jobs` 명령을 쓰세요."),
        (
            ["kill", "1"],
            "No such command 'kill'. Type `dure cancel`.",
            "kill 명령은 없습니다. `dure cancel` 명령을 쓰세요.",
        ),
        (
            ["why"],
            "Missing argument 'JOB'. See `dure why --help`.",
            "JOB 값이 필요합니다. `dure why --help`를 참고하세요.",
        ),
        (["sessions", "ps"], "No such command 'ps'.", "ps 명령은 없습니다. `dure sessions --help`를 참고하세요."),
        (["jobs", "--nope"], "No such option '--nope'.", "--nope 옵션은 없습니다."),
        (["jobs", "--limit", "x"], "Invalid value for '--limit'", "--limit 값이 올바르지 않습니다. 숫자를 쓰세요."),
        (["jobs", "--limit", "0"], "1<=x<=500", "--limit 값이 올바르지 않습니다. 가능한 범위: 1<=x<=500."),
        (["jobs", "--limit"], "Option '--limit' requires", "--limit 옵션의 값이 없거나 쓸 수 없는 값입니다."),
        (["queue", "a"], "Got unexpected extra argument (a).", "남는 인자가 있습니다: a."),
        (["completion", "x"], "Invalid value", "값이 올바르지 않습니다. 사용 가능: bash, zsh, fish."),
    ],
)
def test_wrong_usage_is_told_in_the_readers_language_with_the_command_that_was_meant(
    capsys, monkeypatch, words, english, korean
):
    for lang, said in (("en", english), ("ko", korean)):
        monkeypatch.setenv("DURE_LANG", lang)
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_every_word_of_another_tool_stands_for_a_command_that_is_there():
    assert misuse.MEANT.keys() <= COMMANDS.keys()
    assert not {theirs for words in misuse.MEANT.values() for theirs in words} & COMMANDS.keys()


def test_the_version_is_told(dure):
    assert dure("--version").stdout.startswith("dure ")


def test_reserve_and_usage(dure):
    made = dure("reserve", "add", "--tier", "silver", "--to", "2h", "--team", "vision", "--user", "alice", who="root")
    assert made.returncode == 0, made.stderr
    found = made.stdout.split(":")[0]
    assert "1 GPU of silver reserved for team vision" in made.stdout
    assert f"dure reserve release {found}" in made.stdout
    assert any(found in line and "vision/alice" in line for line in dure("reserve", "list").stdout.splitlines())
    assert "vision/alice" not in dure("reserve", "list", who="other").stdout
    denied = dure("reserve", "add", "--tier", "silver", "--to", "2h")
    assert (denied.returncode, "only administrators may" in denied.stderr) == (1, True)
    assert dure("--lang", "ko", "reserve", "release", found).stdout.strip() == f"{found} 예약을 해제했습니다."
    used = json.loads(dure("usage", "--json").stdout)
    assert [team["team"] for team in used["teams"]] == ["vision"]
    assert dure("usage").stdout.startswith("TEAM")
