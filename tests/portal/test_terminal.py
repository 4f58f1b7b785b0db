"""Printed text as a terminal shows it, and as a page may safely show it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.portal.terminal import CELLS_MAX, CHARS_MAX, COLUMNS_MAX, LINES_MAX, rendered

ESC = "\x1b"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain\ntext", "plain\ntext"),
        ("<b onclick=x>&'\"", "&lt;b onclick=x&gt;&amp;&#39;&#34;"),
        ("old\rnew", "new"),
        ("longer\rab", "abnger"),
        (f"longer\r{ESC}[Kab", "ab"),
        (f"gone{ESC}[2K\rkept", "kept"),
        ("1\n2\n" + f"{ESC}[1A\rtwo\n3", "1\ntwo\n3"),
        ("ab\bc", "ac"),
        ("a\tb", "a       b"),
        (f"{ESC}[31mred{ESC}[0m not", '<span class="t-f1">red</span> not'),
        (f"{ESC}[1;91mloud{ESC}[22;39m", '<span class="t-bold t-f9">loud</span>'),
        (f"{ESC}[38;5;196mx{ESC}[48;2;0;0;255my", '<span class="t-f9">x</span><span class="t-b12 t-f9">y</span>'),
        (f"{ESC}]8;;https://elsewhere.example{ESC}\\link{ESC}]8;;{ESC}\\", "link"),
        (f"{ESC}]0;a title\x07after", "after"),
        ("bell\x07 and null\x00", "bell and null"),
        (f"{ESC}[?25lhidden cursor", "hidden cursor"),
    ],
)
def test_what_is_printed_is_shown_so(printed, shown):
    assert str(rendered(printed)) == shown


def test_a_progress_bar_of_thousands_of_steps_is_one_line():
    assert str(rendered("".join(f"\rstep {n}" for n in range(5000)))) == "step 4999"


def test_there_is_a_limit_on_everything():
    assert str(rendered("x" * (CHARS_MAX * 2))) == "x" * COLUMNS_MAX + "…"
    assert len(str(rendered("\n" * 50_000)).split("\n")) == LINES_MAX
    assert "9999999" not in str(rendered(f"{ESC}[9999999Cx"))


@given(st.text(alphabet=st.sampled_from(f"ab<>&\"'\r\n\t\b{ESC}[];0123456789mKACDGH?"), max_size=200))
def test_no_text_becomes_markup_of_its_own(text):
    html = str(rendered(text))
    without = html.replace("</span>", "")
    while '<span class="t-' in without:
        before, _, after = without.partition("<span ")
        without = before + after.partition(">")[2]
    assert "<" not in without
    assert ">" not in without


def test_neither_a_moved_cursor_nor_a_number_without_end_takes_more_than_its_share():
    assert len(rendered(f"{ESC}[2000Cx\n" * 20_000)) < CELLS_MAX * 2
    assert str(rendered(f"{ESC}[{'1' * 5000}m\nafter")).endswith("\nafter")
