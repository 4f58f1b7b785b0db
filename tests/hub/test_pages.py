"""The Hub's pages as people see them, with JupyterHub's own templates below ours."""

from pathlib import Path
from types import SimpleNamespace

import jupyterhub
import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH

from dure.hub import wording

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
