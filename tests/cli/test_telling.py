"""What comes from other people cannot act on the reader's terminal, and what is typed again is not broken there."""

import os
import pty
import re
import subprocess
import sys

import pytest

from dure.cli import telling

NASTY = "a\x1b[2Jb\x9bc\u202ed\u2066e\rf"
SPELLED = r"a\x1b[2Jb\x9bc\u202ed\u2066e\rf"


def test_names_in_tables_stay_one_line_of_plain_characters(capsys):
    telling.table(("이름", "N"), [(NASTY + "\n\t한글", "1")], "")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1] == SPELLED + r"\n\t한글" + "  1"


@pytest.mark.parametrize(("tell", "stream"), [(telling.say, "out"), (telling.warn, "err")])
def test_sentences_keep_their_lines_and_nothing_else_unseen(capsys, tell, stream):
    tell(NASTY + "\n\t한글")
    assert getattr(capsys.readouterr(), stream) == SPELLED + "\n\t한글\n"


def test_a_name_with_a_time_in_it_is_shown_as_it_is(capsys):
    telling.table(("PATH",), [("model_2026-05-01T09:00Z.pt",)], "")
    assert "model_2026-05-01T09:00Z.pt" in capsys.readouterr().out


JOBS = """
from dure.cli.telling import table
table(("JOB", "NAME", "SIZE", "ETA"), [("j-2h495459", "a long name " * 3, "1 GiB", "2 min to 1 h 15 min")], "", (2,))
"""


@pytest.mark.parametrize(("width", "columns"), [(100, "JOB NAME SIZE ETA"), (34, "JOB NAME ETA")])
def test_a_narrow_terminal_breaks_no_id_and_goes_without_what_can_be_spared(width, columns):
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": str(width)}
    subprocess.run([sys.executable, "-c", JOBS], stdout=follower, env=env, timeout=60, check=True)
    os.close(follower)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", os.read(leader, 65536).decode()).splitlines()
    os.close(leader)
    assert lines[0].split() == columns.split()
    assert lines[1].startswith("j-2h495459 ")
    assert all(len(line) <= width for line in lines)
