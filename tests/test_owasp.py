"""OWASP's Session Management Cheat Sheet, row by row, as a browser meets it: each class is one of its rows.

https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html; the page "Security" has the table.
"""

import json
import math
import secrets
import string
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.test import Client

from django_redis_sessions import conf, errors, keys, metrics, schemes, sessions, signals
from django_redis_sessions.backend import SessionStore
from tests.test_operations import HOSTILE

pytestmark = [pytest.mark.usefixtures("store", "site"), pytest.mark.django_db, pytest.mark.operator]

PACKAGE = Path(schemes.__file__).parent
OURS = "django_redis_sessions.middleware.SessionMiddleware"
ANY_CHARACTER = f"{string.ascii_letters}{string.digits}-_"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


@pytest.fixture(params=[OURS, DJANGOS], ids=["ours", "djangos"])
def site(request, settings):
    """A site under either middleware."""
    settings.MIDDLEWARE = [request.param, "django.contrib.auth.middleware.AuthenticationMiddleware"]


@pytest.fixture
def alice():
    return User.objects.create_user("alice", password="wonderland")


def cookie(client):
    return client.cookies["sessionid"]


def entered(client):
    """``client``, signed in; gives the cookie."""
    client.get("/sign-in/")
    return cookie(client)


def with_cookie(value):
    client = Client()
    client.cookies["sessionid"] = value
    return client


class TestTheNameOfTheCookie:
    def test_is_whatever_the_project_calls_it(self, settings, client, alice):
        settings.SESSION_COOKIE_NAME = "id"
        client.get("/sign-in/")
        assert list(client.cookies) == ["id"]
        assert client.get("/who/").content == b"alice"


class TestTheLengthOfASessionKey:
    @pytest.mark.parametrize(("scheme", "length"), [("hashed", 32), ("signed", 40)])
    def test_is_more_than_128_bits(self, client, configure, scheme, length):
        configure(KEYS=scheme)
        client.get("/write/?a=1")
        value = cookie(client).value
        assert len(value) == length
        assert len(value) * 8 >= 128


class TestTheEntropyOfASessionKey:
    def test_is_more_than_128_bits_from_the_systems_source(self, monkeypatch):
        assert 32 * math.log2(len(VALID_KEY_CHARS)) > 165
        drawn = []
        randbelow = secrets.randbelow
        monkeypatch.setattr(schemes, "randbelow", lambda number: drawn.append(number) or randbelow(number))
        key = SessionStore()._new_session_key()
        assert drawn == [len(VALID_KEY_CHARS) ** 32]
        assert set(key) <= set(VALID_KEY_CHARS)

    def test_is_126_bits_from_the_systems_source_if_it_is_signed(self, monkeypatch, configure):
        configure(KEYS="signed")
        assert schemes.RANDOM * math.log2(64) == 126
        drawn = []
        draw = secrets.token_urlsafe
        monkeypatch.setattr(schemes, "token_urlsafe", lambda size: drawn.append(draw(size)) or drawn[-1])
        key = SessionStore()._new_session_key()
        assert [key[: schemes.RANDOM]] == [seed[: schemes.RANDOM] for seed in drawn]

    @pytest.mark.parametrize(
        ("scheme", "characters"),
        [("hashed", string.ascii_lowercase + string.digits), ("signed", ANY_CHARACTER)],
    )
    def test_is_spread_over_all_characters(self, configure, scheme, characters):
        configure(KEYS=scheme)
        made = [SessionStore()._new_session_key() for _ in range(3000)]
        counted = Counter("".join(made))
        assert len(set(made)) == 3000
        assert set(counted) == set(characters)
        assert max(counted.values()) < 1.3 * min(counted.values())


class TestTheContentOfASessionKey:
    @pytest.mark.parametrize(
        ("scheme", "characters"), [("hashed", VALID_KEY_CHARS), ("signed", ANY_CHARACTER)]
    )
    def test_says_nothing_of_the_session(self, client, alice, configure, scheme, characters):
        configure(KEYS=scheme)
        value = entered(client).value
        assert set(value) <= set(characters)
        assert "alice" not in value
        other = Client()
        assert entered(other).value != value


class TestWhereSessionKeysAreKept:
    def test_no_key_and_no_value_in_redis_has_one(self, client, alice, behind, prefix):
        seen = []
        client.get("/write/?a=1")
        seen.append(cookie(client).value)
        seen.append(entered(client).value)
        client.get("/change-password/")
        seen.append(cookie(client).value)
        assert len(set(seen)) == 3
        stored = list(behind.scan_iter(f"{prefix}:*"))
        assert len(stored) >= 3
        for name in stored:
            kind = behind.type(name)
            text = name + (
                behind.get(name) if kind == b"string" else repr(behind.zrange(name, 0, -1)).encode()
            )
            assert not any(value.encode() in text for value in seen)


class TestOtherWaysThanACookie:
    def test_are_not_taken(self, client, alice):
        value = entered(client).value
        stranger = Client()
        for answer in (
            stranger.get(f"/who/?sessionid={value}"),
            stranger.post("/who/", {"sessionid": value}),
            stranger.get("/who/", headers={"X-Session-ID": value, "Authorization": f"Bearer {value}"}),
            stranger.get(f"/who/;sessionid={value}"),
        ):
            assert answer.content != b"alice"
        assert "sessionid" not in stranger.cookies


class TestTheStorageOfTheBrowser:
    """HTML5 Web Storage, which every script of the page can read."""

    def test_has_no_session_key_because_no_page_has_one(self, client, alice):
        value = entered(client).value
        assert cookie(client)["httponly"]
        for path in ("/read/", "/who/", "/write/?a=1"):
            answer = client.get(path)
            assert value.encode() not in answer.content
            assert not any(value in text for name, text in answer.items() if name != "Set-Cookie")

    def test_is_used_by_no_page_of_the_package(self):
        pages = [path for path in PACKAGE.rglob("*") if path.suffix in (".html", ".js")]
        assert pages
        assert not any(
            word in path.read_text() for path in pages for word in ("localStorage", "sessionStorage")
        )


class TestTheAttributesOfTheCookie:
    def test_keep_it_from_scripts_and_from_other_sites(self, client):
        client.get("/write/?a=1")
        made = cookie(client)
        assert made["httponly"]
        assert made["samesite"] == "Lax"
        assert (made["domain"], made["path"]) == ("", "/")

    def test_are_what_the_project_says(self, client, settings):
        settings.SESSION_COOKIE_SECURE = True
        settings.SESSION_COOKIE_SAMESITE = "Strict"
        settings.SESSION_COOKIE_PATH = "/write/"
        settings.SESSION_COOKIE_DOMAIN = "shop.example"
        client.get("/write/?a=1")
        made = cookie(client)
        assert made["secure"]
        assert (made["samesite"], made["path"], made["domain"]) == ("Strict", "/write/", "shop.example")

    def test_let_it_go_with_the_browser_if_the_project_says_so(self, client, settings):
        settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
        client.get("/write/?a=1")
        assert (cookie(client)["max-age"], cookie(client)["expires"]) == ("", "")


class TestAKeyThatThisSiteHasNotMade:
    """Strict session management: nothing that a visitor brings becomes a session."""

    @pytest.mark.parametrize("saves_every_request", [True, False])
    def test_is_replaced_by_one_that_it_has(self, settings, saves_every_request):
        settings.SESSION_SAVE_EVERY_REQUEST = saves_every_request
        chosen = "chosenbytheattacker0000000000000"
        client = with_cookie(chosen)
        client.get("/write/?a=1")
        assert cookie(client).value != chosen
        assert not SessionStore().exists(chosen)

    def test_is_no_session_of_whoever_signs_in(self, alice):
        chosen = "chosenbytheattacker0000000000000"
        victim = with_cookie(chosen)
        entered(victim)
        assert with_cookie(chosen).get("/who/").content == b""


class TestACookieAsAnyOtherInput:
    @pytest.mark.parametrize("scheme", ["hashed", "signed"])
    @pytest.mark.parametrize("value", [*HOSTILE, "x" * 40])
    def test_is_not_trusted(self, value, scheme, behind, prefix, configure):
        configure(KEYS=scheme)
        client = with_cookie(value)
        assert client.get("/read/").json() == {}
        assert list(behind.scan_iter(f"{prefix}:*")) == []


class TestANewKeyAfterAChangeOfPrivilege:
    def test_at_sign_in_ends_the_old_one(self, client, alice):
        client.get("/write/?cart=full")
        fixed = cookie(client).value
        assert entered(client).value != fixed
        assert with_cookie(fixed).get("/read/").json() == {}
        assert client.get("/read/").json()["cart"] == "full"

    def test_at_a_change_of_the_password_ends_the_old_one(self, client, alice):
        before = entered(client).value
        client.get("/change-password/")
        assert cookie(client).value != before
        assert client.get("/who/").content == b"alice"
        assert with_cookie(before).get("/who/").content == b""

    def test_is_given_whenever_the_project_wants(self, client, alice):
        before = entered(client).value
        session = SessionStore(before)
        session.cycle_key()
        assert not SessionStore().exists(before)


class TestTheEndOfASession:
    def test_is_decided_by_the_server(self, client, alice, behind, prefix, settings):
        """Whatever a browser does with the cookie's age: the record is gone when its ttl is over."""
        settings.SESSION_COOKIE_AGE = 100
        value = entered(client).value
        name = conf.store().keys.record(value)
        assert 95 < behind.ttl(name) <= 100
        behind.unlink(name)
        assert with_cookie(value).get("/who/").content == b""

    def test_after_idling_is_the_time_without_a_save(self, client, alice, configure, behind):
        configure(TTL=timedelta(minutes=15))
        value = entered(client).value
        assert 890 < behind.ttl(conf.store().keys.record(value)) <= 900

    def test_comes_in_any_case_after_the_absolute_time(self, client, alice, configure, behind):
        configure(TTL=600, ABSOLUTE_TTL=300, ROLLING=True)
        value = entered(client).value
        assert 295 < behind.ttl(conf.store().keys.record(value)) <= 300

    def test_does_not_come_later_because_a_client_says_so(self, client, alice, behind):
        value = entered(client).value
        before = behind.ttl(conf.store().keys.record(value))
        other = with_cookie(value)
        other.cookies["sessionid"]["max-age"] = 10**9
        other.get("/who/")
        assert behind.ttl(conf.store().keys.record(value)) <= before


class TestSigningOut:
    def test_ends_the_session_on_the_server_and_in_the_browser(self, client, alice):
        value = entered(client).value
        client.get("/sign-out/")
        assert (cookie(client).value, cookie(client)["max-age"]) == ("", 0)
        assert not SessionStore().exists(value)
        assert with_cookie(value).get("/who/").content == b""


class TestCaches:
    def test_are_told_that_a_page_depends_on_the_cookie(self, client, alice):
        entered(client)
        for path in ("/read/", "/write/?a=1"):
            assert "Cookie" in client.get(path)["Vary"]


class TestGuessing:
    """A guess finds nothing, makes nothing, and can be counted."""

    def test_is_counted(self, configure, client):
        configure(METRICS="tests.test_owasp.guesses")
        guesses.missed = 0
        for number in range(20):
            with_cookie(f"guess{number:027}").get("/read/")
        assert guesses.missed == 20

    def test_leaves_nothing(self, behind, prefix):
        for number in range(20):
            with_cookie(f"guess{number:027}").get("/read/")
        assert list(behind.scan_iter(f"{prefix}:*")) == []


class Guesses(metrics.Metrics):
    missed = 0

    def operated(self, operation, seconds, outcome):
        self.missed += (operation, outcome) == ("load", "missing")


guesses = Guesses()


class TestTheLifeOfASessionInLogs:
    def test_is_told_by_signals_with_a_handle_and_never_the_key(self, client, alice):
        told = []

        def note(signal, **facts):
            told.append((signal, json.dumps({name: str(fact) for name, fact in facts.items()})))

        named = (signals.session_created, signals.session_rotated, signals.session_revoked)
        for signal in named:
            signal.connect(note)
        try:
            values = [entered(client).value]
            client.get("/change-password/")
            values.append(cookie(client).value)
            client.get("/sign-out/")
        finally:
            for signal in named:
                signal.disconnect(note)
        assert {signal for signal, _ in told} == set(named)
        text = " ".join(facts for _, facts in told)
        assert all(keys.digest(value) in text for value in values)
        assert not any(value in text for value in values)

    def test_has_no_key_in_any_line(self, client, alice, caplog, behind):
        caplog.set_level(0)
        value = entered(client).value
        behind.set(conf.store().keys.record(value), b"\x01 damaged", ex=60)
        client.get("/who/")
        assert keys.digest(value) in caplog.text
        assert value not in caplog.text

    def test_has_none_in_a_representation_or_an_error(self, client, alice):
        value = entered(client).value
        session = SessionStore(value)
        session["a"] = 1
        SessionStore(value).flush()
        with pytest.raises(errors.SessionEnded) as ended:
            session.save()
        assert value not in f"{ended.value} {ended.value!r} {session!r}"


class TestSeveralSessionsOfOneUser:
    def test_are_as_many_as_the_project_wants(self, alice, configure):
        configure(MAX_SESSIONS_PER_USER=1)
        first, second = Client(), Client()
        entered(first)
        entered(second)
        assert first.get("/who/").content == b""
        assert second.get("/who/").content == b"alice"

    def test_can_be_seen_and_ended(self, client, alice):
        value = entered(client).value
        (info,) = sessions.of_user(alice.pk)
        assert sessions.revoke(info.handle)
        assert with_cookie(value).get("/who/").content == b""
