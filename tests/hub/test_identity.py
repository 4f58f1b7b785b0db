"""Identity by token and by header. (Identity by the Hub is tested against a real Hub, in tests/e2e.)"""

import pytest

from dure.adapters.identity.header import SECRET_HEADER, HeaderIdentity
from dure.adapters.identity.hub import Cache, HubAccess, HubIdentity, HubUnavailableError, SignInError, parse_cookies
from dure.adapters.identity.token import TokenIdentity
from dure.adapters.processes import free_port
from dure.ports import Principal

TOKEN = "a-token-of-enough-length"
ALICE = Principal("alice", True, ("vision",), "token")


def test_a_token_is_known_whole_or_not_at_all():
    identity = TokenIdentity({TOKEN: ALICE})
    assert identity.principal(TOKEN, {}, None) is ALICE
    for wrong in (None, "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "한글"):
        assert identity.principal(wrong, {}, None) is None


def test_a_token_that_can_be_guessed_is_refused():
    with pytest.raises(ValueError, match="16 characters"):
        TokenIdentity({"": ALICE})


@pytest.fixture
def header():
    teams = {"alice": ("vision",)}
    return HeaderIdentity(["10.0.0.0/8", "::1"], TOKEN, admins=["root1"], teams_of=lambda name: teams.get(name, ()))


def sent(**headers):
    """What the proxy sends: names with hyphens, and its secret."""
    return {name.replace("_", "-"): value for name, value in headers.items()} | {SECRET_HEADER: TOKEN}


def test_the_header_counts_from_the_proxy_only(header):
    named = sent(x_forwarded_user="alice")
    assert header.principal(None, named, "10.1.2.3") == Principal("alice", False, ("vision",), "header")
    assert header.principal(None, named, "::ffff:10.1.2.3") is not None
    for stranger in ("192.168.1.1", "127.0.0.1", "not an address", None):
        assert header.principal(None, named, stranger) is None


@pytest.mark.parametrize("secret", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "한글"])
def test_the_header_counts_beside_the_proxys_secret_only(header, secret):
    named = {"x-forwarded-user": "root1"} | ({} if secret is None else {SECRET_HEADER: secret})
    assert header.principal(None, named, "10.1.2.3") is None


def test_header_names_are_taken_in_order_and_empty_ones_are_none(header):
    assert header.principal(None, sent(kubeflow_userid="root1"), "::1").admin
    assert header.principal(None, sent(x_forwarded_user=" "), "::1") is None
    assert header.principal(None, sent(x_forwarded_user="a" * 129), "::1") is None
    assert header.principal(None, sent(), "::1") is None


def test_kubeflows_prefix_is_cut_off():
    identity = HeaderIdentity(["::1"], TOKEN, prefix="accounts.google.com:")
    found = identity.principal(None, sent(kubeflow_userid="accounts.google.com:bob@example.org"), "::1")
    assert found == Principal("bob@example.org", via="header")


@pytest.mark.parametrize(
    ("trusted", "secret"), [([], TOKEN), (["10.0.0.0/33"], TOKEN), (["::1"], ""), (["::1"], "x" * 15)]
)
def test_header_identity_that_anybody_could_use_is_refused(trusted, secret):
    with pytest.raises(ValueError, match=r"addresses of the proxy|does not appear|fewer than 16"):
        HeaderIdentity(trusted, secret)


@pytest.fixture
def nobody_home():
    """Hub identity where no Hub answers."""
    access = HubAccess(
        api_url=f"http://127.0.0.1:{free_port()}/hub/api",
        api_token="service-token",
        client_id="service-dure",
        prefix="/services/dure/",
        hub_prefix="/hub/",
    )
    identity = HubIdentity(access, clock=lambda: 0.0)
    yield identity
    identity.client.close()


def test_a_hub_that_does_not_answer_is_not_a_refusal(nobody_home):
    with pytest.raises(HubUnavailableError, match="Try again"):
        nobody_home.principal("some-token", {}, None)


def test_no_token_and_a_foreign_cookie_ask_nobody(nobody_home):
    assert nobody_home.principal(None, {}, None) is None
    assert nobody_home.principal("caf\u00e9-token", {}, None) is None
    assert nobody_home.principal(None, {"cookie": "dure-session=forged.by.hand"}, None) is None
    assert nobody_home.principal("x" * 10_000, {}, None) is None


@pytest.mark.parametrize(
    "path", ["https://evil.example/", "//evil.example", "/services/dure//evil", "/services/dure/../x"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(nobody_home, path):
    _address, state = nobody_home.begin_sign_in(path, "nonce")
    assert nobody_home.signer.loads(state)["next"] == "/services/dure/"


def test_the_way_back_belongs_to_the_browser_that_began(nobody_home):
    _address, state = nobody_home.begin_sign_in("/services/dure/jobs", "nonce")
    for cookie in (None, "", state + "x"):
        with pytest.raises(SignInError):
            nobody_home.finish_sign_in("code", state, cookie)


def test_answers_are_remembered_for_a_while_and_not_without_end():
    now = [0.0]
    cache = Cache(lambda: now[0], valid_s=10, size_max=2)
    for token in "abc":
        cache.put((token, ""), ALICE)
    assert cache.get(("a", "")) == (False, None)
    assert cache.get(("c", "")) == (True, ALICE)
    cache.drop("c")
    assert cache.get(("c", "")) == (False, None)
    now[0] = 11
    assert cache.get(("b", "")) == (False, None)


def test_an_unreadable_cookie_does_not_hide_the_others():
    assert parse_cookies('a={"x":"y"}; odd name=1; dure-session="v.a-l"') == {
        "a": '{"x":"y"}',
        "odd name": "1",
        "dure-session": "v.a-l",
    }
