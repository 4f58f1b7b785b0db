"""What comes from other people cannot act on the reader's terminal."""

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
