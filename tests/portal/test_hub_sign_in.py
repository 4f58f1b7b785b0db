"""Signing in through the Hub, as far as the portal's own steps go; tests/e2e walks the whole way with a real Hub."""

from functools import partial

import pytest
from starlette.testclient import TestClient

from dure.adapters.blobs import FolderBlobStores
from dure.adapters.identity.hub import HubAccess, HubIdentity, HubUnavailableError, SignInError
from dure.adapters.outputs import SpoolOutputs
from dure.adapters.store import SqlStore
from dure.adapters.system import SystemClock, SystemIds
from dure.api.app import create_app
from dure.control.commands import Commands
from dure.control.platform_holder import PlatformHolder
from dure.control.queries import Queries
from dure.control.sessions import Sessions
from dure.control.stream_hints import StreamHints
from dure.portal.app import mount
from dure.portal.sign_in import HubSignIn, is_below
from dure.ports import Ports, Principal
from tests.core.builders import a_platform

BASE = "/jhub/services/dure"


@pytest.fixture
def sign_in():
    access = HubAccess("http://127.0.0.1:1/hub/api", "t" * 32, "service-dure", f"{BASE}/", "/jhub/hub/")
    identity = HubIdentity(access, clock=lambda: 0.0)
    yield HubSignIn(identity, lambda: "nonce", (SignInError, HubUnavailableError))
    identity.client.close()


@pytest.fixture
def client(sign_in, tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path / 'dure.db'}")
    store.migrate()
    outputs = SpoolOutputs(tmp_path)
    clock = SystemClock()
    ports = Ports(store, {}, outputs, FolderBlobStores(tmp_path / "blobs"), sign_in.hub, clock, SystemIds())
    platform = PlatformHolder(a_platform())
    commands, queries = Commands(ports, platform, lambda: None), Queries(ports, platform, "0.1.0")
    sessions = Sessions(store.sessions, ports.blobs, platform, clock)
    hook = partial(mount, sign_in=sign_in, store=store, clock=clock)
    app = create_app(commands, queries, sign_in.hub, StreamHints(), sessions, base_path=BASE, portal_mount=hook)
    with TestClient(app, follow_redirects=False) as found:
        yield found
    store.close()


def test_who_is_not_signed_in_is_led_to_the_hub_and_remembers_the_way(client):
    answer = client.get(f"{BASE}/jobs/j-1?x=1")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/jhub/hub/api/oauth2/authorize?client_id=service-dure")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("dure-sign-in=")
    assert f"Path={BASE}/" in cookie
    assert "HttpOnly" in cookie
    assert "Secure" not in cookie
    over_tls = client.get(f"{BASE}/", headers={"x-forwarded-proto": "https"})
    assert "Secure" in over_tls.headers["set-cookie"]


def test_a_way_back_that_this_browser_did_not_begin_is_refused_with_a_page(client):
    for query in ("code=c&state=s", "error=access_denied", ""):
        answer = client.get(f"{BASE}/oauth_callback?{query}")
        assert answer.status_code == 403
        assert "Open the portal again" in answer.text


def test_a_hub_that_does_not_answer_is_said_so(client, sign_in):
    move = sign_in.begin(f"{BASE}/")
    client.cookies.set("dure-sign-in", move.cookies[0].value)
    answer = client.get(f"{BASE}/oauth_callback", params={"code": "c", "state": move.cookies[0].value})
    assert answer.status_code == 403
    assert "JupyterHub does not answer" in answer.text


def test_tokens_are_not_taken_from_addresses_or_forms(client):
    assert client.get(f"{BASE}/?token=abc").headers["location"].startswith("/jhub/hub/")
    assert client.post(f"{BASE}/sign-in", data={"token": "abc"}).status_code == 401


def test_the_ways_out_lead_to_the_persons_own_workspace(sign_in):
    links = sign_in.links(Principal("kim@lab/x"))
    assert links.notebook == "/jhub/user/kim%40lab%2Fx/lab"
    assert links.home == "/jhub/hub/home"
    move = sign_in.sign_out({})
    assert move.address == "/jhub/hub/logout"
    assert move.cookies[0].max_age_s == 0


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/x/", True),
        ("/x/jobs/j-1?a=b", True),
        ("/y/", False),
        ("/x", False),
        ("/x/../y", False),
        ("/x//evil.example", False),
        ("https://evil.example/x/", False),
        ("/x/\\evil", False),
    ],
)
def test_only_what_lies_below_the_prefix_is_ours(path, ours):
    assert is_below(path, "/x") is ours
