"""Every help page is said in both languages and fits into the terminal."""

import re

import click
import pytest
from rich.cells import cell_len

from dure.cli import app

ENGLISH = re.compile(r"[A-Za-z]{2,} [a-z]{2,}")


def pages(command=app.GROUP, path=()):
    """Return how every command but the hidden ones is typed."""
    found = [path]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            found += pages(below, (*path, name))
    return found


@pytest.mark.parametrize("path", pages(), ids=" ".join)
def test_a_help_page_is_said_in_both_languages(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert app._run(["--lang", "ko", *path, "--help"]) == 0
    korean = capsys.readouterr().out
    assert korean.startswith("사용법: ")
    assert not ENGLISH.search(re.sub(r"`[^`]*`|^사용법:.*|-[-\w]+ \S+", "", korean)), korean
    assert max(map(cell_len, korean.splitlines())) <= 80
    assert app._run(["--lang", "en", *path, "--help"]) == 0
    english = capsys.readouterr().out
    assert english.startswith("Usage: ")
    assert not re.search("[가-힣]", english.replace("언어", "")), english
    assert "..." not in english.partition("Commands:")[2], "the list of commands is not cut short"


@pytest.mark.parametrize(("lang", "told"), [("ko", "[기본값: 30; 1<=x<=500]"), ("en", "[default: 30; 1<=x<=500]")])
def test_what_click_adds_is_said_in_the_language_too(lang, told, capsys):
    assert app._run(["--lang", lang, "jobs", "--help"]) == 0
    assert told in capsys.readouterr().out
