"""The Hub's pages as people see them, with JupyterHub's own templates below ours."""

import inspect
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import jupyterhub
import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub import spawner
from jupyterhub._data import DATA_FILES_PATH
from jupyterhub.apihandlers import users

from dure.hub import theirs, wording

OURS = str(Path(wording.__file__).with_name("templates"))
THEIRS = str(Path(DATA_FILES_PATH, "templates"))


class Handler:
    def __init__(self, lang):
        self.request = SimpleNamespace(cookies={}, headers={"Accept-Language": lang})

    def static_url(self, path, **_more):
        return f"/hub/static/{path}"


def page(name, lang, **about):
    loader = ChoiceLoader([PrefixLoader({"templates": FileSystemLoader(THEIRS)}), FileSystemLoader([OURS, THEIRS])])
    texts = wording.template_vars("/", system_users=False)
    given = {"base_url": "/hub/", "prefix": "/", "version_hash": jupyterhub.__version__, "parsed_scopes": [], **about}
    environment = Environment(loader=loader, autoescape=True)
    static_url = Handler(lang).static_url
    return environment.get_template(name).render(
        static_url=static_url, texts=texts["texts"](None), portal_url=texts["portal_url"], **given
    )


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_workspace_that_did_not_start_says_why_or_where_that_stands(lang):
    why = page(
        "not_running.html", lang, failed=True, failed_message="No account <b> is left.", failed_html_message=None
    )
    assert "No account &lt;b&gt; is left." in why
    assert "hub.log" not in why
    unknown = page("not_running.html", lang, failed=True, failed_message=None, failed_html_message=None)
    assert "log/hub.log" in unknown
    assert "None" not in unknown.partition("<h1>")[2]


def test_what_jupyterhub_writes_by_script_is_known_there_and_said_in_our_words():
    """Another version of JupyterHub that says something else must not fall back to English unseen."""
    scripts = " ".join(path.read_text() for path in Path(DATA_FILES_PATH, "static/js").glob("*.js"))
    scripts += "".join(Path(THEIRS, name).read_text() for name in ("page.html", "spawn_pending.html"))
    scripts += "".join(inspect.getsource(module) for module in (spawner, users))
    assert theirs.ENGLISH.keys() <= theirs.KOREAN.keys()
    for english in theirs.KOREAN:
        for part in re.split(r"\{n\}|servers?\. |  ", english):
            assert part.strip(" ?.") in scripts, english
    assert json.dumps("모두 시작") in page("admin.html", "ko", api_page_limit=50, server_version="1")
    assert "Start my workspace" in page("admin.html", "en", api_page_limit=50, server_version="1")


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_of_tokens_ends_in_the_line_to_type(lang):
    client = SimpleNamespace(scopes=["read:users"])
    at = datetime(2026, 11, 22, 23, 10, tzinfo=UTC).replace(tzinfo=None)
    own = {"api_id": "a1", "note": "Server at /user/mina/", "last_activity": None, "created": at, "expires_at": None}
    shown = page(
        "token.html",
        lang,
        api_tokens=[own | {"scopes": ["self"]}],
        oauth_clients=[
            {"token_id": "a2", "description": "JupyterHub service dure", "last_activity": at, "created": at}
            | {"tokens": [client, client]}
        ],
    )
    assert "dure login <span" in shown
    assert shown.count('class="token-row"') == 2
    assert shown.count("read:users") == 1
    assert wording.TEXTS["portal"][lang == "ko"] in shown.partition('id="signed-in"')[2]
    assert "JupyterHub service" not in shown
