"""By session id, by token, by hash: what the page "Three strategies" says of each, as a site and a thief meet it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_redis_sessions import sessions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.client import SessionClient
from tests.test_key_moves import gateway, said

__all__ = ["gateway"]  # a fixture

SECRET = "only for tests, only for tests, only for tests"  # SECRET_KEY of tests.settings
#: ``{strategy: (KEYS, whether Redis has what the cookie says, round trips of a forged cookie, its length)}``
STRATEGIES = {
    "by session id": ("plain", True, 1, 32),
    "by token": ("signed", False, 0, 40),
    "by token of a gateway": ("shop.keys.Gateway", False, 0, 139),
    "by hash": ("hashed", False, 1, 32),
}

pytestmark = [pytest.mark.usefixtures("site"), pytest.mark.django_db]


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(strategy: str, configure: Any, settings: Any, gateway: Any) -> None:
    """One setting makes the strategy."""
    settings.MIDDLEWARE = [
        "django_redis_sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    configure(KEYS=STRATEGIES[strategy][0])
    User.objects.create_user("alice", password="wonderland")


@pytest.fixture
def alice() -> Client:
    browser = Client()
    browser.get("/sign-in/")
    return browser


def cookie_of(browser: Client) -> str:
    return browser.cookies["sessionid"].value


def who_is(cookie: str) -> str:
    """Whom the site takes a browser with this cookie for."""
    browser = Client()
    browser.cookies["sessionid"] = cookie
    return browser.get("/who/").content.decode()


def another(cookie: str) -> str:
    """Text that looks like this session key."""
    return ("b" if cookie[0] != "b" else "c") + cookie[1:]


class TestAVisitor:
    def test_signs_in_and_out_under_each(self, alice, strategy):
        cookie = cookie_of(alice)
        assert len(cookie) == STRATEGIES[strategy][3]
        assert who_is(cookie) == "alice"
        alice.get("/sign-out/")
        assert who_is(cookie) == ""

    def test_is_known_to_other_services_under_each(self, alice, strategy, server, prefix):
        service = SessionClient(
            server.url, prefix=prefix, options=server.options, keys=STRATEGIES[strategy][0], secret_keys=[SECRET]
        )  # fmt: skip
        assert service.open(cookie_of(alice)).user_id == str(User.objects.get().pk)
        service.close()

    def test_costs_one_round_trip(self, alice, behind):
        before = said(behind)
        SessionStore(cookie_of(alice)).load()
        assert said(behind) - before == 1


class TestAThief:
    def test_who_reads_redis_or_a_backup_signs_in_where_it_has_session_keys(
        self, alice, strategy, behind, prefix
    ):
        names = [name.decode().removeprefix(f"{prefix}:") for name in behind.scan_iter(f"{prefix}:*")]
        values = [behind.get(f"{prefix}:{name}") for name in names if name.startswith("r:")]
        texts = {part for name in names for part in (name, name.partition(":")[2])}
        texts |= {value.decode("latin-1") for value in values}
        for name in names:
            if name.startswith("u:"):
                texts |= {member.decode() for member in behind.zrange(f"{prefix}:{name}", 0, -1)}
        found = {who_is(text) for text in texts if text.isprintable()}
        assert ("alice" in found) == STRATEGIES[strategy][1]

    def test_who_reads_a_log_or_a_page_signs_in_under_none(self, alice):
        (info,) = sessions.of_user(str(User.objects.get().pk))
        assert who_is(info.handle) == ""
        assert cookie_of(alice) not in str(info)

    def test_who_has_stolen_the_cookie_is_the_visitor_until_the_session_ends(self, alice):
        stolen = cookie_of(alice)
        assert who_is(stolen) == "alice"
        sessions.revoke_user(str(User.objects.get().pk))
        assert who_is(stolen) == ""


@pytest.mark.unix
class TestAFlood:
    def test_reaches_redis_where_a_forged_cookie_cannot_be_told(self, alice, strategy, behind):
        forged = another(cookie_of(alice))
        before = said(behind)
        for _ in range(20):
            assert who_is(forged) == ""
        assert said(behind) - before == 20 * STRATEGIES[strategy][2]
