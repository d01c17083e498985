"""The pages on which people see and end their own sessions: who may do what, and what is said to nonsense."""

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path, reverse
from django.utils import translation

from django_redis_sessions import sessions, views
from tests import urls
from tests.browser import FIREFOX_ON_WINDOWS, SAFARI_ON_IPHONE
from tests.servers import RedisServer

PAGE, ONE, OTHERS = "/devices/", "/devices/sign-out/", "/devices/sign-out-others/"
LANGUAGES = ("de", "fr")
GONE = "That session has ended already."


def enter(request, name):
    login(request, User.objects.get(username=name))
    return HttpResponse()


urlpatterns = [
    *urls.urlpatterns,
    path("devices/", include("django_redis_sessions.urls")),
    path("entrance/", urls.untouched, name="entrance"),
    path("enter/<name>/", enter),
    path("goodbye/", urls.untouched, name="goodbye"),
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def project(settings):
    """A project with all that a page can make use of."""
    settings.MIDDLEWARE = [
        "django_redis_sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]
    settings.LOGIN_URL = "entrance"
    settings.TIME_ZONE = "UTC"


@pytest.fixture
def site(project, store):
    """The project on the server that all tests share."""


@pytest.fixture
def alice(site):
    return User.objects.create_user("alice", password="wonderland")


@pytest.fixture
def bob(site):
    return User.objects.create_user("bob", password="builder")


def signed_in(user, user_agent=FIREFOX_ON_WINDOWS, **options):
    """A browser in which somebody has signed in."""
    client = Client(headers={"user-agent": user_agent} if user_agent else None, **options)
    client.get(f"/enter/{user}/")
    client.user = user
    return client


def handle_of(client):
    (info,) = (
        info for info in sessions.of_user(client.user, client.cookies["sessionid"].value) if info.is_current
    )
    return info.handle


@pytest.fixture
def here(alice):
    return signed_in(alice)


@pytest.fixture
def there(alice):
    """Another device of the same person."""
    return signed_in(alice, SAFARI_ON_IPHONE)


@pytest.fixture
def bobs(bob):
    return signed_in(bob)


def is_signed_in(client):
    return client.get("/who/").content != b""


def text(response):
    """What a person reads: the page without its tags."""
    assert response.status_code == 200, response
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", response.content.decode())))


def listed(response):
    """The handles that a page could send, in its order."""
    return re.findall(r'name="handle" value="([^"]+)"', response.content.decode())


class TestThePage:
    def test_shows_all_devices_and_marks_this_one(self, here, there, bobs):
        response = here.get(PAGE)
        shown = text(response)
        assert listed(response) == [handle_of(here), handle_of(there)]
        assert shown.index("Firefox on Windows – this device") < shown.index("Safari on iPhone")
        assert shown.count("this device") == 1
        assert "127.0.0.1" in shown

    def test_tells_times_exactly_and_in_words(self, here, there):
        response = here.get(PAGE)
        (info,) = (info for info in response.context["devices"] if not info.info.is_current)
        assert f'datetime="{info.info.last_seen.isoformat(timespec="seconds")}"' in response.content.decode()
        assert "just now" in text(response)

    def test_tells_how_long_ago_a_device_was_last_active(self, here, there, monkeypatch):
        of_user = sessions.of_user

        def hours_later(user, current):
            for info in of_user(user, current):
                yield replace(info, last_seen=info.last_seen - timedelta(hours=3, minutes=5))

        monkeypatch.setattr(sessions, "of_user", hours_later)
        assert "3 hours ago" in text(here.get(PAGE))

    def test_shows_no_session_key_and_is_kept_by_nobody(self, here, there):
        response = here.get(PAGE)
        for client in (here, there):
            assert client.cookies["sessionid"].value not in response.content.decode()
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]

    def test_offers_no_button_for_others_when_there_are_none(self, here):
        assert "Sign out all other devices" not in text(here.get(PAGE))

    def test_has_neither_scripts_nor_styles_in_it(self, here, there):
        """It works under ``default-src 'self'``."""
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", here.get(PAGE).content.decode())

    def test_escapes_what_a_browser_calls_itself(self, alice, here):
        signed_in(alice, "<script>alert(1)</script>/1.0")
        assert "<script" not in here.get(PAGE).content.decode()

    @pytest.mark.parametrize("user_agent", [None, "", "something that nobody knows"])
    def test_lists_a_device_that_it_does_not_know(self, alice, here, user_agent):
        signed_in(alice, user_agent)
        assert "Unknown device" in text(here.get(PAGE))

    def test_gives_many_devices_in_pages(self, alice, here, monkeypatch):
        monkeypatch.setattr(views, "PER_PAGE", 2)
        for _ in range(3):
            signed_in(alice)
        assert len(listed(here.get(PAGE))) == len(listed(here.get(PAGE, {"page": "2"}))) == 2
        assert "Page 1 of 2" in text(here.get(PAGE))
        assert "Page 2 of 2" in text(here.get(PAGE, {"page": "2"}))

    @pytest.mark.parametrize("number", ["0", "-1", "7", "one", "", "9" * 5000, "\0"])
    def test_gives_some_page_whatever_is_asked_for(self, here, number):
        assert "this device" in text(here.get(PAGE, {"page": number}))

    def test_is_the_same_under_asgi(self, here):
        client = AsyncClient()
        client.cookies = here.cookies
        assert "Firefox on Windows – this device" in text(async_to_sync(client.get)(PAGE))

    def test_is_seen_by_nobody_who_is_not_signed_in(self, site):
        response = Client().get(PAGE)
        assert (response.status_code, response["Location"]) == (302, f"/entrance/?next={PAGE}")

    def test_is_only_read(self, here):
        assert here.post(PAGE).status_code == 405


class TestSigningOutADevice:
    def test_ends_its_session_and_comes_back(self, here, there):
        response = here.post(ONE, {"handle": handle_of(there)}, follow=True)
        assert response.redirect_chain == [(PAGE, 302)]
        assert "That device is signed out." in text(response)
        assert is_signed_in(here)
        assert not is_signed_in(there)

    def test_says_it_once(self, here, there):
        here.post(ONE, {"handle": handle_of(there)}, follow=True)
        assert "That device is signed out." not in text(here.get(PAGE))

    def test_that_is_this_one_is_a_logout(self, here, there, settings):
        settings.LOGOUT_REDIRECT_URL = "goodbye"
        response = here.post(ONE, {"handle": handle_of(here)})
        assert (response.status_code, response["Location"]) == (302, "/goodbye/")
        assert response.cookies["sessionid"].value == ""
        assert not is_signed_in(here)
        assert is_signed_in(there)

    def test_that_is_this_one_leads_to_the_entrance_where_nothing_else_is_set(self, here):
        assert here.post(ONE, {"handle": handle_of(here)})["Location"] == "/entrance/"

    def test_twice_is_once(self, here, there):
        handle = handle_of(there)
        here.post(ONE, {"handle": handle})
        here.get(PAGE)
        assert GONE in text(here.post(ONE, {"handle": handle}, follow=True))

    def test_that_ends_meanwhile_is_no_error(self, here, there, monkeypatch):
        handle, revoke = handle_of(there), sessions.revoke
        monkeypatch.setattr(sessions, "revoke", lambda handle: revoke(handle) and revoke(handle))
        assert GONE in text(here.post(ONE, {"handle": handle}, follow=True))

    def test_works_without_messages(self, here, there, settings):
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "messages" not in name]
        (engine,) = settings.TEMPLATES
        settings.TEMPLATES = [{**engine, "OPTIONS": {}}]
        response = here.post(ONE, {"handle": handle_of(there)}, follow=True)
        assert listed(response) == [handle_of(here)]


class TestSigningOutAllOthers:
    def test_ends_them_and_keeps_this_one(self, here, there, alice, bobs):
        third = signed_in(alice)
        assert "2 other devices are signed out." in text(here.post(OTHERS, follow=True))
        assert [is_signed_in(client) for client in (here, there, third, bobs)] == [True, False, False, True]

    def test_counts_one_as_one(self, here, there):
        assert "1 other device is signed out." in text(here.post(OTHERS, follow=True))

    def test_says_when_there_were_none(self, here):
        assert "No other device was signed in." in text(here.post(OTHERS, follow=True))
        assert is_signed_in(here)


class TestASessionThatIsNotTheirOwn:
    @pytest.fixture(
        params=[
            "somebody else's",
            "anonymous",
            "missing",
            "",
            "*",
            "x" * 24,
            "\0",
            "../../etc/passwd",
            "' OR 1=1 --",
            "{}{0}%s",
            "é\ud7ff💩",
            "x" * 100_000,
        ],
        ids=lambda value: ascii(value)[:24],
    )
    def handle(self, request, bobs):
        if request.param == "somebody else's":
            return handle_of(bobs)
        if request.param == "anonymous":
            visitor = Client()
            visitor.get("/write/?cart=full")
            (info,) = sessions.iterate(anonymous=True)
            return info.handle
        return request.param

    @pytest.mark.operator  # who counts all sessions
    def test_is_one_that_has_ended_already(self, here, there, bobs, handle):
        before = sessions.count()
        given = {} if handle == "missing" else {"handle": handle}
        response = here.post(ONE, given, follow=True)
        assert GONE in text(response)
        assert len(handle) < 5 or handle not in response.content.decode()
        assert sessions.count() == before
        assert all(map(is_signed_in, (here, there, bobs)))

    def test_cannot_be_named_by_its_key(self, here, there):
        """What is in the cookie is no handle."""
        response = here.post(ONE, {"handle": there.cookies["sessionid"].value}, follow=True)
        assert GONE in text(response)
        assert is_signed_in(there)


class TestSomebody:
    @pytest.mark.parametrize("action", [ONE, OTHERS])
    def test_who_is_not_signed_in_is_sent_to_the_entrance(self, action, here):
        response = Client().post(action, {"handle": handle_of(here)})
        assert (response.status_code, response["Location"]) == (302, f"/entrance/?next={action}")
        assert is_signed_in(here)

    @pytest.mark.parametrize("action", [ONE, OTHERS])
    def test_who_only_follows_a_link_ends_nothing(self, action, here, there):
        assert here.get(action, {"handle": handle_of(there)}).status_code == 405
        assert is_signed_in(there)

    @pytest.mark.parametrize("has_middleware", [True, False], ids=["middleware", "no middleware"])
    @pytest.mark.parametrize("action", [ONE, OTHERS])
    def test_who_was_sent_by_another_site_ends_nothing(self, action, alice, there, settings, has_middleware):
        if not has_middleware:
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "csrf" not in name]
        careful = signed_in(alice, enforce_csrf_checks=True)
        assert careful.post(action, {"handle": handle_of(there)}).status_code == 403
        assert is_signed_in(there)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', careful.get(PAGE).content.decode())[1]
        sent = {"handle": handle_of(there), "csrfmiddlewaretoken": token}
        assert careful.post(action, sent).status_code == 302
        assert not is_signed_in(there)

    @pytest.mark.parametrize("action", [ONE, OTHERS, PAGE])
    def test_whose_user_was_deleted_meanwhile_is_sent_to_the_entrance(self, action, here, there, alice):
        handle = handle_of(there)
        alice.delete()
        response = here.get(action) if action == PAGE else here.post(action, {"handle": handle})
        assert (response.status_code, response["Location"]) == (302, f"/entrance/?next={action}")


class TestARecordThatCannotBeRead:
    @pytest.fixture
    def damage(self, there, store, behind):
        """Damages the record of the other device; gives its handle."""
        handle = handle_of(there)
        key = store.keys.record(there.cookies["sessionid"].value)

        def damage(how):
            behind.set(key, how(behind.get(key)), keepttl=True)
            return handle

        return damage

    def test_is_listed_without_a_device_and_can_be_ended(self, here, damage):
        broken = damage(lambda record: record[:-3])
        response = here.get(PAGE)
        assert broken in listed(response)
        assert "Unknown device Nothing more can be read" in text(response)
        assert "That device is signed out." in text(here.post(ONE, {"handle": broken}, follow=True))
        assert listed(here.get(PAGE)) == [handle_of(here)]

    def test_that_does_not_even_tell_its_owner_is_nobodys(self, here, damage):
        """Nobody is signed in with it either."""
        broken = damage(lambda record: b"nonsense")
        assert listed(here.get(PAGE)) == [handle_of(here)]
        assert GONE in text(here.post(ONE, {"handle": broken}, follow=True))


class TestASiteWithPlainKeys:
    def test_has_the_same_pages_and_shows_no_session_key(self, alice, configure):
        configure(KEYS="plain")
        here, there = signed_in(alice), signed_in(alice, SAFARI_ON_IPHONE)
        response = here.get(PAGE)
        for client in (here, there):
            assert client.cookies["sessionid"].value not in response.content.decode()
        assert "That device is signed out." in text(
            here.post(ONE, {"handle": listed(response)[1]}, follow=True)
        )
        assert not is_signed_in(there)


class TestASiteWithoutAnIndex:
    @pytest.mark.parametrize(("method", "path"), [("get", PAGE), ("post", ONE), ("post", OTHERS)])
    def test_says_so(self, here, configure, method, path):
        configure(USER_INDEX=False)
        response = getattr(here, method)(path)
        assert response.status_code == 404
        assert b"does not keep a list" in response.content


class TestAnOutage:
    @pytest.mark.parametrize(("method", "path"), [("get", PAGE), ("post", ONE), ("post", OTHERS)])
    def test_is_answered_with_503_and_keeps_the_cookie(self, alice, settings, method, path):
        with RedisServer() as server:
            settings.SESSION_REDIS = {"URL": server.url, "TIMEOUT": 5}
            client = signed_in(alice)
            assert "sessionid" in client.cookies
            client.raise_request_exception = False
            server.stop()
            response = getattr(client, method)(path)
        assert response.status_code == 503
        assert response["Retry-After"]
        assert "sessionid" not in response.cookies


class TestInAnotherLanguage:
    @pytest.mark.parametrize(
        ("language", "words"),
        [
            ("de", ("Ihre Geräte", "Firefox auf Windows – dieses Gerät", "Alle anderen Geräte abmelden")),
            ("fr", ("Vos appareils", "Firefox sur Windows – cet appareil", "Déconnecter tous les autres")),
        ],
    )
    def test_the_page_is_translated(self, here, there, language, words):
        response = here.get(PAGE, headers={"accept-language": language})
        shown = text(response)
        assert f'<html lang="{language}">' in response.content.decode()
        assert [word for word in words if word not in shown] == []

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_messages_are_translated(self, here, there, language):
        response = here.post(OTHERS, follow=True, headers={"accept-language": language})
        with translation.override(language):
            expected = translation.ngettext("%(count)d other device is signed out.", "", 1) % {"count": 1}
        assert expected in text(response)
        assert "other device" not in expected


class TestTheAddresses:
    @pytest.mark.parametrize(
        ("name", "path"), [("devices", PAGE), ("sign-out-device", ONE), ("sign-out-other-devices", OTHERS)]
    )
    def test_have_names(self, name, path):
        assert reverse(f"django_redis_sessions:{name}") == path
