"""`platform.yaml` on disk: each error with its line, YAML's own errors, and interpreters that do not run."""

import re
import sys
from pathlib import Path

import pytest

from dure.adapters.platform_file import MAX_FILE_BYTES, PlatformFileError, load
from dure.wire.platform_told import platform_told

GOOD = f"""\
clusters:
  - name: lab
    nodes:
      - {{name: n1, tier: gold, gpus: 2}}
      - name: n2
        tier: gold
        gpus: 1
tiers:
  - name: gold
  - name: silver
teams:
  - name: vision
    members: [alice]
environments:
  - name: default
    python: {sys.executable}
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "platform.yaml"


def errors(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(PlatformFileError) as raised:
        load(file)
    assert str(raised.value) == "\n".join(raised.value.lines)
    return list(raised.value.lines)


def test_a_good_file_loads_and_its_digest_is_that_of_its_bytes(file):
    file.write_text(GOOD)
    first = load(file)
    file.write_text(GOOD + "# a comment\n")
    second = load(file)
    assert first.clusters == second.clusters
    assert len(first.digest) == 64
    assert first.digest != second.digest


BURST = "burst: {wait_s: -3, rule: fixd, min_wait_s: 10, max_wait_s: 2, colour: blue}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1\n",
        "a: b: c\n",
        "\tname: x\n",
        "name: 5\nclusters: []\n",
        f"name: a\nname: b\n{GOOD}{BURST}",
        GOOD.replace("gold, gpus: 2", "golden, gpus: 0")
        .replace("[alice]", '"*"')
        .replace(sys.executable, "/no/python"),
        f"{GOOD}sessions: {{ttl_days: 0, save: 1}}\ncohorts: [{{name: a, parent: b}}, {{name: b, parent: a}}]\n",
        f"{GOOD}authenticator: {{class: github, settings: {{client_secret: abc, x: 'a${{b'}}}}\nadmins: [a, a, '!']\n",
        f"{GOOD}priorities: [{{name: urgent, value: 1}}]\nkueue: [kueue.yaml]\nqueues: [{{name: q, team: vison}}]\n",
    ],
)
def test_each_error_is_said_in_korean_behind_its_place(file, text):
    for line in errors(file, text):
        told = platform_told(line, "ko")
        place = line.partition(": ")[0]
        assert told.startswith(f"{place}: "), told
        assert re.search("[가-힣]", told.partition("올바른 값:")[0]), told
        assert "right would be" not in told
        assert platform_told(line, "en") == line


def test_the_example_of_the_issue(file):
    assert errors(file, GOOD.replace("tier: gold\n", "tier: platinum\n")) == [
        "platform.yaml:6: clusters[0].nodes[1].tier: 'platinum' is not a tier; right would be one of gold, silver"
    ]


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        ("[alice]", "[alice]\n    lending_limit: {gold: 1}", 14, "lends 1 of gold and is guaranteed 0; right would be"),
        ("[alice]", "[alice]\n    cohort: sci", 14, "right would be to leave it out, or an entry of `cohorts`"),
        ("gpus: 1\n", "gpus: 1\x00\n", 7, "has a character that YAML does not allow (U+0000); right would be"),
        ("        gpus: 1\n", "         gpus: 1\n", 7, "right would be `key: value` with a space after each colon"),
        ("tiers:\n", "teirs:\n", 8, "teirs: 'teirs' is not a key here"),
        ("gpus: 1\n", "gpus: -1\n", 7, "clusters[0].nodes[1].gpus: -1 is out of range"),
        ("gpus: 2}", "gpus: two}", 4, "clusters[0].nodes[0].gpus: 'two' is not a whole number"),
        ("        gpus: 1\n", "", 5, "clusters[0].nodes[1].gpus: is missing"),
        ("  - name: silver\n", "  - name: gold\n", 10, "tiers[1].name: 'gold' is taken already by tiers[0]"),
        ("[alice]", "\n      - alice\n      - al/ice", 15, "teams[0].members[1]: 'al/ice' is not allowed"),
        ("    nodes:\n", "    kind: public\n    nodes:\n", 2, "clusters[0]: public cluster 'lab' has GPUs of tier"),
        ("        gpus: 1\n", "        gpus: 1\n        gpus: 2\n", 8, "'gpus' is here twice, first in line 7"),
        (
            "members: [alice]",
            "members: [alice]\n    simulated: yes",
            14,
            "teams[0].simulated: 'simulated' is not a key",
        ),
        (sys.executable, "/no/such/python", 16, "environments[0].python: there is no file '/no/such/python'"),
        (sys.executable, "no-such-command", 16, "environments[0].python: there is no command 'no-such-command'"),
        (sys.executable, "venv/bin/python", 16, "environments[0].python: 'venv/bin/python' is a relative path"),
        (sys.executable, "2024-01-01", 16, "environments[0].python: 2024-01-01 is not text"),
    ],
)
def test_each_error_is_told_with_its_line_and_path(file, before, after, line, words):
    assert before in GOOD
    lines = errors(file, GOOD.replace(before, after, 1))
    assert any(told.startswith(f"platform.yaml:{line}: ") and words in told for told in lines), lines


def test_all_errors_come_at_once_in_the_order_of_their_lines(file):
    text = GOOD.replace("tier: gold\n", "tier: glod\n").replace("name: vision", "name: Vision")
    text = text.replace(sys.executable, "/no").replace("gpus: 2}", "gpus: 2, gpus: 3}").replace("lab", "lab!")
    told = errors(file, text)
    assert [line.split(":")[1] for line in told] == ["2", "4", "6", "12", "16"]


def test_an_interpreter_must_be_executable(file, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    (told,) = errors(file, GOOD.replace(sys.executable, str(python)))
    assert "cannot be executed" in told
    assert f"chmod +x {python}" in told
    python.chmod(0o755)
    assert load(file).environments[0].python == str(python)


def test_a_command_on_the_path_is_an_interpreter_too(file):
    file.write_text(GOOD.replace(sys.executable, "sh"))
    assert load(file).environments[0].python == "sh"


@pytest.mark.parametrize(
    ("text", "start", "words"),
    [
        ("", "platform.yaml:1: ", "the file is empty"),
        ("# only a comment\n", "platform.yaml:1: ", "the file is empty"),
        ("- a list\n", "platform.yaml:1: ", "not a mapping of sections"),
        ("name: x\nclusters: [\n", "platform.yaml:3: ", "is not valid YAML"),
        ("name: x\nclusters:\n\t- a\n", "platform.yaml:3: ", "spaces, never tabs"),
        ("a: b: c\n", "platform.yaml:1: ", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "platform.yaml:3: ", "a second document begins here"),
        ("a: *nobody\n", "platform.yaml:1: ", "is not valid YAML"),
        ("name: x\na: 2024-99-99\n", "platform.yaml:2: ", "'2024-99-99' cannot be read: month"),
        (f"a: {'[' * 5000}\n", "platform.yaml: ", "nested too deeply"),
        ("a: &a [*a]\n", "platform.yaml:1: ", "repeats itself"),
        ("a: !!python/object:os.system {}\n", "platform.yaml:1: ", "a"),
    ],
)
def test_what_is_no_platform_at_all_is_told_in_one_sentence(file, text, start, words):
    told = errors(file, text)
    assert told[0].startswith(start)
    assert any(words in line for line in told)


def test_a_bomb_of_anchors_is_refused(file):
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    assert "repeats itself" in errors(file, bomb)[0]


def test_anchors_may_be_used_plainly(file):
    file.write_text(GOOD.replace("[alice]", "&people [alice]").replace("environments", "admins: *people\nenvironments"))
    assert load(file).admins == ("alice",)


def test_bytes_that_are_no_text(file):
    file.write_bytes(b"name: x\nadmins: [\xff\xfe]\n")
    with pytest.raises(PlatformFileError, match=r"platform\.yaml:2: is not UTF-8"):
        load(file)


def test_a_byte_order_mark_is_no_error(file):
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(file).clusters


def test_a_file_that_is_not_there_says_what_writes_one(file):
    with pytest.raises(PlatformFileError, match="dure init"):
        load(file)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(PlatformFileError, match="cannot be read"):
        load(tmp_path)


def test_a_file_without_end_is_refused(file):
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(PlatformFileError, match="is larger than"):
        load(file)
