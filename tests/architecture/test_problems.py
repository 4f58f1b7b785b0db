"""The catalogue of refusals says the same in both languages."""

import re
import string

import pytest

from dure.core.model import TERMINAL
from dure.wire.catalogue import CATALOGUE
from dure.wire.problems import CodedError
from tests.architecture.source import modules


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_says_the_same_in_each_language(code):
    entry = CATALOGUE[code]
    fields = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (entry.en, entry.ko)]
    assert fields[0] >= fields[1], "Korean names what English does not"
    assert entry.en.strip()
    assert any("\uac00" <= char <= "\ud7a3" for char in entry.ko)


def test_what_somebody_may_not_do_is_korean_in_korean():
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    raised = re.findall(r'(?:"not_allowed", .*?action=|(?:require_owner|require_acting|_own)\(.*?, )"([^"]+)"', source)
    actions = set(raised) | set(re.findall(r'asks = "(.+?)" if .* else "(.+?)"\n', source)[0])
    assert len(actions) >= 10
    for action in actions:
        for who in ("administrators", "7 and administrators", "7 and whom it is shared with"):
            told = CodedError("not_allowed", user="1", action=action, who=who).sentence("ko")
            assert not re.search("[A-Za-z]", told.replace("GPU", "")), told
    for phase in TERMINAL:
        assert phase not in CodedError("already_ended", job="1", phase=phase.value, action="cancel").sentence("ko")
