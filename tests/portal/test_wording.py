"""Every sentence of the templates exists in Korean, with the same numbers in it, and the catalogue has nothing else."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import dure.portal
from dure.portal.wording import LOCALE, catalogue, environment, linked, told
from dure.wire.language import chosen_language

TEMPLATES = Path(dure.portal.__file__).parent / "templates"
PLACEHOLDER = re.compile(r"%\(\w+\)s")
SAME_IN_BOTH = {"API", "GPUs", "by %(actor)s"}


def said():
    found = set()
    for path in TEMPLATES.rglob("*.html"):
        with path.open("rb") as file:
            options = {"extensions": "jinja2.ext.i18n"}
            found |= {sentence for _, sentence, _, _ in extract("jinja2.ext:babel_extract", file, options=options)}
    return found


def korean():
    with (LOCALE / "ko.po").open(encoding="utf-8") as file:
        return {message.id: message for message in read_po(file, locale="ko") if message.id}


def test_templates_say_something():
    assert len(said()) > 80


def test_every_sentence_has_its_korean_and_the_catalogue_nothing_else():
    assert set(korean()) == said()


@pytest.mark.parametrize("sentence", sorted(said(), key=str), ids=str)
def test_a_korean_sentence_is_written_with_the_same_values(sentence):
    message = korean()[sentence]
    written = message.string if isinstance(message.string, tuple) else (message.string,)
    one = sentence if isinstance(sentence, str) else sentence[0]
    assert all(written)
    assert not message.fuzzy
    assert all(set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(one)) for text in written)
    assert one in SAME_IN_BOTH or re.search("[가-힣]", written[0])


def test_the_catalogue_is_read_without_a_build_step():
    assert catalogue("ko").gettext("Waiting") == "대기 중"
    assert catalogue("en").gettext("Waiting") == "Waiting"


def test_a_job_that_a_sentence_names_is_a_link_and_nothing_else_is_markup():
    shown = str(linked("<b> in use by ada's j-7k2m9x4q; j-not", "/services/dure"))
    assert shown == (
        '&lt;b&gt; in use by ada&#39;s <a class="id" href="/services/dure/jobs/j-7k2m9x4q">j-7k2m9x4q</a>; j-not'
    )


def test_values_are_escaped_in_both_languages():
    for lang in ("en", "ko"):
        template = environment(lang).from_string('{{ _("team %(team)s", team=name) }}')
        assert "&lt;b&gt;" in template.render(name="<b>")


@pytest.mark.parametrize(
    ("cookie", "accepted", "chosen"),
    [
        (None, "", "en"),
        (None, "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        (None, "fr,en;q=0.4,ko;q=0.5", "ko"),
        ("en", "ko", "en"),
        ("xx", "ko", "ko"),
        (None, "ko;q=much", "en"),
    ],
)
def test_the_language_is_the_cookies_then_the_browsers(cookie, accepted, chosen):
    assert chosen_language(cookie, accepted) == chosen


def test_moments_in_a_sentence_are_for_the_script_to_write_in_the_reader_s_zone():
    time = '<time datetime="2026-05-01T09:00Z" data-minute="1777626000.0">2026-05-01 09:00 UTC</time>'
    assert told("<b> reserved until 2026-05-01T09:00Z.") == f"&lt;b&gt; reserved until {time}."
    assert told("2026-05-01T09:00Z까지 예약") == f"{time}까지 예약"
    assert "data-minute" in linked("j-abcdefgh waits until 2026-05-01T09:00Z", "/base")
